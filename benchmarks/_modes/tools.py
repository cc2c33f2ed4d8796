"""Tool calls of different lengths: a fragment of a long one must not cost more than one of a short one."""

from __future__ import annotations

from .._processes import Machine, WorkerProcess
from .._series import Table, interleaved
from ._measuring import per_event

SHORT, LONG = 2_000, 20_000
_LENGTHS = (200, SHORT, LONG)
_LENGTHS_OF_HELPER = (200, 2_000, 5_000)
"""Its cost grows with the length: longer ones take too long."""


def tools(machine: Machine, quick: bool) -> list[Table]:
    with machine.workers(("asyncllm", "openai .stream()")) as (ours, helper):

        def ours_per_fragment(length: int) -> float:
            # the delta that names the call is an event, too
            return per_event(ours, f"tools:{length}", streams=2 * LONG // length, expected=length + 1)

        def helper_per_fragment(length: int) -> float:
            return per_event(helper, f"tools:{length}", streams=max(1, 1000 // length), expected=length)

        rows = interleaved(_cases(ours, _LENGTHS), 5 if quick else 11, ours_per_fragment, warm_up=1)
        rows |= interleaved(_cases(helper, _LENGTHS_OF_HELPER), 1 if quick else 3, helper_per_fragment, warm_up=1)
    return [Table("tools", "one tool call whose arguments come in fragments, with its request", "µs/fragment", rows)]


def _cases(worker: WorkerProcess, lengths: tuple[int, ...]) -> dict[str, int]:
    return {f"{worker.client}, {length} fragments": length for length in lengths}
