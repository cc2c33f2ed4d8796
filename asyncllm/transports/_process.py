"""A child process as a stream of lines: what coding agents and servers on standard input and output are.

Its output is read as soon as it is there, whoever listens, so that neither side ever waits for the other: what nobody has read
yet is kept in memory, and from a limit on in a private file. Nothing of its tree is left when :meth:`Process.stop` returns.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Self

from ..events import ProtocolError, redact
from ._process_backlog import Backlog
from ._process_thread import in_thread

if TYPE_CHECKING:
    from ._process_child import Child

if sys.platform == "win32":
    from ._process_windows import start_child
else:
    from ._process_unix import start_child

LINE_LIMIT = 64 * 1024 * 1024
"""Bytes of one line."""

UNREAD = 4 * 1024 * 1024
"""Bytes of lines that nobody has read that are kept in memory."""

STDERR_KEPT = 16 * 1024
"""Characters of the end of standard error that are kept."""

LAST_WORDS = 0.2
"""Seconds after the end of the process within which its output ends, too. A child of its own may hold the pipe for ever."""

BURIED = 2.0
"""Seconds for what was killed to be gone. Only what the system does not let go, or nobody buries, takes longer."""

_POLL = 0.01

_CONTROL = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[\]PX^_].*?(?:\x07|\x1b\\|$)|[ -/]*[0-~])|[\x00-\x08\x0b-\x1f\x7f-\x9f]"
)


class Process:
    """The child, and what it says. Made by :meth:`start`; stopped by whoever started it. One task reads its lines.

    It has an environment of its own, which is the one given; a session of its own, so that no terminal's signals reach it; and
    pipes as its standard input, output and error. It belongs to the loop that it was started in; only :meth:`kill` may be
    called when that is gone.

    Attributes:
        tail: at the end of its output, what came after the last newline.
    """

    def __init__(
        self, *, line_limit: int, unread: int, backpressure: bool, on_stderr: Callable[[bytes], None] | None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._line_limit = line_limit
        self._backlog = Backlog(unread, spill=not backpressure and hasattr(os, "pwrite"), changed=self._flow)
        self._piece: list[bytes] = []
        self._piece_size = 0
        self._news = asyncio.Event()
        self._ended = self._deafened = False
        self._failure: ProtocolError | None = None
        self._stderr = bytearray()
        self._stderr_cut = False
        self._on_stderr = on_stderr
        self._exited: asyncio.Future[None] = loop.create_future()
        self._last_words: asyncio.TimerHandle | None = None
        self._child: Child
        self.tail = b""

    @classmethod
    async def start(
        cls,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | None,
        line_limit: int = LINE_LIMIT,
        unread: int = UNREAD,
        backpressure: bool = False,
        on_stderr: Callable[[bytes], None] | None = None,
        marked: bool = True,
    ) -> Self:
        """Raises OSError for a command that cannot be run; its `filename` is the command, or `cwd`.

        Args:
            env: the whole environment.
            line_limit: bytes of one line.
            unread: bytes of lines that are kept in memory until they are read.
            backpressure: beyond `unread`, let the child wait, and keep nothing in a file.
            on_stderr: called with what it writes to its standard error.
            marked: add a variable to its environment, ASYNCLLM_PROCESS, by which Linux finds its descendants even when it has
                died without a word and they have sessions of their own.
        """
        process = cls(line_limit=line_limit, unread=unread, backpressure=backpressure, on_stderr=on_stderr)
        await start_child(process, command, env=env, cwd=cwd, large=not backpressure, marked=marked)
        return process

    @property
    def pid(self) -> int:
        """Of the child, which leads a process group and a session."""
        return self._child.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; negative: the signal that ended it."""
        return self._child.returncode

    # ---- what the child does

    def started(self, child: Child) -> None:
        self._child = child

    def output(self, data: bytes) -> None:
        if self._ended or self._deafened:
            return
        first, *others = data.split(b"\n")
        self._piece.append(first)
        self._piece_size += len(first)
        for piece in others:
            if self._piece_size > self._line_limit:
                break
            self._backlog.add(b"".join(self._piece))
            self._piece = [piece]
            self._piece_size = len(piece)
        if self._piece_size > self._line_limit:
            self._failure = ProtocolError(f"a line of more than {self._line_limit} bytes")
            self._piece = []
            self.output_ended()
            self._deafened = True
        if others or self._failure is not None:
            self._flow()

    def _flow(self) -> None:
        """Read on, or let the child wait."""
        self._news.set()
        self._child.reading(self._deafened or not self._backlog.full)

    def output_ended(self) -> None:
        if not self._ended:
            self._ended = True
            self.tail = b"".join(self._piece)
            self._piece = []
            self._news.set()
            if self._last_words is not None:
                self._last_words.cancel()

    def errors(self, data: bytes) -> None:
        self._stderr += data
        if len(self._stderr) > 2 * STDERR_KEPT:
            del self._stderr[: -2 * STDERR_KEPT]
            self._stderr_cut = True
        if self._on_stderr is not None:
            self._on_stderr(data)

    def exited(self) -> None:
        if not self._exited.done():
            self._exited.set_result(None)
        if not self._ended:
            self._last_words = asyncio.get_running_loop().call_later(LAST_WORDS, self._end)

    def _end(self) -> None:
        """Its process is gone. What the pipe holds still counts, when there is room for it."""
        if self._ended:
            return
        if self._backlog.full and not self._deafened:
            self._last_words = asyncio.get_running_loop().call_later(LAST_WORDS, self._end)
        else:
            self._child.end_output()

    # ---- what its user does

    async def lines(self) -> list[bytes]:
        """The next whole lines, without their newlines; none at the end of its output. Cancelled, it has taken none.

        Raises:
            ProtocolError: a line was too long; those before it have been read.
        """
        while True:
            lines = await self._backlog.take()
            if lines:
                self._flow()
                return lines
            if self._ended and not self._backlog.busy:
                if self._failure is not None:
                    raise self._failure
                return []
            self._news.clear()
            await self._news.wait()

    def ready(self) -> list[bytes]:
        """The lines that are there already, as :meth:`lines` gives them."""
        lines = self._backlog.ready()
        self._flow()
        return lines

    async def write(self, data: bytes, *, wait: bool = True) -> None:
        """To its standard input, all of it, also when this is cancelled.

        Args:
            wait: until there is room for more.

        Raises:
            BrokenPipeError: nobody listens any more. Why, its output, its errors or its exit code may tell.
        """
        self._child.write(data)
        if wait:
            await self._child.room.wait()
        if self._child.deaf:
            raise BrokenPipeError

    def close_stdin(self) -> None:
        """What was written is still delivered."""
        self._child.close_in()

    async def wait(self) -> int:
        """Until the process itself is gone: its exit code; negative: the signal that ended it."""
        await asyncio.wait([self._exited])
        code = self.returncode
        assert code is not None
        return code

    async def exited_within(self, seconds: float) -> bool:
        """Whether the process itself is gone, or goes within so many seconds."""
        if not self._exited.done():
            await asyncio.wait([self._exited], timeout=seconds)
        return self._exited.done()

    @property
    def stderr(self) -> str:
        """The end of what it wrote to its standard error, without control sequences of terminals and without credentials."""
        text = bytes(self._stderr).decode(errors="replace")
        if self._stderr_cut:  # what was cut in two may have been a key
            text = " ".join(text.split(maxsplit=1)[1:]) or text[STDERR_KEPT:]
        text = text.replace("\r\n", "\n").replace("\r", "\n")
        return redact(_CONTROL.sub("", text)).strip()[-STDERR_KEPT:]

    def signal(self, number: int) -> None:
        """To the process itself, if it still runs."""
        self._child.signal(number)

    async def stop(self, patience: float = 2.0, *, first: int | None = None, group: bool = False) -> None:
        """End it and all its descendants, in time: its input is closed, then SIGTERM, then SIGKILL, so many seconds apart.
        Idempotent. Cancelled, it kills.

        Args:
            patience: seconds for each step; 0: it is killed at once.
            first: a signal that is sent when its input is closed, where that alone does not make it go.
            group: SIGTERM goes to its whole process group, which is given the time to go.
        """
        try:
            if patience > 0 and (group or not self._exited.done()):
                await self._asked_to_go(patience, first, group)
        finally:
            await self._buried()

    async def _asked_to_go(self, patience: float, first: int | None, group: bool) -> None:
        child = self._child
        await in_thread(child.look)
        child.close_in()
        if not self._backlog.spills:
            self._deafened = True  # what it still says is thrown away, so that it is not stuck saying it
            self._flow()
        if first is not None:
            child.signal(first)
        await self.exited_within(patience)
        if group:
            await self._group_ended(patience)
        elif not self._exited.done():
            await in_thread(child.look)
            child.signal(signal.SIGTERM)
            await self.exited_within(patience)

    async def _group_ended(self, patience: float) -> None:
        """Children of the child are not ours to wait for: all that can be done is to look."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        if self._child.signal_group(signal.SIGTERM):
            while loop.time() < deadline and self._child.signal_group(0):  # noqa: ASYNC110
                await asyncio.sleep(_POLL)

    async def _buried(self) -> None:
        """Killed; and gone, which takes a moment. Also for who is cancelled meanwhile."""
        loop = asyncio.get_running_loop()
        killing = in_thread(self._child.kill)
        deadline = loop.time() + BURIED
        cancelled: asyncio.CancelledError | None = None
        while loop.time() < deadline:
            try:
                await asyncio.wait([killing])
                self._child.close()
                if await self.exited_within(BURIED) and not self._child.left():
                    break
                await asyncio.sleep(_POLL)
            except asyncio.CancelledError as error:
                cancelled = error
        self._child.close()
        if cancelled is not None:
            raise cancelled
        killing.result()

    def kill(self) -> None:
        """End it and all its descendants now, without awaiting: for finalisers, and when its loop is gone. From any thread."""
        self._child.kill()
        self._child.close()
