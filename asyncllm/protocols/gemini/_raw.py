"""Whether all of a chunk becomes events: what does not is a RawEvent, where it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .._numbers import whole_number
from ._wire import camel

_CHUNK = frozenset({"candidates", "usageMetadata", "modelVersion", "responseId", "createTime"})
_CANDIDATE = frozenset(
    {"content", "index", "finishReason", "groundingMetadata", "citationMetadata", "urlContextMetadata"}
)
_CONTENT = frozenset({"parts", "role"})
_BESIDE = frozenset({"thoughtSignature", "thought"})
_PART = frozenset({"text", "functionCall", "inlineData", "fileData", "executableCode", "codeExecutionResult"}) | {
    "toolCall",
    "toolResponse",
}


def is_known(data: Mapping[str, Any]) -> bool:
    """The first candidate and nothing but what is understood of it."""
    if not _only(data, _CHUNK):
        return False
    candidates = data.get("candidates") or []
    if not isinstance(candidates, list):
        return False
    return all(isinstance(item, Mapping) and _known_candidate(item) for item in candidates)


def _known_candidate(candidate: Mapping[str, Any]) -> bool:
    if whole_number(candidate.get("index")) or not _only(candidate, _CANDIDATE):
        return False
    content = candidate.get("content") or {}
    if not isinstance(content, Mapping) or not _only(content, _CONTENT):
        return False
    parts = content.get("parts") or []
    return isinstance(parts, list) and all(isinstance(part, Mapping) and _known_part(part) for part in parts)


def _known_part(part: Mapping[str, Any]) -> bool:
    names = {camel(name) for name, value in part.items() if value is not None} - _BESIDE
    return len(names) == 1 and names <= _PART


def _only(data: Mapping[str, Any], names: frozenset[str]) -> bool:
    return all(value is None or camel(name) in names for name, value in data.items())
