"""What is measured, one function a mode. Each returns a table; see README.md for what the numbers mean."""

from __future__ import annotations

import json
from collections.abc import Callable

from ._processes import Machine, WorkerProcess, spawn
from ._series import Series, Table, interleaved, joined

ALL = ("raw", "asyncllm", "httpx2", "openai")
SLOW = {"httpx2": 5, "openai": 20}
"""How many times fewer answers these give in a round, so that a round of theirs is about as long."""

NEVER_IMPORTED = ("openai", "pydantic", "anyio.from_thread")
_IMPORT = """
import json, resource, sys
def cpu():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
before = cpu()
{code}
print(json.dumps([cpu() - before, [name for name in {banned!r} if name in sys.modules]]))
"""
_MAKE = "import asyncllm\nclient = asyncllm.Client('openai/gpt-5-mini', api_key='x')\n"
_IMPORTS = {
    "asyncllm": _MAKE,
    "asyncllm, ready to send": _MAKE + "import asyncio\nasyncio.run(client.__aenter__())",
    "httpx2": "import httpx2",
    "openai": "import openai",
}


def burst(machine: Machine, quick: bool) -> Table:
    events = 20_000
    what = f"an answer of {events} text deltas, all there at once"

    def measure(worker: WorkerProcess) -> float:
        count = events // SLOW.get(worker.client, 1)
        return _per_event(worker, f"burst:{count}", streams=1 if worker.client in SLOW else 3, expected=count)

    return Table("burst", what, "µs/event", _in_fresh_processes(machine, 3, 3 if quick else 6, measure))


def drip(machine: Machine, quick: bool) -> Table:
    return _drip(machine, "drip", 100, 40, 50, 3 if quick else 5)


def crowd(machine: Machine, quick: bool) -> Table:
    return _drip(machine, "crowd", 1000, 8, 250, 2 if quick else 4, clients=("raw", "asyncllm"))


def _drip(
    machine: Machine, mode: str, streams: int, events: int, interval: int, rounds: int, clients: tuple[str, ...] = ALL
) -> Table:
    def measure(worker: WorkerProcess) -> float:
        # one more event is in each stream's opening; it is read when the clock runs
        model = f"drip:{worker.client}:{events}:{interval}"
        result = worker.do("drip", model=model, streams=streams)
        _expect(result["events"], streams * (events + 1), worker)
        return result["cpu"] / result["events"] * 1e6

    with machine.workers(clients) as workers:
        what = f"{streams} streams at {1000 // interval} events a second each"
        return Table(mode, what, "µs/event", interleaved(workers, rounds, measure, warm_up=1))


def requests(machine: Machine, quick: bool) -> Table:
    def measure(worker: WorkerProcess) -> float:
        count = 400 // SLOW.get(worker.client, 1)
        result = worker.do("streams", model="one", streams=count)
        _expect(result["events"], count, worker)
        return result["cpu"] / count * 1e6

    what = "requests one after another, each answered by one text delta"
    return Table("requests", what, "µs/request", _in_fresh_processes(machine, 3, 3 if quick else 6, measure))


def ends(machine: Machine, quick: bool) -> Table:
    """Whether a request and the end of its stream cost more while 1000 others are open."""

    def measure(worker: WorkerProcess) -> float:
        return worker.do("streams", model="one", streams=200)["cpu"] / 200 * 1e6

    rows: dict[str, Series] = {}
    with machine.workers(("raw", "asyncllm")) as workers:
        for held in (0, 1000):
            for worker in workers:
                worker.do("hold", streams=held)
            for client, series in interleaved(workers, 5 if quick else 9, measure).items():
                rows[client if not held else f"{client}, {held} others open"] = series
    return Table("ends", "requests one after another, beside streams that are open", "µs/request", rows)


def memory(machine: Machine, quick: bool) -> Table:
    """A fresh process every time: memory that was freed would hide what is taken."""
    rows = {client: Series() for client in ALL}
    for _ in range(1 if quick else 3):
        for client in ALL:
            with machine.workers((client,)) as (worker,):
                rows[client].values.append(worker.do("hold", streams=1000)["kib"] / 1000)
    return Table("memory", "1000 streams that are open and silent, growth of the resident set", "KiB/stream", rows)


def tools(machine: Machine, quick: bool) -> Table:
    """The floor of this table is the short call: what a fragment costs in a long one must not be more."""
    short, long = 2_000, 20_000
    rows: dict[str, Series] = {name: Series() for name in (f"{short} fragments", f"{long} fragments")}
    with machine.workers(("asyncllm",)) as (worker,):
        for at in range(-1, 5 if quick else 11):
            # the delta that names the call is an event, too
            values = [_per_event(worker, f"tools:{n}", streams=2 * long // n, expected=n + 1) for n in (short, long)]
            if at >= 0:
                for series, value in zip(rows.values(), values, strict=True):
                    series.values.append(value)
    return Table("tools", "one tool call whose arguments come in fragments", "µs/fragment", rows)


def imports(machine: Machine, quick: bool) -> Table:
    """In fresh interpreters; what the interpreter itself costs is not counted."""
    rows = {name: Series() for name in _IMPORTS}
    for at in range(-1, 5 if quick else 9):
        for name, code in _IMPORTS.items():
            output, _ = spawn("-c", _IMPORT.format(code=code, banned=NEVER_IMPORTED)).communicate()
            seconds, banned = json.loads(output)
            if name.startswith("asyncllm") and banned:
                raise AssertionError(f"{name} imports {', '.join(banned)}")
            if at >= 0:
                rows[name].values.append(seconds * 1000)
    return Table("imports", "importing the library (and making a client, for asyncllm)", "CPU ms", rows)


Mode = Callable[[Machine, bool], Table]
MODES: dict[str, Mode] = {
    "burst": burst,
    "drip": drip,
    "requests": requests,
    "memory": memory,
    "imports": imports,
    "tools": tools,
    "crowd": crowd,
    "ends": ends,
}


def _in_fresh_processes(
    machine: Machine, sets: int, rounds: int, measure: Callable[[WorkerProcess], float]
) -> dict[str, Series]:
    """Several sets of workers one after another: how memory happens to be laid out in a process is worth up to 20 %."""
    parts = []
    for _ in range(sets):
        with machine.workers(ALL) as workers:
            parts.append(interleaved(workers, rounds, measure))
    return joined(parts)


def _per_event(worker: WorkerProcess, model: str, *, streams: int, expected: int) -> float:
    result = worker.do("streams", model=model, streams=streams)
    _expect(result["events"], streams * expected, worker)
    return result["cpu"] / result["events"] * 1e6


def _expect(events: float, expected: int, worker: WorkerProcess) -> None:
    """A client that loses events is not fast."""
    if events != expected:
        raise AssertionError(f"{worker.client} gave {events} events instead of {expected}")
