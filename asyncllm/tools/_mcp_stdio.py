"""A command that speaks MCP on its standard input and output: the child process, and its pipes as the streams of a session.

The process has a process group of its own, and none of the group is left when :meth:`ServerProcess.stop` returns. There are
no tasks here: the event loop hands over what the pipes bring, and a reader that is slow makes it stop reading.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Self, cast

from ..events import ProtocolError, redact
from ._tasks import outlast

logger = logging.getLogger("asyncllm.mcp")
"""At DEBUG, what servers write to their standard error."""

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one message."""

_AHEAD = 1024 * 1024
"""Bytes of whole messages that wait to be read before the pipe is."""

STDERR_KEPT = 8 * 1024
"""Bytes of the end of standard error that are kept, to tell why a server failed."""

GARBAGE_KEPT = 200
"""Bytes of the first line that is no message that are kept."""

LEAVE = 2.0
"""Seconds that a server has to go after its input was closed, and again after SIGTERM. Then it is killed."""

LAST_WORDS = 0.2
"""Seconds after the end of the process within which its pipe brings what it had still written."""

_POLL = 0.01


class ServerProcess(asyncio.SubprocessProtocol):
    """The child, and what it says."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self._lines: deque[bytes] = deque()
        self._waiting = 0
        self._piece: list[bytes] = []
        self._piece_size = 0
        self._news = asyncio.Event()
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._ended = False
        self._failure: ProtocolError | None = None
        self._stderr = bytearray()
        self._exited: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.SubprocessTransport
        self.garbage: str | None = None
        """The first line that was no message, clipped."""
        self.spoke = False
        """Whether any line was one."""
        self.end: int | None = None
        """How it ended by itself: its exit code; negative: the signal. None: it was stopped, or runs."""

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], cwd: str | None) -> Self:
        """Raises OSError for a command that cannot be run."""
        _, process = await asyncio.get_running_loop().subprocess_exec(
            cls, *command, env=dict(env), cwd=cwd, start_new_session=sys.platform != "win32"
        )
        return process

    # ---- what the event loop brings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd == 1:
            self._split(data)
        else:
            self._stderr += data
            del self._stderr[:-STDERR_KEPT]
            if logger.isEnabledFor(logging.DEBUG):
                logger.debug("%d: %s", self._transport.get_pid(), redact(data.decode(errors="replace").rstrip()))

    def _split(self, data: bytes) -> None:
        if self._ended:
            return
        *whole, rest = data.split(b"\n")
        for line in whole:
            self._lines.append(b"".join((*self._piece, line)))
            self._waiting += len(self._lines[-1])
            self._piece = []
            self._piece_size = 0
        self._piece.append(rest)
        self._piece_size += len(rest)
        if self._piece_size > LINE_LIMIT:
            self._failure = ProtocolError(f"a message of more than {LINE_LIMIT} bytes")
            self._end()
        elif self._waiting > _AHEAD:
            self._reading(on=False)
        if whole:
            self._news.set()

    def _reading(self, *, on: bool) -> None:
        pipe = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(1))
        if self._paused is on and pipe is not None and not pipe.is_closing():
            self._paused = not on
            (pipe.resume_reading if on else pipe.pause_reading)()

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 1:
            self._end()
        self._writable.set()

    def _end(self) -> None:
        self._ended = True
        self._piece = []
        self._news.set()

    def process_exited(self) -> None:
        if not self._exited.done():
            self._exited.set_result(None)
        # a child of the server may hold the pipe open for ever
        asyncio.get_running_loop().call_later(LAST_WORDS, self._end)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # ---- what a session does with it

    async def read(self) -> bytes | None:
        """The next line, or None when there will be none. Raises ProtocolError for one that is too long."""
        while not self._lines:
            if self._ended:
                if self._failure is not None:
                    raise self._failure
                return None
            self._news.clear()
            await self._news.wait()
        line = self._lines.popleft()
        self._waiting -= len(line)
        if self._waiting <= _AHEAD:
            self._reading(on=True)
        return line

    async def write(self, line: bytes, *, wait: bool) -> None:
        """Raises BrokenPipeError when the server does not listen any more. `wait`: until there is room for another."""
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if pipe is None or pipe.is_closing():
            raise BrokenPipeError
        pipe.write(line)
        if wait:
            await self._writable.wait()

    async def exited(self, within: float) -> bool:
        """Whether the process itself has gone, or does within so many seconds."""
        await asyncio.wait([self._exited], timeout=within)
        return self._exited.done()

    def is_garbage(self, line: bytes) -> None:
        """Noted, to tell what a program said that is no server."""
        if line and self.garbage is None:
            self.garbage = line[:GARBAGE_KEPT].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """The end of what it wrote to its standard error."""
        return bytes(self._stderr).decode(errors="replace").strip()

    async def stop(self, patience: float) -> None:
        """Its input is closed, then the group gets SIGTERM, then SIGKILL, so many seconds apart. Cancelled, it is killed."""
        self.end = self._transport.get_returncode()
        self.is_garbage(next((line for line in self._lines if line.strip() and not line.startswith(b"{")), b""))
        try:
            if (pipe := self._transport.get_pipe_transport(0)) is not None:
                pipe.close()
            self._ended = True  # what it still says is thrown away, so that it is not stuck saying it
            self._reading(on=True)
            await self.exited(patience)
            if self._signal_group(signal.SIGTERM):
                await self._group_gone(patience)
        finally:
            if sys.platform != "win32":
                self._signal_group(signal.SIGKILL)
            with contextlib.suppress(ProcessLookupError, PermissionError):
                self._transport.close()  # kills what is still there, and closes the pipes
            await outlast(asyncio.ensure_future(self._dead()))

    async def _dead(self) -> None:
        """What was killed is gone in a moment. Only a zombie that nobody buries is waited for in vain."""
        await self.exited(LEAVE)
        await self._group_gone(LAST_WORDS)

    def _signal_group(self, number: int) -> bool:
        """False when nobody is left."""
        try:
            if sys.platform != "win32":
                os.killpg(self._transport.get_pid(), number)
            elif self._exited.done():
                return False
            else:
                self._transport.send_signal(number)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass  # of a member that is not ours; it says nothing about the others
        return True

    async def _group_gone(self, within: float) -> None:
        """Children are not ours to wait for: all that can be done is to look."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        while loop.time() < deadline and self._signal_group(0):  # noqa: ASYNC110
            await asyncio.sleep(_POLL)
