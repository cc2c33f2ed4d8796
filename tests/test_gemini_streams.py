"""Every recorded Gemini stream: what it says, and that no cut of its bytes changes that or goes unnoticed."""

from __future__ import annotations

from pathlib import Path

import pytest
from _wirecase import WireCase, check_cuts, check_said, check_truncations, expected, sse_borders

from asyncllm.events import Text, ToolCall, fold
from asyncllm.protocols.gemini import GeminiCodec

GEMINI = WireCase("gemini", lambda: GeminiCodec("gemini"), sse_borders)
STREAMS = GEMINI.streams
each_stream = pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)


@pytest.mark.req("B3", "B8", "B10", "F1", "G6", "G10")
@each_stream
def test_stream_says_what_is_expected(path: Path) -> None:
    """Text, reasoning, calls with their raw arguments, usage, finish and error of a stream."""
    check_said(GEMINI, path)


@pytest.mark.req("A2", "A3")
@each_stream
def test_cuts_change_nothing(path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events."""
    check_cuts(GEMINI, path)


@pytest.mark.req("B1", "G10")
@each_stream
def test_truncated_anywhere(path: Path) -> None:
    """What arrived is kept; the end is the stream's own, or IncompleteStreamError, and never invented."""
    check_truncations(GEMINI, path)


def stream(name: str) -> Path:
    return next(path for path in STREAMS if path.stem == name)


@pytest.mark.req("E7")
def test_a_signature_on_an_empty_text_is_a_part_of_its_own() -> None:
    """The part before it has none, and the two are not merged."""
    path = stream("thoughts_then_text")
    *_, before, signed = fold(GEMINI.decode(path.read_bytes())).message.parts
    assert isinstance(before, Text)
    assert isinstance(signed, Text)
    assert (before.text, signed.text) == ("42", "")
    assert before.state is not None
    assert not before.state.data
    assert signed.state is not None
    assert signed.state.data == {"thoughtSignature": expected(path)["thought_signature"]}


@pytest.mark.req("E7")
def test_only_the_first_of_parallel_calls_has_the_signature() -> None:
    """It stays there, beside the id that the server gave."""
    path = stream("tools_parallel")
    calls = fold(GEMINI.decode(path.read_bytes())).tool_calls
    wanted = [call.get("thought_signature") for call in expected(path)["tool_calls"]]
    assert [call.state and call.state.data.get("thoughtSignature") for call in calls] == wanted
    assert [call.state and call.state.data["id"] for call in calls] == [call.id for call in calls]
    assert all(isinstance(call, ToolCall) for call in calls)


def test_citations_have_offsets_in_characters() -> None:
    """The sources of a grounded answer, where they are in the text."""
    path = stream("grounding")
    found = fold(GEMINI.decode(path.read_bytes())).citations
    assert [{"url": c.url, "title": c.title, "start": c.start, "end": c.end} for c in found] == expected(path)[
        "citations"
    ]
