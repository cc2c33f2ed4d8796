"""The budgets, each with how to read it off the tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ._answers import TEXT_BYTES
from ._modes.flat import PARTS
from ._modes.loop import OURS as RUN
from ._modes.loop import PEERS as AGENTS
from ._modes.requests import FEW, MANY
from ._modes.sdk import OURS as OVER_SDK
from ._modes.sync import FLOOR as BLOCKING
from ._modes.sync import OURS as FACADE
from ._modes.tools import LONG, SHORT
from ._modes.wires import CHAT, SDKS
from ._series import Table, number
from .clients import ROWS

Tables = dict[str, Table]
NOT_MEASURED = "not measured (make bench-peers)"


@dataclass(frozen=True)
class Budget:
    """`table` is where it is read; `measure` gives None if the table lacks a row, as where the `peer` is not installed."""

    id: str
    table: str
    what: str
    limit: float
    at_most: bool
    measure: Callable[[Table], float | None]
    peer: str = ""


def _times(id: str, table: str, what: str, limit: float, other: str = "raw", *, row: str = "asyncllm") -> Budget:
    """At most `limit` times the cost of another row."""
    return Budget(id, table, what, limit, True, lambda measured: measured.ratio(row, other))


def _less(id: str, table: str, what: str, limit: float, other: str, *, row: str = "asyncllm") -> Budget:
    """At least `limit` times less than another client."""
    what = f"{what}, times less than {other}"
    return Budget(id, table, what, limit, False, lambda measured: measured.ratio(other, row), ROWS[other].peer)


def _amount(id: str, table: str, what: str, limit: float, row: str) -> Budget:
    return Budget(id, table, what, limit, True, lambda measured: measured.rows[row].median)


def _growth(table: Table, begin: int) -> float:
    """KiB between `begin` tenths of the way and its end."""
    levels = [series.median for series in table.rows.values()]
    return levels[-1] - levels[begin - 1]


def _growth_at_the_end(table: Table) -> float:
    return _growth(table, PARTS // 2)


def _bytes_beside_text(table: Table) -> float:
    """By which the resident set grows for each event of a stream, without the text, which the stream keeps.

    A pointer kept for each event would be 8, a string of its own 55; what the allocator rounds is about 1.
    """
    events = int(list(table.rows)[-1].split()[-2])
    begin = 2
    return _growth(table, begin) * 1024 / (events * (PARTS - begin) / PARTS) - TEXT_BYTES


BUDGETS = (
    _times("P1", "burst", "burst, x raw", 1.5),
    _less("P2", "burst", "burst", 40, "openai"),
    _less("P2", "burst", "burst", 100, "litellm"),
    _less("P2", "burst", "burst", 20, "liter-llm"),
    _times("P3", "drip", "100 streams in drip, x raw", 1.3),
    _times("P3", "drip", "the same on uvloop, x raw on uvloop", 1.3, "raw on uvloop", row="asyncllm on uvloop"),
    _less("P3", "drip", "100 streams in drip", 5, "openai"),
    _less("P3", "drip", "100 streams in drip", 3, "httpx2"),
    _times("P4", "crowd", "1000 streams in drip, x raw", 1.5),
    _times(
        "P4",
        "ends",
        "a request beside 1000 open streams, x one alone",
        1.15,
        "asyncllm",
        row="asyncllm, 1000 others open",
    ),
    _amount("P4", "ending", f"the end of a stream of {MANY}, µs", 100, f"asyncllm, {MANY} streams"),
    _times(
        "P4",
        "ending",
        f"the end of a stream of {MANY}, x one of {FEW}",
        1.25,
        f"asyncllm, {FEW} streams",
        row=f"asyncllm, {MANY} streams",
    ),
    _times("P5", "requests", "a request, x raw", 7),
    _less("P5", "requests", "a request", 8, "openai"),
    _times("P6", "sdk-burst", "burst over a user's own openai client, x raw", 1.8, row=OVER_SDK),
    _times("P6", "sdk-drip", "100 streams in drip over it, x raw", 1.8, row=OVER_SDK),
    _amount("P7", "memory", "KiB per open stream", 20, "asyncllm"),
    _times("P8", "imports", "import and a client, x importing openai", 0.25, "openai"),
    _times(
        "P9",
        "tools",
        f"a fragment of {LONG}, x one of {SHORT}",
        1.15,
        f"asyncllm, {SHORT} fragments",
        row=f"asyncllm, {LONG} fragments",
    ),
    _times("P10", "sync-burst", "burst for a blocking caller, x a blocking reader", 1.3, BLOCKING, row=FACADE),
    _times(
        "P10", "sync-drip", "one stream in drip for a blocking caller, x a blocking reader", 2.5, BLOCKING, row=FACADE
    ),
    _times("P11", "tls-burst", "burst over TLS, x raw over TLS", 1.5),
    _times("P11", "tls-drip", "100 streams in drip over TLS, x raw over TLS", 1.3),
    Budget("P12", "flat-stream", "bytes an event of one long stream beside its text", 4, True, _bytes_beside_text),
    Budget("P12", "flat-streams", "KiB grown over the second half of very many streams", 512, True, _growth_at_the_end),
    *(_times("W1", "wires", f"burst, {ours}, x chat", 2, CHAT, row=ours) for ours in SDKS),
    *(_less("W2", "wires", f"burst, {ours}", 5, sdk, row=ours) for ours, sdk in SDKS.items()),
    *(_less("L1", "loop", "a run of three steps with tools", 3, agent, row=RUN) for agent in AGENTS),
)


@dataclass(frozen=True)
class Verdict:
    """`measured` is None where a peer is missing."""

    budget: Budget
    measured: float | None

    @property
    def ok(self) -> bool | None:
        if self.measured is None:
            return None
        limit = self.budget.limit
        return self.measured <= limit if self.budget.at_most else self.measured >= limit

    def as_json(self) -> dict[str, object]:
        budget = self.budget
        return {"id": budget.id, "what": budget.what, "measured": self.measured, "limit": budget.limit, "ok": self.ok}

    def as_markdown(self) -> str:
        budget = self.budget
        limit = f"{'<=' if budget.at_most else '>='} {budget.limit:g}"
        if self.measured is None:
            return f"| {budget.id} | {budget.what} | {NOT_MEASURED} | {limit} | |"
        return (
            f"| {budget.id} | {budget.what} | {number(self.measured)} | {limit} | {'ok' if self.ok else '**MISS**'} |"
        )


def judge(tables: Tables) -> list[Verdict]:
    """A verdict for every budget whose rows were measured, or could be if a peer were installed."""
    found = [Verdict(budget, budget.measure(tables[budget.table])) for budget in BUDGETS if budget.table in tables]
    return [verdict for verdict in found if verdict.measured is not None or verdict.budget.peer]


def as_markdown(verdicts: list[Verdict]) -> str:
    lines = ["| # | what | measured | budget | |", "|---|---|---|---|---|"]
    return "\n".join(lines + [verdict.as_markdown() for verdict in verdicts])
