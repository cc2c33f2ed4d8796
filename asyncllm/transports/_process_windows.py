"""A child process and its pipes where there is no Unix: the event loop's own. What the child has started is not known there,
and is not ended with it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Mapping, Sequence
from typing import cast

from ._process_child import Owner


async def start_child(
    owner: Owner, command: Sequence[str], *, env: Mapping[str, str], cwd: str | None, large: bool, marked: bool
) -> None:
    """Raises OSError for a command that cannot be run."""
    loop = asyncio.get_running_loop()
    await loop.subprocess_exec(lambda: LoopChild(owner), *command, env=dict(env), cwd=cwd)


class LoopChild(asyncio.SubprocessProtocol):
    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.SubprocessTransport
        self._ended = self._gone = self._closing = False
        self._reading = True
        self.room = asyncio.Event()
        self.room.set()

    # ---- what the loop brings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.SubprocessTransport", transport)
        self.pid = self._transport.get_pid()
        self._owner.started(self)

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        if fd != 1:
            self._owner.errors(data)
        elif not self._ended:
            self._owner.output(data)

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        if fd == 0:
            self._gone = True
            self.room.set()
        elif fd == 1:
            self.end_output()

    def process_exited(self) -> None:
        self._gone = True
        self.room.set()
        self._owner.exited()

    def pause_writing(self) -> None:
        if not self._gone:
            self.room.clear()

    def resume_writing(self) -> None:
        self.room.set()

    # ---- what the owner does

    @property
    def returncode(self) -> int | None:
        return self._transport.get_returncode()

    @property
    def deaf(self) -> bool:
        return self._gone and not self._closing

    def write(self, data: bytes) -> None:
        pipe = cast("asyncio.WriteTransport | None", self._transport.get_pipe_transport(0))
        if pipe is None or pipe.is_closing() or self._gone:
            raise BrokenPipeError
        pipe.write(data)

    def close_in(self) -> None:
        self._closing = True
        if (pipe := self._transport.get_pipe_transport(0)) is not None:
            pipe.close()

    def reading(self, on: bool) -> None:
        pipe = cast("asyncio.ReadTransport | None", self._transport.get_pipe_transport(1))
        if self._reading is not on and pipe is not None and not pipe.is_closing():
            self._reading = on
            (pipe.resume_reading if on else pipe.pause_reading)()

    def end_output(self) -> None:
        if not self._ended:
            self._ended = True
            self._owner.output_ended()

    def look(self) -> None: ...

    def left(self) -> bool:
        return False

    def signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError, ValueError):  # it knows hardly any
            self._transport.send_signal(number)

    def signal_group(self, number: int) -> bool:
        if self.returncode is not None:
            return False
        self.signal(number)
        return True

    def kill(self) -> None:
        self.signal(signal.SIGTERM)  # by which Windows ends a process at once

    def close(self) -> None:
        if self._loop.is_closed():
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            self._transport.close()  # kills what is still there
        self.end_output()
