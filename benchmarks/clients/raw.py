"""The floor: asyncio.Protocol, httptools, msgspec and one async generator. No timeouts, no errors, no limits."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

import httptools

from ._client import count, request_body
from ._minimal import Arguments, Event, Text, feed


class Connection(asyncio.Protocol):
    __slots__ = ("chunks", "done", "head", "parser", "transport", "waiter")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport

    def send(self, request: bytes, loop: asyncio.AbstractEventLoop) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.chunks: list[bytes] = []
        self.done = False
        self.head: asyncio.Future[None] = loop.create_future()
        self.waiter: asyncio.Future[None] | None = None
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.parser.feed_data(data)
        waiter = self.waiter
        if waiter is not None and (self.chunks or self.done):
            self.waiter = None
            waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self.done = True

    def on_headers_complete(self) -> None:
        self.head.set_result(None)

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.done = True


def request_head(url: SplitResult) -> bytes:
    """All of it but the length of the body, which comes last."""
    return (
        f"POST {url.path}/chat/completions HTTP/1.1\r\nhost: {url.netloc}\r\ncontent-type: application/json\r\n"
        "authorization: Bearer x\r\ncontent-length: "
    ).encode()


class RawClient:
    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._host, self._port = url.hostname or "", url.port or 80
        self._head = request_head(url)
        self._tls = ssl.create_default_context() if url.scheme == "https" else None
        self._idle: list[Connection] = []

    async def open(self, model: str) -> Connection:
        return await self._post(request_body(model))

    async def _post(self, body: bytes) -> Connection:
        loop = asyncio.get_running_loop()
        if self._idle:
            connection = self._idle.pop()
        else:
            _, connection = await loop.create_connection(Connection, self._host, self._port, ssl=self._tls)
        connection.send(b"%b%d\r\n\r\n%b" % (self._head, len(body), body), loop)
        await connection.head
        return connection

    async def consume(self, stream: Connection) -> int:
        return await count(self._events(stream), (Text, Arguments))

    async def _events(self, connection: Connection) -> AsyncIterator[Event]:
        loop = asyncio.get_running_loop()
        rest = b""
        while True:
            chunks = connection.chunks
            if not chunks:
                if connection.done:
                    break
                connection.waiter = loop.create_future()
                await connection.waiter
                continue
            connection.chunks = []
            events, rest = feed(rest, chunks[0] if len(chunks) == 1 else b"".join(chunks))
            for event in events:
                yield event
        self._idle.append(connection)
