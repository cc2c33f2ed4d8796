"""The least that can be done with the bytes of a stream: split, decode into the fields that matter, make an event.

No errors, no line ends but LF, no multi-line data: part of the floor, and not a parser to use.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


class _Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(Struct, gc=False):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _Delta(Struct, gc=False):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(Struct, gc=False):
    delta: _Delta
    finish_reason: str | None = None


class _Chunk(Struct, gc=False):
    choices: list[_Choice]
    usage: dict[str, Any] | None = None


class Text(Struct, frozen=True, gc=False):
    text: str


class Call(Struct, frozen=True, gc=False):
    id: str
    name: str
    index: int


class Arguments(Struct, frozen=True, gc=False):
    text: str
    index: int


class Finish(Struct, frozen=True, gc=False):
    reason: str


class Usage(Struct, frozen=True, gc=False):
    usage: dict[str, Any]


Event = Text | Call | Arguments | Finish | Usage
_decode = msgspec.json.Decoder(_Chunk).decode


def feed(rest: bytes, data: bytes) -> tuple[list[Event], bytes]:
    """The events of `rest + data`, and what is left of an event cut in the middle."""
    blocks = (rest + data if rest else data).split(b"\n\n")
    rest = blocks.pop()
    events: list[Event] = []
    for block in blocks:
        if block[:6] != b"data: " or block == b"data: [DONE]":
            continue
        chunk = _decode(block[6:])
        if chunk.choices:
            choice = chunk.choices[0]
            delta = choice.delta
            if delta.content:
                events.append(Text(delta.content))
            elif delta.tool_calls:
                for call in delta.tool_calls:
                    function = call.function
                    if function is None:
                        continue
                    if call.id and function.name:
                        events.append(Call(call.id, function.name, call.index))
                    if function.arguments:
                        events.append(Arguments(function.arguments, call.index))
            elif choice.finish_reason:
                events.append(Finish(choice.finish_reason))
        elif chunk.usage is not None:
            events.append(Usage(chunk.usage))
    return events, rest
