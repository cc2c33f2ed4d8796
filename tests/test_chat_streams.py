"""Every recorded chat stream: what it says, and that no cut of its bytes changes that or goes unnoticed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from _decoding import PLENTY, decode, decode_pieces, failure, merged, pieces, places, single_bytes
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
from asyncllm.protocols.openai_chat import ChatQuirks

STREAMS = sorted((Path(__file__).parent / "fixtures" / "streams" / "openai_chat").glob("*.sse"))
each_stream = pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)

NOT_WHOLE = "truncated_mid_event"
"""The one stream whose error is ours: it was cut."""

DELTAS = (TextDelta, ReasoningDelta, RefusalDelta, ToolCallDelta)


def expected(path: Path) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(path.with_suffix(".expected.json").read_text())
    return data


def said(events: list[StreamEvent]) -> list[object]:
    """The deltas of events, which alone a cut may not change."""
    return merged([event for event in events if isinstance(event, DELTAS)])


@pytest.mark.req("B3", "B5", "B6", "D8", "E1", "E2", "E4", "F1", "F2", "F4", "G1", "G2", "G3", "seed-B3", "seed-B5")
@each_stream
def test_stream_says_what_is_expected(path: Path) -> None:
    """Text, reasoning, refusal, calls with their raw arguments, usage, finish and error of a stream."""
    want = expected(path)
    events = decode(path.read_bytes())
    reply = fold(events)
    assert reply.text == want["text"]
    assert reply.reasoning == want["reasoning"]
    assert reply.refusal == want["refusal"]
    calls = want["tool_calls"] or ([want["function_call"]] if "function_call" in want else [])
    assert [(call.name, call.raw_arguments) for call in reply.tool_calls] == [
        (call["name"], call["arguments"]) for call in calls
    ]
    assert [call.id for call, wanted in zip(reply.tool_calls, calls, strict=True) if "id" in wanted] == [
        wanted["id"] for wanted in calls if "id" in wanted
    ]
    assert reply.complete == want["complete"]
    last = events[-1]
    if want["error"] is None:
        assert isinstance(last, Finish)
        assert last.raw == want["finish_reason"]
        assert last.reason == want.get("finish_reason_normal", normal(want))
    else:
        error = failure(events)
        assert error.kind == want["error"]["kind"]
        assert path.stem == NOT_WHOLE or want["error"]["message"] in error.message
    check_usage(reply.usage, want["usage"])


def normal(want: dict[str, Any]) -> str:
    """The finish reason that the raw one of a stream stands for."""
    raw = want["finish_reason"]
    return {None: "other", "function_call": "tool_calls"}.get(raw, raw)


def check_usage(usage: Any, want: dict[str, int] | None) -> None:
    if want is None:
        assert usage is None or usage.estimated
        return
    assert not usage.estimated
    assert (usage.input_tokens, usage.output_tokens, usage.total_tokens) == (
        want["input"],
        want["output"],
        want["total"],
    )
    assert usage.cache_read_tokens == want.get("cached_input", 0)
    assert usage.cache_write_tokens == want.get("cache_write", 0)
    assert usage.reasoning_tokens == want.get("reasoning", 0)


@pytest.mark.req("A2", "A3")
@each_stream
def test_cuts_change_nothing(path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events."""
    body = path.read_bytes()
    whole = merged(decode(body))
    assert merged(decode_pieces(single_bytes(body))) == whole

    @PLENTY
    @given(places)
    def cut_anywhere(cuts: list[int]) -> None:
        assert merged(decode_pieces(pieces(body, cuts))) == whole

    cut_anywhere()


def check_truncated(body: bytes, whole: list[StreamEvent], at: int) -> None:
    events = decode(body[:at])
    cut, full = said(events), said(whole)
    if cut[-1:] == [TextDelta("\ufffd")]:  # the cut took the other half of a character
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
        assert error.retryable == (ours.retryable if same(error, ours) and ours is not None else True)
        assert all(call.invalid for call in events if isinstance(call, ToolCall))


def same(error: LLMError, other: LLMError | None) -> bool:
    return other is not None and error.to_dict() == other.to_dict()


@pytest.mark.req("B1", "B3", "seed-B7")
@each_stream
def test_truncated_after_every_frame(path: Path) -> None:
    """What arrived is kept; the end is the stream's own, or IncompleteStreamError, and never invented."""
    body = path.read_bytes()
    whole = decode(body)
    separator = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    at = 0
    while at >= 0:
        check_truncated(body, whole, at)
        at = body.find(separator, at)
        at = at + len(separator) if at >= 0 else -1


@pytest.mark.req("B1", "B9")
@each_stream
def test_truncated_after_any_byte(path: Path) -> None:
    """Also in the middle of a frame, of a line, of a character. Every seventh byte, and all of the last hundred."""
    body = path.read_bytes()
    whole = decode(body)
    for at in {*range(0, len(body), 7), *range(max(0, len(body) - 100), len(body))}:
        check_truncated(body, whole, at)


@pytest.mark.req("B11")
def test_done_without_a_finish_reason_is_an_end_only_where_the_server_means_it() -> None:
    """It is complete with an unknown reason by default, and an aborted request where the row says so (vllm)."""
    body = next(path for path in STREAMS if path.stem == "dev_done_without_finish").read_bytes()
    assert decode(body)[-1] == Finish("other")
    error = failure(decode(body, quirks=ChatQuirks(done_needs_finish=True)))
    assert isinstance(error, IncompleteStreamError)


def test_think_tags_are_split_on_request() -> None:
    """The stream with tags gives reasoning and text apart where the row says so."""
    path = next(path for path in STREAMS if path.stem == "dev_think_tags")
    want = expected(path)
    body = path.read_bytes()
    events = decode(body, quirks=ChatQuirks(think_tags=True))
    assert fold(events).text == want["text_without_think"]
    assert fold(events).reasoning == want["reasoning_from_think"]
    check_order(decode_pieces(single_bytes(body), quirks=ChatQuirks(think_tags=True)))


@pytest.mark.req("G4")
@pytest.mark.parametrize(
    ("name", "key"), [("audio", "audio"), ("logprobs", "logprobs"), ("dev_perplexity_citations", "citations")]
)
def test_what_is_not_understood_is_there_raw(name: str, key: str) -> None:
    """Audio, log probabilities and citations are not dropped: they come as raw events, where asked for."""
    body = next(path for path in STREAMS if path.stem == name).read_bytes()
    plain, raw = decode(body), decode(body, raw=True)
    assert merged(event for event in raw if type(event).__name__ != "RawEvent") == merged(plain)
    assert f'"{key}"' in json.dumps([event.data for event in raw if type(event).__name__ == "RawEvent"])
