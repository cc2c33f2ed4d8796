"""Whether anything grows: in one very long stream, and over very many streams one after another."""

from __future__ import annotations

from .._processes import Machine, WorkerProcess
from .._series import Series, Table
from ._measuring import expect

PARTS = 10


def flat(machine: Machine, quick: bool) -> list[Table]:
    """The resident set at every tenth of the way."""
    events, streams = (200_000, 20_000) if quick else (1_000_000, 100_000)
    inside: dict[str, Series] = {}
    over: dict[str, Series] = {}
    with machine.workers(("asyncllm",)) as (worker,):
        for at, level in enumerate(_inside(worker, events), 1):
            inside[f"asyncllm, {at * events // PARTS} events"] = Series([level])
    with machine.workers(("asyncllm",)) as (worker,):
        for at in range(1, PARTS + 1):
            result = worker.do("streams", model="one", streams=streams // PARTS)
            expect(result["events"], streams // PARTS, worker)
            over[f"asyncllm, {at * streams // PARTS} streams"] = Series([worker.do("resident")["kib"]])
    return [
        Table("flat-stream", "resident set in the course of one stream, which keeps its text", "KiB", inside),
        Table("flat-streams", "resident set after streams one after another", "KiB", over),
    ]


def _inside(worker: WorkerProcess, events: int) -> list[float]:
    result = worker.do("sampled", model=f"flow:{events}", every=events // PARTS)
    # the beginning, usage and finish are events, too
    if not events < result["events"] < events + PARTS:
        raise AssertionError(f"{worker.client} gave {result['events']} events where there are {events} pieces of text")
    levels: list[float] = result["levels"]
    return levels
