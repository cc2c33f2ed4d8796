"""Trying again, and trying elsewhere: only before the first content of an answer was delivered, and always visibly."""

from __future__ import annotations

import asyncio
import logging
import random
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import msgspec
from msgspec import Struct

from ..events import (
    Finish,
    InvalidRequestError,
    LLMError,
    ProtocolError,
    RateLimitError,
    Retrying,
    StreamError,
    StreamEvent,
    has_content,
)
from ..protocols import Request
from ._backend import Backend, EventSource

logger = logging.getLogger("asyncllm.retry")


class RetryPolicy(Struct, frozen=True, kw_only=True):
    """How often, and after how long, a failed call is tried again.

    The wait is what the provider asks for, else `base * 2^n` up to `cap`, shortened by up to a quarter at random so that
    many clients do not come back at once. A provider that asks for more than `max_retry_after` seconds gets no retry: its
    error is raised, with `retry_after` set.

    `RetryPolicy(rate_limit_tries=10, empty_tries=3)` is patient: it sits out a rate limit for minutes, and does not take
    silence for an answer.

    Attributes:
        tries: after the first, for errors that are `retryable`.
        rate_limit_tries: the same for rate limits; None means `tries`.
        empty_tries, empty_delay: how often, and after how many seconds, a question is asked again that was answered with
            nothing at all. Where the last message is not the user's, or the answer was cut, nothing is an answer.
    """

    tries: int = 2
    base: float = 0.5
    cap: float = 8.0
    rate_limit_tries: int | None = None
    rate_limit_base: float = 2.0
    rate_limit_cap: float = 120.0
    max_retry_after: float = 120.0
    jitter: float = 0.25
    empty_tries: int = 0
    empty_delay: float = 1.0

    @classmethod
    def of(cls, retry: object, otherwise: RetryPolicy | None = None) -> RetryPolicy:
        """What `retry=` means: a policy, or how often `otherwise` tries again."""
        if isinstance(retry, RetryPolicy):
            return retry
        if isinstance(retry, bool) or not isinstance(retry, int) or retry < 0:
            raise InvalidRequestError(
                f"retry must be a number of tries after the first (0 = none) or a RetryPolicy, not {retry!r}"
            )
        return msgspec.structs.replace(otherwise or cls(), tries=retry)

    def delay(self, attempt: int, error: LLMError) -> float | None:
        """Seconds to wait before try `attempt` (from 1) after `error`; None to give up."""
        limited = isinstance(error, RateLimitError)
        tries = self.rate_limit_tries if limited and self.rate_limit_tries is not None else self.tries
        if not error.retryable or attempt > tries:
            return None
        if error.retry_after is not None:
            return error.retry_after if error.retry_after <= self.max_retry_after else None
        base, cap = (self.rate_limit_base, self.rate_limit_cap) if limited else (self.base, self.cap)
        wait = min(cap, base * 2.0 ** min(attempt - 1, 30))
        return wait * (1 - random.random() * self.jitter)


class Retry:
    """A backend that tries again."""

    def __init__(self, inner: Backend, policy: RetryPolicy) -> None:
        self._inner = inner
        self._policy = policy
        self.name = inner.name

    def stream(self, request: Request) -> EventSource:
        return _RetrySource(self._inner, self._policy, request)

    async def aclose(self) -> None:
        await self._inner.aclose()


class Failover:
    """Several backends, each with its model: the next is asked where one fails before any content."""

    def __init__(self, targets: Sequence[tuple[Backend, str]]) -> None:
        self._targets = list(targets)
        self.name = targets[0][0].name

    def stream(self, request: Request) -> EventSource:
        return _FailoverSource(self._targets, request)

    async def aclose(self) -> None:
        for backend, _ in self._targets:
            await backend.aclose()


class _Attempts(ABC):
    """The part that retry and failover share: attempts one after another, until one says something."""

    __slots__ = ("_attempt", "_done", "_held", "_source", "through")

    def __init__(self) -> None:
        self._attempt = 0
        self._source: EventSource | None = None
        self._held: list[StreamEvent] = []  # what an attempt said before any content: dropped if it fails
        self.through: EventSource | None = None
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if self.through is not None:
            return await self.through.__anext__()
        if self._done:
            raise StopAsyncIteration
        if self._source is None:
            self._source = await self._next_source()
        while True:
            batch = await self._source.__anext__()
            last = batch[-1]
            retrying: Retrying | None
            if has_content(batch):
                retrying = self._unless_said(batch)
            elif isinstance(last, StreamError):
                retrying = self._again(last.error)
            elif isinstance(last, Retrying):
                return batch  # an attempt's own attempts: visible as they happen
            else:
                self._held += batch
                continue
            if retrying is None:
                self.through = self._source
                return self._release(batch)
            self._held.clear()
            source, self._source = self._source, None
            await source.aclose()
            logger.info("%s; trying again in %.2f s", retrying.error, retrying.delay)
            return [retrying]

    def _release(self, batch: list[StreamEvent]) -> list[StreamEvent]:
        held, self._held = self._held, []
        return held + batch if held else batch

    @abstractmethod
    async def _next_source(self) -> EventSource:
        """The next attempt, after whatever wait it needs."""

    @abstractmethod
    def _again(self, error: LLMError) -> Retrying | None:
        """What to say before trying again; None where `error` is the last word."""

    def _unless_said(self, batch: list[StreamEvent]) -> Retrying | None:
        """The same for the first content of an answer, which is to be delivered, unless it is the end of an empty one."""
        return None

    async def aclose(self) -> None:
        self._done = True
        if self._source is not None:
            await self._source.aclose()

    def abort(self) -> None:
        self._done = True
        if self._source is not None:
            self._source.abort()


class _RetrySource(_Attempts):
    __slots__ = ("_backend", "_delay", "_empty", "_policy", "_request")

    def __init__(self, backend: Backend, policy: RetryPolicy, request: Request) -> None:
        super().__init__()
        self._backend = backend
        self._policy = policy
        self._request = request
        self._delay = 0.0
        self._empty = 0  # attempts that said nothing

    async def _next_source(self) -> EventSource:
        if self._attempt or self._empty:
            await asyncio.sleep(self._delay)
        return self._backend.stream(self._request)

    def _again(self, error: LLMError) -> Retrying | None:
        delay = self._policy.delay(self._attempt + 1, error)
        if delay is None:
            return None
        self._attempt += 1
        return self._after(delay, error)

    def _unless_said(self, batch: list[StreamEvent]) -> Retrying | None:
        if self._empty >= self._policy.empty_tries or self._request.messages[-1].role != "user":
            return None  # after another's turn there may be nothing to add
        last = batch[-1]
        if not isinstance(last, Finish) or last.reason != "stop" or has_content(batch[:-1]):
            return None
        self._empty += 1
        empty = ProtocolError("the answer was empty", provider=self._backend.name, model=self._request.model)
        return self._after(self._policy.empty_delay, empty)

    def _after(self, delay: float, error: LLMError) -> Retrying:
        self._delay = delay
        return Retrying(self._attempt + self._empty, delay, error)


class _FailoverSource(_Attempts):
    __slots__ = ("_earlier", "_request", "_targets")

    def __init__(self, targets: list[tuple[Backend, str]], request: Request) -> None:
        super().__init__()
        self._earlier: LLMError | None = None
        self._targets = targets
        self._request = request

    async def _next_source(self) -> EventSource:
        backend, model = self._targets[self._attempt]
        return backend.stream(msgspec.structs.replace(self._request, model=model))

    def _again(self, error: LLMError) -> Retrying | None:
        error.__cause__ = (
            error.__cause__ or self._earlier
        )  # what a fallback fails with does not hide why it was asked (C10)
        if self._attempt + 1 >= len(self._targets):
            return None
        self._attempt += 1
        self._earlier = error
        return Retrying(self._attempt, 0.0, error)
