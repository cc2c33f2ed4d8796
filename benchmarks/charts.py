"""Draws the results of the benchmarks.

    python -m benchmarks.charts      reads results/latest.json and peers.json, writes results/*.svg

A row of `CHARTS` is a chart. Its title is a finding, with numbers from the results: "{openai}" is what that client needed,
"{openai:ratio}" how many times the floor's; of a line, "{raw:x}" and "{raw:y}" are from where to where it goes.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ._charts_data import Bar, Line, Results, Words, as_bars, as_lines, footer_of
from ._charts_draw import bars, lines

RESULTS = Path(__file__).parent / "results"


class Chart(NamedTuple):
    """`kind` is "bars", "log bars" or "lines"; `axes` are its labels, with units."""

    file: str
    mode: str
    kind: str
    axes: tuple[str, ...]
    title: str


CPU = "CPU of the client's process, user and system"
CHARTS = (
    Chart(
        "cpu-per-event",
        "burst",
        "log bars",
        (f"{CPU}: µs per event, log scale",),
        "A text event costs asyncllm {asyncllm:ratio} times the floor, the openai SDK {openai:ratio} times",
    ),
    Chart(
        "cpu-per-request",
        "requests",
        "log bars",
        (f"{CPU}: µs per request, log scale",),
        "A request costs asyncllm {asyncllm:ratio} times the floor, the openai SDK {openai:ratio} times",
    ),
    Chart(
        "memory-per-stream",
        "memory",
        "bars",
        ("resident memory: KiB per open stream",),
        "An open stream takes {asyncllm} KiB in asyncllm, {openai} KiB in the openai SDK",
    ),
    Chart(
        "drip",
        "drip",
        "bars",
        (f"{CPU}: µs per event",),
        "At a model's pace, an event costs asyncllm {asyncllm:ratio} times the floor, openai {openai:ratio} times",
    ),
    Chart(
        "cpu-per-run",
        "loop",
        "log bars",
        (f"{CPU}: µs per run, log scale",),
        "A run of three steps with tools costs asyncllm {asyncllm run} µs, openai-agents {openai-agents} µs",
    ),
    Chart(
        "lateness",
        "lateness",
        "bars",
        ("ms after the stream's schedule",),
        "The last stream ends {asyncllm, max} ms late in asyncllm, {raw, max} ms in raw",
    ),
    Chart(
        "cost-by-streams",
        "scaling",
        "lines",
        ("streams open at once, log scale", "CPU: µs per event, log scale"),
        "With {asyncllm:x} streams, an event costs asyncllm {asyncllm:y} µs",
    ),
    Chart(
        "cost-by-tool-arguments",
        "tools",
        "lines",
        ("fragments in the call, log scale", "CPU: µs per fragment, log scale"),
        "In tool calls of {asyncllm:x} fragments, a fragment costs asyncllm {asyncllm:y} µs",
    ),
)


def draw(chart: Chart, results: list[Results], to: Path) -> bool:
    """Whether there was something to draw. Of a client in several results, the first are drawn."""
    found = [result for result in results if chart.mode in result.tables]
    if not found:
        return False
    if chart.kind == "lines":
        points = as_lines(chart.mode, found[0])
        lines(to, words(chart, points, found[:1]), points)
    else:
        values = as_bars(chart.mode, found)
        bars(to, words(chart, values, found), values, log=chart.kind == "log bars")
    return True


def words(chart: Chart, data: Mapping[str, Bar] | Mapping[str, Line], results: list[Results]) -> Words:
    what = results[0].tables[chart.mode].what
    return Words(chart.title.format_map(data), what, chart.axes, footer_of(results, data))


def main() -> int:
    read = [Results.read(RESULTS / name) for name in ("peers.json", "latest.json")]
    results = [result for result in read if result is not None]
    for chart in CHARTS:
        path = RESULTS / f"{chart.file}.svg"
        done = draw(chart, results, path)
        print(f"{path.name}: {'drawn' if done else f'skipped, there is no {chart.mode} in the results'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
