"""A program that plays `agy` (see _fake_agy.py), and what it was told."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from _antigravity import FOLDER
from _mcp import LINUX

played = pytest.mark.skipif(not LINUX, reason="the fake program is a POSIX script")


class Fake:
    """A folder with a program `agy` that plays streams."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        self.path = folder / "agy"
        source = (Path(__file__).parent / "_fake_agy.py").read_text()
        self.path.write_text(f"#!{sys.executable} -S\n{source}")
        self.path.chmod(0o700)
        self.work = folder / "work"
        self.work.mkdir()

    def options(self, play: str = "text", do: str = "", **more: Any) -> dict[str, Any]:
        """Options for Client("antigravity", ...)."""
        env = {"FAKE_AGY_PLAY": str(FOLDER / play), "FAKE_AGY_LOG": str(self.log), "FAKE_AGY_DO": do}
        env |= more.pop("env", {})
        return {"executable": str(self.path), "cwd": str(self.work), "env": env, "retry": 0, **more}

    @property
    def facts(self) -> list[dict[str, Any]]:
        """What it has written down, start by start and line by line."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    @property
    def starts(self) -> list[dict[str, Any]]:
        return [fact for fact in self.facts if "argv" in fact]


def flags(start: dict[str, Any]) -> dict[str, str]:
    """Its flags with their values."""
    argv = start["argv"]
    return {flag: argv[at + 1] for at, flag in enumerate(argv[:-1]) if flag.startswith("-")}


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    monkeypatch.setenv("SECRET_OF_OTHERS", "not for it")
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    return Fake(tmp_path)
