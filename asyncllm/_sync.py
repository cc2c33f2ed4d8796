"""The facade for blocking callers: the async client, run by one loop in one thread. Nothing of it is written twice."""

from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from concurrent.futures import Future
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, Unpack, overload

from ._client import Client
from ._input import OptionsBesideOutput
from ._partials import GrowingObject, require_partials
from ._stream import Stream
from ._sync_map import SyncMap, off_the_loop
from .events import Input, LLMError, Reply, StreamError, StreamEvent, TextDelta

if TYPE_CHECKING:
    from ._prompt_options import OptionsOfPrompt
    from ._query_result import PromptMetadata, QueryResult
    from ._run_options import OptionsOfRun

T = TypeVar("T")
Output = TypeVar("Output")

READ_AHEAD = 64
"""Batches that may wait for a slow consumer before the loop stops reading."""

ROOM_AT = READ_AHEAD // 2
"""Batches left at which it reads on."""


class _LoopThread:
    """An event loop in a thread of its own, started when it is first needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._closed:
                raise RuntimeError("this client is closed")
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._loop = loop
                self._thread = threading.Thread(target=self._work, args=(loop,), name="asyncllm-sync", daemon=True)
                self._thread.start()
            return self._loop

    @staticmethod
    def _work(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
        finally:
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()

    @property
    def inside(self) -> bool:
        """Whether this is the loop's own thread, which cannot wait for itself."""
        return self._thread is threading.current_thread()

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of `call()`, run in the loop. Ctrl-C cancels it."""
        loop = self.loop
        future: Future[T] = asyncio.run_coroutine_threadsafe(call(), loop)
        try:
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
            raise

    def close(self) -> None:
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)
            if self._thread is not None and not self.inside:
                self._thread.join()


class SyncClient:
    """:class:`asyncllm.Client` without `await`: the same arguments, the same names.

        with SyncClient("openai/gpt-5-mini") as client:
            for event in client.stream("Hi"):
                ...

    May be used from any thread, also from one whose own event loop is running (which it blocks, as any blocking call does).
    """

    def __init__(self, model: Any, **options: Any) -> None:
        self._client = Client(model, **options)
        self._thread = _LoopThread()
        # a client that is dropped unclosed still ends its thread
        self._finalizer = weakref.finalize(self, _LoopThread.close, self._thread)

    def __repr__(self) -> str:
        return f"Sync{self._client!r}"

    @overload
    def stream(self, input: Input, *, output: type[T], **options: Unpack[OptionsBesideOutput]) -> SyncStream[T]: ...
    @overload
    def stream(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsBesideOutput]
    ) -> SyncStream[object]: ...
    def stream(self, input: Input, *, output: Any = None, **options: Any) -> SyncStream[Any]:
        """See :meth:`asyncllm.Client.stream`. The call begins with the first event asked for, or the block entered."""
        return SyncStream(self._client.stream(input, output=output, **options), self._thread)

    @overload
    def complete(self, input: Input, *, output: type[T], **options: Unpack[OptionsBesideOutput]) -> Reply[T]: ...
    @overload
    def complete(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsBesideOutput]
    ) -> Reply[object]: ...
    def complete(self, input: Input, *, output: Any = None, **options: Any) -> Reply[Any]:
        """See :meth:`asyncllm.Client.complete`."""
        return self._thread.run(lambda: self._client.complete(input, output=output, **options))

    @overload
    def run(self, input: Input, *, output: type[T], **options: Unpack[OptionsOfRun]) -> SyncStream[T]: ...
    @overload
    def run(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsOfRun]
    ) -> SyncStream[object]: ...
    def run(self, input: Input, *, output: Any = None, **options: Any) -> SyncStream[Any]:
        """See :meth:`asyncllm.Client.run`. It begins with the first event asked for, or the block entered.

        Plain functions among `tools` and `approve` run in threads of their own, and may use this client.
        """
        return SyncStream(self._client.run(input, output=output, **options), self._thread)

    @overload
    def prompt(self, input: Input, *, output: type[T], **options: Unpack[OptionsOfPrompt]) -> QueryResult[T]: ...
    @overload
    def prompt(
        self, input: Input, *, output: Mapping[str, object] | None = None, **options: Unpack[OptionsOfPrompt]
    ) -> QueryResult[object]: ...
    def prompt(self, input: Input, *, output: Any = None, **options: Any) -> QueryResult[Any]:
        """See :meth:`asyncllm.Client.prompt`. `on_event` is called in the loop's thread: it must not block, nor use this
        client."""
        return self._thread.run(lambda: self._client.prompt(input, output=output, **options))

    @property
    def last_metadata(self) -> PromptMetadata | None:
        """See :attr:`asyncllm.Client.last_metadata`."""
        return self._client.last_metadata

    @overload
    def map(
        self,
        inputs: Iterable[Input],
        *,
        output: type[T],
        concurrency: int = 16,
        **options: Unpack[OptionsBesideOutput],
    ) -> SyncMap[T]: ...
    @overload
    def map(
        self,
        inputs: Iterable[Input],
        *,
        output: Mapping[str, object] | None = None,
        concurrency: int = 16,
        **options: Unpack[OptionsBesideOutput],
    ) -> SyncMap[object]: ...
    def map(
        self, inputs: Iterable[Input], *, output: Any = None, concurrency: int = 16, **options: Any
    ) -> SyncMap[Any]:
        """See :meth:`asyncllm.Client.map`. The calls begin with the first result asked for, or the block entered.

        `inputs` may block and may use this client: but for lists and tuples they are taken in a thread of their own.
        """
        results = self._client.map(off_the_loop(inputs), output=output, concurrency=concurrency, **options)
        return SyncMap(results, self._thread.run, self)

    def close(self) -> None:
        """Close all connections and end the thread. Idempotent."""
        if self._finalizer.alive:
            try:
                self._thread.run(self._client.aclose)
            finally:
                self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class _HandOver:
    """Batches from the loop to a blocking consumer: whole batches (a hop between threads costs 50 µs), a bounded number."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.queue: SimpleQueue[list[StreamEvent] | None] = SimpleQueue()
        self._loop = loop
        self._room = asyncio.Event()
        self._full = False
        self.failure: BaseException | None = None
        """What is no failure of the stream: what `approve` or `stop_when` raised."""

    async def pump(self, stream: Stream[Any]) -> None:
        """Runs in the loop, as one task, until the stream is over. Its end and its error are for :meth:`reply` to say."""
        try:
            async for batch in stream.batches():
                self.queue.put(batch)
                if self.queue.qsize() >= READ_AHEAD:
                    await self._wait_for_room()
        except LLMError:
            pass  # the stream keeps it
        except (Exception, KeyboardInterrupt, SystemExit) as failure:  # noqa: BLE001  # raised to who reads
            self.failure = failure
        finally:
            self.queue.put(None)

    async def _wait_for_room(self) -> None:
        """The consumer may empty the queue at any point here, so its size counts only once `_full` tells it to say so."""
        self._room.clear()
        self._full = True
        if self.queue.qsize() > ROOM_AT:
            await self._room.wait()
        self._full = False

    def take(self) -> list[StreamEvent] | None:
        batch = self.queue.get()
        if self._full and self.queue.qsize() <= ROOM_AT:
            self._full = False
            self._loop.call_soon_threadsafe(self._room.set)
        return batch


class SyncStream(Generic[Output]):
    """:class:`asyncllm.Stream` without `await`: an iterator of events, and a context manager."""

    def __init__(self, stream: Stream[Output], thread: _LoopThread) -> None:
        self._stream = stream
        self._thread = thread
        self._hand_over: _HandOver | None = None
        self._pump: Future[None] | None = None
        self._pending: Iterator[StreamEvent] = iter(())
        self._over = False
        self._object = None if stream._output is None else GrowingObject()  # what was said so far, for the partials

    def __iter__(self) -> Iterator[StreamEvent]:
        """A generator: it costs a loop less than :meth:`__next__`, and both go on where the other was."""
        while True:
            yield from self._pending
            batch = self._take()
            if batch is None:
                return
            self._pending = iter(batch)

    def __next__(self) -> StreamEvent:
        for event in self:
            return event
        raise StopIteration

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def text(self) -> Iterator[str]:
        """The pieces of the answer's text."""
        return (event.text for event in self if isinstance(event, TextDelta))

    @property
    def partials(self) -> Iterator[dict[str, object]]:
        """See :attr:`asyncllm.Stream.partials`."""
        require_partials(self._stream._output)
        return self._partials()

    def _partials(self) -> Iterator[dict[str, object]]:
        assert self._object is not None
        over, error = False, None
        while True:
            self._pending = iter(())  # its text is in the object
            if (value := self._object.take(all=over)) is not None:
                yield value
            if over:
                break
            try:
                over = self._take() is None
            except LLMError as failure:
                over, error = True, failure
        if error is not None:
            raise error

    def as_events(self) -> Iterator[StreamEvent]:
        """The events, with the failure of the stream as its last one instead of an exception."""
        try:
            yield from self
        except LLMError as error:
            yield StreamError(error)

    def reply(self) -> Reply[Output]:
        """Read to the end, and the whole of it."""
        for _ in self:
            pass
        return self._thread.run(self._stream.reply)

    @property
    def partial(self) -> Reply[object]:
        """The Reply of what has been received so far."""
        if self._pump is None or self._pump.done() or self._thread.inside:
            return self._stream.partial
        return self._thread.run(self._partial)  # not while the loop's thread adds to it

    async def _partial(self) -> Reply[object]:
        return self._stream.partial

    def close(self) -> None:
        """Close the connection now. Idempotent."""
        self._over = True
        self._pending = iter(())
        if not self._stream.closed:
            self._thread.run(self._stream.aclose)

    def _begin(self) -> _HandOver:
        if self._hand_over is None:
            self._thread.run(self._started)
            self._hand_over = _HandOver(self._thread.loop)
            self._pump = asyncio.run_coroutine_threadsafe(self._hand_over.pump(self._stream), self._thread.loop)
        return self._hand_over

    async def _started(self) -> None:
        await self._stream

    def _take(self) -> list[StreamEvent] | None:
        if self._over:
            return None
        hand_over = self._begin()
        try:
            batch = hand_over.take()
        except BaseException:  # Ctrl-C while waiting
            self.close()
            raise
        if batch is None:
            self._over = True
            if (error := self._stream.error or hand_over.failure) is not None:
                raise error
        elif self._object is not None:
            self._object.extend(batch)
        return batch

    def __del__(self) -> None:
        if self._pump is not None and not self._pump.done():
            self._pump.cancel()
