"""The budgets, each with how to read it off the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._series import Table, number

Tables = dict[str, Table]


@dataclass(frozen=True)
class Budget:
    id: str
    mode: str
    what: str
    limit: float
    at_most: bool
    measure: Callable[[Table], float | None]


def _ratio(client: str, other: str) -> Callable[[Table], float | None]:
    return lambda table: table.ratio(client, other)


def _median(client: str) -> Callable[[Table], float | None]:
    return lambda table: table.rows[client].median


BUDGETS = (
    Budget("P1", "burst", "burst, x raw", 1.5, True, _ratio("asyncllm", "raw")),
    Budget("P2", "burst", "burst, times less CPU than openai", 40, False, _ratio("openai", "asyncllm")),
    Budget("P3", "drip", "100 streams in drip, x raw", 1.3, True, _ratio("asyncllm", "raw")),
    Budget("P3", "drip", "100 streams in drip, times less than openai", 5, False, _ratio("openai", "asyncllm")),
    Budget("P3", "drip", "100 streams in drip, times less than httpx2", 3, False, _ratio("httpx2", "asyncllm")),
    Budget("P4", "crowd", "1000 streams in drip, x raw", 1.5, True, _ratio("asyncllm", "raw")),
    Budget(
        "P4",
        "ends",
        "a request beside 1000 open streams, x one alone",
        1.15,
        True,
        _ratio("asyncllm, 1000 others open", "asyncllm"),
    ),
    Budget("P5", "requests", "a request, x raw", 7, True, _ratio("asyncllm", "raw")),
    Budget("P5", "requests", "a request, times less than openai", 8, False, _ratio("openai", "asyncllm")),
    Budget("P7", "memory", "KiB per open stream", 20, True, _median("asyncllm")),
    Budget("P8", "imports", "import and a client, x importing openai", 0.25, True, _ratio("asyncllm", "openai")),
    Budget(
        "P9", "tools", "a fragment of 20000, x one of 2000", 1.15, True, _ratio("20000 fragments", "2000 fragments")
    ),
)


@dataclass(frozen=True)
class Verdict:
    budget: Budget
    measured: float

    @property
    def ok(self) -> bool:
        limit = self.budget.limit
        return self.measured <= limit if self.budget.at_most else self.measured >= limit

    def as_json(self) -> dict[str, object]:
        budget = self.budget
        return {"id": budget.id, "what": budget.what, "measured": self.measured, "limit": budget.limit, "ok": self.ok}


def judge(tables: Tables) -> list[Verdict]:
    """A verdict for every budget whose mode was measured."""
    verdicts = []
    for budget in BUDGETS:
        if budget.mode in tables and (measured := budget.measure(tables[budget.mode])) is not None:
            verdicts.append(Verdict(budget, measured))
    return verdicts


def as_markdown(verdicts: list[Verdict]) -> str:
    lines = ["| # | what | measured | budget | |", "|---|---|---|---|---|"]
    for verdict in verdicts:
        budget = verdict.budget
        sign = "<=" if budget.at_most else ">="
        word = "ok" if verdict.ok else "**MISS**"
        lines.append(f"| {budget.id} | {budget.what} | {number(verdict.measured)} | {sign} {budget.limit:g} | {word} |")
    return "\n".join(lines)
