"""opencode through Client(...), played by a program of ours from its recordings."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
from typing import Any
from urllib.parse import quote

import pytest
from _agents import alive, backend_of, events_of, played
from _opencode import FOLDER, RUNS, SERVED, ended, error_row, expected, output, plain, row_of, sessions
from _opencode_program import SPEC, Fake, fake

from asyncllm import Client
from asyncllm.events import (
    ConnectTimeout,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    Retrying,
    ServerError,
    Session,
    StreamError,
    StreamStart,
    TextDelta,
    UnknownError,
)

__all__ = ["fake"]

pytestmark = [played, pytest.mark.req("seed-A11")]

# ---- run


@pytest.mark.recordings("opencode")
@pytest.mark.parametrize("name", RUNS)
async def test_run(fake: Fake, name: str) -> None:
    stdout = fake.root / f"{name}.stdout"
    stdout.write_bytes(output(name))
    os.mkfifo(fake.root / "ready")
    interface = "text" if plain(name) else "run"
    options = fake.options({"run": name, "stdout": str(stdout)}, interface=interface, retry=0)
    code, _ = ended(name)
    async with Client(SPEC, **options) as client:
        asking = asyncio.ensure_future(events_of(client))
        if code < 0 and "retries" not in RUNS[name]:
            pid = int(await asyncio.to_thread((fake.root / "ready").read_text))
            os.kill(pid, -code)
        events = await asking
    wanted = expected(RUNS[name])
    if wanted.get("retries") and not plain(name):  # in a new session it may not try again
        assert isinstance(events[-1], StreamError)
        assert type(events[-1].error) is ServerError
    else:
        assert row_of(events) == wanted


async def test_prompts_and_secrets_are_not_on_the_command_line(fake: Fake) -> None:
    options = fake.options({"run": "text"}, interface="run", base_url="http://127.0.0.1:9/v1", api_key="sk-very-secret")
    async with Client(SPEC, **options) as client:
        await client.complete("s" * 300_000, system="Be secretive.")
    [run] = fake.told()
    assert run["stdin"] == 300_000
    line = " ".join(run["argv"])
    assert "sss" not in line
    assert "secret" not in line
    config = json.loads(run["env"]["OPENCODE_CONFIG_CONTENT"])
    assert config["provider"]["emu"]["options"]["apiKey"] == "sk-very-secret"
    assert config["agent"]["asyncllm"]["prompt"] == "Be secretive."
    assert config["permission"]["*"] == "deny"
    assert run["env"]["HOME"] == str(fake.root / "home")
    assert {name for name in run["env"] if name.startswith("OPENCODE")} == {
        "OPENCODE_CONFIG_CONTENT",
        "OPENCODE_DISABLE_AUTOUPDATE",
        "OPENCODE_DISABLE_LSP_DOWNLOAD",
        "OPENCODE_DISABLE_MODELS_FETCH",
        "OPENCODE_DISABLE_SHARE",
    }


async def test_a_run_that_says_nothing_is_ended(fake: Fake) -> None:
    options = fake.options({"run": "text", "unread": True}, interface="run", timeout=1.0)
    async with Client(SPEC, **options) as client:
        with pytest.raises(LLMError):
            await client.complete("Hi")
    assert not any(alive(start["pid"]) for start in fake.told())


@pytest.mark.recordings("opencode")
@pytest.mark.req("seed-F3")
@pytest.mark.parametrize("recording", ["export", "export_long_pipe"])
async def test_run_brings_a_session_of_another_machine(fake: Fake, recording: str) -> None:
    """`import_new_home` is what the program says to it."""
    state = output(recording)
    known = json.loads(state)
    last = known["messages"][-1]["info"]["id"]
    session = Session(backend="opencode", id=known["info"]["id"], cwd="/nowhere", turn=last, state=state)
    async with Client(SPEC, **fake.options({"run": "text"}, interface="run"), session=session) as client:
        with pytest.raises(NotFoundError):
            await client.complete("Hi")  # the program forgets what it has imported
    imported = next(told for told in fake.told() if told["argv"][0] == "import")
    assert imported["mode"] == "0o600"
    assert imported["state"] == known
    assert not os.path.exists(imported["argv"][1])


async def test_run_in_the_directory_of_the_session(fake: Fake) -> None:
    known = json.loads((FOLDER / "export.stdout").read_bytes())
    last = known["messages"][-1]["info"]["id"]
    known["info"]["directory"] = str(fake.root)
    (fake.root / "known").write_text(json.dumps(known))
    session = Session(backend="opencode", id=known["info"]["id"], turn=last)
    options = fake.options({"run": "text", "export": str(fake.root / "known")}, interface="run")
    async with Client(SPEC, **options, session=session) as client:
        await client.complete("Hi")
    run = next(told for told in fake.told() if told["argv"][0] == "run")
    assert run["cwd"] == str(fake.root)
    assert run["argv"][run["argv"].index("--session") + 1] == session.id
    earlier = Session(backend="opencode", id=session.id, turn=known["messages"][0]["info"]["id"])
    async with Client(SPEC, **options, session=earlier) as client:
        with pytest.raises(InvalidRequestError):
            await client.complete("Hi")
    known["info"]["directory"] = str(fake.root / "gone")
    (fake.root / "known").write_text(json.dumps(known))
    async with Client(SPEC, **options, session=session) as client:
        with pytest.raises(NotFoundError, match="work directory"):
            await client.complete("Hi")


# ---- serve


@pytest.mark.req("I5")
@pytest.mark.recordings("opencode")
@pytest.mark.parametrize("name", [name for name in SERVED if name not in ("serve_abort", "serve_err_e529_retry")])
async def test_serve(fake: Fake, name: str) -> None:
    rows = []
    async with Client(SPEC, **fake.options({"serve": name})) as client:
        if name == "serve_text_2turns":
            first = client.stream("one")
            rows.append(row_of([event async for event in first.as_events()]))
            messages = [*first.partial.messages, Message("user", "two")]
            rows.append(row_of([event async for event in client.stream(messages).as_events()]))
        else:
            asked = (events_of(client) for _ in sessions(name))
            rows += [row_of(events) for events in await asyncio.gather(*asked)]
    assert rows == SERVED[name]
    started = [told_ for told_ in fake.told() if told_.get("argv")]
    assert len(started) == 1, "one process for all of a client"
    assert not alive(started[0]["pid"])


async def test_serve_interrupted(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"serve": "serve_abort"})) as client:
        async with client.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        assert stream.partial.session is not None
        assert stream.partial.session.id == sessions("serve_abort")[0]
        assert len(fake.calls("/abort")) == 1
        backend = backend_of(client)
        assert list(backend._idle) == [sessions("serve_abort")[0]], "another turn may follow"


@pytest.mark.recordings("opencode")
async def test_serve_aborted_by_somebody_else(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"serve": "serve_abort", "unheld": True})) as client:
        events = await events_of(client)
    assert [row_of(events)] == SERVED["serve_abort"]


@pytest.mark.recordings("opencode")
@pytest.mark.parametrize("resumed", [False, True])
async def test_serve_gives_up_what_opencode_would_repeat(fake: Fake, resumed: bool) -> None:
    [id] = sessions("serve_err_e529_retry")
    session = Session(backend="opencode", id=id, turn="msg_1") if resumed else None
    async with Client(SPEC, **fake.options({"serve": "serve_err_e529_retry"}), session=session) as client:
        events = await events_of(client)
    last = events[-1]
    assert isinstance(last, StreamError)
    assert error_row(last.error)["error"] == "OverloadedError"
    assert last.error.retryable
    assert sum(isinstance(event, Retrying) for event in events) == (2 if resumed else 0)
    assert len(fake.calls("/abort")) == 1


async def test_what_opencode_asks_is_denied_in_every_session(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"serve": "serve_text_2turns", "ask": True})) as client:
        await client.complete("Hi")
    [reply] = fake.calls("/permission/per_1/reply")
    assert reply["body"]["reply"] == "reject"
    assert "denied" in reply["body"]["message"]
    assert len(fake.calls("/question/que_1/reject")) == 1


async def test_what_is_asked_in_another_directory_is_denied_there(fake: Fake) -> None:
    """Each directory has its own questions: elsewhere the answer is not heard, and the turn stands still for ever."""
    other = fake.root / "other place"
    other.mkdir()
    [id] = sessions("serve_text_2turns")
    session = Session(backend="opencode", id=id, cwd=str(other), turn="msg_1")
    plan = {"serve": "serve_text_2turns", "ask": True, "directory": str(other)}
    async with Client(SPEC, **fake.options(plan), session=session) as client:
        await client.complete("Hi")
    for path in ("/permission/per_1/reply", "/question/que_1/reject", "/prompt_async", "/event"):
        assert [call["query"] for call in fake.calls(path)] == ["directory=" + quote(str(other), safe="")], path


@pytest.mark.req("I2")
@pytest.mark.parametrize("how", ["cut", "die"])
async def test_serve_that_breaks_fails_its_turns_and_is_started_anew(fake: Fake, how: str) -> None:
    async with Client(SPEC, **fake.options({"serve": "serve_concurrent", how: True})) as client:
        backend = backend_of(client)
        results = await asyncio.gather(*(events_of(client) for _ in range(2)))
        for events in results:
            assert isinstance(events[-1], StreamError)
            assert isinstance(events[-1].error, LLMError)
        [server] = backend._servers.values()
        assert server.dead is not None
        await events_of(client)
        assert backend._servers[""] is not server
    pids = [told_["pid"] for told_ in fake.told() if told_.get("argv")]
    assert len(pids) == 2
    assert not any(map(alive, pids))


async def test_serve_that_never_listens(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"mute": True}, start_timeout=0.3)) as client:
        with pytest.raises(ConnectTimeout, match="start_timeout"):
            await client.complete("Hi")
    assert not any(alive(start["pid"]) for start in fake.told())


async def test_serve_that_ends_at_once(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"broken": True})) as client:
        with pytest.raises(UnknownError, match="Error: no such thing"):
            await client.complete("Hi")


async def test_no_such_program(fake: Fake) -> None:
    options = fake.options({}, executable="no-such-opencode")
    async with Client(SPEC, **options) as client:
        with pytest.raises(NotFoundError, match="npm install"):
            await client.complete("Hi")


async def test_its_server_refuses(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"serve": "serve_concurrent", "refuse": True})) as client:
        with pytest.raises(LLMError):
            await client.complete("Hi")


async def test_a_session_that_is_nowhere(fake: Fake) -> None:
    session = Session(backend="opencode", id="ses_missing")
    async with Client(SPEC, **fake.options({"serve": "serve_concurrent"}), session=session) as client:
        with pytest.raises(NotFoundError, match="no such session"):
            await client.complete("Hi")
    wrong = Session(backend="opencode", id="ses_missing", state=b"{}")
    async with Client(SPEC, **fake.options({"serve": "serve_concurrent"}), session=wrong) as client:
        with pytest.raises(InvalidRequestError, match="state"):
            await client.complete("Hi")


async def test_lost_mcp_servers_are_said(fake: Fake) -> None:
    states = {"calc": {"status": "failed", "error": "nobody"}}
    servers = {"calc": {"type": "remote", "url": "http://127.0.0.1:9"}, "here": {"type": "remote", "url": "x"}}
    plan = {"serve": "serve_concurrent", "mcp": {**states, "here": {"status": "connected"}}}
    async with Client(SPEC, **fake.options(plan, mcp_servers=servers)) as client:
        events = await events_of(client)
    start = next(event for event in events if isinstance(event, StreamStart))
    assert start.warnings == ("MCP server calc: failed: nobody",)


async def test_what_the_server_is_told(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"serve": "serve_concurrent"}, isolated=True, home=None)) as client:
        await events_of(client, system="Be terse.")
        home = backend_of(client).home
    start = fake.told()[0]
    assert start["argv"] == ["serve", "--hostname", "127.0.0.1", "--port", "0"]
    assert start["env"]["HOME"] == home
    assert start["env"]["OPENCODE_DISABLE_PROJECT_CONFIG"] == "1"
    assert len(start["env"]["OPENCODE_SERVER_PASSWORD"]) >= 43
    assert not os.path.exists(home)
    [prompt] = fake.calls("/prompt_async")
    assert prompt["body"]["system"] == "Be terse."
    assert prompt["body"]["model"] == {"providerID": "emu", "modelID": "emu-1"}
    [made] = [call for call in fake.calls("/session") if call["method"] == "POST"]
    assert made["body"]["permission"][0]["action"] == "deny"


def test_abandoned_with_its_loop(fake: Fake) -> None:
    """A client that nobody closed: its process goes with it."""

    async def ask() -> Client:
        client = Client(SPEC, **fake.options({"serve": "serve_concurrent"}))
        await events_of(client)
        return client

    client = asyncio.run(ask())
    pid = fake.told()[0]["pid"]

    async def close() -> None:
        await client.aclose()

    asyncio.run(close())
    gc.collect()
    assert not alive(pid)


async def test_closed_in_the_middle(fake: Fake) -> None:
    client = Client(SPEC, **fake.options({"serve": "serve_abort"}))
    stream = client.stream("Hi")
    async for event in stream:
        if isinstance(event, TextDelta):
            break
    await client.aclose()
    with pytest.raises(IncompleteStreamError):
        await stream.reply()
    assert not alive(fake.told()[0]["pid"])


async def test_killed_in_the_middle(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({"serve": "serve_abort"})) as client:
        stream = client.stream("Hi")
        with pytest.raises(IncompleteStreamError):
            async for event in stream:
                if isinstance(event, TextDelta) and event.text == "word0 ":
                    os.kill(fake.told()[0]["pid"], signal.SIGKILL)
        assert stream.partial.text.startswith("word0")


@pytest.mark.parametrize(
    "options",
    [{"interface": "cloud"}, {"permission": 3}, {"cwd": "/nowhere"}, {"isolated": True, "home": "/tmp"}, {"colour": 1}],
)
def test_options_that_make_no_sense(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequestError):
        Client(SPEC, **options)


async def test_an_address_needs_a_model(fake: Fake) -> None:
    async with Client("opencode", **fake.options({"serve": "serve_concurrent"}, base_url="http://x/v1")) as client:
        with pytest.raises(InvalidRequestError, match="model"):
            await client.complete("Hi")
