"""The body of a response over HTTP/1.1, as a stream of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx2

from ._http1 import Connection, Exchange
from ._http1_messages import IncomingResponse


class ResponseStream(httpx2.AsyncByteStream):
    """The body of a response. Each step gives all bytes that have arrived since the last.

    It may be iterated again after its end (it ends again) or after an error (which is raised again). There are three
    ways to leave before the end: `aclose` and `abort` close the connection at once, so that the server stops working;
    `finish` says that nothing of interest is left, and the connection is kept if the rest is short. One that is
    dropped closes.
    """

    __slots__ = ("_connection", "_exchange", "_finished", "_request")

    def __init__(self, connection: Connection, exchange: Exchange, request: httpx2.Request | None) -> None:
        self._connection = connection
        self._exchange = exchange
        self._finished = False
        self._request = request

    @property
    def head(self) -> IncomingResponse:
        """The status and the headers, as they came."""
        return self._exchange

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> bytes:
        try:
            while not (data := await self.read()):
                pass
        except asyncio.CancelledError:
            self.abort()
            raise
        return data

    def read(self) -> asyncio.Future[bytes]:
        """A step, for whoever cannot afford a coroutine for it. The bytes may be none: then ask again. What ends the body is
        raised at once, not by the future. A reader that is cancelled must :meth:`abort`."""
        exchange = self._exchange
        if self._finished:
            raise StopAsyncIteration
        if exchange.chunks:  # they came while nobody waited
            return self._connection.ready(exchange)
        if exchange.error is not None:
            if self._request is not None:
                exchange.error.request = self._request
            raise exchange.error
        if exchange.ended:
            raise StopAsyncIteration
        return exchange.expect(exchange.loop.time())

    @property
    def expect(self) -> Callable[[float], asyncio.Future[bytes]]:
        """The steps that wait, for whoever cannot afford more than that: see :meth:`Exchange.expect`. Until `finish`."""
        return self._exchange.expect

    def finish(self) -> None:
        """For a reader that knows the body to be over, say by a `[DONE]`: the connection is kept.

        What is left is read in the background, at most 64 KiB of it and for at most a second.
        """
        if not self._finished:
            self._finished = True
            self._connection.finish(self._exchange)

    def abort(self) -> None:
        """`aclose` for those who cannot await."""
        exchange = self._exchange
        if self._finished or (exchange.complete and not exchange.chunks):
            return
        if exchange.chunks and exchange.error is None:
            exchange.ended = False
        exchange.chunks.clear()
        exchange.fail(httpx2.ReadError("the response stream was closed before its end"))
        self._connection.abandon(exchange)

    async def aclose(self) -> None:
        """Idempotent, and from any task: a step that is waiting raises ReadError."""
        self.abort()

    def __del__(self) -> None:
        if not (self._finished or self._exchange.ended):
            self._connection.abandon_soon(self._exchange)
