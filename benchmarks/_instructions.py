"""Counts the instructions that asyncllm and the floor need, by the difference of a long run and a short one.

The difference cancels all that is not per event: the interpreter's start, imports, the connection, the first answer.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ._processes import upstream

ROOT = Path(__file__).resolve().parent.parent
OURS, FLOOR = "asyncllm", "raw"
CLIENTS = (OURS, FLOOR)
TIMED_ROUNDS = 9
TIME_LIMIT = 300.0
"""Seconds a run may take; it takes three."""
_COUNTED = re.compile(r"I\s+refs:\s+([\d,]+)")


class Load(NamedTuple):
    """What a run asks the upstream for. A "{client}" in `model` becomes the client's name; "" is a run without a client."""

    model: str
    streams: int = 1

    @property
    def at_least(self) -> int:
        """The events that a client gives that loses none."""
        numbers = re.findall(r":(\d+)", self.model)
        return self.streams * (int(numbers[0]) if numbers else bool(self.model))


class Figure(NamedTuple):
    """(`long` - `short`) / `per`. Where instructions cannot be counted, the CPU of `timed` is compared instead.

    `tolerance` is the relative change that is still none; `elsewhere` that of the ratio to the floor, where the build of
    Python is another one.
    """

    name: str
    short: Load
    long: Load
    per: int
    tolerance: float
    elsewhere: float
    timed: Load | None = None


NOTHING = Load("")
FIGURES = (
    Figure("a text delta of a burst", Load("burst:2000"), Load("burst:6000"), 4000, 0.02, 0.15, Load("burst:20000", 4)),
    Figure(
        "a fragment of tool arguments", Load("tools:2000"), Load("tools:6000"), 4000, 0.02, 0.15, Load("tools:20000", 4)
    ),
    Figure("a request", Load("one", 50), Load("one", 250), 200, 0.02, 0.15, Load("one", 400)),
    # 30 ms: many times what a wake-up takes in valgrind, so that no two events are read at once
    Figure("a wake-up", Load("drip:{client}:20:30"), Load("drip:{client}:120:30"), 100, 0.05, 0.15),
    Figure("import, and a client", NOTHING, Load("one", 0), 1, 0.05, 0.4),
    Figure("import, and a first answer", NOTHING, Load("one", 1), 1, 0.05, 0.4),
)


class Bench:
    """A running upstream, and runs of `_instructions_program` against it."""

    def __init__(self, base_url: str, compiled: str) -> None:
        self._base_url = base_url
        # nothing of the user's: what the environment holds moves memory about, and PYTHON* may change what runs
        self._env = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(ROOT),
            "PYTHONHASHSEED": "0",
            "PYTHONPYCACHEPREFIX": compiled,
        }

    def count(self, figures: tuple[Figure, ...]) -> dict[str, dict[str, float]]:
        """Instructions for each figure and client. As many runs at once as there are cores: they do not disturb each other."""
        loads = dict.fromkeys(load for figure in figures for load in (figure.short, figure.long))
        runs = [(client, load) for load in loads for client in CLIENTS]
        warm_ups = [
            (client, figure.short if figure.short.model else figure.long) for figure in figures for client in CLIENTS
        ]
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            # without a count: all modules are compiled afterwards, also those that only one kind of answer needs
            list(pool.map(lambda run: self._run(*run), warm_ups))
            counts = dict(zip(runs, pool.map(lambda run: self._counted(*run), runs), strict=True))
        return {
            figure.name: {
                client: (counts[client, figure.long] - counts[client, figure.short]) / figure.per for client in CLIENTS
            }
            for figure in figures
        }

    def cpu_ratio(self, load: Load) -> float:
        """CPU seconds of asyncllm over those of the floor: the median of rounds in which they take turns."""
        for client in CLIENTS:
            self._run(client, load)
        return median(self._seconds(OURS, load) / self._seconds(FLOOR, load) for _ in range(TIMED_ROUNDS))

    def _seconds(self, client: str, load: Load) -> float:
        return float(json.loads(self._run(client, load).stdout)[1])

    def _counted(self, client: str, load: Load) -> int:
        done = self._run(
            client, load, "valgrind", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null"
        )
        found = _COUNTED.search(done.stderr)
        if found is None:
            raise RuntimeError(f"no count in what valgrind says:\n{done.stderr}")
        return int(found[1].replace(",", ""))

    def _run(self, client: str, load: Load, *under: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-m", "benchmarks._instructions_program"]
        what = [client, self._base_url, load.model.format(client=client), str(load.streams)]
        done = subprocess.run(
            [*under, *program, *what], env=self._env, cwd=ROOT, capture_output=True, text=True, timeout=TIME_LIMIT
        )
        if done.returncode or json.loads(done.stdout)[0] < load.at_least:
            raise RuntimeError(f"{' '.join(what)}: exit code {done.returncode}, {done.stdout}\n{done.stderr}")
        return done


@contextmanager
def bench() -> Iterator[Bench]:
    with tempfile.TemporaryDirectory(prefix="instructions-") as compiled, upstream() as machine:
        yield Bench(machine.base_url, compiled)


def counter() -> str | None:
    """What counts, or None where nothing does."""
    if shutil.which("valgrind") is None:
        return None
    return subprocess.run(["valgrind", "--version"], capture_output=True, text=True, check=True).stdout.strip()
