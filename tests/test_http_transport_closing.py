"""Leaving a response before its end: closing, cancelling, dropping, finishing; what server and pool see of it."""

from __future__ import annotations

import asyncio
import gc
import random

import httpx2
import pytest
from _rawserver import PATIENCE, SOON, STREAM_END, STREAM_HEAD, RawConnection, answering, chunk, raw_server, response

from asyncllm.transports import _http1
from asyncllm.transports._http import FastTransport
from asyncllm.transports._http1_stream import ResponseStream
from asyncllm.transports._pool import PoolCounts

NONE = PoolCounts(0, 0, 0)

HANGING = answering(STREAM_HEAD + chunk(b"first"))


def body(reply: httpx2.Response) -> ResponseStream:
    stream = reply.extensions["asyncllm_stream"]
    assert isinstance(stream, ResponseStream)
    return stream


async def open_stream(transport: FastTransport, url: str, **timeouts: float) -> ResponseStream:
    """A stream whose first bytes have been read."""
    request = httpx2.Request("GET", url, extensions={"timeout": timeouts})
    stream = body(await transport.handle_async_request(request))
    assert await anext(stream) == b"first"
    return stream


async def settle() -> None:
    """Lets every task that can run do so."""
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.req("H3")
@pytest.mark.parametrize("way", ["aclose", "abort", "drop"])
async def test_leaving_mid_stream_closes_at_once(way: str) -> None:
    """An unfinished response that is closed, aborted or dropped takes its connection with it."""
    async with raw_server(HANGING) as server, FastTransport() as transport:
        stream = await open_stream(transport, server.url)
        assert transport.counts == PoolCounts(1, 0, 0)
        if way == "aclose":
            await stream.aclose()
            await stream.aclose()
        elif way == "abort":
            stream.abort()
            stream.abort()
        else:
            del stream
        await (await server.accepted()).gone(SOON)
        assert transport.counts == NONE


@pytest.mark.req("H3")
async def test_breaking_out_of_a_client_stream_closes_at_once() -> None:
    """The same through httpx2's own API."""
    async with raw_server(HANGING) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        async with client.stream("GET", server.url) as reply:
            async for _ in reply.aiter_bytes():
                break
        await (await server.accepted()).gone(SOON)


async def test_dropping_a_response_in_another_thread() -> None:
    """A finalizer may run in any thread; the connection is closed in its own loop."""
    async with raw_server(HANGING) as server, FastTransport() as transport:
        box = [await open_stream(transport, server.url)]
        await asyncio.to_thread(box.clear)
        await (await server.accepted()).gone(SOON)
        assert transport.counts == NONE


@pytest.mark.req("H6")
async def test_aclose_from_another_task_wakes_the_reader() -> None:
    """A pending step ends with ReadError, and so does every later one."""
    async with raw_server(HANGING) as server, FastTransport() as transport:
        stream = await open_stream(transport, server.url)
        reader = asyncio.ensure_future(anext(stream))
        await settle()
        await stream.aclose()
        for _ in range(2):
            with pytest.raises(httpx2.ReadError, match="closed before its end"):
                await (reader if not reader.done() else anext(stream))
        await (await server.accepted()).gone(SOON)


async def test_one_reader_at_a_time() -> None:
    """A second task that reads the same stream is told so, and does not disturb the first."""
    async with raw_server(HANGING) as server, FastTransport() as transport:
        stream = await open_stream(transport, server.url)
        reader = asyncio.ensure_future(anext(stream))
        await settle()
        with pytest.raises(RuntimeError, match="another task"):
            await anext(stream)
        assert not reader.done()
        await server.connections[0].send(chunk(b"second"))
        assert await reader == b"second"
        await stream.aclose()


@pytest.mark.req("H1", "H2")
@pytest.mark.parametrize("cancels", [1, 2])
@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200", STREAM_HEAD, STREAM_HEAD + chunk(b"first")])
async def test_cancel(wire: bytes, cancels: int) -> None:
    """Cancelled once or twice, before, in and after the head: the server sees it, the slot is free."""
    sent = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(wire)
        sent.set()

    async def read(client: httpx2.AsyncClient, url: str) -> None:
        async with client.stream("GET", url) as reply:
            async for _ in reply.aiter_bytes():
                pass

    transport = FastTransport()
    async with raw_server(script) as server, httpx2.AsyncClient(transport=transport) as client:
        task = asyncio.ensure_future(read(client, server.url))
        await sent.wait()
        await settle()
        for _ in range(cancels):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        assert transport.counts == NONE
        await (await server.accepted()).gone(SOON)


async def test_cancel_in_the_tick_of_the_answer() -> None:
    """A cancel that meets a complete answer neither leaks the connection nor hurts its next user."""
    async with raw_server(answering(response(b"whole"))) as server, FastTransport() as transport:
        request = httpx2.Request("GET", server.url)
        waiting = asyncio.ensure_future(transport.handle_async_request(request))
        while transport.counts.idle == 0:  # the answer is complete, its reader has not run yet
            await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        reply = await transport.handle_async_request(request)
        assert await anext(body(reply)) == b"whole"
        assert server.opened == 1


@pytest.mark.req("H1", "H2")
async def test_500_streams_with_random_cancels() -> None:
    """500 requests at once, a third of them cancelled at any time, some twice: none is left."""

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(STREAM_HEAD, *[chunk(b"x" * 100) for _ in range(10)], STREAM_END)

    rng = random.Random(7)
    transport = FastTransport(limits=httpx2.Limits(max_keepalive_connections=100))
    async with raw_server(script) as server, httpx2.AsyncClient(transport=transport, timeout=None) as client:

        async def one() -> int:
            return len((await client.get(server.url)).content)

        tasks = [asyncio.create_task(one()) for _ in range(500)]
        for task in rng.sample(tasks, 170):
            for _ in range(rng.randrange(4)):
                await asyncio.sleep(0)
            task.cancel()
            if rng.random() < 0.5:
                await asyncio.sleep(0)
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {r for r in results if isinstance(r, int)} == {1000}
        assert all(isinstance(r, int | asyncio.CancelledError) for r in results)
        assert transport.counts.active == 0
        assert transport.counts.idle <= 100


async def test_complete_but_unread_is_reused() -> None:
    """Closing a response that has arrived whole keeps the connection; what was not read does not pass for an end."""
    async with raw_server(answering(response(b"whole"))) as server, FastTransport() as transport:
        for _ in range(3):
            stream = body(await transport.handle_async_request(httpx2.Request("GET", server.url)))
            while transport.counts.idle == 0:
                await asyncio.sleep(0)
            await stream.aclose()
            with pytest.raises(httpx2.ReadError):
                await anext(stream)
        assert server.opened == 1


async def test_iterating_again_ends_again() -> None:
    """The openai SDK iterates a second time to drain; after the end that gives nothing, and closing is harmless."""
    async with raw_server(answering(response(b"whole"))) as server, FastTransport() as transport:
        stream = body(await transport.handle_async_request(httpx2.Request("GET", server.url)))
        assert [data async for data in stream] == [b"whole"]
        assert [data async for data in stream] == []
        await stream.aclose()
        assert [data async for data in stream] == []
        assert transport.counts == PoolCounts(0, 1, 0)


async def test_finish_reads_the_tail_and_reuses(monkeypatch: pytest.MonkeyPatch) -> None:
    """After `finish` the caller is free at once; when the tail comes, the connection is back in the pool."""
    monkeypatch.setattr("asyncllm.transports._http1.DRAIN_SECONDS", PATIENCE)  # collecting garbage may take a second

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(STREAM_HEAD + chunk(b"first"))
            await tail.wait()
            tail.clear()
            await connection.send(chunk(b": bye\n\n") + STREAM_END)

    tail = asyncio.Event()
    async with raw_server(script) as server, FastTransport() as transport:
        stream = await open_stream(transport, server.url, read=5.0)
        stream.finish()
        stream.finish()
        assert [data async for data in stream] == []
        await stream.aclose()
        del stream
        gc.collect()
        await settle()
        assert transport.counts == PoolCounts(1, 0, 0)
        tail.set()
        async with asyncio.timeout(5):
            while transport.counts.active:
                await asyncio.sleep(0)
        await (await open_stream(transport, server.url)).aclose()
        assert server.opened == 1


async def test_framing_between_the_reads_does_not_add_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that sends the size of each chunk by itself: what was framing is not taken for bytes that nobody reads."""
    monkeypatch.setattr(_http1, "HIGH_WATER", 64)
    turn, rest = asyncio.Event(), asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"first"))
        for _ in range(100):
            await taken(turn)
            await connection.send(b"5\r\n")
            await taken(rest)
            await connection.send(b"hello\r\n")

    async def taken(event: asyncio.Event) -> None:
        await event.wait()
        event.clear()

    async with raw_server(script) as server, FastTransport() as transport, asyncio.timeout(PATIENCE):
        stream = await open_stream(transport, server.url)
        exchange = stream._exchange
        for _ in range(100):
            unread = exchange.unread
            turn.set()
            while exchange.unread == unread:
                await asyncio.sleep(0)
            reader = exchange.expect(0.0)
            rest.set()
            assert await reader == b"hello"
            assert not exchange.paused
        await stream.aclose()


async def test_finish_is_bounded_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail that does not come costs the connection."""
    monkeypatch.setattr(_http1, "DRAIN_SECONDS", 0.01)
    async with raw_server(HANGING) as server, FastTransport() as transport:
        (await open_stream(transport, server.url)).finish()
        await server.connections[0].gone()
        assert transport.counts == NONE


async def test_finish_is_bounded_in_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tail that turns out to be a body costs the connection, and is not kept in memory."""
    monkeypatch.setattr(_http1, "DRAIN_SECONDS", 60.0)

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"first"))
        await go_on.wait()
        while not connection.left.is_set():
            await connection.send(chunk(b"x" * 10000))

    go_on = asyncio.Event()
    async with raw_server(script) as server, FastTransport() as transport:
        (await open_stream(transport, server.url)).finish()
        go_on.set()
        await server.connections[0].gone()
        assert transport.counts == NONE


async def test_finish_closes_what_cannot_be_reused() -> None:
    """With `connection: close` there is nothing to wait for."""
    head = STREAM_HEAD[:-2] + b"connection: close\r\n\r\n"
    async with raw_server(answering(head + chunk(b"first"))) as server, FastTransport() as transport:
        (await open_stream(transport, server.url)).finish()
        await (await server.accepted()).gone(SOON)


async def test_finish_resumes_a_paused_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that was paused for its slow reader reads on for its tail."""
    monkeypatch.setattr(_http1, "HIGH_WATER", 1000)

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(b"x" * 2000))
        await go_on.wait()
        await connection.send(STREAM_END)

    go_on = asyncio.Event()
    async with raw_server(script) as server, FastTransport() as transport:
        stream = body(await transport.handle_async_request(httpx2.Request("GET", server.url)))
        async with asyncio.timeout(5):
            while not stream._exchange.paused:
                await asyncio.sleep(0)
        stream.finish()
        go_on.set()
        async with asyncio.timeout(5):
            while transport.counts.active:
                await asyncio.sleep(0)
        assert transport.counts == PoolCounts(0, 1, 0)


async def test_closing_the_transport_ends_everything() -> None:
    """Idle and active connections close; who reads gets a ReadError."""
    async with raw_server(HANGING) as server:
        transport = FastTransport()
        stream = await open_stream(transport, server.url)
        reader = asyncio.ensure_future(anext(stream))
        await settle()
        await transport.aclose()
        with pytest.raises(httpx2.ReadError, match="was closed"):
            await reader
        await (await server.accepted()).gone(SOON)
        assert transport.counts == NONE


@pytest.mark.req("H4")
async def test_error_statuses_free_their_connection() -> None:
    """20 answers of 429 on streaming requests do not exhaust a pool of two."""
    limits = httpx2.Limits(max_connections=2)
    wire = response(b"slow down", status=b"429 Too Many Requests")
    async with (
        raw_server(answering(wire)) as server,
        httpx2.AsyncClient(transport=FastTransport(limits=limits)) as client,
    ):
        for _ in range(20):
            async with client.stream("POST", server.url, content=b"{}") as reply:
                with pytest.raises(httpx2.HTTPStatusError):
                    reply.raise_for_status()
        assert server.opened <= 20


async def test_flow_control(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that does not read stops the server; every byte arrives when it does."""
    total = 20_000_000

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % total, b"x" * total)
        done.set()

    done = asyncio.Event()
    async with raw_server(script) as server, FastTransport() as transport:
        stream = body(await transport.handle_async_request(httpx2.Request("GET", server.url)))
        exchange = stream._exchange
        async with asyncio.timeout(5):
            while not exchange.paused:
                await asyncio.sleep(0)
        held = sum(map(len, exchange.chunks))
        await settle()
        assert sum(map(len, exchange.chunks)) == held < 2 * _http1.HIGH_WATER
        assert not done.is_set()
        assert sum([len(data) async for data in stream]) == total
        assert transport.counts == PoolCounts(0, 1, 0)
