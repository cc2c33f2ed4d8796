"""What the tests with the real Codex CLI share."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from _real_agents import MODEL, Place, turns

from asyncllm import Client
from asyncllm.events import (
    ToolCall,
    Usage,
)
from asyncllm.testing import Server

both = pytest.mark.parametrize("interface", ["app-server", "exec"])
USED = Usage(input_tokens=100, output_tokens=7, cache_read_tokens=60, reasoning_tokens=3)


def client(place: Place, server: Server | str, **options: Any) -> Client:
    return Client(f"codex/{MODEL}", **place.options("codex", server, **options))


def spoken(server: Server) -> list[list[str]]:
    """Of each request, what the user and the model have said; not what Codex adds."""
    said = []
    for request in turns(server):
        texts = [message.text for message in request.messages if message.role in ("user", "assistant")]
        said.append([text for text in texts if text and not text.startswith("<")])
    return said


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def called(id: str, name: str, a: int, b: int) -> ToolCall:
    return ToolCall(id, name, {"a": a, "b": b}, f'{{"a":{a},"b":{b}}}')


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def processes(place: Place) -> set[int]:
    """Those of the agent that were started with this HOME; not what it runs for a moment."""
    found = set()
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = f"HOME={place.home}\0".encode() in (folder / "environ").read_bytes() + b"\0"
            if ours and b"\0app-server\0" in (folder / "cmdline").read_bytes():
                found.add(int(folder.name))
    return found
