"""Bytes to events without a socket, cut in any way: what the tests of the pure layers share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from _replay import sse
from hypothesis import settings
from hypothesis import strategies as st

from asyncllm.events import (
    Finish,
    LLMError,
    RawEvent,
    Reply,
    StreamError,
    StreamEvent,
    ToolCall,
    ToolCallDelta,
    check_order,
    fold,
)
from asyncllm.protocols import Decoder, Encoded, Request
from asyncllm.protocols.openai_chat import ChatCodec, ChatQuirks
from asyncllm.transports import Frame, Framer, SniffingFramer

# the same examples in each run, and no clock in the verdict
PLENTY = settings(max_examples=150, deadline=None, derandomize=True, database=None)
SOME = settings(max_examples=25, deadline=None, derandomize=True, database=None)

PROVIDER = "test"
REQUEST = Request(model="m", messages=())


def pieces(data: bytes, cuts: Iterable[int]) -> list[bytes]:
    """`data` cut at these places (whatever they are, modulo its length)."""
    places = sorted({cut % (len(data) + 1) for cut in cuts})
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def single_bytes(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


places = st.lists(st.integers(0, 1 << 20), max_size=30)


def decode_read(decoder: Decoder, found: list[Any]) -> list[StreamEvent]:
    """The events of what a framer has read, which are frames or lines: as the HTTP backend has them."""
    return decoder.decode_lines(found) if found and isinstance(found[0], bytes) else decoder.decode(found)


def frames_of(framer: Framer, chunks: Iterable[bytes]) -> list[Frame]:
    frames: list[Frame] = []
    for chunk in chunks:
        frames += framer.feed(chunk)
    return frames + framer.close()


def decode_pieces(
    chunks: Iterable[bytes], *, quirks: ChatQuirks | None = None, raw: bool = False, close: bool = True
) -> list[StreamEvent]:
    """The events of these reads of one body, as the HTTP backend has them."""
    request = Request(model="m", messages=(), raw=raw)
    decoder = ChatCodec(PROVIDER, quirks).decoder(request, Encoded("/", b""))
    framer = SniffingFramer()
    events: list[StreamEvent] = []
    try:
        for chunk in chunks:
            events += decode_read(decoder, framer.read(chunk))
        if close:
            events += decoder.close(framer.close())
    except LLMError as error:
        events += decoder.fail(error)
    return events


def decode(body: bytes, **options: Any) -> list[StreamEvent]:
    """The events of a body that came in one read, checked to be in a legal order."""
    events = decode_pieces([body], **options)
    if options.get("close", True):
        check_order(events)
    return events


def events_of(*frames: dict[str, Any] | str, **options: Any) -> list[StreamEvent]:
    """The events of these chunks (a string is sent as it is), which must be the same byte by byte."""
    body = sse(*frames)
    events = decode(body, **options)
    assert merged(decode_pieces(single_bytes(body), **options)) == merged(events)
    return events


def reply_of(*frames: dict[str, Any] | str, **options: Any) -> Reply[object]:
    """What a stream that ends well adds up to."""
    events = events_of(*frames, **options)
    assert isinstance(events[-1], Finish), events[-1]
    return fold(events)


def error_of(*frames: dict[str, Any] | str, **options: Any) -> LLMError:
    """The error with which the stream of these chunks ends."""
    return failure(events_of(*frames, **options))


def failure(events: Sequence[StreamEvent]) -> LLMError:
    last = events[-1]
    assert isinstance(last, StreamError), last
    return last.error


def calls_of(events: Iterable[StreamEvent]) -> list[ToolCall]:
    return [event for event in events if isinstance(event, ToolCall)]


def raws_of(events: Iterable[StreamEvent]) -> list[object]:
    return [event.data for event in events if isinstance(event, RawEvent)]


def merged(events: Iterable[StreamEvent]) -> list[object]:
    """Events in a form that can be compared: an error by what it says, random ids of calls by their order."""
    ids: dict[str, str] = {}
    return list(_comparable(events, ids))


def _comparable(events: Iterable[StreamEvent], ids: dict[str, str]) -> Iterator[object]:
    for event in events:
        match event:
            case StreamError(error=error):
                yield type(error), error.to_dict()
            case ToolCall() | ToolCallDelta():
                known = ids.setdefault(event.id, f"id {len(ids)}") if event.id.startswith("call_") else event.id
                yield type(event), known, event.name, event.arguments
            case _:
                yield event
