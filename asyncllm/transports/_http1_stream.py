"""The body of a response over HTTP/1.1, as a stream of bytes."""

from __future__ import annotations

import asyncio

import httpx2

from ._http1 import Connection, Exchange
from ._http1_messages import IncomingResponse

_ENDED = Exchange(head_only=False, max_header_bytes=0)
_ENDED.complete = True
_ENDED.release()


class ResponseStream(httpx2.AsyncByteStream):
    """The body of a response. Each step gives all bytes that have arrived since the last.

    It may be iterated again after its end (it ends again) or after an error (which is raised again). There are three
    ways to leave before the end: `aclose` and `abort` close the connection at once, so that the server stops working;
    `finish` says that nothing of interest is left, and the connection is kept if the rest is short. One that is
    dropped closes.
    """

    __slots__ = ("_connection", "_create_future", "_exchange", "_request")

    def __init__(self, connection: Connection, exchange: Exchange, request: httpx2.Request | None) -> None:
        self._connection = connection
        self._create_future = connection._loop.create_future
        self._exchange = exchange
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

    def read(self, now: float | None = None) -> asyncio.Future[bytes]:
        """A step, for whoever cannot afford a coroutine for it. The bytes may be none: then ask again. What ends the body is
        raised at once, not by the future. A reader that is cancelled must :meth:`abort`."""
        exchange = self._exchange
        if (
            exchange.waiter is None
            and now is not None
            and not exchange.chunks
            and not exchange.complete
            and exchange.error is None
        ):
            exchange.last_activity = now
            waiter = exchange.waiter = self._create_future()
            return waiter
        if exchange.chunks:  # they came while nobody waited
            return self._connection.ready(exchange)
        if exchange.error is not None:
            if self._request is not None:
                exchange.error.request = self._request
            raise exchange.error
        if exchange.complete:
            raise StopAsyncIteration
        return self._connection.wait(exchange, now)

    def finish(self) -> None:
        """For a reader that knows the body to be over, say by a `[DONE]`: the connection is kept.

        What is left is read in the background, at most 64 KiB of it and for at most a second.
        """
        self._connection.finish(self._exchange)
        self._exchange = _ENDED

    def abort(self) -> None:
        """`aclose` for those who cannot await."""
        exchange = self._exchange
        if exchange.complete and not exchange.chunks:
            return
        if exchange.chunks and exchange.error is None:
            exchange.complete = False
        exchange.chunks.clear()
        exchange.fail(httpx2.ReadError("the response stream was closed before its end"))
        self._connection.abandon(exchange)

    async def aclose(self) -> None:
        """Idempotent, and from any task: a step that is waiting raises ReadError."""
        self.abort()

    def __del__(self) -> None:
        if not self._exchange.ended:
            self._connection.abandon_soon(self._exchange)
