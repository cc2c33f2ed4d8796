"""Random JSON in every field of a chunk: nothing raises, the order stays legal, and both paths of the decoder agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import PLENTY, decode, decode_pieces, merged, pieces, places
from _replay import chunk_of, sse
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import Finish, RawEvent, StreamError, check_order, event_from_json, event_to_json, fold
from asyncllm.protocols.openai_chat import ChatQuirks

MORE = settings(PLENTY, max_examples=400)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from(
        [0.0, 1.5, -1e300, 1e400, float("nan"), 2**70, "", "stop", "0", "error", "{}", '{"a":1}', "x\ud83d"]
    )
    | st.text(max_size=4)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each as it should be or with anything in it."""
    return st.fixed_dictionaries({}, optional={name: value | anything for name, value in fields.items()})


words = st.sampled_from(["", "a", "b c", "é", "<think>", "</think>"])
functions = some({"name": st.sampled_from(["f", "g", ""]), "arguments": st.sampled_from(["", "{", "}", '{"a":1}'])})
fragments = some(
    {
        "index": st.integers(0, 2),
        "id": st.sampled_from(["c1", "c2", ""]),
        "function": functions,
        "extra_content": st.just({"google": {"thought_signature": "x"}}),
        "name": st.just("f"),
        "arguments": st.just("{}"),
    }
)
deltas = some(
    {
        "role": st.just("assistant"),
        "content": words,
        "reasoning": words,
        "reasoning_content": words,
        "reasoning_details": st.lists(some({"text": words, "summary": words}), max_size=2),
        "refusal": words,
        "tool_calls": st.lists(fragments, max_size=2),
        "function_call": functions,
    }
)
counts = some(
    {"prompt_tokens": st.integers(0, 9), "completion_tokens": st.integers(0, 9), "total_tokens": st.integers(0, 9)}
)
choices = some(
    {
        "index": st.just(0),
        "delta": deltas,
        "message": deltas,
        "text": words,
        "finish_reason": st.none(),
        "usage": counts,
        "error": st.none(),
    }
)
chunks = some(
    {
        "id": st.just("x"),
        "object": st.sampled_from(["chat.completion.chunk", "chat.completion", "error"]),
        "model": st.just("m"),
        "choices": st.lists(choices, min_size=1, max_size=2),
        "usage": counts | st.none(),
        "x_groq": some({"usage": counts, "error": st.none()}),
        "error": st.none(),
        "message": words,
        "detail": words,
        "base_resp": some({"status_code": st.integers(0, 2), "status_msg": words}),
    }
)
# a chunk is nearly always good, so that streams get somewhere
streams = st.lists(st.just(chunk_of({"content": "a"})) | chunks | anything, max_size=6)
quirks = st.builds(ChatQuirks, think_tags=st.booleans(), cumulative_text=st.booleans(), done_needs_finish=st.booleans())


def body_of(stream: list[Any], end: str) -> bytes:
    return sse(*(f"data: {json.dumps(chunk)}\n\n" for chunk in stream), end)


NASTY = ["Infinity", "-Infinity", "NaN", "1e400", '"' + "9" * 5000 + '"', "9" * 5000, '"٣"', "1.5", "-1", "[" * 2000]
PLACES = [
    '{"choices":[{"index":%s,"delta":{"content":"a"}}]}',
    '{"choices":[{"delta":{"tool_calls":[{"index":%s,"id":%s,"function":{"name":"f","arguments":%s}}]}}]}',
    '{"choices":[],"usage":{"prompt_tokens":%s,"cost":%s}}',
    '{"choices":[{"delta":{"content":"a"},"finish_reason":%s}]}',
    '{"choices":[{"delta":{"content":"a"}}],"error":{"code":%s,"status":%s}}',
    '{"error":{"code":%s}}',
    "%s",
]


@pytest.mark.req("G3", "C6")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", NASTY, ids=lambda value: value[:12])
def test_numbers_that_are_none_break_nothing(value: str, place: str) -> None:
    """Infinity, NaN, thousands of digits and JSON too deep to parse, in every place of a number."""
    frame = b"data: " + place.replace("%s", value).encode() + b"\n\n"
    for body in (frame, sse(chunk_of({"content": "a"})) + frame):
        check_order(decode(body))


ends = st.sampled_from(["", "data: [DONE]\n\n", "data: {"])


@MORE
@pytest.mark.req("G3", "G4")
@given(streams, ends, quirks, places)
def test_no_json_breaks_the_decoder(stream: list[Any], end: str, quirks: ChatQuirks, cuts: list[int]) -> None:
    """Whatever a server sends, in whatever reads: a legal order, one Finish or StreamError at the end, and it folds."""
    body = body_of(stream, end)
    events = decode(body, quirks=quirks)
    check_order(events)
    assert isinstance(events[-1], Finish | StreamError)
    assert sum(isinstance(event, Finish | StreamError) for event in events) == 1
    fold(events)
    again = decode_pieces(pieces(body, cuts), quirks=quirks)
    check_order(again)
    assert repr(merged(again)) == repr(merged(events))  # NaN is not equal to itself


@MORE
@pytest.mark.req("G4")
@given(streams, ends)
def test_the_fast_path_and_the_careful_one_agree(stream: list[Any], end: str) -> None:
    """With raw=True every chunk takes the careful path: but for the raw events, the events are the same."""
    body = body_of(stream, end)
    careful = [event for event in decode(body, raw=True) if not isinstance(event, RawEvent)]
    assert repr(merged(careful)) == repr(merged(decode(body)))


@PLENTY
@given(streams, ends)
def test_the_text_of_any_answer_can_be_written(stream: list[Any], end: str) -> None:
    """Deltas hold no half characters: text, reasoning and arguments can be sent on as UTF-8."""
    for event in decode(body_of(stream, end)):
        for name in ("text", "arguments"):
            value = getattr(event, name, "")
            if isinstance(value, str):
                value.encode()
        if type(event).__name__ in ("TextDelta", "ReasoningDelta", "RefusalDelta", "Finish"):
            assert event_from_json(event_to_json(event)) == event
