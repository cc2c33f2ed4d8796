"""What agents say, before anybody knows what it means: a line of JSON, and a message that may be long."""

from __future__ import annotations

from typing import Any

import msgspec

from ...events._errors import MESSAGE_LIMIT
from .._json import parse_json


def parse_line(line: bytes) -> Any:
    """Of any bytes: what is no UTF-8 becomes U+FFFD. None for what is no JSON."""
    try:
        return msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            return parse_json(line.decode("utf-8", "replace"))
        except ValueError:
            return None


def clipped(words: str) -> str:
    """As much as fits into a message."""
    return words if len(words) <= MESSAGE_LIMIT else words[:MESSAGE_LIMIT] + "…"
