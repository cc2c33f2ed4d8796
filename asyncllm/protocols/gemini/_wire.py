"""GenerateContentResponse as structs for the common chunk, and the two spellings of every field for the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

import msgspec
from msgspec import Raw, Struct

NO_RAW = Raw(b"")


class Part(Struct, gc=False, forbid_unknown_fields=True):
    """Text or a thought without a signature; every other part takes the careful path."""

    text: str
    thought: bool = False


class Content(Struct, gc=False, forbid_unknown_fields=True):
    parts: list[Part]
    role: str | None = None


class Candidate(Struct, gc=False, forbid_unknown_fields=True):
    """A candidate that goes on: nothing but content."""

    content: Content
    index: int = 0
    safetyRatings: Raw = NO_RAW
    tokenCount: Raw = NO_RAW
    avgLogprobs: Raw = NO_RAW


class Chunk(Struct, gc=False, forbid_unknown_fields=True):
    """A chunk in the middle of an answer. What is Raw is not looked at, or not until the end."""

    candidates: list[Candidate]
    usageMetadata: Raw = NO_RAW
    modelVersion: Raw = NO_RAW
    responseId: Raw = NO_RAW
    createTime: Raw = NO_RAW
    modelStatus: Raw = NO_RAW


decode_fast = msgspec.json.Decoder(Chunk).decode

_CAPITAL = re.compile(r"[A-Z]")


@cache
def snake(name: str) -> str:
    return _CAPITAL.sub(lambda found: f"_{found[0].lower()}", name)


def camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest)


def pick(data: Mapping[str, Any], name: str) -> Any:
    """A field under its camelCase name, or the snake_case one that some servers and SDKs write; None if there is neither."""
    value = data.get(name)
    return data.get(snake(name)) if value is None else value


def pick_object(data: Mapping[str, Any], name: str) -> dict[str, Any] | None:
    value = pick(data, name)
    return value if isinstance(value, dict) else None


def pick_text(data: Mapping[str, Any], name: str) -> str:
    value = pick(data, name)
    return value if isinstance(value, str) else ""


def pick_objects(data: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = pick(data, name)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
