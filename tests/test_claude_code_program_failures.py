"""Claude Code as a program that fails, breaks, lies or hangs; and nothing is left of it."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from _agents import Step, complains, drains, ends, events_of, holds, played, reads, says
from _children import becomes
from _claude_program import (
    USER,
    Stage,
    answer,
    begins,
    calls,
    given,
    init,
    line,
    once,
    result,
    retries,
    sse,
    stops,
    text,
    turn,
)

from asyncllm import Client, Timeout
from asyncllm.events import (
    ConnectTimeout,
    Finish,
    IncompleteStreamError,
    InterTokenTimeout,
    InvalidRequestError,
    LLMError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RawEvent,
    Retrying,
    ServerError,
    StreamError,
    StreamEvent,
    TextDelta,
)

pytestmark = [played, pytest.mark.req("seed-A9")]

BEGUN = init() + begins() + text("word ")
INTERRUPTED = result(subtype="error_during_execution", is_error=True, terminal_reason="aborted_streaming")
both = pytest.mark.parametrize("interface", ["stream-json", "print"])


async def failure(client: Client, said: str = "Hi", **options: Any) -> LLMError:
    last = (await events_of(client, said, **options))[-1]
    assert isinstance(last, StreamError)
    assert last.error.provider == "claude-code"
    return last.error


def words_of(events: list[StreamEvent]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


# ---- a program that does not run


@pytest.mark.parametrize("kind", ["missing", "not executable", "not on PATH"])
async def test_a_missing_program_says_how_to_install_it(tmp_path: Path, kind: str) -> None:
    (tmp_path / "claude").write_text("#!/bin/sh\n")
    named = {"missing": str(tmp_path / "nothing"), "not executable": str(tmp_path / "claude"), "not on PATH": None}[
        kind
    ]
    async with Client("claude-code", executable=named, env={"PATH": str(tmp_path)}, home=str(tmp_path)) as client:
        with pytest.raises(NotFoundError, match="npm install -g @anthropic-ai/claude-code"):
            await client.complete("Hi")


async def test_a_program_that_cannot_run(tmp_path: Path) -> None:
    path = tmp_path / "claude"
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o700)
    async with Client("claude-code", executable=str(path), home=str(tmp_path)) as client:
        with pytest.raises(InvalidRequestError, match="cannot be run"):
            await client.complete("Hi")


@both
@pytest.mark.parametrize("reading", [True, False])
async def test_a_program_that_says_nothing(tmp_path: Path, interface: str, reading: bool) -> None:
    """Nor reads anything, perhaps."""
    stage = Stage(tmp_path, [*([reads("word")] if reading and interface == "stream-json" else []), holds()])
    async with stage.client(start_timeout=0.3, interface=interface) as client:
        with pytest.raises(ConnectTimeout, match="start_timeout="):
            await client.complete("word " * 200_000)
    assert not stage.alive()


async def test_a_program_that_says_nothing_later(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [reads(USER), says(BEGUN), reads('"interrupt"'), says(INTERRUPTED), drains()])
    async with stage.client() as client:
        events = await events_of(client, timeout=Timeout(inter_token=0.3))
    assert isinstance(events[-1], StreamError)
    assert isinstance(events[-1].error, InterTokenTimeout)
    assert words_of(events) == "word "
    assert not stage.alive()


# ---- lies


@both
@pytest.mark.parametrize("code", [0, 1, 143])
@pytest.mark.parametrize("said", [b"", init(), BEGUN, BEGUN + b'{"type":"resu'])
async def test_it_ends_without_a_result(tmp_path: Path, interface: str, code: int, said: bytes) -> None:
    """An exit code is no success, and no answer is whole without its result."""
    stage = Stage(tmp_path, [reads(USER) if interface == "stream-json" else drains(), says(said), ends(code)])
    async with stage.client(interface=interface) as client:
        events = await events_of(client)
    assert not any(isinstance(event, Finish) for event in events)
    last = events[-1]
    assert isinstance(last, StreamError)
    assert type(last.error) is IncompleteStreamError
    assert last.error.retryable
    assert words_of(events) == ("word " if said.startswith(BEGUN) else "")
    assert f"exit code {code}" in last.error.message


@pytest.mark.parametrize("interface", ["json", "text"])
@pytest.mark.parametrize("code", [0, 137])
async def test_whole_answers_that_are_none(tmp_path: Path, interface: str, code: int) -> None:
    stage = Stage(tmp_path, once(code=code))
    async with stage.client(interface=interface) as client:
        assert type(await failure(client)) is IncompleteStreamError


@pytest.mark.parametrize("interface", ["stream-json", "print", "json"])
async def test_a_result_with_an_error_is_not_an_answer(tmp_path: Path, interface: str) -> None:
    """Though it calls itself a success, and the program ends with 0."""
    bad = result("API Error: 529 Overloaded", is_error=True, api_error_status=529, tokens=0)
    stage = Stage(tmp_path, [reads(USER) if interface == "stream-json" else drains(), says(bad), drains(), ends(0)])
    async with stage.client(interface=interface) as client:
        events = await events_of(client)
    assert words_of(events) == ""
    assert isinstance(events[-1], StreamError)
    assert type(events[-1].error) is OverloadedError


@both
async def test_only_standard_error(tmp_path: Path, interface: str) -> None:
    """It does not like its command line. What it says is clean of colours and of keys."""
    stage = Stage(tmp_path, [complains("\x1b[31merror: bad key sk-ant-api03-abcdefghijklmnop\x1b[0m\n"), ends(1)])
    async with stage.client(interface=interface) as client:
        error = await failure(client)
    assert type(error) is InvalidRequestError
    assert "error: bad key sk-" in error.message
    assert "abcdefgh" not in str(error)
    assert "\x1b" not in error.message


@both
async def test_noise_is_skipped(tmp_path: Path, interface: str) -> None:
    """Lines that are no JSON, before and between, and kinds of messages that nobody knows."""
    odd = b"(node:1) Warning: beta\n" + line("system", subtype="new_thing") + line("new_kind", a=1) + b'[1]\n"x"\n\n'
    said = answer("Hello.").replace(b"\n", b"\n" + odd)
    stage = Stage(tmp_path, [reads(USER) if interface == "stream-json" else drains(), says(odd + said), drains()])
    async with stage.client(interface=interface) as client:
        reply = await client.complete("Hi")
    assert (reply.text, reply.finish_reason, reply.steps) == ("Hello.", "stop", 1)


async def test_unknown_kinds_for_who_wants_them(tmp_path: Path) -> None:
    stage = Stage(tmp_path, once(line("new_kind", a=1), answer("Hello.")))
    async with stage.client(interface="print") as client:
        raw = [event.data for event in await events_of(client, raw=True) if isinstance(event, RawEvent)]
    assert [data["type"] for data in raw if isinstance(data, dict)] == ["new_kind"]


async def test_nothing_but_noise(tmp_path: Path) -> None:
    stage = Stage(tmp_path, once(b"What is this?\n"))
    async with stage.client(interface="print") as client:
        error = await failure(client)
    assert type(error) is ProtocolError
    assert "What is this?" in error.message


@pytest.mark.req("I1")
async def test_huge_lines(tmp_path: Path) -> None:
    words = "\u2028\x85 word " * 600_000
    stage = Stage(tmp_path, turn(words))
    async with stage.client() as client:
        reply = await client.complete("Hi")
    assert reply.text == words


# ---- the API fails


async def test_our_retries_begin_anew(tmp_path: Path) -> None:
    """Another process, that is told the same; what was asked is in no session twice."""
    bad = init() + result("API Error: 500", is_error=True, api_error_status=500, tokens=0)
    stage = Stage(tmp_path, [reads(USER), says(bad), drains()], turn("Hello."))
    async with stage.client(retry=1) as client:
        events = await events_of(client)
    (retrying,) = (event for event in events if isinstance(event, Retrying))
    assert type(retrying.error) is ServerError
    assert words_of(events) == "Hello."
    assert stage.said(0) == stage.said(1) == ["Hi"]
    assert "--resume" not in stage.fake.runs[1].argv
    assert not stage.alive()


async def test_its_own_retries_are_seen(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [reads(USER), says(init() + retries() + answer("Hello."))])
    async with stage.client(retries=1) as client:
        events = await events_of(client)
    (retrying,) = (event for event in events if isinstance(event, Retrying))
    assert type(retrying.error) is OverloadedError
    assert (retrying.attempt, retrying.delay, retrying.error.status) == (1, 0.5, 529)


async def test_it_is_killed_while_it_retries(tmp_path: Path) -> None:
    """The error says why it had not answered."""
    stage = Stage(tmp_path, [reads(USER), says(init() + retries(429, "rate_limit")), ends(-9)])
    async with stage.client(retries=1) as client:
        error = await failure(client)
    assert type(error) is IncompleteStreamError
    assert "HTTP 429: rate_limit" in error.message


async def test_what_was_said_is_not_asked_for_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [reads(USER), says(BEGUN), ends(-9)])
    async with stage.client(retry=3) as client:
        error = await failure(client)
    assert type(error) is IncompleteStreamError
    assert len(stage.fake.runs) == 1


async def test_a_broken_attempt_is_a_step_of_its_own(tmp_path: Path) -> None:
    """The program asks again in the middle of an answer: what was said is not the answer, and no secret."""
    again = begins("msg_2") + sse("message_stop") + answer("Whole.", number=3).split(b"\n", 1)[1]
    stage = Stage(tmp_path, [reads(USER), says(BEGUN + again), drains()])
    async with stage.client() as client:
        stream = client.stream("Hi")
        events = [event async for event in stream]
        reply = await stream.reply()
    assert [event.reason for event in events if isinstance(event, Finish)] == ["error", "error", "stop"]
    tries = [event for event in events if isinstance(event, Retrying)]
    assert [(event.attempt, type(event.error)) for event in tries] == [
        (1, IncompleteStreamError),
        (2, IncompleteStreamError),
    ]
    assert reply.text == "Whole."
    assert reply.finish_reason == "stop"


# ---- killed, closed, cancelled


@pytest.mark.req("I2")
@both
async def test_killed_in_the_middle(tmp_path: Path, interface: str) -> None:
    """What was said stays said; the call it was making is no call."""
    begun = BEGUN + sse("content_block_start", index=1, content_block={"type": "tool_use", "id": "t1", "name": "Read"})
    begun += sse("content_block_delta", index=1, delta={"type": "input_json_delta", "partial_json": '{"a'})
    script: list[Step] = [reads(USER) if interface == "stream-json" else drains(), says(begun), holds()]
    stage = Stage(tmp_path, script)
    async with stage.client(interface=interface) as client:
        stream = client.stream("Hi")
        with pytest.raises(IncompleteStreamError, match="signal 9") as caught:
            async for event in stream:
                if isinstance(event, TextDelta):
                    os.kill(stage.fake.runs[0].pid, signal.SIGKILL)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "word "
    assert stream.partial.session is not None
    assert not any(call.executed and not call.invalid for call in caught.value.partial.tool_calls)
    assert not stage.alive()


@both
@pytest.mark.parametrize("polite", [True, False])
async def test_closed_in_the_middle(tmp_path: Path, interface: str, polite: bool) -> None:
    """By the protocol if the program listens, and else by force."""
    steps = [reads('"interrupt"'), says(INTERRUPTED), drains()] if polite else [holds()]
    stage = Stage(tmp_path, [reads(USER) if interface == "stream-json" else drains(), says(BEGUN), *steps])
    async with stage.client(interface=interface) as client:
        async with client.stream("Hi") as stream:
            async for _ in stream.text:
                break
        kept = polite and interface == "stream-json"
        assert len(stage.alive()) == kept  # for another turn
    assert not stage.alive()


@pytest.mark.req("I3")
async def test_cancelled_in_the_middle(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [reads(USER), says(BEGUN), reads('"interrupt"'), says(INTERRUPTED), drains()])
    heard = asyncio.Event()

    async def listen(client: Client) -> None:
        async for _ in client.stream("Hi").text:
            heard.set()

    async with stage.client() as client:
        task = asyncio.create_task(listen(client))
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await becomes(lambda: not stage.alive())  # nobody waits for what was cancelled


async def test_cancelled_at_the_start(tmp_path: Path) -> None:
    """Before it has said anything: its process ends, and its files are gone."""
    fifo = tmp_path / "begun"
    os.mkfifo(fifo)
    stage = Stage(tmp_path, [["complain", ""], holds()])
    program = stage.fake.path.read_text().replace("runs = json", f'open({str(fifo)!r}, "w").close()\n    runs = json')
    stage.fake.path.write_text(program)
    async with stage.client(system="secret") as client:
        task = asyncio.create_task(client.complete("Hi", system="Be brief."))
        await asyncio.to_thread(fifo.read_text)  # it runs
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not Path(stage.argument("--system-prompt-file")).parent.exists()
    await becomes(lambda: not stage.alive())


async def test_the_client_is_closed_in_the_middle(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [reads(USER), says(BEGUN), reads('"interrupt"'), says(INTERRUPTED), drains()])
    client = stage.client()
    stream = client.stream("Hi")
    async for _ in stream.text:
        await client.aclose()
        break
    with pytest.raises(IncompleteStreamError):
        await stream.reply()
    assert not stage.alive()


def test_its_loop_is_gone(tmp_path: Path) -> None:
    """A client that nobody closed: what lived under its loop goes when it is closed under another."""
    stage = Stage(tmp_path, [*turn("Hello."), drains()])
    client = stage.client()
    asyncio.run(client.complete("Hi"))  # type: ignore[arg-type]
    asyncio.run(client.aclose())
    asyncio.run(becomes(lambda: not stage.alive()))


async def test_a_call_of_its_own_that_makes_no_sense(tmp_path: Path) -> None:
    """It is said with the result that says so."""
    bad = init() + begins() + calls("t1", "Read", '{"a') + stops("tool_use")
    bad += given("t1", "InputValidationError", is_error=True)
    stage = Stage(tmp_path, [reads(USER), says(bad + answer("Sorry.", number=2)), drains()])
    async with stage.client() as client:
        reply = await client.complete("Hi")
    assert reply.text == "Sorry."
    results = [part for message in reply.messages for part in message.parts if type(part).__name__ == "ToolResult"]
    assert [(part.id, part.is_error) for part in results] == [("t1", True)]  # type: ignore[union-attr]
