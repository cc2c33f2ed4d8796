"""Two kinds of charts, bars and lines, as SVG files that are the same bytes when they are made again.

They have a white background: on a dark page they are a card, and all colours have the contrast that they were chosen for.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from ._charts_data import Bar, Line, Words
from ._series import FLOOR

WIDTH = 8.0
"""Inches."""
INK, FAINT, GRID = "#1f2328", "#59636e", "#d8dee4"
OURS, OURS_TOO, FLOORS, OTHERS = "#0969da", "#80b4ec", "#59636e", "#b4bcc6"
LINES = {
    "asyncllm": (OURS, "-"),
    "raw": (FLOORS, "--"),
    "httpx2": ("#9a6700", "-"),
    "openai": ("#cf222e", "-"),
    "openai .stream()": ("#cf222e", ":"),
}
SETTINGS: Any = {  # a dict whose keys have a type in matplotlib that its older releases do not have
    "svg.hashsalt": "asyncllm",
    "svg.fonttype": "none",
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": FAINT,
    "axes.edgecolor": GRID,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "ytick.labelcolor": INK,
}


def bars(path: Path, words: Words, data: Mapping[str, Bar], *, log: bool) -> None:
    """Horizontal, the value and the ratio to the floor at the end of each."""
    with mpl.rc_context(SETTINGS):
        sheet = _Sheet(0.3 + 0.27 * len(data), words)
        axes = sheet.axes
        values = [bar.value for bar in data.values()]
        axes.barh(range(len(data)), values, height=0.68, color=[_bar_color(name) for name in data])
        axes.set_yticks(range(len(data)), [f"{name} (the floor)" if name == FLOOR else name for name in data])
        axes.invert_yaxis()
        axes.tick_params(axis="y", length=0)
        least, most = min(values) / 2, max(values)
        if log:
            axes.set_xscale("log")
            axes.set_xlim(least, most * (most / least) ** 0.25)
            _plain_log(axes.xaxis)
        else:
            axes.set_xlim(0, most * 1.25)
        for at, bar in enumerate(data.values()):
            ratio = f" · {bar:ratio} x {FLOOR}" if bar.ratio is not None else ""
            axes.annotate(f"{bar}{ratio}", (bar.value, at), (4, 0), textcoords="offset points", va="center", fontsize=8)
        axes.set_xlabel(words.axes[0])
        axes.grid(axis="x")
        sheet.save(path)


def lines(path: Path, words: Words, data: Mapping[str, Line]) -> None:
    """One for each client, log-log. A decade of room at least: what is flat is to look flat."""
    with mpl.rc_context(SETTINGS):
        sheet = _Sheet(3.4, words)
        axes = sheet.axes
        for name, line in data.items():
            color, style = LINES.get(name, (OTHERS, "-"))
            # the floor's dashes over our line: they may be in the same place
            axes.plot(
                line.x, line.y, style, marker="o", markersize=4, color=color, label=name, zorder=2 + (name == FLOOR)
            )
        axes.set(xscale="log", yscale="log", xlabel=words.axes[0], ylabel=words.axes[1])
        heights = [y for line in data.values() for y in line.y]
        axes.set_ylim(min(heights) / 2, max(max(heights) * 1.5, min(heights) * 10))
        _plain_log(axes.yaxis)
        _plain_log(axes.xaxis, sorted({x for line in data.values() for x in line.x}))
        axes.grid()
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        sheet.save(path)


class _Sheet:
    """Axes of a height in inches, with words above and below."""

    def __init__(self, height: float, words: Words) -> None:
        title, footer = (
            textwrap.fill(words.title, 84),
            "\n".join(textwrap.fill(line, 130, break_on_hyphens=False) for line in words.footer),
        )
        above = 0.45 + 0.19 * (title.count("\n") + 1)
        below = 0.2 + 0.14 * (footer.count("\n") + 1)
        labels = 0.45
        whole = above + height + labels + below
        self._figure = Figure(figsize=(WIDTH, whole), facecolor="white")
        self._figure.text(0.015, 1 - 0.12 / whole, title, fontsize=11, fontweight="bold", va="top")
        self._figure.text(0.015, 1 - (above - 0.1) / whole, words.what, color=FAINT, va="bottom")
        self._figure.text(0.015, 0.1 / whole, footer, fontsize=7, color=FAINT, va="bottom", linespacing=1.4)
        self._figure.set_layout_engine("constrained", rect=(0.01, below / whole, 0.98, (height + labels) / whole))
        self.axes: Axes = self._figure.subplots()

    def save(self, path: Path) -> None:
        # without a date and a version of matplotlib
        metadata = {"Date": None, "Creator": None} if path.suffix == ".svg" else None
        self._figure.savefig(path, metadata=metadata, dpi=150)


def _bar_color(name: str) -> str:
    client = name.split(",")[0]
    return OURS if client == "asyncllm" else FLOORS if client == FLOOR else OURS_TOO if "asyncllm" in client else OTHERS


def _plain_log(axis: Axis, ticks: Sequence[float] | None = None) -> None:
    """Ticks in plain figures: 1, 2, 5, 10, 20, ... if not given."""
    axis.set_major_locator(FixedLocator(ticks) if ticks else LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
