"""What the documents show runs: the code blocks of the README, and every example."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text() if (ROOT / "README.md").exists() else ""
BLOCKS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(arguments: list[str]) -> str:
    """Standard output of a Python program, run as a user would, without keys."""
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_TOKEN", "_BASE_URL"))
    }
    environment["PYTHONPATH"] = str(ROOT)
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_there_is_something_to_run() -> None:
    """The README has code, and the folder has examples."""
    assert len(BLOCKS) >= 3
    assert len(EXAMPLES) >= 5


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_readme_block(block: str) -> None:
    """Each code block of the README is a program that runs as it stands."""
    assert run(["-c", block])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    """Each example runs without a key and prints something."""
    assert run([str(path)])
