"""Tools that must be reached first: when they are connected, what they are called, and that they are let go of."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest
from _runs import DONE, call, calls, events_of, results, serving

from asyncllm import AuthenticationError, RunnableTool, ServerError, Tool
from asyncllm.testing import Answer, Wait
from asyncllm.tools import Content, Report


class Echo:
    """A tool that says who it is."""

    def __init__(self, name: str, says: str) -> None:
        self.spec = Tool(name)
        self.timeout = None
        self._says = says

    async def run(self, arguments: dict[str, object], report: Report) -> Content:
        return self._says


class Servers:
    """A set of tools that counts who uses it."""

    def __init__(self, *tools: RunnableTool, error: Exception | None = None, hang: bool = False) -> None:
        self.tools = tools
        self.error = error
        self.hang = hang
        self.users = 0
        self.acquired = 0
        self.released = asyncio.Event()

    async def acquire(self) -> Sequence[RunnableTool]:
        if self.hang:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.users += 1
        self.acquired += 1
        return self.tools

    async def release(self) -> None:
        await asyncio.sleep(0)
        self.users -= 1
        self.released.set()


@pytest.mark.req("seed-E1")
async def test_connected_for_the_run() -> None:
    """Connected before the first request, let go of at the end; the model is told of all tools."""
    one, two = Servers(Echo("a__x", "ax"), Echo("a__y", "ay")), Servers(Echo("b__x", "bx"))
    async with serving([calls(call("b__x"), call("a__y", "c2")), DONE]) as (server, client):
        events = await events_of(client.run("Hi", tools=[one, two]))
    assert [result.text for result in results(events)] == ["bx", "ay"]
    assert [tool.name for tool in server.requests[0].asked.tools] == ["a__x", "a__y", "b__x"]
    assert (one.users, two.users, one.acquired) == (0, 0, 1)


@pytest.mark.req("seed-E2")
async def test_names_do_not_collide() -> None:
    """Two servers with one name, and a function that is called like a tool of theirs: three names, each reaches its own."""

    async def a__x() -> str:
        return "mine"

    one, two = Servers(Echo("a__x", "first")), Servers(Echo("a__x", "second"))
    names: list[str] = []

    def script(request: object) -> Answer:
        asked = request.asked  # type: ignore[attr-defined]
        names[:] = [tool.name for tool in asked.tools]
        return DONE if len(asked.messages) > 1 else calls(*(call(name, id=name) for name in names))

    async with serving(script) as (_, client):
        events = await events_of(client.run("Hi", tools=[one, a__x, two]))
    assert len(set(names)) == 3
    assert names[1] == "a__x"
    assert all(len(name) <= 64 for name in names)
    assert [result.text for result in results(events)] == ["first", "mine", "second"]


async def test_a_server_that_is_down() -> None:
    """Its typed error is raised before anything is sent to the model, and the other servers are let go of."""
    good, down = Servers(Echo("a__x", "ax")), Servers(error=AuthenticationError("MCP server b: 401"))
    waiting = Servers(hang=True)
    async with serving(DONE) as (server, client):
        with pytest.raises(AuthenticationError, match="MCP server b"):
            await client.run("Hi", tools=[good, down, waiting])
        with pytest.raises(RuntimeError):  # what is no LLMError is raised as it is, too
            await client.run("Hi", tools=[good, Servers(error=RuntimeError("a mistake"))])
    assert server.requests == []
    assert good.users == 0


@pytest.mark.parametrize("how", ["close", "cancel", "drop", "error"])
async def test_let_go_of_whatever_happens(how: str) -> None:
    """Closed early, cancelled, dropped, or failed: the servers are let go of."""
    servers = Servers(Echo("a__x", "ax"))
    script = Answer(["word", Wait()]) if how != "error" else Answer.error(status=500)
    async with serving(script) as (_, client):
        stream = client.run("Hi", tools=[servers])
        if how == "error":
            with pytest.raises(ServerError):
                await stream
        elif how == "cancel":
            task = asyncio.create_task(stream.reply())
            while not servers.users:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await stream
            assert servers.users == 1
            if how == "close":
                await stream.aclose()
            del stream
            gc.collect()
        await servers.released.wait()
        assert servers.users == 0


async def test_tools_of_the_client_stay_connected() -> None:
    """Servers given to the client are connected at the first run and let go of when it is closed."""
    servers = Servers(Echo("a__x", "ax"))
    async with serving(DONE, tools=[servers]) as (_, client):
        for _ in range(3):
            await client.run("Hi").reply()
            assert servers.users == 1
        await client.run("Hi", tools=[]).reply()
        await asyncio.gather(*(client.run("Hi").reply() for _ in range(5)))
        assert servers.users == 1
    assert servers.users == 0
