"""The Gemini encoder: events to chunks and bodies, errors to error bodies, and all of it back through our own decoder."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
from _decoding import PLENTY, failure
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    Citation,
    ContentBlockedError,
    File,
    Finish,
    Image,
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
from asyncllm.protocols.gemini import GeminiDecoder
from asyncllm.protocols.gemini._encode import GeminiEncoder
from asyncllm.protocols.gemini._errors import error_body
from asyncllm.protocols.gemini._server import SERVER

PROVIDER = "gemini"


def frames(*events: StreamEvent) -> list[str]:
    encoder = GeminiEncoder(model="m", id="r1")
    return [frame.data for event in events for frame in encoder.encode(event)]


def chunks(*events: StreamEvent) -> list[Any]:
    return [json.loads(frame) for frame in frames(*events)]


def decoded(lines: Iterable[str]) -> list[StreamEvent]:
    decoder = GeminiDecoder(model="m", provider=PROVIDER)
    events = [*decoder.decode(SimpleNamespace(data=line, event="message") for line in lines), *decoder.close()]
    check_order(events)
    return events


def state(**data: object) -> ProviderState:
    return ProviderState(PROVIDER, data)


def test_text_thoughts_and_usage_as_the_api_says_them() -> None:
    """One part a delta, a thought is marked, and usage and the finish reason are in the last chunk."""
    first, second, last = chunks(
        StreamStart("gemini-x", "resp"),
        ReasoningDelta("hm"),
        TextDelta("Hi"),
        Usage(input_tokens=9, output_tokens=5, reasoning_tokens=2, cache_read_tokens=4),
        Finish("stop"),
    )
    assert first == {
        "candidates": [{"content": {"role": "model", "parts": [{"text": "hm", "thought": True}]}, "index": 0}],
        "modelVersion": "gemini-x",
        "responseId": "resp",
    }
    assert second["candidates"][0]["content"]["parts"] == [{"text": "Hi"}]
    assert last["candidates"][0]["finishReason"] == "STOP"
    assert last["usageMetadata"] == {
        "promptTokenCount": 9,
        "candidatesTokenCount": 3,
        "thoughtsTokenCount": 2,
        "cachedContentTokenCount": 4,
        "totalTokenCount": 14,
    }


def test_calls_are_said_whole() -> None:
    """Deltas wait for the end of their call, or of the answer; a signature stays with its call."""
    signed = ToolCall("c2", "g", {}, "{}", state=state(id="c2", thoughtSignature="s"))
    said = chunks(ToolCallDelta(0, "c1", "f", '{"a"'), signed, ToolCallDelta(0, "c1", "f", ":1}"), Finish("tool_calls"))
    parts = [part for chunk in said for part in chunk["candidates"][0]["content"]["parts"]]
    assert parts == [
        {"functionCall": {"id": "c2", "name": "g", "args": {}}, "thoughtSignature": "s"},
        {"functionCall": {"id": "c1", "name": "f", "args": {"a": 1}}},
    ]
    assert said[-1]["candidates"][0]["finishReason"] == "STOP"


@pytest.mark.req("G6")
def test_arguments_that_are_no_json_are_a_malformed_call() -> None:
    """This wire says arguments as an object: what is none ends as it does with the real models."""
    (last,) = chunks(ToolCallDelta(0, "c1", "f", '{"a'), Finish("tool_calls"))
    candidate = last["candidates"][0]
    assert candidate["finishReason"] == "MALFORMED_FUNCTION_CALL"
    assert 'f({"a)' in candidate["finishMessage"]
    events = decoded([json.dumps(last)])
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "error"
    assert events[-1].details == {"finishMessage": candidate["finishMessage"]}


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish("stop"), "STOP"),
        (Finish("tool_calls"), "STOP"),
        (Finish("length"), "MAX_TOKENS"),
        (Finish("content_filter"), "SAFETY"),
        (Finish("content_filter", "SPII"), "SPII"),
        (Finish("error"), "MALFORMED_RESPONSE"),
        (Finish("other"), "OTHER"),
        (Finish("other", "ESCALATION"), "ESCALATION"),
        (Finish("stop", "end_turn"), "STOP"),
        (Finish("length", "max_tokens"), "MAX_TOKENS"),
    ],
)
def test_finish_reasons_are_the_words_of_the_wire(finish: Finish, word: str) -> None:
    """Its own word where it was one, else the one that means the same."""
    assert chunks(TextDelta("a"), finish)[-1]["candidates"][0]["finishReason"] == word


def test_a_block_before_the_answer_is_prompt_feedback() -> None:
    """As the API says it, with status 200; after some text it is an error of the stream."""
    error = ContentBlockedError("no", block_reason="PROHIBITED_CONTENT")
    (blocked,) = chunks(StreamError(error))
    assert blocked["promptFeedback"] == {"blockReason": "PROHIBITED_CONTENT", "blockReasonMessage": "no"}
    found = failure(decoded([json.dumps(blocked)]))
    assert isinstance(found, ContentBlockedError)
    assert (found.block_reason, found.message, found.retryable) == ("PROHIBITED_CONTENT", "no", False)
    after = failure(decoded(frames(TextDelta("a"), StreamError(error))))
    assert isinstance(after, ContentBlockedError)


def test_nothing_follows_the_end_and_what_has_no_word_is_left_out() -> None:
    """After Finish or StreamError every event is ignored; retries and results of a caller's tools say nothing."""
    encoder = GeminiEncoder(model="m")
    encoder.encode(Finish("stop"))
    assert encoder.done
    assert encoder.encode(TextDelta("late")) == []
    assert frames(ToolResult("c", "f", "x"), Retrying(1, 0.1, ServerError("x")), RawEvent({"a": 1})) == []
    assert chunks(RefusalDelta("no"))[0]["candidates"][0]["content"]["parts"] == [{"text": "no"}]


def test_output_is_ascii() -> None:
    """U+2028 and U+0085 are escaped, and half a character becomes U+FFFD."""
    said = frames(TextDelta("a\u2028\u0085\ud83d."), Finish("stop"))
    assert all(text.isascii() for text in said)


def test_tools_of_the_server_s_own() -> None:
    """Code and its result go out as they came; those of another provider in this wire's form."""
    code = {"language": "PYTHON", "code": "print(1)"}
    result = {"outcome": "OUTCOME_OK", "output": "1\n"}
    own = [
        ToolCall(
            "x", "code_execution", code, "", state=state(executableCode=code, thoughtSignature="s"), executed=True
        ),
        ToolResult("x", "code_execution", "1\n", state=state(codeExecutionResult=result)),
    ]
    parts = [part for chunk in chunks(*own) for part in chunk["candidates"][0]["content"]["parts"]]
    assert parts == [{"executableCode": code, "thoughtSignature": "s"}, {"codeExecutionResult": result}]
    other = [
        ToolCall("x", "web_search", {"q": "a"}, "", executed=True),
        ToolCall("y", "code_execution", {"code": "1"}, "", executed=True),
        ToolResult("y", "code_execution", "1", is_error=True),
    ]
    events = decoded(frames(*other, Finish("stop")))
    assert [(call.name, call.executed) for call in events if isinstance(call, ToolCall)] == [
        ("web_search", True),
        ("code_execution", True),
    ]
    assert [event.is_error for event in events if isinstance(event, ToolResult)] == [True]
    assert isinstance(events[-1], Finish)
    assert events[-1].reason == "stop"


# ---- there and back

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
NAMES = st.sampled_from(["f", "get_weather", "a.b-c"])
SIGNATURES = st.sampled_from(["c2ln", "b3RoZXI=", "x" * 40])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)


@st.composite
def answers(draw: Any) -> list[StreamEvent]:
    """Events as the decoder gives them: a part with a signature stands alone, and closes one without before it."""
    events: list[StreamEvent] = [StreamStart("m", "r1", PROVIDER)]
    open_part: type | None = None
    seen = 0
    answered = False
    for _ in range(draw(st.integers(0, 7))):
        kind = draw(st.sampled_from(["text", "text", "thought", "signed", "signed thought", "call", "media", "code"]))
        delta = ReasoningDelta if "thought" in kind else TextDelta
        answered = answered or kind in ("text", "signed", "call", "media")
        if kind in ("text", "thought"):
            events.append(delta(draw(WORDS)))
            open_part = delta
            continue
        if kind.startswith("signed"):
            if open_part is delta:
                events.append(delta("", ProviderState(PROVIDER, {}, closes=True)))
            text = draw(WORDS | st.just(""))
            answered = answered or bool(text)
            events.append(delta(text, ProviderState(PROVIDER, {"thoughtSignature": draw(SIGNATURES)}, closes=True)))
        elif kind == "call":
            seen += 1
            arguments = draw(st.dictionaries(WORDS, JSON, max_size=2))
            data: dict[str, object] = {"id": f"fc{seen}"}
            if draw(st.booleans()):
                data["thoughtSignature"] = draw(SIGNATURES)
            raw = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
            events.append(ToolCall(f"fc{seen}", draw(NAMES), arguments, raw, state=state(**data)))
        elif kind == "media":
            own = draw(st.none() | st.builds(lambda signature: state(thoughtSignature=signature), SIGNATURES))
            data_of = st.binary(max_size=5)
            media = st.builds(Image, data=data_of, media_type=st.just("image/webp"), state=st.just(own))
            media |= st.builds(Image, url=st.just("gs://b/i.png"), state=st.just(own))
            media |= st.builds(Audio, data_of, st.sampled_from(["wav", "L16;codec=pcm;rate=24000"]), st.just(own))
            media |= st.builds(File, data=data_of, media_type=st.just("video/mp4"), state=st.just(own))
            events.append(draw(media))
        else:
            seen += 1
            code = {"language": "PYTHON", "code": draw(WORDS), "id": f"x{seen}"}
            result = {
                "outcome": draw(st.sampled_from(["OUTCOME_OK", "OUTCOME_FAILED"])),
                "output": draw(WORDS),
                "id": f"x{seen}",
            }
            arguments = {"language": "PYTHON", "code": code["code"]}
            raw = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
            events += [
                ToolCall(f"x{seen}", "code_execution", arguments, raw, state=state(executableCode=code), executed=True),
                ToolResult(
                    f"x{seen}",
                    "code_execution",
                    result["output"],
                    result["outcome"] != "OUTCOME_OK",
                    state(codeExecutionResult=result),
                ),
            ]
        open_part = None
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    places = st.integers(0, len(text))
    for number in range(draw(st.integers(0, 2))):
        start, end = sorted((draw(places), draw(places)))
        events.append(Citation(f"https://e.test/{number}", draw(WORDS), start, end, draw(st.just("") | WORDS)))
    if draw(st.booleans()):
        events.append(
            Usage(
                input_tokens=draw(st.integers(1, 9)),
                output_tokens=5,
                reasoning_tokens=draw(st.integers(0, 5)),
                cache_read_tokens=draw(st.integers(0, 1)),
            )
        )
    called = any(isinstance(event, ToolCall) and not event.executed for event in events)
    ends = [Finish("tool_calls", "STOP") if called else Finish("stop", "STOP"), Finish("length", "MAX_TOKENS")]
    if answered:
        ends.append(Finish("content_filter", "SAFETY", {"safetyRatings": [{"blocked": True}]}))
    events.append(draw(st.sampled_from(ends)))
    return events


def comparable(event: StreamEvent) -> object:
    """Without what the wire's own objects are kept in."""
    match event:
        case Usage():
            return (event.input_tokens, event.output_tokens, event.reasoning_tokens, event.cache_read_tokens)
        case Citation():
            return (event.url, event.title, event.start, event.end, event.quote)
    return event


@PLENTY
@given(answers())
def test_what_was_encoded_decodes_to_the_same(events: list[StreamEvent]) -> None:
    """decode(encode(events)) == events, for all that the wire can say."""
    assert [comparable(event) for event in decoded(frames(*events))] == [comparable(event) for event in events]


@PLENTY
@given(answers())
def test_a_whole_body_says_the_same(events: list[StreamEvent]) -> None:
    """The body of an answer that is not streamed, through the same decoder, folds to the same reply."""
    body = GeminiEncoder(model="m", id="r1").body(events)
    got, want = fold(decoded([json.dumps(body)])), fold(events)
    assert got.message == want.message
    assert (got.finish_reason, got.raw_finish_reason) == (want.finish_reason, want.raw_finish_reason)
    assert [comparable(citation) for citation in got.citations] == [comparable(citation) for citation in want.citations]
    assert (got.usage and comparable(got.usage)) == (want.usage and comparable(want.usage))


# ---- errors


@pytest.mark.req("C1", "C6")
@pytest.mark.parametrize("kind", BY_KIND)
def test_an_error_keeps_its_kind(kind: str) -> None:
    """Every kind of error comes back as itself, as an HTTP answer and inside a stream."""
    error = BY_KIND[kind]("it went wrong")
    status, body, headers = error_body(error)
    wanted = "server_error" if kind == "unknown" else kind  # UNKNOWN is a 500, which says more
    assert classify_response(status, headers, body).kind == wanted
    inside = failure(decoded(frames(TextDelta("a"), StreamError(error))))
    assert inside.kind == wanted
    assert inside.retryable == BY_KIND[wanted].default_retryable


@pytest.mark.req("H11")
def test_an_error_keeps_its_hints() -> None:
    """How long to wait rides in RetryInfo, over HTTP and inside a stream; the request's id and the code survive."""
    error = RateLimitError("slow", retry_after=17.25, request_id="req_1", retryable=False, code="RATE_LIMIT_EXCEEDED")
    status, body, headers = error_body(error)
    assert '"retryDelay":"17.25s"' in body.decode()
    back = classify_response(status, headers, body)
    assert (back.retry_after, back.request_id, back.retryable) == (17.25, "req_1", False)
    assert '"reason":"RATE_LIMIT_EXCEEDED"' in body.decode()
    inside = classify(json.loads(frames(TextDelta("a"), StreamError(error))[-1]))
    assert (inside.kind, inside.retry_after) == ("rate_limit", 17.25)


def test_an_error_without_streaming_is_raised() -> None:
    """A broken answer never becomes a body that looks whole; a blocked prompt is one that says so."""
    request: Any = SimpleNamespace(model="m")
    with pytest.raises(OverloadedError, match="busy"):
        SERVER.body([TextDelta("a"), StreamError(OverloadedError("busy"))], request)
    blocked = json.loads(SERVER.body([StreamError(ContentBlockedError("no", block_reason="SAFETY"))], request))
    assert blocked["promptFeedback"]["blockReason"] == "SAFETY"
    assert "candidates" not in blocked


def test_the_usage_so_far_comes_before_an_error() -> None:
    """What was counted is not lost with the answer."""
    events = decoded(frames(TextDelta("a"), Usage(input_tokens=3, output_tokens=1), StreamError(OverloadedError("x"))))
    assert [type(event) for event in events] == [StreamStart, TextDelta, Usage, StreamError]
    assert isinstance(failure(events), LLMError)
