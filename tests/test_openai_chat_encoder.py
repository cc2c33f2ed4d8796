"""The chat encoder: events to chunks and bodies, errors to error bodies, and all of it back through our own decoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    ContextLengthExceededError,
    Finish,
    InvalidRequestError,
    LLMError,
    Message,
    OverloadedError,
    ProviderState,
    RateLimitError,
    RawEvent,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Retrying,
    ServerError,
    StreamError,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    fold,
)
from asyncllm.events._errors import BY_KIND
from asyncllm.protocols._classify import classify, classify_response
from asyncllm.protocols.openai_chat import ChatDecoder, ChatQuirks
from asyncllm.protocols.openai_chat._encode import ChatEncoder, completion_body, error_body, error_text

NO_WORD = {"connection": "server_error", "unknown": "server_error", "max_output": "invalid_request"}
"""Kinds that no code of the wire names: a client may read them as these."""


def texts(*events: StreamEvent, **options: object) -> list[str]:
    encoder = ChatEncoder(model="m", id="chatcmpl-1", created=1, **options)  # type: ignore[arg-type]
    return [frame.data for event in events for frame in encoder.encode(event)]


def chunks(*events: StreamEvent, **options: object) -> list[dict[str, object]]:
    return [json.loads(text) for text in texts(*events, **options) if text != "[DONE]"]


def deltas(*events: StreamEvent) -> list[dict[str, object]]:
    return [choice["delta"] for chunk in chunks(*events) for choice in chunk["choices"]]  # type: ignore[attr-defined]


def decoded(lines: Iterable[str]) -> Reply[object]:
    decoder = ChatDecoder(model="m", provider="p", quirks=ChatQuirks())
    return fold([*decoder.decode(SimpleNamespace(data=line, event="message") for line in lines), *decoder.close()])


def test_a_text_becomes_role_content_finish_usage_done() -> None:
    """The order of the wire: the role, the text, the finish, the usage, [DONE]; usage is null until it is said."""
    *said, done = texts(TextDelta("Hel"), Usage(input_tokens=3, output_tokens=2), TextDelta("lo"), Finish("stop"))
    first, second, third, finish, usage = map(json.loads, said)
    assert done == "[DONE]"
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert [chunk["choices"][0]["delta"] for chunk in (second, third)] == [{"content": "Hel"}, {"content": "lo"}]
    assert finish["choices"][0] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "stop"}
    assert usage["choices"] == []
    assert usage["usage"]["total_tokens"] == 5
    assert all(chunk["usage"] is None for chunk in (first, second, third, finish))
    assert {(c["id"], c["object"], c["created"], c["model"]) for c in (first, usage)} == {
        ("chatcmpl-1", "chat.completion.chunk", 1, "m")
    }


def test_usage_only_where_it_was_asked_for() -> None:
    """Without include_usage there is no usage anywhere, and with it the last snapshot counts."""
    assert all("usage" not in chunk for chunk in chunks(Usage(input_tokens=1), Finish("stop"), include_usage=False))
    last = chunks(Usage(input_tokens=1), Usage(input_tokens=9, cost=0.5, estimated=True), Finish("stop"))[-1]
    assert last["usage"] == {
        "prompt_tokens": 9,
        "completion_tokens": 0,
        "total_tokens": 9,
        "prompt_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": 0},
        "cost": 0.5,
        "estimated": True,
    }
    assert len(chunks(Finish("stop"))) == 2


def test_stream_start_names_model_and_id() -> None:
    """A StreamStart overrides the names, says the role at once, and an empty one changes nothing."""
    first, second = chunks(StreamStart("gpt-x", "chatcmpl-9"), TextDelta("a"))
    assert (first["model"], first["id"]) == (second["model"], second["id"]) == ("gpt-x", "chatcmpl-9")
    assert chunks(StreamStart(""))[0]["model"] == "m"
    assert json.loads(ChatEncoder(model="m").encode(TextDelta("a"))[0].data)["id"].startswith("chatcmpl-")


def test_reasoning_and_refusal_have_their_own_fields() -> None:
    """Reasoning goes to reasoning_content, a refusal to refusal, opaque details beside them; empty ones say nothing."""
    details = ProviderState(
        "p", {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}], "field": "reasoning"}
    )
    assert deltas(ReasoningDelta("hm"), ReasoningDelta("", details), ReasoningDelta(""), RefusalDelta("no")) == [
        {"role": "assistant", "content": None},
        {"reasoning_content": "hm"},
        {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]},
        {"refusal": "no"},
    ]


def test_a_call_whose_deltas_were_sent_is_not_repeated() -> None:
    """Fragments go out as they come, id and name once; the whole call adds nothing."""
    said = deltas(
        ToolCallDelta(0, "c1", "f", '{"a"'),
        ToolCallDelta(0, "c1", "f", ":1}"),
        ToolCall("c1", "f", {"a": 1}, '{"a":1}'),
    )
    assert said[1:] == [
        {"tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ":1}"}}]},
    ]


def test_a_call_without_deltas_is_sent_whole() -> None:
    """Calls are numbered in the order in which they appear, whatever index their deltas had."""
    _, whole, part = deltas(ToolCall("c1", "f", {"city": "Köln"}), ToolCallDelta(7, "c2", "g", "{"))
    assert whole["tool_calls"] == [
        {"index": 0, "id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"city":"K\\u00f6ln"}'}}
    ]
    assert part["tool_calls"][0]["index"] == 1  # type: ignore[index]


@pytest.mark.req("D11")
def test_a_call_without_any_argument_ends_as_an_empty_object() -> None:
    """A call whose fragments were all empty gets `{}`, which clients can parse; an invalid one stays as it was."""
    assert decoded(texts(ToolCallDelta(0, "c", "f", ""), ToolCall("c", "f", {}), Finish("tool_calls"))).tool_calls[
        0
    ] == ToolCall("c", "f", {}, "{}")
    assert deltas(ToolCall("c", "f", None, "", "cut"))[1]["tool_calls"][0]["function"] == {"name": "f", "arguments": ""}  # type: ignore[index]
    assert len(deltas(ToolCallDelta(0, "c", "f", ""), ToolCall("c", "f", None, "", "cut"))) == 2


def test_a_name_in_pieces_goes_on_in_pieces() -> None:
    """Each delta holds the name so far; the wire gets what is new of it."""
    reply = decoded(
        texts(ToolCallDelta(0, "c", "get_", ""), ToolCallDelta(0, "c", "get_weather", "{}"), Finish("tool_calls"))
    )
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("get_weather", {})]


@pytest.mark.req("E6")
def test_a_call_s_opaque_state_survives() -> None:
    """A thought signature leaves with the whole call, or after its deltas, and comes back through the decoder."""
    signed = ProviderState("p", {"extra_content": {"google": {"thought_signature": "s"}}})
    call = ToolCall("c", "f", {"a": 1}, '{"a":1}', None, signed)
    for events in ([call], [ToolCallDelta(0, "c", "f", '{"a":1}'), call]):
        assert decoded(texts(*events, Finish("tool_calls"))).tool_calls == [call]


@pytest.mark.parametrize(
    ("finish", "word"),
    [(Finish("length"), "length"), (Finish("stop", "end_turn"), "end_turn"), (Finish("other"), "other")],
)
def test_the_finish_reason_is_the_raw_word_or_ours(finish: Finish, word: str) -> None:
    """What the provider said is passed on; where it said nothing, the reason's own name is."""
    assert chunks(finish)[-1]["choices"][0]["finish_reason"] == word  # type: ignore[index]


def test_nothing_follows_the_end() -> None:
    """After Finish or StreamError every event is ignored, and an error is followed by no [DONE]."""
    encoder = ChatEncoder(model="m")
    assert encoder.encode(Finish("stop"))[-1].data == "[DONE]"
    assert encoder.done
    assert encoder.encode(TextDelta("late")) == []
    (only,) = texts(StreamError(OverloadedError("busy")), Finish("stop"))
    assert json.loads(only)["error"]["code"] == "server_is_overloaded"


def test_events_without_a_word_on_the_wire_are_left_out() -> None:
    """Tool results, retries and raw events have no place in a chat completion."""
    assert texts(ToolResult("c", "f", "x"), Retrying(1, 0.1, ServerError("x")), RawEvent({"a": 1})) == []


@pytest.mark.req("A1")
def test_output_is_ascii_and_lone_surrogates_are_replaced() -> None:
    """U+2028 and U+0085 are escaped, a pair of surrogates becomes its character, half of one becomes U+FFFD."""
    said = texts(
        TextDelta("a\u2028\u0085\ud83d\ude00 \ud83d."), ToolCall("\udc00", "é", {"k": "\ud800"}), Finish("stop")
    )
    assert all(text.isascii() for text in said)
    assert json.loads(said[1])["choices"][0]["delta"]["content"] == "a\u2028\u0085😀 \ufffd."
    assert json.loads(said[2])["choices"][0]["delta"]["tool_calls"][0]["id"] == "\ufffd"
    assert completion_body([TextDelta("\ud800é"), Finish("stop")], model="m").isascii()


TEXT = st.text(min_size=1, max_size=8)
EVENTS = st.lists(
    st.one_of(
        st.builds(TextDelta, TEXT),
        st.builds(RefusalDelta, TEXT),
        st.builds(ToolCall, st.uuids().map(str), st.just("f"), st.dictionaries(TEXT, TEXT, max_size=2)),
    ),
    max_size=8,
)


@given(EVENTS)
def test_what_was_encoded_decodes_to_the_same(events: list[StreamEvent]) -> None:
    """Streamed or whole, our own decoder folds the encoder's output back into the text, refusal and calls."""
    events = [
        StreamStart("m", "chatcmpl-1"),
        *events,
        Usage(input_tokens=5, output_tokens=4, cache_read_tokens=2),
        Finish("stop"),
    ]
    said = fold(events)
    for lines in (texts(*events), [completion_body(events, model="m").decode()]):
        got = decoded(lines)
        assert (got.text, got.refusal, got.model, got.id) == (said.text, said.refusal, said.model, said.id)
        assert [(c.id, c.name, c.arguments) for c in got.tool_calls] == [
            (c.id, c.name, c.arguments) for c in said.tool_calls
        ]
        assert got.usage is not None
        assert (got.usage.input_tokens, got.usage.output_tokens, got.usage.cache_read_tokens) == (5, 4, 2)


def test_a_whole_completion() -> None:
    """The body of an unstreamed answer, from events or from a Reply, with null content where only calls were made."""
    body = json.loads(
        completion_body([ToolCall("c", "f", {}), Finish("tool_calls")], model="m", id="chatcmpl-1", created=7)
    )
    assert body == {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 7,
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "refusal": None,
                    "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                },
                "logprobs": None,
                "finish_reason": "tool_calls",
            }
        ],
    }
    state = ProviderState("p", {"reasoning_details": [{"text": "hm"}]})
    reply = Reply[object](
        text="a",
        reasoning="hm",
        message=Message("assistant", [Reasoning("hm", state), Text("a")]),
        raw_finish_reason="eos",
        model="x",
    )
    made = json.loads(completion_body(reply, model="m"))
    assert (made["model"], made["choices"][0]["finish_reason"]) == ("x", "eos")
    assert made["choices"][0]["message"]["reasoning_content"] == "hm"
    assert made["choices"][0]["message"]["reasoning_details"] == [{"text": "hm"}]
    assert json.loads(completion_body([Finish("stop")], model="m"))["choices"][0]["message"]["content"] == ""


def test_a_stream_error_is_no_completion() -> None:
    """A broken answer never becomes a body that looks whole: its error is raised."""
    with pytest.raises(OverloadedError, match="busy"):
        completion_body([TextDelta("a"), StreamError(OverloadedError("busy"))], model="m")


@pytest.mark.req("C1", "C6")
@pytest.mark.parametrize("kind", BY_KIND)
def test_an_error_keeps_its_kind(kind: str) -> None:
    """Every kind of error comes back as itself, as an HTTP answer and inside a stream."""
    error = BY_KIND[kind]("it went wrong")
    status, body, headers = error_body(error)
    allowed = {kind, NO_WORD.get(kind, kind)}
    assert classify_response(status, headers, body).kind in allowed
    assert classify(json.loads(error_text(error))).kind in allowed


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (OverloadedError("x", status=529, code="overloaded_error"), 529, "overloaded_error"),
        (ContextLengthExceededError("x", status=400, code="invalid_request_error"), 400, "context_length_exceeded"),
        (InvalidRequestError("x", status=400, code="rate_limit_exceeded"), 400, None),
        (RateLimitError("x", status=200), 429, "rate_limit_exceeded"),
    ],
)
def test_an_error_keeps_its_own_status_and_code_where_they_fit(error: LLMError, status: int, code: str | None) -> None:
    """The provider's status and code are passed on, unless they would be read as another kind of error."""
    sent, body, headers = error_body(error)
    assert (sent, json.loads(body)["error"]["code"]) == (status, code)
    assert classify_response(sent, headers, body).kind == error.kind


@pytest.mark.req("H11")
def test_an_error_keeps_its_hints() -> None:
    """How long to wait, whether to retry, and the request's id survive in headers, and in a stream without them."""
    error = RateLimitError("slow", retry_after=1.25, request_id="req_1", retryable=False)
    status, body, headers = error_body(error)
    assert (headers["retry-after"], headers["retry-after-ms"]) == ("2", "1250")
    back = classify_response(status, headers, body)
    assert (back.retry_after, back.request_id, back.retryable) == (1.25, "req_1", False)
    inside = classify(json.loads(error_text(error)))
    assert (inside.retry_after, inside.request_id) == (1.25, "req_1")
    assert error_body(ServerError("x", retryable=True))[2] == {"content-type": "application/json"}
    assert error_body(InvalidRequestError("x", retryable=True))[2]["x-should-retry"] == "true"
