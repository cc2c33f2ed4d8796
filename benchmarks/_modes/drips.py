"""Streams at the pace of models: mostly the turn of the event loop that each event costs anybody."""

from __future__ import annotations

from collections.abc import Sequence

from .._processes import Machine
from .._series import Series, Table
from ._measuring import FOUR, ON_UVLOOP, drip_per_event, in_fresh_processes

WHAT = "100 streams at 20 events a second each"


def drip(machine: Machine, quick: bool) -> list[Table]:
    return [drip_table(machine, (*FOUR, *ON_UVLOOP, "aiohttp"), quick)]


def crowd(machine: Machine, quick: bool) -> list[Table]:
    rows = drip_rows(machine, ("raw", "asyncllm"), rounds=2 if quick else 4, streams=1000, events=8, interval=250)
    return [Table("crowd", "1000 streams at 4 events a second each", "µs/event", rows)]


def drip_table(machine: Machine, clients: Sequence[str], quick: bool) -> Table:
    sets, rounds = (1, 2) if quick else (3, 2)
    return Table("drip", WHAT, "µs/event", drip_rows(machine, clients, sets=sets, rounds=rounds))


def drip_rows(
    machine: Machine,
    clients: Sequence[str],
    *,
    sets: int = 1,
    rounds: int,
    streams: int = 100,
    events: int = 20,
    interval: int = 50,
) -> dict[str, Series]:
    return in_fresh_processes(
        machine,
        clients,
        sets=sets,
        rounds=rounds,
        measure=lambda worker: drip_per_event(worker, streams, events, interval),
        warm_up=1,
    )
