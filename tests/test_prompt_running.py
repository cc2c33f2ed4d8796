"""A prompt under way: what it shows, how it is broken off, what its functions raise; and the same from blocking code."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import closing
from typing import Any

import pytest
from _rawserver import PATIENCE, STREAM_HEAD, RawConnection, chunk, raw_server_thread
from _replay import ROLE, sse, text
from _runs import DONE, call, calls, running_tools, serving

from asyncllm import (
    MCP,
    AuthenticationError,
    ConnectionFailedError,
    Finish,
    FunctionTool,
    IncompleteStreamError,
    RetryPolicy,
    Stopped,
    StreamEvent,
    StreamStart,
    SyncClient,
    TextDelta,
    ToolResult,
    check_order,
)
from asyncllm.testing import Answer, Stall, serve_in_thread

FAST = RetryPolicy(tries=1, base=0.001)


async def weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


LOOK = calls(call(city="Oslo"), text="Let me look.")


# ---- while it runs


async def test_events_as_they_come() -> None:
    """`on_event` sees everything a stream would say, in its order, while it is said."""
    go_on = asyncio.Event()
    seen: list[StreamEvent] = []

    def on_event(event: StreamEvent) -> None:
        seen.append(event)
        if isinstance(event, TextDelta) and event.text == "one":
            go_on.set()  # the rest is only said when this is heard

    async with serving([LOOK, Answer(["one", go_on, "two"])]) as (_, client):
        result = await client.prompt("Hi", tools=[weather], on_event=on_event)
    check_order(seen)
    assert result.result == "onetwo"
    assert sum(isinstance(event, StreamStart) for event in seen) == 2
    assert any(isinstance(event, ToolResult) for event in seen)
    async with serving([LOOK]) as (_, client):
        await client.prompt("Hi", tools=[weather], max_steps=1, on_event=seen.append)
    assert seen[-1] == Stopped("max_steps")


class Enough(Exception):
    """Raised by a program's own function."""


@pytest.mark.parametrize("kind", ["exception", "typed error", "group"])
@pytest.mark.parametrize("where", ["on_event", "approve", "stop_when"])
async def test_what_the_programs_functions_raise_is_raised(kind: str, where: str) -> None:
    """It ends the prompt at once, and is not mistaken for a failure of the model; out of a group comes what is in it."""

    def fails(*_: object) -> Any:
        match kind:
            case "group":
                raise ExceptionGroup("mine", [Enough("no")])
            case "typed error":
                raise IncompleteStreamError("mine")
        raise Enough("no")

    expected = IncompleteStreamError if kind == "typed error" else Enough
    async with serving([LOOK, DONE], retry=FAST) as (server, client):
        with pytest.raises(expected) as caught:
            await client.prompt("Hi", tools=[weather], **{where: fails})
        assert len(server.requests) == 1
        assert not running_tools()
    assert not isinstance(caught.value, ExceptionGroup)


class Down:
    """A server of tools that cannot be reached: what its task groups raise."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.asked = 0

    async def acquire(self) -> Any:
        self.asked += 1
        raise ExceptionGroup(
            "unhandled errors in a TaskGroup", [ExceptionGroup("inner", [ValueError("x"), self.error])]
        )  # type: ignore[list-item]

    async def release(self) -> None:
        raise AssertionError("it was never acquired")


@pytest.mark.req("seed-C")
async def test_groups_of_task_groups_are_unwrapped() -> None:
    """The typed leaf is raised, or retried and told, as if there were no groups around it."""
    async with serving(DONE, retry=FAST) as (server, client):
        refused = Down(AuthenticationError("the tool server refuses"))
        with pytest.raises(AuthenticationError, match="refuses"):
            await client.prompt("Hi", tools=[refused])
        assert refused.asked == 1
        broken = Down(IncompleteStreamError("the tool server is gone"))
        result = await client.prompt("Hi", tools=[broken])
        assert type(result.error) is IncompleteStreamError
        assert (result.success, broken.asked) == (False, 2)
        assert server.requests == []


@pytest.mark.req("seed-C", "seed-E1")
async def test_a_tool_server_that_is_down() -> None:
    """The real MCP client's task groups: a typed error that says which server, after the retries; the model was not asked."""
    pytest.importorskip("mcp")
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        port = listener.getsockname()[1]
    async with serving(DONE, retry=FAST) as (server, client):
        result = await client.prompt("Hi", tools=[MCP(f"http://127.0.0.1:{port}/weather/mcp")])
        assert server.requests == []
    assert type(result.error) is ConnectionFailedError
    assert str(port) in result.stderr
    assert (result.success, result.metadata.attempts) == (False, 2)
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.req("seed-C")
async def test_a_group_that_a_tool_raises_is_told_by_its_leaf() -> None:
    """The model reads what went wrong, not that something did in a TaskGroup."""

    async def grouped(city: str) -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(failing(city))
        return ""

    async def failing(city: str) -> None:
        raise LookupError(f"no {city} on the map")

    async with serving([calls(call("grouped", city="Oslo")), DONE]) as (_, client):
        result = await client.prompt("Hi", tools=[grouped])
    (told,) = [part for message in result.messages for part in message.parts if isinstance(part, ToolResult)]
    assert told.is_error
    assert told.text == "LookupError: no Oslo on the map"


class Counting:
    """A server of tools that counts its users."""

    def __init__(self) -> None:
        self.open = 0

    async def acquire(self) -> Any:
        self.open += 1
        return [FunctionTool(weather)]

    async def release(self) -> None:
        self.open -= 1


async def test_tool_servers_stay_open_from_attempt_to_attempt() -> None:
    """A session that has a state keeps it while the model's server has its troubles; at the end it is closed."""
    tools = Counting()
    seen: list[int] = []
    script = [LOOK, Answer.error(status=500), DONE]
    async with serving(script, retry=FAST) as (_, client):
        result = await client.prompt("Hi", tools=[tools], on_event=lambda event: seen.append(tools.open))
        assert result.metadata.attempts == 2
        assert min(seen) >= 1
        assert tools.open == 0


@pytest.mark.parametrize("when", ["answer", "tool", "start"])
async def test_cancelling_cancels_everything(when: str) -> None:
    """The connection, the running tools and the tools' servers go with the task."""
    reached = asyncio.Event()
    left = asyncio.Event()

    async def slow(city: str) -> str:
        reached.set()
        try:
            await asyncio.Event().wait()
        finally:
            left.set()
        return ""

    def on_event(event: StreamEvent) -> None:
        if isinstance(event, TextDelta) and when == "answer":
            reached.set()

    tools = Counting()
    stalled = Answer(["one", "two"], faults=[Stall(1)])
    if when == "start":

        async def never() -> Any:
            reached.set()
            await asyncio.Event().wait()

        tools.acquire = never  # type: ignore[method-assign]
    script = [stalled] if when == "answer" else [calls(call("slow", city="Oslo"))]
    async with serving(script, retry=3) as (server, client):
        task = asyncio.create_task(client.prompt("Hi", tools=[tools, slow], on_event=on_event))
        await asyncio.wait_for(reached.wait(), PATIENCE)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not running_tools()
        assert left.is_set() is (when == "tool")
        assert tools.open == 0
        assert len(server.requests) == (when != "start")
        if when == "answer":
            await asyncio.wait_for(server.wait_closed(1), PATIENCE)


# ---- from blocking code


@pytest.mark.req("seed-F1", "seed-F2")
def test_from_blocking_code() -> None:
    """The same result of the same call, without await."""

    def blocking(city: str) -> str:
        return f"21 degrees in {city}"

    events: list[StreamEvent] = []
    with serve_in_thread([calls(call("blocking", city="Oslo")), DONE, Answer.text('{"value": [1, 2]}')]) as server:
        with SyncClient("openai-compatible/m", base_url=server.base_url) as client:
            result = client.prompt("Weather?", tools=[blocking], on_event=events.append)
            assert result.result == "It is 21 degrees."
            assert client.last_metadata is result.metadata
            assert result.metadata.tools == {"blocking": 1}
            assert isinstance(events[-1], Finish)
            assert client.prompt("Numbers?", output=list[int]).output == [1, 2]


@pytest.mark.req("seed-F2")
async def test_from_blocking_code_under_a_running_loop() -> None:
    """In a notebook, or a handler that must not await."""
    with serve_in_thread([LOOK, DONE]) as server:
        with SyncClient("openai-compatible/m", base_url=server.base_url) as client:
            assert client.prompt("Weather?", tools=[weather]).success


CTRL_C = """
import sys
from asyncllm import SyncClient
with SyncClient("openai-compatible/m", base_url=sys.argv[1]) as client:
    try:
        client.prompt("Hi", on_event=lambda event: print("reading", flush=True))
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


@pytest.mark.req("H19")
@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_ctrl_c_cancels() -> None:
    """SIGINT in the middle of an answer: KeyboardInterrupt in the caller, no retry, and the server sees the connection go."""
    gone = threading.Event()

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("Hel"))))
        await connection.left.wait()
        gone.set()

    with raw_server_thread(script) as server:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-c", CTRL_C, f"{server.url}/v1"]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert child.stdout is not None
        assert child.stdout.readline() == "reading\n"
        child.send_signal(signal.SIGINT)
        assert gone.wait(PATIENCE)
        out, _ = child.communicate(timeout=PATIENCE)
        assert "stopped" in out.splitlines()  # what had arrived before may still be shown after it
        assert child.returncode == 0
        assert len(server.requests) == 1
