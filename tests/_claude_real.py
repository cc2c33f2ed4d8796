"""What the tests with the real Claude Code share."""

from __future__ import annotations

import asyncio
import stat
from typing import Any

import pytest
from _real_agents import Place, processes, turns

from asyncllm import Client, Text, Usage
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
