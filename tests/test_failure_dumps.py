"""Failed requests as files: what is in them, what never is, and that they stay small, few and private."""

from __future__ import annotations

import json
import logging
import os
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from _runs import DONE, call, calls, serving

from asyncllm import (
    Audio,
    AuthenticationError,
    Client,
    ConnectionFailedError,
    File,
    Image,
    IncompleteStreamError,
    InterTokenTimeout,
    LLMError,
    Message,
    RateLimitError,
    RetryPolicy,
    ServerError,
    SyncClient,
    Text,
    Timeout,
    TotalTimeout,
    UnknownError,
)
from asyncllm.backends._dump import FILE_LIMIT, FILES_LIMIT, write_failure
from asyncllm.protocols import Request, Tool
from asyncllm.testing import Answer, Cut, ErrorAfter, Server, Stall, serve_in_thread

KEY = "sk-proj-aBcDeFgHiJkLmNoPqRsTuVwXyZ0123456789"
SOON = RetryPolicy(tries=2, base=0.001, rate_limit_base=0.001, max_retry_after=0)
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def dumped(folder: Path) -> list[dict[str, Any]]:
    """The files, oldest first."""
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


async def weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


@pytest.mark.req("seed-D")
async def test_each_failed_attempt_is_a_file(tmp_path: Path) -> None:
    """Model, messages, tools, the error, the attempt and an estimate of the tokens; nothing for the one that succeeds."""
    folder = tmp_path / "failed"
    script = [Answer.error(status=500, message="oops"), Answer.error(status=503), DONE]
    async with serving(script, retry=SOON, dump_failed=folder, system="Be brief.") as (_, client):
        await client.complete("How warm is it?", tools=[weather], temperature=0.5, max_tokens=77)
    first, second = dumped(folder)
    assert first["model"] == "m"
    assert first["provider"] == "openai-compatible"
    assert first["messages"] == [{"role": "user", "content": "How warm is it?"}]
    assert first["system"] == "Be brief."
    assert first["tools"][0]["name"] == "weather"
    assert (first["options"]["temperature"], first["options"]["max_tokens"]) == (0.5, 77)
    assert first["error"]["class"] == "ServerError"
    assert first["error"]["kind"] == "server_error"
    assert first["error"]["status"] == 500
    assert "oops" in first["error"]["message"]
    assert (first["attempt"], second["attempt"]) == (1, 2)
    assert datetime.fromisoformat(first["time"]).utcoffset() == timedelta(0)
    characters = len("How warm is it?" + "Be brief." + "weather" + "The weather of a city.")
    assert characters // 4 <= first["token_estimate"] <= characters
    assert second["error"]["class"] == "OverloadedError"


@pytest.mark.req("seed-D")
async def test_an_error_that_is_raised_is_a_file(tmp_path: Path) -> None:
    """What is not tried again, too; `complete`, `run`, `map` and `prompt` alike."""
    async with serving(Answer.error(status=401), dump_failed=tmp_path) as (_, client):
        for ask in (client.complete, client.prompt):
            with pytest.raises(AuthenticationError):
                await ask("Hi")
        with pytest.raises(AuthenticationError):
            await client.run("Hi", tools=[weather]).reply()
        assert [result.error is not None async for result in client.map(["Hi"])] == [True]
    assert [(file["error"]["kind"], file["attempt"]) for file in dumped(tmp_path)] == [("authentication", 1)] * 4


@pytest.mark.req("seed-D")
async def test_failures_in_the_middle_of_an_answer(tmp_path: Path) -> None:
    """A connection that breaks after some words, and an error among them."""
    script = [
        Answer.text("one two three", faults=[Cut(300)]),
        Answer(["one"], faults=[ErrorAfter(1, ServerError("no"))]),
    ]
    async with serving(script, dump_failed=tmp_path) as (_, client):
        with pytest.raises(IncompleteStreamError):
            await client.complete("Hi")
        with pytest.raises(LLMError):
            await client.complete("Hi")
    assert [file["error"]["class"] for file in dumped(tmp_path)] == ["IncompleteStreamError", "ServerError"]


@pytest.mark.parametrize(
    ("limits", "cls"),
    [(Timeout(inter_token=0.05), InterTokenTimeout), (Timeout(total=0.1), TotalTimeout)],
)
@pytest.mark.parametrize("how", ["complete", "run"])
async def test_limits_of_our_own(tmp_path: Path, limits: Timeout, cls: type[LLMError], how: str) -> None:
    """A call that is given up because it takes too long, in any step of a run, is a failed request."""
    stalled = Answer(["one", "two"], faults=[Stall(1)])
    script = [stalled] if how == "complete" else [calls(call(city="Oslo")), stalled]
    async with serving(script, dump_failed=tmp_path, timeout=limits) as (_, client):
        with pytest.raises(cls):
            await (client.complete("Hi") if how == "complete" else client.run("Hi", tools=[weather]).reply())
    (file,) = dumped(tmp_path)
    assert file["error"]["class"] == cls.__name__
    assert len(file["messages"]) == (1 if how == "complete" else 3)  # those of the step


async def test_leaving_is_no_failure(tmp_path: Path) -> None:
    """A stream that its reader closes, and one that comes to its end, leave nothing."""
    async with serving([Answer(["one", "two"], faults=[Stall(1)]), DONE], dump_failed=tmp_path) as (_, client):
        async with client.stream("Hi") as stream:
            await anext(stream)
        await client.complete("Hi")
    assert dumped(tmp_path) == []


async def test_a_fallback_and_no_connection(tmp_path: Path) -> None:
    """Each model that failed, in turn, under its own name."""
    async with Server(Answer.error(status=401)) as server:
        url = server.base_url
        models = ["openai-compatible/first", "openai-compatible/second"]
        async with Client(models, base_url=url, retry=0, dump_failed=tmp_path) as client:
            with pytest.raises(AuthenticationError):
                await client.complete("Hi")
    assert [(file["model"], file["attempt"]) for file in dumped(tmp_path)] == [("first", 1), ("second", 2)]
    async with Client("openai-compatible/m", base_url=url, retry=0, dump_failed=tmp_path) as client:
        with pytest.raises(ConnectionFailedError):
            await client.complete("Hi")
    assert dumped(tmp_path)[-1]["error"]["kind"] == "connection"


async def test_per_call(tmp_path: Path) -> None:
    """A directory for one call, and none for one."""
    one, other = tmp_path / "one", tmp_path / "other"
    async with serving(Answer.error(status=401), dump_failed=one) as (server, client):
        with pytest.raises(AuthenticationError):
            await client.complete("Hi", dump_failed=other)
        with pytest.raises(AuthenticationError):
            await client.complete("Hi", dump_failed=None)
        assert not one.exists()
        assert len(dumped(other)) == 1
        assert "dump_failed" not in server.requests[0].json


def test_from_blocking_code(tmp_path: Path) -> None:
    """The facade has the same option."""
    with serve_in_thread(Answer.error(status=401)) as server:
        with SyncClient("openai-compatible/m", base_url=server.base_url, dump_failed=str(tmp_path)) as client:
            with pytest.raises(AuthenticationError):
                client.complete("Hi")
    assert len(dumped(tmp_path)) == 1


@pytest.mark.req("seed-D")
async def test_no_secret_gets_into_a_file(tmp_path: Path) -> None:
    """Keys of the client, headers, tokens that a server echoes, that a user pastes, or that stand under a telling name."""
    other = "-".join(("sk", "ant", "oat01", "Zz9" * 8))
    echo = Answer.error(status=401, message=f"Incorrect API key provided: {KEY}")
    async with serving(echo, api_key=KEY, extra_headers={"x-team": "team-secret-1"}, dump_failed=tmp_path) as (
        server,
        client,
    ):
        with pytest.raises(AuthenticationError):
            await client.complete(
                [
                    Message("user", f"My key is {other}, or Authorization: Bearer abcdef0123456789"),
                    Message("user", [Image(url="https://host/cat.png?X-Amz-Signature=feedfacefeedface")]),
                    Message("assistant", [call(api_key="hunter2-hunter2")]),
                    {"role": "tool", "tool_call_id": "c1", "content": '{"client_secret": "s3cr3ts3cr3t"}'},
                ],
                extra_body={"metadata": {"x-api-key": "plain-secret-value", "access_token": "another-secret"}},
                extra_headers={"x-request-token": "header-secret-2"},
            )
        assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    (path,) = tmp_path.iterdir()
    text = path.read_text()
    for secret in (
        KEY,
        other,
        "abcdef0123456789",
        "feedface",
        "hunter2",
        "s3cr3t",
        "plain-secret",
        "another-secret",
        "header-secret",
        "team-secret",
    ):
        assert secret not in text
    assert "https://host/cat.png" in text


@pytest.mark.req("seed-D")
async def test_images_sounds_and_files_are_sizes(tmp_path: Path) -> None:
    """No bytes, in whatever form they were given."""
    data = os.urandom(3000)
    message = Message("user", [Text("Look"), Image(data=data), Audio(data), File(data=data, name="a.pdf")])
    request = Request(
        model="m", messages=(message, Message("user", [Image(url="data:image/png;base64," + "QUJD" * 999)]))
    )
    write_failure(tmp_path, "p", request, ServerError("no"), 1, NOW)
    (file,) = dumped(tmp_path)
    parts = [*file["messages"][0]["content"], *file["messages"][1]["content"]]
    assert [part["type"] for part in parts] == ["text", "image", "audio", "file", "image"]
    assert [part["data"] for part in parts[1:4]] == ["[3,000 bytes]"] * 3
    assert parts[4]["url"] == "[data:image/png, 4,018 characters]"


def nested(depth: int) -> dict[str, object]:
    inside: dict[str, object] = {}
    for _ in range(depth):
        inside = {"in": inside, "list": [1, 2.5, None, True, float("nan")]}
    return inside


@pytest.mark.parametrize(
    "request_",
    [
        Request(model="m", messages=(Message("user", "x" * 5_000_000),)),
        Request(model="m", messages=tuple(Message("user", "y" * 999) for _ in range(20_000))),
        Request(model="m", messages=(Message("user", [Text("part " * 100)] * 20_000),)),
        Request(model="m", messages=(Message("user", "é\ud800" * 400_000),)),
        Request(model="m", messages=(Message("user", "Hi"),), extra_body={f"k{at}": "v" * 999 for at in range(9999)}),
        Request(
            model="m",
            messages=(Message("user", "Hi"),),
            tools=tuple(Tool(f"t{at}", "d" * 5000, nested(300)) for at in range(900)),
        ),
    ],
    ids=["long", "many", "parts", "not ascii", "wide", "tools"],
)
def test_a_file_is_small(tmp_path: Path, request_: Request) -> None:
    """At most a megabyte, valid JSON, with what is missing said in it."""
    path = write_failure(tmp_path, "p", request_, ServerError("no"), 1, NOW)
    assert path.stat().st_size <= FILE_LIMIT == 1_000_000
    (file,) = dumped(tmp_path)
    assert file["error"]["class"] == "ServerError"
    assert file["token_estimate"] > 10_000 or "extra_body" in file["options"] or "tools" in file
    text = path.read_text()
    assert "more characters]" in text or " more]" in text or "left_out" in text


def test_a_long_conversation_keeps_its_ends(tmp_path: Path) -> None:
    """The first messages and the last ones are there, with how many are not."""
    messages = tuple(Message("user", f"number {at} " + "." * 500) for at in range(5000))
    write_failure(tmp_path, "p", Request(model="m", messages=messages), ServerError("no"), 1, NOW)
    (file,) = dumped(tmp_path)
    said = [message if isinstance(message, str) else message["content"].split()[1] for message in file["messages"]]
    assert (said[0], said[-1]) == ("0", "4999")
    (gap,) = [one for one in said if "more" in one]
    assert int(gap.strip("[]").split()[0].replace(",", "")) == 5000 - (len(said) - 1)


@pytest.mark.parametrize("before", range(19_900, 20_010, 7))
def test_a_key_that_is_cut_is_no_key(tmp_path: Path, before: int) -> None:
    """Wherever the cut falls, nothing of a key stands before it."""
    for pad in (before, 2 * before):
        request = Request(model="m", messages=(Message("user", "x " * (pad // 2) + KEY + " " + "z" * 90_000),))
        path = write_failure(tmp_path, "p", request, UnknownError("no"), 1, NOW)
        assert "aBcDeF" not in path.read_text()


@pytest.mark.skipif(os.name != "posix", reason="modes of files are POSIX's")
def test_private_files(tmp_path: Path) -> None:
    """0700 for the directories that are made, 0600 for each file, whatever the umask."""
    folder = tmp_path / "made" / "failed"
    before = os.umask(0)
    try:
        path = write_failure(folder, "p", Request(model="m", messages=()), ServerError("no"), 1, NOW)
    finally:
        os.umask(before)
    assert [stat.S_IMODE(made.stat().st_mode) for made in (folder.parent, folder)] == [0o700, 0o700]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_oldest_make_room(tmp_path: Path) -> None:
    """200 files, the newest ones; what somebody else put there stays."""
    (tmp_path / "failed-report.json").write_text("{}")
    (tmp_path / "notes.json").write_text("{}")
    request = Request(model="m", messages=())
    for at in range(FILES_LIMIT + 5):
        write_failure(tmp_path, "p", request, ServerError(f"number {at}"), 1, NOW + timedelta(seconds=at))
    ours = sorted(path for path in tmp_path.iterdir() if path.name.startswith("failed-2"))
    assert len(ours) == FILES_LIMIT == 200
    assert json.loads(ours[0].read_text())["error"]["message"] == "number 5"
    assert {path.name for path in tmp_path.iterdir()} - {path.name for path in ours} == {
        "failed-report.json",
        "notes.json",
    }


async def test_that_it_cannot_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The error of the request is what is raised; why there is no file is in the log."""
    in_the_way = tmp_path / "failed"
    in_the_way.write_text("a file")
    async with serving(Answer.error(status=429), dump_failed=in_the_way) as (_, client):
        with caplog.at_level(logging.WARNING, "asyncllm"), pytest.raises(RateLimitError):
            await client.complete("Hi")
    assert "could not be kept" in caplog.text
    assert in_the_way.read_text() == "a file"


@pytest.mark.parametrize("given", ["", 5, b"", True])
async def test_what_is_no_directory(given: Any) -> None:
    """Told when the client is made."""
    with pytest.raises(LLMError, match="dump_failed"):
        Client("demo/echo", dump_failed=given)
