"""Every recording of Claude Code through its codec: whole, in pieces, and cut."""

from __future__ import annotations

import itertools

import pytest
from _claude import FOLDER, PLAIN, ROWS, agrees, exit_of, recorded, replay, whole
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import Finish, StreamError, StreamEvent, check_order
from asyncllm.protocols.agents._exit import Exit

pytestmark = [pytest.mark.req("seed-A9"), pytest.mark.recordings("claude")]

SHORT = [name for name in ROWS if not name.startswith("long_output")]
STREAMED = [name for name in SHORT if name not in PLAIN]


def test_no_recording_is_left_out() -> None:
    assert {path.stem for path in FOLDER.glob("*.cmd")} == set(ROWS)


@pytest.mark.parametrize("name", ROWS)
def test_whole(name: str) -> None:
    turns = whole(name)
    assert len(turns) == len(ROWS[name])
    for events, row in zip(turns, ROWS[name], strict=True):
        agrees(events, row)


def lines_in(pieces: list[bytes]) -> tuple[list[list[bytes]], bytes]:
    """The lines that each piece of bytes completes, and what is left."""
    found, held = [], b""
    for piece in pieces:
        *lines, held = (held + piece).split(b"\n")
        found.append(lines)
    return found, held


def in_pieces(name: str, cuts: list[int]) -> list[list[StreamEvent]]:
    data = recorded(name)
    ends = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    lines, tail = lines_in([data[start:end] for start, end in itertools.pairwise(ends)])
    return replay(name, lines, exit_of(name, tail))


@pytest.mark.parametrize("name", SHORT)
def test_byte_by_byte(name: str) -> None:
    assert told(in_pieces(name, list(range(len(recorded(name)))))) == told(whole(name))


@given(st.sampled_from(SHORT), st.lists(st.integers(0, 1 << 20), max_size=20))
def test_in_any_pieces(name: str, cuts: list[int]) -> None:
    assert told(in_pieces(name, cuts)) == told(whole(name))


@pytest.mark.parametrize("name", STREAMED)
def test_cut_after_every_line(name: str) -> None:
    """What came is said as it was, and then that it is not all; or it was all."""
    *lines, _ = recorded(name).split(b"\n")
    turns = whole(name)
    for end in range(len(lines)):
        cut = replay(name, [lines[:end]], exit_of(name))
        for events, others in zip(cut[:-1], turns, strict=False):
            assert told([events]) == told([others])
        is_cut(cut[-1], turns[len(cut) - 1] if len(cut) <= len(turns) else [])


def is_cut(events: list[StreamEvent], all: list[StreamEvent]) -> None:
    check_order(events)
    *before, last = events
    assert isinstance(last, StreamError) or told([events]) == told([all])
    if isinstance(last, StreamError) and told([events]) != told([all]):
        assert type(last.error).__name__ in ("IncompleteStreamError", "InvalidRequestError")
        said, whole = told([before])[0], told([all])[0]
        *sure, doubtful = said or [""]
        assert sure == whole[: len(sure)]
        assert doubtful in (*whole, "") or "stream broke" in doubtful  # a call that was cut


@pytest.mark.parametrize("name", ["text_partial", "tool_mcp", "err_401"])
def test_cut_in_the_middle_of_a_line(name: str) -> None:
    data = recorded(name)
    for end in range(1, len(data), 97):
        *lines, tail = data[:end].split(b"\n")
        last = replay(name, [lines], Exit(0, "", tail))[-1][-1]
        assert isinstance(last, StreamError)
        assert type(last.error).__name__ == "IncompleteStreamError"


def test_a_finish_is_never_the_end_of_a_batch_before_the_end() -> None:
    """Whoever reads takes a batch that ends with Finish for the end."""
    for name in STREAMED:
        *lines, tail = recorded(name).split(b"\n")
        for events in replay(name, [[line] for line in lines], exit_of(name, tail)):
            finishes = [at for at, event in enumerate(events) if isinstance(event, Finish)]
            assert all(type(events[at + 1]).__name__ == "StreamStart" for at in finishes if at + 1 < len(events))


def told(turns: list[list[StreamEvent]]) -> list[list[str]]:
    """Events, to be compared: errors are equal by what they say."""
    return [[repr(event) for event in events] for events in turns]
