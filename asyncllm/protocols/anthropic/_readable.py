"""What the provider's own tools gave, and the sources it names, as people read them. The blocks themselves are kept beside."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...events import Citation

_SAYS = ("title", "url", "text", "stdout", "stderr", "error_code", "error_message", "tool_name", "file_id", "data")
"""Fields of results that are for the reader; encrypted and binary ones are not among them."""
_HOLDS = ("content", "source", "tool_references", "results")


def readable(content: object, depth: int = 0) -> str:
    """The text of a result's content, whatever its type: searches, pages, outputs of programs, errors."""
    if isinstance(content, str):
        return content
    if depth > 5:
        return ""
    if isinstance(content, list):
        found = [readable(item, depth + 1) for item in content]
    elif isinstance(content, Mapping):
        binary = content.get("type") == "base64"
        found = [
            value for name in _SAYS if isinstance(value := content.get(name), str) and not (binary and name == "data")
        ]
        found += [readable(content[name], depth + 1) for name in _HOLDS if name in content]
    else:
        return ""
    return "\n".join(filter(None, found))


def is_failure(content: object) -> bool:
    return isinstance(content, Mapping) and str(content.get("type")).endswith("_error")


def citation_from(raw: dict[str, Any], start: int, end: int) -> Citation:
    """A citation of the text between two offsets, which are those of its block."""

    def first(*names: str) -> str:
        return next((value for name in names if isinstance(value := raw.get(name), str) and value), "")

    return Citation(first("url", "source"), first("title", "document_title"), start, end, first("cited_text"), raw)
