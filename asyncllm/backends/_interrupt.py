"""Breaking into an await from outside (a timer, a close from another task) without being mistaken for cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")
Why = TypeVar("Why")


class Interrupted(Exception):
    """The await was broken off by :meth:`Interrupt.interrupt`."""


class Interrupt(Generic[Why]):
    """Guards the awaits of one owner.

    The bookkeeping is that of ``asyncio.timeout``: the waiting task is cancelled, and the cancellation taken back when it
    arrives here, unless somebody else cancelled the task, too; then theirs goes on. Costs no timer and no task.
    """

    __slots__ = ("cancelling", "hit", "task", "why")

    def __init__(self) -> None:
        self.task: asyncio.Task[object] | None = None
        """The one that is inside: between :meth:`begin` and its end."""
        self.cancelling = 0
        """Of that task, when it came in."""
        self.hit = False
        """Whether it was broken into: then :meth:`end` has something to take back."""
        self.why: Why | None = None

    def interrupt(self, why: Why) -> None:
        """Break off the await under way, if there is one; `why` stays readable either way. The first reason counts."""
        if self.why is None:
            self.why = why
            if self.task is not None:
                self.hit = True
                self.task.cancel()

    async def run(self, call: Callable[[], Awaitable[T]]) -> T:
        """Await `call()`. Raises :class:`Interrupted` if it was broken off."""
        self.begin()
        try:
            return await call()
        except asyncio.CancelledError:
            if self.broke():
                raise Interrupted from None
            raise
        finally:
            self.end()

    # the parts of `run`, for the loop that cannot afford a coroutine more

    def begin(self) -> None:
        """The await begins, in the task that runs."""
        task = self.task = asyncio.current_task()
        assert task is not None
        self.cancelling = task.cancelling()

    def broke(self) -> bool:
        """The await was cancelled: whether by :meth:`interrupt` alone. The cancellation is taken back then."""
        task, self.task = self.task, None
        return self.hit and task is not None and task.uncancel() <= self.cancelling

    def end(self) -> None:
        """The await is over. If an interrupt came when it was done already, the result stands."""
        task, self.task = self.task, None
        if self.hit and task is not None:
            task.uncancel()
