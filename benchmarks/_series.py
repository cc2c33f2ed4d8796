"""Numbers of several rounds: medians, spreads, and ratios to the floor of the same round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import Any

from ._processes import WorkerProcess

FLOOR = "raw"


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
    """One mode: a series for each client."""

    mode: str
    what: str
    unit: str
    rows: dict[str, Series]

    def ratio(self, client: str, other: str = FLOOR) -> float | None:
        if client in self.rows and other in self.rows:
            return self.rows[client].over(self.rows[other])
        return None

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "medians": {client: series.median for client, series in self.rows.items()}}

    def as_markdown(self) -> str:
        floor = self.rows.get(FLOOR)
        lines = [
            f"### {self.mode}: {self.what}",
            "",
            f"| client | {self.unit}, median | min - max | x {FLOOR} |",
            "|---|---|---|---|",
        ]
        for client, series in self.rows.items():
            ratio = f"{series.over(floor):.2f}" if floor else ""
            spread = f"{number(min(series.values))} - {number(max(series.values))}"
            lines.append(f"| {client} | {number(series.median)} | {spread} | {ratio} |")
        return "\n".join(lines)


def number(value: float) -> str:
    """Three significant digits."""
    return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3}f}"


def interleaved(
    workers: Sequence[WorkerProcess],
    rounds: int,
    measure: Callable[[WorkerProcess], float],
    *,
    warm_up: int = 2,
) -> dict[str, Series]:
    """A B C A B C ...: `rounds` rounds, after a few that do not count."""
    rows = {worker.client: Series() for worker in workers}
    for at in range(-warm_up, rounds):
        for worker in workers:
            value = measure(worker)
            if at >= 0:
                rows[worker.client].values.append(value)
    return rows


def joined(parts: Sequence[dict[str, Series]]) -> dict[str, Series]:
    """The rounds of several sets of processes, as if they were one."""
    return {client: Series([value for part in parts for value in part[client].values]) for client in parts[0]}
