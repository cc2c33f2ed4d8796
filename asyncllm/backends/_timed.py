"""The first-token and inter-token limits, around any backend: one timer a call, re-armed when it fires too early."""

from __future__ import annotations

import asyncio
from typing import Self

from ..events import FirstTokenTimeout, InterTokenTimeout, LLMError, StreamError, StreamEvent, has_content
from ..protocols import Request
from ._backend import Backend, EventSource
from ._interrupt import Interrupt, Interrupted


class Timed:
    """A backend whose calls end with a typed timeout when the model falls silent."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name = inner.name

    def stream(self, request: Request) -> EventSource:
        limits = request.timeout
        if limits.first_token is None and limits.inter_token is None:
            return self._inner.stream(request)
        return _TimedSource(self._inner.stream(request), request, self.name)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _TimedSource:
    __slots__ = (
        "_ask",
        "_deadline",
        "_done",
        "_guard",
        "_inner",
        "_limit",
        "_limit_changed",
        "_loop",
        "_name",
        "_request",
        "_timer",
        "_token",
    )

    def __init__(self, inner: EventSource, request: Request, name: str) -> None:
        self._inner = inner
        self._ask = inner.__anext__
        self._request = request
        self._name = name
        self._guard: Interrupt[bool] = Interrupt()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._limit = request.timeout.first_token
        self._deadline = 0.0
        self._limit_changed = False
        self._token = False  # whether the answer has begun
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if self._done:
            raise StopAsyncIteration
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._start_limit()
        elif self._limit_changed:
            self._start_limit()
        elif self._token and self._limit is not None:
            self._deadline = self._loop.time() + self._limit
        try:
            batch = await self._guard.run(self._ask)
        except Interrupted:
            self._done = True
            await self._inner.aclose()
            return [StreamError(self._timeout())]
        except BaseException:
            self._stop()
            raise
        if not self._token and has_content(batch):
            self._token = True
            self._limit = self._request.timeout.inter_token
            self._limit_changed = True  # it counts from the next wait, of which there may be none
        return batch

    def _start_limit(self) -> None:
        assert self._loop is not None
        self._limit_changed = False
        self._stop()
        if self._limit is not None:
            self._deadline = self._loop.time() + self._limit
            self._timer = self._loop.call_at(self._deadline, self._tick)

    def _tick(self) -> None:
        """Time is counted only while somebody waits: a slow consumer is not a silent model."""
        assert self._loop is not None
        assert self._limit is not None
        self._timer = None
        if not self._guard.waiting:
            self._deadline = self._loop.time() + self._limit
        if self._loop.time() < self._deadline:
            self._timer = self._loop.call_at(self._deadline, self._tick)
        else:
            self._guard.interrupt(True)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timeout(self) -> LLMError:
        model = self._request.model
        if self._token:
            return InterTokenTimeout(
                f"nothing more of the answer came for {self._limit:g} s (timeout.inter_token)",
                provider=self._name,
                model=model,
            )
        return FirstTokenTimeout(
            f"nothing of the answer came within {self._limit:g} s (timeout.first_token)",
            provider=self._name,
            model=model,
        )

    async def aclose(self) -> None:
        self._done = True
        self._stop()
        await self._inner.aclose()

    def abort(self) -> None:
        self._done = True
        self._stop()
        self._inner.abort()
