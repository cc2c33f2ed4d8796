"""Random JSON in every field of a Converse event: nothing raises, the order stays legal, and both paths agree."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _converse import BEDROCK, START, TAIL, Said, body_of, delta, done
from _decoding import PLENTY, merged, pieces, places
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import Finish, RawEvent, StreamError, check_order, event_from_json, event_to_json, fold
from asyncllm.transports import encode_event_stream

MORE = settings(PLENTY, max_examples=400)

NASTY = ["Infinity", "-Infinity", "NaN", "1e400", '"' + "9" * 5000 + '"', "9" * 5000, '"٣"', "1.5", "-1", "[" * 2000]

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([0.0, 1.5, 1e400, float("nan"), 2**70, "", "0", "{}", '{"a":1}', "x\ud83d", "\ude00"])
    | st.text(max_size=4)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with some of these fields, each as it should be or, more rarely, with anything in it."""
    return st.fixed_dictionaries({}, optional={name: value | value | anything for name, value in fields.items()})


words = st.sampled_from(["", "a", "b c", "é", "\ud83d", "\ude00"])
blobs = st.sampled_from(["", "YQ==", "YWI=", "!"])
inputs = st.sampled_from(["", "{", "}", '{"a":1}', " "])
thoughts = some({"text": words, "signature": words, "redactedContent": blobs, "reasoningText": some({"text": words})})
items = st.lists(some({"text": words, "json": anything}), max_size=2)
citations = some({"title": words, "sourceContent": items, "location": some({"web": some({"url": words})})})
members = {
    "text": words,
    "toolUse": some({"input": inputs}),
    "reasoningContent": thoughts,
    "citation": citations,
    "toolResult": items,
    "image": some({"source": some({"bytes": blobs})}),
    "hologram": anything,
}
calls = some(
    {
        "toolUseId": st.sampled_from(["t", "u"]),
        "name": st.sampled_from(["f", ""]),
        "type": st.just("server_tool_use"),
        "input": st.just({"a": 1}),
    }
)
starts = some({"toolUse": calls, "toolResult": calls, "image": some({"format": st.just("png")}), "hologram": anything})
index = st.integers(0, 2)
usage = some({"inputTokens": st.integers(0, 9), "outputTokens": st.integers(0, 9)})
payloads = {
    "messageStart": some({"role": st.just("assistant")}),
    "contentBlockStart": some({"contentBlockIndex": index, "start": starts}),
    "contentBlockDelta": some({"contentBlockIndex": index, "delta": some(members)}),
    "contentBlockStop": some({"contentBlockIndex": index}),
    "messageStop": some({"stopReason": st.sampled_from(["end_turn", "max_tokens", "tool_use", "new"])}),
    "metadata": some({"usage": usage, "trace": anything}),
    "exception:throttlingException": some({"message": words, "originalStatusCode": st.integers(0, 999)}),
    "hologram": anything,
    "message": some({"output": some({"message": some({"content": st.lists(anything, max_size=2)})}), "message": words}),
}
said = st.one_of(*(st.tuples(st.just(name), value | anything) for name, value in payloads.items()))
good = st.one_of(
    st.tuples(st.just("contentBlockStart"), st.fixed_dictionaries({"contentBlockIndex": index, "start": starts})),
    *(
        st.builds(delta, index, **{name: value})
        for name, value in members.items()
        if name in ("text", "toolUse", "reasoningContent")
    ),
)
# an event is mostly good, so that streams get somewhere
streams = st.lists(good | good | said, max_size=8)
ends = st.sampled_from([(), (done(), TAIL), (done("max_tokens"),)])


def body(stream: list[Said], end: tuple[Said, ...]) -> bytes:
    return body_of([(name, json.dumps(data)) for name, data in [START, *stream, *end]])


@MORE
@pytest.mark.req("G4", "G5", "C6")
@given(streams, ends, places)
def test_no_json_breaks_the_decoder(stream: list[Said], end: tuple[Said, ...], cuts: list[int]) -> None:
    """Whatever a server sends, in whatever reads: a legal order, one Finish or StreamError at the end, and it folds."""
    sent = body(stream, end)
    events = BEDROCK.decode(sent)
    assert isinstance(events[-1], Finish | StreamError)
    assert sum(isinstance(event, Finish | StreamError) for event in events) == 1
    fold(events)
    again = BEDROCK.decode_pieces(pieces(sent, cuts))
    check_order(again)
    assert repr(merged(again)) == repr(merged(events))  # NaN is not equal to itself


@MORE
@pytest.mark.req("G4")
@given(streams, ends)
def test_the_fast_path_and_the_careful_one_agree(stream: list[Said], end: tuple[Said, ...]) -> None:
    """With raw=True every event takes the careful path: but for the raw events, the events are the same."""
    sent = body(stream, end)
    careful = [event for event in BEDROCK.decode(sent, raw=True) if not isinstance(event, RawEvent)]
    assert repr(merged(careful)) == repr(merged(BEDROCK.decode(sent)))


@PLENTY
@given(streams, ends)
def test_the_text_of_any_answer_can_be_written(stream: list[Said], end: tuple[Said, ...]) -> None:
    """Deltas hold no half characters: text, reasoning and arguments can be sent on as UTF-8."""
    for event in BEDROCK.decode(body(stream, end)):
        for name in ("text", "arguments"):
            value = getattr(event, name, "")
            if isinstance(value, str):
                value.encode()
        if type(event).__name__ in ("TextDelta", "ReasoningDelta"):
            assert event_from_json(event_to_json(event)) == event


PLACES = [
    ("contentBlockDelta", '{"contentBlockIndex":%s,"delta":{"text":"a"}}'),
    ("contentBlockDelta", '{"contentBlockIndex":0,"delta":{"text":%s}}'),
    ("contentBlockStart", '{"contentBlockIndex":%s,"start":{"toolUse":{"name":%s}}}'),
    ("messageStop", '{"stopReason":%s}'),
    ("metadata", '{"usage":{"inputTokens":%s,"outputTokens":%s}}'),
    ("exception:modelStreamErrorException", '{"originalStatusCode":%s}'),
    ("messageStart", "%s"),
]


@pytest.mark.req("C6", "G4")
@pytest.mark.parametrize(("event", "place"), PLACES)
@pytest.mark.parametrize("value", NASTY, ids=lambda value: value[:12])
def test_numbers_that_are_none_break_nothing(value: str, event: str, place: str) -> None:
    """Infinity, NaN, thousands of digits and JSON too deep to parse, in every place of a number."""
    frame = encode_event_stream(place.replace("%s", value), event=event)
    for sent in (frame, body_of([START]) + frame + body_of([done(), TAIL])):
        BEDROCK.decode(sent)
