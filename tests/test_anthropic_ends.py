"""How answers of the Messages wire end, what they cost, and what in them is not understood."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _anthropic import (
    CASE,
    PING,
    STOP,
    Data,
    begun,
    block,
    call_block,
    ended,
    error_of,
    events_of,
    reply_of,
    text_block,
    wire,
)
from _decoding import calls_of, failure, raws_of

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    ProtocolError,
    ReasoningDelta,
    ServerError,
    StreamError,
    fold,
)

# ---- how it ends


@pytest.mark.req("B6")
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("refusal", "content_filter"),
        ("pause_turn", "other"),
        ("compaction", "other"),
        ("something_new", "other"),
    ],
)
def test_stop_reasons(word: str, reason: str) -> None:
    """Normalised, with the word kept."""
    reply = reply_of(begun(), text_block(0, "a"), ended(word))
    assert (reply.finish_reason, reply.raw_finish_reason, reply.finish_details) == (reason, word, None)


def test_a_refusal_says_why() -> None:
    """It is a finish with details, not an error: the API answered, and what was said before it is there."""
    why = {"type": "refusal", "category": "cyber", "explanation": "This could enable harm."}
    reply = reply_of(begun(), text_block(0, "Well"), ended("refusal", stop_details=why))
    assert (reply.finish_reason, reply.text, reply.refusal) == ("content_filter", "Well", None)
    assert reply.finish_details == {"stop_details": why}


def test_stop_sequence_and_container_are_details() -> None:
    """What ended the answer, and the container that code ran in, for who goes on with it."""
    container = {"id": "container_1", "expires_at": "2026-12-01T00:00:00Z"}
    reply = reply_of(begun(), text_block(0, "a"), ended("stop_sequence", stop_sequence="END", container=container))
    assert reply.finish_details == {"stop_sequence": "END", "container": container}


@pytest.mark.req("B1")
def test_message_stop_without_a_reason_is_no_end() -> None:
    """Somebody cut the answer and closed it properly: no "stop" is invented."""
    error = error_of(begun(), text_block(0, "a"), STOP)
    assert isinstance(error, IncompleteStreamError)
    assert isinstance(error_of(begun(), text_block(0, "a"), ended(None)), IncompleteStreamError)
    assert isinstance(error_of(begun(), "data: [DONE]\n\n"), IncompleteStreamError)


@pytest.mark.req("B2", "B3")
def test_several_message_deltas() -> None:
    """The reason may come before the last usage; both count."""
    first = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}
    last = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 7}}
    reply = reply_of(begun(), text_block(0, "a"), first, last, STOP)
    assert reply.usage is not None
    assert (reply.usage.output_tokens, reply.finish_reason) == (7, "stop")


def test_calls_of_a_stream_that_breaks() -> None:
    """What its own block had ended is whole; what is cut is invalid."""
    found = events_of(begun(), call_block(0, "a", "f", '{"x":1}'), call_block(1, "b", "f", '{"y"')[:2])
    first, second = calls_of(found)
    assert (first.arguments, second.arguments, second.raw_arguments) == ({"x": 1}, None, '{"y"')
    assert isinstance(failure(found), IncompleteStreamError)
    (waiting,) = calls_of(events_of(begun(), call_block(0, "a", "f")))
    assert waiting.invalid


# ---- usage


@pytest.mark.req("F1", "F6", "F7")
def test_usage_is_merged_over_the_events() -> None:
    """Counts are cumulative; what is absent or null keeps its value; the input includes what the cache had."""
    counts = {"output_tokens": 30, "input_tokens": None, "output_tokens_details": {"thinking_tokens": 25}}
    reply = reply_of(
        begun(cache_read_input_tokens=100, cache_creation_input_tokens=7), text_block(0, "a"), ended(usage=counts)
    )
    usage = reply.usage
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens, usage.cache_write_tokens) == (117, 100, 7)
    assert (usage.output_tokens, usage.reasoning_tokens, usage.estimated) == (30, 25, False)
    assert usage.raw is not None
    assert usage.raw["input_tokens"] == 10


@pytest.mark.req("F6")
def test_servers_that_know_the_input_only_at_the_end() -> None:
    """Zero at the start, the real counts in the delta."""
    reply = reply_of(begun(input_tokens=0), text_block(0, "a"), ended(usage={"input_tokens": 43, "output_tokens": 12}))
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (43, 12)


@pytest.mark.req("F9")
@pytest.mark.parametrize("end", [[], [{"type": "error", "error": {"type": "overloaded_error", "message": "x"}}]])
def test_usage_of_a_stream_that_broke_is_an_estimate(end: list[Data]) -> None:
    """The input is known since the start, the output is counted in characters, and both are marked."""
    found = events_of(begun(cache_read_input_tokens=5), text_block(0, "a" * 400), end)
    usage = fold(found).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (15, 100, True)
    assert isinstance(found[-1], StreamError)


@pytest.mark.req("F9")
def test_an_answer_without_a_final_count() -> None:
    """A message_delta without usage: what the start said is an estimate, never silently the whole."""
    reply = reply_of(
        begun(), text_block(0, "abcdefgh"), {"type": "message_delta", "delta": {"stop_reason": "end_turn"}}, STOP
    )
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.estimated) == (10, 2, True)


# ---- what is not understood


@pytest.mark.req("G4")
def test_what_is_new_is_skipped_and_raw_on_request() -> None:
    """Events, blocks, deltas and fields that nobody knew: no error, and there for who asks."""
    frames: list[Any] = [
        begun(),
        {"type": "new_event", "x": 1},
        block(0, "text", {"type": "new_delta", "y": 1}, {"type": "text_delta", "text": "ok"}, text=""),
        block(1, "hologram", data="z"),
        {**ended()[0], "context_management": {"applied_edits": []}},
        STOP,
    ]
    plain, raw = events_of(*frames), events_of(*frames, raw=True)
    assert [event for event in raw if type(event).__name__ != "RawEvent"] == plain
    assert fold(plain).text == "ok"
    seen = json.dumps(raws_of(raw))
    assert all(word in seen for word in ("new_event", "new_delta", "hologram", "context_management"))
    assert len(raws_of(raw)) == 4
    assert raws_of(events_of(begun(), PING, text_block(0, "a"), ended(), raw=True)) == []


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        ("data: {not json\n\n", ProtocolError),
        ("data: <html>oops</html>\n\n", ProtocolError),
        ('event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n', ServerError),
        ('data: {"error":{"type":"invalid_request_error","message":"x"}}\n\n', InvalidRequestError),
        ('data: {"message":"internal failure"}\n\n', ServerError),
        ("event: error\ndata: it broke\n\n", ServerError),
    ],
)
@pytest.mark.req("A7", "C6")
def test_frames_that_are_errors(frame: str, kind: type[Exception]) -> None:
    """Broken JSON, pages and errors of any form end the stream with their class, and what came before is kept."""
    found = events_of(begun(), text_block(0, "a"), frame)
    assert type(failure(found)) is kind
    assert fold(found).text == "a"


def test_comments_and_keep_alives_in_data() -> None:
    """They say nothing (A8)."""
    assert events_of(begun(), "data: : ping\n\n", ": hi\n\n", "data:\n\n", text_block(0, "a"), ended()) == events_of(
        begun(), text_block(0, "a"), ended()
    )


def test_nothing_after_the_end_counts() -> None:
    """Late events are not looked at."""
    found = CASE.decode(wire(begun(), text_block(0, "a"), ended(), text_block(1, "late"), begun()))
    assert fold(found).text == "a"
    assert isinstance(found[-1], Finish)
    assert not [event for event in found if isinstance(event, ReasoningDelta)]
