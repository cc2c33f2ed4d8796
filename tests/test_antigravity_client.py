"""Antigravity through the client, with a program that plays composed streams: how it is started, and what becomes of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from _antigravity import CONVERSATION, EXPECTED
from _antigravity_program import Fake, fake, flags, played
from _mcp import nothing_left

from asyncllm import Client, LLMError, check_order
from asyncllm.events import (
    ConnectTimeout,
    Image,
    InvalidRequestError,
    LLMTimeoutError,
    Message,
    NotFoundError,
    RateLimitError,
    Session,
    Text,
    TextDelta,
)

__all__ = ["fake"]

pytestmark = [played, pytest.mark.req("seed-A12")]

STREAMS = [name for name, row in EXPECTED.items() if "resumed" not in row and "schema" not in row]


class Answer(msgspec.Struct):
    answer: int


@pytest.mark.parametrize("name", STREAMS)
async def test_each_stream(fake: Fake, name: str) -> None:
    """A real process says it, on both of its outputs, and ends as it must."""
    expected = EXPECTED[name]
    how = {"interface": "text"} if expected["interface"] == "text" else {}
    async with nothing_left(), Client("antigravity", **fake.options(name, **how)) as client:
        stream = client.stream("Hi")
        events = [event async for event in stream.as_events()]
        check_order(events)
        if expected["error"] is None:
            assert (await stream.reply()).text == expected["text"]
        else:
            assert type(stream.error).__name__ == expected["error"]
            assert stream.error is not None
            assert stream.error.provider == "antigravity"
            assert stream.partial.text == expected.get("partial", "")


async def test_how_it_is_started(fake: Fake) -> None:
    """The prompt is the value of -p, which comes last; nothing of our environment but what it needs."""
    options = fake.options(add_dirs=("/a", "/b"), extra_args=("--log-file", "/dev/null"), env={"EXTRA": "1"})
    async with Client("antigravity/gemini-3.8-flash", **options, timeout=100) as client:
        await client.complete("-- Hi", system="Be brief.", reasoning="xhigh")
    (start,) = fake.starts
    assert start["argv"] == [
        *("--model", "gemini-3.8-flash", "--effort", "max", "--add-dir", "/a", "--add-dir", "/b", "--sandbox"),
        *("--print-timeout", "160s", "--output-format", "stream-json", "--log-file", "/dev/null"),
        *("-p", "Instructions for this conversation:\nBe brief.\n\n-- Hi"),
    ]
    assert start["cwd"] == str(fake.work)
    assert start["env"]["SECRET_OF_OTHERS"] is None
    assert start["env"]["AGY_CLI_DISABLE_AUTO_UPDATE"] == "true"


@pytest.mark.parametrize(
    ("options", "there", "not_there"),
    [
        ({"sandbox": False}, [], ["--sandbox"]),
        ({"skip_permissions": True}, ["--dangerously-skip-permissions"], ["--sandbox"]),
        ({"mode": "accept-edits"}, ["--mode", "accept-edits", "--sandbox"], []),
        ({"interface": "text"}, ["-p"], ["--output-format", "--json-schema"]),
        ({"interface": "stdin"}, ["--input-format", "stream-json"], ["-p", "--print-timeout"]),
    ],
)
async def test_options(fake: Fake, options: dict[str, Any], there: list[str], not_there: list[str]) -> None:
    """What it may do, and how it is driven."""
    play = "plain" if options.get("interface") == "text" else "text"
    async with Client("antigravity", **fake.options(play, **options)) as client:
        await client.complete("Hi")
    argv = fake.starts[0]["argv"]
    assert [word for word in there if word not in argv] == []
    assert [word for word in not_there if word in argv] == []


@pytest.mark.req("seed-F3")
async def test_a_conversation(fake: Fake) -> None:
    """The next turn names the conversation, and says only what is new; the instructions are said once."""
    async with Client("antigravity", **fake.options()) as client:
        first = await client.complete("Remember 42.", system="Be brief.")
        assert first.session == Session(
            backend="antigravity", id=CONVERSATION, cwd=str(fake.work), data=first.session.data if first.session else {}
        )
        again = [*first.messages, Message("user", "What was it?")]
        await client.complete(again, system="Be brief.", session=first.session)
        await client.complete(again)
    one, two, three = map(flags, fake.starts)
    assert "--conversation" not in one
    assert two["--conversation"] == three["--conversation"] == CONVERSATION
    assert one["-p"].startswith("Instructions")
    assert two["-p"] == three["-p"] == "What was it?"


async def test_a_failed_turn_of_a_conversation_is_not_said_again(fake: Fake) -> None:
    """It stays in the conversation: a retry would say it twice."""
    session = Session(backend="antigravity", id=CONVERSATION)
    async with Client("antigravity", **{**fake.options("overloaded"), "retry": 2}) as client:
        with pytest.raises(LLMError) as caught:
            await client.complete("Go on.", session=session)
    assert not caught.value.retryable
    assert len(fake.starts) == 1


async def test_forks_and_images_and_what_it_cannot_do(fake: Fake) -> None:
    """Said before anything is started."""
    session = Session(backend="antigravity", id=CONVERSATION).forked()
    image = Message("user", [Text("What is it?"), Image(data=b"x")])
    async with Client("antigravity", **fake.options()) as client:
        cases: tuple[tuple[Any, dict[str, Any], str], ...] = (
            ("Hi", {"session": session}, "fork"),
            ([image], {}, "no image"),
            ("Hi", {"stop": "x"}, "stop"),
            ("Hi", {"extra_body": {"a": 1}}, "extra_body"),
            ("Hi\0", {}, "NUL"),
        )
        for prompt, asked, words in cases:
            with pytest.raises(InvalidRequestError, match=words):
                await client.complete(prompt, **asked)
    assert fake.starts == []
    wrong: tuple[dict[str, Any], ...] = (
        {"mcp_servers": {"a": {}}},
        {"settings": {"a": 1}},
        {"interface": "http"},
        {"mode": "x"},
    )
    for options in wrong:
        with pytest.raises(InvalidRequestError):
            Client("antigravity", **fake.options(**options))


async def test_what_is_left_out_is_said(fake: Fake) -> None:
    """Harmlessly."""
    async with Client("antigravity", **fake.options()) as client:
        reply = await client.complete("Hi", max_tokens=5, temperature=0.5, reasoning=1000)
    assert len(reply.warnings) == 3


async def test_a_long_prompt_goes_another_way(fake: Fake) -> None:
    """An argument holds 128 KiB: more is said on standard input, in any script."""
    prompt = "ü\u2028" * 100_000
    async with Client("antigravity", **fake.options()) as client:
        reply = await client.complete(prompt)
    assert reply.text == "Hello there, this is a test."
    assert "-p" not in fake.starts[0]["argv"]
    (said,) = [fact["stdin"] for fact in fake.facts if fact.get("stdin")]
    assert said == {"event": "user", "message": {"role": "user", "content": [{"type": "text", "text": prompt}]}}
    async with Client("antigravity", **fake.options(interface="text")) as client:
        with pytest.raises(InvalidRequestError, match="120 KiB"):
            await client.complete(prompt)


async def test_a_process_for_a_session(fake: Fake) -> None:
    """interface="stdin": two turns in one process, and it ends with the client."""
    async with nothing_left():
        async with Client("antigravity", **fake.options(interface="stdin")) as client:
            first = await client.complete("One.")
            second = await client.complete([*first.messages, Message("user", "Two.")])
            assert (first.text, second.text) == ("Hello there, this is a test.",) * 2
            assert len(fake.starts) == 1
        said = [fact["stdin"]["message"]["content"][0]["text"] for fact in fake.facts if fact.get("stdin")]
        assert said == ["One.", "Two."]


async def test_a_schema(fake: Fake) -> None:
    """It has a flag for it, and its own object wins."""

    async with Client("antigravity", **fake.options("schema")) as client:
        reply = await client.complete("What is it?", output=Answer)
    assert reply.output == Answer(answer=42)
    assert json.loads(flags(fake.starts[0])["--json-schema"])["properties"]["answer"]["type"] == "integer"
    async with Client("antigravity", **fake.options("plain", interface="text")) as client:
        with pytest.raises(LLMError):
            await client.complete("What is it?", output=Answer)
    assert "JSON Schema" in flags(fake.starts[-1])["-p"]


async def test_quota(fake: Fake) -> None:
    """When it is over is a time."""
    async with Client("antigravity", **fake.options("quota")) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.complete("Hi")
    assert caught.value.reset_time is not None
    assert caught.value.retry_after == pytest.approx(8338, abs=30)


async def test_no_such_program(tmp_path: Path) -> None:
    """Says how to install it."""
    async with Client("antigravity", executable=str(tmp_path / "agy"), retry=0) as client:
        with pytest.raises(NotFoundError, match=r"antigravity\.google"):
            await client.complete("Hi")


async def test_it_says_nothing(fake: Fake) -> None:
    """start_timeout, and its process is gone."""
    async with nothing_left(), Client("antigravity", **fake.options(do="silent", start_timeout=0.5)) as client:
        with pytest.raises(ConnectTimeout, match="start_timeout"):
            await client.complete("Hi")


async def test_it_stays_after_its_result(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is not held up by it for long, and it is ended."""
    monkeypatch.setattr("asyncllm.backends.agents._antigravity.LAST_WORDS", 0.2)
    async with nothing_left(), Client("antigravity", **fake.options(do="linger")) as client:
        assert (await client.complete("Hi")).text == "Hello there, this is a test."


async def test_closing_early_interrupts(fake: Fake) -> None:
    """It is told by a signal, and where the conversation is, is known."""
    async with nothing_left(), Client("antigravity", **fake.options(do="hold")) as client:
        async with client.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        assert stream.partial.session is not None
        assert stream.partial.session.id == CONVERSATION
    assert fake.facts[-1] == {"signal": "SIGINT"}


async def test_cancelling(fake: Fake) -> None:
    """Nothing is left of a turn whose task is cancelled."""
    begun = asyncio.Event()

    async def ask(client: Client) -> None:
        async for event in client.stream("Hi"):
            if isinstance(event, TextDelta):
                begun.set()

    async with nothing_left(), Client("antigravity", **fake.options(do="hold")) as client:
        task = asyncio.create_task(ask(client))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_several_at_once(fake: Fake) -> None:
    """Each turn has its process."""
    async with nothing_left(), Client("antigravity", **fake.options("tool")) as client:
        replies = await asyncio.gather(*(client.complete(f"Turn {at}") for at in range(5)))
    assert [reply.text for reply in replies] == ["It is 42."] * 5
    assert len(fake.starts) == 5


async def test_a_limit_of_the_program_is_a_timeout(fake: Fake) -> None:
    """Though it calls it a success."""
    async with Client("antigravity", **fake.options("timeout")) as client:
        with pytest.raises(LLMTimeoutError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert caught.value.partial.text == "This is only the beg"


async def test_plain_text_goes_on_with_a_conversation(fake: Fake) -> None:
    """One that is named: it tells none of its own."""
    session = Session(backend="antigravity", id=CONVERSATION)
    async with Client("antigravity", **fake.options("plain", interface="text")) as client:
        first = await client.complete("Hi")
        second = await client.complete("Hi", session=session)
        with pytest.raises(InvalidRequestError, match="empty"):
            await client.complete([Message("user", [Text(" ")])])
    assert first.session is None
    assert second.session == session
    assert [flags(start).get("--conversation") for start in fake.starts] == [None, CONVERSATION]


async def test_a_program_that_cannot_be_run(fake: Fake) -> None:
    """Said as what it is."""
    fake.path.write_bytes(b"\x7fELF no program")
    async with Client("antigravity", **fake.options()) as client:
        with pytest.raises(InvalidRequestError, match="cannot be run"):
            await client.complete("Hi")


def test_the_name(fake: Fake) -> None:
    """`agy` is another name of it."""
    make: Callable[[str], Client] = lambda name: Client(name, **fake.options())  # noqa: E731
    assert make("agy").model == make("antigravity").model
