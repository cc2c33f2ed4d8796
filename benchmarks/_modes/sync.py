"""The facade for blocking callers, against a floor that blocks: its thread is counted, too."""

from __future__ import annotations

from .._processes import Machine
from .._series import Table
from .bursts import EVENTS, burst_rows
from .drips import drip_rows

FLOOR = "raw blocking"
OURS = "asyncllm SyncClient"
_INTERVAL = 4


def sync(machine: Machine, quick: bool) -> list[Table]:
    bursts = burst_rows(machine, (FLOOR, OURS), quick)
    rounds = 3 if quick else 7
    one = drip_rows(machine, (FLOOR, OURS), rounds=rounds, streams=1, events=250, interval=_INTERVAL)
    return [
        Table("sync-burst", f"blocking callers, {EVENTS} text deltas at once", "µs/event", bursts, FLOOR),
        Table("sync-drip", f"blocking callers, one stream, an event every {_INTERVAL} ms", "µs/event", one, FLOOR),
    ]
