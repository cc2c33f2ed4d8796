"""The manifest of requirements: which row is proven by which test.

Rows are marked on the tests (`@pytest.mark.req("D4")`); `requirements.toml` lists them by row. `test_requirements.py` checks
that both agree; `python tests/requirements.py --write` makes the file anew from the marks.

A test that replays the recordings of a coding agent, all of them, is marked with its folder in `fixtures/agents`
(`@pytest.mark.recordings("claude")`); the file lists each recording with the tests that replay it.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parent
MANIFEST = TESTS / "requirements.toml"
RECORDED = TESTS / "fixtures" / "agents"

ROWS = [
    *(
        f"{group}{number}"
        for group, last in zip("ABCDEFGHI", (11, 11, 11, 16, 10, 12, 10, 19, 8), strict=True)
        for number in range(1, last + 1)
    ),
    *(
        f"seed-{group}{number}"
        for group, last in (("A", 14), ("B", 10), ("E", 8), ("F", 8))
        for number in range(1, last + 1)
    ),
    "seed-C",
    "seed-D",
]
"""All rows: the quirks of real providers by group and number, and the rows of what users were promised."""

HEAD = """\
# Which requirement is proven where. Made from the marks on the tests: python tests/requirements.py --write

# Rows that are not met yet, and what they belong to; kept by hand.
"""


def marks(mark: str = "req") -> dict[str, list[str]]:
    """Row -> the tests that carry its mark, as `file::test`, sorted."""
    found: dict[str, set[str]] = {}
    for path in sorted(TESTS.glob("test_*.py")):
        tree = ast.parse(path.read_text())
        everywhere = [
            row
            for node in tree.body
            if isinstance(node, ast.Assign) and _is_pytestmark(node)
            for row in _rows(node.value, mark)
        ]
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                for row in [*everywhere, *(row for decorator in node.decorator_list for row in _rows(decorator, mark))]:
                    found.setdefault(row, set()).add(f"{path.name}::{node.name}")
    return {row: sorted(tests) for row, tests in found.items()}


def _is_pytestmark(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


def _rows(node: ast.expr, mark: str) -> Iterator[str]:
    """The rows named in `pytest.mark.req(...)`, wherever in the expression it stands."""
    for inner in ast.walk(node):
        if isinstance(inner, ast.Call) and isinstance(inner.func, ast.Attribute) and inner.func.attr == mark:
            yield from (argument.value for argument in inner.args if isinstance(argument, ast.Constant))  # type: ignore[misc]


def replayed() -> dict[str, list[str]]:
    """Recording, as `agent/scenario`, -> the tests that replay it."""
    return {
        f"{agent}/{recording.stem}": tests
        for agent, tests in sorted(marks("recordings").items())
        for recording in sorted((RECORDED / agent).glob("*.cmd"))
    }


def manifest() -> tuple[dict[str, list[str]], dict[str, str]]:
    """(proven: row -> tests, later: row -> why) as the file has them."""
    data = tomllib.loads(MANIFEST.read_text())
    return data["proven"], data["later"]


def recordings() -> dict[str, list[str]]:
    """Recording -> the tests that replay it, as the file has them."""
    return tomllib.loads(MANIFEST.read_text()).get("recordings", {})


def order(row: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\D+)(\d*)", row)
    assert found is not None, row
    return found[1], int(found[2] or 0)


def write() -> None:
    later = manifest()[1] if MANIFEST.exists() else {}
    proven = marks()
    lines = [HEAD + "[later]"]
    lines += [
        f'{row} = "{why}"' for row, why in sorted(later.items(), key=lambda item: order(item[0])) if row not in proven
    ]
    lines += ["", "[proven]"]
    for row in sorted(proven, key=order):
        lines += [f"{row} = [", *(f'  "{test}",' for test in proven[row]), "]"]
    lines += ["", "# The recordings of real coding agents, and the tests that replay each.", "[recordings]"]
    lines += [f'"{name}" = {json.dumps(tests)}' for name, tests in replayed().items()]
    MANIFEST.write_text("\n".join(lines) + "\n")


if __name__ == "__main__" and "--write" in sys.argv:
    write()
