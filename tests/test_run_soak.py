"""A thousand runs, each broken off at some point: nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import random
import threading

import pytest
from _mcp import LINUX, descriptors
from _runs import broken_off, call, running_tools

from asyncllm import Client, Run
from asyncllm.testing import Answer, ReceivedRequest, Server

RUNS = 1000


async def weather(city: str) -> str:
    """An async tool, which lets others run."""
    for _ in range(random.randrange(4)):
        await asyncio.sleep(0)
    return "rain"


def news(city: str) -> str:
    """A sync tool, in a thread."""
    return "none"


def answer(request: ReceivedRequest) -> Answer:
    """Two steps with two calls each, then a text."""
    said = len(request.json["messages"])
    if said < 6:
        return Answer([call("weather", f"a{said}", city="Oslo"), call("news", f"b{said}", city="Oslo")])
    return Answer.text("It rains, and there is no news.")


async def one_run(client: Client, chance: random.Random) -> str:
    how = chance.choice(["read", "close", "cancel", "drop", "limit"])
    limit = chance.uniform(0.001, 0.03) if how == "limit" else 30
    reply = await broken_off(client.run("Oslo?", tools=[weather, news], timeout=limit), how, chance, within=60)
    if how == "read":
        assert reply is not None
        assert reply.text.startswith("It rains")
    return how


@pytest.mark.req("seed-E1")
async def test_a_thousand_runs_broken_off_anywhere() -> None:
    """No task, no descriptor, no thread more than a pool's, no stream: whatever ended them, and whenever."""
    chance = random.Random(7)
    before = descriptors() if LINUX else 0
    async with Server(answer) as server:
        async with Client("openai-compatible/m", base_url=server.base_url, retry=0) as client:
            hows = set()
            for _ in range(RUNS // 10):
                hows |= set(await asyncio.gather(*(one_run(client, chance) for _ in range(10))))
            assert hows == {"read", "close", "cancel", "drop", "limit"}
            while running_tools():
                await asyncio.sleep(0)
            gc.collect()
            assert [run for run in gc.get_objects() if isinstance(run, Run)] == []
            assert threading.active_count() < 60
    while len(asyncio.all_tasks()) > 1 or (LINUX and descriptors() > before):
        await asyncio.sleep(0.001)
