"""Measures asyncllm against the floor and against other clients, and holds the result against the budgets.

    python -m benchmarks.run [--quick] [--only burst,requests] [--uvloop] [--json FILE] [--check]

Run it from the root of the repository. Nothing else should run on the machine, but the rounds of the clients alternate,
so that a disturbance meets all of them: believe the ratios, not the microseconds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from datetime import date
from pathlib import Path

from . import _budgets
from ._modes import MODES
from ._processes import upstream
from ._series import Table

RESULTS = Path(__file__).parent / "results"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--only", metavar="MODES", default=",".join(MODES), help=f"some of {', '.join(MODES)}")
    parser.add_argument("--uvloop", action="store_true", help="run the clients on uvloop")
    parser.add_argument("--json", metavar="FILE", type=Path, help="where the numbers go (results/latest.json)")
    parser.add_argument("--check", action="store_true", help="exit with 1 if a budget is missed")
    chosen = parser.parse_args()
    chosen.only = [mode.strip() for mode in chosen.only.split(",")]
    if unknown := [mode for mode in chosen.only if mode not in MODES]:
        parser.error(f"unknown mode {', '.join(unknown)}: there are {', '.join(MODES)}")
    return chosen


def measure(modes: list[str], *, quick: bool, uvloop: bool) -> dict[str, Table]:
    tables = {}
    with upstream(("--uvloop",) if uvloop else ()) as machine:
        for mode in modes:
            began = time.perf_counter()
            tables[mode] = MODES[mode](machine, quick)
            print(f"{mode}: {time.perf_counter() - began:.0f} s", file=sys.stderr, flush=True)
    return tables


def where() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{date.today()}, {python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"


def main() -> int:
    chosen = arguments()
    tables = measure(chosen.only, quick=chosen.quick, uvloop=chosen.uvloop)
    verdicts = _budgets.judge(tables)
    command = " ".join(["python -m benchmarks.run", *sys.argv[1:]])
    parts = [
        f"Measured {where()}: `{command}`",
        _budgets.as_markdown(verdicts),
        *(table.as_markdown() for table in tables.values()),
    ]
    report = "\n\n".join(parts) + "\n"
    print(report)
    whole = len(tables) == len(MODES)
    if whole:
        (RESULTS / "latest.md").write_text(report)
    if chosen.json is not None or whole:
        numbers = {
            "where": where(),
            "command": command,
            "budgets": [verdict.as_json() for verdict in verdicts],
            "modes": {mode: table.as_json() for mode, table in tables.items()},
        }
        (chosen.json or RESULTS / "latest.json").write_text(json.dumps(numbers, indent=1) + "\n")
    return 1 if chosen.check and not all(verdict.ok for verdict in verdicts) else 0


if __name__ == "__main__":
    sys.exit(main())
