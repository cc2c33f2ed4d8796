"""Closing a client: what is still under way breaks, and says so, whatever it waits for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from _runs import call, calls, running_tools, serving

from asyncllm import IncompleteStreamError, RateLimitError
from asyncllm.testing import Answer, Wait

CLOSED = "the client was closed"


async def test_a_run_whose_tool_works() -> None:
    """The tool is cancelled, and who waits for the run hears why; what was said so far is in the error."""
    begun = asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    async with serving(calls(call("hang"), text="Wait.")) as (_, client):
        task = asyncio.create_task(client.run("Hi", tools=[hang]).reply())
        await begun.wait()
        await client.aclose()
        with pytest.raises(IncompleteStreamError, match=CLOSED) as caught:
            await task
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Wait."
    assert running_tools() == []


async def reading(stream: Any, waits: asyncio.Event) -> None:
    """Sets `waits` with the first event, which is that of the retry."""
    async for _ in stream:
        waits.set()


async def test_a_call_that_waits_for_its_next_try() -> None:
    """An hour's wait is not waited for."""
    script = Answer.error(RateLimitError("slow down", status=429), headers={"retry-after": "100"})
    async with serving(script, retry=2) as (server, client):
        waits = asyncio.Event()
        task = asyncio.create_task(reading(client.stream("Hi"), waits))
        await waits.wait()
        await client.aclose()
        with pytest.raises(IncompleteStreamError, match=CLOSED):
            await task
        assert len(server.requests) == 1


async def test_streams_that_are_read_and_that_are_not() -> None:
    """Both end with the error, after what had come."""
    async with serving(Answer(["word", Wait()])) as (_, client):
        read, unread = await client.stream("Hi"), await client.stream("Hi")
        said: list[Any] = []

        async def reading() -> None:
            async for event in read:
                said.append(event)

        task = asyncio.create_task(reading())
        while len(said) < 2:
            await asyncio.sleep(0)
        await client.aclose()
        with pytest.raises(IncompleteStreamError, match=CLOSED):
            await task
        with pytest.raises(IncompleteStreamError, match=CLOSED):
            await unread.reply()
        assert read.closed
        assert unread.closed
