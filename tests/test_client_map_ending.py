"""How a map ends before its end: closed, cancelled or dropped, it leaves no task and no connection behind."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from _chat import settle
from _maps import numbers, only_the_first, read, serving, tasks_of_maps
from _rawserver import PATIENCE

from asyncllm import Client, IncompleteStreamError, Map
from asyncllm.testing import Server, serve_in_thread


async def begun(server: Server, client: Client) -> Map[object]:
    """A map that was read once and whose three slots are all taken by calls that do not end."""
    results = client.map(numbers(), concurrency=3)
    await anext(results)
    await server.wait_requests(4)
    return results


async def leave_block(server: Server, client: Client) -> None:
    async with await begun(server, client):
        pass


async def raise_inside(server: Server, client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        async with await begun(server, client):
            raise ZeroDivisionError


async def aclose_twice(server: Server, client: Client) -> None:
    results = await begun(server, client)
    await asyncio.gather(results.aclose(), results.aclose())
    await results.aclose()
    assert results.closed
    assert await read(results) == []


async def aclose_from_another_task(server: Server, client: Client) -> None:
    results = await begun(server, client)
    reader = asyncio.create_task(read(results))
    await settle()
    await results.aclose()
    assert await reader == []
    assert reader.cancelling() == 0


async def cancel(server: Server, client: Client, times: int = 1) -> None:
    results = await begun(server, client)
    reader = asyncio.create_task(read(results))
    await settle()
    for _ in range(times):
        reader.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await reader
    if times > 1:
        await settle()  # the second one broke off the wait for the calls
    assert await read(results) == []


async def cancel_twice(server: Server, client: Client) -> None:
    await cancel(server, client, times=2)


async def time_out(server: Server, client: Client) -> None:
    results = await begun(server, client)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await anext(results)


async def close_client(server: Server, client: Client) -> None:
    results = await begun(server, client)
    await client.aclose()
    for _ in range(2):
        with pytest.raises(IncompleteStreamError, match="the client was closed"):
            await anext(results)


async def drop(server: Server, client: Client) -> None:
    await begun(server, client)
    await settle()


async def break_out(server: Server, client: Client) -> None:
    async for _ in client.map(numbers(), concurrency=3):
        await server.wait_requests(4)
        break
    await settle()


async def drop_in_a_cycle(server: Server, client: Client) -> None:
    cycle: list[object] = [await begun(server, client)]
    cycle.append(cycle)
    del cycle
    gc.collect()
    await settle()


@pytest.mark.parametrize(
    "leave",
    [
        leave_block,
        raise_inside,
        aclose_twice,
        aclose_from_another_task,
        cancel,
        cancel_twice,
        time_out,
        close_client,
        drop,
        break_out,
        drop_in_a_cycle,
    ],
)
async def test_leaving_early_leaves_nothing(leave: Callable[[Server, Client], Awaitable[None]]) -> None:
    """However a map is left, its tasks are gone and the server sees all its connections go."""
    async with serving(only_the_first) as (server, client):
        await leave(server, client)
        assert tasks_of_maps() == []
        assert server.connections.opened == 3
        async with asyncio.timeout(PATIENCE):
            await server.wait_closed(3)
        assert len(server.requests) == 4


async def test_cancelling_who_closes() -> None:
    """Inputs that take their time to go are waited for, and a cancellation of that wait goes through."""
    may_go = asyncio.Event()

    async def inputs() -> AsyncIterator[str]:
        try:
            yield "0"
            await asyncio.Event().wait()
        finally:
            await may_go.wait()

    async with serving() as (_, client):
        results = client.map(inputs())
        await anext(results)
        closing = asyncio.create_task(results.aclose())
        await settle()
        assert not closing.done()
        closing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing
        assert len(tasks_of_maps()) == 1
        may_go.set()
        await results.aclose()
        assert tasks_of_maps() == []


async def test_inputs_that_ignore_their_cancellation() -> None:
    """What they give after the end is not asked."""

    async def inputs() -> AsyncIterator[str]:
        for given in "012":
            yield given
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass

    async with serving() as (server, client):
        results = client.map(inputs())
        await anext(results)
        await results.aclose()
        assert tasks_of_maps() == []
    assert len(server.requests) == 1


async def test_two_tasks_cannot_read_one_map() -> None:
    """The second reader gets a clear error, and the first goes on."""
    async with serving(only_the_first) as (server, client):
        results = await begun(server, client)
        reader = asyncio.create_task(read(results))
        await settle()
        with pytest.raises(RuntimeError, match="one task at a time"):
            await anext(results)
        assert not reader.done()
        await results.aclose()
        assert await reader == []


def test_a_loop_that_ends_takes_its_maps_along() -> None:
    """A map left open under a loop that is gone, and then its client closed under the next: no complaints."""

    async def leave(client: Client) -> Map[object]:
        results = client.map(numbers(), concurrency=3)
        await anext(results)
        return results

    with serve_in_thread(only_the_first) as server:
        client = Client("openai-compatible/m", base_url=server.base_url)
        results = asyncio.run(leave(client))
        asyncio.run(client.aclose())
        del results
        gc.collect()
