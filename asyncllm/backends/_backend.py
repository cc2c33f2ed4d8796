"""What a backend is: one method that streams. Wrappers (retry, failover, limits) take a backend and are one."""

from __future__ import annotations

from typing import Protocol, Self

from ..events import LLMError, StreamEvent
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


def settled(source: EventSource) -> EventSource:
    """What is left to be asked for batches once wrappers have nothing more to do: those that have stepped aside name, as
    `through`, whom they would only pass on. Closing is still theirs."""
    while (inner := getattr(source, "through", None)) is not None:
        source = inner
    return source


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
