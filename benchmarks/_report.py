"""What was measured, as Markdown for people and as JSON for the charts."""

from __future__ import annotations

import json
import os
import platform
from datetime import date
from importlib.metadata import version
from pathlib import Path

from . import _budgets
from ._series import Table
from .clients import ROWS
from .peers import version_of

RESULTS = Path(__file__).parent / "results"
_FLOORS = ("httptools", "msgspec")
"""What the floor is made of."""


class Report:
    def __init__(self, command: str, tables: dict[str, Table]) -> None:
        self._command = command
        self._tables = tables
        self.verdicts = _budgets.judge(tables)

    def as_markdown(self) -> str:
        parts = [
            f"Measured {where()}: `{self._command}`",
            ", ".join(f"{name} {number}" for name, number in self._versions().items()),
            _budgets.as_markdown(self.verdicts),
            *(table.as_markdown() for table in self._tables.values()),
        ]
        return "\n\n".join(parts) + "\n"

    def as_json(self) -> str:
        numbers = {
            "where": where(),
            "versions": self._versions(),
            "command": self._command,
            "budgets": [verdict.as_json() for verdict in self.verdicts],
            "modes": {name: table.as_json() for name, table in self._tables.items()},
        }
        return json.dumps(numbers, indent=1) + "\n"

    def _versions(self) -> dict[str, str]:
        """Of every library that has a row."""
        found = {name: version(name) for name in _FLOORS}
        for table in self._tables.values():
            for name in table.rows:
                row = ROWS.get(name.split(",")[0])
                if row is not None and row.library and row.library not in found:
                    found[row.library] = version_of(row.peer, row.library) if row.peer else version(row.library)
        return found


def where() -> str:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return f"{date.today()}, {python}, {platform.system()} {platform.machine()}, {os.cpu_count()} cores"
