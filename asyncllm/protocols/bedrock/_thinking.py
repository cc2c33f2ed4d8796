"""Reasoning as the models behind the wire want it told: the wire passes their own fields on, and knows none of them.

Sources: the Bedrock user guide (extended and adaptive thinking of Claude; reasoning of Nova 2; OpenAI models).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from ...events import InvalidRequestError
from .._reasoning import budget_of, effort_of
from .._request import ReasoningEffort

Style = Literal["adaptive", "budget", "effort", "nova"]

LEAST_BUDGET = 1024
"""What Claude takes at least."""

ROOM = 4096
"""Tokens for the answer itself, where only a budget was given: the limit of the output counts both."""

_CLAUDE = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:-(\d{1,2})(?!\d))?")
_ADAPTIVE_SINCE = (4, 6)

_THREE: dict[ReasoningEffort, str] = {"minimal": "low", "xhigh": "high", "max": "high"}


def style_of(model: str) -> Style | None:
    """How a model is told, by its name (as in `us.anthropic.claude-sonnet-4-5-20250929-v1:0`); None if that says nothing."""
    if (claude := _CLAUDE.search(model)) is not None:
        return "adaptive" if (int(claude[1]), int(claude[2] or 0)) >= _ADAPTIVE_SINCE else "budget"
    if "nova-2" in model:
        return "nova"
    return "effort" if re.search(r"\bopenai\.|gpt-oss", model) else None


def thinking_fields(reasoning: ReasoningEffort | int, style: Style) -> dict[str, Any]:
    """The `additionalModelRequestFields` that say it. Empty where the model has no word for it."""
    effort = effort_of(reasoning)
    three = _THREE.get(effort, effort)
    if style == "nova":
        if effort == "none":
            return {"reasoningConfig": {"type": "disabled"}}
        return {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": three}}
    if style == "effort":
        return {} if effort == "none" else {"reasoning_effort": three}
    if effort == "none":
        return {"thinking": {"type": "disabled"}}
    if style == "adaptive":
        level = "low" if effort == "minimal" else effort
        return {"thinking": {"type": "adaptive"}, "output_config": {"effort": level}}
    return {"thinking": {"type": "enabled", "budget_tokens": max(LEAST_BUDGET, budget_of(reasoning))}}


def fit_budget(
    fields: Mapping[str, Any], inference: dict[str, Any], *, fixed: bool, provider: str, warnings: list[str]
) -> None:
    """A budget must be less than the output's limit: one of them gives way. `fixed`: the caller named the budget itself."""
    thinking = fields.get("thinking")
    if not isinstance(thinking, dict) or "budget_tokens" not in thinking:
        return
    budget, most = thinking["budget_tokens"], inference.get("maxTokens")
    if most is None:
        inference["maxTokens"] = budget + ROOM
        warnings.append(f"max_tokens is {budget + ROOM}: the budget for reasoning and {ROOM} for the answer")
    elif budget >= most:
        if fixed or most <= LEAST_BUDGET:
            raise InvalidRequestError(
                f"{provider}: max_tokens ({most}) counts the reasoning, too: it must be more than its budget ({budget})"
            )
        thinking["budget_tokens"] = max(LEAST_BUDGET, most // 2)
        warnings.append(f"the budget for reasoning is {thinking['budget_tokens']}: max_tokens counts it, too")


def reasoning_from(fields: Mapping[str, Any]) -> ReasoningEffort | int | None:
    """What such fields ask for: the reverse, for servers."""
    thinking, nova, effort = fields.get("thinking"), fields.get("reasoningConfig"), fields.get("reasoning_effort")
    if isinstance(thinking, Mapping):
        match thinking.get("type"):
            case "enabled":
                return thinking.get("budget_tokens")
            case "adaptive":
                output = fields.get("output_config")
                return output.get("effort", "high") if isinstance(output, Mapping) else "high"
            case _:
                return "none"
    if isinstance(nova, Mapping):
        return nova.get("maxReasoningEffort") if nova.get("type") == "enabled" else "none"
    return effort
