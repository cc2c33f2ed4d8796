"""One transport under several event loops: one after another, and at once (H8)."""

from __future__ import annotations

import asyncio
import gc
import ssl
from collections.abc import Callable, Coroutine
from typing import Any

import httpx2
import pytest
import trustme
import uvloop
from _rawserver import STREAM_END, STREAM_HEAD, answering, chunk, raw_server, raw_server_thread, response

from asyncllm.transports._http import FastTransport
from asyncllm.transports._http1_stream import ResponseStream
from asyncllm.transports._pool import PoolCounts

Run = Callable[[Coroutine[Any, Any, None]], None]

WHOLE = response(b"first")
ENDLESS = STREAM_HEAD + chunk(b"first")


async def open_stream(transport: FastTransport, url: str) -> ResponseStream:
    """A response of which the first bytes have been read."""
    reply = await transport.handle_async_request(httpx2.Request("GET", url))
    stream: ResponseStream = reply.extensions["asyncllm_stream"]
    assert await anext(stream) == b"first"
    return stream


@pytest.fixture(params=[asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    runner: Run = request.param
    return runner


@pytest.fixture(params=["http", "https"])
def contexts(request: pytest.FixtureRequest) -> tuple[ssl.SSLContext | None, ssl.SSLContext | bool]:
    """The TLS contexts of server and client, without TLS and with."""
    if request.param == "http":
        return None, True
    authority = trustme.CA()
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("127.0.0.1").configure_cert(server)
    authority.configure_trust(client)
    return server, client


@pytest.mark.req("H8")
@pytest.mark.parametrize("wire", [WHOLE, ENDLESS], ids=["idle", "active"])
def test_one_loop_after_another(
    run: Run,
    contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | bool],
    wire: bytes,
    recwarn: pytest.WarningsRecorder,
) -> None:
    """A transport outlives its loop: connections left behind close silently when the next loop comes."""
    kept: list[ResponseStream] = []
    transport = FastTransport(verify=contexts[1])

    async def use() -> None:
        kept.append(await open_stream(transport, server.url))
        assert sum(transport.counts) == 1

    async def last() -> None:
        await use()
        for stream in kept:
            await stream.aclose()
        kept.clear()
        await transport.aclose()

    with raw_server_thread(answering(wire), ssl_context=contexts[0]) as server:
        run(use())
        run(use())
        run(last())
        asyncio.run(_gone(server.connections))
        assert server.opened == 3
        run(transport.aclose())
    gc.collect()
    assert not recwarn.list


async def _gone(connections: list[Any]) -> None:
    """Across threads: polls what the server's loop sets."""
    async with asyncio.timeout(5):
        while not all(connection.left.is_set() for connection in connections):
            await asyncio.sleep(0.001)


@pytest.mark.req("H8")
def test_closed_under_another_loop(run: Run, recwarn: pytest.WarningsRecorder) -> None:
    """`aclose` of transport and stream under a loop that is not theirs, theirs being closed."""
    kept: list[ResponseStream] = []
    transport = FastTransport()

    async def use() -> None:
        kept.append(await open_stream(transport, server.url))

    async def close() -> None:
        await kept[0].aclose()
        await transport.aclose()
        with pytest.raises(httpx2.ReadError):
            await anext(kept[0])

    with raw_server_thread(answering(ENDLESS)) as server:
        run(use())
        run(close())
        asyncio.run(_gone(server.connections))
    kept.clear()
    gc.collect()
    assert not recwarn.list


@pytest.mark.req("H8")
def test_dropped_after_its_loop(run: Run, recwarn: pytest.WarningsRecorder) -> None:
    """A response that is collected after its loop was closed says nothing of a closed event loop."""
    kept: list[ResponseStream] = []
    transport = FastTransport()

    async def use() -> None:
        kept.append(await open_stream(transport, server.url))

    with raw_server_thread(answering(ENDLESS)) as server:
        run(use())
        kept.clear()
        gc.collect()
        run(transport.aclose())
        asyncio.run(_gone(server.connections))
    gc.collect()
    assert not recwarn.list


@pytest.mark.req("H8")
def test_a_reader_left_in_a_closed_loop(recwarn: pytest.WarningsRecorder) -> None:
    """Even a task that was left pending does not stop the clearing away."""
    transport = FastTransport()
    loop = asyncio.new_event_loop()
    with raw_server_thread(answering(ENDLESS)) as server:
        stream = loop.run_until_complete(open_stream(transport, server.url))
        step = stream.__anext__()
        step.send(None)  # waits for a wake-up that cannot come
        loop.close()
        asyncio.run(transport.aclose())
        asyncio.run(_gone(server.connections))
        step.close()
    gc.collect()
    assert not recwarn.list


@pytest.mark.req("H8")
async def test_two_loops_at_once() -> None:
    """Each loop has its own connections; closing from one closes those of the other in their own thread."""
    async with raw_server(answering(WHOLE)) as server:
        transport = FastTransport()
        await open_stream(transport, server.url)
        ready, go_on = asyncio.Event(), asyncio.Event()
        here = asyncio.get_running_loop()

        async def elsewhere() -> None:
            await open_stream(transport, server.url)
            assert transport.counts == PoolCounts(0, 1, 0)
            here.call_soon_threadsafe(ready.set)
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(go_on.wait(), here))

        thread = asyncio.create_task(asyncio.to_thread(asyncio.run, elsewhere()))
        await ready.wait()
        assert transport.counts == PoolCounts(0, 1, 0)
        await transport.aclose()
        for connection in server.connections:
            await connection.gone()
        go_on.set()
        await thread
        assert server.opened == 2


def test_a_long_body_and_a_slow_reader(run: Run, contexts: tuple[ssl.SSLContext | None, ssl.SSLContext | bool]) -> None:
    """Every byte arrives in its place, whether it waits for its reader or its reader for it; the connection is kept."""
    pieces = [bytes([65 + at % 26]) * 40_000 for at in range(50)]

    async def main() -> None:
        server_context, client_context = contexts
        script = answering(STREAM_HEAD, *(chunk(piece) for piece in pieces), STREAM_END)
        async with (
            raw_server(script, ssl_context=server_context) as server,
            FastTransport(verify=client_context) as transport,
        ):
            for _ in range(2):
                reply = await transport.handle_async_request(httpx2.Request("GET", server.url))
                stream: ResponseStream = reply.extensions["asyncllm_stream"]
                got = bytearray(await anext(stream))
                async with asyncio.timeout(20):
                    while not (stream._exchange.paused or stream.head.ended):
                        await asyncio.sleep(0)
                    async for data in stream:
                        got += data
                        await asyncio.sleep(0)
                assert got == b"".join(pieces)
            assert server.opened == 1

    run(main())
