"""What the agents' programs have in common: what they say and call, what they are answered, and how they end."""

from __future__ import annotations

import asyncio
import sys

import pytest

from asyncllm.backends.agents._agent import AgentBackend, Channel
from asyncllm.backends.agents._options import AgentOptions
from asyncllm.backends.agents._program import exit_of, lines_or_calls, silent, start_program, tell
from asyncllm.backends.agents._tool_server import Call, ToolServer, ToolSession
from asyncllm.events import InvalidRequestError, Message, Session, ToolCall, ToolResult
from asyncllm.events._errors import MESSAGE_LIMIT
from asyncllm.protocols import Request, Tool
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.agents._turn import UNANSWERED, Turn, check_choice, results_for, turn_of
from asyncllm.protocols.agents._words import clipped, parse_line
from asyncllm.protocols.claude_code import StreamDecoder
from asyncllm.transports._process import Process

TOOL = Tool("add", "Adds.", {"type": "object"})
CALL = Call("c1", "add", {})


async def python(code: str) -> Process:
    return await start_program("robot", [sys.executable, "-IS", "-c", code], env={}, cwd="/")


def asked(**options: object) -> Request:
    return Request(model="m", messages=(Message("user", "Hi"),), tools=(TOOL,), **options)


# ---- the program


async def test_what_cannot_be_run() -> None:
    """Says which agent, and which program."""
    with pytest.raises(InvalidRequestError, match=r"^robot: /no/such/program cannot be run: "):
        await start_program("robot", ["/no/such/program"], env={}, cwd="/")


async def test_nobody_listens() -> None:
    """That is no failure of its own: its last words say why."""
    process = await python("print('no')")
    await process.wait()
    await tell(process, b"x" * 1_000_000)
    assert await process.lines() == [b"no"]
    assert await exit_of(process, 5) == Exit(0)
    await process.stop(0)


async def test_it_still_runs() -> None:
    """Then its exit code is not known."""
    process = await python("import sys; sys.stdin.read()")
    assert (await exit_of(process, 0)).code is None
    await process.stop(0)


def test_it_says_nothing() -> None:
    assert str(silent("robot", 1.50)).startswith("robot said nothing for 1.5 s after its start (start_timeout=")


# ---- lines, or calls


class Says:
    """A process, or the tools of a session: gives what it is fed, and counts what it was asked."""

    def __init__(self) -> None:
        self.fed: list[object] = []
        self.news = asyncio.Event()
        self.cancelled = 0

    def feed(self, *more: object) -> None:
        self.fed += more
        self.news.set()

    async def lines(self) -> list[object]:
        try:
            while not self.fed:
                self.news.clear()
                await self.news.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        taken, self.fed = self.fed, []
        return taken

    came = lines


async def test_what_comes_first() -> None:
    process, tools = Says(), Says()
    process.feed(b"1", b"2")
    assert await lines_or_calls(process, tools) == ([b"1", b"2"], [])
    waiting = asyncio.create_task(lines_or_calls(process, tools))
    await asyncio.sleep(0)
    tools.feed(CALL)
    assert await waiting == (None, [CALL])
    process.feed(b"3")
    tools.feed(CALL)
    assert await lines_or_calls(process, tools) == ([b"3"], [CALL])
    process.feed(b"4")
    assert await lines_or_calls(process, None) == ([b"4"], [])


async def test_it_is_cancelled() -> None:
    """Nothing is left waiting, and nothing is lost."""
    process, tools = Says(), Says()
    waiting = asyncio.create_task(lines_or_calls(process, tools))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert (process.cancelled, tools.cancelled) == (1, 1)
    process.feed(b"1")
    assert await lines_or_calls(process, tools) == ([b"1"], [])


# ---- choices and results


def test_the_tools_that_are_offered() -> None:
    """None where none is to be called; and nobody can be made to call one."""
    assert turn_of(asked(), "robot").tools == (TOOL,)
    assert turn_of(asked(tool_choice="none"), "robot").tools == ()
    for choice in (None, "auto", "none"):
        check_choice(asked(tool_choice=choice), "robot")
    for choice in ("required", "add"):
        with pytest.raises(InvalidRequestError, match=f"robot chooses .* tool_choice={choice!r}"):
            check_choice(asked(tool_choice=choice), "robot")


class Robot(AgentBackend):
    def key_of(self, turn: Turn) -> object:
        return None

    async def connect(self, turn: Turn) -> Channel:
        raise AssertionError(turn)


async def test_a_choice_is_refused_before_anything_is_started() -> None:
    """Also where the request brings the results of a turn that stands still."""
    results = (Message("assistant", [ToolCall("c1", "add", {})]), Message("tool", [ToolResult("c1", "add", "3")]))
    for messages in ((Message("user", "Hi"),), results):
        request = Request(model="m", messages=messages, tools=(TOOL,), tool_choice="required")
        (batch,) = [batch async for batch in Robot("robot", AgentOptions()).stream(request)]
        assert [type(event.error) for event in batch] == [InvalidRequestError]


def test_every_call_has_a_result() -> None:
    """In the order of the calls; what answers none of them is left out."""
    given = [ToolResult("c2", "mul", "6"), ToolResult("c9", "sub", "0")]
    lost, found = results_for({"c1": "add", "c2": "mul"}, given)
    assert (lost.id, lost.name, lost.content, lost.is_error) == ("c1", "add", UNANSWERED, True)
    assert found is given[0]


def test_a_session_of_tools_answers_all(monkeypatch: pytest.MonkeyPatch) -> None:
    answered: list[ToolResult] = []
    monkeypatch.setattr(ToolSession, "answer", lambda self, id, result: answered.append(result))
    ToolServer().add([TOOL]).answer_all(("c1", "c2"), [ToolResult("c2", "add", "3")])
    assert [(result.id, result.text) for result in answered] == [("c1", UNANSWERED), ("c2", "3")]


# ---- words


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b'{"a":1}', {"a": 1}),
        (b'{"a":"\xff"}', {"a": "\ufffd"}),
        (b'{"a":"\\ud83d"}', {"a": "\ud83d"}),
        (b"[" * 100_000, None),
        (b"no JSON", None),
        (b"", None),
    ],
)
def test_lines_of_any_bytes(line: bytes, found: object) -> None:
    assert parse_line(line) == found


def test_a_decoder_that_is_told_any_bytes() -> None:
    """It never raises, also where a string is no UTF-8."""
    decoder = StreamDecoder(Session(backend="claude-code", id=""))
    decoder.decode_lines([b'{"type":"system","x":"\xff"}'])
    assert not decoder.done


def test_long_words() -> None:
    assert clipped("x" * MESSAGE_LIMIT) == "x" * MESSAGE_LIMIT
    assert clipped("x" * 1000) == "x" * MESSAGE_LIMIT + "…"
