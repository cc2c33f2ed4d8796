"""A program that plays opencode (see _fake_opencode.py), and what it was told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from _opencode import FOLDER

SPEC = "opencode/emu/emu-1"


class Fake:
    """The program, and what it was told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = root / "opencode"
        source = (Path(__file__).parent / "_fake_opencode.py").read_text()
        self.path.write_text(f"#!{sys.executable} -SE\n{source}")
        self.path.chmod(0o700)
        (root / "work").mkdir()
        (root / "home").mkdir()

    def options(self, plan: dict[str, Any], **more: Any) -> dict[str, Any]:
        plan = {"folder": str(FOLDER), "log": str(self.root / "log"), "ready": str(self.root / "ready"), **plan}
        env = {"FAKE": json.dumps(plan), **more.pop("env", {})}
        where = {"executable": str(self.path), "cwd": str(self.root / "work"), "home": str(self.root / "home")}
        return {**where, "env": env, "retry": 0, "portable": False, **more}

    def told(self) -> list[dict[str, Any]]:
        path = self.root / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def told_last(self, name: str) -> Any:
        """Of the last start that has it."""
        return [told[name] for told in self.told() if name in told][-1]

    def config(self) -> dict[str, Any]:
        """What the last start was configured with."""
        found: dict[str, Any] = json.loads(self.told_last("env")["OPENCODE_CONFIG_CONTENT"])
        return found

    def calls(self, end: str) -> list[dict[str, Any]]:
        return [told for told in self.told() if told.get("path", "").endswith(end)]


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    return Fake(tmp_path)
