"""What the documents show runs: the code blocks of the README, and every example."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from _agents import drains, player, reads, says
from _claude_program import ANSWERED, USER, begins, block, calls, given, init, result, stops, text, wants
from _mcp import LINUX

ROOT = Path(__file__).parent.parent
PAGES = [path for path in (ROOT / "README.md", ROOT / "docs" / "tools.md") if path.exists()]
BLOCKS = {
    f"{path.name}-{at}": block
    for path in PAGES
    for at, block in enumerate(re.findall(r"```python\n(.*?)```", path.read_text(), re.DOTALL))
}
AGENT = "claude-code/"
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def run(arguments: list[str], **variables: str) -> str:
    """Standard output of a Python program, run as a user would, without keys."""
    environment = {
        name: value for name, value in os.environ.items() if not name.endswith(("_KEY", "_TOKEN", "_BASE_URL"))
    }
    environment |= {"PYTHONPATH": str(ROOT), **variables}
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_there_is_something_to_run() -> None:
    """The pages have code, and the folder has examples."""
    assert len(BLOCKS) >= 9
    assert len(EXAMPLES) >= 10


@pytest.mark.parametrize("source", [block for block in BLOCKS.values() if AGENT not in block])
def test_block(source: str) -> None:
    """Each code block of the pages is a program that runs as it stands."""
    assert run(["-c", source])


@pytest.mark.skipif(not LINUX, reason="the program that plays Claude Code has a #! line")
def test_block_with_an_agent(tmp_path: Path) -> None:
    """The one that needs Claude Code, with a program in its place that calls the function, and says what it said."""
    (source,) = (block for block in BLOCKS.values() if AGENT in block)
    call = begins() + calls("t1", "mcp__asyncllm__ticket", {"number": 7}) + stops("tool_use")
    asked = wants("m1", "t1", number=7).replace(b'"add"', b'"ticket"')
    words = "Solved: the tests are fast."
    said = text(words) + block({"type": "text", "text": words}, "msg_2", "a-2") + stops() + result(words)
    script = [
        reads(USER),
        says(init() + call + asked),
        reads(ANSWERED),
        says(given("t1", "#7: the tests are slow") + begins("msg_2") + said),
        drains(),
    ]
    fake = player(tmp_path / "bin", "claude", script)
    path = f"{fake.path.parent}{os.pathsep}{os.environ['PATH']}"
    printed = run(["-c", source], PATH=path, HOME=str(tmp_path))
    assert printed.startswith(words)
    assert "Session(" in printed
    assert "#7: the tests are slow" in json.dumps(fake.runs[0].told)


SAYS = {
    "approval": ["sent to Ada: Come!", "error: the tool was not called", "sent to Cy: (edited)"],
    "chat_app": ["> What is my name?", "7 messages are in chat.json", "[Response]"],
    "extraction": [
        "so far: {'customer': 'Ada Lovelace', 'items': [{'product': 'lamp'}]}",
        "1 x chair for Ada Lovelace",
    ],
    "fastapi_app": ["200 text/event-stream", "<- 4 degrees and rain"],
    "mcp_agent": ["-> library__find_books({'since': 1860})", "3 of 3: Ulysses", "cannot be started"],
    "weather_agent": ["-> get_weather({'city': 'Oslo'})", '<- {"degrees":4', "2 steps"],
}
"""What some of them print, among other things."""


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path: Path) -> None:
    """Each example runs without a key and prints something: that it did what it is there to show."""
    printed = run([str(path)])
    assert printed
    for words in SAYS.get(path.stem, []):
        assert words in printed


def test_nothing_of_the_list_is_missing() -> None:
    """The examples above are there."""
    assert SAYS.keys() <= {path.stem for path in EXAMPLES}
