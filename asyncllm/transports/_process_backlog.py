"""Lines that nobody has read yet: in memory, and beyond a limit in a private file without a name."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import deque
from collections.abc import Callable
from functools import partial

from ._process_thread import in_thread

SPOOL = 1024 * 1024
"""Bytes that go to the file, or come from it, at once."""

FILE_LIMIT = 4 * 1024**3
"""Bytes of the file. Then the child has to wait until somebody reads."""


class Backlog:
    """First in, first out: the oldest in memory, then those of the file, then those on their way there, then the newest.

    Args:
        limit: bytes in memory that wait to be read before more is a matter for the file.
        spill: whether there may be a file.
        changed: called when what was on its way to the file has got there, or cannot.
    """

    def __init__(self, limit: int, *, spill: bool, changed: Callable[[], None]) -> None:
        self._limit = limit
        self._spill = spill
        self._changed = changed
        self._old: deque[bytes] = deque()
        self._new: list[bytes] = []
        self._leaving: list[bytes] = []
        self._size = 0  # of all that is in memory
        self._new_size = 0
        self._file: _File | None = None
        self._start = 0
        self._end = 0

    def add(self, line: bytes) -> None:
        """Begins to write the file when there is enough for it."""
        self._size += len(line) + 1
        if not self._queued and (self._size <= self._limit or not self._spill):
            self._old.append(line)
            return
        self._new.append(line)
        self._new_size += len(line) + 1
        if self._spill and self._new_size >= SPOOL and not self._leaving:
            self._write()

    @property
    def _queued(self) -> bool:
        """Whether what comes now is not the next to be read."""
        return self._start < self._end or bool(self._new or self._leaving)

    @property
    def full(self) -> bool:
        """Whether no more should be read from the child for now."""
        return bool(self._leaving) if self._spill else self._size > self._limit

    @property
    def spills(self) -> bool:
        """Whether what is not read is no reason for the child to wait."""
        return self._spill

    @property
    def busy(self) -> bool:
        """Whether lines are on their way to the file: they can be had when it has changed."""
        return bool(self._leaving) and self._spill

    def ready(self) -> list[bytes]:
        """All that can be had without waiting."""
        lines = list(self._old)
        self._old.clear()
        if self._start == self._end and not self.busy:
            lines += self._leaving
            lines += self._new
            self._leaving, self._new, self._new_size = [], [], 0
        self._size -= sum(map(len, lines)) + len(lines)
        return lines

    async def take(self) -> list[bytes]:
        """The next lines; none if there is nothing, or nothing yet. Cancelled, it has taken nothing."""
        if not self._old and self._start < self._end:
            assert self._file is not None
            start = self._start
            lines = await in_thread(partial(self._file.read, start, self._end))
            self._start = start + sum(map(len, lines)) + len(lines)
            if self._start == self._end and not self._leaving:
                self._file, self._start, self._end = None, 0, 0  # closed with the last of who reads or writes it
            return lines
        return self.ready()

    def _write(self) -> None:
        self._leaving, self._new, self._new_size = self._new, [], 0
        if self._file is None:
            self._file = _File()
        text = b"\n".join((*self._leaving, b""))
        if self._end + len(text) > FILE_LIMIT:
            self._spill = False
            return
        in_thread(partial(self._file.write, text, self._end)).add_done_callback(self._written)

    def _written(self, future: asyncio.Future[int]) -> None:
        if future.cancelled() or future.exception() is not None:
            self._spill = False  # no room: what is in memory stays there, and the child waits
        else:
            self._end = future.result()
            self._size -= sum(map(len, self._leaving)) + len(self._leaving)
            self._leaving = []
        self._changed()


class _File:
    """Made by the first who writes, in their thread. Closed with the last reference, so never under a thread's hands."""

    def __init__(self) -> None:
        self._fd: int | None = None

    def write(self, text: bytes, at: int) -> int:
        """The new end."""
        if self._fd is None:
            with tempfile.TemporaryFile(buffering=0) as file:
                self._fd = os.dup(file.fileno())
        rest = memoryview(text)
        while rest:
            written = os.pwrite(self._fd, rest, at)
            at += written
            rest = rest[written:]
        return at

    def read(self, start: int, end: int) -> list[bytes]:
        """Whole lines."""
        assert self._fd is not None
        pieces: list[bytes] = []
        while start < end:
            piece = os.pread(self._fd, min(SPOOL, end - start), start)
            if not piece:
                raise OSError("the file of unread output is shorter than it was")
            pieces.append(piece)
            start += len(piece)
            if 0x0A in piece:
                break
        whole, _, _ = b"".join(pieces).rpartition(b"\n")
        return whole.split(b"\n")

    def __del__(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
