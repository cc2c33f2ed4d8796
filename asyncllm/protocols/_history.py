"""What request encoders share: turns that alternate, state that goes home, names that every provider takes."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from ..events import Message, Part, ProviderState, ToolCall, ToolResult
from ._request import OutputSchema


def own(state: ProviderState | None, provider: str) -> Mapping[str, object]:
    """A part's opaque state, if it came from this provider; nothing from another (quirks E3, E6, E9)."""
    return state.data if state is not None and state.provider == provider else {}


def turns(
    messages: Iterable[Message],
) -> Iterator[tuple[Literal["system", "user", "assistant"], list[tuple[Part, str]]]]:
    """The conversation as turns that alternate, for wires that insist: results of tools belong to the user's turn, and
    messages of one side in a row are one turn. Each part comes with the name of its place, for messages of errors. Turns
    without content are left out (B9)."""
    role: Literal["system", "user", "assistant"] | None = None
    parts: list[tuple[Part, str]] = []
    for at, message in enumerate(messages):
        side: Literal["system", "user", "assistant"] = "user" if message.role == "tool" else message.role
        if side != role:
            if role is not None and parts:
                yield role, parts
            role, parts = side, []
        parts += [(part, f"messages[{at}]") for part in message.parts]
    if role is not None and parts:
        yield role, parts


def executed_elsewhere(part: Part, provider: str) -> bool:
    """Whether this is a call, or the result of one, that another provider's server ran: it cannot be said to this one."""
    if isinstance(part, ToolCall):
        return part.executed and not own(part.state, provider)
    return isinstance(part, ToolResult) and part.state is not None and part.state.provider != provider


def safe_id(id: str, *, most: int = 64) -> str:
    """A call's id in the letters and the length that every provider takes; equal ids stay equal, different ones different."""
    if id and len(id) <= most and re.fullmatch(r"[a-zA-Z0-9_-]+", id):
        return id
    return f"call_{hashlib.sha256(id.encode('utf-8', 'surrogatepass')).hexdigest()[: min(24, most - 5)]}"


def schema_prompt(output: OutputSchema) -> str:
    """How a schema is asked for where the provider has no means of its own."""
    schema = msgspec.json.encode(output.schema).decode()
    return f"Answer with one JSON object that satisfies this JSON Schema, and nothing else:\n{schema}"
