"""The table of providers: where they are, and whether a key for them is in the environment (never the key)."""

from __future__ import annotations

import os
import sys

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..backends import SPECIALS, VENDORS
from ._agents import agents
from ._terminal import colors_on

WIDE = 240
"""Columns of a table that goes to a file or a pipe, where nothing should be wrapped."""


class Row(msgspec.Struct, frozen=True):
    """`found` is the variable that holds a key. `program` is what a coding agent needs, `installed` where it is."""

    name: str
    env: tuple[str, ...]
    found: str | None
    key_needed: bool
    base_url: str
    aliases: tuple[str, ...]
    program: str | None = None
    installed: str | None = None

    @property
    def key(self) -> str:
        if self.found is not None:
            return "found"
        return "missing" if self.key_needed else "not needed"


def rows() -> list[Row]:
    known = []
    there = {agent.name: agent for agent in agents()}
    for special in SPECIALS:
        found = next((name for name in special.env if os.environ.get(name)), None)
        row = Row(special.name, special.env, found, special.key_needed, special.where, special.aliases)
        if (agent := there.get(special.name)) is not None:
            row = msgspec.structs.replace(row, base_url=agent.where, program=agent.program, installed=agent.path)
        known.append(row)
    for vendor in VENDORS:
        found = next((name for name in vendor.env if os.environ.get(name)), None)
        url = next((f"from {name}" for name in vendor.base_url_env if os.environ.get(name)), vendor.base_url)
        known.append(Row(vendor.name, vendor.env, found, vendor.default_key is None, url, vendor.aliases))
    known.append(Row("openai-compatible", (), None, False, "--base-url", ()))
    return known


def print_providers(*, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(rows())).decode())
        return
    table = Table("name", "key variable", "key", "base URL", "aliases", box=None, pad_edge=False, show_edge=False)
    for row in rows():
        cells = (row.name, " or ".join(row.env), row.key, row.base_url, ", ".join(row.aliases))
        style = "green" if row.found else "dim" if row.key == "missing" else ""
        table.add_row(*(Text(cell, style=style, overflow="fold") for cell in cells))
    terminal = sys.stdout.isatty()
    console = Console(
        file=sys.stdout,
        width=None if terminal else WIDE,
        force_terminal=terminal,
        color_system="auto" if colors_on(sys.stdout) else None,
    )
    with console.capture() as shown:
        console.print(table)
    print("\n".join(line.rstrip() for line in shown.get().splitlines()))
