"""A child process and its three pipes, on Unix: the pipes are ours, so that they can be closed when their loop is gone.

A thread waits for the child and buries it, whatever becomes of the loop, and under every kind of loop and watcher alike.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import secrets
import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO

from ._process_child import Owner
from ._process_tree import MARK, Tree

PIPE = 1024 * 1024
"""Bytes that the pipe of standard output should hold. Programs of Node and Bun that end by `process.exit` lose what the pipe
does not take at once, and 64 KiB, as pipes are made, are soon full when our loop is held up. Only Linux has larger ones. (A
pair of sockets holds less of short lines, 28 kB of 200 kB, and cannot be opened again as /dev/stdout.)"""

UNSENT = 64 * 1024
"""Bytes that wait to be written before writers have to."""

_READ = 64 * 1024

_AT_ONCE = 2 * PIPE // _READ
"""Reads in a row: more than any pipe holds."""

LOST = 255
"""The exit code of a child that somebody else has buried."""


async def start_child(
    owner: Owner, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None, large: bool, marked: bool
) -> None:
    """Raises OSError for a command that cannot be run.

    Args:
        large: its output gets a large pipe.
        marked: its environment gets a mark.
    """
    mark = secrets.token_hex(8) if marked else ""
    if mark:  # one of ours may run in a child of ours
        env = {**env, MARK: " ".join(filter(None, (os.environ.get(MARK), mark)))}
    UnixChild(owner, command, env=env, cwd=cwd, large=large, mark=mark)


class UnixChild:
    def __init__(
        self, owner: Owner, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None, large: bool, mark: str
    ) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._unsent = bytearray()
        self.room = asyncio.Event()
        self.room.set()
        self.returncode: int | None = None
        self._closing = False
        self._lock = threading.RLock()  # while it is held, the number of the child stays the child's
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            pipes = [_pipe(theirs, ours, reads=fd == 0) for fd in range(3)]
            self._in: IO[bytes] | None = pipes[0][1]
            self._out: IO[bytes] | None = pipes[1][1]
            self._err: IO[bytes] | None = pipes[2][1]
            if large and hasattr(fcntl, "F_SETPIPE_SZ"):
                with contextlib.suppress(OSError):  # one user may have only so many
                    fcntl.fcntl(self._out.fileno(), fcntl.F_SETPIPE_SZ, PIPE)
            popen = subprocess.Popen(  # noqa: S603
                command,
                stdin=pipes[0][0],
                stdout=pipes[1][0],
                stderr=pipes[2][0],
                env=dict(env),
                cwd=cwd,
                start_new_session=True,
            )
            self.pid = popen.pid
            popen.returncode = LOST  # it is not for the subprocess module to wait for it
            self._tree = Tree(self.pid, mark)
            try:
                threading.Thread(target=self._bury, name=f"wait for {self.pid}", daemon=True).start()
            except BaseException:
                self._tree.kill()
                os.waitpid(self.pid, 0)
                raise
            ours.pop_all()
        self._loop.add_reader(self._out.fileno(), self._readable)
        self._loop.add_reader(self._err.fileno(), self._complains)
        self._reading = True
        owner.started(self)

    # ---- its end

    def _bury(self) -> None:
        """In a thread."""
        status = LOST << 8
        with contextlib.suppress(ChildProcessError):
            if hasattr(os, "waitid"):
                os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
                with self._lock:
                    status = os.waitpid(self.pid, 0)[1]
                    self.returncode = os.waitstatus_to_exitcode(status)
            else:
                status = os.waitpid(self.pid, 0)[1]
        self.returncode = os.waitstatus_to_exitcode(status)
        with contextlib.suppress(RuntimeError):  # the loop is gone
            self._loop.call_soon_threadsafe(self._exited)

    def _exited(self) -> None:
        """What it wrote last is here before it is told."""
        self._complains()
        if self._reading:
            self._readable()
        self._close_in()
        self._owner.exited()

    def look(self) -> None:
        with self._lock:
            self._tree.look()

    def left(self) -> bool:
        return self._tree.left()

    def signal(self, number: int) -> None:
        with self._lock:
            if self.returncode is None:
                with contextlib.suppress(PermissionError):
                    os.kill(self.pid, number)

    def signal_group(self, number: int) -> bool:
        with self._lock:
            return self._tree.signal_group(number)

    def kill(self) -> None:
        with self._lock:
            self._tree.kill()

    # ---- its output

    def reading(self, on: bool) -> None:
        if self._out is not None and on is not self._reading:
            self._reading = on
            if on:
                self._loop.add_reader(self._out.fileno(), self._readable)
            else:
                self._loop.remove_reader(self._out.fileno())

    def _readable(self) -> None:
        for _ in range(_AT_ONCE):
            if self._out is None or not self._reading:
                return
            data = _read(self._out)
            if data is None:
                return
            if not data:
                self._close(self._out)
                self._out = None
                self._owner.output_ended()
                return
            self._owner.output(data)

    def end_output(self) -> None:
        self.reading(True)
        self._readable()
        if self._out is not None:
            self._close(self._out)
            self._out = None
            self._owner.output_ended()

    def _complains(self) -> None:
        for _ in range(_AT_ONCE):
            if self._err is None:
                return
            data = _read(self._err)
            if data is None:
                return
            if not data:
                self._close(self._err)
                self._err = None
                return
            self._owner.errors(data)

    # ---- its input

    def write(self, data: bytes) -> None:
        if self._in is None or self._closing:
            raise BrokenPipeError
        waiting = bool(self._unsent)
        self._unsent += data
        if not waiting:
            self._writable()
            if self._unsent:
                self._loop.add_writer(self._in.fileno(), self._writable)

    def close_in(self) -> None:
        self._closing = True
        if not self._unsent:
            self._close_in()

    def _writable(self) -> None:
        try:
            while self._in is not None and self._unsent:
                del self._unsent[: os.write(self._in.fileno(), self._unsent[:_READ])]
        except (BlockingIOError, InterruptedError):
            pass
        except OSError:  # nobody reads any more
            self._close_in()
        if len(self._unsent) <= UNSENT:
            self.room.set()
        else:
            self.room.clear()
        if not self._unsent:
            if self._in is not None:
                self._loop.remove_writer(self._in.fileno())
            if self._closing:
                self._close_in()

    def _close_in(self) -> None:
        if self._in is not None:
            self._loop.remove_writer(self._in.fileno())
            self._in.close()
            self._in = None
        self._unsent.clear()
        self.room.set()

    @property
    def deaf(self) -> bool:
        return self._in is None and not self._closing

    # ---- the end of the pipes

    def close(self) -> None:
        """At once where the loop is gone, or runs in this thread."""
        if not self._loop.is_closed() and self._loop.is_running() and not _is_ours(self._loop):
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._close_all)
                return
        self._close_all()

    def _close_all(self) -> None:
        if self._loop.is_closed():
            for pipe in (self._in, self._out, self._err):
                if pipe is not None:
                    pipe.close()
            self._in = self._out = self._err = None
            return
        self._close_in()
        self._close(self._err)
        self._err = None
        if self._out is not None:
            self._close(self._out)
            self._out = None
            self._owner.output_ended()

    def _close(self, pipe: IO[bytes] | None) -> None:
        if pipe is not None:
            self._loop.remove_reader(pipe.fileno())
            pipe.close()


def _is_ours(loop: asyncio.AbstractEventLoop) -> bool:
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


def _read(pipe: IO[bytes]) -> bytes | None:
    """None: nothing yet. Empty: nothing any more."""
    try:
        return os.read(pipe.fileno(), _READ)
    except (BlockingIOError, InterruptedError):
        return None
    except OSError:
        return b""


def _pipe(theirs: contextlib.ExitStack, ours: contextlib.ExitStack, *, reads: bool) -> tuple[int, IO[bytes]]:
    """The child's end, and ours, which never blocks. `reads`: the child does."""
    read, write = os.pipe()
    their, our = (read, write) if reads else (write, read)
    theirs.callback(os.close, their)
    os.set_blocking(our, False)
    return their, ours.enter_context(open(our, "wb" if reads else "rb", buffering=0))
