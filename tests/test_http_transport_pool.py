"""Which connection a request gets: reuse, limits, expiry, stale ones, and event loops that come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2
import pytest
from _rawserver import STREAM_HEAD, RawConnection, answering, chunk, raw_server, response

from asyncllm.transports._http import FastTransport
from asyncllm.transports._pool import PoolCounts

OK = answering(response(b"ok"))
HANGING = answering(STREAM_HEAD + chunk(b"first"))


async def get(transport: FastTransport, url: str, **timeouts: float) -> bytes:
    """One request, its whole body read."""
    async with httpx2.AsyncClient(transport=_Unclosed(transport), timeout=httpx2.Timeout(5.0, **timeouts)) as client:
        return (await client.get(url)).content


class _Unclosed(httpx2.AsyncBaseTransport):
    """Lets a client be closed without its transport."""

    def __init__(self, transport: FastTransport) -> None:
        self.handle_async_request = transport.handle_async_request  # type: ignore[method-assign]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0)


async def test_2000_requests_share_one_connection() -> None:
    """Sequential requests reuse one connection for as long as they like."""
    async with raw_server(OK) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        for _ in range(2000):
            assert (await client.get(server.url)).content == b"ok"
        assert server.opened == 1


async def test_keys_do_not_mix() -> None:
    """Another host name is another connection, even to the same address."""
    async with raw_server(OK) as server, FastTransport() as transport:
        await get(transport, server.url)
        await get(transport, f"http://localhost:{server.port}")
        assert server.opened == 2
        assert transport.counts == PoolCounts(0, 2, 0)


async def test_ipv6() -> None:
    """A literal IPv6 address works, brackets and all."""
    try:
        async with raw_server(OK, host="::1") as server, FastTransport() as transport:
            assert await get(transport, server.url) == b"ok"
    except OSError:
        pytest.skip("no IPv6 here")


@pytest.mark.parametrize(
    "wire",
    [
        response(b"ok", b"connection: close"),
        response(b"ok") + b"surplus",
        response(b"ok") + response(b"unasked"),
        b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nok",
    ],
    ids=["close", "surplus", "second response", "1.0"],
)
async def test_not_reused(wire: bytes) -> None:
    """`connection: close`, HTTP/1.0 and bytes after the end cost the connection, not the answer."""
    async with raw_server(answering(wire)) as server, FastTransport() as transport:
        for _ in range(2):
            assert await get(transport, server.url) == b"ok"
        assert server.opened == 2
        await server.connections[0].gone()


async def test_surplus_after_head_response() -> None:
    """A body that answers HEAD is dropped, and so is the connection."""
    async with raw_server(answering(response(b"surplus"))) as server, FastTransport() as transport:
        for _ in range(2):
            reply = await transport.handle_async_request(httpx2.Request("HEAD", server.url))
            assert [data async for data in reply.extensions["asyncllm_stream"]] == []
        assert server.opened == 2


@pytest.mark.parametrize("event", ["eof", "bytes", "rst"])
async def test_idle_connection_that_stirs_is_dropped(event: str) -> None:
    """EOF, RST or unsolicited bytes on an idle connection: gone at once, before anybody asks for it."""
    async with raw_server(OK) as server, FastTransport() as transport:
        await get(transport, server.url)
        assert transport.counts == PoolCounts(0, 1, 0)
        if event == "eof":
            server.connections[0].close()
        elif event == "rst":
            server.connections[0].reset()
        else:
            await server.connections[0].send(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await until(lambda: transport.counts == PoolCounts(0, 0, 0))
        assert await get(transport, server.url) == b"ok"
        assert server.opened == 2


def hang_up_on_second(how: str, before: bytes = b"") -> Callable[[RawConnection], object]:
    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(response(b"ok"))
        await connection.request()
        await connection.send(before)
        connection.reset() if how == "rst" else connection.close()

    return script


@pytest.mark.parametrize("how", ["fin", "rst"])
async def test_stale_connection_is_retried_once_on_a_fresh_one(how: str) -> None:
    """The peer hangs up on a reused connection without a byte: the request is repeated, on a new connection."""
    async with raw_server(hang_up_on_second(how)) as server, FastTransport() as transport:  # type: ignore[arg-type]
        for _ in range(3):
            assert await get(transport, server.url) == b"ok"
        assert server.opened == 3
        assert len(server.requests) == 5


async def test_fresh_connection_is_not_retried() -> None:
    """A peer that hangs up on a new connection is believed."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        connection.close()

    async with raw_server(script) as server, FastTransport() as transport:
        with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
            await get(transport, server.url)
        assert server.opened == 1


async def test_no_retry_once_something_was_answered() -> None:
    """One byte of an answer means that the request was received."""
    script = hang_up_on_second("fin", b"HTTP/1.1")
    async with raw_server(script) as server, FastTransport() as transport:  # type: ignore[arg-type]
        await get(transport, server.url)
        with pytest.raises(httpx2.RemoteProtocolError):
            await get(transport, server.url)
        assert server.opened == 1


async def test_no_retry_of_a_body_that_cannot_be_replayed() -> None:
    """An iterated body is gone once it was sent."""

    async def parts():  # type: ignore[no-untyped-def]
        yield b"body"

    transport = FastTransport()
    async with raw_server(hang_up_on_second("fin")) as server:  # type: ignore[arg-type]
        async with httpx2.AsyncClient(transport=transport) as client:
            await client.get(server.url)
            with pytest.raises(httpx2.RemoteProtocolError):
                await client.post(server.url, content=parts())
        assert server.opened == 1


async def test_max_keepalive_connections() -> None:
    """The oldest idle connections make way."""
    limits = httpx2.Limits(max_keepalive_connections=2)
    async with raw_server(OK) as server, FastTransport(limits=limits) as transport:
        await asyncio.gather(*[get(transport, server.url) for _ in range(5)])
        assert transport.counts == PoolCounts(0, 2, 0)


@pytest.mark.parametrize(
    "limits", [httpx2.Limits(max_keepalive_connections=0), httpx2.Limits(keepalive_expiry=0)], ids=["number", "expiry"]
)
async def test_keepalive_can_be_off(limits: httpx2.Limits) -> None:
    """With no idle connections allowed, each request has its own."""
    async with raw_server(OK) as server, FastTransport(limits=limits) as transport:
        for _ in range(2):
            await get(transport, server.url)
        assert server.opened == 2
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_keepalive_expiry() -> None:
    """Idle connections close by themselves, each in its time."""
    limits = httpx2.Limits(keepalive_expiry=0.05)
    async with raw_server(OK) as server, FastTransport(limits=limits) as transport:
        await get(transport, server.url)
        await asyncio.sleep(0.02)
        await asyncio.gather(get(transport, server.url), get(transport, server.url))
        for connection in server.connections:
            await connection.gone()
        await until(lambda: transport.counts == PoolCounts(0, 0, 0))


async def test_many_idle_connections_expire_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream that goes on meanwhile has its turns between."""
    monkeypatch.setattr("asyncllm.transports._pool.CLOSED_AT_ONCE", 2)
    seen: list[int] = []
    async with raw_server(OK) as server, FastTransport() as transport:
        await asyncio.gather(*[get(transport, server.url) for _ in range(5)])
        assert transport.counts == PoolCounts(0, 5, 0)
        pool = transport._pools[asyncio.get_running_loop()]
        pool._expiry = 0.0  # all of them are too old, all at once
        assert pool._timer is not None
        pool._timer.cancel()
        pool._expire()
        while left := transport.counts.idle:
            if left not in seen:
                seen.append(left)
            await asyncio.sleep(0)
        assert seen == [3, 1]
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_expired_connection_is_not_used_by_a_busy_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop that was blocked for longer than the expiry does not hand out what its timer had no time to close."""
    async with raw_server(OK) as server, FastTransport(limits=httpx2.Limits(keepalive_expiry=30)) as transport:
        await get(transport, server.url)
        now = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now + 31)
        await get(transport, server.url)
        assert server.opened == 2


async def test_pool_timeout() -> None:
    """With `max_connections` in use a request waits, and after the pool timeout says so."""
    limits = httpx2.Limits(max_connections=1)
    async with raw_server(HANGING) as server, FastTransport(limits=limits) as transport:
        reply = await transport.handle_async_request(httpx2.Request("GET", server.url))
        with pytest.raises(httpx2.PoolTimeout, match="max_connections=1") as caught:
            await get(transport, server.url, pool=0.01)
        assert caught.value.request.method == "GET"
        assert transport.counts == PoolCounts(1, 0, 0)
        reply.extensions["asyncllm_stream"].abort()
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_waiters_are_served_in_order() -> None:
    """First come, first served, and on the connection that the one before has left."""
    limits = httpx2.Limits(max_connections=1)
    done: list[int] = []
    async with raw_server(OK) as server, FastTransport(limits=limits) as transport:

        async def one(number: int) -> None:
            await get(transport, server.url)
            done.append(number)

        await asyncio.gather(*[one(number) for number in range(10)])
        assert done == list(range(10))
        assert server.opened == 1


async def test_waiter_for_another_host_gets_the_slot() -> None:
    """A connection that the next in line cannot use is closed for it."""
    limits = httpx2.Limits(max_connections=1)
    async with raw_server(OK) as one, raw_server(OK) as two, FastTransport(limits=limits) as transport:
        assert await asyncio.gather(get(transport, one.url), get(transport, two.url)) == [b"ok", b"ok"]
        assert transport.counts == PoolCounts(0, 1, 0)
        assert await get(transport, one.url) == b"ok"  # the idle one makes way
        assert (one.opened, two.opened) == (2, 1)


async def test_stale_connection_while_others_wait() -> None:
    """The retry on a fresh connection queues like everybody else, and takes no used connection."""
    limits = httpx2.Limits(max_connections=1)
    script = hang_up_on_second("fin")
    async with raw_server(script) as server, FastTransport(limits=limits) as transport:  # type: ignore[arg-type]
        assert await asyncio.gather(*[get(transport, server.url) for _ in range(4)]) == [b"ok"] * 4
        assert transport.counts.active == 0


async def test_cancel_while_waiting_for_a_slot() -> None:
    """Neither the waiter nor the slot it is handed in the very tick of its cancellation is lost."""
    limits = httpx2.Limits(max_connections=1)
    async with raw_server(HANGING) as server, FastTransport(limits=limits) as transport:
        reply = await transport.handle_async_request(httpx2.Request("GET", server.url))
        waiting = [asyncio.ensure_future(get(transport, server.url)) for _ in range(4)]
        await until(lambda: transport.counts.waiting == 4)
        waiting[0].cancel()
        reply.extensions["asyncllm_stream"].abort()  # to the second: the first is cancelled and has not noticed
        waiting[1].cancel()  # with the slot in its hand, to the third
        await until(lambda: server.opened == 2)
        waiting[2].cancel()
        waiting[3].cancel()
        results = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(result, asyncio.CancelledError) for result in results)
        assert transport.counts == PoolCounts(0, 0, 0)


@pytest.mark.parametrize("dead", [False, True])
async def test_cancel_with_a_connection_in_hand(dead: bool) -> None:
    """A connection handed to a waiter that is cancelled in the same tick goes to the next, unless it has died."""
    limits = httpx2.Limits(max_connections=1)
    async with raw_server(OK) as server, FastTransport(limits=limits) as transport:
        first = asyncio.ensure_future(get(transport, server.url))
        await until(lambda: transport.counts.active == 1)
        second = asyncio.ensure_future(get(transport, server.url))
        await until(lambda: transport.counts.waiting == 1)
        await until(lambda: transport.counts.waiting == 0)
        if dead:
            (pool,) = transport._pools.values()
            for connection in list(pool._open):
                connection.abort()
        second.cancel()
        assert await first == b"ok"
        with pytest.raises(asyncio.CancelledError):
            await second
        assert transport.counts == PoolCounts(0, 0 if dead else 1, 0)


async def test_closing_turns_waiters_away() -> None:
    """Closing the transport fails who waits for a slot, and who is connecting."""
    limits = httpx2.Limits(max_connections=1)
    async with raw_server(HANGING) as server:
        transport = FastTransport(limits=limits)
        connecting = asyncio.ensure_future(get(transport, server.url))
        await until(lambda: transport.counts.active == 1)
        waiting = asyncio.ensure_future(get(transport, server.url))
        cancelled = asyncio.ensure_future(get(transport, server.url))
        await until(lambda: transport.counts.waiting == 2)
        await transport.aclose()
        cancelled.cancel()
        for task in (connecting, waiting):
            with pytest.raises(httpx2.ConnectError, match="the transport was closed"):
                await task
        with pytest.raises(asyncio.CancelledError):
            await cancelled
        for connection in server.connections:
            await connection.gone()
