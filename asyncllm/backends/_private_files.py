"""Files that nobody else can read."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Scratch:
    """A folder of one program's own, made when it is needed. All but :meth:`filled_by` blocks."""

    def __init__(self, agent: str) -> None:
        self._prefix = f"asyncllm-{agent}-"
        self._folder: str | None = None

    def write(self, name: str, data: bytes) -> str:
        """The path of a file with this content."""
        if self._folder is None:
            self._folder = tempfile.mkdtemp(prefix=self._prefix)  # private: mode 0700
        path = Path(self._folder, name)
        write_private(path, data)
        return str(path)

    async def filled_by(self, write: Callable[P, T], *given: P.args, **more: P.kwargs) -> T:
        """What a function says that writes files here, in a thread. Cancelled, this still waits for it: what it wrote later
        would outlive the folder."""
        writing = asyncio.ensure_future(asyncio.to_thread(write, *given, **more))
        try:
            return await asyncio.shield(writing)
        except asyncio.CancelledError:
            await asyncio.wait([writing])
            raise

    def remove(self) -> None:
        folder, self._folder = self._folder, None
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def private_folder(path: Path) -> None:
    """Make it where it is missing, and its parents: `mkdir(mode=0o700, parents=True)` would let others into those. Blocks."""
    for folder in (*reversed(path.parents), path):
        if not folder.is_dir():  # one that is there is left as it is
            folder.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all: what was there is replaced at the end, a link as well. Blocks."""
    private_folder(path.parent)
    file, unfinished = tempfile.mkstemp(dir=path.parent, prefix=".asyncllm-", suffix=".tmp")  # private: mode 0600
    try:
        with open(file, "wb") as out:
            out.write(data)
        os.replace(unfinished, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(unfinished)
        raise
