"""Very many streams on one loop: what an event costs, and whether all of them are served alike."""

from __future__ import annotations

from statistics import quantiles

from .._processes import Machine
from .._series import Series, Table
from ._measuring import drip

STREAMS = 5000
_EVENTS = 5
_INTERVAL = 1000


def swarm(machine: Machine, quick: bool) -> list[Table]:
    """A round of a client's begins with opening all the streams, which is not counted."""
    costs: dict[str, Series] = {}
    late: dict[str, Series] = {}
    clients = ("raw", "asyncllm")
    with machine.workers(clients) as workers:
        for _ in range(1 if quick else 3):
            for worker in workers:
                result = drip(worker, STREAMS, _EVENTS, _INTERVAL)
                cost = result["cpu"] / (STREAMS * _EVENTS) * 1e6
                costs.setdefault(f"{worker.client}, {STREAMS} streams", Series()).values.append(cost)
                for measure, value in _lateness(result["late"]).items():
                    late.setdefault(f"{worker.client}, {measure}", Series()).values.append(value)
    return [
        Table("swarm", f"{STREAMS} streams at an event a second each", "µs/event", costs),
        Table("lateness", "of these streams: how long after its schedule each one ended", "ms", late),
    ]


def _lateness(late: list[float]) -> dict[str, float]:
    parts = quantiles(late, n=100, method="inclusive")
    return {"p50": parts[49], "p99": parts[98], "max": max(late), "spread": max(late) - min(late)}
