"""Random JSON in every field of the Messages wire: nothing raises, the order stays legal, and both paths agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _anthropic import CASE, begun, block, ended, text_block, wire
from _decoding import PLENTY, merged, pieces, places
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import Finish, RawEvent, StreamError, check_order, event_from_json, event_to_json, fold

MORE = settings(PLENTY, max_examples=400)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([0.0, 1.5, -1e300, 1e400, float("nan"), 2**70, "", "text", "0", "error", "{}", "x\ud83d"])
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


words = st.sampled_from(["", "a", "b c", "é", "x\ud83d", "\ude00"])
ids = st.sampled_from(["", "c1", "c2"])
blocks = some(
    {
        "type": st.sampled_from(
            [
                *("text", "thinking", "redacted_thinking", "tool_use", "server_tool_use", "mcp_tool_use", "hologram"),
                *("web_search_tool_result", "mcp_tool_result", "compaction", "container_upload", "_tool_result"),
            ]
        ),
        "text": words,
        "thinking": words,
        "signature": words,
        "data": words,
        "id": ids,
        "name": st.sampled_from(["f", ""]),
        "input": st.just({}) | st.just({"a": 1}),
        "caller": st.just({"type": "direct"}),
        "tool_use_id": ids,
        "content": words | st.lists(some({"text": words, "url": words, "content": words}), max_size=2),
        "citations": st.lists(some({"url": words, "cited_text": words}), max_size=2),
        "file_id": words,
        "is_error": st.booleans(),
    }
)
deltas = some(
    {
        "type": st.sampled_from(
            [
                "text_delta",
                "thinking_delta",
                "signature_delta",
                "input_json_delta",
                "citations_delta",
                "compaction_delta",
            ]
        ),
        "text": words,
        "thinking": words,
        "signature": words,
        "partial_json": st.sampled_from(["", "{", "}", '{"a":1}', "x\ud83d"]),
        "citation": some({"type": st.just("char_location"), "cited_text": words}),
        "content": words,
        "stop_reason": st.sampled_from(["end_turn", "max_tokens", "tool_use", "new"]) | st.none(),
        "stop_sequence": words,
    }
)
counts = some({"input_tokens": st.integers(0, 9), "output_tokens": st.integers(0, 9)})
messages = some(
    {"id": words, "model": words, "content": st.lists(blocks, max_size=2), "usage": counts, "stop_reason": st.none()}
)
indexes = st.integers(0, 2)
frames = some(
    {
        "type": st.sampled_from(
            ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta"] * 3
            + ["message_stop", "ping", "error", "message", "new_event"]
        ),
        "index": indexes,
        "message": messages,
        "content_block": blocks,
        "delta": deltas,
        "usage": counts,
        "content": st.lists(blocks, max_size=2),
        "error": st.none(),
        "detail": words,
    }
)
starts = st.builds(
    lambda index, data: {"type": "content_block_start", "index": index, "content_block": data}, indexes, blocks
)
said = st.builds(lambda index, data: {"type": "content_block_delta", "index": index, "delta": data}, indexes, deltas)
good = st.sampled_from(
    [begun(), *text_block(0, "a"), *block(1, "thinking", {"type": "thinking_delta", "thinking": "b"})]
)
# an event is mostly good, so that streams get somewhere
streams = st.lists(good | starts | said | frames | anything, max_size=10)
ends = st.sampled_from(["", "data: [DONE]\n\n", "data: {", wire(ended()).decode()])


def body_of(stream: list[Any], end: str) -> bytes:
    return wire(*(f"data: {json.dumps(event)}\n\n" for event in stream), end)


@MORE
@pytest.mark.req("G3", "G4")
@given(streams, ends, places)
def test_no_json_breaks_the_decoder(stream: list[Any], end: str, cuts: list[int]) -> None:
    """Whatever a server sends, in whatever reads: a legal order, one Finish or StreamError at the end, and it folds."""
    body = body_of(stream, end)
    events = CASE.decode(body)
    assert isinstance(events[-1], Finish | StreamError)
    assert sum(isinstance(event, Finish | StreamError) for event in events) == 1
    fold(events)
    again = CASE.decode_pieces(pieces(body, cuts))
    check_order(again)
    assert repr(merged(again)) == repr(merged(events))  # NaN is not equal to itself


@MORE
@pytest.mark.req("G4")
@given(streams, ends)
def test_the_fast_path_and_the_careful_one_agree(stream: list[Any], end: str) -> None:
    """With raw=True every event takes the careful path: but for the raw events, they are the same."""
    body = body_of(stream, end)
    careful = [event for event in CASE.decode(body, raw=True) if not isinstance(event, RawEvent)]
    assert repr(merged(careful)) == repr(merged(CASE.decode(body)))


@PLENTY
@given(streams, ends)
def test_the_text_of_any_answer_can_be_written(stream: list[Any], end: str) -> None:
    """Deltas hold no half characters: text, thinking and arguments can be sent on as UTF-8."""
    for event in CASE.decode(body_of(stream, end)):
        for name in ("text", "arguments"):
            value = getattr(event, name, "")
            if isinstance(value, str) and type(event).__name__.endswith("Delta"):
                value.encode()
        if type(event).__name__ in ("TextDelta", "ReasoningDelta") and event.state is None:  # type: ignore[union-attr]
            assert event_from_json(event_to_json(event)) == event


NASTY = ["Infinity", "-Infinity", "NaN", "1e400", '"' + "9" * 5000 + '"', "9" * 5000, '"٣"', "1.5", "-1", "[" * 2000]
PLACES = [
    '{"type":"content_block_start","index":%s,"content_block":{"type":"text","text":"a"}}',
    '{"type":"content_block_delta","index":%s,"delta":{"type":"text_delta","text":"a"}}',
    '{"type":"content_block_start","index":0,"content_block":{"type":"tool_use","id":%s,"name":%s,"input":%s}}',
    '{"type":"message_delta","delta":{"stop_reason":%s},"usage":{"output_tokens":%s,"input_tokens":%s}}',
    '{"type":"error","error":{"type":%s,"message":%s}}',
    "%s",
]


@pytest.mark.req("G3", "C6")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", NASTY, ids=lambda value: value[:12])
def test_numbers_that_are_none_break_nothing(value: str, place: str) -> None:
    """Infinity, NaN, thousands of digits and JSON too deep to parse, in every place of a number."""
    frame = "data: " + place.replace("%s", value) + "\n\n"
    for before in ([], [begun(), *text_block(0, "a")]):
        check_order(CASE.decode(wire(*before, frame)))
        check_order(CASE.decode(wire(*before, frame, *ended())))
