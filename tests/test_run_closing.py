"""The end of a run: servers that take their time to be left, limits and cancellations that come just then, late news."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from _runs import DONE, call, calls, events_of, results, serving

from asyncllm import ConnectionFailedError, RunnableTool, Stopped, Tool, ToolProgress
from asyncllm.tools import Content, Report, Toolbox


class Slow:
    """A set of tools whose release waits until it may."""

    def __init__(self, *tools: RunnableTool) -> None:
        self.tools = tools
        self.users = 0
        self.releasing = asyncio.Event()
        self.go = asyncio.Event()

    async def acquire(self) -> Sequence[RunnableTool]:
        self.users += 1
        return self.tools

    async def release(self) -> None:
        self.users -= 1
        self.releasing.set()
        await self.go.wait()


class Teller:
    """Tells of its progress after it has answered."""

    def __init__(self) -> None:
        self.spec, self.timeout = Tool("tell"), None
        self.report: Report | None = None

    async def run(self, arguments: dict[str, object], report: Report) -> Content:
        report(1, 2, "half")
        self.report = report
        return "told"


async def test_letting_go_that_is_cancelled_as_it_begins() -> None:
    """Every set is let go of, also when the task that does it is cancelled before it has come far."""
    sets = [Slow(), Slow(), Slow()]
    box = Toolbox(sets)
    await box.open()
    task = asyncio.create_task(box.close())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [one.users for one in sets] == [0, 0, 0]


@pytest.mark.req("I7")
@pytest.mark.parametrize("max_steps", [1, 100])
async def test_a_limit_that_passes_while_servers_are_left(max_steps: int) -> None:
    """The run is whole: that a server took long to go makes no timeout of it. (The limit passes while it goes.)"""
    tools = Slow(Teller())

    async def go() -> None:
        await tools.releasing.wait()
        await asyncio.sleep(0.4)
        tools.go.set()

    async with serving([calls(call("tell")), DONE]) as (_, client):
        going = asyncio.create_task(go())
        reply = await client.run("Hi", tools=[tools], timeout=0.3, max_steps=max_steps).reply()
        await going
    assert reply.stopped == (None if max_steps > 1 else "max_steps")
    assert reply.complete


async def test_progress_after_the_result_is_not_said() -> None:
    """A tool that goes on telling when it has answered, as one in a thread may, is not heard any more."""
    teller = Teller()

    async def late() -> str:
        assert teller.report is not None
        teller.report(2, 2, "late")
        return "late"

    script = [calls(call("tell", id="a"), call("late", id="b")), calls(call("late", id="c")), DONE]
    async with serving(script) as (_, client):
        events = await events_of(client.run("Hi", tools=[teller, late]))
    assert [event.message for event in events if isinstance(event, ToolProgress)] == ["half"]
    assert [result.text for result in results(events)] == ["told", "late", "late"]


async def test_a_server_that_fails_as_it_is_kept() -> None:
    """A client keeps its servers. Where that fails for one, it is let go of as often as it was taken, and no oftener."""

    class Failing(Slow):
        async def acquire(self) -> Sequence[RunnableTool]:
            if self.users:
                raise ConnectionFailedError("gone")
            return await super().acquire()

    servers = Failing(Teller())
    servers.go.set()
    async with serving(DONE, tools=[servers]) as (_, client):
        for _ in range(2):
            with pytest.raises(ConnectionFailedError):
                await client.run("Hi").reply()
            assert servers.users == 0
        assert not any(isinstance(event, Stopped) for event in await events_of(client.run("Hi", tools=[])))
    assert servers.users == 0
