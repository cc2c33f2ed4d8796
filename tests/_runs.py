"""Runs with tools against the embedded server: shorthands for their tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from typing import Any

from asyncllm import Client, StreamEvent, ToolCall, ToolResult, check_order
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
