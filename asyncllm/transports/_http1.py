"""One HTTP/1.1 connection: an asyncio protocol that carries one exchange at a time.

    socket -> Connection.data_received -> the parser -> Exchange.chunks -> the future of Exchange.expect

What makes it cheap: no coroutine and no Python frame per chunk, none between a wake-up and its bytes, one wake-up for all
that has arrived, one timer per response that re-arms itself only when it fires. What makes it safe: an exchange leaves its
connection the moment it ends, and every method that could hurt the connection asks first whether the exchange is still the
current one, so that a late cancel or close never touches somebody else's response.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol, cast

import httpx2

from ._http1_messages import REFUSALS, IncomingResponse, OutgoingRequest

RECEIVE_BYTES = 64 * 1024
"""What is read from a socket at once. Fresh memory for every read, as asyncio's plain protocols get it, costs more than the
reading: 256 KiB of it are page faults."""
RECEIVE_BYTES_TLS = 32 * 1024
"""The same under TLS, where more is slower: two records."""
HIGH_WATER = 256 * 1024
"""Bytes that may wait unread before reading from the socket pauses."""
DRAIN_BYTES = 64 * 1024
"""How much of a tail `ResponseStream.finish` reads for the sake of the connection's reuse, ..."""
DRAIN_SECONDS = 1.0
"""... and how long it waits for it."""
_CLOCK_SLACK = 0.001


class Key(NamedTuple):
    """Connections with equal keys are interchangeable. `sni` is the name asked of TLS, None for the host's own."""

    scheme: str
    host: str
    port: int
    sni: str | None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Owner(Protocol):
    """Who a connection belongs to: the pool."""

    buffer: memoryview
    """Where connections receive into: shared, for each has handed on what it got before the next receives."""

    def release(self, connection: Connection) -> None:
        """The connection is free for another exchange."""
        ...

    def discard(self, connection: Connection) -> None:
        """The connection is gone. May be called more than once."""
        ...


class Exchange(IncomingResponse):
    """A response, who waits for it, and how far its request has got."""

    __slots__ = (
        "draining",
        "last_activity",
        "loop",
        "paused",
        "reader",
        "sent",
        "timer",
        "unread_limit",
        "waiter",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, *, head_only: bool, max_header_bytes: int) -> None:
        super().__init__(head_only=head_only, max_header_bytes=max_header_bytes)
        self.loop = loop
        self.sent = False
        self.waiter: asyncio.Future[None] | None = None  # for the head, or room for writing
        self.reader: asyncio.Future[bytes] | None = None  # for the body, afterwards
        self.timer: asyncio.TimerHandle | None = None
        self.last_activity = 0.0
        self.paused = False
        self.draining = False
        self.unread_limit = HIGH_WATER

    @property
    def answered(self) -> bool:
        """The head of the response is there, or never will be."""
        return self.status != 0 or self.error is not None

    @property
    def waiting(self) -> bool:
        """Whether somebody waits for this."""
        return any(future is not None and not future.done() for future in (self.waiter, self.reader))

    def wait(self) -> asyncio.Future[None]:
        """Done when something may have changed: the head, the end, room for writing. Silence counts anew."""
        self.last_activity = self.loop.time()
        waiter = self.waiter = self.loop.create_future()
        return waiter

    def expect(self, now: float) -> asyncio.Future[bytes]:
        """The next bytes of a body of which none are there; or none, where it has ended. Silence counts from `now`, the loop's
        time. Raises LookupError where there is nothing to wait for."""
        if self.chunks or self.ended:
            raise LookupError("there are bytes, or will be none")
        if self.reader is not None and not self.reader.done():
            raise RuntimeError("another task is already waiting for this response")
        self.last_activity = now
        reader = self.reader = self.loop.create_future()
        return reader

    def wake(self) -> None:
        waiter, reader = self.waiter, self.reader
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
        if reader is not None and not reader.done():
            reader.set_result(self.take())

    def take(self) -> bytes:
        """All bytes of the body that have arrived."""
        chunks = self.chunks
        self.unread = 0
        if len(chunks) == 1:
            return chunks.pop()
        data = b"".join(chunks)
        chunks.clear()
        return data

    def end(self) -> None:
        """Lets go of everything but the result."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None
        self.release()
        self.wake()


class Connection(asyncio.Protocol):
    """One socket. The pool hands it out; `request` runs an exchange on it; when that ends it goes back, or closes.

    `stale` is True when the peer hung up on a reused connection before a byte of the answer: the request can be
    repeated on a fresh one.
    """

    __slots__ = (
        "_exchange",
        "_loop",
        "_owner",
        "_transport",
        "_used",
        "_write_paused",
        "closed",
        "key",
        "stale",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, key: Key) -> None:
        self._loop = loop
        self._owner = owner
        self.key = key
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._write_paused = False
        self._used = False
        self.closed = False
        self.stale = False

    # asyncio calls these

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes | memoryview) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # nothing was asked: whatever this is, it must not become the next answer
            return
        try:
            exchange.parse(data)
        except REFUSALS as exc:
            exchange.refuse(exc)
        reader, chunks = exchange.reader, exchange.chunks
        if reader is None or not chunks or exchange.ended or reader.done():
            self._hold(exchange, len(data))
        else:  # read as it comes: nearly always, while a model speaks
            exchange.reader = None
            exchange.unread = 0
            reader.set_result(chunks.pop() if len(chunks) == 1 else exchange.take())

    def eof_received(self) -> None:
        self.connection_lost(None)

    def connection_lost(self, exc: Exception | None) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()
            return
        self.stale = self._used and not exchange.received
        if exc is None:
            exchange.feed_eof()
        else:
            lost = httpx2.ReadError if exchange.sent else httpx2.WriteError
            exchange.fail(lost(f"connection to {self.key.address} lost: {exc or type(exc).__name__}"))
        self._end_exchange(exchange)

    def pause_writing(self) -> None:
        self._write_paused = True

    def resume_writing(self) -> None:
        self._write_paused = False
        if self._exchange is not None:
            self._exchange.wake()

    # an exchange, from its request to its end

    async def request(
        self,
        message: OutgoingRequest,
        *,
        read_timeout: float | None,
        write_timeout: float | None,
        max_header_bytes: int,
    ) -> Exchange:
        """Sends a request and returns when the head of its response is there; the body follows into the exchange.

        Any way out but a return, cancellation included, closes the socket at once.
        """
        exchange = Exchange(self._loop, head_only=message.head_only, max_header_bytes=max_header_bytes)
        if self.closed:
            self.stale = self._used
            raise httpx2.RemoteProtocolError("server disconnected without sending a response")
        self._exchange = exchange
        try:
            exchange.sent = await self._send(message, exchange, write_timeout)
            if read_timeout is not None and not exchange.ended:
                exchange.last_activity = self._loop.time()
                exchange.timer = self._loop.call_later(read_timeout, self._check_read_timeout, exchange, read_timeout)
            while not exchange.status:
                if exchange.error is not None:
                    raise exchange.error
                await exchange.wait()
        except BaseException:
            self.abandon(exchange)
            raise
        return exchange

    def ready(self, exchange: Exchange) -> asyncio.Future[bytes]:
        """Bytes of the body that have arrived already."""
        future: asyncio.Future[bytes] = self._loop.create_future()
        future.set_result(exchange.take())
        if exchange.paused:
            self.resume_reading(exchange)
        return future

    def finish(self, exchange: Exchange) -> None:
        """Nobody will read on, but the end should be near: it is read in the background, for the connection's reuse."""
        if self._exchange is not exchange:
            return
        if not (exchange.keep_alive and exchange.sent):
            self.abort()
            return
        if exchange.timer is not None:
            exchange.timer.cancel()
        exchange.timer = self._loop.call_later(DRAIN_SECONDS, self.abandon, exchange)
        exchange.draining = True
        exchange.unread_limit = DRAIN_BYTES
        exchange.unread = 0
        exchange.chunks.clear()
        if exchange.paused:
            self.resume_reading(exchange)

    def abandon(self, exchange: Exchange) -> None:
        """Closes the connection, unless the exchange has already left it."""
        if self._exchange is exchange:
            self.abort()

    def abandon_soon(self, exchange: Exchange) -> None:
        """`abandon` for finalizers: those run in any thread, and in the middle of anything."""
        with contextlib.suppress(RuntimeError):  # the loop is closed: see `Pool.dispose`
            self._loop.call_soon_threadsafe(self.abandon, exchange)

    def abort(self, error: httpx2.TransportError | None = None) -> None:
        """Closes the socket now, without waiting for anything. A running exchange ends with `error`."""
        if self.closed:
            return
        self.closed = True
        self._owner.discard(self)
        if self._transport is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: see `Pool.dispose`
                self._transport.abort()
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.fail(error or httpx2.ReadError(f"connection to {self.key.address} was closed"))
            exchange.end()

    def forget_transport(self) -> None:
        """For a closed loop, under which the socket closes only by being collected."""
        self._transport = None

    # inside

    async def _send(self, message: OutgoingRequest, exchange: Exchange, timeout: float | None) -> bool:
        """Returns whether the whole request went out: an answer that comes earlier ends the sending."""
        if not await self._write(message.data, exchange, timeout):
            return False
        if message.parts is None:
            return True
        parts = aiter(message.parts)
        try:
            async for part in parts:
                if not await self._write(message.framing.frame(part), exchange, timeout):
                    return False
        finally:
            if isinstance(parts, AsyncGenerator):
                await parts.aclose()
        return await self._write(message.framing.end(), exchange, timeout)

    async def _write(self, data: bytes, exchange: Exchange, timeout: float | None) -> bool:
        """Returns whether the peer still listens: it has neither answered nor gone."""
        assert self._transport is not None
        if data and not exchange.answered:
            self._transport.write(data)
            if self._write_paused:
                await self._drain(exchange, timeout)
        return not exchange.answered

    async def _drain(self, exchange: Exchange, timeout: float | None) -> None:
        """Waits until the peer has taken what was written. The timeout is for one that takes nothing at all."""
        assert self._transport is not None
        while self._write_paused and not exchange.answered:
            buffered = self._transport.get_write_buffer_size()
            try:
                async with asyncio.timeout(timeout):
                    await exchange.wait()
            except TimeoutError:
                if self._transport.get_write_buffer_size() >= buffered:
                    raise httpx2.WriteTimeout(f"{self.key.address} took no data for {timeout} s") from None

    def _end_exchange(self, exchange: Exchange) -> None:
        """The exchange has ended, well or not: the connection is free, for the next one or for nothing."""
        self._exchange = None
        exchange.end()
        assert self._transport is not None
        if exchange.keep_alive and exchange.sent and exchange.complete and not self._transport.is_closing():
            if exchange.paused:
                self.resume_reading(exchange)
            self._used = True
            self._owner.release(self)
        else:
            self.abort()

    def _hold(self, exchange: Exchange, size: int) -> None:
        """Bytes have come that nobody waits for, or that were not of the body alone."""
        exchange.held(size)
        if exchange.ended:
            self._end_exchange(exchange)
            return
        if exchange.unread > exchange.unread_limit:
            self._overflow(exchange)
        exchange.wake()

    def _check_read_timeout(self, exchange: Exchange, timeout: float) -> None:
        """The one timer of a response. Silence counts while somebody waits, from the last byte or the wait's start."""
        silence = self._loop.time() - exchange.last_activity if exchange.waiting else 0.0
        left = timeout - silence
        if left > _CLOCK_SLACK:
            exchange.timer = self._loop.call_later(left, self._check_read_timeout, exchange, timeout)
        else:
            self.abort(httpx2.ReadTimeout(f"{self.key.address} sent nothing for {timeout} s"))

    def _overflow(self, exchange: Exchange) -> None:
        if exchange.draining:
            self.abort()
        elif not exchange.paused:
            assert self._transport is not None
            exchange.paused = True
            self._transport.pause_reading()

    def resume_reading(self, exchange: Exchange) -> None:
        exchange.paused = False
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()


class BufferedConnection(Connection, asyncio.BufferedProtocol):
    """For asyncio's own loop, which takes fresh memory of 256 KiB for every read of a plain protocol, and for TLS. uvloop has
    a buffer of its own: there this would cost more than it saves."""

    __slots__ = ("_buffer",)

    def __init__(self, loop: asyncio.AbstractEventLoop, owner: Owner, key: Key) -> None:
        super().__init__(loop, owner, key)
        self._buffer = owner.buffer if key.scheme == "http" else owner.buffer[:RECEIVE_BYTES_TLS]

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._buffer[:nbytes])
