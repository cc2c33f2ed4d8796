"""HTTP/1.1 for a server on loopback: requests of a limited size in, answers out, some of them late."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools
from msgspec import Struct

HEADER_LIMIT = 64 * 1024
"""Bytes of the target and the headers of a request."""

BODY_LIMIT = 32 * 1024 * 1024
"""Bytes of a request's body: arguments of a tool may be a whole file."""

KEEP_ALIVE = 15.0
"""Seconds between comments while an answer is being waited for: clients give up on a connection that is silent."""


class Asking(Struct, frozen=True):
    """A request. `headers` have lower-case names; of those that came twice, the first counts."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


class Reply(Struct, frozen=True):
    """An answer that is there."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = {}


class LateReply:
    """An answer that comes later, as an event stream of one event. `gone` is called if the client does not wait for it."""

    def __init__(self, gone: Callable[[], None]) -> None:
        self.gone = gone
        self._connection: HTTPConnection | None = None
        self._data: bytes | None = None

    def send(self, data: bytes) -> None:
        """The answer: one line of JSON. Once; nothing happens when the client is gone."""
        self._data = data
        if self._connection is not None:
            self._connection.finish(self)

    def begin(self, connection: HTTPConnection) -> None:
        self._connection = connection

    @property
    def data(self) -> bytes | None:
        return self._data


Handler = Callable[[Asking], Reply | LateReply]


class HTTPConnection(asyncio.Protocol):
    """One connection. Requests are answered in the order in which they came."""

    _transport: asyncio.Transport

    def __init__(self, handler: Handler, live: set[HTTPConnection]) -> None:
        self._handler = handler
        self._live = live
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[tuple[Asking, bool]] = deque()
        self._late: LateReply | None = None
        self._keep = True  # whether the connection is kept after the answer that is being given
        self._timer: asyncio.TimerHandle | None = None
        self._dead = False
        self._bad = 400  # the status for a request that is refused
        self.gone: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._begin()

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._live.add(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._refuse(self._bad)

    def eof_received(self) -> None:
        self._transport.abort()  # a client that stops sending is gone

    def connection_lost(self, exc: Exception | None) -> None:
        self._dead = True
        self._live.discard(self)
        self._waiting.clear()
        self._stop_timer()
        if not self.gone.done():
            self.gone.set_result(None)
        late, self._late = self._late, None
        if late is not None:
            late.gone()

    def abort(self) -> None:
        self._transport.abort()

    def forget_transport(self) -> None:
        """Its loop is closed, and calls nothing back."""
        self._dead = True
        del self._transport

    # ---- httptools

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._size = 0
        self._body = bytearray()

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url
        self._count(len(url))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.setdefault(name.decode("latin-1").lower(), value.decode("latin-1"))
        self._count(len(name) + len(value))

    def on_body(self, body: bytes) -> None:
        self._body += body
        if len(self._body) > BODY_LIMIT:
            self._too_large(413)

    def on_message_complete(self) -> None:
        method, keep = self._parser.get_method().decode(), bool(self._parser.should_keep_alive())
        path = self._url.decode("latin-1").partition("?")[0]
        self._waiting.append((Asking(method, path, self._headers, bytes(self._body)), keep))
        self._body = bytearray()
        self._answer()

    def _count(self, more: int) -> None:
        self._size += more
        if self._size > HEADER_LIMIT:
            self._too_large(431)

    def _too_large(self, status: int) -> None:
        self._bad = status
        raise ValueError  # the parser makes an error of its own of it

    def _refuse(self, status: int) -> None:
        if not self._dead:
            self._dead = True
            self._transport.write(_head(status, {"content-length": "0", "connection": "close"}))
            self._transport.close()

    # ---- answering

    def _answer(self) -> None:
        while self._waiting and self._late is None and not self._dead:
            asking, self._keep = self._waiting.popleft()
            reply = self._handler(asking)
            if isinstance(reply, Reply):
                headers = {**reply.headers, "content-length": str(len(reply.body))}
                self._write(_head(reply.status, headers) + reply.body)
                self._kept()
                continue
            self._late = reply
            headers = {"content-type": "text/event-stream", "cache-control": "no-store", "transfer-encoding": "chunked"}
            self._write(_head(200, headers) + _chunk(b": wait\n\n"))
            reply.begin(self)
            self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._still_here)
            if reply.data is not None:
                self.finish(reply)

    def finish(self, late: LateReply) -> None:
        """What was waited for is there."""
        if self._late is not late or late.data is None:
            return
        self._late = None
        self._stop_timer()
        self._write(_chunk(b"event: message\ndata: " + late.data + b"\n\n") + b"0\r\n\r\n")
        self._kept()
        self._answer()

    def _still_here(self) -> None:
        self._write(_chunk(b": wait\n\n"))
        self._timer = asyncio.get_running_loop().call_later(KEEP_ALIVE, self._still_here)

    def _stop_timer(self) -> None:
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def _write(self, data: bytes) -> None:
        if not self._dead:
            self._transport.write(data)

    def _kept(self) -> None:
        if not self._keep and not self._dead:
            self._dead = True
            self._transport.close()


def _head(status: int, headers: dict[str, Any]) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
