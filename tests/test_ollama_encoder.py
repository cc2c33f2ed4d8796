"""Ollama's encoder: events to lines and objects, errors to bodies, and all of it back through our own decoder."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import pytest
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Citation,
    ContextLengthExceededError,
    Finish,
    Image,
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
    check_order,
    fold,
)
from asyncllm.events._errors import BY_KIND
from asyncllm.protocols import classify, classify_response
from asyncllm.protocols.ollama import OllamaDecoder
from asyncllm.protocols.ollama._encode import OllamaEncoder, answer_body, error_body, error_object

NAME = "ollama-native"


def lines(*events: StreamEvent) -> list[dict[str, Any]]:
    encoder = OllamaEncoder(model="m", created_at="t")
    return [json.loads(frame.data) for event in events for frame in encoder.encode(event)]


def decoded(texts: list[str]) -> list[StreamEvent]:
    decoder = OllamaDecoder(model="m", provider=NAME)
    return [*decoder.decode(SimpleNamespace(data=text, event="message") for text in texts), *decoder.close()]


def there_and_back(events: list[StreamEvent]) -> list[StreamEvent]:
    encoder = OllamaEncoder(model="m")
    return decoded([frame.data for event in events for frame in encoder.encode(event)])


def test_a_text_becomes_lines_and_a_last_one() -> None:
    """Model and time on each line; the last says why and how much; what is 0 is left out."""
    head = {"model": "x", "created_at": "t"}
    assert lines(
        StreamStart("x"), ReasoningDelta("hm"), TextDelta("Hi"), Usage(input_tokens=0, output_tokens=2), Finish("stop")
    ) == [
        {**head, "message": {"role": "assistant", "content": "", "thinking": "hm"}, "done": False},
        {**head, "message": {"role": "assistant", "content": "Hi"}, "done": False},
        {
            **head,
            "message": {"role": "assistant", "content": ""},
            "done": True,
            "done_reason": "stop",
            "eval_count": 2,
        },
    ]


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish("length"), "length"),
        (Finish("stop", "end_turn"), "end_turn"),
        (Finish("tool_calls"), "stop"),
        (Finish("other"), None),
        (Finish("other", "load"), "load"),
    ],
)
def test_the_reason_is_the_raw_word_or_ours(finish: Finish, word: str | None) -> None:
    """The wire says `stop` after calls, and nothing where nothing is known."""
    assert lines(finish)[-1].get("done_reason") == word


@pytest.mark.req("F9")
def test_estimates_stay_estimates() -> None:
    """Counts that no model reported are marked, by a field that is ours."""
    estimate = Usage(input_tokens=1, output_tokens=2, estimated=True)
    assert lines(estimate, Finish("stop"))[-1]["estimated"] is True
    (usage,) = [event for event in there_and_back([estimate, Finish("stop")]) if isinstance(event, Usage)]
    assert usage.estimated
    assert "estimated" not in lines(Usage(estimated=True), Finish("stop"))[-1]


@pytest.mark.req("D8")
def test_calls_go_out_whole() -> None:
    """When they are complete: at once, or, where only their deltas are there, before the end. Other wires' broken
    arguments go as the text they are."""
    said = lines(
        ToolCallDelta(0, "c1", "f", '{"a"'),
        ToolCall("c2", "g", None, "{x", "not JSON"),
        ToolCallDelta(0, "c1", "f", ":1}"),
        ToolCallDelta(1, "c3", "h", ""),
        Finish("tool_calls"),
    )
    calls = [line["message"]["tool_calls"][0] for line in said[:-1]]
    assert calls == [
        {"id": "c2", "function": {"name": "g", "arguments": "{x"}},
        {"id": "c1", "function": {"name": "f", "arguments": {"a": 1}}},
        {"id": "c3", "function": {"name": "h", "arguments": {}}},
    ]
    whole = [ToolCallDelta(0, "c1", "f", '{"a":1}'), ToolCall("c1", "f", {"a": 1}, '{"a":1}'), Finish("tool_calls")]
    assert len(lines(*whole)) == 2


def test_events_without_a_word_on_the_wire_are_left_out() -> None:
    """Refusals, citations, retries, raw events, results, and calls that a provider ran itself."""
    assert (
        lines(
            RefusalDelta("no"),
            Citation("u"),
            Retrying(1, 0.1, ServerError("x")),
            RawEvent(1),
            ToolCall("c", "f", {}, executed=True),
            ToolResult("c", "f", "x"),
            Image(url="https://x"),
            ReasoningDelta("", ProviderState("p", {})),
        )
        == []
    )


def test_nothing_follows_the_end() -> None:
    """After Finish or StreamError every event is ignored."""
    assert len(lines(Finish("stop"), TextDelta("late"))) == 1
    (only,) = lines(StreamError(OverloadedError("busy")), Finish("stop"))
    assert only["error"] == "busy"


@pytest.mark.req("A1")
def test_lines_are_ascii() -> None:
    """No client can take U+2028 for a line end (the Ollama SDK does), and half a character becomes U+FFFD."""
    encoder = OllamaEncoder(model="m")
    frames = [*encoder.encode(TextDelta("a\u2028\u0085 \ud83d.")), *encoder.encode(Finish("stop"))]
    assert all(frame.data.isascii() for frame in frames)
    assert json.loads(frames[0].data)["message"]["content"] == "a\u2028\u0085 \ufffd."


# ---- there and back

TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
PNG = b"\x89PNG\r\n\x1a\n"


@st.composite
def streams(draw: st.DrawFn) -> list[StreamEvent]:
    """Everything that the wire can say, in a legal order."""
    events: list[StreamEvent] = [StreamStart("m", "", NAME)]
    thinking, calls = False, 0
    for kind in draw(st.lists(st.sampled_from(["text", "thought", "call", "image"]), max_size=8)):
        if kind == "thought":
            state = None if thinking else ProviderState(NAME, {"field": "thinking"})
            events.append(ReasoningDelta(draw(TEXT), state))
        elif kind == "text":
            events.append(TextDelta(draw(TEXT)))
        elif kind == "image":
            events.append(Image(data=PNG + draw(st.binary(max_size=4))))
        else:
            arguments = draw(st.dictionaries(TEXT, TEXT | st.integers() | st.none(), max_size=2))
            raw = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
            events += ToolCallDelta(calls, f"c{calls}", "f", raw), ToolCall(f"c{calls}", "f", arguments, raw)
            calls += 1
        thinking = kind == "thought"
    if draw(st.booleans()):
        counts = {"prompt_eval_count": draw(st.integers(1, 99)), "eval_count": draw(st.integers(1, 99))}
        events.append(Usage(input_tokens=counts["prompt_eval_count"], output_tokens=counts["eval_count"], raw=counts))
    ends = [Finish("length", "length"), Finish("other", "load"), StreamError(OverloadedError("busy"))]
    stop = Finish("tool_calls" if calls else "stop", "stop")
    events.append(draw(st.sampled_from([stop, *ends] if not calls else [stop, ends[0], ends[2]])))
    return events


@PLENTY
@given(streams())
def test_what_was_encoded_decodes_to_the_same(events: list[StreamEvent]) -> None:
    """decode(encode(events)) == events, for all that the wire can say."""
    check_order(events)
    *body, last = there_and_back(events)
    if isinstance(last, StreamError):
        expected = [event for event in events[:-1] if not isinstance(event, Usage)]  # only a last line has counts
        if expected == [StreamStart("m", "", NAME)]:
            expected = []  # an error as the first line: nothing has begun
        assert body == expected
        assert (last.error.kind, last.error.message) == ("overloaded", "busy")
    else:
        assert [*body, last] == events


@PLENTY
@given(streams())
def test_a_whole_answer_says_the_same(events: list[StreamEvent]) -> None:
    """Not streamed, it folds to the same text, reasoning, calls, images and usage."""
    if isinstance(events[-1], StreamError):
        with pytest.raises(OverloadedError, match="busy"):
            answer_body(events, model="m")
        return
    said, got = fold(events), fold(decoded([answer_body(events, model="m").decode()]))
    for name in ("text", "reasoning", "tool_calls", "usage", "finish_reason", "raw_finish_reason", "model"):
        assert getattr(got, name) == getattr(said, name)
    assert [part for part in got.message.parts if isinstance(part, Image)] == [
        part for part in said.message.parts if isinstance(part, Image)
    ]


def test_a_reply_of_another_provider() -> None:
    """Calls in deltas only, words of another wire: an object that clients can read."""
    made = json.loads(answer_body([ToolCallDelta(0, "c", "f", '{"a":1}'), Finish("tool_calls")], model="m"))
    assert made["message"]["tool_calls"] == [{"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}]
    assert (made["done"], made["done_reason"], made["model"]) == (True, "stop", "m")
    assert Message("assistant", [Reasoning("a"), Text("b")]).text == "b"


# ---- errors


@pytest.mark.req("C1", "C6", "C9")
@pytest.mark.parametrize("kind", BY_KIND)
def test_an_error_keeps_its_kind(kind: str) -> None:
    """Every kind of error comes back as itself, as an HTTP answer and inside a stream."""
    error = BY_KIND[kind]("it went wrong")
    status, body, headers = error_body(error)
    assert json.loads(body)["error"] == "it went wrong"
    wanted = "server_error" if kind == "unknown" else kind  # of status 500, which says more
    assert classify_response(status, headers, body).kind == wanted
    assert classify(error_object(error, None)).kind == wanted


@pytest.mark.parametrize(
    "error",
    [
        OverloadedError("x", status=529, code="overloaded_error"),
        ContextLengthExceededError("x", status=400, code="invalid_request_error"),
        InvalidRequestError("x", status=422, code="rate_limit_exceeded"),
        RateLimitError("x", status=200),
        ServerError("", status=500),
    ],
)
def test_an_error_keeps_its_own_status_and_code_where_they_fit(error: LLMError) -> None:
    """Unless they would be read as another kind of error."""
    status, body, headers = error_body(error)
    assert classify_response(status, headers, body).kind == error.kind
    assert classify(error_object(error, None)).kind == error.kind
    assert status == (error.status if error.status != 200 else 429)


@pytest.mark.req("H11")
def test_an_error_keeps_its_hints() -> None:
    """How long to wait, whether to retry, and the request's id, in headers and in a stream without them."""
    error = RateLimitError("slow", retry_after=1.25, request_id="req_1", retryable=False)
    back = classify_response(*[error_body(error)[at] for at in (0, 2, 1)])
    assert (back.retry_after, back.request_id, back.retryable) == (1.25, "req_1", False)
    inside = classify(error_object(error, None))
    assert (inside.retry_after, inside.request_id) == (1.25, "req_1")
