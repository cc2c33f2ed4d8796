"""What a turn of `agy` has used. Its result counts the whole conversation, its steps count one request each."""

from __future__ import annotations

from collections.abc import Mapping

from ...events import Usage
from ...events._usage import number, usage_from

COUNTED = ("input_tokens", "output_tokens", "thinking_tokens", "cache_read_tokens", "total_tokens")


class Counts:
    """Of one turn. `known` is what was kept of the conversation so far; `fresh`: it begins with this turn."""

    def __init__(self, known: Mapping[str, object], *, fresh: bool) -> None:
        before = known.get("usage")
        self._before = _counts(before) if isinstance(before, Mapping) else {}
        self._fresh = fresh
        self._steps: dict[object, dict[str, int]] = {}
        self._total: dict[str, int] = {}

    def step(self, index: object, given: object) -> None:
        """The counts of a step: of those that are said again, the last."""
        if isinstance(given, Mapping) and (counts := _counts(given)):
            self._steps[index] = counts

    def nothing(self, given: object) -> bool:
        return not (isinstance(given, Mapping) and any(_counts(given).values()))

    def turn(self, given: object) -> Usage | None:
        """Those of the turn. A conversation that was gone on with: the sum of the steps, or else what the total has grown by;
        a total that has shrunk was one of the turn."""
        self._total = _counts(given) if isinstance(given, Mapping) else {}
        summed = {name: sum(step.get(name, 0) for step in self._steps.values()) for name in COUNTED}
        grown = {name: count - self._before.get(name, 0) for name, count in self._total.items()}
        if not self._total or (not self._fresh and self._steps):
            counts = summed if self._steps else {}
        elif self._fresh or min(grown.values()) < 0:
            counts = self._total
        else:
            counts = grown
        return usage_from(counts) if any(counts.values()) else None

    @property
    def kept(self) -> dict[str, object]:
        """For the next turn."""
        return {"usage": self._total} if self._total else {}


def _counts(given: Mapping[str, object]) -> dict[str, int]:
    return {name: count for name in COUNTED if (count := number(given.get(name))) is not None}
