"""The manifest and the tests agree, both ways, and no row is forgotten."""

from __future__ import annotations

from requirements import ROWS, manifest, marks

CHAT = """
    A1 A2 A3 A4 A5 A6 A7 A8 A9 A10 A11 B1 B2 B3 B4 B5 B6 B7 B8 B9 B10 B11 C1 C2 C3 C5 C6 C11
    D1 D2 D3 D4 D5 D6 D7 D8 D9 D10 D11 D12 D13 D14 E1 E2 E3 E4 E6 E8 E9 F1 F2 F3 F4 F5 F8 F9 F10 F11
    G1 G2 G3 G4 G9 H1 H2 H3 H4 H6 H7 H8 H9 H10 H11 H12 H14 H17 H19
    seed-A1 seed-A2 seed-A3 seed-A4
    seed-B1 seed-B2 seed-B3 seed-B4 seed-B5 seed-B6 seed-B7 seed-B8 seed-B9 seed-B10 seed-C
""".split()
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
