"""Server-sent events: every vector of the WHATWG grammar, cut in every way, and the writer read back."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from _decoding import PLENTY, SOME, frames_of, pieces, places, single_bytes
from hypothesis import example, given
from hypothesis import strategies as st

from asyncllm.transports import Frame, SSEFramer, encode_sse

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "fixtures" / "sse_vectors.json").read_text())
CUTS = {
    "as_given": list,
    "whole": lambda chunks: [b"".join(chunks)],
    "single_bytes": lambda chunks: single_bytes(b"".join(chunks)),
}
each_vector = pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])


def chunks_of(vector: dict[str, Any]) -> list[bytes]:
    return [base64.b64decode(chunk) for chunk in vector["chunks_base64"]]


def check(vector: dict[str, Any], chunks: list[bytes], lenient: bool) -> None:
    framer = SSEFramer(lenient=lenient)
    events = vector["events"]
    if lenient:
        events = vector.get("events_lenient_eof", events)
    assert frames_of(framer, chunks) == [Frame(**event) for event in events]
    if "final_last_event_id" in vector:
        assert framer.last_event_id == vector["final_last_event_id"]
    if "final_retry" in vector:
        assert framer.retry == vector["final_retry"]


@pytest.mark.req("A1", "A2", "A3", "A4", "A5", "seed-B7")
@pytest.mark.parametrize("lenient", [False, True], ids=["strict", "lenient"])
@pytest.mark.parametrize("cut", CUTS)
@each_vector
def test_vector(vector: dict[str, Any], cut: str, lenient: bool) -> None:
    """The frames of a vector are the specification's, read as given, whole, and byte by byte."""
    check(vector, CUTS[cut](chunks_of(vector)), lenient)


@pytest.mark.req("A1", "A2", "A3", "A4", "A5", "seed-B7")
@pytest.mark.parametrize("lenient", [False, True], ids=["strict", "lenient"])
@each_vector
def test_vector_cut_at_random(vector: dict[str, Any], lenient: bool) -> None:
    """Where the network cuts a vector makes no difference."""

    @SOME
    @given(places)
    def cut_anywhere(cuts: list[int]) -> None:
        check(vector, pieces(b"".join(chunks_of(vector)), cuts), lenient)

    cut_anywhere()


@pytest.mark.req("A1")
@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\u0085", "\v", "\f", "\x1c", "\x1d", "\x1e"])
def test_only_cr_and_lf_end_lines(separator: str) -> None:
    """Characters that `str.splitlines` splits at stay in the data."""
    text = f"x{separator}y"
    assert frames_of(SSEFramer(), [f"data: {text}\n\n".encode()]) == [Frame(text)]


@pytest.mark.req("A2")
def test_cr_stream_is_not_delayed() -> None:
    """An event of a CR stream is out with its last byte, and a LF after it is not a line of its own."""
    framer = SSEFramer()
    assert framer.feed(b"data: a\r\r") == [Frame("a")]
    assert framer.feed(b"\n") == []
    assert framer.feed(b"data: b\r\n\r") == [Frame("b")]
    assert framer.feed(b"\ndata: c\n\n") == [Frame("c")]


@pytest.mark.req("A4")
def test_comments_are_no_frames() -> None:
    """Keep-alive comments give nothing, between events and inside one."""
    body = b": OPENROUTER PROCESSING\n\n:\n\ndata: a\n: keep-alive\ndata: b\n\n: bye\n\n"
    assert frames_of(SSEFramer(), [body]) == [Frame("a\nb")]


def test_an_event_without_data_is_strictly_nothing_at_the_end() -> None:
    """A block of only other fields is no event, ended or not; its id is kept all the same."""
    framer = SSEFramer()
    assert frames_of(framer, [b"event: ping\nid: 7\n\nevent: x\nretry: 5"]) == []
    assert (framer.last_event_id, framer.retry) == ("7", 5)


@pytest.mark.req("A9")
def test_unframed_objects_are_delivered_in_place() -> None:
    """Bare JSON lines become frames named "unframed", in order, and the event around them is whole."""
    body = b'data: a\n\n{"error":{"message":"x"}}\n\ndata: b\n{"late": 1}\n\n{"last":2}'
    want = [
        Frame("a"),
        Frame('{"error":{"message":"x"}}', "unframed"),
        Frame('{"late": 1}', "unframed"),
        Frame("b"),
        Frame('{"last":2}', "unframed"),
    ]
    assert frames_of(SSEFramer(unframed=True), [body]) == want
    assert frames_of(SSEFramer(unframed=True), single_bytes(body)) == want
    assert frames_of(SSEFramer(unframed=True, lenient=False), [body]) == want
    assert frames_of(SSEFramer(), [body]) == [Frame("a"), Frame("b")]


@pytest.mark.req("A9")
def test_unframed_does_not_deliver_a_cut_event_when_strict() -> None:
    """Strictness about the end is about events: what follows the last blank line is dropped, bare objects excepted."""
    assert frames_of(SSEFramer(unframed=True, lenient=False), [b'data: cut\n{"error":1}']) == [
        Frame('{"error":1}', "unframed")
    ]


# ---- the writer

lines = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=40)
names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"), min_size=1, max_size=12)
ids = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n\0"), max_size=12)


@PLENTY
@given(st.lists(st.tuples(lines, st.none() | names, st.none() | ids), max_size=6), places)
@example([(" leading", None, None), ("\n\n", "x", "0"), ("", None, ""), ("\ufeff", None, None)], [3, 4])
def test_written_events_are_read_back(events: list[tuple[str, str | None, str | None]], cuts: list[int]) -> None:
    """What `encode_sse` writes, the framer reads, wherever it is cut."""
    body = b"".join(encode_sse(data, event=name, id=id) for data, name, id in events)
    want: list[Frame] = []
    held = ""
    for data, name, id in events:
        held = held if id is None else id
        want.append(Frame(data, name or "message", held))
    assert frames_of(SSEFramer(lenient=False), pieces(body, cuts)) == want


def test_the_writer_ends_lines_with_lf_alone() -> None:
    """CR and CRLF in the data become line breaks: they would end the line early for every reader."""
    assert encode_sse("a\r\nb\rc\nd") == b"data: a\ndata: b\ndata: c\ndata: d\n\n"


def test_the_writer_survives_half_characters() -> None:
    """A lone surrogate cannot be said in UTF-8: a replacement is written and nothing raises."""
    assert encode_sse("a\ud83d") == b"data: a?\n\n"


@pytest.mark.parametrize("field", ["event", "id"])
def test_the_writer_refuses_to_inject_fields(field: str) -> None:
    """A line break in a name or an id would write another field: it is refused."""
    with pytest.raises(ValueError, match="line"):
        encode_sse("x", **{field: "a\ndata: forged"})  # type: ignore[arg-type]
