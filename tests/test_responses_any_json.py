"""Random JSON in every field of an event: nothing raises, the order stays legal, and both paths of the decoder agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import PLENTY, merged, pieces, places
from _wirecase import WireCase, sse_borders
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import Finish, Message, RawEvent, StreamError, check_order, event_from_json, event_to_json, fold
from asyncllm.protocols import Request
from asyncllm.protocols.openai_responses import ResponsesCodec, ResponsesQuirks

MORE = settings(PLENTY, max_examples=400)
CASES = [
    WireCase("openai_responses", lambda: ResponsesCodec("me"), sse_borders),
    WireCase("openai_responses", lambda: ResponsesCodec("me", ResponsesQuirks(store=True)), sse_borders),
]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([0.0, 1.5, 1e400, float("nan"), 2**70, "", "completed", "0", "error", "{}", '{"a":1}', "x\ud83d"])
    | st.text(max_size=4)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def some(fields: dict[str, st.SearchStrategy[Any]], **always: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Objects with some of these fields, each as it should be or with anything in it."""
    return st.fixed_dictionaries(
        {name: value | anything for name, value in always.items()},
        optional={name: value | anything for name, value in fields.items()},
    )


words = st.sampled_from(["", "a", "ab", "abc", "é", "\ud83d", "\ude00", '{"a":', "1}"])
ids = st.sampled_from(["i1", "i2", "i3"])
small = st.integers(0, 2)
annotations = some({"type": st.just("url_citation"), "start_index": small, "end_index": small, "url": words})
parts = some(
    {
        "type": st.sampled_from(["output_text", "refusal", "summary_text", "reasoning_text"]),
        "text": words,
        "refusal": words,
        "annotations": st.lists(annotations, max_size=2),
    }
)
kinds = st.sampled_from(
    [
        "message",
        "reasoning",
        "function_call",
        "custom_tool_call",
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "shell_call",
        "shell_call_output",
        "computer_call",
        "mcp_approval_request",
        "compaction",
        "hologram",
    ]
)
items = some(
    {
        "id": ids,
        "call_id": ids,
        "name": st.sampled_from(["f", ""]),
        "arguments": words,
        "input": words,
        "status": st.sampled_from(["completed", "incomplete", "failed"]),
        "content": st.lists(parts, max_size=2),
        "summary": st.lists(parts, max_size=2),
        "encrypted_content": words,
        "phase": words,
        "action": some({"sources": st.lists(anything, max_size=1), "commands": anything}),
        "environment": some({"type": st.sampled_from(["local", "container_reference"])}),
        "outputs": st.lists(some({"logs": words, "url": words}), max_size=2),
        "output": words | st.lists(some({"stdout": words}), max_size=1),
        "result": st.just("aGk="),
        "error": some({"message": words}),
    },
    type=kinds,
)
responses = some(
    {
        "id": st.just("r"),
        "status": st.sampled_from(["completed", "incomplete", "in_progress", "cancelled", "failed"]),
        "background": st.booleans(),
        "store": st.booleans(),
        "model": st.just("m"),
        "output": st.lists(items, max_size=3),
        "usage": some({"input_tokens": small, "output_tokens": small}),
        "error": st.none(),
        "incomplete_details": some({"reason": st.just("max_output_tokens")}),
        "object": st.just("response"),
    }
)
names = st.sampled_from(
    [
        "created",
        "in_progress",
        "output_item.added",
        "output_item.done",
        "content_part.added",
        "content_part.done",
        "output_text.delta",
        "output_text.done",
        "output_text.annotation.added",
        "refusal.delta",
        "refusal.done",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "reasoning_text.delta",
        "reasoning_text.done",
        "audio.delta",
        "audio.done",
        "audio.transcript.delta",
        "shell_call_output_content.delta",
        "hologram.delta",
        "hologram.done",
        "completed",
        "incomplete",
        "failed",
    ]
).map(lambda name: f"response.{name}")
frames = some(
    {
        "output_index": small,
        "item_id": ids,
        "content_index": small,
        "summary_index": small,
        "sequence_number": st.integers(0, 9),
        "delta": words,
        "text": words,
        "refusal": words,
        "arguments": words,
        "input": words,
        "name": words,
        "item": items,
        "part": parts,
        "annotation": annotations,
        "response": responses,
        "logprobs": st.just([]),
    },
    type=names,
)
TEXT = {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "i1", "delta": "a"}
streams = st.lists(st.just(TEXT) | frames | anything, max_size=8)
END = {"type": "response.completed", "response": {"status": "completed"}}
ends = st.sampled_from(["", "data: [DONE]\n\n", "data: {", f"data: {json.dumps(END)}\n\n"])
cases = st.sampled_from(CASES)


def body_of(stream: list[Any], end: str) -> bytes:
    return "".join([*(f"data: {json.dumps(frame)}\n\n" for frame in stream), end]).encode()


@MORE
@pytest.mark.req("G3", "G4")
@given(streams, ends, cases, places)
def test_no_json_breaks_the_decoder(stream: list[Any], end: str, case: WireCase, cuts: list[int]) -> None:
    """Whatever a server sends, in whatever reads: a legal order, one Finish or StreamError at the end, and it folds."""
    body = body_of(stream, end)
    events = case.decode(body)
    assert isinstance(events[-1], Finish | StreamError)
    assert sum(isinstance(event, Finish | StreamError) for event in events) == 1
    fold(events)
    again = case.decode_pieces(pieces(body, cuts))
    check_order(again)
    assert repr(merged(again)) == repr(merged(events))  # NaN is not equal to itself


@MORE
@pytest.mark.req("G4")
@given(streams, ends, cases)
def test_the_fast_path_and_the_careful_one_agree(stream: list[Any], end: str, case: WireCase) -> None:
    """With raw=True every event takes the careful path: but for the raw events, the events are the same."""
    body = body_of(stream, end)
    careful = [event for event in case.decode(body, raw=True) if not isinstance(event, RawEvent)]
    assert repr(merged(careful)) == repr(merged(case.decode(body)))


@PLENTY
@given(streams, ends)
def test_the_text_of_any_answer_can_be_written(stream: list[Any], end: str) -> None:
    """Deltas hold no half characters: text, reasoning and arguments can be sent on as UTF-8."""
    for event in CASES[0].decode(body_of(stream, end)):
        for name in ("text", "arguments", "raw_arguments"):
            value = getattr(event, name, "")
            if isinstance(value, str):
                value.encode()
        if type(event).__name__ in ("RefusalDelta", "ToolCallDelta", "Finish"):
            assert event_from_json(event_to_json(event)) == event


@PLENTY
@given(streams, cases)
def test_any_answer_can_go_back(stream: list[Any], case: WireCase) -> None:
    """What a decoder makes of anything can be sent to the same provider: the encoder never fails on it."""
    events = case.decode(body_of([*stream, TEXT], f"data: {json.dumps(END)}\n\n"))
    reply = fold(events)
    case.make_codec().encode(Request(model="m", messages=(Message("user", "Hi"), *reply.messages)))
