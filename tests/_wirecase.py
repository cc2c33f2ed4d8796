"""What the tests of every wire share: recorded streams, cuts, truncations, and the way there and back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _decoding import PLENTY, SOME, calls_of, decode_read, failure, merged, pieces, places, single_bytes
from hypothesis import given

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    LLMError,
    ReasoningDelta,
    RefusalDelta,
    StreamError,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    check_order,
    fold,
)
from asyncllm.protocols import Codec, Encoded, Request, finish_reason
from asyncllm.transports import Framer, SniffingFramer

FIXTURES = Path(__file__).parent / "fixtures" / "streams"
DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


@dataclass(frozen=True)
class WireCase:
    """One wire: its codec, its framer, and where a body of it may be cut between two frames (`borders`)."""

    name: str
    make_codec: Callable[[], Codec]
    borders: Callable[[bytes], Sequence[int]]
    make_framer: Callable[[], Framer] = SniffingFramer
    suffix: str = ".sse"
    request: Request = field(default_factory=lambda: Request(model="m", messages=()))

    @property
    def streams(self) -> list[Path]:
        found = sorted((FIXTURES / self.name).glob(f"*{self.suffix}"))
        assert found, f"no streams of {self.name}"
        return found

    def decode_pieces(self, chunks: Iterable[bytes], *, raw: bool = False, close: bool = True) -> list[StreamEvent]:
        """The events of these reads of one body, as the HTTP backend has them."""
        request = Request(model=self.request.model, messages=self.request.messages, raw=raw)
        decoder = self.make_codec().decoder(request, Encoded("/", b""))
        framer = self.make_framer()
        events: list[StreamEvent] = []
        try:
            for chunk in chunks:
                events += decode_read(
                    decoder, framer.read(chunk) if isinstance(framer, SniffingFramer) else framer.feed(chunk)
                )
            if close:
                events += decoder.close(framer.close())
        except LLMError as error:
            events += decoder.fail(error)
        return events

    def decode(self, body: bytes, **options: Any) -> list[StreamEvent]:
        """The events of a body that came in one read, checked to be in a legal order."""
        events = self.decode_pieces([body], **options)
        if options.get("close", True):
            check_order(events)
        return events


def sse_borders(body: bytes) -> list[int]:
    separator = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    borders = [0]
    while (at := body.find(separator, borders[-1])) >= 0:
        borders.append(at + len(separator))
    return borders


def line_borders(body: bytes) -> list[int]:
    return [0, *(at + 1 for at, byte in enumerate(body) if byte == 0x0A)]


def expected(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.with_name(f"{path.stem}.expected.json").read_text())
    return data


def check_said(case: WireCase, path: Path) -> None:
    """Text, reasoning, refusal, calls with their raw arguments, usage, finish and error of a stream are as expected."""
    want = expected(path)
    events = case.decode(path.read_bytes())
    reply = fold(events)
    assert reply.text == want["text"]
    assert reply.reasoning == want["reasoning"]
    assert reply.refusal == want.get("refusal")
    calls = want["tool_calls"] or ([want["function_call"]] if "function_call" in want else [])
    assert [(call.name, call.raw_arguments) for call in reply.tool_calls] == [
        (call["name"], call["arguments"]) for call in calls
    ]
    assert [call.id for call, wanted in zip(reply.tool_calls, calls, strict=True) if wanted.get("id")] == [
        wanted["id"] for wanted in calls if wanted.get("id")
    ]
    assert reply.complete == want["complete"]
    last = events[-1]
    if want["error"] is None and want["complete"]:
        assert isinstance(last, Finish)
        assert last.raw == want["finish_reason"]
        if not calls:
            assert last.reason == want.get("finish_reason_normal", finish_reason(last.raw))
    else:
        error = failure(events)
        if want["error"] is not None:
            assert error.kind == want["error"]["kind"]
            # of a stream that was cut the words are ours
            assert error.kind == "protocol" or want["error"].get("message", "") in error.message
    check_usage(reply.usage, want.get("usage"))


def check_usage(usage: Any, want: dict[str, int] | None) -> None:
    if want is None:
        assert usage is None or usage.estimated
        return
    assert not usage.estimated
    assert (usage.input_tokens, usage.output_tokens) == (want["input"], want["output"])
    assert usage.total_tokens == want.get("total", usage.total_tokens)
    assert usage.cache_read_tokens == want.get("cached_input", 0)
    assert usage.cache_write_tokens == want.get("cache_write", 0)
    assert usage.reasoning_tokens == want.get("reasoning", 0)


def check_cuts(case: WireCase, path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events."""
    body = path.read_bytes()
    whole = merged(case.decode(body))
    assert merged(case.decode_pieces(single_bytes(body))) == whole

    @PLENTY
    @given(places)
    def cut_anywhere(cuts: list[int]) -> None:
        assert merged(case.decode_pieces(pieces(body, cuts))) == whole

    cut_anywhere()


def check_truncations(case: WireCase, path: Path) -> None:
    """Truncated after every frame, after every seventh byte, and after each of the last hundred."""
    body = path.read_bytes()
    whole = case.decode(body)
    places = {*case.borders(body), *range(0, len(body), 7), *range(max(0, len(body) - 100), len(body))}
    for at in sorted(places):
        check_truncated(case, body, whole, at)


def check_truncated(case: WireCase, body: bytes, whole: list[StreamEvent], at: int) -> None:
    """What arrived is kept; the end is the stream's own, or IncompleteStreamError, and never invented."""
    events = case.decode(body[:at])
    cut, full = said(events), said(whole)
    if cut[-1:] in ([TextDelta("\ufffd")], [ReasoningDelta("\ufffd")]):  # the cut took the other half of a character
        cut.pop()
    assert cut == full[: len(cut)]
    last = events[-1]
    if isinstance(last, Finish):  # the model had said that it was done: only a tail is missing
        assert isinstance(whole[-1], Finish)
        assert last == whole[-1]
        assert cut == full
    else:
        error = failure(events)
        ours = failure(whole) if isinstance(whole[-1], StreamError) else None
        assert isinstance(error, IncompleteStreamError) or same(error, ours)
        assert all(call.invalid or said_whole(call, whole) for call in events if isinstance(call, ToolCall))


def said_whole(call: ToolCall, whole: list[StreamEvent]) -> bool:
    """Whether a call before a cut had been said whole, by itself: then it is what it is in the whole stream."""
    return any((call.name, call.arguments) == (other.name, other.arguments) for other in calls_of(whole))


def same(error: LLMError, other: LLMError | None) -> bool:
    return other is not None and error.to_dict() == other.to_dict()


def said(events: list[StreamEvent]) -> list[object]:
    """The deltas of events, which alone a cut may not change."""
    return merged([event for event in events if isinstance(event, DELTAS)])


__all__ = [
    "PLENTY",
    "SOME",
    "WireCase",
    "check_cuts",
    "check_said",
    "check_truncations",
    "expected",
    "line_borders",
    "said",
    "sse_borders",
]
