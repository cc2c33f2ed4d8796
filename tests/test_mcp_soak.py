"""Hundreds of runs' worth of opening, calling, cancelling and closing, at random: nothing is left of any."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable

import pytest
from _mcp import in_memory, nothing, nothing_left, plain, served

from asyncllm.tools import ToolError
from asyncllm.tools._mcp import MCP


async def cycle(server: MCP, chance: random.Random) -> None:
    """Opens, calls one to three tools at once, some of which hang or kill the server, and closes; cancelled anywhere."""
    tools = await server.acquire()
    try:
        calls = [
            asyncio.create_task(tool.run({"text": "x", "a": 1, "b": 2}, nothing)) for tool in chance.choices(tools, k=3)
        ]
        try:
            await asyncio.wait(calls, timeout=chance.random() / 20)
        finally:
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
    finally:
        await server.release()


async def one(server: MCP, chance: random.Random) -> None:
    task = asyncio.create_task(cycle(server, chance))
    if chance.random() < 0.6:
        turns = chance.choice([0, 1, 3, 10, 30, 100])
        for _ in range(turns):
            await asyncio.sleep(0)
        if chance.random() < 0.5:
            await asyncio.sleep(chance.random() / 50)
        task.cancel()
        if chance.random() < 0.2:
            await asyncio.sleep(0)
            task.cancel()
    with contextlib.suppress(asyncio.CancelledError, ToolError):
        await task


@pytest.mark.req("I7")
@pytest.mark.parametrize(("kind", "rounds"), [("memory", 30), ("mcp", 12), ("sse", 8), ("stdio", 8)])
async def test_random_cancels_leave_nothing(kind: str, rounds: int) -> None:
    """Five at once that share a server, and five that have one each, again and again."""
    chance = random.Random(7)
    with served(kind if kind in ("mcp", "sse") else "mcp") as http:
        makes: dict[str, Callable[[], MCP]] = {
            "memory": lambda: MCP(in_memory()[0], include=["add", "hang", "steps", "refuse"]),
            "stdio": lambda: plain(include=["echo", "hang", "die", "pid"]),
        }
        make = makes.get(kind, lambda: MCP(http.url, include=["add", "hang", "steps", "refuse"]))
        await cycle(make(), chance)  # what is made once for all, and stays
        async with nothing_left():
            for _ in range(rounds):
                shared = make()
                await asyncio.gather(*(one(shared, chance) for _ in range(5)), *(one(make(), chance) for _ in range(5)))
