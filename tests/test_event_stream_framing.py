"""AWS event stream messages: read and written as botocore does it, checked byte by byte, and cheap however they come."""

from __future__ import annotations

import struct
import tracemalloc
from zlib import crc32

import pytest
from _decoding import PLENTY, frames_of, pieces, places, single_bytes
from botocore.eventstream import EventStreamBuffer, EventStreamMessage
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import ProtocolError
from asyncllm.transports import EventStreamFramer, Frame, SniffingFramer, encode_event_stream

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
names = st.text(st.characters(min_codepoint=97, max_codepoint=122), min_size=1, max_size=12)
events = st.one_of(names, names.map("exception:{}".format), names.map("error:{}".format))
frames = st.lists(st.builds(Frame, text, events), max_size=5)


def encoded(items: list[Frame]) -> bytes:
    return b"".join(encode_event_stream(frame.data, event=frame.event) for frame in items)


def read_by_botocore(body: bytes) -> list[EventStreamMessage]:
    buffer = EventStreamBuffer()
    buffer.add_data(body)
    return list(buffer)


def message(headers: bytes, payload: bytes = b"{}") -> bytes:
    """A message with headers of any shape and good checksums."""
    lengths = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = lengths + struct.pack(">I", crc32(lengths)) + headers + payload
    return body + struct.pack(">I", crc32(body))


def header(name: str, kind: int, value: bytes) -> bytes:
    return bytes([len(name)]) + name.encode() + bytes([kind]) + value


def string(name: str, value: str) -> bytes:
    return header(name, 7, struct.pack(">H", len(value.encode())) + value.encode())


EVENT = string(":message-type", "event") + string(":event-type", "metadata")


@PLENTY
@pytest.mark.req("seed-A7")
@given(frames, places)
def test_what_was_written_is_read_wherever_it_is_cut(items: list[Frame], cuts: list[int]) -> None:
    """Events, exceptions and errors come back as they were, under the framer's own name and when it is sniffed."""
    body = encoded(items)
    assert frames_of(EventStreamFramer(), pieces(body, cuts)) == items
    assert frames_of(EventStreamFramer(), single_bytes(body)) == items
    assert frames_of(SniffingFramer(), pieces(body, cuts)) == items


@PLENTY
@pytest.mark.req("seed-A7")
@given(frames)
def test_botocore_reads_what_we_write(items: list[Frame]) -> None:
    """Both checksums, the headers and the payload are as another implementation wants them."""
    for item, found in zip(items, read_by_botocore(encoded(items)), strict=True):
        kind, _, name = item.event.partition(":")
        if item.event.startswith("error:"):
            assert found.headers == {":message-type": "error", ":error-code": name, ":error-message": item.data}
        else:
            named = {":event-type": item.event} if not name else {":exception-type": name}
            kind = "exception" if name else "event"
            assert found.headers == {":message-type": kind, ":content-type": "application/json", **named}
            assert found.payload == item.data.encode()


@pytest.mark.req("G4", "seed-A7")
def test_headers_of_every_type_are_passed_over() -> None:
    """A header that says nothing to us may be of any type of the specification, and botocore reads the same message."""
    others = b"".join(
        [
            header("yes", 0, b""),
            header("no", 1, b""),
            header("i8", 2, b"\x01"),
            header("i16", 3, b"\x00\x01"),
            header("i32", 4, b"\x00" * 4),
            header("i64", 5, b"\x00" * 8),
            header("raw", 6, struct.pack(">H", 3) + b"\xff\xfe\xfd"),
            header("when", 8, b"\x00" * 8),
            header("uuid", 9, b"\x00" * 16),
        ]
    )
    for block in (others + EVENT, EVENT + others):
        body = message(block)
        assert frames_of(EventStreamFramer(), [body]) == [Frame("{}", "metadata")]
        assert read_by_botocore(body)[0].headers[":event-type"] == "metadata"


def test_a_message_that_does_not_say_what_it_is() -> None:
    """Without headers it is a message like those of other framings; a payload that is no UTF-8 breaks nothing."""
    assert frames_of(EventStreamFramer(), [message(b"", b"\xff")]) == [Frame("\ufffd", "message")]


BROKEN = {
    "a type of header that does not exist": message(header("x", 10, b"")),
    "a name longer than its block": message(b"\x09abc"),
    "a value longer than its block": message(header("x", 7, struct.pack(">H", 99) + b"short")),
    "a length that is cut": message(header("x", 7, b"\x00")),
    "a name that is no UTF-8": message(b"\x02\xff\xfe\x00"),
    "a header without a type": message(b"\x01x"),
}


def flipped(body: bytes, at: int) -> bytes:
    return body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]


@pytest.mark.req("C11", "seed-A7")
@pytest.mark.parametrize("name", BROKEN)
def test_headers_that_cannot_be_read_are_a_typed_error(name: str) -> None:
    """The checksums are good and the headers are not."""
    with pytest.raises(ProtocolError, match="headers"):
        EventStreamFramer().feed(BROKEN[name])


@pytest.mark.req("C11", "seed-A7")
def test_every_damaged_byte_is_noticed() -> None:
    """Wherever a byte is damaged, the good message before it comes out, and then an error, for ever; nothing else does."""
    good = encode_event_stream('{"role":"assistant"}', event="messageStart")
    for at in range(len(good)):
        body = good + flipped(good, at)
        for chunks in ([body], single_bytes(body)):
            framer = EventStreamFramer()
            found: list[Frame] = []
            with pytest.raises(ProtocolError) as caught:
                for chunk in chunks:
                    found += framer.feed(chunk)
                found += framer.close()
            assert found == [Frame('{"role":"assistant"}', "messageStart")]
            assert caught.value.retryable
            with pytest.raises(ProtocolError):
                framer.feed(good)
            with pytest.raises(ProtocolError):
                framer.close()


@pytest.mark.parametrize(("length", "headers"), [(15, 0), (0, 0), (16, 1), (100, 90), (2**31, 128 * 1024 + 1)], ids=str)
def test_lengths_that_cannot_be(length: int, headers: int) -> None:
    """A message shorter than what is around it, or with more headers than the specification allows, is not waited for."""
    lengths = struct.pack(">II", length, headers)
    with pytest.raises(ProtocolError, match="lengths"):
        EventStreamFramer().feed(lengths + struct.pack(">I", crc32(lengths)))


@pytest.mark.req("A10", "seed-A7")
def test_too_large_a_message_is_an_error_after_those_before_it() -> None:
    """It is known by its first twelve bytes; at the limit it passes."""
    good = encode_event_stream("{}", event="metadata")
    large = encode_event_stream("x" * 500, event="metadata")
    assert len(frames_of(EventStreamFramer(max_frame_bytes=len(large)), [good + large])) == 2
    for make in (EventStreamFramer, SniffingFramer):
        framer = make(max_frame_bytes=len(large) - 1)
        assert framer.feed(good + large[:12]) == [Frame("{}", "metadata")]
        with pytest.raises(ProtocolError, match="larger than") as caught:
            framer.feed(large[12:])
        assert not caught.value.retryable


def test_half_a_message_at_the_end_is_no_frame() -> None:
    """Whether the stream was whole without it is not for the framer to say."""
    good = encode_event_stream("{}", event="metadata")
    for cut in range(len(good)):
        assert frames_of(EventStreamFramer(), [good + good[:cut]]) == [Frame("{}", "metadata")]


def test_a_long_message_in_small_reads_is_joined_once() -> None:
    """The cost is linear: no copy of what is held is made while 1 MB comes in reads of 1 kB."""
    body = encode_event_stream("x" * 1_000_000, event="contentBlockDelta")
    reads = [body[at : at + 1000] for at in range(0, len(body), 1000)]
    framer = EventStreamFramer()
    worst = 0
    tracemalloc.start()
    try:
        for read in reads[:-1]:
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            assert framer.feed(read) == []
            _, peak = tracemalloc.get_traced_memory()
            worst = max(worst, peak - before)
    finally:
        tracemalloc.stop()
    assert worst < 50_000
    assert len(framer.feed(reads[-1])) == 1


def test_what_no_header_can_hold_is_refused() -> None:
    """A name or an error's text longer than 65535 bytes."""
    with pytest.raises(ValueError, match="65535"):
        encode_event_stream("x" * 70_000, event="error:Large")
