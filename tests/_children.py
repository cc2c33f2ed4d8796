"""Child processes for tests: real ones, small Python programs and others, and what is left of them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from asyncllm.transports import Process

PATIENCE = 20.0
ENV = {"PATH": os.environ["PATH"]}
LINUX = sys.platform == "linux"
linux = pytest.mark.skipif(not LINUX, reason="looks into /proc")

HEAD = "import os, signal, subprocess, sys, time\nsay = lambda *what: print(*what, flush=True)\n"
"""Before every program."""

HANG = [sys.executable, "-I", "-S", "-c", "import signal; signal.pause()"]


def program(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", HEAD + code, *map(str, arguments)]


async def start(code: str | Sequence[str], *arguments: object, **options: Any) -> Process:
    command = program(code, *arguments) if isinstance(code, str) else code
    return await Process.start(command, **{"env": ENV, "cwd": None, **options})


@contextlib.asynccontextmanager
async def running(code: str | Sequence[str], *arguments: object, **options: Any) -> AsyncIterator[Process]:
    """Killed at the end of the block, if nobody has stopped it."""
    process = await start(code, *arguments, **options)
    try:
        yield process
    finally:
        await process.stop(0)


async def all_lines(process: Process) -> list[bytes]:
    found: list[bytes] = []
    while lines := await process.lines():
        found += lines
    return found


class Words:
    """What a child says, word by word."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._words: list[str] = []

    async def next(self) -> str:
        while not self._words:
            lines = await self._process.lines()
            assert lines, f"it ended; {self._process.stderr}"
            self._words = b" ".join(lines).decode().split()
        return self._words.pop(0)

    async def number(self) -> int:
        return int(await self.next())


# ---- what is left


def state(pid: int) -> str | None:
    """One letter, as in /proc; None: there is no such process."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return None


def children() -> set[int]:
    """Ours, zombies included."""
    found: set[int] = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                    found.add(int(entry.name))
    return found


def descriptors() -> set[str]:
    found: set[str] = set()
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
    return found


def threads() -> set[threading.Thread]:
    return set(threading.enumerate())


def temporary() -> set[str]:
    return set(os.listdir(tempfile.gettempdir()))


async def becomes(done: Callable[[], bool], what: Callable[[], object] = str) -> None:
    """What happens in other processes and threads happens soon."""
    try:
        async with asyncio.timeout(PATIENCE):
            while not done():
                gc.collect()
                await asyncio.sleep(0.01)
    except TimeoutError:
        raise AssertionError(f"not so: {what()}") from None


@contextlib.asynccontextmanager
async def nothing_left(folder: Path | None = None) -> AsyncIterator[None]:
    """No task, child process, thread, descriptor or, with `folder`, file of the block is there after it."""
    tasks = asyncio.all_tasks()
    before = (children(), descriptors(), threads()) if LINUX else (set(), set(), set())
    yield
    await becomes(lambda: asyncio.all_tasks() <= tasks | {asyncio.current_task()}, asyncio.all_tasks)
    if folder is not None:
        assert os.listdir(folder) == []
    if LINUX:
        assert children() <= before[0]
        await becomes(lambda: len(descriptors()) <= len(before[1]), lambda: descriptors() - before[1])
        await becomes(lambda: threads() <= before[2], lambda: threads() - before[2])
