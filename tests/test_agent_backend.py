"""What all agents' backends share: sessions that are alive, turns that stand still for results of our tools, and their end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from asyncllm import (
    Client,
    Conversation,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    Message,
    ServerError,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    Timeout,
    ToolCall,
    ToolResult,
)
from asyncllm.backends.agents._agent import PARKED, AgentBackend, Channel
from asyncllm.backends.agents._options import AgentOptions
from asyncllm.protocols.agents._turn import Turn, mark

pytestmark = [pytest.mark.req("seed-F3")]


class Robot(AgentBackend):
    """An agent that lives in this process. It says back what it is told, and calls `add` when it is told to."""

    def __init__(self, **options: Any) -> None:
        super().__init__("robot", AgentOptions(**options))
        self.channels: list[Voice] = []
        self.quiet = asyncio.Event()
        self.interrupts: asyncio.Barrier | None = None  # how many must be interrupted before one of them is
        self.was_shut_down = False

    def key_of(self, turn: Turn) -> object:
        return turn.system

    async def connect(self, turn: Turn) -> Channel:
        old = turn.session
        new = f"s{len(self.channels) + 1}"
        voice = Voice(self, turn, new if old is None or old.fork else old.id)
        self.channels.append(voice)
        return voice

    async def shut_down(self) -> None:
        self.was_shut_down = True


class Voice(Channel):
    def __init__(self, robot: Robot, turn: Turn, session: str) -> None:
        self.robot, self.key, self.session_id = robot, robot.key_of(turn), session
        self.forked_from = turn.session.id if turn.session is not None and turn.session.fork else ""
        self.turns: list[Turn] = []
        self.closed = self.aborted = self.interrupted = False
        self.reusable = True
        self.calls = 0

    @property
    def session(self) -> Session:
        return Session(backend="robot", id=self.session_id, turn=self.turn_id)

    async def say(self, turn: Turn) -> None:
        self.turns.append(turn)
        if turn.text == "say fails":
            raise ServerError("it did not listen", retryable=False)

    async def next(self) -> list[StreamEvent]:
        turn = self.turns[-1]
        start: list[StreamEvent] = [StreamStart("m", backend="robot", warnings=turn.warnings), self.session]
        match turn.text:
            case "wait":
                self.robot.quiet.set()
                await asyncio.Event().wait()
            case "break":
                raise OSError("the pipe is gone")
            case "fail":
                return [*start, StreamError(ServerError("no", retryable=False))]
            case "work":
                if not self.calls:
                    self.calls = 1
                    return [*start, ToolCall("own", "Bash", {}, executed=True)]
                await asyncio.sleep(0.1)  # longer than the silence that is allowed
        if turn.text.startswith("call"):
            self.calls += 1
            self.waiting = (f"{self.session_id}-{self.calls}",)
            call = ToolCall(self.waiting[0], "add", {"a": 1, "b": 2})
            return [*start, call, TextDelta("", mark(self.session)), Finish("tool_calls")]
        self.waiting = ()
        self.turn_id = f"t{len(self.turns)}"
        said = "".join(result.text for result in turn.results) or turn.text
        return [*start, TextDelta(said), TextDelta("", mark(self.session)), self.session, Finish("stop")]

    async def interrupt(self) -> bool:
        self.interrupted = True
        if self.robot.interrupts is not None:
            await self.robot.interrupts.wait()
        return self.reusable

    async def aclose(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


async def test_a_conversation_is_one_session() -> None:
    """Each turn is said to the process that waits for it, and only what is new."""
    robot = Robot()
    async with Client(robot) as client:
        chat = Conversation()
        for text in ("one", "two", "three"):
            chat.append(text)
            chat.append(await client.complete(chat))
    (voice,) = robot.channels
    assert [turn.text for turn in voice.turns] == ["one", "two", "three"]
    assert chat.session is not None
    assert (chat.session.id, chat.session.turn) == ("s1", "t3")
    assert voice.closed
    assert robot.was_shut_down


async def test_another_start_ends_the_process_and_resumes() -> None:
    """What it was started with has changed: the same session, another process, and never two of one session."""
    robot = Robot()
    async with Client(robot) as client:
        first = await client.complete("one", system="A")
        await client.complete([*first.messages, Message("user", "two")], system="B")
        old, new = robot.channels
        assert old.closed
        assert (new.session_id, new.forked_from) == ("s1", "")


async def test_from_an_older_turn_it_is_forked() -> None:
    robot = Robot()
    async with Client(robot) as client:
        first = await client.complete("one")
        await client.complete([*first.messages, Message("user", "two")])
        await client.complete([*first.messages, Message("user", "other two")])
        assert [voice.forked_from for voice in robot.channels] == ["", "s1"]
        await client.complete("three", session=first.session)
        assert first.session is not None
        await client.complete("four", session=Session(backend="robot", id="s1").forked())
    assert [voice.forked_from for voice in robot.channels] == ["", "s1", "s1", "s1"]


async def test_in_the_middle_of_a_turn_it_is_forked() -> None:
    """Two turns at once of one session would mix."""
    robot = Robot()
    session = Session(backend="robot", id="s9")
    async with Client(robot, session=session) as client:
        busy = client.stream("wait")
        reading = asyncio.ensure_future(busy.reply())
        await robot.quiet.wait()
        await client.complete("meanwhile")
        assert [voice.session_id for voice in robot.channels] == ["s9", "s2"]
        assert robot.channels[1].forked_from == "s9"
        await busy.aclose()
        with pytest.raises(IncompleteStreamError):
            await reading


async def test_our_tools() -> None:
    """The turn stands still while they run, and goes on with their results: one process, one session, two steps."""
    robot = Robot()
    async with Client(robot) as client:
        reply = await client.run("call", tools=[add]).reply()
        assert reply.text == "3"
        assert reply.steps == 2
        assert [message.role for message in reply.messages] == ["user", "assistant", "tool", "assistant"]
        following = await client.complete([*reply.messages, Message("user", "more")])
    (voice,) = robot.channels
    assert voice.turns[1].results == (ToolResult("s1-1", "add", "3"),)
    assert following.text == "more"


async def test_results_of_a_turn_that_is_gone() -> None:
    """Another client knows the session, but no turn of it that waits: they are told in words, and that is said."""
    async with Client(Robot()) as client:
        asked = await client.complete("call")
    robot = Robot()
    results = Message("tool", [ToolResult("s1-1", "add", "3")])
    async with Client(robot) as client:
        reply = await client.complete([*asked.messages, results])
    (voice,) = robot.channels
    assert voice.session_id == "s1"
    assert "[result of add] 3" in voice.turns[0].text
    assert reply.warnings


async def test_turns_that_nobody_comes_back_to() -> None:
    """So many may stand still; then the oldest is ended."""
    robot = Robot()
    async with Client(robot) as client:
        for _ in range(PARKED + 2):
            await client.complete("call")
        await asyncio.sleep(0)
        assert [voice.closed for voice in robot.channels] == [True, True, *[False] * PARKED]
    assert all(voice.closed for voice in robot.channels)


async def test_so_many_processes_wait() -> None:
    robot = Robot(idle_processes=2)
    async with Client(robot) as client:
        for text in ("a", "b", "c"):
            await client.complete(text)
        await asyncio.sleep(0)
        assert [voice.closed for voice in robot.channels] == [True, False, False]
    robot = Robot(idle_processes=0)
    async with Client(robot) as client:
        await client.complete("a")
    assert robot.channels[0].closed


@pytest.mark.parametrize("reusable", [True, False])
async def test_leaving_in_the_middle(reusable: bool) -> None:
    """The turn is interrupted; the process is kept if it can be used again, and ended if not."""
    robot = Robot()
    async with Client(robot) as client:
        stream = client.stream("wait")
        reading = asyncio.ensure_future(stream.reply())
        await robot.quiet.wait()
        (voice,) = robot.channels
        voice.reusable = reusable
        await stream.aclose()
        with pytest.raises(IncompleteStreamError):
            await reading
        assert voice.interrupted
        assert voice.closed is not reusable
        assert not voice.aborted


async def test_cancelling_aborts() -> None:
    robot = Robot()
    async with Client(robot) as client:
        reading = asyncio.ensure_future(client.complete("wait"))
        await robot.quiet.wait()
        reading.cancel()
        with pytest.raises(asyncio.CancelledError):
            await reading
        assert robot.channels[0].aborted


async def test_closing_the_client_breaks_its_turns() -> None:
    robot = Robot()
    client = Client(robot)
    reading = asyncio.ensure_future(client.complete("wait"))
    await robot.quiet.wait()
    await client.aclose()
    with pytest.raises(IncompleteStreamError, match="the client was closed"):
        await reading
    assert robot.channels[0].closed


async def test_closing_the_client_interrupts_all_at_once() -> None:
    """One that is slow to stop does not hold up the others."""
    robot = Robot()
    robot.interrupts = asyncio.Barrier(3)
    client = Client(robot)
    streams = [await client.stream("work") for _ in range(3)]
    async with asyncio.timeout(5):
        await client.aclose()
    assert [voice.interrupted for voice in robot.channels] == [True] * 3
    for stream in streams:
        with pytest.raises(IncompleteStreamError, match="client was closed"):
            await stream.reply()


@pytest.mark.parametrize(("text", "said"), [("say fails", "listen"), ("break", "pipe is gone"), ("fail", "no")])
async def test_failures_end_the_process(text: str, said: str) -> None:
    """With a typed error that names the agent; what is in doubt is not used again."""
    robot = Robot()
    async with Client(robot, retry=0) as client:
        with pytest.raises(LLMError, match=said) as caught:
            await client.complete(text)
        assert caught.value.provider == "robot"
        assert robot.channels[0].closed


async def test_its_own_tools_take_their_time() -> None:
    """While a tool of the agent's runs, silence is no reason to give up (`timeout.inter_token` is for the model)."""
    async with Client(Robot(), timeout=Timeout(inter_token=0.02)) as client:
        reply = await client.complete("work")
    assert reply.text == "work"


async def test_a_session_of_another_agent() -> None:
    async with Client(Robot()) as client:
        with pytest.raises(InvalidRequestError, match="one of codex, not of robot"):
            client.stream("Hi", session=Session(backend="codex", id="x"))
        with pytest.raises(InvalidRequestError, match="session must be a Session"):
            client.stream("Hi", session=42)  # type: ignore[arg-type]


async def test_prompt_goes_on_from_bytes() -> None:
    """The bytes of a result hold the agent's session, and bring it to another client."""
    async with Client(Robot()) as client:
        result = await client.prompt("one")
    robot = Robot()
    async with Client(robot, session=result.session) as client:
        following = await client.prompt("two")
    assert following.success
    assert robot.channels[0].session_id == "s1"
    assert robot.channels[0].turns[0].text == "two"
    assert [message.text for message in following.stream_result.messages] == ["one", "one", "two", "two"]


def test_another_loop(tmp_path: Path) -> None:
    """What lived under a loop that is gone is let go of; the next turn starts anew."""
    robot = Robot()
    client = Client(robot)

    def run(work: Callable[[], Any]) -> Any:
        return asyncio.run(work())

    first = run(lambda: client.complete("one"))
    run(lambda: client.complete([*first.messages, Message("user", "two")]))
    old, new = robot.channels
    assert old.aborted
    assert new.session_id == "s1"
    run(client.aclose)
    assert new.aborted


async def test_a_home_of_its_own() -> None:
    """Private, and gone with the client."""
    robot = Robot(isolated=True)
    async with Client(robot) as client:
        assert robot.home is not None
        home = Path(robot.home)
        assert home.stat().st_mode & 0o777 == 0o700
        await client.complete("Hi")
    assert not home.exists()
    assert Robot(home="/elsewhere").home == "/elsewhere"
    assert Robot().home is None


async def test_two_loops_at_once() -> None:
    """A process lives under one loop. The other is told so, and does not end what is under way."""
    robot = Robot()
    async with Client(robot) as client:
        async with client.stream("call") as stream:

            async def elsewhere() -> None:
                with pytest.raises(InvalidRequestError, match="one client a loop"):
                    await client.complete("two")

            await asyncio.to_thread(asyncio.run, elsewhere())
            assert (await stream.reply()).tool_calls
        assert not robot.channels[0].aborted


def test_options_keep_their_secrets() -> None:
    """Which were given is shown, and not what."""
    options = AgentOptions(env={"KEY": "hush"}, mcp_servers={"a": {"headers": {"x": "hush"}}}, cwd="/w")
    assert repr(options) == "AgentOptions(cwd, env, mcp_servers)"
    assert repr(AgentOptions()) == "AgentOptions()"
