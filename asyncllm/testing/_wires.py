"""The wires that the server speaks: one row each. To add one, add its module, which has a `SERVER`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module

from ..protocols import ServerSide, WireFrame
from ..transports import encode_sse

WIRES = {
    "openai_chat": r"/chat/completions",
}
"""A module of ``asyncllm.protocols``, and the paths to which its requests are posted. Imported when it is asked for."""

CHAT = "openai_chat"
"""Whose form errors have on paths of no wire."""

CONTENT_TYPES = {"sse": "text/event-stream; charset=utf-8", "json_lines": "application/x-ndjson"}

FRAMES: dict[str, Callable[[WireFrame], bytes]] = {
    "sse": lambda frame: encode_sse(frame.data, event=frame.event or None),
    "json_lines": lambda frame: frame.data.encode() + b"\n",
}


def wire_of(path: str) -> ServerSide | None:
    """The wire of a path without its query; None for a path of none."""
    return next((wire(name) for name, pattern in WIRES.items() if re.search(f"(?:{pattern})$", path)), None)


@cache
def wire(name: str) -> ServerSide:
    found: ServerSide = import_module(f"asyncllm.protocols.{name}._server").SERVER
    return found
