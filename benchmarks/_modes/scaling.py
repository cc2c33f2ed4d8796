"""The cost of an event against the number of streams."""

from __future__ import annotations

from .._processes import Machine
from .._series import Table, interleaved
from ._measuring import FOUR, drip_per_event

_SCALES = {1: (500, 1), 10: (50, 10), 100: (8, 100), 1000: (4, 500)}
"""Streams, and their events and interval (ms): 1000 events a second together, 2000 where there are 1000 streams."""


def scaling(machine: Machine, quick: bool) -> list[Table]:
    """Every stream has its end in it, too: where that costs more and more, so does the event."""
    with machine.workers(FOUR) as workers:
        cases = {
            f"{worker.client}, {streams} streams": (worker, streams, *scale)
            for streams, scale in _SCALES.items()
            for worker in workers
        }
        rows = interleaved(cases, 1 if quick else 2, lambda case: drip_per_event(*case), warm_up=0)
    return [Table("scaling", "an event, by the number of streams that are open", "µs/event", rows)]


def add_swarm(tables: dict[str, Table]) -> None:
    """The largest number of streams is measured by the swarm."""
    if "scaling" in tables and "swarm" in tables:
        tables["scaling"].rows |= tables["swarm"].rows
