"""What an open stream holds."""

from __future__ import annotations

from collections.abc import Sequence

from .._processes import Machine
from .._series import Series, Table
from ._measuring import FOUR

STREAMS = 1000


def memory(machine: Machine, quick: bool) -> list[Table]:
    return [memory_table(machine, FOUR, quick)]


def memory_table(machine: Machine, clients: Sequence[str], quick: bool) -> Table:
    """A fresh process every time: memory that was freed would hide what is taken."""
    rows = {client: Series() for client in clients}
    for _ in range(1 if quick else 3):
        for client in clients:
            with machine.workers((client,)) as (worker,):
                rows[client].values.append(worker.do("hold", streams=STREAMS)["kib"] / STREAMS)
    what = f"{STREAMS} streams that are open and silent, growth of the resident set"
    return Table("memory", what, "KiB/stream", rows)
