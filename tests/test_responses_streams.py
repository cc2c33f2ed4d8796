"""Every recorded stream of the Responses API: what it says, and that no cut of its bytes changes that or goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from _wirecase import WireCase, check_cuts, check_said, check_truncations, expected, sse_borders

from asyncllm.events import fold
from asyncllm.protocols.openai_responses import ResponsesCodec

RESPONSES = WireCase("openai_responses", lambda: ResponsesCodec("openai-responses"), sse_borders)
each_stream = pytest.mark.parametrize("path", RESPONSES.streams, ids=lambda path: path.stem)


@pytest.mark.req("C7", "D8", "G4", "G10", "E10", "seed-A13")
@each_stream
def test_stream_says_what_is_expected(path: Path) -> None:
    """Text, reasoning, refusal, calls with their raw arguments, usage, finish, error, and sources of a stream."""
    check_said(RESPONSES, path)
    wanted = expected(path).get("citations", [])
    said = fold(RESPONSES.decode(path.read_bytes())).citations
    assert [{"url": one.url, "title": one.title, "start": one.start, "end": one.end} for one in said] == wanted


@pytest.mark.req("A2", "A3")
@each_stream
def test_cuts_change_nothing(path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events."""
    check_cuts(RESPONSES, path)


@pytest.mark.req("B1", "seed-B7")
@each_stream
def test_truncated_anywhere(path: Path) -> None:
    """What arrived is kept; the end is the stream's own, or IncompleteStreamError, and never invented."""
    check_truncations(RESPONSES, path)
