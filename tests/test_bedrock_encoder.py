"""The Converse encoder: events to frames and bodies, errors to exceptions, and all of it back through our own decoder."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from _converse import BEDROCK, PROVIDER
from _decoding import PLENTY, failure, merged
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
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
    fold,
)
from asyncllm.events._errors import BY_KIND
from asyncllm.protocols import WireFrame, classify_response
from asyncllm.protocols.bedrock._encode import ConverseEncoder, converse_body
from asyncllm.protocols.bedrock._errors import error_body, stream_error
from asyncllm.transports import encode_event_stream

NO_WORD = {
    "connection": "server_error",
    "unknown": "server_error",
    "protocol": "server_error",
    "max_output": "invalid_request",
}
"""Kinds that no exception of the wire names: a client may read them as these."""

BEGIN = StreamStart("m", "", PROVIDER)


def frames(*events: StreamEvent) -> list[WireFrame]:
    encoder = ConverseEncoder()
    return [frame for event in events for frame in encoder.encode(event)]


def said(*events: StreamEvent) -> list[tuple[str, Any]]:
    return [(frame.event, json.loads(frame.data)) for frame in frames(*events)]


def decoded(*events: StreamEvent) -> list[StreamEvent]:
    body = b"".join(encode_event_stream(frame.data, event=frame.event) for frame in frames(*events))
    return [
        msgspec.structs.replace(event, raw=None) if isinstance(event, Usage) else event
        for event in BEDROCK.decode(body)
    ]


def test_a_text_is_said_as_the_service_says_it() -> None:
    """No start for a block of text, a stop for each, the usage after the end."""
    usage = Usage(input_tokens=9, output_tokens=2, cache_read_tokens=3, cache_write_tokens=1)
    assert said(TextDelta("Hel"), usage, TextDelta("lo"), Finish("stop")) == [
        ("messageStart", {"role": "assistant"}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hel"}}),
        ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "lo"}}),
        ("contentBlockStop", {"contentBlockIndex": 0}),
        ("messageStop", {"stopReason": "end_turn"}),
        (
            "metadata",
            {
                "usage": {
                    "inputTokens": 5,
                    "outputTokens": 2,
                    "totalTokens": 11,
                    "cacheReadInputTokens": 3,
                    "cacheWriteInputTokens": 1,
                },
                "metrics": {"latencyMs": 0},
            },
        ),
    ]


def test_the_frame_that_ends_an_answer_is_marked() -> None:
    """Faults that take the end away must know it; there is no terminator after it."""
    assert [frame.kind for frame in frames(TextDelta("a"), Usage(), Finish("stop"))][-2:] == ["finish", "chunk"]


def test_blocks_are_numbered_and_calls_may_interleave() -> None:
    """Each call has its own index from its first fragment on, and ends where it is whole, or with the answer."""
    found = said(
        TextDelta("a"),
        ToolCallDelta(0, "x", "f", ""),
        ToolCallDelta(1, "y", "g", "{"),
        ToolCallDelta(0, "x", "f", "{}"),
        ToolCall("x", "f", {}, "{}"),
        ToolCallDelta(1, "y", "g", "}"),
        Finish("tool_calls"),
    )
    assert [(event, data.get("contentBlockIndex")) for event, data in found[1:]] == [
        ("contentBlockDelta", 0),
        ("contentBlockStop", 0),
        ("contentBlockStart", 1),
        ("contentBlockStart", 2),
        ("contentBlockDelta", 2),
        ("contentBlockDelta", 1),
        ("contentBlockStop", 1),
        ("contentBlockDelta", 2),
        ("contentBlockStop", 2),
        ("messageStop", None),
    ]


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish("stop"), "end_turn"),
        (Finish("tool_calls", "tool_calls"), "tool_use"),
        (Finish("length", "model_context_window_exceeded"), "model_context_window_exceeded"),
        (Finish("content_filter"), "content_filtered"),
        (Finish("error"), "malformed_model_output"),
        (Finish("other", "brand_new"), "brand_new"),
    ],
)
def test_the_stop_reason_is_a_word_of_the_wire(finish: Finish, word: str) -> None:
    """The raw word where it is one, else the one that means the same."""
    assert said(finish)[-1] == ("messageStop", {"stopReason": word})


def test_what_the_wire_has_no_word_for_is_left_out() -> None:
    """Sound, files, retries, raw events, images at an address, and results of tools that the caller runs."""
    left_out = [Audio(b""), File(b""), Retrying(1, 0.1, ServerError("x")), RawEvent({}), Image(url="http://x")]
    assert said(BEGIN, *left_out, ToolResult("t", "f", "x")) == [("messageStart", {"role": "assistant"})]


def test_a_refusal_is_text() -> None:
    """The wire knows no other way to say one."""
    assert fold(decoded(RefusalDelta("no"), Finish("stop"))).text == "no"


def test_nothing_follows_the_end() -> None:
    """After Finish or StreamError every event is ignored."""
    for end in (Finish("stop"), StreamError(OverloadedError("busy"))):
        encoder = ConverseEncoder()
        encoder.encode(end)
        assert encoder.done
        assert encoder.encode(TextDelta("late")) == []


@pytest.mark.req("A1")
def test_output_is_ascii_and_lone_surrogates_are_replaced() -> None:
    """U+2028 is escaped; half of a character becomes U+FFFD."""
    events = [TextDelta("a\u2028\ud83d\ude00 \ud83d."), ToolCall("t", "f", {"k": "\ud800"}), Finish("stop")]
    assert all(frame.data.isascii() for frame in frames(*events))
    assert converse_body(events).isascii()
    assert fold(decoded(*events)).text == "a\u2028😀 \ufffd."


# ---- there and back

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
objects = st.dictionaries(st.text("abc", max_size=2), st.integers() | st.booleans(), min_size=1, max_size=2)


def state(**data: object) -> ProviderState:
    return ProviderState(PROVIDER, data)


def call(id: int, value: dict[str, Any], pieces: int) -> list[StreamEvent]:
    raw = json.dumps(value, separators=(",", ":"))
    parts = ["", *(raw[at : at + pieces] for at in range(0, len(raw), pieces))]
    return [*(ToolCallDelta(0, f"t{id}", "f", part) for part in parts), ToolCall(f"t{id}", "f", value, raw)]


def executed(id: int, value: dict[str, Any]) -> list[StreamEvent]:
    raw = json.dumps(value, separators=(",", ":"))
    content = [{"text": "found"}, {"json": value}]
    block = {"toolUseId": f"s{id}", "type": "nova_grounding_result", "status": "error", "content": content}
    return [
        ToolCall(f"s{id}", "search", value, raw, state=state(type="server_tool_use"), executed=True),
        ToolResult(f"s{id}", "search", f"found\n{raw}", True, state(toolResult=block)),
    ]


def thought(texts: list[str], sealed: dict[str, object]) -> list[StreamEvent]:
    return [*map(ReasoningDelta, texts), ReasoningDelta("", ProviderState(PROVIDER, sealed, closes=True))]


def cited(words: str) -> list[StreamEvent]:
    raw = {"title": words, "sourceContent": [{"text": "q"}], "location": {"web": {"url": "https://a.example"}}}
    return [Citation("https://a.example", words, None, None, "q", raw)]


blocks = st.one_of(
    st.lists(text.map(TextDelta), min_size=1, max_size=2),
    st.builds(thought, st.lists(text, max_size=2), st.builds(dict, signature=text)),
    st.builds(thought, st.just([]), st.builds(dict, redactedContent=st.just("U0VD"))),
    st.builds(call, st.integers(0, 9999), objects, st.integers(1, 20)),
    st.builds(executed, st.integers(0, 9999), objects),
    st.builds(cited, text),
    st.builds(
        lambda data: [Image(data=data, media_type="image/webp", state=state(format="webp"))], st.binary(min_size=1)
    ),
)
usages = st.builds(
    lambda given, made, read, write: Usage(
        input_tokens=given + read + write, output_tokens=made, cache_read_tokens=read, cache_write_tokens=write
    ),
    *[st.integers(0, 99)] * 4,
)
finishes = st.sampled_from(
    [
        Finish("stop", "end_turn"),
        Finish("length", "max_tokens"),
        Finish("content_filter", "guardrail_intervened", {"trace": {"guardrail": {"x": 1}}}),
        Finish("stop", "stop_sequence", {"additionalModelResponseFields": {"stop_sequence": "END"}}),
    ]
)


def settled(said: list[list[StreamEvent]], usage: Usage, finish: Finish) -> list[StreamEvent]:
    """One answer as a decoder says it: calls are counted and have ids of their own, and a call makes the reason one."""
    events: list[StreamEvent] = []
    calls: list[str] = []
    ids: set[str] = set()
    for block in said:
        if isinstance(block[-1], ToolCall | ToolResult) and block[-1].id in ids:
            continue
        for event in block:
            if isinstance(event, ToolCallDelta):
                if event.id not in calls:
                    calls.append(event.id)
                event = msgspec.structs.replace(event, index=calls.index(event.id))
            elif isinstance(event, ToolCall):
                ids.add(event.id)
            events.append(event)
    if calls and finish.reason == "stop":
        finish = msgspec.structs.replace(finish, reason="tool_calls")
    return [BEGIN, *events, usage, finish]


def placeless(events: list[StreamEvent]) -> list[StreamEvent]:
    """Without the offsets of citations, which depend on what was said around them."""
    return [
        msgspec.structs.replace(event, start=None, end=None) if isinstance(event, Citation) else event
        for event in events
    ]


@PLENTY
@pytest.mark.req("E7", "F7", "seed-A7")
@given(st.lists(blocks, max_size=6), usages, finishes)
def test_what_was_encoded_decodes_to_the_same(said: list[list[StreamEvent]], usage: Usage, finish: Finish) -> None:
    """Text, signed and sealed reasoning, calls, the provider's own tools, sources, images, usage, the end and its details."""
    events = settled(said, usage, finish)
    assert placeless(decoded(*events)) == events


@PLENTY
@pytest.mark.req("E7", "seed-A7")
@given(st.lists(blocks, max_size=6), usages, finishes)
def test_a_whole_answer_decodes_to_the_same_reply(said: list[list[StreamEvent]], usage: Usage, finish: Finish) -> None:
    """The body of an answer that is not streamed, through the same decoder: the same parts, usage and end."""
    events = settled(said, usage, finish)
    want, got = fold(events), fold(BEDROCK.decode(converse_body(events)))
    assert got.message == want.message
    assert (got.finish_reason, got.raw_finish_reason, got.finish_details) == (
        want.finish_reason,
        want.raw_finish_reason,
        want.finish_details,
    )
    assert [source.raw for source in got.citations] == [source.raw for source in want.citations]
    assert got.usage is not None
    assert msgspec.structs.replace(got.usage, raw=None) == want.usage


def test_an_answer_in_other_hands_is_the_same() -> None:
    """Calls without deltas, an invalid call, a call without arguments, a result without the provider's own object."""
    reply = fold(
        decoded(
            ToolCall("a", "f", {"x": 1}),
            ToolCall("b", "f", None, "{", "cut"),
            ToolCall("c", "f", {}),
            ToolCall("s", "search", {}, executed=True),
            ToolResult("s", "search", "found"),
            Finish("tool_calls"),
        )
    )
    assert [(call.id, call.arguments, call.raw_arguments) for call in reply.tool_calls] == [
        ("a", {"x": 1}, '{"x":1}'),
        ("b", None, "{"),
        ("c", {}, ""),
    ]
    assert [part.text for part in reply.message.parts if isinstance(part, ToolResult)] == ["found"]
    body = json.loads(converse_body([ToolCall("b", "f", None, "{", "cut"), Finish("tool_calls")]))
    assert body["output"]["message"]["content"] == [{"toolUse": {"toolUseId": "b", "name": "f", "input": "{"}}]
    (call,) = fold(BEDROCK.decode(json.dumps(body).encode())).tool_calls
    assert call.invalid


def test_estimated_usage_says_so() -> None:
    """A count that no model reported is marked, there and back."""
    usage = Usage(input_tokens=1, output_tokens=2, estimated=True)
    assert usage in decoded(TextDelta("a"), usage, Finish("stop"))


def test_a_stream_error_is_no_answer() -> None:
    """A broken answer never becomes a body that looks whole: its error is raised."""
    with pytest.raises(OverloadedError, match="busy"):
        converse_body([TextDelta("a"), StreamError(OverloadedError("busy"))])


# ---- errors


@pytest.mark.req("C1", "C6", "C8", "seed-C")
@pytest.mark.parametrize("kind", BY_KIND)
def test_an_error_keeps_its_kind(kind: str) -> None:
    """Every kind of error comes back as itself, as an HTTP answer and inside a stream, with its message."""
    error = BY_KIND[kind]("it went wrong")
    allowed = {kind, NO_WORD.get(kind, kind)}
    status, body, headers = error_body(error)
    back = classify_response(status, headers, body)
    inside = failure(decoded(TextDelta("a"), StreamError(error)))
    for found in (back, inside):
        assert found.kind in allowed
        assert "it went wrong" in found.message
    assert back.code == headers["x-amzn-errortype"]


@pytest.mark.parametrize(
    ("error", "status", "name"),
    [
        (OverloadedError("x", status=503, code="serviceUnavailableException"), 503, "ServiceUnavailableException"),
        (RateLimitError("x", status=429, code="ModelNotReadyException"), 429, "ModelNotReadyException"),
        (ServerError("x", status=424, code="ModelErrorException"), 424, "ModelErrorException"),
        (InvalidRequestError("x", status=400, code="ThrottlingException"), 400, "ValidationException"),
        (RateLimitError("x", status=200, code="rate_limit_exceeded"), 429, "ThrottlingException"),
        (ContextLengthExceededError("Input is too long for requested model.", status=400), 400, "ValidationException"),
    ],
)
def test_an_error_keeps_its_own_status_and_name_where_they_fit(error: LLMError, status: int, name: str) -> None:
    """The service's own words are passed on, unless they would be read as another kind of error."""
    sent, body, headers = error_body(error)
    assert (sent, headers["x-amzn-errortype"]) == (status, name)
    assert classify_response(sent, headers, body).kind == error.kind
    assert json.loads(body)["message"] == error.message


@pytest.mark.req("H11")
def test_an_error_keeps_its_hints() -> None:
    """How long to wait, whether to retry, and the request's id, which the service has no room for in a stream."""
    error = RateLimitError("slow", retry_after=1.25, request_id="req_1", retryable=False)
    back = classify_response(*_swapped(error_body(error)))
    assert (back.retry_after, back.request_id, back.retryable) == (1.25, "req_1", False)
    assert stream_error(error).event == "exception:throttlingException"


def _swapped(answer: tuple[int, bytes, dict[str, str]]) -> tuple[int, dict[str, str], bytes]:
    status, body, headers = answer
    return status, headers, body


def test_the_same_answer_gives_the_same_events() -> None:
    """Nothing in a decoded answer is random but the ids that were missing."""
    events = [TextDelta("a"), ToolCall("t", "f", {"x": 1}), Finish("tool_calls")]
    assert merged(decoded(*events)) == merged(decoded(*events))
