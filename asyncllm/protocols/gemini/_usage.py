"""`usageMetadata` in the one meaning of :class:`asyncllm.Usage`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...events import Usage
from .._numbers import whole_number
from ._wire import pick

_COUNTS = (
    "promptTokenCount",
    "toolUsePromptTokenCount",
    "candidatesTokenCount",
    "thoughtsTokenCount",
    "cachedContentTokenCount",
)


def usage_of(raw: Mapping[str, Any]) -> Usage | None:
    """The prompt includes what was cached, the candidates exclude the thoughts, and the results of the server's tools are
    counted apart; a count of 0 is left out by the server. None if there is no count at all."""
    given = [whole_number(pick(raw, name)) for name in _COUNTS]
    if all(count is None for count in given):
        return None
    prompt, tools, made, thought, cached = (max(0, count or 0) for count in given)
    return Usage(
        input_tokens=prompt + tools,
        output_tokens=made + thought,
        cache_read_tokens=cached,
        reasoning_tokens=thought,
        estimated=raw.get("estimated") is True,
        raw=dict(raw),
    )


def usage_metadata(usage: Usage) -> dict[str, object]:
    """The reverse. `estimated: true` is ours, and marks counts that no model reported."""
    counts = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "thoughtsTokenCount": usage.reasoning_tokens,
        "cachedContentTokenCount": usage.cache_read_tokens,
        "totalTokenCount": usage.total_tokens,
    }
    return {name: count for name, count in counts.items() if count or name == "promptTokenCount"}
