"""Chat completion chunks as structs: the fields that are read, and none else. What does not fit takes the lenient path."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from .._decoder import DONE
from .._numbers import whole_number


class Function(Struct, gc=False):
    name: str | None = None
    arguments: str | None = None


class ToolCallPiece(Struct, gc=False):
    index: int | None = None
    id: str | None = None
    function: Function | None = None
    extra_content: dict[str, Any] | None = None
    name: str | None = None  # beside the id, where a server leaves `function` out
    arguments: str | None = None


class Delta(Struct, gc=False):
    content: str | None = None
    tool_calls: list[ToolCallPiece] | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    refusal: str | None = None
    function_call: Function | None = None
    # of a content in parts (E4): no field of the wire
    thinking: str | None = msgspec.field(default=None, name="(thinking)")


class Choice(Struct, gc=False):
    delta: Delta | None = None
    index: int | None = 0
    finish_reason: str | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    message: Any = None


class Chunk(Struct, gc=False):
    choices: list[Choice] | None = None
    usage: dict[str, Any] | None = None
    error: Any = None
    x_groq: Any = None


class FirstChunk(Chunk, gc=False):
    """The others have ids and names, too, but those are not worth the strings they would make."""

    id: Any = None
    model: Any = None


class PlainDelta(Struct, gc=False):
    """What may stand beside a text that is all a chunk says: nothing."""

    content: str
    tool_calls: None = None
    reasoning_content: None = None
    reasoning: None = None
    reasoning_details: None = None
    refusal: None = None
    function_call: None = None


class PlainChoice(Struct, gc=False):
    delta: PlainDelta
    index: Literal[0] = 0
    finish_reason: None = None
    usage: None = None
    error: None = None


class PlainChunk(Struct, gc=False):
    """A chunk that says some text and nothing else, as nearly all do. That it does is told by its decoding."""

    choices: tuple[PlainChoice]
    usage: None = None
    error: None = None
    x_groq: None = None


class UsageChunk(Struct, gc=False):
    """The chunk with nothing but usage that follows the last one of the answer, as OpenAI sends it."""

    choices: tuple[()]
    object: Literal["chat.completion.chunk"]
    usage: dict[str, Any]
    error: None = None
    errors: None = None
    type: None = None
    success: None = None
    detail: None = None
    base_resp: None = None
    x_groq: None = None


UNREADABLE = (msgspec.DecodeError, UnicodeEncodeError, RecursionError)
"""What the decoders raise: no JSON, or not in this shape."""

decode_plain = msgspec.json.Decoder(PlainChunk).decode
_decode_usage = msgspec.json.Decoder(UsageChunk).decode
_decode_chunk = msgspec.json.Decoder(Chunk).decode
_decode_first = msgspec.json.Decoder(FirstChunk).decode


def typed_chunk(text: str) -> Chunk | None:
    """A chunk, maybe the first, that is as it should be; None for anything that needs a closer look."""
    try:
        chunk = _decode_first(text)
    except UNREADABLE:
        return None
    return chunk if _is_whole(chunk) else None


def delta_or_chunk(line: bytes | str) -> Delta | Chunk | None:
    """A chunk after the first that is as it should be: only its delta, if it says nothing else."""
    try:
        chunk = _decode_chunk(line)
    except UNREADABLE:
        return None
    choices = chunk.choices
    if choices and len(choices) == 1 and chunk.error is None and chunk.usage is None and chunk.x_groq is None:
        choice = choices[0]
        if (
            choice.finish_reason is None
            and choice.index == 0
            and choice.error is None
            and choice.usage is None
            and choice.delta is not None
        ):
            return choice.delta
    return chunk if _is_whole(chunk) else None


def usage_alone(line: bytes | str) -> Chunk | None:
    """The chunk after the last one of an answer."""
    if len(line) == len(DONE):
        return None
    try:
        return Chunk(usage=_decode_usage(line).usage)
    except UNREADABLE:
        return None


def _is_whole(chunk: Chunk) -> bool:
    if not chunk.choices or chunk.error is not None:
        return False
    return all(choice.delta is not None and choice.message is None for choice in chunk.choices)


def lenient_chunk(data: Mapping[str, Any]) -> FirstChunk:
    """A chunk from what some servers send instead of one: other types, nulls, messages in the place of deltas."""
    choices = data.get("choices")
    return FirstChunk(
        choices=[_choice(item) for item in choices if isinstance(item, dict)] if isinstance(choices, list) else None,
        usage=_object(data.get("usage")),
        error=data.get("error"),
        x_groq=data.get("x_groq"),
        id=data.get("id"),
        model=data.get("model"),
    )


def _choice(data: Mapping[str, Any]) -> Choice:
    delta = data.get("delta")
    if not isinstance(delta, dict):
        delta = data.get("message")  # a whole completion where a chunk should be
    if not isinstance(delta, dict) and isinstance(data.get("text"), str):
        delta = {"content": data["text"]}  # the legacy completions form
    return Choice(
        delta=_delta(delta) if isinstance(delta, dict) else None,
        index=whole_number(data.get("index")) or 0,
        finish_reason=_text(data.get("finish_reason")),
        usage=_object(data.get("usage")),
        error=data.get("error"),
    )


def _delta(data: Mapping[str, Any]) -> Delta:
    text, thought = flatten(data.get("content"))
    pieces = data.get("tool_calls")
    if isinstance(pieces, dict):
        pieces = [pieces]
    details = data.get("reasoning_details")
    function = data.get("function_call")
    return Delta(
        content=text,
        tool_calls=[_piece(item) for item in pieces if isinstance(item, dict)] if isinstance(pieces, list) else None,
        reasoning_content=_text(data.get("reasoning_content")),
        thinking=thought,
        reasoning=_text(data.get("reasoning")),
        reasoning_details=[item for item in details if isinstance(item, dict)] if isinstance(details, list) else None,
        refusal=_text(data.get("refusal")),
        function_call=_function(function) if isinstance(function, dict) else None,
    )


def _piece(data: Mapping[str, Any]) -> ToolCallPiece:
    function = data.get("function")
    identity = data.get("id")
    return ToolCallPiece(
        index=whole_number(data.get("index")),
        id=str(identity) if isinstance(identity, str | int) and not isinstance(identity, bool) else None,
        function=_function(function if isinstance(function, dict) else data),
        extra_content=_object(data.get("extra_content")),
    )


def _function(data: Mapping[str, Any]) -> Function:
    arguments = data.get("arguments")
    if arguments is not None and not isinstance(arguments, str):
        arguments = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)  # once, as the object it is (D9)
    return Function(name=_text(data.get("name")), arguments=arguments)


def flatten(content: object) -> tuple[str | None, str | None]:
    """Text and thought of a content that is a string, a list of parts (Mistral, E4), or nothing (B3)."""
    if not isinstance(content, list):
        return _text(content), None
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, str):
            texts.append(part)
        elif isinstance(part, dict):
            if part.get("type") in ("thinking", "reasoning"):
                inner = part.get("thinking", part.get("reasoning", part.get("text", part.get("summary"))))
                text, thought = flatten(inner)
                thoughts.append((text or "") + (thought or ""))
            elif isinstance(text := part.get("text"), str):
                texts.append(text)
    return "".join(texts) or None, "".join(thoughts) or None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _object(value: object) -> dict[str, Any] | None:
    return value if isinstance(value, dict) else None
