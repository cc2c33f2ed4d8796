"""The Messages encoder and its server: events to the wire and back, requests read as they were asked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from _anthropic import PROVIDER, Data
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Citation,
    ContextLengthExceededError,
    File,
    Finish,
    Image,
    InvalidRequestError,
    LLMError,
    OverloadedError,
    ProviderState,
    RateLimitError,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    ServerError,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    check_order,
    fold,
)
from asyncllm.events._errors import BY_KIND
from asyncllm.protocols import classify, classify_response
from asyncllm.protocols.anthropic import MessagesDecoder
from asyncllm.protocols.anthropic._encode import MessagesEncoder, message_body
from asyncllm.protocols.anthropic._errors import error_body, error_object

NO_WORD = {"connection": "server_error", "unknown": "server_error", "max_output": "invalid_request"}
"""Kinds that no code of the wire names: a client may read them as these."""


def said(*events: StreamEvent) -> list[Data]:
    encoder = MessagesEncoder(model="m", id="msg_1")
    frames = [frame for event in events for frame in encoder.encode(event)]
    assert all(json.loads(frame.data)["type"] == frame.event for frame in frames)
    return [json.loads(frame.data) for frame in frames]


def types(*events: StreamEvent) -> list[str]:
    """Of the wire's events, deltas and blocks by their own."""
    out = []
    for data in said(*events):
        inner = data.get("delta", data.get("content_block", {}))
        out.append(f"{data['type'].removeprefix('content_block_')} {inner.get('type', '')}".strip())
    return out


def decoded(frames: Iterable[str]) -> list[StreamEvent]:
    decoder = MessagesDecoder(model="m", provider=PROVIDER)
    events = [*decoder.decode(SimpleNamespace(data=line, event="message") for line in frames), *decoder.close()]
    check_order(events)
    return events


def there_and_back(events: Iterable[StreamEvent]) -> list[StreamEvent]:
    encoder = MessagesEncoder(model="m", id="msg_1")
    return decoded([frame.data for event in events for frame in encoder.encode(event)])


# ---- the order of the wire


def test_a_text_becomes_a_block() -> None:
    """The message, the block from its start to its end, the finish with the usage, the stop."""
    data = said(
        TextDelta("Hel"), Usage(input_tokens=9, cache_read_tokens=4, output_tokens=2), TextDelta("lo"), Finish("stop")
    )
    assert [item["type"] for item in data] == [
        "message_start",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert data[0]["message"] | {"usage": None} == {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "m",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": None,
    }
    assert data[5]["delta"] == {"stop_reason": "end_turn", "stop_sequence": None}
    assert data[5]["usage"] == {
        "input_tokens": 5,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 4,
        "output_tokens": 2,
        "output_tokens_details": {"thinking_tokens": 0},
    }


def test_blocks_follow_each_other() -> None:
    """Thinking, text and calls each in a block of their own, ended before the next."""
    signed = ProviderState("any", {"signature": "s"}, closes=True)
    assert types(
        StreamStart("x", "msg_9"),
        ReasoningDelta("hm"),
        ReasoningDelta("", signed),
        RefusalDelta("no"),
        ToolCallDelta(0, "c1", "f", ""),
        ToolCallDelta(0, "c1", "f", "{}"),
        ToolCall("c2", "g", {"a": 1}),
        Finish("tool_calls"),
    ) == [
        "message_start",
        *("start thinking", "delta thinking_delta", "delta signature_delta", "stop"),
        *("start text", "delta text_delta", "stop"),
        *("start tool_use", "delta input_json_delta", "stop"),
        *("start tool_use", "delta input_json_delta", "stop"),
        *("message_delta", "message_stop"),
    ]


def test_calls_whose_fragments_are_interleaved() -> None:
    """Both blocks are open until their own call is whole."""
    reply = fold(
        there_and_back(
            [
                ToolCallDelta(0, "a", "f", '{"x":'),
                ToolCallDelta(1, "b", "g", '{"y":'),
                ToolCallDelta(0, "a", "f", "1}"),
                ToolCall("a", "f", {"x": 1}, '{"x":1}'),
                ToolCallDelta(1, "b", "g", "2}"),
                Finish("tool_calls"),
            ]
        )
    )
    assert [(call.id, call.arguments) for call in reply.tool_calls] == [("a", {"x": 1}), ("b", {"y": 2})]


def test_a_name_in_pieces_is_said_whole() -> None:
    """A block's start cannot be changed: it waits for the first argument."""
    (start,) = (
        data["content_block"]
        for data in said(
            ToolCallDelta(0, "c", "get_", ""), ToolCallDelta(0, "c", "get_weather", "{}"), Finish("tool_calls")
        )
        if "content_block" in data
    )
    assert start == {"type": "tool_use", "id": "c", "name": "get_weather", "input": {}}


@pytest.mark.req("D11")
def test_a_call_without_arguments() -> None:
    """Said with an empty input, whether or not fragments announced it."""
    for events in ([ToolCall("c", "f", {})], [ToolCallDelta(0, "c", "f", "")]):
        (call,) = fold(there_and_back([*events, Finish("tool_calls")])).tool_calls
        assert (call.id, call.arguments) == ("c", {})


def test_what_the_provider_ran() -> None:
    """Without its state a result has the form of the wire; a caller's results have no place."""
    events = [
        ToolCall("s1", "web_search", {"q": 1}, executed=True),
        ToolResult("s1", "web_search", "found"),
        ToolResult("other", "f", "x"),
        Finish("stop"),
    ]
    found = there_and_back(events)
    assert [type(event).__name__ for event in found] == ["StreamStart", "ToolCall", "ToolResult", "Usage", "Finish"]
    result = found[2]
    assert isinstance(result, ToolResult)
    assert (result.id, result.name, result.text) == ("s1", "web_search", "found")


def test_what_the_wire_cannot_say() -> None:
    """Images, raw events, retries: nothing."""
    other = [
        Image(data=b"x"),
        RawEvent(1),
        Retrying(1, 0.1, ServerError("x")),
        File(data=b"x"),
        ToolResult("a", "f", "x"),
    ]
    assert said(*other) == []


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish("stop"), "end_turn"),
        (Finish("length"), "max_tokens"),
        (Finish("tool_calls"), "tool_use"),
        (Finish("content_filter"), "refusal"),
        (Finish("other"), "other"),
        (Finish("stop", "stop_sequence"), "stop_sequence"),
        (Finish("other", "pause_turn"), "pause_turn"),
        (Finish("other", "brand_new"), "brand_new"),
        (Finish("stop", "stop"), "end_turn"),
        (Finish("tool_calls", "tool_calls"), "tool_use"),
    ],
)
def test_stop_reasons_in_the_words_of_the_wire(finish: Finish, word: str) -> None:
    """Another wire's word becomes the one that means the same."""
    assert said(finish)[-2]["delta"]["stop_reason"] == word


def test_nothing_follows_the_end() -> None:
    """After a finish or an error every event is left out."""
    for end in (Finish("stop"), StreamError(ServerError("x"))):
        encoder = MessagesEncoder(model="m")
        encoder.encode(end)
        assert encoder.done
        assert encoder.encode(TextDelta("a")) == []


# ---- any script

words = st.text(min_size=1, max_size=6)
objects = st.dictionaries(words, st.integers() | words | st.none(), max_size=3)
any_events = st.one_of(
    st.builds(TextDelta, words),
    st.builds(ReasoningDelta, words),
    st.builds(RefusalDelta, words),
    st.builds(
        ToolCallDelta, st.integers(0, 3), st.sampled_from("ab"), words, st.sampled_from(["", "{", "}", '{"a":1}'])
    ),
    st.builds(ToolCall, st.sampled_from("abc"), words, objects),
    st.builds(ToolCall, st.sampled_from("de"), words, objects, executed=st.just(True)),
    st.builds(ToolResult, st.sampled_from("ade"), words, words),
    st.builds(Citation, words),
    st.builds(Usage, input_tokens=st.integers(0, 9)),
    st.builds(Image),
    st.builds(TextDelta, st.just(""), st.builds(ProviderState, words, objects, st.booleans())),
)


@PLENTY
@given(st.lists(any_events, max_size=12))
def test_any_events_make_a_legal_stream(events: list[StreamEvent]) -> None:
    """Whatever a script says, in whatever order: every block begins once and ends once, and the text arrives."""
    frames = said(*events, Finish("stop"))
    open_blocks: set[int] = set()
    for frame in frames:
        if frame["type"] == "content_block_start":
            assert frame["index"] not in open_blocks
            open_blocks.add(frame["index"])
        elif frame["type"] == "content_block_delta":
            assert frame["index"] in open_blocks
        elif frame["type"] == "content_block_stop":
            open_blocks.remove(frame["index"])
    assert not open_blocks
    texts = [event.text for event in events if isinstance(event, TextDelta | RefusalDelta)]
    assert fold(decoded(json.dumps(frame) for frame in frames)).text == "".join(texts)
    message_body([*events, Finish("stop")], model="m")


# ---- errors


@pytest.mark.req("C1", "C6")
@pytest.mark.parametrize("kind", BY_KIND)
def test_an_error_keeps_its_kind(kind: str) -> None:
    """Every kind of error comes back as itself, as an HTTP answer and inside a stream."""
    error = BY_KIND[kind]("it went wrong")
    status, content, headers = error_body(error)
    allowed = {kind, NO_WORD.get(kind, kind)}
    assert classify_response(status, headers, content).kind in allowed
    assert classify(error_object(error, None)).kind in allowed
    last = there_and_back([TextDelta("a"), StreamError(error)])[-1]
    assert isinstance(last, StreamError)
    assert last.error.kind in allowed


@pytest.mark.parametrize(
    ("error", "status", "type", "details"),
    [
        (OverloadedError("x"), 529, "overloaded_error", None),
        (
            ContextLengthExceededError("prompt is too long: 9 tokens > 8 maximum"),
            400,
            "invalid_request_error",
            {"error_code": "context_length_exceeded"},
        ),
        (
            RateLimitError("x", code="ramp_limit_exceeded"),
            429,
            "rate_limit_error",
            {"error_code": "ramp_limit_exceeded"},
        ),
        (RateLimitError("x", code="insufficient_quota"), 429, "rate_limit_error", None),
        (InvalidRequestError("x", status=413, code="invalid_request_error"), 413, "invalid_request_error", {}),
    ],
)
def test_an_error_in_the_form_of_the_api(error: LLMError, status: int, type: str, details: Any) -> None:
    """Its own type and status, and a finer code where it would not be read as another kind."""
    sent, content, _ = error_body(error)
    body = json.loads(content)
    assert (sent, body["type"]) == (status, "error")
    assert body["error"]["type"] == type
    assert body["error"].get("details") == (details if details != {} else body["error"].get("details"))


@pytest.mark.req("H11")
def test_an_error_keeps_its_hints() -> None:
    """How long to wait, whether to retry, and the request's id survive in headers, and in a stream without them."""
    error = RateLimitError("slow", retry_after=1.25, request_id="req_1", retryable=False)
    status, content, headers = error_body(error)
    assert (headers["retry-after"], headers["request-id"]) == ("2", "req_1")
    back = classify_response(status, headers, content)
    assert (back.retry_after, back.request_id, back.retryable) == (1.25, "req_1", False)
    inside = classify(error_object(error, None))
    assert (inside.retry_after, inside.request_id) == (1.25, "req_1")
    with pytest.raises(RateLimitError):
        message_body([TextDelta("a"), StreamError(error)], model="m")
