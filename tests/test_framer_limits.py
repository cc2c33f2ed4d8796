"""The limits of the framers: too large a frame is a typed error, after the frames before it; the cost is linear."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import pytest
from _decoding import PLENTY, frames_of, pieces, places
from hypothesis import given

from asyncllm.events import ProtocolError
from asyncllm.transports import Frame, Framer, JSONLinesFramer, SniffingFramer, SSEFramer

LIMIT = 64
FRAMERS: dict[str, Callable[..., Framer]] = {
    "sse": SSEFramer,
    "json_lines": JSONLinesFramer,
    "sniffing": SniffingFramer,
}
GOOD = {"sse": b"data: ok\n\n", "json_lines": b'{"ok":1}\n', "sniffing": b"data: ok\n\n"}
FIRST = {"sse": Frame("ok"), "json_lines": Frame('{"ok":1}'), "sniffing": Frame("ok")}
LARGE = {
    "an endless line": b"data: " + b"x" * 200,
    "a large event": b"data: " + b"x" * 200 + b"\n\n",
    "an endless comment": b":" + b" " * 200,
    "many small lines": b"data: x\n" * 30,
}


def feed_all(framer: Framer, chunks: list[bytes]) -> tuple[list[Frame], ProtocolError | None]:
    """The frames that come out before the error, and the error."""
    frames: list[Frame] = []
    try:
        for chunk in chunks:
            frames += framer.feed(chunk)
        frames += framer.close()
    except ProtocolError as error:
        return frames, error
    return frames, None


@pytest.mark.req("A10")
@pytest.mark.parametrize(
    ("name", "large"),
    [(name, large) for name in FRAMERS for large in LARGE if (name, large) != ("json_lines", "many small lines")],
)
def test_too_large_a_frame_is_an_error_after_the_frames_before_it(name: str, large: str) -> None:
    """In one read or in many: the good frame first, then one ProtocolError with the start of the bytes, for ever."""
    body = GOOD[name] + LARGE[large]

    @PLENTY
    @given(places)
    def cut_anywhere(cuts: list[int]) -> None:
        framer = FRAMERS[name](max_frame_bytes=LIMIT)
        frames, error = feed_all(framer, pieces(body, cuts))
        assert frames == [FIRST[name]]
        assert error is not None
        assert not error.retryable
        assert str(LIMIT) in error.message
        assert error.body
        assert LARGE[large].decode().startswith(error.body[:8])
        with pytest.raises(ProtocolError):
            framer.feed(b"data: more\n\n")
        with pytest.raises(ProtocolError):
            framer.close()

    cut_anywhere()


@pytest.mark.req("A10")
@pytest.mark.parametrize("name", FRAMERS)
def test_the_error_waits_until_the_frames_of_its_read_are_out(name: str) -> None:
    """A read with a good frame and a bad one gives the good one; the error comes with the next call."""
    framer = FRAMERS[name](max_frame_bytes=LIMIT)
    assert framer.feed(GOOD[name] + b"data: " + b"x" * 200) == [FIRST[name]]
    with pytest.raises(ProtocolError):
        framer.close()


@pytest.mark.req("A10")
def test_a_frame_at_the_limit_passes() -> None:
    """The limit is the most that is allowed, in one read and in two."""
    event = b"data: " + b"x" * (LIMIT - 6)
    for chunks in ([event + b"\n\n"], [event, b"\n\n"], [event[:9], event[9:] + b"\n\n"]):
        assert frames_of(SSEFramer(max_frame_bytes=LIMIT), chunks) == [Frame("x" * (LIMIT - 6))]
    assert frames_of(JSONLinesFramer(max_frame_bytes=LIMIT), [b"x" * LIMIT + b"\n"]) == [Frame("x" * LIMIT)]


@pytest.mark.req("A10")
def test_a_large_body_in_small_reads_is_an_error_too() -> None:
    """The body that is one frame has the same limit."""
    frames, error = feed_all(SniffingFramer(max_frame_bytes=LIMIT), [b"<html>"] + [b"x" * 10] * 30)
    assert frames == []
    assert error is not None
    assert error.body == "<html>"


@pytest.mark.req("A10")
def test_endless_blanks_are_bounded() -> None:
    """Leading blank lines are not kept while the framer waits for the first word."""
    framer = SniffingFramer(max_frame_bytes=LIMIT)
    tracemalloc.start()
    try:
        for _ in range(2000):
            assert framer.feed(b"\r\n" * 500) == []
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert held < 100_000  # of two million bytes fed
    assert framer.feed(b"data: a\n\n") == [Frame("a")]


@pytest.mark.parametrize("name", ["sse", "json_lines", "sniffing_sse", "sniffing_json_lines", "sniffing_body"])
def test_a_long_frame_in_small_reads_is_joined_once(name: str) -> None:
    """The cost is linear: while a frame of 1 MB comes in reads of 1 kB, no copy of what is held is ever made."""
    start = {
        "sse": b"data: ",
        "json_lines": b'{"a":"',
        "sniffing_sse": b"data: ",
        "sniffing_json_lines": b'{}\n{"a":"',
        "sniffing_body": b'{"a":"',
    }[name]
    framer: Framer = SSEFramer() if name == "sse" else JSONLinesFramer() if name == "json_lines" else SniffingFramer()
    framer.feed(start)
    read = b"x" * 1000
    tracemalloc.start()
    try:
        worst = 0
        for _ in range(1000):
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            assert framer.feed(read) == []
            _, peak = tracemalloc.get_traced_memory()
            worst = max(worst, peak - before)
    finally:
        tracemalloc.stop()
    assert worst < 50_000  # a copy of what is held would be a hundred times that at the end


def test_a_failed_body_stays_failed() -> None:
    """A reader that goes on after the error gets it again."""
    framer = SniffingFramer(max_frame_bytes=LIMIT)
    for _ in range(2):
        with pytest.raises(ProtocolError):
            framer.feed(b"<" + b"x" * 200)


@pytest.mark.req("A10")
def test_nothing_after_a_large_event_is_read() -> None:
    """What stands in the same read behind an event too large is not delivered: the stream has failed there."""
    framer = SSEFramer(max_frame_bytes=LIMIT)
    assert framer.feed(b"data: ok\n\ndata: " + b"x" * 200 + b"\n\ndata: late\n\n") == [Frame("ok")]
    with pytest.raises(ProtocolError):
        framer.close()
