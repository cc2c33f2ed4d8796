"""Connecting with the fast transport: what can go wrong, what the message says, and that nothing is left behind."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
import sys

import httpx2
import pytest
from _rawserver import answering, raw_server, response

from asyncllm.transports._http import FastTransport
from asyncllm.transports._pool import PoolCounts


async def test_connection_refused() -> None:
    """ConnectError names who could not be reached."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        transport = FastTransport()
        with pytest.raises(httpx2.ConnectError, match=f"cannot connect to 127.0.0.1:{port}: ") as caught:
            await transport.handle_async_request(httpx2.Request("GET", f"http://127.0.0.1:{port}"))
        assert caught.value.request.url.port == port
        assert transport.counts == PoolCounts(0, 0, 0)


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 70 + ".invalid"])
async def test_unknown_host(host: str) -> None:
    """A name that does not resolve, or cannot be one."""
    transport = FastTransport()
    with pytest.raises(httpx2.ConnectError, match="cannot connect to"):
        await transport.handle_async_request(httpx2.Request("GET", f"http://{host}/"))
    assert transport.counts == PoolCounts(0, 0, 0)


async def test_connect_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that does not come in time."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    transport = FastTransport()
    request = httpx2.Request("GET", "http://[::1]:9", extensions={"timeout": {"connect": 0.01}})
    with pytest.raises(httpx2.ConnectTimeout, match=r"cannot connect to \[::1\]:9 within 0\.01 s"):
        await transport.handle_async_request(request)
    assert transport.counts == PoolCounts(0, 0, 0)


async def test_cancel_while_connecting(monkeypatch: pytest.MonkeyPatch) -> None:
    """The slot is free, and no socket is left."""

    async def never(*_: object, **__: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", never)
    transport = FastTransport()
    task = asyncio.ensure_future(transport.handle_async_request(httpx2.Request("GET", "http://127.0.0.1:9")))
    for _ in range(5):
        await asyncio.sleep(0)
    assert transport.counts == PoolCounts(1, 0, 0)
    for _ in range(2):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task
    assert transport.counts == PoolCounts(0, 0, 0)


async def test_too_many_open_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to do about it."""

    async def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", refuse)
    with pytest.raises(httpx2.ConnectError, match="ulimit -n"):
        await FastTransport().handle_async_request(httpx2.Request("GET", "http://127.0.0.1:9"))


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit")
async def test_idle_connections_make_room_when_no_descriptor_is_left() -> None:
    """A thousand streams that have ended must not keep another from beginning."""
    import resource

    answer = answering(response(b"ok"))
    async with raw_server(answer) as one, raw_server(answer) as other, FastTransport() as transport:

        async def get(url: str) -> int:
            got = await transport.handle_async_request(httpx2.Request("GET", url))
            await got.aread()
            return got.status_code

        await asyncio.gather(*[get(one.url) for _ in range(5)])
        assert transport.counts == PoolCounts(0, 5, 0)
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        taken: list[int] = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
        try:
            with pytest.raises(OSError, match="Too many open files"):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            assert await get(other.url) == 200
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in taken:
                os.close(descriptor)
        assert transport.counts == PoolCounts(0, 1, 0)


async def test_peer_hangs_up_while_the_pool_takes_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection that is lost in the instant it was opened leaves no slot behind."""
    loop = asyncio.get_running_loop()
    create = loop.create_connection

    async def create_and_lose(factory, *args, **options):  # type: ignore[no-untyped-def]
        transport, protocol = await create(factory, *args, **options)
        protocol.connection_lost(None)
        return transport, protocol

    monkeypatch.setattr(loop, "create_connection", create_and_lose)
    async with raw_server(answering(response(b"ok"))) as server, FastTransport() as transport:
        with pytest.raises(httpx2.RemoteProtocolError, match="without sending a response"):
            await transport.handle_async_request(httpx2.Request("GET", server.url))
        assert transport.counts == PoolCounts(0, 0, 0)
