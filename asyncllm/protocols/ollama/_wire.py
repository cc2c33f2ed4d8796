"""Lines of /api/chat as structs: the fields that are read of nearly every line. What does not fit takes the careful path."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class Said(Struct, gc=False):
    content: str | None = None
    thinking: str | None = None
    tool_calls: Any = None
    images: Any = None


class Line(Struct, gc=False):
    message: Said | None = None
    done: bool | None = None
    error: Any = None


decode_line = msgspec.json.Decoder(Line).decode

COUNTS = (
    "total_duration",
    "load_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "eval_count",
    "eval_duration",
    "estimated",
)
"""The numbers of the last line; durations are in nanoseconds. A number that is 0 is left out by the server. `estimated` is
ours, and marks counts that no model reported."""

LINE = frozenset({"model", "created_at", "message", "done", "done_reason", "error", *COUNTS})
MESSAGE = frozenset({"role", "content", "thinking", "tool_calls", "images"})
"""What is understood: anything else makes a RawEvent of the line, where raw events are asked for."""
