"""MCP servers for tests: over HTTP in threads of their own, as child processes, in memory; and what is left of a session."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn
from mcp_servers.everyday import State, make

from asyncllm.tools import RunnableTool
from asyncllm.tools._mcp import MCP

SERVERS = Path(__file__).parent / "mcp_servers"
PATIENCE = 10.0
LINUX = sys.platform == "linux"

logging.getLogger("uvicorn").propagate = False  # its tracebacks would be kept, and what they hold
logging.getLogger("uvicorn").addHandler(logging.NullHandler())


def nothing(progress: float, total: float | None, message: str) -> None:
    """A report that nobody reads."""


def plain(*how: str, **options: Any) -> MCP:
    """The child process that misbehaves on demand."""
    return MCP([sys.executable, "-S", str(SERVERS / "plain.py"), *how], **options)


async def tools_of(server: MCP) -> dict[str, RunnableTool]:
    """Acquired: its tools by the server's own names, but for what stands before `__`."""
    return {tool.spec.name.partition("__")[2]: tool for tool in await server.acquire()}


@contextlib.asynccontextmanager
async def opened(server: MCP) -> AsyncIterator[dict[str, RunnableTool]]:
    tools = await tools_of(server)
    try:
        yield tools
    finally:
        await server.release()


async def reached(semaphore: threading.Semaphore) -> None:
    """Waits for what a server in another thread, or in this one, says by releasing it."""
    assert await asyncio.to_thread(semaphore.acquire, timeout=PATIENCE)


# ---- over HTTP


class _Uvicorn(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = threading.Event()

    def capture_signals(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.up.set()


class HTTPServer:
    """The everyday server over HTTP. `url` has the path of its endpoint."""

    def __init__(self, kind: str, **options: Any) -> None:
        server, self.state = make()
        self.port = 0
        self._path = f"/everyday/{kind}"
        if kind == "sse":
            self._app = server.sse_app(sse_path=self._path)
        else:
            self._app = server.streamable_http_app(streamable_http_path=self._path, **options)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}{self._path}"

    def start(self) -> None:
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self.port))
        self.port = listener.getsockname()[1]
        config = uvicorn.Config(self._app, log_config=None, ws="none", timeout_graceful_shutdown=0)
        self._server = _Uvicorn(config)
        self._thread = threading.Thread(target=asyncio.run, args=(self._server.serve([listener]),))
        self._thread.start()
        assert self._server.up.wait(PATIENCE)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(PATIENCE)
        if self._path.endswith("sse"):
            gc.collect()  # what the package leaves unclosed when it is cancelled is told in this test, not in another


@contextlib.contextmanager
def served(kind: str = "mcp", **options: Any) -> Iterator[HTTPServer]:
    server = HTTPServer(kind, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def in_memory() -> tuple[Any, State]:
    return make()


# ---- what is left


def processes(group: int | None = None) -> set[int]:
    """Our child processes, zombies included, or the members of a process group that live."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, parent, pgid = (entry / "stat").read_text().rpartition(")")[2].split()[:3]
                ours = int(parent) == os.getpid() if group is None else int(pgid) == group and state != "Z"
                if ours:
                    found.add(int(entry.name))
    return found


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@contextlib.asynccontextmanager
async def nothing_left() -> AsyncIterator[None]:
    """Fails when a task, a child process or a descriptor of the block is left after it, a moment later."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    children, files = (processes(), descriptors()) if LINUX else (set(), 0)
    yield
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() - {asyncio.current_task()} <= tasks
    if LINUX:
        deadline = time.monotonic() + 1
        # the loop closes some in its next turns, and who was killed is buried then
        while (descriptors() > files or not processes() <= children) and time.monotonic() < deadline:
            await asyncio.sleep(0.01)
        assert processes() <= children
        assert descriptors() <= files
