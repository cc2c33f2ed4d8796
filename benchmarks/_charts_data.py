"""The results of the benchmarks, as bars and lines."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
from msgspec import Struct

from ._series import Series, Table, number
from .clients import ROWS

FLOOR_LIBRARIES = ("httptools", "msgspec")
_POINT = re.compile(r"(?:(?P<client>.+), )?(?P<x>\d+) \w+")


class _Row(Struct):
    values: list[float]


class _Mode(Struct):
    mode: str
    what: str
    unit: str
    rows: dict[str, _Row]


class _File(Struct):
    where: str
    command: str
    modes: dict[str, _Mode]
    versions: dict[str, str] = {}


class Results(NamedTuple):
    """One run of the benchmarks. `source` says when, on what and how; `versions` are those of the libraries."""

    source: str
    versions: dict[str, str]
    tables: dict[str, Table]

    @classmethod
    def read(cls, path: Path) -> Results | None:
        if not path.exists():
            return None
        file = msgspec.json.decode(path.read_bytes(), type=_File)
        tables = {
            name: Table(mode.mode, mode.what, mode.unit, {row: Series(data.values) for row, data in mode.rows.items()})
            for name, mode in file.modes.items()
        }
        return cls(f"{file.where}: {file.command}", file.versions, tables)


class Words(NamedTuple):
    """All that is to be read in a chart but the numbers. `what` was measured; `axes` have their units; `footer` is lines."""

    title: str
    what: str
    axes: tuple[str, ...]
    footer: list[str]


class Bar(NamedTuple):
    """`ratio` is to the floor in the same run."""

    name: str
    value: float
    ratio: float | None

    def __format__(self, spec: str) -> str:
        if spec != "ratio" or self.ratio is None:
            return number(self.value)
        return f"{self.ratio:.2f}" if self.ratio < 10 else number(self.ratio)


class Line(NamedTuple):
    name: str
    x: list[int]
    y: list[float]

    def __format__(self, spec: str) -> str:
        ends = [f"{min(self.x)}", f"{max(self.x)}"] if spec == "x" else [number(min(self.y)), number(max(self.y))]
        return " to ".join(dict.fromkeys(ends))


def as_bars(mode: str, results: Sequence[Results]) -> dict[str, Bar]:
    """By name, the least first; where rows are "CLIENT, CASE", case by case. Other loops are left out with their floor."""
    found: dict[str, Bar] = {}
    for result in results:
        table = result.tables[mode]
        for row, series in table.rows.items():
            floor = table.floor_of(row)
            if "uvloop" not in row and row not in found:
                found[row] = Bar(row, series.median, series.over(table.rows[floor]) if floor else None)
    cases = list(dict.fromkeys(map(_case, found)))
    return dict(sorted(found.items(), key=lambda item: (cases.index(_case(item[0])), item[1].value)))


def _case(row: str) -> str:
    return row.partition(", ")[2]


def as_lines(mode: str, result: Results) -> dict[str, Line]:
    """By client, the dearest first. A row is "CLIENT, 100 streams"; without a client it is ours."""
    found: dict[str, Line] = {}
    points = [(match, series) for row, series in result.tables[mode].rows.items() if (match := _POINT.fullmatch(row))]
    for match, series in sorted(points, key=lambda point: int(point[0]["x"])):
        client = match["client"] or "asyncllm"
        line = found.setdefault(client, Line(client, [], []))
        line.x.append(int(match["x"]))
        line.y.append(series.median)
    return dict(sorted(found.items(), key=lambda item: -item[1].y[-1]))


def footer_of(results: Sequence[Results], rows: Iterable[str]) -> list[str]:
    """When, on what and how it was measured, and the versions of the libraries whose rows are shown."""
    shown = {ROWS[client].library for row in rows if (client := row.split(",")[0]) in ROWS}
    versions = {
        name: f"{name}\N{NO-BREAK SPACE}{number}"
        for result in results
        for name, number in result.versions.items()
        if name in shown or name in FLOOR_LIBRARIES
    }
    return [*(result.source for result in results), ", ".join(versions.values())]
