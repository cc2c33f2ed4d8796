"""Many calls, some of them at once: inputs in, results out as they finish, and a bounded number of both in memory."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable, Mapping
from itertools import count
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from msgspec import Struct

from .events import Input, InvalidRequestError, LLMError, Message, Reply

Output = TypeVar("Output")

Inputs = Iterable[Input] | AsyncIterable[Input]

_END: Any = object()


class MapResult(Struct, Generic[Output], frozen=True):
    """What became of one input: its `reply`, or the `error` with which its call failed. The other one is None.

    `index` is the place of `input` among the inputs, from 0.
    """

    index: int
    input: Input
    reply: Reply[Output] | None
    error: LLMError | None


class Map(Generic[Output]):
    """The calls for many inputs, some of them at once. Made by :meth:`asyncllm.Client.map`.

    Two ways to use it:

        async for result in client.map(questions):      # closed at its end, by aclose(), or with the last reference
        async with client.map(questions) as results:    # closed on leaving, whatever happens

    Iterating gives a :class:`MapResult` for every input, in the order in which they finish. The LLMError of a call is the
    `error` of its result. What else is raised, by the iterator of the inputs or by a call, ends the map: no more inputs are
    taken, the calls under way finish, and after their results it is raised.

    It starts when it is entered or first iterated. It can be iterated once, by one task at a time; :meth:`aclose` may be
    called from any task and ends the iteration of another. Cancelling the task that waits in it cancels all calls.
    """

    def __init__(self, ask: Callable[[Input], Awaitable[Reply[Output]]], inputs: Inputs, *, concurrency: int) -> None:
        self._calls = _Calls(ask, concurrency)
        self._inputs: Inputs | None = inputs
        self._reading = False
        if isinstance(inputs, str | bytes | Message | Mapping) or not isinstance(inputs, Iterable | AsyncIterable):
            raise InvalidRequestError(
                f"inputs must be a list or another iterable of inputs, not {type(inputs).__name__} (complete() takes one)"
            )
        if isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1:
            raise InvalidRequestError(f"concurrency must be a whole number of at least 1, not {concurrency!r}")

    async def __aenter__(self) -> Self:
        self._begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> MapResult[Output]:
        if self._reading:
            raise RuntimeError("this map is being read by another task; one task at a time can iterate a map")
        self._reading = True
        try:
            self._begin()
            return await self._calls.next_result()
        finally:
            self._reading = False

    def _begin(self) -> None:
        if self._inputs is not None and not self.closed:
            self._calls.start(self._inputs)
            self._inputs = None  # the task that takes them lets go of them at its end

    @property
    def closed(self) -> bool:
        """Whether everything was delivered, or it was closed or cancelled before that. Nothing runs then."""
        return self._calls.over

    async def aclose(self) -> None:
        """Cancel all calls and wait until they are gone. Idempotent, from any task; what was not read yet is dropped."""
        await self._calls.close()

    async def _break(self, why: LLMError) -> None:
        """The same where it is not the reader's own doing: iterating raises `why`."""
        await self._calls.close(why)

    def __del__(self) -> None:
        self._calls.cancel_soon()


class _Calls(Generic[Output]):
    """The tasks of a Map: one that takes the inputs, and one a call. They know this and not the Map, which may be dropped."""

    def __init__(self, ask: Callable[[Input], Awaitable[Reply[Output]]], concurrency: int) -> None:
        self._ask = ask
        self._concurrency = concurrency
        self._loop: asyncio.AbstractEventLoop | None = None
        self._feeder: asyncio.Task[MapResult[Output] | None] | None = None
        self._tasks: set[asyncio.Task[MapResult[Output] | None]] = set()
        self._running = 0  # tasks, counted before they are made: an eager task runs while it is being made
        self._results: deque[MapResult[Output]] = deque()
        self._failure: BaseException | None = None
        self._closed = False
        self._news = asyncio.Event()  # for the reader
        self._room = asyncio.Event()  # for the feeder

    @property
    def over(self) -> bool:
        return self._closed or (self._loop is not None and not self._running and not self._results)

    # ---- the tasks

    def start(self, inputs: Inputs) -> None:
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError("a Map needs asyncio: no event loop of it is running here (trio is none)") from None
        self._feeder = self._spawn(self._feed(inputs))

    def _spawn(self, work: Coroutine[Any, Any, MapResult[Output] | None]) -> asyncio.Task[MapResult[Output] | None]:
        self._running += 1
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def _feed(self, inputs: Inputs) -> None:
        """Takes each input when a call may be started for it, and not before."""
        iterator: Any = aiter(inputs) if isinstance(inputs, AsyncIterable) else iter(inputs)
        for index in count():
            while self._running > self._concurrency or len(self._results) >= self._concurrency:  # this task runs, too
                self._room.clear()
                await self._room.wait()
            given = await anext(iterator, _END) if isinstance(inputs, AsyncIterable) else next(iterator, _END)
            if given is _END or self._closed or self._failure is not None:
                return
            self._spawn(self._call(index, given))

    async def _call(self, index: int, given: Input) -> MapResult[Output]:
        try:
            return MapResult(index, given, await self._ask(given), None)
        except LLMError as error:
            # with its traceback, whoever keeps the result would keep the stream and its buffers, too
            return MapResult(index, given, None, error.with_traceback(None))

    def _ended(self, task: asyncio.Task[MapResult[Output] | None]) -> None:
        self._tasks.discard(task)
        self._running -= 1
        if task.cancelled():
            self._fail(asyncio.CancelledError("a task of the map was cancelled"))  # by others; ours come after the end
        elif (error := task.exception()) is not None:
            self._fail(error)
        elif not self._closed and (result := task.result()) is not None:
            self._results.append(result)
        self._news.set()
        self._room.set()

    def _fail(self, error: BaseException) -> None:
        if not self._closed and self._failure is None:
            self._failure = error
            assert self._feeder is not None
            self._feeder.cancel()

    # ---- reading

    async def next_result(self) -> MapResult[Output]:
        while not self._results:
            if self.over:
                raise self._failure or StopAsyncIteration
            self._news.clear()
            try:
                await self._news.wait()
            except asyncio.CancelledError:
                await self.close()
                raise
        self._room.set()
        return self._results.popleft()

    # ---- closing

    async def close(self, why: LLMError | None = None) -> None:
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            self.cancel_soon(why)
            return
        self._cancel(why)
        while self._tasks:
            await asyncio.wait(self._tasks)

    def cancel_soon(self, why: LLMError | None = None) -> None:
        """From anywhere: another loop, another thread, the garbage collector."""
        if self._loop is not None and not self.over:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nothing runs
                self._loop.call_soon_threadsafe(self._cancel, why)

    def _cancel(self, why: LLMError | None) -> None:
        if self.over:
            return
        self._closed = True
        self._failure = why
        self._results.clear()
        for task in self._tasks:
            task.cancel()
        self._news.set()
