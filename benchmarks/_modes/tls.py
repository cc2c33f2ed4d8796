"""The same over TLS, against a floor over TLS. The upstream has a certificate of an authority that all clients verify."""

from __future__ import annotations

from .._processes import Machine, upstream
from .._series import Table
from . import drips
from ._measuring import FOUR
from .bursts import EVENTS, burst_rows


def tls(_: Machine, quick: bool) -> list[Table]:
    with upstream(tls=True) as machine:
        bursts = burst_rows(machine, FOUR, quick, sets=2)
        dripped = drips.drip_rows(machine, FOUR, rounds=2 if quick else 3)
    return [
        Table("tls-burst", f"over TLS: {EVENTS} text deltas, all there at once", "µs/event", bursts),
        Table("tls-drip", f"over TLS: {drips.WHAT}", "µs/event", dripped),
    ]
