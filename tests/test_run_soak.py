"""A thousand runs, each broken off at some point: nothing of them is left."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import threading

import pytest
from _runs import call, running_tools

from asyncllm import Client, LLMError, Run
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


async def broken_off(client: Client, chance: random.Random) -> str:
    """One run: to its end, closed after some events, cancelled after some turns of the loop, or dropped."""
    stream = client.run("Oslo?", tools=[weather, news], timeout=30)
    how = chance.choice(["read", "close", "cancel", "drop", "limit"])
    if how == "read":
        assert (await stream.reply()).text.startswith("It rains")
    elif how == "close":
        left = chance.randrange(12)
        async with stream:
            async for _ in stream:
                left -= 1
                if left < 0:
                    break
    elif how == "limit":
        stream = client.run("Oslo?", tools=[weather, news], timeout=chance.uniform(0.001, 0.03))
        try:
            await stream.reply()
        except LLMError:
            pass
    else:
        task = asyncio.create_task(stream.reply())
        for _ in range(chance.randrange(60)):
            await asyncio.sleep(0)
        task.cancel()
        if how == "cancel":
            await asyncio.wait([task])
    return how


@pytest.mark.req("seed-E1")
async def test_a_thousand_runs_broken_off_anywhere() -> None:
    """No task, no descriptor, no thread more than a pool's, no stream: whatever ended them, and whenever."""
    chance = random.Random(7)
    before = sockets()
    async with Server(answer) as server:
        async with Client("openai-compatible/m", base_url=server.base_url, retry=0) as client:
            hows = set()
            for _ in range(RUNS // 10):
                hows |= set(await asyncio.gather(*(broken_off(client, chance) for _ in range(10))))
            assert hows == {"read", "close", "cancel", "drop", "limit"}
            while running_tools():
                await asyncio.sleep(0)
            gc.collect()
            assert [run for run in gc.get_objects() if isinstance(run, Run)] == []
            assert threading.active_count() < 60
    while sockets() > before or len(asyncio.all_tasks()) > 1:
        await asyncio.sleep(0.001)


def sockets() -> int:
    """The open sockets of this process."""
    return sum(_is_socket(name) for name in os.listdir("/proc/self/fd"))


def _is_socket(name: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
    except OSError:
        return False
