"""Token counts with one meaning on every provider."""

from __future__ import annotations

from collections.abc import KeysView, Mapping

from msgspec import Struct


class Usage(Struct, frozen=True, kw_only=True, tag="usage"):
    """What a step cost: a snapshot, of which the last one of a step counts.

    `input_tokens` includes cache reads and cache writes, `output_tokens` includes reasoning, whatever the provider's own
    convention; `raw` keeps the provider's object. `cost` is in US dollars where the provider says it. `estimated` marks
    counts that nobody reported (a stream that broke before its usage came).
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost: float | None = None
    estimated: bool = False
    raw: Mapping[str, object] | None = None

    @property
    def total_tokens(self) -> int:
        return self.input_tokens + self.output_tokens

    def __add__(self, other: Usage) -> Usage:
        """The sum of two steps. `raw` is dropped: a sum has no original."""
        if not isinstance(other, Usage):
            return NotImplemented
        costs = [cost for cost in (self.cost, other.cost) if cost is not None]
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cache_read_tokens=self.cache_read_tokens + other.cache_read_tokens,
            cache_write_tokens=self.cache_write_tokens + other.cache_write_tokens,
            reasoning_tokens=self.reasoning_tokens + other.reasoning_tokens,
            cost=sum(costs) if costs else None,
            estimated=self.estimated or other.estimated,
        )


def _names(*names: str) -> KeysView[str]:
    """In the order in which they are believed, and quick to be told from all others."""
    return dict.fromkeys(names).keys()


_INPUT = _names("prompt_tokens", "input_tokens", "prompt_eval_count", "inputTokens", "promptTokenCount")
_OUTPUT = _names("completion_tokens", "output_tokens", "eval_count", "outputTokens", "candidatesTokenCount")
_CACHE_READ = _names(
    "cached_tokens",
    "cache_read_input_tokens",
    "prompt_cache_hit_tokens",
    "cache_read_tokens",
    "cacheReadInputTokens",
    "cachedContentTokenCount",
)
_CACHE_WRITE = _names(
    "cache_write_tokens",
    "cache_creation_input_tokens",
    "cache_creation_tokens",
    "cacheWriteInputTokens",
)
_REASONING = _names("reasoning_tokens", "thinking_tokens", "thoughtsTokenCount")
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "completion_tokens_details", "output_tokens_details")


def number(value: object) -> int | None:
    """A token count from what providers send: ints, floats, digit strings; a bool, None or nonsense is None."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int):
        return max(0, value)
    try:
        return max(0, int(float(value)))  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None


def _first(names: KeysView[str], *places: Mapping[str, object]) -> int | None:
    for place in places:
        for name in () if names.isdisjoint(place) else names:
            if name in place and (found := number(place[name])) is not None:
                return found
    return None


def usage_from(
    raw: Mapping[str, object], *, input_excludes_cache: bool = False, output_excludes_reasoning: bool = False
) -> Usage | None:
    """Read any provider's usage object (OpenAI, Anthropic, Gemini, Ollama, Bedrock and their imitators).

    The two flags say what the provider leaves out of its totals. None if there is no known count in it.
    """
    given, made, total = _first(_INPUT, raw), _first(_OUTPUT, raw), number(raw.get("total_tokens"))
    if given is None and made is None and total is None:
        return None
    details = [place for name in _DETAILS if name in raw and isinstance(place := raw[name], Mapping)]
    read = _first(_CACHE_READ, raw, *details) or 0
    write = _first(_CACHE_WRITE, raw, *details) or 0
    reasoning = _first(_REASONING, *details, raw) or 0
    given, made = given or 0, made or 0
    if not made and not given and total:
        given = total
    cost = raw.get("cost", raw.get("estimated_cost"))
    return Usage(
        input_tokens=given + (read + write if input_excludes_cache else 0),
        output_tokens=made + (reasoning if output_excludes_reasoning else 0),
        cache_read_tokens=read,
        cache_write_tokens=write,
        reasoning_tokens=reasoning,
        cost=float(cost) if isinstance(cost, int | float) and not isinstance(cost, bool) else None,
        estimated=raw.get("estimated") is True,
        raw=dict(raw),
    )
