"""What the tests with the real Codex CLI share."""

from __future__ import annotations

from typing import Any

import _real_agents
import pytest
from _real_agents import MODEL, Place, turns

from asyncllm import Client, Usage
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


def multiply(a: int, b: int) -> int:
    """Multiply two numbers."""
    return a * b


def processes(place: Place) -> list[int]:
    """Those of the agent; not what it runs for a moment."""
    return _real_agents.processes(place, running="app-server")
