"""The command line in tests: in this process, or as people run it, with pipes, signals and a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import pty
import socket
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from asyncllm.cli._app import app
from asyncllm.testing import Server

PATIENCE = 20
"""An upper bound for what takes a fraction of a second; reached only by a failing test."""


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


# ---- in this process


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No home, no colours from the environment, and no Ollama."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("OLLAMA_BASE_URL", f"http://127.0.0.1:{closed_port()}/v1")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin, prog_name="asyncllm")


def of(server: Server) -> list[str]:
    """The arguments of a chat with this server."""
    return ["chat", "-m", "openai/any", "--base-url", server.base_url, "--api-key", "k"]


def chat(server: Server, *arguments: str, stdin: str | None = None) -> Result:
    return run(*of(server), *arguments, stdin=stdin)


def asked(server: Server) -> Any:
    """The body of the last request."""
    return server.requests[-1].json


# ---- as a process


def environment_of(home: Path) -> dict[str, str]:
    """Almost nothing: no keys, no home, no Ollama."""
    root = str(Path(__file__).parent.parent)
    return {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "PYTHONPATH": root,
        "TERM": "xterm",
        "OLLAMA_BASE_URL": f"http://127.0.0.1:{closed_port()}/v1",
    }


async def start(environment: dict[str, str], *arguments: str, **streams: Any) -> Process:
    streams = {"stdin": DEVNULL, "stdout": PIPE, "stderr": PIPE, **streams}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "asyncllm", *arguments, env=environment, **streams
    )


async def finished(process: Process, stdin: bytes | None = None) -> tuple[int, bytes, bytes]:
    out, err = await asyncio.wait_for(process.communicate(stdin), PATIENCE)
    assert process.returncode is not None
    return process.returncode, out, err


class Screen:
    """A terminal of 80 columns with a process on it; what it shows can be waited for."""

    def __init__(self, master: int, process: Process) -> None:
        self.process = process
        self.shown = b""
        self._seen = 0
        self._master = master

    async def until(self, text: bytes) -> None:
        """Wait for `text`, after what was waited for before."""
        while (found := self.shown.find(text, self._seen)) < 0:
            data = await asyncio.wait_for(asyncio.to_thread(self._read), PATIENCE)
            assert data, f"the process ended before it showed {text!r}: {self.shown!r}"
            self.shown += data
        self._seen = found + len(text)

    async def end(self) -> int:
        while data := await asyncio.wait_for(asyncio.to_thread(self._read), PATIENCE):
            self.shown += data
        return await asyncio.wait_for(self.process.wait(), PATIENCE)

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def _read(self) -> bytes:
        try:
            return os.read(self._master, 65536)
        except OSError:  # Linux says EIO when the last process has left the terminal
            return b""


@contextlib.asynccontextmanager
async def terminal(environment: dict[str, str], *arguments: str, **others: Any) -> AsyncIterator[Screen]:
    """A process whose streams are a terminal, but for `others`."""
    master, slave = pty.openpty()
    try:
        try:
            streams = {"stdin": slave, "stdout": slave, "stderr": slave, **others}
            process = await start(environment, *arguments, start_new_session=True, **streams)
        finally:
            os.close(slave)
        try:
            yield Screen(master, process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        os.close(master)
