"""Measures asyncllm against the floor and against other clients, and holds the result against the budgets.

    python -m benchmarks.run [--quick] [--only burst,requests] [--check] [--json FILE]
    python -m benchmarks.run --peers [...]       the libraries of `benchmarks/peers` beside the floor

A whole run writes results/latest.md and latest.json (with --peers: peers.md and peers.json) and draws the charts; one with
--quick or --only prints. Nothing else should run on the machine, but the rounds of the clients alternate, so that a
disturbance meets all of them: believe the ratios, not the microseconds.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from ._modes import AMONG_PEERS, MODES, Mode
from ._modes.scaling import add_swarm
from ._processes import upstream
from ._report import RESULTS, Report
from ._series import Table
from .peers import PEERS, is_installed


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", metavar="MODES", help=f"some of {', '.join(MODES)}")
    parser.add_argument("--peers", action="store_true", help=f"all the peers, in {', '.join(AMONG_PEERS)}")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the numbers to this file, too")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a budget is missed")
    chosen = parser.parse_args()
    modes = AMONG_PEERS if chosen.peers else MODES
    names = [name.strip() for name in chosen.only.split(",")] if chosen.only else list(modes)
    if unknown := [name for name in names if name not in modes]:
        parser.error(f"unknown mode {', '.join(unknown)}: there are {', '.join(modes)}")
    if chosen.peers and (missing := [peer for peer in PEERS if not is_installed(peer)]):
        parser.error(f"not installed: {', '.join(missing)} (make bench-peers, or python -m benchmarks.peers install)")
    chosen.modes = {name: modes[name] for name in names}
    return chosen


def measure(modes: dict[str, Mode], *, quick: bool) -> dict[str, Table]:
    tables: dict[str, Table] = {}
    began = time.perf_counter()
    with upstream() as machine:
        for at, (name, mode) in enumerate(modes.items(), 1):
            _tell(f"{at}/{len(modes)} {name} ...")
            begun = time.perf_counter()
            tables |= {table.mode: table for table in mode(machine, quick)}
            _tell(f" {time.perf_counter() - begun:.0f} s\n")
    add_swarm(tables)
    _tell(f"{time.perf_counter() - began:.0f} s in all\n")
    return tables


def _tell(words: str) -> None:
    print(words, end="", file=sys.stderr, flush=True)


def main() -> int:
    chosen = arguments()
    report = Report(" ".join(["python -m benchmarks.run", *sys.argv[1:]]), measure(chosen.modes, quick=chosen.quick))
    print(report.as_markdown())
    if chosen.json is not None:
        chosen.json.write_text(report.as_json())
    if not chosen.quick and not chosen.only:
        name = "peers" if chosen.peers else "latest"
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(report.as_markdown())
        (RESULTS / f"{name}.json").write_text(report.as_json())
        if all(map(find_spec, ("benchmarks.charts", "matplotlib"))):
            subprocess.run([sys.executable, "-m", "benchmarks.charts"], check=True)
    missed = [verdict for verdict in report.verdicts if verdict.ok is False]
    return 1 if chosen.check and missed else 0


if __name__ == "__main__":
    sys.exit(main())
