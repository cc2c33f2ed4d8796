"""What a chunk holds beyond what becomes events: for RawEvent, where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_CHUNK = frozenset(
    {"id", "object", "created", "model", "choices", "usage", "system_fingerprint", "obfuscation", "error"}
)
_CHOICE = frozenset({"index", "delta", "message", "finish_reason", "usage", "error"})
_DELTA = frozenset(
    {"role", "content", "tool_calls", "reasoning_content", "reasoning", "reasoning_details", "refusal", "function_call"}
)


def unknown_parts(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The chunk itself, if anything in it is not understood (or belongs to another choice); else None."""
    choices = data.get("choices")
    if not _known(data, _CHUNK):
        return dict(data)
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, Mapping) or choice.get("index") not in (None, 0) or not _known(choice, _CHOICE):
            return dict(data)
        delta = choice.get("delta", choice.get("message"))
        if isinstance(delta, Mapping) and (not _known(delta, _DELTA) or isinstance(delta.get("content"), list)):
            return dict(data)
    return None


def _known(data: Mapping[str, Any], names: frozenset[str]) -> bool:
    return all(name in names or value is None for name, value in data.items())
