"""Runs with tools: answers of the model and the calls of two functions between them, by the loops of several libraries."""

from __future__ import annotations

from .._loop_answers import PIECES, STEPS
from .._processes import Machine, WorkerProcess, measurable
from .._series import Table
from ._measuring import expect, in_fresh_processes

OURS = "asyncllm run"
PEERS = ("pydantic-ai agent", "openai-agents")
_FLOOR = "raw loop"
_RUNS = 200


def loop(machine: Machine, quick: bool) -> list[Table]:
    clients = measurable((_FLOOR, OURS, "asyncllm loop by hand", *PEERS))
    sets, rounds = (1, 4) if quick else (3, 6)
    rows = in_fresh_processes(machine, clients, sets=sets, rounds=rounds, measure=_per_run)
    return [Table("loop", f"a run of {STEPS} steps with two tools, streamed", "µs/run", rows, _FLOOR)]


def _per_run(worker: WorkerProcess) -> float:
    count = _RUNS // worker.slow
    result = worker.do("streams", model="loop", streams=count)
    expect(result["events"], count * PIECES, worker)
    return float(result["cpu"] / count * 1e6)
