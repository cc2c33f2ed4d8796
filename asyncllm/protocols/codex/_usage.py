"""Token counts of Codex: of one request, and cumulative over the thread (F12)."""

from __future__ import annotations

from collections.abc import Mapping

from ...events import Usage
from .._numbers import whole_number

_NAMES = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "cached_input_tokens": "cachedInputTokens",
    "cache_write_input_tokens": "cacheWriteInputTokens",
    "reasoning_output_tokens": "reasoningOutputTokens",
}
"""The counts in `codex exec` and in rollouts, and in the app-server."""


def counts_of(given: object) -> dict[str, int] | None:
    """The counts in either spelling, under the names of `codex exec`; None if there are none."""
    if not isinstance(given, Mapping):
        return None
    counts: dict[str, int] = {}
    for name, camel in _NAMES.items():
        count = whole_number(given.get(name, given.get(camel)))
        if count is not None:
            counts[name] = count
    return counts or None


def usage_of(counts: Mapping[str, int]) -> Usage | None:
    """As OpenAI counts: cached tokens are part of the input, reasoning is part of the output. None where nothing was used."""
    if not any(counts.get(name, 0) > 0 for name in _NAMES):
        return None
    return Usage(
        input_tokens=counts.get("input_tokens", 0),
        output_tokens=counts.get("output_tokens", 0),
        cache_read_tokens=counts.get("cached_input_tokens", 0),
        cache_write_tokens=counts.get("cache_write_input_tokens", 0),
        reasoning_tokens=counts.get("reasoning_output_tokens", 0),
        raw=dict(counts),
    )


def since(total: Mapping[str, int], before: Mapping[str, int]) -> dict[str, int]:
    """What was used between two totals of a thread. One that is smaller than before was begun anew, and stands for itself."""
    if any(total.get(name, 0) < before.get(name, 0) for name in _NAMES):
        return dict(total)
    return {name: total.get(name, 0) - before.get(name, 0) for name in _NAMES if name in total}
