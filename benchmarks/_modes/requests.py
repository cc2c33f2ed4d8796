"""What it costs to begin a stream and to end it, alone and beside many that are open."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from .._processes import Machine, WorkerProcess
from .._series import Table, interleaved
from ._measuring import FOUR, ON_UVLOOP, drip_per_event, expect, in_fresh_processes

FEW, MANY = 100, 1000
ENDS_IN_A_MILLISECOND = 4
_TWO = ("raw", "asyncllm")


def requests(machine: Machine, quick: bool) -> list[Table]:
    return [request_table(machine, (*FOUR, *ON_UVLOOP, "aiohttp"), quick)]


def request_table(machine: Machine, clients: Sequence[str], quick: bool) -> Table:
    sets, rounds = (1, 3) if quick else (3, 6)
    rows = in_fresh_processes(
        machine, clients, sets=sets, rounds=rounds, measure=lambda worker: _per_request(worker, 400 // worker.slow)
    )
    return Table("requests", "requests one after another, each answered by one text delta", "µs/request", rows)


def _per_request(worker: WorkerProcess, count: int) -> float:
    result = worker.do("streams", model="one", streams=count)
    expect(result["events"], count, worker)
    return float(result["cpu"] / count * 1e6)


def ends(machine: Machine, quick: bool) -> list[Table]:
    """Whether a request, or the end of a stream, costs more where there are many streams."""
    return [_beside(machine, quick), _ending(machine, quick)]


def _beside(machine: Machine, quick: bool) -> Table:
    """In turns alone and beside the others, in the same process: another one may be slower by how its memory lies."""
    with machine.workers(_TWO) as workers:
        cases = {worker.client: (worker, 0) for worker in workers}
        cases |= {f"{worker.client}, {MANY} others open": (worker, MANY) for worker in workers}
        rows = interleaved(cases, 3 if quick else 7, _request_beside, warm_up=1)
    return Table("ends", "requests one after another, beside streams that are open", "µs/request", rows)


def _request_beside(case: tuple[WorkerProcess, int]) -> float:
    """The median of several measurements: single ones differ by a third."""
    worker, others = case
    if others:
        worker.do("hold", streams=others)
    cost = median(_per_request(worker, 200) for _ in range(7))
    if others:
        worker.do("release")
    return cost


def _ending(machine: Machine, quick: bool) -> Table:
    with machine.workers(_TWO) as workers:
        cases = {f"{worker.client}, {count} streams": (worker, count) for count in (FEW, MANY) for worker in workers}
        # no events but the one of the opening
        rows = interleaved(
            cases, 3 if quick else 7, lambda case: drip_per_event(*case, 0, case[1] // ENDS_IN_A_MILLISECOND), warm_up=1
        )
    what = f"streams that are open come to their end, {ENDS_IN_A_MILLISECOND} a millisecond"
    return Table("ending", what, "µs/stream", rows)
