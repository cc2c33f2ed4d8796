"""What the tests with the real Claude Code share."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from _real_agents import Place, turns

from asyncllm import Client, Text, ToolCall, Usage
from asyncllm.testing import Server

both = pytest.mark.parametrize("interface", ["stream-json", "print"])
USED = Usage(input_tokens=100, output_tokens=7, cache_read_tokens=60)


def client(place: Place, server: Server | str, **options: Any) -> Client:
    options = {"builtin_tools": (), "system": "Be brief.", **options}
    return Client("claude-code/claude-sonnet-4-5", **place.options("claude", server, **options))


def spoken(server: Server) -> list[list[str]]:
    """Of each request, what the user and the model have said; not what Claude Code adds."""
    said = []
    for request in turns(server):
        parts = [
            part for message in request.messages if message.role in ("user", "assistant") for part in message.parts
        ]
        texts = [part.text.strip() for part in parts if isinstance(part, Text)]
        said.append([text for text in texts if text and not text.startswith("<")])
    return said


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def called(id: str, name: str, a: int, b: int) -> ToolCall:
    return ToolCall(id, name, {"a": a, "b": b}, f'{{"a":{a},"b":{b}}}')


def png(color: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    """8 by 8 points."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(color) * 8 for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def processes(place: Place) -> list[int]:
    """Those that have this HOME."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"HOME={place.home}".encode() in environment and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


def private(place: Place) -> None:
    """What was said is for nobody else."""
    for path in place.files():
        if path.suffix == ".jsonl":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


async def gone(place: Place) -> None:
    async with asyncio.timeout(10):
        while processes(place):
            await asyncio.sleep(0.01)
