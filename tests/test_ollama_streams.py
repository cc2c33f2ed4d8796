"""Ollama's lines to events: every recorded stream, every cut of it, what real servers deviate in, and any JSON at all."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from _decoding import PLENTY, calls_of, failure, merged, pieces, places, raws_of, single_bytes
from _wirecase import WireCase, check_cuts, check_said, check_truncations, line_borders
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import (
    ContextLengthExceededError,
    Finish,
    Image,
    IncompleteStreamError,
    LLMError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RawEvent,
    Reasoning,
    ReasoningDelta,
    ServerError,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    check_order,
    event_from_json,
    event_to_json,
    fold,
)
from asyncllm.protocols.ollama import OllamaCodec

OLLAMA = WireCase("ollama", lambda: OllamaCodec("ollama-native"), line_borders, suffix=".ndjson")
each_stream = pytest.mark.parametrize("path", OLLAMA.streams, ids=lambda path: path.stem)

TIMES = {"total_duration": 10, "load_duration": 1, "prompt_eval_duration": 2, "eval_duration": 3}
WEATHER = {"function": {"name": "get_weather", "arguments": {"city": "Köln", "days": 2}}}


def line(message: dict[str, Any] | None = None, *, done: bool = False, **fields: Any) -> dict[str, Any]:
    said = {} if message is None else {"message": {"role": "assistant", "content": "", **message}}
    return {"model": "llama3.2:1b", "created_at": "2026-01-01T00:00:00.123456Z", **said, "done": done, **fields}


DONE = line({}, done=True, done_reason="stop", prompt_eval_count=5, eval_count=2, **TIMES)


def lines(*items: dict[str, Any] | str) -> bytes:
    return b"".join((item if isinstance(item, str) else json.dumps(item)).encode() + b"\n" for item in items)


def events_of(*items: dict[str, Any] | str, **options: Any) -> list[StreamEvent]:
    """The events of these lines, which must be the same byte by byte."""
    body = lines(*items)
    events = OLLAMA.decode(body, **options)
    assert merged(OLLAMA.decode_pieces(single_bytes(body), **options)) == merged(events)
    return events


def error_of(*items: dict[str, Any] | str) -> LLMError:
    return failure(events_of(*items))


# ---- recorded streams


@pytest.mark.req("seed-A3", "seed-B2", "C9", "A1")
@each_stream
def test_stream_says_what_is_expected(path: Path) -> None:
    """Text, reasoning, usage, finish and error of a stream."""
    check_said(OLLAMA, path)


@pytest.mark.req("A1", "A3")
@each_stream
def test_cuts_change_nothing(path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events; lines end at LF, and at no other character."""
    check_cuts(OLLAMA, path)


@pytest.mark.req("B1", "seed-B7")
@each_stream
def test_truncated_anywhere(path: Path) -> None:
    """What arrived is kept; without a line that says done it is IncompleteStreamError."""
    check_truncations(OLLAMA, path)


# ---- what a stream may hold


@pytest.mark.req("B8", "D3", "D9")
def test_calls_come_whole() -> None:
    """Arguments are objects, written once; calls without an id get one; `stop` after calls means tool_calls."""
    given = {"id": "call_abc", "function": {"index": 1, "name": "now", "arguments": {}}}
    events = events_of(line({"tool_calls": [WEATHER]}), line({"content": "x", "tool_calls": [given]}), DONE)
    first, second = calls_of(events)
    assert (first.name, first.arguments) == ("get_weather", {"city": "Köln", "days": 2})
    assert first.raw_arguments == '{"city":"Köln","days":2}'
    assert first.id.startswith("call_")
    assert (second.id, second.name, second.arguments, second.raw_arguments) == ("call_abc", "now", {}, "{}")
    assert [event for event in events if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(0, first.id, "get_weather", first.raw_arguments),
        ToolCallDelta(1, "call_abc", "now", "{}"),
    ]
    assert events[-1] == Finish("tool_calls", "stop")
    parts = fold(events).message.parts
    assert [type(part).__name__ for part in parts] == ["ToolCall", "Text", "ToolCall"]


@pytest.mark.req("D8", "B10")
def test_everything_in_the_last_line() -> None:
    """One object of an answer that was not streamed: thinking, text, calls and an image in the line that says done."""
    png = b"\x89PNG\r\n\x1a\n" + b"0" * 8
    message = {
        "content": "Hi",
        "thinking": "hm",
        "tool_calls": [WEATHER, WEATHER],
        "images": [base64.b64encode(png).decode()],
    }
    body = {**DONE, "message": {"role": "assistant", **message}}
    events = events_of(body)
    reply = fold(events)
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("hm", "Hi", "tool_calls")
    assert len({call.id for call in reply.tool_calls}) == 2
    assert reply.message.parts[-1] == Image(data=png, media_type="image/png")
    assert OLLAMA.decode(json.dumps(body, indent=2).encode())[-1] == events[-1]  # also over many lines


@pytest.mark.parametrize(
    ("start", "kind"),
    [(b"\xff\xd8\xff", "image/jpeg"), (b"GIF89a", "image/gif"), (b"RIFF....WEBP", "image/webp"), (b"?", "image/png")],
)
def test_images_are_named_by_their_first_bytes(start: bytes, kind: str) -> None:
    """The wire does not say what they are; what is not base64 is passed over."""
    events = events_of(line({"images": [base64.b64encode(start).decode(), "%", 1, None, ""]}), DONE)
    assert [event.media_type for event in events if isinstance(event, Image)] == [kind]


@pytest.mark.req("E1", "E3")
def test_thinking_remembers_its_server() -> None:
    """The first delta of each thought carries the state by which its own server gets it back."""
    events = events_of(
        line({"thinking": "a"}), line({"thinking": "b"}), line({"content": "x"}), line({"thinking": "c"}), DONE
    )
    thoughts = [event for event in events if isinstance(event, ReasoningDelta)]
    assert [thought.state is not None for thought in thoughts] == [True, False, True]
    parts = [part for part in fold(events).message.parts if isinstance(part, Reasoning)]
    assert [(part.text, part.state.provider if part.state else None) for part in parts] == [
        ("ab", "ollama-native"),
        ("c", "ollama-native"),
    ]


@pytest.mark.req("B6")
@pytest.mark.parametrize(
    ("fields", "finish"),
    [
        ({"done_reason": "length"}, Finish("length", "length")),
        ({"done_reason": "load"}, Finish("other", "load")),
        ({"done_reason": "unload"}, Finish("other", "unload")),
        ({"done_reason": "shiny"}, Finish("other", "shiny")),
        ({"done_reason": 7}, Finish("other", None)),
        ({}, Finish("other", None)),
    ],
)
def test_ends(fields: dict[str, Any], finish: Finish) -> None:
    """The reason is kept as it was said; old servers gave none, and some last lines have no message."""
    assert events_of(line({"content": "x"}), line(done=True, **fields))[-1] == finish
    assert [type(event) for event in events_of(line(done=True, **fields))] == [StreamStart, Finish]


@pytest.mark.req("F7", "F9", "seed-B2")
@pytest.mark.parametrize(
    ("counts", "given", "made"),
    [
        ({"prompt_eval_count": 5, "eval_count": 2}, 5, 2),
        ({"eval_count": 2}, 0, 2),
        ({"prompt_eval_count": 5}, 5, 0),
        ({"prompt_eval_count": "5", "eval_count": 2.0}, 5, 2),
    ],
)
def test_usage(counts: dict[str, Any], given: int, made: int) -> None:
    """A count of 0 is left out by the server (a cached prompt, in old versions); the durations are kept raw."""
    events = events_of(line(done=True, done_reason="stop", **counts, **TIMES))
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert (usage.input_tokens, usage.output_tokens, usage.estimated) == (given, made, False)
    assert usage.raw == {**counts, **TIMES}


def test_no_counts_no_usage() -> None:
    """Nothing is invented where nothing was counted."""
    assert not any(isinstance(event, Usage) for event in events_of(line(done=True, done_reason="load", **TIMES)))


def test_the_model_is_the_one_that_answered() -> None:
    """As the server names it, tag and all."""
    assert events_of(DONE)[0] == StreamStart("llama3.2:1b", "", "ollama-native")


@pytest.mark.req("A3")
def test_characters_in_halves() -> None:
    """A pair of surrogates over two lines is one character; half of one becomes U+FFFD."""
    assert fold(events_of(line({"content": "a\ud83d"}), line({"content": "\ude00b"}), DONE)).text == "a😀b"
    assert fold(events_of(line({"thinking": "a\ud83d"}), DONE)).reasoning == "a\ufffd"
    assert fold(events_of(line({"content": "a\ud83d"}), DONE)).text == "a\ufffd"
    (call,) = calls_of(
        events_of(line({"tool_calls": [{"function": {"name": "f", "arguments": {"a": "\ud83d"}}}]}), DONE)
    )
    assert call.arguments == {"a": "\ufffd"}


# ---- errors


@pytest.mark.req("C9", "C1", "C6")
@pytest.mark.parametrize("started", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(
    ("error", "kind", "message"),
    [
        ({"error": "an error was encountered while running the model"}, ServerError, "an error was encountered"),
        ({"error": "model 'x' not found"}, NotFoundError, "model 'x' not found"),
        ({"error": "server overloaded, please retry shortly"}, OverloadedError, "server overloaded"),
        ({"error": "server busy, please try again.  maximum pending requests exceeded"}, OverloadedError, "busy"),
        ({"error": "the input length exceeds the context length"}, ContextLengthExceededError, "context length"),
        ({"error": {"message": "no", "code": 503}}, OverloadedError, "no"),
        ({"error": "no", "status": 529}, OverloadedError, "no"),
        ({"detail": "no"}, ServerError, "no"),
        ({"message": "no"}, ServerError, "no"),
        ({"errors": [{"message": "no"}], "success": False}, ServerError, "no"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "no"}}, OverloadedError, "no"),
    ],
)
def test_errors_in_the_stream(error: dict[str, Any], kind: type[LLMError], message: str, started: bool) -> None:
    """A line with an error ends the stream as its real class, whatever its form; the text before it is kept."""
    before = [line({"content": "He"})] if started else []
    events = events_of(*before, error)
    assert isinstance(failure(events), kind)
    assert message in failure(events).message
    assert fold(events).text == ("He" if started else "")
    assert [type(event) for event in events][: -1 if started else None][:1] == [StreamStart if started else StreamError]


@pytest.mark.req("C2")
def test_text_beside_an_error_is_delivered_first() -> None:
    """Nothing of the line that carries the error is lost."""
    events = events_of(line({"content": "He"}, error="gone"))
    assert TextDelta("He") in events
    assert failure(events).message == "gone"


@pytest.mark.req("B7")
def test_the_word_error_is_an_error() -> None:
    """`done_reason: error` is no success."""
    assert isinstance(error_of(line({"content": "a"}), line(done=True, done_reason="error")), ServerError)


@pytest.mark.req("C11", "A6", "A7", "B11")
@pytest.mark.parametrize(
    ("tail", "kind"),
    [
        ('{"model":"m","mess', IncompleteStreamError),
        ("<html><title>Bad gateway</title></html>", ProtocolError),
        ("[DONE]", IncompleteStreamError),
        ("[1]", ServerError),
    ],
)
def test_lines_that_are_none(tail: str, kind: type[LLMError]) -> None:
    """Half a line, a page, a terminator of another wire, JSON that is no object."""
    body = lines(line({"content": "He"})) + tail.encode()
    assert type(failure(OLLAMA.decode(body))) is kind


@pytest.mark.req("A6")
def test_lines_in_server_sent_events() -> None:
    """A proxy that makes events of the lines changes nothing."""
    items = [line({"content": "Hi"}), DONE]
    body = "".join(f"data: {json.dumps(item)}\n\n" for item in items).encode() + b"data: [DONE]\n\n"
    assert OLLAMA.decode(body) == events_of(*items)


@pytest.mark.req("A11")
def test_nothing_follows_the_end() -> None:
    """What comes after the last line is not read."""
    assert events_of(line({"content": "a"}), DONE, line({"content": "b"}), {"error": "x"}) == events_of(
        line({"content": "a"}), DONE
    )


@pytest.mark.req("G4")
def test_what_is_not_understood_is_there_raw() -> None:
    """Log probabilities, new fields and new lines are passed over, and are raw events where they are asked for."""
    odd = line({"content": "a"}, logprobs=[{"token": "a"}])
    status = {"status": "loading model"}
    hologram = line({"content": "b", "hologram": {"z": 1}})
    items = (status, odd, hologram, DONE)
    assert raws_of(events_of(*items)) == []
    events = events_of(*items, raw=True)
    assert raws_of(events) == [status, odd, hologram]
    assert fold(events).text == "ab"


# ---- any JSON

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-2, 3)
    | st.sampled_from([0.0, 1.5, 1e400, float("nan"), 2**70, "", "stop", "error", "{}", '{"a":1}', "x\ud83d"])
    | st.text(max_size=4)
)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


def some(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={name: value | anything for name, value in fields.items()})


words = st.sampled_from(["", "a", "b c", "é", "\ud83d", "\ude00"])
functions = some({"index": st.integers(0, 2), "name": st.sampled_from(["f", ""]), "arguments": st.just({"a": 1})})
calls = some({"id": st.sampled_from(["c1", "c2", ""]), "function": functions})
messages = some(
    {
        "role": st.just("assistant"),
        "content": words,
        "thinking": words,
        "tool_calls": st.lists(calls, max_size=2),
        "images": st.lists(st.sampled_from(["", "aGk=", "%"]), max_size=2),
    }
)
any_line = some(
    {
        "model": st.just("m"),
        "message": messages,
        "done": st.sampled_from([False, False, True]),
        "done_reason": st.sampled_from(["stop", "length", "load"]),
        "error": st.none(),
        "eval_count": st.integers(0, 9),
        "detail": words,
        "success": st.just(True),
        "type": st.just("x"),
    }
)
streams = st.lists(st.just(line({"content": "a"})) | any_line | anything, max_size=6)
ends = st.sampled_from([b"", lines(DONE), b'{"model":'])


@settings(PLENTY, max_examples=400)
@pytest.mark.req("G3", "G4")
@given(streams, ends, places)
def test_no_json_breaks_the_decoder(stream: list[Any], end: bytes, cuts: list[int]) -> None:
    """Whatever a server sends, in whatever reads: a legal order, one Finish or StreamError at the end, and it folds.
    With raw=True every line takes the careful path: but for the raw events, the events are the same."""
    body = "".join(json.dumps(item) + "\n" for item in stream).encode() + end
    events = OLLAMA.decode(body)
    assert sum(isinstance(event, Finish | StreamError) for event in events) == 1
    assert isinstance(events[-1], Finish | StreamError)
    fold(events)
    again = OLLAMA.decode_pieces(pieces(body, cuts))
    check_order(again)
    assert repr(merged(again)) == repr(merged(events))  # NaN is not equal to itself
    careful = [event for event in OLLAMA.decode(body, raw=True) if not isinstance(event, RawEvent)]
    assert repr(merged(careful)) == repr(merged(events))
    for event in events:
        for name in ("text", "arguments", "raw_arguments"):
            if isinstance(value := getattr(event, name, ""), str):
                value.encode()
        if isinstance(event, TextDelta | ReasoningDelta | ToolCallDelta | Finish):
            assert event_from_json(event_to_json(event)) == event


NASTY = ["Infinity", "NaN", "1e400", "9" * 5000, '"٣"', "1.5", "-1", "[" * 2000, '{"a":' * 900 + "1" + "}" * 900]
PLACES = [
    '{"message":{"content":%s},"done":false}',
    '{"message":{"tool_calls":[{"id":%s,"function":{"name":"f","arguments":%s}}]},"done":false}',
    '{"message":{"content":"a"},"done":true,"prompt_eval_count":%s,"eval_count":%s,"done_reason":%s}',
    '{"error":%s}',
    "%s",
]


@pytest.mark.req("G3", "C6")
@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("value", NASTY, ids=lambda value: value[:12])
def test_values_that_are_none_break_nothing(value: str, place: str) -> None:
    """Infinity, NaN, thousands of digits and JSON too deep to parse, wherever they stand."""
    frame = place.replace("%s", value).encode() + b"\n"
    for body in (frame, lines(line({"content": "a"})) + frame):
        OLLAMA.decode(body)


def test_a_call_is_never_valid_without_an_object() -> None:
    """Arguments that are text are parsed as they are; a list or a cut text is no call to run."""
    for arguments, wanted in (('{"a":1}', {"a": 1}), ('{"a"', None), ([1], None), (None, {})):
        item = {"function": {"name": "f", "arguments": arguments}}
        (call,) = calls_of(events_of(line({"tool_calls": [item]}), DONE))
        assert call.arguments == wanted
        assert (call.invalid is None) == (wanted is not None)
    (nameless,) = calls_of(events_of(line({"tool_calls": [{"function": {"arguments": {}}}]}), DONE))
    assert nameless.invalid
    assert isinstance(nameless, ToolCall)
