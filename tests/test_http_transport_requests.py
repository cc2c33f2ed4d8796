"""Requests through the fast transport: what goes out, how long it may take, and what goes wrong on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import httpx2
import pytest
from _rawserver import STREAM_END, STREAM_HEAD, RawConnection, answering, chunk, raw_server, response

from asyncllm.transports import _http1
from asyncllm.transports._http import FastTransport
from asyncllm.transports._pool import PoolCounts

OK = answering(response(b"ok"))
BIG = 30_000_000  # more than the kernel's buffers take


async def parts(*data: bytes) -> AsyncIterator[bytes]:
    for part in data:
        yield part


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_head_and_body_arrive_as_they_were_given() -> None:
    """Method, target, headers and a body with its length."""
    async with raw_server(OK) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        await client.post(f"{server.url}/v1/x?y=%20z", json={"a": 1}, headers={"X-Key": "k"})
    request = server.requests[0]
    assert request.line == b"POST /v1/x?y=%20z HTTP/1.1"
    assert (request.header("host"), request.header("x-key")) == (f"127.0.0.1:{server.port}", "k")
    assert request.header("content-length") == "7"
    assert request.body == b'{"a":1}'


async def test_request_is_one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Head and body leave together: one segment where they fit in one."""
    written: list[bytes] = []
    async with raw_server(OK) as server, FastTransport() as transport:
        first = await transport.handle_async_request(httpx2.Request("GET", server.url))
        assert [data async for data in first.extensions["asyncllm_stream"]] == [b"ok"]
        (pool,) = transport._pools.values()
        (connection,) = pool._open

        class Recording:
            def __getattr__(self, name: str) -> object:
                return getattr(inner, name)

            def write(self, data: bytes) -> None:
                written.append(data)
                inner.write(data)

        inner = connection._transport
        connection._transport = Recording()  # type: ignore[assignment]
        await transport.handle_async_request(httpx2.Request("POST", server.url, content=b"body"))
    assert len(written) == 1
    assert written[0].endswith(b"\r\n\r\nbody")


async def test_target_extension() -> None:
    """`extensions={"target": ...}` is sent as it is, as httpx2's own transport does."""
    async with raw_server(OK) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        await client.request("OPTIONS", server.url, extensions={"target": b"*"})
    assert server.requests[0].line == b"OPTIONS * HTTP/1.1"


@pytest.mark.parametrize(
    ("headers", "sent"),
    [({}, "transfer-encoding"), ({"content-length": "6"}, "content-length")],
    ids=["chunked", "content-length"],
)
async def test_iterated_body(headers: dict[str, str], sent: str) -> None:
    """An async iterable is sent as it comes, chunked, or plain when its length was given."""
    async with raw_server(OK) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        for _ in range(2):
            await client.post(server.url, content=parts(b"abc", b"", b"def"), headers=headers)
    assert [request.body for request in server.requests] == [b"abcdef", b"abcdef"]
    assert server.requests[0].header(sent)
    assert server.opened == 1


async def test_bytes_may_be_chunked_too() -> None:
    """A body in memory is framed as its headers say."""
    async with raw_server(OK) as server, FastTransport() as transport:
        headers = {"host": "x", "transfer-encoding": "chunked"}
        await transport.handle_async_request(httpx2.Request("POST", server.url, headers=headers, content=b"abc"))
    assert server.requests[0].body == b"abc"


async def test_multipart_body() -> None:
    """httpx2's own multipart stream, which is not a ByteStream."""
    async with raw_server(OK) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        await client.post(server.url, files={"file": b"content"})
    assert b"content" in server.requests[0].body


class Custom(httpx2.AsyncByteStream):
    """An async stream that is not an async generator."""

    def __init__(self) -> None:
        self.left = 3

    def __aiter__(self) -> Custom:  # type: ignore[override]
        return self

    async def __anext__(self) -> bytes:
        if not self.left:
            raise StopAsyncIteration
        self.left -= 1
        return b"x"


async def test_custom_stream_body() -> None:
    """Whatever is an AsyncByteStream will do."""
    async with raw_server(OK) as server, FastTransport() as transport:
        headers = {"host": "x", "content-length": "3"}
        await transport.handle_async_request(httpx2.Request("POST", server.url, headers=headers, stream=Custom()))
    assert server.requests[0].body == b"xxx"


@pytest.mark.parametrize(
    ("headers", "content", "message"),
    [
        ({"content-length": "2"}, b"abc", "longer than its content-length"),
        ({"content-length": "4"}, b"abc", "1 bytes shorter"),
        ({"content-length": "2"}, parts(b"abc"), "longer than its content-length"),
        ({"content-length": "4"}, parts(b"abc"), "1 bytes shorter"),
        ({"content-length": "-1"}, b"", "not a number"),
        ({"content-length": "3", "transfer-encoding": "chunked"}, b"abc", "either"),
        ({"transfer-encoding": "gzip"}, b"abc", "either"),
        ({"x-evil": "a\r\nx-injected: b"}, b"", "forbids"),
        ({"x-evil": "a\nx-injected: b"}, b"", "forbids"),
        ({"x-evil": "a\0"}, b"", "forbids"),
        ({"x evil": "a"}, b"", "forbids"),
    ],
)
async def test_requests_that_would_break_the_framing(headers: dict[str, str], content: object, message: str) -> None:
    """LocalProtocolError instead of a request that the server reads as another; the connection is not kept."""
    async with raw_server(OK) as server, FastTransport() as transport:
        client = httpx2.AsyncClient(transport=transport)
        with pytest.raises(httpx2.LocalProtocolError, match=message):
            await client.post(server.url, content=content, headers=headers)  # type: ignore[arg-type]
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_bad_method_and_sync_stream() -> None:
    """A method that is no token, a body that cannot be awaited."""
    transport = FastTransport()
    for request in (
        httpx2.Request("GET IT", "http://127.0.0.1:9"),
        httpx2.Request("POST", "http://127.0.0.1:9", content=iter([b"x"])),
    ):
        with pytest.raises(httpx2.LocalProtocolError):
            await transport.handle_async_request(request)


@pytest.mark.parametrize("url", ["ftp://127.0.0.1/", "http:///path", "/path"])
async def test_unsupported_urls(url: str) -> None:
    """Another scheme, or no host."""
    with pytest.raises(httpx2.UnsupportedProtocol):
        await FastTransport().handle_async_request(httpx2.Request("GET", url))


async def test_write_back_pressure() -> None:
    """The body is asked for only as fast as the server takes it."""
    asked = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal asked
        while asked < 500:
            asked += 1
            yield b"x" * 100_000

    async def script(connection: RawConnection) -> None:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        arrived.set()
        await go_on.wait()
        connection.writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len((await connection.request()).body) == 50_000_000
        await connection.send(response(b"ok"))

    arrived, go_on = asyncio.Event(), asyncio.Event()
    async with raw_server(script) as server, httpx2.AsyncClient(transport=FastTransport(), timeout=None) as client:
        task = asyncio.ensure_future(client.post(server.url, content=endless()))
        await arrived.wait()
        before = -1
        while asked != before:  # until it asks for no more
            before = asked
            await asyncio.sleep(0.02)
        assert asked < 500
        go_on.set()
        assert (await task).content == b"ok"
        assert asked == 500


async def not_reading(connection: RawConnection) -> None:
    connection.writer.transport.pause_reading()  # type: ignore[attr-defined]


@pytest.mark.parametrize("iterated", [False, True])
async def test_write_timeout(iterated: bool) -> None:
    """A server that takes nothing is given up on."""
    data = b"x" * BIG
    async with raw_server(not_reading) as server, FastTransport() as transport:
        timeout = httpx2.Timeout(5.0, write=0.05)
        client = httpx2.AsyncClient(transport=transport, timeout=timeout)
        with pytest.raises(httpx2.WriteTimeout, match=r"took no data for 0\.05 s"):
            await client.post(server.url, content=parts(data) if iterated else data)
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_write_timeout_is_not_for_slow_servers() -> None:
    """A server that takes a little within each write timeout gets it all, however long it takes."""

    async def script(connection: RawConnection) -> None:
        left = 4_000_000
        await connection.reader.readuntil(b"\r\n\r\n")
        while left > 0:
            left -= len(await connection.reader.read(400_000))
            await asyncio.sleep(0.01)
        await connection.send(response(b"ok"))

    async with raw_server(script) as server, FastTransport() as transport:
        client = httpx2.AsyncClient(transport=transport, timeout=httpx2.Timeout(5.0, write=0.03))
        assert (await client.post(server.url, content=b"x" * 4_000_000)).content == b"ok"


@pytest.mark.parametrize("kind", ["bytes", "iterated", "endless"])
async def test_answer_before_the_body_is_sent(kind: str) -> None:
    """A server that refuses a body early is heard; the rest is not sent and the connection not reused."""

    async def script(connection: RawConnection) -> None:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await connection.send(response(b"too large", status=b"413 Content Too Large"))

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
                await asyncio.sleep(0)
        finally:
            closed.set()

    closed = asyncio.Event()
    content = {"bytes": b"x" * BIG, "iterated": parts(b"x" * BIG, b"y"), "endless": endless()}[kind]
    async with raw_server(script) as server, FastTransport() as transport:
        client = httpx2.AsyncClient(transport=transport)
        reply = await client.post(server.url, content=content)
        assert (reply.status_code, reply.content) == (413, b"too large")
        assert transport.counts == PoolCounts(0, 0, 0)
        assert closed.is_set() == (kind == "endless")


@pytest.mark.parametrize("iterated", [False, True])
async def test_server_goes_while_the_body_is_sent(iterated: bool) -> None:
    """A reset in the middle of the body is a WriteError."""

    async def script(connection: RawConnection) -> None:
        await connection.reader.readexactly(1000)
        connection.reset()

    data = b"x" * BIG
    async with raw_server(script) as server, FastTransport() as transport:
        client = httpx2.AsyncClient(transport=transport)
        with pytest.raises(httpx2.WriteError, match="lost"):
            await client.post(server.url, content=parts(data) if iterated else data)
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_error_in_the_body_iterator() -> None:
    """The caller's own exception comes through, and the half-sent request is cut."""

    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise KeyError("mine")

    async with raw_server(OK) as server, FastTransport() as transport:
        with pytest.raises(KeyError, match="mine"):
            await httpx2.AsyncClient(transport=transport).post(server.url, content=broken())
        assert transport.counts == PoolCounts(0, 0, 0)
        await server.connections[0].gone()


@pytest.mark.parametrize("wire", [b"", b"HTTP/1.1 200 OK\r\n", STREAM_HEAD, STREAM_HEAD + chunk(b"x")])
async def test_read_timeout(wire: bytes) -> None:
    """Silence before, in and after the head, for longer than the read timeout."""
    async with raw_server(answering(wire)) as server, FastTransport() as transport:
        client = httpx2.AsyncClient(transport=transport, timeout=httpx2.Timeout(5.0, read=0.05))
        with pytest.raises(httpx2.ReadTimeout, match=r"sent nothing for 0\.05 s") as caught:
            await client.get(server.url)
        assert caught.value.request.method == "GET"
        assert transport.counts == PoolCounts(0, 0, 0)
        await server.connections[0].gone()


@pytest.mark.req("H10")
async def test_any_byte_resets_the_read_timer() -> None:
    """A stream of comments, each within the timeout, lives much longer than the timeout."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD)
        for _ in range(20):
            await asyncio.sleep(0.02)
            await connection.send(chunk(b": ping\n\n"))
        await connection.send(STREAM_END)

    async with raw_server(script) as server:
        timeout = httpx2.Timeout(5.0, read=0.15)
        async with httpx2.AsyncClient(transport=FastTransport(), timeout=timeout) as client:
            assert (await client.get(server.url)).content == b": ping\n\n" * 20


@pytest.mark.req("H10")
async def test_a_slow_reader_is_not_a_silent_server() -> None:
    """The time that the reader takes does not count."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD + chunk(b"one"))
        await go_on.wait()
        await connection.send(chunk(b"two") + STREAM_END)

    go_on = asyncio.Event()
    async with raw_server(script) as server, FastTransport() as transport:
        request = httpx2.Request("GET", server.url, extensions={"timeout": {"read": 0.05}})
        stream = (await transport.handle_async_request(request)).extensions["asyncllm_stream"]
        assert await anext(stream) == b"one"
        await asyncio.sleep(0.12)
        second = asyncio.ensure_future(anext(stream))
        await settle()
        go_on.set()
        assert await second == b"two"


@pytest.mark.req("H17")
async def test_one_timer_per_response(monkeypatch: pytest.MonkeyPatch) -> None:
    """100 reads, one timer."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD)
        for _ in range(100):
            await read.wait()
            read.clear()
            await connection.send(chunk(b"x"))
        await connection.send(STREAM_END)

    read = asyncio.Event()
    async with raw_server(script) as server, FastTransport() as transport:
        loop = asyncio.get_running_loop()
        timers: list[object] = []
        call_later = loop.call_later

        def count(delay, callback, *args, **options):  # type: ignore[no-untyped-def]
            if isinstance(getattr(callback, "__self__", None), _http1.Connection):
                timers.append(callback)
            return call_later(delay, callback, *args, **options)

        monkeypatch.setattr(loop, "call_later", count)
        request = httpx2.Request("GET", server.url, extensions={"timeout": {"read": 60.0}})
        stream = (await transport.handle_async_request(request)).extensions["asyncllm_stream"]
        read.set()
        received = 0
        async for data in stream:
            received += len(data)
            read.set()
    assert received == 100
    assert len(timers) == 1
