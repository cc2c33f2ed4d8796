"""What the modes share: events counted, and CPU per event."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

from .._processes import Machine, WorkerProcess
from .._schedule import Drip
from .._series import Series, interleaved, joined

FOUR = ("raw", "asyncllm", "httpx2", "openai")
"""The floor, us, and the two clients that most libraries are made of."""
ON_UVLOOP = ("raw on uvloop", "asyncllm on uvloop")


def in_fresh_processes(
    machine: Machine,
    clients: Sequence[str],
    *,
    sets: int,
    rounds: int,
    measure: Callable[[WorkerProcess], float],
    warm_up: int = 2,
) -> dict[str, Series]:
    """Several sets of workers one after another: how memory happens to be laid out in a process is worth up to 20 %."""
    parts = []
    for _ in range(sets):
        with machine.workers(clients) as workers:
            parts.append(interleaved(by_client(workers), rounds, measure, warm_up=warm_up))
    return joined(parts)


def by_client(workers: Sequence[WorkerProcess]) -> dict[str, WorkerProcess]:
    return {worker.client: worker for worker in workers}


def per_event(worker: WorkerProcess, model: str, *, streams: int, expected: int) -> float:
    """µs of CPU for each event of `streams` answers one after another, of `expected` events each."""
    result = worker.do("streams", model=model, streams=streams)
    expect(result["events"], streams * expected, worker)
    return float(result["cpu"] / result["events"] * 1e6)


def drip(worker: WorkerProcess, streams: int, events: int, interval: int) -> dict[str, Any]:
    """`streams` streams at once, each with an event every `interval` ms."""
    group = re.sub(r"\W+", "-", worker.client)
    result = worker.do("drip", model=Drip(group, events, interval).model, streams=streams)
    # one more event is in each stream's opening; it is read before the clock runs
    expect(result["events"], streams * (events + 1), worker)
    return result


def drip_per_event(worker: WorkerProcess, streams: int, events: int, interval: int) -> float:
    """The same as µs of CPU for each event; or, where there are no events, for each stream's end."""
    return float(drip(worker, streams, events, interval)["cpu"] / (streams * max(events, 1)) * 1e6)


def expect(events: float, expected: int, worker: WorkerProcess) -> None:
    """A client that loses events is not fast."""
    if events != expected:
        raise AssertionError(f"{worker.client} gave {events} events instead of {expected}")
