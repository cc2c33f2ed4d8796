"""Calls that hang, that are cancelled, and under which the server dies: what the model is told, and what goes on."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from _mcp import (
    LINUX,
    SERVERS,
    descriptors,
    in_memory,
    nothing,
    nothing_left,
    opened,
    plain,
    processes,
    reached,
    served,
)

from asyncllm import InvalidRequestError
from asyncllm.tools import RunnableTool, ToolError
from asyncllm.tools._mcp import MCP


async def said(tool: RunnableTool, text: str = "hi") -> object:
    return await tool.run({"text": text}, nothing)


async def failure(tool: RunnableTool, **arguments: object) -> str:
    with pytest.raises(ToolError) as caught:
        await tool.run(arguments, nothing)
    assert isinstance(caught.value.content, str)
    return caught.value.content


@pytest.mark.req("seed-E1", "I7")
async def test_a_server_that_dies_in_the_middle_of_a_call() -> None:
    """Its calls are told that they may have been carried out; the next call has a new process and the same names."""
    async with nothing_left(), opened(plain()) as tools, opened(plain(name="other")) as others:
        pid = await said(tools["pid"])
        waiting = [asyncio.ensure_future(failure(tools["hang"])) for _ in range(3)]
        other = asyncio.ensure_future(said(others["hang"]))
        await said(others["echo"])
        for error in (await failure(tools["die"]), *await asyncio.gather(*waiting)):
            assert "plain" in error
            assert "may or may not have been carried out" in error
        pids = await asyncio.gather(*(said(tools["pid"]) for _ in range(10)))
        assert len({*pids, pid}) == 2
        assert not other.done()
        assert await said(others["echo"]) == "hi"
        other.cancel()
        await asyncio.wait([other])


async def test_a_server_that_was_killed_while_idle() -> None:
    """The next call is made, and made once: nothing was under way."""
    async with nothing_left(), opened(plain()) as tools:
        for _ in range(3):
            os.kill(int(str(await said(tools["pid"]))), signal.SIGKILL)
            # either it is seen before the call, or under it: never silence, never a hang
            try:
                assert await said(tools["echo"]) == "hi"
            except ToolError as error:
                assert "may or may not" in str(error)
            assert await said(tools["echo"]) == "hi"


async def test_an_answer_that_is_the_last_word_of_a_server() -> None:
    """It counts, though the server ended with it."""
    for _ in range(10):
        async with opened(plain()) as tools:
            assert await said(tools["quit_after_answer"], "bye") == "bye"


async def test_a_server_that_does_not_come_back(tmp_path: Path) -> None:
    """Each call tries once, and says who cannot be reached and why."""
    script = tmp_path / "weather.py"
    script.write_text((SERVERS / "plain.py").read_text())
    async with nothing_left(), opened(MCP([sys.executable, "-S", str(script)])) as tools:
        script.write_text("raise SystemExit('the disk is full')")
        await failure(tools["die"])
        for _ in range(2):
            error = await failure(tools["echo"])
            assert "weather" in error
            assert "the disk is full" in error
            assert "not made" in error


@pytest.mark.parametrize("kind", ["memory", "stdio", "mcp", "sse"])
async def test_a_call_that_hangs(kind: str) -> None:
    """`timeout` ends it, and says so; the server hears of it; other calls of the session do not."""
    with served(kind if kind in ("mcp", "sse") else "mcp") as http:
        server, state = in_memory() if kind == "memory" else (None, http.state)
        target = {"memory": server, "stdio": None}.get(kind, http.url)
        with_limit = plain(timeout=0.2) if kind == "stdio" else MCP(target, timeout=0.2)
        async with nothing_left(), opened(with_limit) as tools:
            assert tools["hang"].timeout == 0.2
            began = time.monotonic()
            assert "0.2 s" in await failure(tools["hang"])
            assert time.monotonic() - began < 2
            if kind == "stdio":
                assert len(json.loads(str(await said(tools["cancelled"])))) == 1
            else:
                await reached(state.cancelled)
                assert await tools["add"].run({"a": 1, "b": 2}, nothing) == "3"


@pytest.mark.parametrize("kind", ["memory", "mcp", "sse"])
async def test_cancelling_a_call(kind: str) -> None:
    """The server is told to stop this one; the others of the session answer."""
    with served(kind if kind != "memory" else "mcp") as http:
        server, state = in_memory() if kind == "memory" else (http.url, http.state)
        async with nothing_left(), opened(MCP(server)) as tools:
            calls = [asyncio.ensure_future(tools["hang"].run({}, nothing)) for _ in range(3)]
            for _ in calls:
                await reached(state.started)
            calls[1].cancel()
            with pytest.raises(asyncio.CancelledError):
                await calls[1]
            await reached(state.cancelled)
            assert await tools["add"].run({"a": 1, "b": 2}, nothing) == "3"
            assert not calls[0].done()
            assert not calls[2].done()
            for call in (calls[0], calls[2]):
                call.cancel()
            await asyncio.wait(calls)


async def test_a_server_that_stops_reading() -> None:
    """Cancelling takes no time, though nothing can be told to it; closing takes what it must."""
    async with nothing_left():
        async with opened(plain()) as tools:
            pid = int(str(await said(tools["pid"])))
            os.kill(pid, signal.SIGSTOP)
            calls = [asyncio.ensure_future(said(tools["echo"], "x" * 300_000)) for _ in range(3)]
            await asyncio.sleep(0)
            began = time.monotonic()
            for call in calls:
                call.cancel()
            await asyncio.wait(calls)
            assert time.monotonic() - began < 0.5
            os.kill(pid, signal.SIGCONT)
            assert await said(tools["echo"]) == "hi"


async def test_big_answers_and_big_arguments() -> None:
    """Megabytes in one line, both ways and at once, in time that grows with them."""
    async with opened(plain()) as tools:
        began = time.monotonic()
        answers = await asyncio.gather(*(said(tools["shout"], letter) for letter in "abc"))
        assert [(len(str(answer)), str(answer)[0]) for answer in answers] == [(3_000_000, letter) for letter in "abc"]
        assert await said(tools["echo"], "e" * 3_000_000) == "e" * 3_000_000
        assert time.monotonic() - began < 5


async def test_what_a_server_refuses() -> None:
    """An error of the protocol is told in the server's words, without what looks like a key, and the session goes on."""
    async with opened(plain()) as tools:
        error = await failure(tools["refuse"])
        assert "not today" in error
        assert "abcdefghij" not in error
        assert await said(tools["echo"]) == "hi"


async def test_a_tool_whose_server_was_released() -> None:
    """That is a mistake of the program, and told as one."""
    server = plain()
    async with opened(server) as tools:
        pass
    with pytest.raises(InvalidRequestError, match="not open"):
        await said(tools["echo"])


@pytest.mark.req("I7")
@pytest.mark.parametrize("kind", ["memory", "stdio", "mcp", "sse"])
async def test_an_idle_session_does_nothing(kind: str) -> None:
    """No CPU while it is open, after a call, after a cancelled call, and after it was closed."""
    with served(kind if kind in ("mcp", "sse") else "mcp") as http:
        target = in_memory()[0] if kind == "memory" else http.url
        async with opened(plain() if kind == "stdio" else MCP(target)) as tools:
            call = asyncio.ensure_future(tools["hang"].run({}, nothing))
            await tools["echo" if kind == "stdio" else "add"].run({"text": "x", "a": 1, "b": 1}, nothing)
            call.cancel()
            await asyncio.wait([call])
            assert await turns() < 20
    assert await turns() < 20


async def turns() -> int:
    """How often the loop turns in a quarter of a second in which nothing happens."""
    loop, count = asyncio.get_running_loop(), 0
    select = loop._selector.select  # type: ignore[attr-defined]

    def counting(timeout: float | None = None) -> Any:
        nonlocal count
        count += 1
        return select(timeout)

    loop._selector.select = counting  # type: ignore[attr-defined]
    try:
        await asyncio.sleep(0.25)
    finally:
        loop._selector.select = select  # type: ignore[attr-defined]
    return count


# ---- the processes


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
@pytest.mark.parametrize("how", ["", "deaf", "children", "deaf children"])
async def test_no_process_is_left(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the whole group, whatever it ignores; a polite server is given the time to go."""
    monkeypatch.setattr("asyncllm.tools._mcp_session.LEAVE", 0.3)
    files = descriptors()
    async with opened(plain(*how.split())) as tools:
        group = int(str(await said(tools["pid"])))
        assert len(processes(group)) == 1 + ("children" in how)
    assert processes(group) == set()
    assert group not in processes()
    assert descriptors() <= files


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
def test_processes_under_uvloop() -> None:
    """Another event loop has other pipes: the same calls, the same end."""
    uvloop = pytest.importorskip("uvloop")

    async def run() -> None:
        async with opened(plain()):
            pass  # what the loop keeps from its first process on
        for how in ("", "children", "noisy"):
            async with nothing_left(), opened(plain(how)) as tools:
                group = int(str(await said(tools["pid"])))
                assert await said(tools["echo"], "e" * 3_000_000) == "e" * 3_000_000
                assert "may or may not" in await failure(tools["die"])
                assert await said(tools["echo"]) == "hi"
            assert processes(group) == set()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
async def test_a_server_that_dies_and_leaves_children(monkeypatch: pytest.MonkeyPatch) -> None:
    """A child that holds the pipe open does not make a dead server look alive, and is not left."""
    monkeypatch.setattr("asyncllm.tools._mcp_session.LEAVE", 0.3)
    async with opened(plain("children")) as tools:
        group = int(str(await said(tools["pid"])))
        began = time.monotonic()
        assert "may or may not" in await failure(tools["die"])
        assert time.monotonic() - began < 2
        assert await said(tools["pid"]) != str(group)
    assert processes(group) == set()


@pytest.mark.skipif(not LINUX, reason="looks into /proc")
@pytest.mark.parametrize("begun", [0, 1, 5])
async def test_closing_that_is_cancelled(begun: int) -> None:
    """It is not waited for then: the server is killed, and the cancellation goes on."""
    server = plain("deaf")
    async with nothing_left():
        tools = {tool.spec.name: tool for tool in await server.acquire()}
        group = int(str(await said(tools["plain__pid"])))
        closing = asyncio.ensure_future(server.release())
        for _ in range(begun + 1):  # one that never began has released nothing
            await asyncio.sleep(0)
        began = time.monotonic()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert time.monotonic() - began < 0.5
        assert processes(group) == set()
