"""The limits of one stream in time, and the breaking off of its waits: by a limit, or by a close from another task."""

from __future__ import annotations

import asyncio
from typing import Literal

from .backends import Interrupt, Interrupted
from .protocols import Timeout

CLOCK_SLACK = 0.001
"""Seconds by which a timer may come early."""
LATE_CHECK = 1.0
"""Seconds until the limit of the whole call is looked at again, where it passed while nobody waited."""


class Limits(Interrupt[Literal["closed", "total", "silence"]]):
    """What a stream's waits are guarded with. One timer for both limits: it looks at the clock, and is set again if it was
    too early. It knows nothing of the stream, which may be dropped while the timer runs."""

    __slots__ = ("_began", "_silence", "_timer", "_total", "answering", "asked", "loop", "waiter")

    def __init__(self, timeout: Timeout) -> None:
        super().__init__()
        self._total = timeout.total
        self._silence = timeout.inter_token
        self._timer: asyncio.TimerHandle | None = None
        self.answering = False
        """Whether any content has come: silence counts from then on."""
        self.asked = 0.0
        """When the wait under way began, by the loop's clock."""

        self.waiter: asyncio.Future[bytes] | None = None
        """What is waited for while a model speaks. Failing it breaks the wait off, with no more bookkeeping than that."""

    @property
    def waiting(self) -> bool:
        """Whether somebody waits."""
        return self.waiter is not None or self.task is not None

    def interrupt(self, why: Literal["closed", "total", "silence"]) -> None:
        waiter = self.waiter
        if waiter is None:
            super().interrupt(why)
        elif self.why is None:
            self.why = why
            if not waiter.done():
                waiter.set_exception(Interrupted())

    def start(self, loop: asyncio.AbstractEventLoop) -> None:
        """The call begins."""
        self.loop = loop
        self._began = self.asked = loop.time()
        self._check_in(self._total, self._silence)

    @property
    def here(self) -> bool:
        """Whether the call is one of the event loop that runs."""
        return self.loop is asyncio.get_running_loop()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _check_in(self, *waits: float | None) -> None:
        wait = min((wait for wait in waits if wait is not None), default=None)
        self._timer = None if wait is None else self.loop.call_later(wait, self._check)

    def _check(self) -> None:
        """Only a wait is broken off: a slow consumer is not a silent model."""
        now, total, silence = self.loop.time(), self._total, self._silence
        if total is not None:
            total += self._began - now
            if total <= CLOCK_SLACK:
                if self.waiting:
                    self.interrupt("total")
                    return
                total = LATE_CHECK
        if silence is not None and self.answering and self.waiting:
            silence += self.asked - now
            if silence <= CLOCK_SLACK:
                self.interrupt("silence")
                return
        self._check_in(total, silence)
