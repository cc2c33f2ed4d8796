"""JSON lines, and the framing that goes by what the bytes are instead of what the server says they are."""

from __future__ import annotations

import json

import pytest
from _decoding import PLENTY, frames_of, pieces, places, single_bytes
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.transports import Frame, JSONLinesFramer, SniffingFramer

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@PLENTY
@given(st.lists(json_values, max_size=6), st.sampled_from(["\n", "\r\n", "\n\n", " \r\n\t\n"]), st.booleans(), places)
def test_lines_are_read_back_wherever_cut(values: list[object], end: str, ended: bool, cuts: list[int]) -> None:
    """LF, CRLF and blank lines between values, the last one ended or not."""
    body = end.join(json.dumps(value, ensure_ascii=False) for value in values) + (end if ended else "")
    frames = frames_of(JSONLinesFramer(), pieces(body.encode(), cuts))
    assert [json.loads(frame.data) for frame in frames] == values


@pytest.mark.req("A1")
def test_a_line_keeps_what_other_splitters_split_at() -> None:
    """U+2028, U+0085 and their like are characters of a JSON string."""
    line = '{"a":"x\u2028y\u0085z\x0b"}'
    assert frames_of(JSONLinesFramer(), [line.encode() + b"\n"]) == [Frame(line)]


@pytest.mark.req("A3")
def test_characters_cut_between_reads_are_whole() -> None:
    """A line is decoded when it is whole; bytes that are no UTF-8 become U+FFFD and no exception."""
    assert frames_of(JSONLinesFramer(), single_bytes('"é👩‍🚀"\n'.encode())) == [Frame('"é👩‍🚀"')]
    assert frames_of(JSONLinesFramer(), [b'"\xff"\n']) == [Frame('"\ufffd"')]


def test_a_byte_order_mark_is_dropped() -> None:
    """It is no part of the first value."""
    assert frames_of(JSONLinesFramer(), single_bytes(b"\xef\xbb\xbf{}\n")) == [Frame("{}")]


# ---- sniffing

PRETTY = '{\n  "error": {\n    "message": "no"\n  }\n}\n'
BODIES: dict[str, tuple[bytes, list[Frame]]] = {
    "server-sent events": (b'data: {"a":1}\n\ndata: [DONE]\n\n', [Frame('{"a":1}'), Frame("[DONE]")]),
    "events after a comment": (b": hi\n\ndata: {}\n\n", [Frame("{}")]),
    "events with names": (b"event: ping\ndata: {}\n\n", [Frame("{}", "ping")]),
    "the last event unterminated": (b"data: {}\n\ndata: [DONE]", [Frame("{}"), Frame("[DONE]")]),
    "an object after the events": (b'data: {}\n\n{"error":"x"}', [Frame("{}"), Frame('{"error":"x"}', "unframed")]),
    "JSON lines": (b'{"a":1}\n{"b":2}\n', [Frame('{"a":1}'), Frame('{"b":2}')]),
    "JSON lines with CRLF": (b'{"a":1}\r\n{"b":2}\r\n', [Frame('{"a":1}'), Frame('{"b":2}')]),
    "one line": (b'{"a":1}', [Frame('{"a":1}')]),
    "one line, ended": (b'{"a":1}\n', [Frame('{"a":1}')]),
    "a list": (b'[{"error":{}}]', [Frame('[{"error":{}}]')]),
    "a pretty-printed object": (PRETTY.encode(), [Frame(PRETTY.rstrip("\n") + "\n")]),
    "a pretty-printed list": (b"[\n {},\n {}\n]", [Frame("[\n {},\n {}\n]")]),
    "a page": (b"<html>\n\n<body>no</body>", [Frame("<html>\n\n<body>no</body>")]),
    "a mark and events": (b"\xef\xbb\xbfdata: {}\n\n", [Frame("{}")]),
    "a mark and an object": (b'\xef\xbb\xbf{"a":1}', [Frame('{"a":1}')]),
    "blank lines and events": (b"\r\n\n \ndata: {}\n\n", [Frame("{}")]),
    "blank lines and an object": (b'\r\n\n \n{"a":1}\n{"b":2}', [Frame('{"a":1}'), Frame('{"b":2}')]),
    "blank lines and a page": (b"\n\n<p>", [Frame("<p>")]),
    "nothing": (b"", []),
    "nothing but blanks": (b" \r\n\n", []),
    "nothing but a mark": (b"\xef\xbb\xbf", []),
    "half a mark": (b"\xef\xbb", []),
}


@pytest.mark.req("A6", "A9")
@pytest.mark.parametrize("name", BODIES)
def test_the_framing_is_what_the_bytes_are(name: str) -> None:
    """Whole, byte by byte and cut anywhere: each kind of body gives its frames."""
    body, want = BODIES[name]
    want = [Frame(frame.data.strip(), frame.event) for frame in want]
    assert _stripped(frames_of(SniffingFramer(), [body])) == want
    assert _stripped(frames_of(SniffingFramer(), single_bytes(body))) == want

    @PLENTY
    @given(places)
    def cut_anywhere(cuts: list[int]) -> None:
        assert _stripped(frames_of(SniffingFramer(), pieces(body, cuts))) == want

    cut_anywhere()


def _stripped(frames: list[Frame]) -> list[Frame]:
    """White space around JSON means nothing."""
    return [Frame(frame.data.strip(), frame.event) for frame in frames]


@pytest.mark.req("A6")
@pytest.mark.parametrize("start", [b"data: a\n\n", b'{"a":1}\n'])
def test_frames_are_not_held_back_for_the_decision(start: bytes) -> None:
    """A stream gives its first frame with the bytes that end it."""
    assert len(SniffingFramer().feed(start)) == 1


def test_deeply_nested_json_is_taken_as_a_body() -> None:
    """What cannot be parsed is not lines; nothing raises."""
    deep = b"[" * 100_000 + b"\n"
    assert [frame.data for frame in frames_of(SniffingFramer(), [deep])] == [deep.decode()]
