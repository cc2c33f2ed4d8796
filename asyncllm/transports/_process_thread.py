"""Work for a thread of its own: what may take a while and must not wait for a pool that others have filled."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import TypeVar, cast

T = TypeVar("T")


def in_thread(work: Callable[[], T]) -> asyncio.Future[T]:
    """Begun already. Who is cancelled while they wait for it must not wait in vain: the work goes on."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        result: T | None = None
        failure: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001 - told to who waits
            failure = error
        with contextlib.suppress(RuntimeError):  # the loop is gone
            loop.call_soon_threadsafe(tell, result, failure)

    def tell(result: T | None, failure: Exception | None) -> None:
        if future.cancelled():
            return
        if failure is None:
            future.set_result(cast("T", result))
        else:
            future.set_exception(failure)

    try:
        threading.Thread(target=run, name="process", daemon=True).start()
    except RuntimeError:  # there are too many threads
        run()
    return future
