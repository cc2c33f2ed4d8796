"""A thousand runs over MCP servers and functions, broken off anywhere: no task, descriptor, process or thread is left."""

from __future__ import annotations

import asyncio
import gc
import random
import threading
from collections.abc import Callable

import pytest
from _mcp import LINUX, PATIENCE, HTTPServer, descriptors, in_memory, plain, processes, served
from _runs import broken_off, call

from asyncllm import MCP, Client, Run
from asyncllm.testing import Answer, ReceivedRequest, Server

RUNS = 1000
AT_ONCE = 10
CHILDREN = 40
"""Of the runs, those that have a child process of their own."""


async def look(n: int) -> int:
    for _ in range(random.randrange(4)):
        await asyncio.sleep(0)
    return n


def count(n: int) -> int:
    """In a thread."""
    return n + 1


def answer(request: ReceivedRequest) -> Answer:
    """One to three steps with a call of everything there is, then a text."""
    said, names = len(request.json["messages"]), [tool["function"]["name"] for tool in request.json["tools"]]
    if said > 4:
        return Answer.text("That is all there is to say.")
    wanted = {"look": {"n": 1}, "count": {"n": 1}, "memory__add": {"a": 1, "b": 2}, "memory__steps": {}}
    wanted |= {"http__add": {"a": 1, "b": 2}, "plain__echo": {"text": "hi"}, "memory__refuse": {}, "plain__hang": {}}
    return Answer([call(name, f"c{said}_{at}", **wanted[name]) for at, name in enumerate(names) if name in wanted])


async def one_run(client: Client, tools: list[object], chance: random.Random) -> str:
    """To its end, closed after some events, cancelled after some turns of the loop, dropped, or stopped by a limit."""
    how = chance.choice(["read", "close", "cancel", "drop", "limit", "steps"])
    limit = chance.uniform(0.001, 0.2) if how == "limit" else 30
    stream = client.run("Hi", tools=tools, timeout=limit, tool_timeout=0.02, max_steps=1 if how == "steps" else 100)
    reply = await broken_off(stream, how, chance, within=300)
    if reply is not None:
        assert reply.stopped == ("max_steps" if how == "steps" else None)
    return how


async def settled(done: Callable[[], bool], what: Callable[[], object]) -> None:
    """What was dropped ends by itself, a moment later."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not done():
                gc.collect()
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"still there: {what()}") from None


async def work(http: HTTPServer, chance: random.Random) -> set[str]:
    hows: set[str] = set()
    async with Server(answer) as server, Client("openai-compatible/m", base_url=server.base_url, retry=0) as client:
        for group in range(RUNS // AT_ONCE):
            memory, over_http = MCP(in_memory()[0], name="memory"), MCP(http.url, name="http", include="add")
            sets: list[list[object]] = [[memory], [memory, over_http], [memory], [memory]]
            tools = [[look, *chance.choice(sets), count] for _ in range(AT_ONCE)]
            if group % (RUNS // AT_ONCE // CHILDREN) == 0:
                tools[0] = [plain(), look, memory]
            hows |= set(await asyncio.gather(*(one_run(client, one, chance) for one in tools)))
    return hows


# anyio, under httpx2, drops a connection if it is cancelled in the last step of connecting: that one is closed when it is
# collected. Descriptors are counted all the same.
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.req("seed-E1")
async def test_a_thousand_runs_over_servers() -> None:
    """Whatever ended them, and whenever: the counts are what they were before."""
    with served() as http:
        async with MCP(http.url):  # what is loaded once, and what the server keeps, is there before anything is counted
            pass
        await asyncio.to_thread(int)
        await settled(lambda: len(asyncio.all_tasks()) == 1, asyncio.all_tasks)
        children, files, threads = (processes(), descriptors(), threading.active_count()) if LINUX else (set(), 0, 0)
        hows = await work(http, random.Random(11))
        assert hows == {"read", "close", "cancel", "drop", "limit", "steps"}
        await settled(lambda: len(asyncio.all_tasks()) == 1, asyncio.all_tasks)
        await settled(lambda: not any(isinstance(one, Run) for one in gc.get_objects()), lambda: "a Run")
        if LINUX:
            await settled(lambda: processes() <= children, processes)
            # connections that the server in the other thread closes when it sees that nobody is there
            await settled(lambda: descriptors() <= files, descriptors)
            # the pools of the loop, and of the tools, keep at most their size
            assert threading.active_count() - threads <= 45
