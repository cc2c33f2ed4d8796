"""A map for blocking callers: its results one by one, and inputs from iterators that may block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Callable, Coroutine, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from ._map import Map, MapResult
from .events import Input

Output = TypeVar("Output")

Run = Callable[[Callable[[], Coroutine[Any, Any, Any]]], Any]
"""Runs a coroutine in the loop of the client and blocks until it is done."""

_END: Any = object()


class SyncMap(Generic[Output]):
    """:class:`asyncllm.Map` without `await`: an iterator of results, and a context manager."""

    def __init__(self, results: Map[Output], run: Run, client: object) -> None:
        self._map = results
        self._run = run
        self._client = client  # dropped, it would take the loop along
        self._over = False

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> MapResult[Output]:
        if self._over:
            raise StopIteration
        try:
            result: MapResult[Output] = self._run(self._map.__anext__)
        except StopAsyncIteration:
            self._over = True
            raise StopIteration from None
        except Exception:
            raise
        except BaseException:  # Ctrl-C while waiting
            self.close()
            raise
        return result

    def __enter__(self) -> Self:
        self._run(self._map.__aenter__)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Cancel all calls and wait until they are gone. Idempotent."""
        self._over = True
        if not self._map.closed:
            self._run(self._map.aclose)


def off_the_loop(inputs: Iterable[Input]) -> Iterable[Input] | AsyncIterable[Input]:
    """Inputs whose iterator may block the thread it is advanced in. Lists do not, and what is no iterable is not for us."""
    if not isinstance(inputs, Iterable) or isinstance(inputs, str | bytes | Mapping | list | tuple):
        return inputs
    return _Threaded(inputs)


class _Threaded:
    """An iterable as an async iterator, advanced in one thread, which ends when this is dropped."""

    def __init__(self, inputs: Iterable[Input]) -> None:
        self._inputs = iter(inputs)
        self._thread = ThreadPoolExecutor(1, "asyncllm-inputs")

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Input:
        given = await asyncio.get_running_loop().run_in_executor(self._thread, next, self._inputs, _END)
        if given is _END:
            raise StopAsyncIteration
        return given
