"""Numbers of several rounds: medians, spreads, and ratios to the floor of the same round."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any, TypeVar

T = TypeVar("T")

FLOOR = "raw"
_ROW = re.compile(r"[^,]*?(?P<loop> on uvloop)?(?P<case>, .*)?")


@dataclass
class Series:
    """What one client needed, once a round."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return median(self.values)

    def over(self, other: Series) -> float:
        """The median of the ratios round by round: what disturbs a round disturbs both."""
        return median(ours / theirs for ours, theirs in zip(self.values, other.values, strict=True))


@dataclass
class Table:
    """A series for each row. A row is a client, or a client and its case: "asyncllm, 100 streams"."""

    mode: str
    what: str
    unit: str
    rows: dict[str, Series]
    floor: str = FLOOR

    def ratio(self, row: str, other: str) -> float | None:
        if row in self.rows and other in self.rows:
            return self.rows[row].over(self.rows[other])
        return None

    def floor_of(self, row: str) -> str | None:
        """The floor's row of the same case on the same loop."""
        found = _ROW.fullmatch(row)
        assert found is not None
        name = f"{self.floor}{found['loop'] or ''}{found['case'] or ''}"
        return name if name in self.rows else None

    def as_json(self) -> dict[str, Any]:
        return {
            "mode": self.mode,
            "what": self.what,
            "unit": self.unit,
            "rows": {row: {"values": series.values} for row, series in self.rows.items()},
            "medians": {row: series.median for row, series in self.rows.items()},
        }

    def as_markdown(self) -> str:
        floors = {row: self.floor_of(row) for row in self.rows}
        compared = any(floors.values())
        lines = [
            f"### {self.mode}: {self.what}",
            "",
            f"| client | {self.unit}, median | min - max |" + (f" x {self.floor} |" if compared else ""),
            "|---|---|---|" + ("---|" if compared else ""),
        ]
        for row, series in self.rows.items():
            cells = [row, number(series.median), f"{number(min(series.values))} - {number(max(series.values))}"]
            if compared:
                floor = floors[row]
                cells.append(f"{series.over(self.rows[floor]):.2f}" if floor else "")
            lines.append(f"| {' | '.join(cells)} |")
        return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits."""
    size = abs(value)
    return f"{value:.{0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3}f}"


def interleaved(
    cases: Mapping[str, T], rounds: int, measure: Callable[[T], float], *, warm_up: int = 2
) -> dict[str, Series]:
    """A B C A B C ...: `rounds` rounds of all cases, after a few that do not count."""
    rows = {name: Series() for name in cases}
    for at in range(-warm_up, rounds):
        for name, case in cases.items():
            value = measure(case)
            if at >= 0:
                rows[name].values.append(value)
    return rows


def joined(parts: Sequence[dict[str, Series]]) -> dict[str, Series]:
    """The rounds of several sets of processes, as if they were one."""
    return {client: Series([value for part in parts for value in part[client].values]) for client in parts[0]}
