"""The first-token limit, around any backend: each attempt of a call has it anew. The others are the stream's own."""

from __future__ import annotations

import asyncio
from typing import Self

from ..events import FirstTokenTimeout, StreamError, StreamEvent, has_content
from ..protocols import Request
from ._backend import Backend, EventSource
from ._interrupt import Interrupt, Interrupted


class Timed:
    """A backend whose calls end with a typed timeout when no content of an answer comes."""

    def __init__(self, inner: Backend) -> None:
        self._inner = inner
        self.name = inner.name

    def stream(self, request: Request) -> EventSource:
        source = self._inner.stream(request)
        limit = request.timeout.first_token
        return source if limit is None else _TimedSource(source, limit, self.name, request.model)

    async def aclose(self) -> None:
        await self._inner.aclose()


class _TimedSource:
    __slots__ = ("_begun", "_done", "_guard", "_inner", "_left", "_limit", "_model", "_name", "_timer", "through")

    def __init__(self, inner: EventSource, limit: float, name: str, model: str) -> None:
        self._inner = inner
        self._limit = limit
        self._name = name
        self._model = model
        self._guard: Interrupt[bool] = Interrupt()
        self._timer: asyncio.TimerHandle | None = None
        self._begun = False
        self._done = False
        self.through: EventSource | None = None

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if self.through is not None:
            return await self.through.__anext__()
        if self._done:
            raise StopAsyncIteration
        if not self._begun:
            self._begun = True
            self._timer = asyncio.get_running_loop().call_later(self._limit, self._tick)
        try:
            batch = await self._guard.run(self._inner.__anext__)
        except Interrupted:
            self._done = True
            await self._inner.aclose()
            return [StreamError(self._timeout())]
        except BaseException:
            self._stop()
            raise
        if has_content(batch):
            self._stop()
            self.through = self._inner
        return batch

    def _tick(self) -> None:
        """Time is counted only while somebody waits: a slow consumer is not a silent model."""
        if self._guard.task is not None:
            self._guard.interrupt(True)
        else:
            self._timer = asyncio.get_running_loop().call_later(self._limit, self._tick)

    def _stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _timeout(self) -> FirstTokenTimeout:
        return FirstTokenTimeout(
            f"nothing of the answer came within {self._limit:g} s (timeout.first_token)",
            provider=self._name,
            model=self._model,
        )

    async def aclose(self) -> None:
        self._done, self.through = True, None
        self._stop()
        await self._inner.aclose()

    def abort(self) -> None:
        self._done, self.through = True, None
        self._stop()
        self._inner.abort()
