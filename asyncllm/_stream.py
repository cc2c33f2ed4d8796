"""The stream of one call: an async iterator of events that is also its context manager, its text and its reply."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import msgspec

from ._limits import Limits
from ._output import OutputSpec
from ._partials import PartialsView, require_partials
from .backends import Backend, EventSource, Flow, Interrupted, flow_of, settled, tell_failure
from .events import (
    Finish,
    Fold,
    IncompleteStreamError,
    InterTokenTimeout,
    LLMError,
    Reply,
    StreamError,
    StreamEvent,
    TextDelta,
    ToolCall,
    TotalTimeout,
    has_content,
)
from .events._fold import HEARD
from .protocols import Request

Output = TypeVar("Output")


class Stream(Generic[Output]):
    """One call to a model, as its events arrive. Made by :meth:`asyncllm.Client.stream`.

    Two ways to use it. Both return at the first content of the answer, when failed attempts have been repeated or raised:

        stream = await client.stream("Hi")           # closed at its end, by aclose(), or with the last reference
        async with client.stream("Hi") as stream:    # closed on leaving, whatever happens

    Iterating gives :data:`asyncllm.StreamEvent` s and raises the :class:`asyncllm.LLMError` with which a stream ends, with
    `.partial` set. A stream ends with Finish or with an error, never in silence. It can be iterated once, by one task at a
    time; :meth:`aclose` may be called from any task and ends the iteration of another. Cancelling the task that waits in it
    closes the connection at once.
    """

    __slots__ = (
        "__weakref__",
        "_backend",
        "_closed",
        "_error",
        "_finished",
        "_flow",
        "_fold",
        "_guard",
        "_next",
        "_output",
        "_pending",
        "_request",
        "_source",
    )

    _LAST: tuple[type[StreamEvent], ...] = (Finish, StreamError)
    """The events that end the stream."""

    def __init__(self, backend: Backend, request: Request, *, output: OutputSpec | None = None) -> None:
        self._backend = backend
        self._request = request
        self._output = output
        self._source: EventSource | None = None
        self._next: Callable[[], Awaitable[list[StreamEvent]]]
        self._flow: Flow | None = None
        self._pending: Iterator[StreamEvent] = iter(())
        self._fold = Fold()
        self._error: LLMError | None = None
        self._finished = False
        self._closed = False
        self._guard = Limits(request.timeout)

    # ---- beginning

    def __await__(self) -> Generator[object, None, Self]:
        return self._begin().__await__()

    async def __aenter__(self) -> Self:
        return await self._begin()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    async def _begin(self) -> Self:
        if self._source is not None or self._closed:
            return self
        first: list[StreamEvent] = []
        while not has_content(first):
            batch = await self._ask()
            if batch is None:
                break
            first += batch
        if self._error is not None and not has_content(first):
            raise self._error
        self._pending = iter(first)
        return self

    # ---- iterating

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        for event in self._pending:
            return event
        batch: list[StreamEvent] | None = None
        flow, guard = self._flow, self._guard
        if flow is not None and guard.waiter is None:
            # A model speaks: nearly every wake-up comes this way, and a frame more would be a hundredth of it.
            now = guard.asked = guard.loop.time()
            try:
                waiter = guard.waiter = flow.wait(now)
                data = await waiter
            except (Interrupted, LookupError):  # `_ask` knows what to do
                data = b""
            except BaseException:
                self._abort()
                raise
            finally:
                guard.waiter = None
            if data and guard.why is None:
                said = flow.take(data)
                heard = self._fold.heard
                if isinstance(said, TextDelta):
                    heard.append(said)
                    if len(heard) > HEARD:
                        self._fold.settle()
                    return said
                if said:
                    batch = said
                    self._keep(batch)
        if not batch:
            batch = await self._ask()
        if batch is not None:
            self._pending = iter(batch)
            for event in self._pending:
                return event
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    async def _ask(self) -> list[StreamEvent] | None:
        """The next batch from the source, without its StreamError, which becomes `_error`; None at the end."""
        guard = self._guard
        if self._finished or (self._closed and guard.why is None):
            return None
        if guard.waiting:
            raise RuntimeError("this stream is being read by another task; one task at a time can iterate a stream")
        if guard.why is not None:
            await self._interrupted()
            return None
        if self._source is None:
            self._start()
        if self._flow is None:
            guard.asked = guard.loop.time()
        guard.begin()
        try:
            batch = await self._next()
        except asyncio.CancelledError:
            if not guard.broke():
                self._abort()
                raise
            await self._interrupted()
            return None
        except StopAsyncIteration:
            silent = IncompleteStreamError("the backend ended its stream without saying how")
            return await self._ended([] if self._fold.over else [StreamError(silent)])
        except BaseException:
            self._abort()
            raise
        finally:
            guard.end()
        source = self._source
        assert source is not None
        if not guard.answering and has_content(batch):
            guard.answering = True
            source = self._source = settled(source)
            self._next = source.__anext__
        if isinstance(batch[-1], self._LAST):
            return await self._ended(batch)
        self._flow = flow_of(source) if guard.answering else None
        self._keep(batch)
        return batch

    def _keep(self, batch: list[StreamEvent]) -> None:
        """One that is not the last."""
        last = batch[-1]
        if isinstance(last, ToolCall) and last.executed:
            # until its tool has done its work, the model has nothing to say
            self._guard.answering = False
            self._flow = None
        self._fold.extend(batch)

    def _start(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("a Stream needs asyncio: no event loop of it is running here (trio is none)") from None
        self._guard.start(loop)
        self._source = self._open()
        self._next = self._source.__anext__

    def _open(self) -> EventSource:
        return self._backend.stream(self._request)

    async def _ended(self, batch: list[StreamEvent]) -> list[StreamEvent] | None:
        """The last batch. The error, if there is one, is raised once the events before it are out."""
        self._fold.extend(batch)
        self._finished = True
        if batch and isinstance(last := batch[-1], StreamError):
            self._fail(last.error)
            batch.pop()
        await self._release()
        return batch or None

    def _fail(self, error: LLMError) -> None:
        error.partial = self.partial
        self._error = error

    async def _interrupted(self) -> None:
        self._finished = True
        limits = self._request.timeout
        match self._guard.why:
            case "total":
                self._fail(TotalTimeout(f"the whole call took longer than {limits.total:g} s (timeout.total)"))
            case "silence":
                said = self.partial
                self._fail(
                    InterTokenTimeout(
                        f"nothing more of the answer came for {limits.inter_token:g} s (timeout.inter_token)",
                        provider=said.backend or self._backend.name,
                        model=said.model or self._request.model,
                    )
                )
        await self._release(self._error)

    # ---- other views of the same events

    @property
    def text(self) -> AsyncIterator[str]:
        """The pieces of the answer's text; everything else is passed over (and still in the reply)."""
        return _TextView(self)

    @property
    def partials(self) -> AsyncIterator[dict[str, object]]:
        """The JSON object that `output=` asks for, so far: each time it has changed, and at last as a whole, not validated.

        What is not known to its end is left out, except strings, which are shown as far as they go. A long answer is shown
        each time a 16th has been added. A new step (of a tool loop) begins anew. Where the type asked for is no object, this
        is the one around it: `{"value": ...}`. :meth:`reply` may follow. Needs `output=` and jiter (`asyncllm[partials]`):
        :class:`InvalidRequestError`.
        """
        require_partials(self._output)
        return PartialsView(self)

    def as_events(self) -> AsyncIterator[StreamEvent]:
        """The events, with the failure of the stream as its last one instead of an exception."""
        return _EventView(self)

    def batches(self) -> AsyncIterator[list[StreamEvent]]:
        """The events as lists, one a wakeup: for relays, which write as much at once as arrived at once."""
        return _BatchView(self)

    async def reply(self) -> Reply[Output]:
        """Read to the end, and the whole of it. Raises what iterating raises; after an early close, IncompleteStreamError."""
        await self._begin()
        async for _ in self.batches():
            pass
        if not self._finished or self._guard.why == "closed":
            raise IncompleteStreamError("the stream was closed before its end", partial=self.partial, retryable=False)
        reply = self.partial
        if self._output is not None:
            reply = msgspec.structs.replace(reply, output=self._output.parse(reply))
        return reply  # type: ignore[return-value]  # `output` is what the caller's type says: parse() saw to it

    @property
    def partial(self) -> Reply[object]:
        """The Reply of what has been received so far."""
        return self._fold.reply(before=self._request.messages)

    @property
    def error(self) -> LLMError | None:
        """The error with which the stream ended, if it did."""
        return self._error

    @property
    def closed(self) -> bool:
        """Whether the connection was let go of: at the end, or before it."""
        return self._closed or self._finished

    # ---- closing

    async def aclose(self) -> None:
        """Close the connection now. Idempotent, from any task; a task that iterates sees the end of the iteration."""
        if self._closed:
            return
        self._closed = True
        self._pending = iter(())
        if self._guard.waiting:
            self._guard.interrupt("closed")  # the reader lets go
        elif not self._finished:
            await self._release()

    async def _break(self, why: LLMError) -> None:
        """The same where it is not the reader's own doing: iterating raises `why`."""
        if self._source is not None and not self.closed and self._guard.here:
            self._fail(why)
            await self.aclose()

    def cancel(self) -> None:
        """:meth:`aclose` for where nobody can await: a callback, a signal handler. Under the loop that the stream runs in."""
        if self._closed:
            return
        self._pending = iter(())
        if self._guard.waiting:
            self._closed = True
            self._guard.interrupt("closed")
        elif not self._finished:
            self._abort()

    async def _release(self, given_up: LLMError | None = None) -> None:
        self._guard.stop()
        self._flow = None
        source = self._source
        if source is not None:
            try:
                if given_up is not None:
                    await tell_failure(source, given_up)
                await source.aclose()
            except BaseException:
                source.abort()
                raise

    def _abort(self) -> None:
        self._closed = True
        self._flow = None
        self._guard.stop()
        if self._source is not None:
            self._source.abort()

    def __del__(self) -> None:
        if not self._finished and not self._closed and self._source is not None:
            self._abort()


class _TextView:
    __slots__ = ("_pieces", "_stream")

    def __init__(self, stream: Stream[Any]) -> None:
        self._stream = stream
        self._pieces: Iterator[str] = iter(())

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        for piece in self._pieces:
            return piece
        stream = self._stream
        while True:
            batch = list(stream._pending) or [await stream.__anext__(), *stream._pending]
            self._pieces = iter([event.text for event in batch if isinstance(event, TextDelta)])
            for piece in self._pieces:
                return piece


class _EventView:
    __slots__ = ("_done", "_stream")

    def __init__(self, stream: Stream[Any]) -> None:
        self._stream = stream
        self._done = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        if self._done:
            raise StopAsyncIteration
        try:
            return await self._stream.__anext__()
        except LLMError as error:
            self._done = True
            return StreamError(error)


class _BatchView:
    __slots__ = ("_stream",)

    def __init__(self, stream: Stream[Any]) -> None:
        self._stream = stream

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        stream = self._stream
        return list(stream._pending) or [await stream.__anext__(), *stream._pending]
