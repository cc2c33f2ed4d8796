"""What a turn cost, out of a result. The figures of single messages are not final, and are not counted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ...events import Usage, usage_from


def usage_of(result: Mapping[str, Any], before: float) -> Usage | None:
    """`usage` is of the turn, but `total_cost_usd` of all turns of the process: `before` is what those before it cost."""
    given = result.get("usage")
    usage = usage_from(given, input_excludes_cache=True) if isinstance(given, Mapping) else None
    if usage is None:
        return None
    cost = cost_of(result)
    return msgspec.structs.replace(usage, cost=None if cost is None else round(max(0.0, cost - before), 12))


def cost_of(result: Mapping[str, Any]) -> float | None:
    """In US dollars, of all turns of the process so far."""
    return amount(result.get("total_cost_usd"))


def amount(value: object) -> float | None:
    """A number that is not negative, and no bigger than makes sense."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e12:
        return None
    return float(value)
