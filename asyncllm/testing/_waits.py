"""Barriers: what a script waits for, so that a test needs no sleeps."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Protocol


class Waitable(Protocol):
    """Anything with an `async wait()`: an `asyncio.Event`, a :class:`Wait`, a :class:`Delay`."""

    async def wait(self) -> object: ...


class Signal:
    """An `asyncio.Event` that any thread or loop may set and wait for (the server may run in a thread of its own)."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[asyncio.Future[None]] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        while self._waiting:
            waiting = self._waiting.pop()
            waiting.get_loop().call_soon_threadsafe(_wake, waiting)

    async def wait(self) -> None:
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        try:
            if not self._set:  # asked only now: whoever sets it after this finds us in the list
                await waiting
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(waiting)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


class Wait:
    """A barrier in a script: the server stops at it until :meth:`release`, or until `event` where one is given.

    A test awaits `reached` to know that everything before the barrier was sent.
    """

    def __init__(self, event: Waitable | None = None) -> None:
        self.reached = Signal()
        self._released = Signal()
        self._event: Waitable = event or self._released

    def __repr__(self) -> str:
        return "Wait()" if self._event is self._released else f"Wait({self._event!r})"

    def release(self) -> None:
        self._released.set()

    async def wait(self) -> None:
        self.reached.set()
        await self._event.wait()


class Delay:
    """A pause of so many seconds, for people to look at; tests use :class:`Wait`."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    async def wait(self) -> None:
        await asyncio.sleep(self.seconds)
