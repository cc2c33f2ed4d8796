"""What a backend is: one method that streams. Wrappers (retry, failover, limits) take a backend and are one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol, Self

from ..events import LLMError, StreamEvent, TextDelta
from ..protocols import Request


class EventSource(Protocol):
    """One call under way: an async iterator of batches, each what one wakeup brought, never empty.

    It ends after a Finish or a StreamError and does not raise for a provider's failure. One task iterates. A coding agent
    makes several steps in one call: a Finish that is not the end is never the last event of its batch.
    """

    def __aiter__(self) -> Self: ...

    async def __anext__(self) -> list[StreamEvent]: ...

    async def aclose(self) -> None:
        """Let go of everything, now. Idempotent; not while another task waits in ``__anext__``."""
        ...

    def abort(self) -> None:
        """The same without awaiting, for where there is nobody to await it: finalisers."""
        ...


class Flow(Protocol):
    """What a call is while a model speaks: bytes that come, and what they say. For the one who waits for each of them, and
    cannot afford a coroutine between; everything else is the source's own, whose turn it is whenever there is nothing here."""

    @property
    def wait(self) -> Callable[[float], asyncio.Future[bytes]]:
        """Gives some bytes, or none; it is told the loop's time. Raises LookupError, at once, where there is nothing to wait
        for. Who is cancelled must abort the source; who fails the future himself, close it."""
        ...

    def take(self, data: bytes) -> TextDelta | list[StreamEvent]:
        """The events in these bytes, none of which ends anything; nearly always it is one, of text. Where there are none, the
        source is to be asked."""
        ...


def settled(source: EventSource) -> EventSource:
    """What is left of a source once wrappers have nothing more to do, closing included: those that have stepped aside name,
    as `through`, whom they would only pass on."""
    while (inner := getattr(source, "through", None)) is not None:
        source = inner
    return source


def flow_of(source: EventSource) -> Flow | None:
    """The source as a flow, if that is all that it is now. To be asked again whenever the source gave a batch itself."""
    flow: Flow | None = getattr(source, "flow", None)
    return flow


async def tell_failure(source: EventSource | None, error: LLMError) -> None:
    """Say with which error a call is given up by its caller, whose limits it was to keep. Wrappers that keep account of
    failures have a method `failed`."""
    failed = getattr(source, "failed", None)
    if failed is not None:
        await failed(error)


class Backend(Protocol):
    """Something that streams answers. It may serve many calls at once, under one event loop after another."""

    @property
    def name(self) -> str:
        """The provider, as in "provider/model"."""
        ...

    def stream(self, request: Request) -> EventSource:
        """Begin a call; nothing is sent before the source is iterated."""
        ...

    async def aclose(self) -> None: ...
