"""The server in a thread of its own, for code that blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio.from_thread

from ._script import Script
from ._server import Server


@contextmanager
def serve_in_thread(script: Script | None = None, **options: Any) -> Iterator[Server]:
    """A running :class:`Server` for the block, on a loop of its own; `options` are the server's.

    Its attributes, :meth:`Server.play`, barriers and the `wait_` methods may be used from any thread and any loop.
    """
    server = Server(script, **options)
    with anyio.from_thread.start_blocking_portal() as portal, portal.wrap_async_context_manager(server):
        yield server
