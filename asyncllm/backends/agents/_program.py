"""What the agents' programs have in common: how one is started, told and heard, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from ...events import ConnectTimeout, InvalidRequestError
from ...protocols.agents._exit import Exit
from ...transports._process import Process

if TYPE_CHECKING:
    from ._tool_server import Call, ToolSession


async def start_program(agent: str, command: Sequence[str], *, env: Mapping[str, str], cwd: str) -> Process:
    """Raises :class:`InvalidRequestError` for what cannot be run."""
    try:
        return await Process.start(command, env=env, cwd=cwd)
    except OSError as error:
        raise InvalidRequestError(f"{agent}: {command[0]} cannot be run: {error}") from error


def silent(program: str, seconds: float | None, *, retryable: bool | None = None) -> ConnectTimeout:
    """It has not said its first word in time."""
    words = f"{program} said nothing for {seconds:g} s after its start (start_timeout= is how long it may take)"
    return ConnectTimeout(words, retryable=retryable)


async def tell(process: Process, data: bytes) -> None:
    """Write it to its standard input. Why nobody listens there, its last words say."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        await process.write(data)


async def lines_or_calls(process: Process, tools: ToolSession | None) -> tuple[list[bytes] | None, list[Call]]:
    """What comes first: its next lines (none at the end of its output; None where there are no new ones), and calls of our
    tools. They may come at once: the lines were said before."""
    if tools is None:
        return await process.lines(), []
    reading = asyncio.ensure_future(process.lines())
    calling = asyncio.ensure_future(tools.came())
    try:
        await asyncio.wait((reading, calling), return_when=asyncio.FIRST_COMPLETED)
        lines = reading.result() if reading.done() else None
        return lines, calling.result() if calling.done() else []
    finally:  # cancelled, they have taken nothing
        for task in (reading, calling):
            task.cancel()
        await asyncio.gather(reading, calling, return_exceptions=True)


async def exit_of(process: Process, seconds: float) -> Exit:
    """Its output is at its end, and so is the process, or soon: within so many seconds, or else it still runs."""
    await process.exited_within(seconds)
    return Exit(process.returncode, process.stderr, process.tail)
