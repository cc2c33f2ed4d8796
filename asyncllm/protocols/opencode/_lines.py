"""A line of JSON that opencode says. Its strings are UTF-16, and may be cut in the middle of a character."""

from __future__ import annotations

from typing import Any

import msgspec

from .._json import parse_json


def read_line(line: bytes) -> dict[str, Any] | None:
    """The object; None for what is none. Halves of characters are left in deltas, whose other half may follow."""
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            found = mended(parse_json(line.decode("utf-8", "replace")))
        except (ValueError, RecursionError):
            return None
    return found if isinstance(found, dict) else None


def mended(value: Any) -> Any:
    """JSON whose strings can be written: halves that belong together are joined, the others become U+FFFD."""
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case dict():
            return {mended(name): inner if name == "delta" else mended(inner) for name, inner in value.items()}
        case list():
            return [mended(inner) for inner in value]
        case _:
            return value
