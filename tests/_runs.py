"""Runs with tools against the embedded server: shorthands for their tests."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Iterable
from typing import Any

from asyncllm import Client, LLMError, Reply, Run, StreamEvent, ToolCall, ToolResult, check_order
from asyncllm.testing import Answer, Script, Server

DONE = Answer.text("It is 21 degrees.")


@contextlib.asynccontextmanager
async def serving(script: Script, **options: Any) -> AsyncIterator[tuple[Server, Client]]:
    """The server with a client for it that does not retry, and nothing left over at the end."""
    async with Server(script) as server:
        async with Client("openai-compatible/m", **{"base_url": server.base_url, "retry": 0, **options}) as client:
            yield server, client


def call(name: str = "weather", id: str = "c1", **arguments: object) -> ToolCall:
    return ToolCall(id, name, arguments)


def calls(*asked: ToolCall, text: str = "") -> Answer:
    """An answer that asks for these calls."""
    return Answer([*([text] if text else []), *asked])


async def events_of(stream: AsyncIterator[StreamEvent]) -> list[StreamEvent]:
    """All events of a run, which are in a legal order."""
    events = [event async for event in stream]
    check_order(events)
    return events


def results(events: Iterable[StreamEvent]) -> list[ToolResult]:
    return [event for event in events if isinstance(event, ToolResult)]


def running_tools() -> list[asyncio.Task[Any]]:
    """The tasks of calls that are not over."""
    return [task for task in asyncio.all_tasks() if task.get_name().startswith("tool ")]


async def broken_off(stream: Run[Any], how: str, chance: random.Random, *, within: int) -> Reply[object] | None:
    """Ends a run: "close" after some events, "cancel" or "drop" after some turns of the loop (at most `within`), or, for any
    other word, by reading it, to its end or to whatever limit it has; that alone gives a reply, or None for an error."""
    if how == "close":
        left = chance.randrange(20)
        async with stream:
            async for _ in stream:
                left -= 1
                if left < 0:
                    break
    elif how in ("cancel", "drop"):
        task = asyncio.create_task(stream.reply())
        for _ in range(chance.randrange(within)):
            await asyncio.sleep(0)
        task.cancel()
        if how == "cancel":
            await asyncio.wait([task])
    else:
        try:
            return await stream.reply()
        except LLMError:
            assert how == "limit"
    return None
