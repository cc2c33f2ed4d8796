"""Whether asyncllm needs more instructions than it did: a guard that does not depend on the speed of the machine.

    python -m benchmarks.check              compares with results/instructions.json; exit code 1 if something became dearer
    python -m benchmarks.check --record     writes that file, after a change that was worth it or made something cheaper

What is counted. valgrind counts the instructions of the client's process, without the kernel's. The client is the one
of the benchmarks, over a real socket on loopback; its upstream runs beside it and is not counted. Each figure is the
difference of a long run and a short one, so that the interpreter's start cancels. Environment, hash seed and bytecode
are the same in all runs.

How exact it is. Run again, every figure but one is the same to 0.05 %, also with eight busy processes on two cores. So
the socket stays real: under valgrind the client is that much slower than its upstream that all bytes are there when it
reads. The exception is a wake-up: on a crowded machine two events may be read at once, which was worth 3 %. What moves
things in memory, as another hash seed or a larger environment, changes text by 0.1 %, fragments by 0.2 %, requests and
wake-ups by 0.5 %; so does an innocent change of the code. Hence the tolerances: 2 %, and 5 % for wake-ups, and for
imports, which grow with the library.

Elsewhere. Builds of Python differ by up to 20 % (3.11 with and without PGO, 3.12, 3.13), and their ratios to the floor
by up to 10 %, those of imports by 25 %. Where the build is not the recorded one, ratios are compared and nothing else.
Without valgrind it is CPU time over the floor's, with 30 %: this finds what is quadratic, and little else. `perf` would
be faster, but most virtual machines have no counters for it, and at full speed the number of reads is a matter of
chance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from platform import machine, python_compiler, python_version
from sysconfig import get_config_var
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ._instructions import FIGURES, FLOOR, OURS, Figure, bench, counter

FILE = Path(__file__).parent / "results" / "instructions.json"
COMMAND = "python -m benchmarks.check --record"
CPU_TOLERANCE = 0.3
LIBRARIES = ("httptools", "httpx2", "msgspec")


class Build(Struct, frozen=True):
    """What makes counts comparable."""

    python: str
    machine: str
    compiler: str
    optimized: bool

    @classmethod
    def here(cls) -> Build:
        minor = ".".join(python_version().split(".")[:2])
        optimized = "--enable-optimizations" in (get_config_var("CONFIG_ARGS") or "")
        return cls(minor, machine(), python_compiler(), optimized)


class Cost(Struct, frozen=True):
    """Instructions, and where they are compared the ratio of CPU seconds to the floor's."""

    asyncllm: float
    raw: float
    cpu_ratio: float | None = None

    @property
    def ratio(self) -> float:
        return self.asyncllm / self.raw


class Record(Struct, frozen=True):
    """`results/instructions.json`."""

    command: str
    counter: str
    build: Build
    libraries: dict[str, str]
    figures: dict[str, Cost]


class Row(NamedTuple):
    """A guarded number: then, now, and the change that is still none."""

    what: str
    recorded: float
    now: float
    tolerance: float

    @property
    def change(self) -> float:
        return self.now / self.recorded - 1

    @property
    def verdict(self) -> str:
        if abs(self.change) <= self.tolerance:
            return "ok"
        return "DEARER" if self.change > 0 else "cheaper"


def libraries() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def measured() -> dict[str, Cost]:
    with bench() as runs:
        counts = runs.count(FIGURES)
    return {name: Cost(round(count[OURS]), round(count[FLOOR])) for name, count in counts.items()}


def cpu_ratios() -> dict[str, float]:
    with bench() as runs:
        return {figure.name: round(runs.cpu_ratio(figure.timed), 2) for figure in FIGURES if figure.timed is not None}


def record(counted_by: str) -> Record:
    ratios = cpu_ratios()
    figures = {name: Cost(cost.asyncllm, cost.raw, ratios.get(name)) for name, cost in measured().items()}
    written = Record(COMMAND, counted_by, Build.here(), libraries(), figures)
    FILE.write_bytes(msgspec.json.format(msgspec.json.encode(written), indent=1) + b"\n")
    return written


def by_instructions(then: Record) -> Iterator[Row]:
    same = then.build == Build.here()
    if not same:
        print(f"Recorded with {then.build}, this is {Build.here()}: only ratios are compared.\n")
    now = measured()
    for figure, was in known(then):
        cost = now[figure.name]
        if same:
            yield Row(f"{figure.name}, instructions", was.asyncllm, cost.asyncllm, figure.tolerance)
        yield Row(f"{figure.name}, x {FLOOR}", was.ratio, cost.ratio, figure.tolerance if same else figure.elsewhere)


def by_cpu(then: Record) -> Iterator[Row]:
    print("There is no valgrind: CPU time over the floor's is compared, which is much coarser.\n")
    now = cpu_ratios()
    for figure, was in known(then):
        if was.cpu_ratio is not None:
            yield Row(f"{figure.name}, CPU x {FLOOR}", was.cpu_ratio, now[figure.name], CPU_TOLERANCE)


def known(then: Record) -> Iterator[tuple[Figure, Cost]]:
    for figure in FIGURES:
        if figure.name in then.figures:
            yield figure, then.figures[figure.name]
        else:
            print(f"{figure.name}: not recorded")


def table(rows: list[Row]) -> str:
    lines = [f"{'':44}{'recorded':>14}{'now':>14}{'change':>10}  verdict"]
    for row in rows:
        digits = ",.0f" if row.recorded > 1000 else ".2f"
        numbers = f"{row.recorded:>14{digits}}{row.now:>14{digits}}{row.change:>+10.1%}"
        lines.append(f"{row.what:44}{numbers}  {row.verdict}")
    return "\n".join(lines)


def compare(then: Record, rows_of: Callable[[Record], Iterator[Row]]) -> int:
    rows = list(rows_of(then))
    print(table(rows))
    if then.libraries != libraries():
        print(f"\nRecorded with {then.libraries}, this is {libraries()}: a change may be theirs.")
    verdicts = {row.verdict for row in rows}
    if "cheaper" in verdicts:
        print(f"\nSomething became cheaper. So that it stays so, record the new figure: {COMMAND}")
    if "DEARER" in verdicts:
        print(f"\nSomething became dearer. If it is worth that, record the new figure: {COMMAND}")
    return "DEARER" in verdicts


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.check")
    parser.add_argument(
        "--record", action="store_true", help="write results/instructions.json instead of comparing with it"
    )
    chosen = parser.parse_args()
    counted_by = counter()
    if chosen.record:
        if counted_by is None:
            parser.error("there is no valgrind to count with")
        print(msgspec.json.format(msgspec.json.encode(record(counted_by).figures), indent=1).decode())
        return 0
    if not FILE.exists():
        parser.error(f"nothing is recorded: {COMMAND}")
    then = msgspec.json.decode(FILE.read_bytes(), type=Record)
    return compare(then, by_cpu if counted_by is None else by_instructions)


if __name__ == "__main__":
    sys.exit(main())
