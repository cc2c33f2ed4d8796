"""Answers that are there all at once: the cost of the code alone."""

from __future__ import annotations

from collections.abc import Sequence

from .._answers import COALESCED
from .._processes import Machine, WorkerProcess, measurable
from .._series import Series, Table
from ._measuring import FOUR, ON_UVLOOP, in_fresh_processes, per_event

EVENTS = 20_000
_CLIENTS = (
    *FOUR,
    *ON_UVLOOP,
    "asyncllm stream.text",
    "asyncllm stream.batches()",
    "aiohttp",
    "openai .stream()",
    "liter-llm",
    "litellm",
)


def burst(machine: Machine, quick: bool) -> list[Table]:
    return [burst_table(machine, measurable(_CLIENTS), quick)]


def coalesced(machine: Machine, quick: bool) -> list[Table]:
    what = f"the same with {COALESCED} of them in each HTTP chunk"
    rows = burst_rows(machine, (*FOUR, "aiohttp"), quick, kind="coalesced", sets=2)
    return [Table("coalesced", what, "µs/event", rows)]


def burst_table(machine: Machine, clients: Sequence[str], quick: bool) -> Table:
    what = f"an answer of {EVENTS} text deltas, all there at once"
    return Table("burst", what, "µs/event", burst_rows(machine, clients, quick))


def burst_rows(
    machine: Machine, clients: Sequence[str], quick: bool, *, kind: str = "burst", sets: int = 3
) -> dict[str, Series]:
    def measure(worker: WorkerProcess) -> float:
        count = EVENTS // worker.slow
        return per_event(worker, f"{kind}:{count}", streams=1 if worker.slow > 1 else 3, expected=count)

    return in_fresh_processes(machine, clients, sets=1 if quick else sets, rounds=3 if quick else 5, measure=measure)
