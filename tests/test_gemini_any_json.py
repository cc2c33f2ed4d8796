"""Random JSON in every field of a Gemini chunk: nothing raises, the order stays legal, and both paths of the decoder agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import PLENTY, merged, pieces, places
from _wirecase import WireCase, sse_borders
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import Finish, RawEvent, StreamError, check_order, event_from_json, event_to_json, fold
from asyncllm.protocols.gemini import GeminiCodec

MORE = settings(PLENTY, max_examples=400)
GEMINI = WireCase("gemini", lambda: GeminiCodec("gemini"), sse_borders)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([0.0, 1.5, -1e300, 1e400, float("nan"), 2**70, "", "STOP", "0", "{}", "$.a", "x\ud83d", "\ude00"])
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


words = st.sampled_from(["", "a", "b c", "é", "👩"])
paths = st.sampled_from(["$.a", "$.a.b", "$.a[0]", "$.a[1].c", "$['x y']", "$", "a", "$.a[9]"])
partial = some(
    {
        "jsonPath": paths,
        "stringValue": words,
        "numberValue": st.integers(0, 3),
        "boolValue": st.booleans(),
        "nullValue": st.none(),
        "willContinue": st.booleans(),
    }
)
calls = some(
    {
        "id": st.sampled_from(["c1", "c2", ""]),
        "name": st.sampled_from(["f", "g", ""]),
        "args": st.dictionaries(words, scalars, max_size=2),
        "partialArgs": st.lists(partial, max_size=2),
        "willContinue": st.booleans(),
    }
)
code = some({"language": st.just("PYTHON"), "code": words, "id": st.sampled_from(["x", ""])})
outcome = some({"outcome": st.sampled_from(["OUTCOME_OK", "OUTCOME_FAILED"]), "output": words, "id": st.just("x")})
blob = some(
    {"mimeType": st.sampled_from(["image/png", "audio/wav", "video/mp4"]), "data": st.sampled_from(["YQ==", "YQ", "!"])}
)
parts = some({"text": words, "thought": st.booleans(), "thoughtSignature": st.sampled_from(["c2ln", "eA=="])}) | some(
    {
        "functionCall": calls,
        "executableCode": code,
        "codeExecutionResult": outcome,
        "toolCall": some({"id": st.just("t"), "toolType": st.just("GOOGLE_SEARCH_WEB"), "args": anything}),
        "toolResponse": some({"id": st.just("t"), "toolType": st.just("GOOGLE_SEARCH_WEB"), "response": anything}),
        "inlineData": blob,
        "thoughtSignature": st.just("c2ln"),
    }
)
segment = some({"startIndex": st.integers(-1, 9), "endIndex": st.integers(-1, 9)})
grounding = some(
    {
        "groundingChunks": st.lists(some({"web": some({"uri": words, "title": words})}), max_size=2),
        "groundingSupports": st.lists(
            some({"segment": segment, "groundingChunkIndices": st.lists(st.integers(-1, 2), max_size=2)}), max_size=2
        ),
    }
)
candidates = some(
    {
        "index": st.just(0),
        "content": some({"parts": st.lists(parts, max_size=3), "role": st.just("model")}),
        "finishReason": st.sampled_from(["STOP", "MAX_TOKENS", "SAFETY", "FINISH_REASON_UNSPECIFIED", "WORD", ""]),
        "finishMessage": words,
        "groundingMetadata": grounding,
        "citationMetadata": some({"citationSources": st.lists(segment, max_size=2)}),
        "urlContextMetadata": some({"urlMetadata": st.lists(some({"retrievedUrl": words}), max_size=1)}),
        "safetyRatings": anything,
    }
)
counts = some({"promptTokenCount": st.integers(0, 9), "thoughtsTokenCount": st.integers(0, 9)})
chunks = some(
    {
        "candidates": st.lists(candidates, min_size=1, max_size=2),
        "usageMetadata": counts,
        "promptFeedback": some({"blockReason": st.sampled_from(["SAFETY", ""])}),
        "modelVersion": st.just("m"),
        "responseId": st.just("r"),
        "error": st.none(),
        "message": words,
    }
)


def good(text: str) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text}]}}], "responseId": "r"}


streams = st.lists(words.map(good) | chunks | anything, max_size=6)
ends = st.sampled_from(["", "data: [DONE]\n\n", "data: {", '{\n  "error": {\n    "code": 503\n  }\n}\n'])


def body_of(stream: list[Any], end: str) -> bytes:
    return "".join(f"data: {json.dumps(chunk)}\r\n\r\n" for chunk in stream).encode() + end.encode()


NASTY = ["Infinity", "NaN", "1e400", '"' + "9" * 5000 + '"', "9" * 5000, "1.5", "-1", "[" * 2000, '{"a":' * 1500]
PLACES = [
    '{"candidates":[{"index":%s,"content":{"parts":[{"text":"a"}]}}]}',
    '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":%s}}]}}]}',
    '{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","partialArgs":[{"jsonPath":"$.a","numberValue":%s}]}}]}}]}',
    '{"candidates":[{"finishReason":%s}]}',
    '{"usageMetadata":{"promptTokenCount":%s}}',
    '{"error":{"code":%s,"details":%s}}',
    "%s",
]


@pytest.mark.req("G3", "C6")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", NASTY, ids=lambda value: value[:12])
def test_numbers_that_are_none_break_nothing(value: str, place: str) -> None:
    """Infinity, NaN, thousands of digits and JSON too deep to parse, in every place of a value."""
    frame = b"data: " + place.replace("%s", value).encode() + b"\r\n\r\n"
    for body in (frame, body_of([good("a")], "") + frame):
        check_order(GEMINI.decode(body))


@MORE
@pytest.mark.req("G3", "G4", "G6")
@given(streams, ends, places)
def test_no_json_breaks_the_decoder(stream: list[Any], end: str, cuts: list[int]) -> None:
    """Whatever a server sends, in whatever reads: a legal order, one Finish or StreamError at the end, and it folds."""
    body = body_of(stream, end)
    events = GEMINI.decode(body)
    assert isinstance(events[-1], Finish | StreamError)
    assert sum(isinstance(event, Finish | StreamError) for event in events) == 1
    fold(events)
    again = GEMINI.decode_pieces(pieces(body, cuts))
    check_order(again)
    assert repr(merged(again)) == repr(merged(events))  # NaN is not equal to itself


@MORE
@pytest.mark.req("G4")
@given(streams, ends)
def test_the_fast_path_and_the_careful_one_agree(stream: list[Any], end: str) -> None:
    """With raw=True every chunk takes the careful path: but for the raw events, the events are the same."""
    body = body_of(stream, end)
    careful = [event for event in GEMINI.decode(body, raw=True) if not isinstance(event, RawEvent)]
    assert repr(merged(careful)) == repr(merged(GEMINI.decode(body)))


@PLENTY
@given(streams, ends)
def test_the_text_of_any_answer_can_be_written(stream: list[Any], end: str) -> None:
    """Deltas hold no half characters: text, reasoning and arguments can be sent on as UTF-8."""
    for event in GEMINI.decode(body_of(stream, end)):
        for name in ("text", "arguments", "raw_arguments", "content"):
            value = getattr(event, name, "")
            if isinstance(value, str):
                value.encode()
        if type(event).__name__ in ("TextDelta", "ReasoningDelta", "ToolCallDelta"):
            assert event_from_json(event_to_json(event)) == event
