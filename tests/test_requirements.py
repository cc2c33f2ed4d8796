"""The manifest and the tests agree, both ways, and no row is forgotten."""

from __future__ import annotations

from collections.abc import Iterable

from requirements import RECORDED, ROWS, manifest, marks, recordings, replayed


def rows(group: str, numbers: Iterable[int]) -> list[str]:
    return [f"{group}{number}" for number in numbers]


CHAT = [
    *rows("A", range(1, 12)),
    *rows("B", range(1, 12)),
    *rows("C", (1, 2, 3, 5, 6, 11)),
    *rows("D", range(1, 15)),
    *rows("E", (1, 2, 3, 4, 6, 8, 9)),
    *rows("F", (1, 2, 3, 4, 5, 8, 9, 10, 11)),
    *rows("G", (1, 2, 3, 4, 9)),
    *rows("H", (1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 12, 14, 17, 19)),
    *rows("seed-A", range(1, 5)),
    *rows("seed-B", range(1, 11)),
    "seed-C",
]
"""The rows that concern the Chat Completions wire and the client above it."""


def test_the_manifest_lists_what_the_tests_are_marked_with() -> None:
    """`requirements.toml` is what the marks say (python tests/requirements.py --write)."""
    assert manifest()[0] == marks()


def test_every_row_is_proven_or_put_off_with_a_reason() -> None:
    """No row is both, none is neither, and none is unknown."""
    proven, later = manifest()
    assert set(proven) & set(later) == set()
    assert set(proven) | set(later) == set(ROWS)
    assert all(later.values())


def test_the_chat_wire_is_covered() -> None:
    """Every row of this wire has its test."""
    assert sorted(set(CHAT) - set(manifest()[0])) == []


def test_every_recording_of_a_coding_agent_is_replayed() -> None:
    """The file lists what the marks say, and no recording is left out."""
    assert recordings() == replayed()
    found = {f"{path.parent.name}/{path.stem}" for path in RECORDED.glob("*/*.cmd")}
    assert found == set(replayed())
    assert len(found) == 230
