"""The wires that the server speaks: one row each. To add one, add its module, which has a `SERVER`."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cache
from importlib import import_module

from ..protocols import ServerSide, WireFrame
from ..protocols._json import to_json
from ..transports import encode_event_stream, encode_sse

WIRES = {
    "openai_chat": r"/chat/completions",
    "openai_responses": r"/responses",
    "anthropic": r"/messages",
    "gemini": r"/(models|tunedModels|endpoints)/.+:(streamG|g)enerateContent",
    "ollama": r"/api/chat",
    "bedrock": r"/model/[^/]+/converse(-stream)?",
}
"""A module of ``asyncllm.protocols``, and the paths to which its requests are posted. Imported when it is asked for."""

CHAT = "openai_chat"
"""Whose form errors have on paths of no wire."""

CONTENT_TYPES = {
    "sse": "text/event-stream; charset=utf-8",
    "json_lines": "application/x-ndjson",
    "event_stream": "application/vnd.amazon.eventstream",
}

FRAMES: dict[str, Callable[[WireFrame], bytes]] = {
    "sse": lambda frame: encode_sse(frame.data, event=frame.event or None),
    "json_lines": lambda frame: frame.data.encode() + b"\n",
    "event_stream": lambda frame: encode_event_stream(frame.data, event=frame.event),
}

COMMENTS: dict[str, Callable[[str], bytes]] = {
    # the framing has no comments; an event that nobody knows is passed over
    "event_stream": lambda text: encode_event_stream(to_json({"text": text}), event="comment"),
}
"""What keeps a connection alive, where it is not a comment of server-sent events."""


def wire_of(path: str) -> ServerSide | None:
    """The wire of a path without its query; None for a path of none."""
    return next((wire(name) for name, pattern in WIRES.items() if re.search(f"(?:{pattern})$", path)), None)


@cache
def wire(name: str) -> ServerSide:
    found: ServerSide = import_module(f"asyncllm.protocols.{name}._server").SERVER
    return found
