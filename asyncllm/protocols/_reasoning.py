"""Reasoning as one option: an effort or a budget of tokens, whichever the provider knows."""

from __future__ import annotations

from ._request import ReasoningEffort

BUDGETS: dict[ReasoningEffort, int] = {
    "none": 0,
    "minimal": 1024,
    "low": 4096,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}
"""Tokens that an effort stands for, where a provider only knows budgets."""


def budget_of(reasoning: ReasoningEffort | int) -> int:
    return reasoning if isinstance(reasoning, int) else BUDGETS[reasoning]


def effort_of(reasoning: ReasoningEffort | int) -> ReasoningEffort:
    """The least effort whose budget covers a number of tokens."""
    if not isinstance(reasoning, int):
        return reasoning
    for effort, budget in BUDGETS.items():
        if reasoning <= budget:
            return effort
    return "max"
