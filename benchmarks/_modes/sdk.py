"""asyncllm over a user's own openai client: with the HTTP client of the SDK's own, and with one of ours under it."""

from __future__ import annotations

from .._processes import Machine
from .._series import Table
from . import drips
from .bursts import EVENTS, burst_rows

OURS = "asyncllm over AsyncOpenAI with our transport"
_THREE = ("raw", OURS, "asyncllm over AsyncOpenAI")


def sdk(machine: Machine, quick: bool) -> list[Table]:
    bursts = burst_rows(machine, (*_THREE, "openai"), quick, sets=2)
    dripped = drips.drip_rows(machine, _THREE, rounds=2 if quick else 3)
    return [
        Table("sdk-burst", f"a user's own openai client, {EVENTS} text deltas at once", "µs/event", bursts),
        Table("sdk-drip", f"a user's own openai client, {drips.WHAT}", "µs/event", dripped),
    ]
