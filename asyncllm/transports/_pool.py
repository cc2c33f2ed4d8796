"""The connections of one event loop: which are idle, how many may be open, who waits for one.

Every operation is O(1), however many connections are open: a dict of idle connections per key (last in, first out),
one ordered dict of all of them by age (for expiry and eviction), and a queue of waiters to which a freed slot or
connection is handed directly, first come first served. There is one expiry timer for the whole pool.

A *slot* is the right to have one connection; connections hold one from before they connect until they close.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import warnings
from collections import OrderedDict
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import NamedTuple

import httpx2

from ._http1 import RECEIVE_BYTES, Connection, Key

CLOSED_AT_ONCE = 50
"""How many expired connections are closed in one turn of the loop: a thousand take 15 ms, in which no stream moves."""


class PoolCounts(NamedTuple):
    """`active`: connections in use or being opened. `waiting`: requests held back by `max_connections`."""

    active: int
    idle: int
    waiting: int


class Pool:
    """Belongs to one event loop, must be used from it, and closes when the loop shuts down.

    `await Pool.open(...)` makes one. `dispose` is for a loop that was closed without being shut down.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, limits: httpx2.Limits) -> None:
        self._loop = loop
        self.buffer = memoryview(bytearray(RECEIVE_BYTES))
        self._max_connections = limits.max_connections
        self._max_idle = limits.max_keepalive_connections
        self._expiry = limits.keepalive_expiry
        self._open: set[Connection] = set()
        self._opening = 0
        self._idle: dict[Key, dict[Connection, None]] = {}
        self._by_age: OrderedDict[Connection, float] = OrderedDict()
        self._waiters: OrderedDict[asyncio.Future[Connection | None], Key | None] = OrderedDict()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False
        self._guard = _close_with_loop(self)

    @classmethod
    async def open(cls, loop: asyncio.AbstractEventLoop, limits: httpx2.Limits) -> Pool:
        """`loop` is the running one."""
        pool = cls(loop, limits)
        await anext(pool._guard)
        return pool

    @property
    def counts(self) -> PoolCounts:
        idle = len(self._by_age)
        return PoolCounts(len(self._open) - idle + self._opening, idle, len(self._waiters))

    async def acquire(
        self,
        key: Key,
        connect: Callable[[], Awaitable[Connection]],
        timeout: float | None,
        *,
        fresh: bool = False,
    ) -> Connection:
        """An idle connection, or what `connect` opens; with `fresh` always the latter.

        Raises PoolTimeout when neither a connection nor a slot becomes free within `timeout` seconds.
        """
        if not fresh and (idle := self._take_idle(key)) is not None:
            return idle
        if not self._reserve():
            given = await self._wait(None if fresh else key, timeout)
            if given is not None:
                return given
        try:
            connection = await self._connected(connect)
        except BaseException:
            self._free_reserved()
            raise
        if connection.closed:  # the peer was quick to hang up: the first use will say so
            self._free_reserved()
            return connection
        self._opening -= 1
        self._open.add(connection)
        if self._closed:
            connection.abort()
            raise httpx2.ConnectError("the transport was closed while it was connecting")
        return connection

    def release(self, connection: Connection) -> None:
        """A connection is free for its next exchange: it goes to the first who waits, or becomes idle."""
        if (waiter := self._first_waiter()) is not None:
            if self._waiters[waiter] == connection.key:
                del self._waiters[waiter]
                waiter.set_result(connection)
            else:
                connection.abort()
            return
        if self._max_idle == 0 or self._expiry == 0:
            connection.abort()
            return
        self._idle.setdefault(connection.key, {})[connection] = None
        self._by_age[connection] = self._loop.time()
        if self._max_idle is not None and len(self._by_age) > self._max_idle:
            next(iter(self._by_age)).abort()
        if self._timer is None and self._expiry is not None:
            self._timer = self._loop.call_later(self._expiry, self._expire)

    def discard(self, connection: Connection) -> None:
        """A connection is gone, and its slot free."""
        if connection in self._open and not self._loop.is_closed():
            self._open.remove(connection)
            self._forget_idle(connection)
            self._opening += 1
            self._free_reserved()

    async def aclose(self) -> None:
        """`close`, and no more waiting for the loop's end."""
        await self._guard.aclose()

    def close(self) -> None:
        """Closes every connection, idle or not, and turns away who waits."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (waiter := self._first_waiter()) is not None:
            del self._waiters[waiter]
            waiter.set_exception(httpx2.ConnectError("the transport was closed while waiting for a connection"))
        for connection in list(self._open):
            connection.abort()

    def dispose(self) -> None:
        """`close` when the loop is closed and calls nothing back: transports cannot close, only be collected.

        They complain of that ("unclosed transport") whenever their cycles are found: so they are collected here.
        """
        self._closed = True
        self._waiters.clear()
        connections, self._open = self._open, set()
        for connection in connections:
            with contextlib.suppress(RuntimeError):  # from waking a task of that loop
                connection.abort()
            connection.forget_transport()
        if connections:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()

    # slots and waiters

    def _reserve(self) -> bool:
        """Takes a slot, if need be from the connection that has been idle longest."""
        if self._max_connections is not None and len(self._open) + self._opening >= self._max_connections:
            if not self._by_age:
                return False
            next(iter(self._by_age)).abort()
        self._opening += 1
        return True

    def _free_reserved(self) -> None:
        """A reserved slot is not used after all: it passes to the first who waits."""
        if (waiter := self._first_waiter()) is not None:
            del self._waiters[waiter]
            waiter.set_result(None)
        else:
            self._opening -= 1

    def _first_waiter(self) -> asyncio.Future[Connection | None] | None:
        """Who has waited longest, passing over those that were cancelled and have not noticed yet."""
        while self._waiters:
            waiter = next(iter(self._waiters))
            if not waiter.done():
                return waiter
            del self._waiters[waiter]
        return None

    async def _wait(self, key: Key | None, timeout: float | None) -> Connection | None:
        """A connection for `key`, or None: a slot has been reserved."""
        waiter: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiters[waiter] = key
        try:
            async with asyncio.timeout(timeout):
                try:
                    return await waiter
                except asyncio.CancelledError:
                    self._waiters.pop(waiter, None)
                    if not waiter.cancelled():
                        self._give_back(waiter)
                    raise
        except TimeoutError:
            message = f"no connection became free within {timeout} s (max_connections={self._max_connections})"
            raise httpx2.PoolTimeout(message) from None

    def _give_back(self, waiter: asyncio.Future[Connection | None]) -> None:
        """Passes on what was handed to a waiter that was cancelled in the same instant."""
        if waiter.exception() is not None:
            return
        connection = waiter.result()
        if connection is None:
            self._free_reserved()
        elif not connection.closed:
            self.release(connection)

    # idle connections

    def _take_idle(self, key: Key) -> Connection | None:
        idle = self._idle.get(key)
        if not idle:
            return None
        connection, _ = idle.popitem()
        since = self._by_age.pop(connection)
        if not idle:
            del self._idle[key]
        if self._expiry is not None and self._loop.time() - since >= self._expiry:
            connection.abort()  # the loop was too busy for the timer; the others are older still, and the timer's
            return None
        return connection

    def _forget_idle(self, connection: Connection) -> None:
        if self._by_age.pop(connection, None) is not None:
            idle = self._idle[connection.key]
            del idle[connection]
            if not idle:
                del self._idle[connection.key]

    def _expire(self) -> None:
        """Closes what has been idle for too long, and looks again when the next is due."""
        self._timer = None
        assert self._expiry is not None
        now = self._loop.time()
        for _ in range(CLOSED_AT_ONCE):
            if not self._by_age:
                return
            connection, since = next(iter(self._by_age.items()))
            left = since + self._expiry - now
            if left > 0:
                self._timer = self._loop.call_later(left, self._expire)
                return
            connection.abort()
        self._timer = self._loop.call_later(0, self._expire)

    async def _connected(self, connect: Callable[[], Awaitable[Connection]]) -> Connection:
        """What `connect` opens. Where no descriptor is left for it, idle connections make room."""
        try:
            return await connect()
        except httpx2.ConnectError as error:
            if not (self._by_age and _no_descriptor_left(error)):
                raise
        for idle in list(self._by_age):
            idle.abort()
        await asyncio.sleep(0)  # the loop closes their sockets
        return await connect()


def _no_descriptor_left(error: httpx2.ConnectError) -> bool:
    return isinstance(error.__cause__, OSError) and error.__cause__.errno in (errno.EMFILE, errno.ENFILE)


async def _close_with_loop(pool: Pool) -> AsyncGenerator[None]:
    """Stays suspended until the loop shuts down its asynchronous generators, the last thing `asyncio.run` does with a
    loop before it closes it: the only public way to be told, and just in time for sockets to be closed properly.
    """
    try:
        yield
    finally:
        pool.close()
