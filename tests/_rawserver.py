"""A loopback server that plays scripts of raw bytes, and sees what the client does to its connections.

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 200 OK\r\n...")

    async with raw_server(script) as server:
        await client.get(server.url)
        await server.connections[0].gone()

The script runs once per connection; the connection stays open when it returns, until the client closes it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field

PATIENCE = 5.0
"""An upper bound for things that take a millisecond; reached only by a failing test."""

SOON = 0.5
"""Within this the server must see a client go (H1). It takes a millisecond; 50 would do, but a loaded machine has pauses. What
must not be the reason, a timer of ours, is longer."""

Script = Callable[["RawConnection"], Awaitable[None]]


@dataclass
class RawRequest:
    """A request as it was on the wire; `body` with the chunked framing taken off."""

    head: bytes
    body: bytes

    @property
    def line(self) -> bytes:
        return self.head.split(b"\r\n", 1)[0]

    def header(self, name: str) -> str | None:
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.lower() == name:
                return value.strip()
        return None


@dataclass
class RawConnection:
    """The server's end of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    left: asyncio.Event
    requests: list[RawRequest] = field(default_factory=list)

    async def request(self) -> RawRequest:
        """The next request, whole. Raises IncompleteReadError or ConnectionError when the client has gone."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        request = RawRequest(head, b"")
        if length := request.header("content-length"):
            request.body = await self.reader.readexactly(int(length))
        elif request.header("transfer-encoding") == "chunked":
            chunks = []
            while size := int(await self.reader.readline(), 16):
                chunks.append((await self.reader.readexactly(size + 2))[:-2])
            await self.reader.readexactly(2)
            request.body = b"".join(chunks)
        self.requests.append(request)
        return request

    async def send(self, *parts: bytes) -> None:
        """Writes the parts one by one, each in a turn of the loop and (TCP_NODELAY) a segment of its own."""
        for part in parts:
            self.writer.write(part)
            await self.writer.drain()
            await asyncio.sleep(0)

    def close(self) -> None:
        """FIN, once what was sent has gone out."""
        self.writer.close()

    def reset(self) -> None:
        """RST instead of FIN."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def gone(self, within: float = PATIENCE) -> None:
        """Returns when the client has closed its end, by FIN or RST; raises TimeoutError."""
        async with asyncio.timeout(within):
            await self.left.wait()


class _Protocol(asyncio.StreamReaderProtocol):
    """Notices the end of the client even while nobody reads."""

    left: asyncio.Event

    def eof_received(self) -> bool | None:
        self.left.set()
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self.left.set()
        super().connection_lost(exc)


@dataclass
class RawServer:
    """Where the server listens, and every connection it has had, oldest first."""

    url: str
    port: int
    connections: list[RawConnection] = field(default_factory=list)

    @property
    def opened(self) -> int:
        return len(self.connections)

    async def accepted(self, count: int = 1) -> RawConnection:
        """The last of the first `count` connections, when it is there: a client may be gone before it is accepted."""
        async with asyncio.timeout(PATIENCE):
            while self.opened < count:
                await asyncio.sleep(0.001)
        return self.connections[count - 1]

    @property
    def requests(self) -> list[RawRequest]:
        return [request for connection in self.connections for request in connection.requests]


@contextlib.asynccontextmanager
async def raw_server(
    script: Script, *, host: str = "127.0.0.1", ssl_context: ssl.SSLContext | None = None
) -> AsyncIterator[RawServer]:
    """Serves until the block is left. A script that raises (but for the client's going away) fails the block."""
    tasks: set[asyncio.Task[None]] = set()
    failures: list[Exception] = []
    closing = False

    async def serve(connection: RawConnection) -> None:
        try:
            await script(connection)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        except Exception as exc:
            failures.append(exc)

    def protocol() -> _Protocol:
        left = asyncio.Event()

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if closing:
                writer.transport.abort()
                return
            connection = RawConnection(reader, writer, left)
            server.connections.append(connection)
            task = asyncio.create_task(serve(connection))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

        made = _Protocol(asyncio.StreamReader(limit=1 << 20), accept)
        made.left = left
        return made

    loop = asyncio.get_running_loop()
    listener = await loop.create_server(protocol, host, 0, ssl=ssl_context, backlog=1024)
    port = listener.sockets[0].getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    server = RawServer(f"{'https' if ssl_context else 'http'}://{shown}:{port}", port)
    try:
        yield server
    finally:
        closing = True
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for connection in server.connections:
            connection.writer.transport.abort()
        await asyncio.sleep(0)
    if failures:
        raise failures[0]


def response(body: bytes = b"ok", *headers: bytes, status: bytes = b"200 OK") -> bytes:
    """A whole response with a content-length."""
    lines = [b"HTTP/1.1 " + status, b"content-length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
STREAM_END = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One chunk of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def answering(*parts: bytes) -> Script:
    """Answers every request of a connection with the same parts."""

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(*parts)

    return script


@contextlib.contextmanager
def raw_server_thread(script: Script, *, ssl_context: ssl.SSLContext | None = None) -> Iterator[RawServer]:
    """The same in a loop and thread of its own, for clients whose loop ends before the server does."""
    started: Future[tuple[RawServer, asyncio.AbstractEventLoop, asyncio.Event]] = Future()

    async def serve() -> None:
        async with raw_server(script, ssl_context=ssl_context) as server:
            stop = asyncio.Event()
            started.set_result((server, asyncio.get_running_loop(), stop))
            await stop.wait()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    server, loop, stop = started.result(PATIENCE)
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
