"""A command that speaks MCP on its standard input and output: the child process, and its pipes as the streams of a session.

A reader that is slow makes the server wait.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping, Sequence

from ..events import redact
from ..transports import Process

logger = logging.getLogger("asyncllm.mcp")
"""At DEBUG, what servers write to their standard error."""

_AHEAD = 1024 * 1024
"""Bytes of whole messages that wait to be read before the pipe is."""

GARBAGE_KEPT = 200
"""Bytes of the first line that is no message that are kept."""

LEAVE = 2.0
"""Seconds that a server has to go after its input was closed, and again after SIGTERM. Then it is killed."""

LAST_WORDS = 0.2
"""Seconds for the end of a process to be seen, and for an answer that came just before it."""


class ServerProcess:
    """The child, and what it says."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._lines: deque[bytes] = deque()
        self.garbage: str | None = None
        """The first line that was no message, clipped."""
        self.spoke = False
        """Whether any line was one."""
        self.end: int | None = None
        """How it ended by itself: its exit code; negative: the signal. None: it was stopped, or runs."""

    @classmethod
    async def start(cls, command: Sequence[str], env: Mapping[str, str], cwd: str | None) -> ServerProcess:
        """Raises OSError for a command that cannot be run."""
        process = await Process.start(
            command, env=env, cwd=cwd, unread=_AHEAD, backpressure=True, on_stderr=_complained
        )
        return cls(process)

    async def read(self) -> bytes | None:
        """The next line, or None when there will be none. Raises ProtocolError for one that is too long."""
        if not self._lines:
            self._lines.extend(await self._process.lines())
        return self._lines.popleft() if self._lines else None

    async def write(self, line: bytes, *, wait: bool) -> None:
        """Raises BrokenPipeError when the server does not listen any more. `wait`: until there is room for another."""
        await self._process.write(line, wait=wait)

    async def exited(self, within: float) -> bool:
        """Whether the process itself has gone, or does within so many seconds."""
        return await self._process.exited_within(within)

    def is_garbage(self, line: bytes) -> None:
        """Noted, to tell what a program said that is no server."""
        if line and self.garbage is None:
            self.garbage = line[:GARBAGE_KEPT].decode(errors="replace")

    @property
    def stderr(self) -> str:
        """The end of what it wrote to its standard error."""
        return self._process.stderr

    async def stop(self, patience: float) -> None:
        """Its input is closed, then the group gets SIGTERM, then SIGKILL, so many seconds apart. Cancelled, it is killed."""
        self.end = self._process.returncode
        self._lines.extend(self._process.ready())
        self.is_garbage(next((line for line in self._lines if line.strip() and not line.startswith(b"{")), b""))
        await self._process.stop(patience, group=True)


def _complained(data: bytes) -> None:
    if logger.isEnabledFor(logging.DEBUG):
        logger.debug("%s", redact(data.decode(errors="replace").rstrip()))
