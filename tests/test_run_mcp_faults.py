"""MCP servers that fail, at the start and in the middle of a run: the run never hangs, and nobody else is harmed."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
from _mcp import PATIENCE, SERVERS, HTTPServer, in_memory, nothing_left, plain, reached, served
from _mcp_faulty import Faulty
from _runs import DONE, call, calls, events_of, results, running_tools, serving

from asyncllm import (
    MCP,
    AuthenticationError,
    ConnectionFailedError,
    ConnectTimeout,
    LLMError,
    NotFoundError,
    ProtocolError,
    ServerError,
    StreamError,
    ToolError,
    ToolResult,
)
from asyncllm.testing import Answer, Script


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def a_run_in_the_middle(client: Any, server: MCP) -> AsyncIterator[None]:
    """Another run is in the middle of a call of `server` for the block; it ends well after it."""
    meanwhile, go = asyncio.Event(), asyncio.Event()

    async def wait_for_the_others() -> str:
        meanwhile.set()
        await go.wait()
        return "on we go"

    task = asyncio.create_task(events_of(client.run("other", tools=[wait_for_the_others, server])))
    await meanwhile.wait()
    yield
    go.set()
    assert [result.text for result in results(await task)] == ["on we go", "3", "7"]


def beside(script: Script) -> Script:
    """`script`, and that of the run above."""
    other = [calls(call("wait_for_the_others", id="w"), call("good__add", id="g", a=1, b=2))]
    other += [calls(call("good__add", id="h", a=3, b=4)), DONE]
    mine = iter(script) if isinstance(script, list) else None

    def answer(request: Any) -> Answer:
        if request.json["messages"][0]["content"] == "other":
            return other.pop(0)
        assert mine is not None
        return next(mine)

    return answer


# ---- at the start


STARTS: list[tuple[Any, type[LLMError]]] = [
    ("nowhere", ConnectionFailedError),
    ("no command", ConnectionFailedError),
    ("no such path", NotFoundError),
    ("unauthorized", AuthenticationError),
    ("broken", ServerError),
    ("html", ProtocolError),
    ("not json", ProtocolError),
    ("not mcp", ProtocolError),
    ("no http", ProtocolError),
    ("hang up", ConnectionFailedError),
    ("silent", ConnectTimeout),
    ("another", ConnectTimeout),
    ("silent listing", ConnectTimeout),
    ("slow", ConnectTimeout),
    ("garbage", ProtocolError),
    ("quit", ConnectionFailedError),
]


@pytest.mark.req("seed-E1", "seed-C")
@pytest.mark.parametrize(("how", "kind"), STARTS, ids=[how for how, _ in STARTS])
async def test_a_server_that_fails_at_the_start(how: str, kind: type[LLMError]) -> None:
    """Its typed error, which names it, is raised before the model is asked. The other servers of the run are let go of; one of
    them, in use by another run at that moment, goes on."""
    good = MCP(in_memory()[0], name="good")
    async with nothing_left(), contextlib.AsyncExitStack() as stack:
        options: dict[str, Any] = {"start_timeout": 0.4 if kind is ConnectTimeout else PATIENCE, "name": "bad"}
        match how:
            case "nowhere":
                bad = MCP(f"http://127.0.0.1:{free_port()}/mcp", **options)
            case "no command":
                bad = MCP("no-such-program --at-all", **options)
            case "slow" | "garbage" | "quit":
                bad = plain(how, **options)
            case "no such path":
                bad = MCP(stack.enter_context(served()).url + "/not/here", **options)
            case "silent listing":
                bad = MCP((await stack.enter_async_context(Faulty("silent", "tools/list").running())).url, **options)
            case _:
                bad = MCP((await stack.enter_async_context(Faulty(how, "").running())).url, **options)
        async with serving(beside([DONE])) as (server, client):
            async with a_run_in_the_middle(client, good):
                with pytest.raises(kind, match="bad") as caught:
                    await client.run("mine", tools=[good, bad])
                (event,) = [event async for event in client.run("mine", tools=[bad, good]).as_events()]
                assert isinstance(event, StreamError)
                assert isinstance(event.error, kind)
                assert len(server.requests) == 1
    assert type(caught.value) is kind
    assert caught.value.__context__ is None or not isinstance(caught.value.__cause__, BaseExceptionGroup)


async def test_several_that_fail_at_once() -> None:
    """One of their errors is raised, not a group of them; what still connects is given up."""
    async with nothing_left(), serving(DONE) as (server, client):
        bad = [MCP(f"http://127.0.0.1:{free_port()}/mcp", name=f"bad{at}") for at in range(3)]
        with pytest.raises(ConnectionFailedError):
            await client.run("Hi", tools=[*bad, plain("slow"), plain("quit")])
        assert server.requests == []


async def test_cancelled_while_it_connects() -> None:
    """Who waits for a slow server may stop waiting; its process is gone then."""
    async with nothing_left(), serving(DONE) as (server, client):
        stream = client.run("Hi", tools=[plain("slow"), MCP(in_memory()[0])])
        task = asyncio.create_task(stream.reply())
        while not any(one.get_name() == "mcp plain" for one in asyncio.all_tasks()):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.requests == []


async def test_cancelled_while_a_failed_start_is_cleared_away() -> None:
    """A child that closed its output and stays: the run is cancelled just as it is given a moment to go. It is killed."""
    code = "import os, time; os.close(1); time.sleep(600)"
    async with nothing_left(), serving(DONE) as (_, client):
        server = MCP([sys.executable, "-S", "-c", code])
        task = asyncio.create_task(client.run("Hi", tools=[server]).reply())
        while not server._sessions or not server._sessions[0]._ended.done():
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# ---- in the run


@pytest.mark.req("seed-E3")
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("unauthorized", ""),
        ("broken", ""),
        ("html", ""),
        ("not json", ""),
        ("not mcp", ""),
        ("no http", "may or may not"),
        ("hang up", "may or may not"),
        ("cut", "may or may not"),
        ("silent", "longer than 1 s"),
        ("another", "longer than 1 s"),
    ],
)
async def test_a_call_that_goes_wrong_over_http(fault: str, told: str) -> None:
    """The call is an error result, it was sent once, calls beside it are whole, and the next step calls the server again."""
    faulty, good = Faulty(fault), MCP(in_memory()[0], name="good")
    limit = 1 if told.startswith("longer") else PATIENCE
    asked = [call("faulty__echo", id="a"), call("good__add", id="b", a=1, b=1)]

    async def mend() -> str:
        faulty.fault = ""
        return "mended"

    script = [calls(*asked), calls(call("mend", id="m")), calls(call("faulty__ping", id="c")), DONE]
    async with nothing_left(), faulty.running(), serving(beside(script)) as (_, client):
        async with a_run_in_the_middle(client, good):
            tools = [MCP(faulty.url), good, mend]
            told_of = results(await events_of(client.run("mine", tools=tools, tool_timeout=limit)))
    first, second, _, last = told_of
    assert first.is_error
    assert first.text
    assert told in first.text
    assert (second.text, second.is_error) == ("2", False)
    assert (last.text, last.is_error) == ("ping of faulty", False)
    assert faulty.called == ["fault", "ping"]


@pytest.mark.parametrize("name", ["die", "hang"])
async def test_a_child_process_that_dies_or_hangs(name: str) -> None:
    """An error result, that the call may have been carried out where that is so; other sessions live; the next call of it has
    a new process, or the same one where it only hung."""
    asked = [call("plain__pid", id="p"), call("good__add", id="b", a=1, b=1)]
    again = [call("plain__pid", id="q"), call("good__add", id="d", a=2, b=2)]
    good = MCP(in_memory()[0], name="good")
    script = [calls(*asked), calls(call(f"plain__{name}", id="x")), calls(*again), DONE]
    async with nothing_left(), serving(beside(script)) as (_, client):
        async with a_run_in_the_middle(client, good):
            stream = client.run("mine", tools=[plain(), good], tool_timeout=1 if name == "hang" else PATIENCE)
            told = {result.id: result for result in results(await events_of(stream))}
    assert told["x"].is_error
    assert ("may or may not" if name == "die" else "longer than 1 s") in told["x"].text
    assert (told["b"].text, told["d"].text) == ("2", "4")
    assert (told["p"].text == told["q"].text) is (name == "hang")


async def stopped_and_started(kind: str) -> dict[str, ToolResult]:
    """The results of a run whose server is stopped, and started again on the same port."""
    first, second = HTTPServer(kind), HTTPServer(kind)
    first.start()
    second.port = first.port
    started = [first]

    async def stop() -> str:
        await reached(first.state.started)
        await asyncio.to_thread(first.stop)
        return "stopped"

    async def restart() -> str:
        await asyncio.to_thread(second.start)
        started.append(second)
        return "restarted"

    script = [
        calls(call("everyday__hang", id="a"), call("stop", id="b")),
        calls(call("everyday__add", id="down", a=1, b=1)),
        calls(call("restart", id="c")),
        calls(call("everyday__add", id="d", a=1, b=2)),
        DONE,
    ]
    try:
        async with nothing_left(), serving(script) as (_, client):
            events = await events_of(client.run("Hi", tools=[MCP(first.url, start_timeout=5), stop, restart]))
            await asyncio.to_thread(second.stop)
    finally:
        for http in started:
            http.stop()
    return {result.id: result for result in results(events)}


# the SSE server of the mcp package, stopped while it works, leaves its own streams open
@pytest.mark.filterwarnings("ignore:Unclosed <MemoryObject:ResourceWarning")
@pytest.mark.parametrize("kind", ["mcp", "sse"])
async def test_a_server_that_is_stopped_and_started_in_a_run(kind: str) -> None:
    """Stopped in the middle of a call, it answers nothing more; the call after its restart works again."""
    told = await stopped_and_started(kind)
    gc.collect()
    assert told["a"].is_error
    assert told["down"].is_error
    assert "not made" in told["down"].text
    assert (told["d"].text, told["d"].is_error) == ("3", False)


async def test_a_process_that_is_killed_from_outside() -> None:
    """SIGKILL in the middle of a call, over HTTP: as if it had died by itself."""
    port = free_port()
    command = [sys.executable, str(SERVERS / "everyday.py"), "mcp", str(port)]
    child = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}/mcp"
        async with asyncio.timeout(20):
            while not await _answers(port):
                await asyncio.sleep(0.02)

        async def kill() -> str:
            os.kill(child.pid, signal.SIGKILL)
            await child.wait()
            return "killed"

        asked = [call("killed__hang", id="a"), call("kill", id="b")]
        async with nothing_left(), serving([calls(*asked), DONE]) as (_, client):
            told = results(await events_of(client.run("Hi", tools=[MCP(url, name="killed"), kill])))
        assert told[0].is_error
        assert told[1].text == "killed"
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()


async def _answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


async def test_no_exception_group_comes_out() -> None:
    """Whoever raises one: a tool, which is a result then, a set of tools at the start, `approve` or `stop_when`."""

    async def tool() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raises(ValueError("no such city")))
        return ""

    async def telling() -> str:
        async with asyncio.TaskGroup() as group:
            group.create_task(_raises(ToolError("in these words")))
        return ""

    async def approve(asked: object) -> bool:
        raise ExceptionGroup("several", [ExceptionGroup("inner", [ConnectionFailedError("nobody there")])])

    def stop(reply: object) -> bool:
        raise ExceptionGroup("several", [KeyError("x")])

    class Broken:
        async def acquire(self) -> Any:
            raise ExceptionGroup("several", [ValueError("x"), AuthenticationError("401")])

        async def release(self) -> None: ...

    script = lambda request: (  # noqa: E731
        DONE if len(request.json["messages"]) > 1 else calls(call("tool", id="a"), call("telling", id="b"))
    )
    async with nothing_left(), serving(script) as (_, client):
        told = results(await events_of(client.run("Hi", tools=[tool, telling])))
        assert [result.text for result in told] == ["ValueError: no such city", "in these words"]
        with pytest.raises(ConnectionFailedError):
            await client.run("Hi", tools=[tool], approve=approve).reply()
        with pytest.raises(KeyError):
            await client.run("Hi", tools=[tool], stop_when=stop).reply()
        with pytest.raises(AuthenticationError):
            await client.run("Hi", tools=[tool, Broken()]).reply()
        assert running_tools() == []


async def _raises(error: Exception) -> None:
    raise error
