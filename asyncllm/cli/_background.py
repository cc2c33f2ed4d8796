"""The event loop in a thread of its own: this one has the terminal."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from queue import SimpleQueue
from typing import Any, TypeVar

from .._sync import _LoopThread
from ._interrupts import heard

T = TypeVar("T")


class Background(_LoopThread):
    """Runs what is awaited. After Ctrl-C, what was under way has come to its end before KeyboardInterrupt is raised."""

    def run(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        loop = self.loop
        over: SimpleQueue[asyncio.Task[T]] = SimpleQueue()
        tasks: list[asyncio.Task[T]] = []

        def begin() -> None:
            tasks.append(loop.create_task(call()))
            tasks[0].add_done_callback(over.put)

        loop.call_soon_threadsafe(begin)
        try:
            with heard():
                task = over.get()
        except KeyboardInterrupt:
            loop.call_soon_threadsafe(lambda: tasks[0].cancel())
            with heard():
                over.get()
            raise
        return task.result()
