"""Maps over a real server: shorthands for their tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

from _chat import settle

from asyncllm import Client, Map, MapResult
from asyncllm.testing import Answer, ReceivedRequest, Server, Wait

HANG = 60.0
"""What never ends is a failure after so many seconds."""


def asked(request: ReceivedRequest) -> str:
    return str(request.json["messages"][-1]["content"])


def echo(request: ReceivedRequest) -> Answer:
    return Answer.text(asked(request))


def only_the_first(request: ReceivedRequest) -> Answer:
    """An answer to "0"; every other one stops after a word."""
    return echo(request) if asked(request) == "0" else Answer(["word", Wait()])


@asynccontextmanager
async def serving(script: Any = echo, **options: Any) -> AsyncIterator[tuple[Server, Client]]:
    options = {"retry": 0, "timeout": 20, **options}
    async with asyncio.timeout(HANG), Server(script) as server:
        async with Client("openai-compatible/m", base_url=server.base_url, **options) as client:
            yield server, client


def numbers() -> Iterator[str]:
    """Without end."""
    return map(str, itertools.count())


def texts(results: list[MapResult[Any]]) -> dict[int, str]:
    return {result.index: result.reply.text for result in results if result.reply is not None}


def tasks_of_maps() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if "_Calls" in getattr(task.get_coro(), "__qualname__", "")]


async def until_full(results: Map[Any]) -> None:
    """Until no call runs and none is begun: what takes the inputs waits for somebody to read."""
    calls = results._calls
    while calls._running > 1 or len(calls._results) < calls._concurrency:
        await asyncio.sleep(0)
    await settle()


async def read(results: Map[Any]) -> list[MapResult[Any]]:
    return [result async for result in results]
