"""Quirks of chat servers, groups A and B: odd bytes, and how streams end."""

from __future__ import annotations

import json

import pytest
from _decoding import (
    SOME,
    calls_of,
    decode,
    decode_pieces,
    error_of,
    events_of,
    failure,
    pieces,
    places,
    reply_of,
    single_bytes,
)
from _replay import DONE, ROLE, STOP, chunk_of, said, sse, text
from hypothesis import given

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    ProtocolError,
    ServerError,
    StreamError,
    StreamStart,
    TextDelta,
    Usage,
    fold,
)
from asyncllm.protocols import Encoded, Request
from asyncllm.protocols.openai_chat import ChatCodec, ChatDecoder, ChatQuirks
from asyncllm.transports import Frame, SSEFramer

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}


def new_decoder() -> ChatDecoder:
    return ChatCodec("test").decoder(Request(model="m", messages=()), Encoded("/", b""))


# ---- A: framing and bytes


@pytest.mark.req("A1", "A3")
@pytest.mark.parametrize("content", ["x\u2028y\u0085z\u2029", "é👩‍🚀\U0002f800", "\x0b\x0c\x1c"])
def test_characters_are_kept(content: str) -> None:
    """What other decoders split at or cut comes out whole, unescaped or escaped on the wire."""
    escaped = "data: " + json.dumps(text(content)) + "\n\n"
    assert reply_of(ROLE, escaped, STOP, DONE).text == content
    plain = content if content.isprintable() or content[0] == "x" else "x"  # JSON forbids raw control characters
    assert reply_of(ROLE, text(plain), STOP, DONE).text == plain


@pytest.mark.req("A2")
@pytest.mark.parametrize("end", ["\r\n", "\r"])
def test_line_ends_are_all_the_same(end: str) -> None:
    """CRLF and lone CR give the events of LF, cut anywhere."""
    body = said("a", "b").replace(b"\n", end.encode())
    assert decode(body) == decode(said("a", "b"))
    assert decode_pieces(single_bytes(body)) == decode(said("a", "b"))


@pytest.mark.req("A4", "A8")
@pytest.mark.parametrize(
    "noise",
    [
        ": OPENROUTER PROCESSING\n\n",
        ": keep-alive\n",
        ":\n\n",
        "data: : OPENROUTER PROCESSING\n\n",
        "data:\n\n",
        "data:  \n\n",
    ],
)
def test_heartbeats_are_nothing(noise: str) -> None:
    """Comments, comments in the wrong place and blank data say nothing, wherever they stand."""
    assert events_of(noise, ROLE, noise, text("a"), noise, STOP, noise, DONE) == decode(said("a"))


@pytest.mark.req("A5")
def test_sloppy_framing() -> None:
    """A byte order mark, no space after the colon, several data lines, and fields of no use."""
    chunk = json.dumps(text("b")).replace('"object"', '\ndata: "object"')
    head = "\ufeffid: 1\nevent: message\nretry: 10\nfoo: bar\ndata:" + json.dumps(text("a")) + "\n\n"
    assert reply_of(head, f"data:{chunk}\n\n", STOP, DONE).text == "ab"


@pytest.mark.req("A6")
def test_json_lines_and_whole_bodies_are_read() -> None:
    """A stream of JSON lines, and a whole completion, are the same answer, whatever their label."""
    lines = "\n".join(json.dumps(chunk) for chunk in (ROLE, text("a"), STOP)) + "\n"
    assert reply_of(lines).text == "a"
    whole = {
        "id": "x",
        "object": "chat.completion",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop"}],
        "usage": USAGE,
    }
    for body in (json.dumps(whole), json.dumps(whole, indent=2)):
        events = events_of(body)
        assert [type(event) for event in events] == [StreamStart, TextDelta, Usage, Finish]
        assert fold(events).text == "a"


@pytest.mark.req("A7")
def test_glued_frames_are_a_protocol_error() -> None:
    """Two frames run together: an error with the bytes, bounded, after what came before them."""
    glued = 'data: {"choices":[{"delta":{"role":"adata: {"id":' + "x" * 9000 + "\n\n"
    events = events_of(ROLE, text("a"), glued, text("b"), DONE)
    error = failure(events)
    assert type(error) is ProtocolError
    assert error.body is not None
    assert error.body.startswith('{"choices"')
    assert len(error.body) <= 4096
    assert TextDelta("a") in events


@pytest.mark.req("A7")
def test_glued_frames_after_the_end_are_no_error() -> None:
    """The model was done: rubbish in the tail harms nobody."""
    assert reply_of(ROLE, text("a"), STOP, "data: {{\n\n", DONE).text == "a"


@pytest.mark.req("A8")
def test_bare_text_as_data_is_a_protocol_error() -> None:
    """`data: error: text` is not JSON: a typed error that shows it."""
    error = error_of(ROLE, "data: error: model crashed\n\n")
    assert type(error) is ProtocolError
    assert "model crashed" in error.message


@pytest.mark.req("A9")
def test_an_unframed_error_object_is_read() -> None:
    """A bare error object after the frames is the stream's error."""
    error = error_of(ROLE, text("a"), '{"error":{"message":"boom","code":500}}')
    assert isinstance(error, ServerError)
    assert error.message == "boom"
    assert error.status == 500


@pytest.mark.req("A9")
def test_an_unframed_line_of_rubbish_is_nothing() -> None:
    """A line that begins like an object and is none was ignored by the specification, and is here."""
    assert reply_of(ROLE, "{oops\n\n", text("a"), STOP, DONE).text == "a"


@pytest.mark.req("A10")
def test_a_frame_too_large_ends_the_stream() -> None:
    """The events before it come out; then its typed error."""
    framer, decoder = SSEFramer(max_frame_bytes=1000), new_decoder()
    events = decoder.decode(framer.feed(sse(ROLE, text("a")) + b"data: " + b"x" * 2000))
    with pytest.raises(ProtocolError) as caught:
        framer.feed(b"x")
    events += decoder.fail(caught.value)
    assert fold(events).text == "a"
    assert failure(events) is caught.value
    assert decoder.done


@pytest.mark.req("A11")
def test_nothing_is_read_after_done() -> None:
    """The stream is over with [DONE]; what follows, in the same read or later, is not looked at."""
    decoder = new_decoder()
    events = decoder.decode([Frame(json.dumps(chunk)) for chunk in (ROLE, text("a"), STOP)])
    assert not decoder.done
    events += decoder.decode([Frame("[DONE]"), Frame(json.dumps(text("b"))), Frame("rubbish")])
    assert decoder.done
    assert isinstance(events[-1], Finish)
    assert fold(events).text == "a"
    assert decoder.decode([Frame(json.dumps(text("c")))]) == []
    assert decoder.close([Frame("cut")]) == []
    assert decoder.fail(ServerError("late")) == []


# ---- B: the end


@pytest.mark.req("B1")
def test_a_clean_end_without_a_word_is_incomplete() -> None:
    """Text and then nothing is never a "stop"."""
    events = events_of(ROLE, text("half an ans"))
    assert isinstance(failure(events), IncompleteStreamError)
    reply = fold(events)
    assert (reply.text, reply.finish_reason, reply.complete) == ("half an ans", None, False)


@pytest.mark.req("B1")
@pytest.mark.parametrize("body", [b"", b"\n\n", b": ping\n\n", b"data: [DONE]\n\n"])
def test_an_empty_answer_is_incomplete(body: bytes) -> None:
    """No event at all is an error too, with or without a terminator."""
    events = decode(body)
    assert [type(event) for event in events] == [StreamError]
    assert isinstance(failure(events), IncompleteStreamError)


@pytest.mark.req("B2")
def test_the_decoder_says_that_only_the_tail_is_missing() -> None:
    """After a finish_reason, `ending` lets the backend wait a bounded time; closing then is the normal end."""
    decoder = new_decoder()
    events = decoder.decode([Frame(json.dumps(chunk)) for chunk in (ROLE, text("a"))])
    assert not decoder.ending
    events += decoder.decode([Frame(json.dumps(STOP)), Frame(""), Frame(json.dumps(chunk_of(usage=USAGE)))])
    assert decoder.ending
    assert not decoder.done
    events += decoder.close()
    assert isinstance(events[-2], Usage)
    assert events[-1] == Finish("stop", "stop")


@pytest.mark.req("B2", "B3")
def test_a_transport_failure_after_the_end_is_no_error() -> None:
    """A connection that breaks in the tail of a finished answer changes nothing."""
    decoder = new_decoder()
    events = decoder.decode([Frame(json.dumps(chunk)) for chunk in (ROLE, text("a"), STOP)])
    events += decoder.fail(ServerError("reset by peer"))
    assert events[-1] == Finish("stop", "stop")


@pytest.mark.req("B1")
def test_a_transport_failure_before_the_end_is_the_error() -> None:
    """The error gets the names of provider and model, and keeps the ones it has."""
    decoder = new_decoder()
    decoder.decode([Frame(json.dumps(ROLE))])
    events = decoder.fail(ServerError("reset by peer", provider="other"))
    assert (failure(events).provider, failure(events).model) == ("other", "m")


@pytest.mark.req("B3", "F3")
def test_usage_after_the_finish_is_read() -> None:
    """Whether the proxy lets the tail through (usage chunk, empty chunk, [DONE]) or cuts it."""
    tail = {"id": "x", "choices": [], "usage": USAGE}
    for rest in (
        (tail, DONE),
        (tail,),
        (tail, {"id": "x", "choices": []}, DONE),
        (tail, {"choices": [], "usage": None}),
    ):
        reply = reply_of(ROLE, text("a"), STOP, *rest)
        assert reply.usage is not None
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 2)
        assert reply.finish_reason == "stop"


@pytest.mark.req("B4")
def test_a_repeated_finish_is_one() -> None:
    """The first word counts, and there is one Finish."""
    events = events_of(ROLE, text("a"), STOP, STOP, chunk_of({}, "length"), DONE)
    assert [event for event in events if isinstance(event, Finish)] == [Finish("stop", "stop")]


@pytest.mark.req("B5")
def test_an_empty_finish_reason_is_none() -> None:
    """ "" on every chunk is no end; and if nothing else comes, the stream was cut."""
    chunks = [chunk_of({"content": "a"}, ""), chunk_of({"content": "b"}, "")]
    assert reply_of(*chunks, chunk_of({}, "stop")).text == "ab"
    assert isinstance(error_of(*chunks), IncompleteStreamError)


@pytest.mark.req("B6")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("eos", "stop"),
        ("eos_token", "stop"),
        ("stop_sequence", "stop"),
        ("end_turn", "stop"),
        ("STOP", "stop"),
        ("max_tokens", "length"),
        ("model_length", "length"),
        ("sensitive", "content_filter"),
        ("network_error", "error"),
        ("insufficient_system_resource", "error"),
        ("something new", "other"),
    ],
)
def test_unknown_finish_reasons_are_kept(raw: str, reason: str) -> None:
    """The raw word survives beside one of ours."""
    assert events_of(ROLE, text("a"), chunk_of({}, raw), DONE)[-1] == Finish(reason, raw)  # type: ignore[arg-type]


@pytest.mark.req("B7")
def test_finish_error_is_an_error() -> None:
    """finish_reason "error" is a failure of the provider, to be tried again, and no success."""
    error = error_of(ROLE, text("a"), chunk_of({}, "error"), DONE)
    assert isinstance(error, ServerError)
    assert error.retryable


@pytest.mark.req("B8")
@pytest.mark.parametrize("raw", ["stop", "eos", None])
def test_calls_make_the_finish_tool_calls(raw: str | None) -> None:
    """A server that calls tools and says stop (or nothing but [DONE]) means tool_calls; its own word is kept."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    events = events_of(ROLE, chunk_of({"tool_calls": [call]}), chunk_of({}, raw), DONE)
    assert events[-1] == Finish("tool_calls", raw)


@pytest.mark.req("B9")
def test_a_call_cut_by_the_limit_is_invalid() -> None:
    """finish "length" with half the JSON: the call is there to be read, and not to be run."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a": "xy'}}
    events = events_of(ROLE, chunk_of({"tool_calls": [call]}), chunk_of({}, "length"), DONE)
    (made,) = calls_of(events)
    assert made.arguments is None
    assert made.invalid
    assert made.raw_arguments == '{"a": "xy'
    assert events[-1] == Finish("length", "length")


@pytest.mark.req("B9", "D11")
def test_a_call_cut_before_its_arguments_is_invalid() -> None:
    """At the limit, no arguments may mean that they never came; only the last call can be hurt so."""
    calls = [{"index": at, "id": f"c{at}", "function": {"name": "f", "arguments": ""}} for at in range(2)]
    first, last = calls_of(events_of(ROLE, chunk_of({"tool_calls": calls}), chunk_of({}, "length"), DONE))
    assert (first.arguments, first.invalid) == ({}, None)
    assert last.arguments is None
    assert last.invalid


@pytest.mark.req("B10")
def test_a_finish_with_the_last_content_loses_nothing() -> None:
    """Content, arguments and finish_reason in one chunk are all delivered."""
    assert reply_of(ROLE, chunk_of({"content": "a"}, "stop")).text == "a"
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
    reply = reply_of(ROLE, chunk_of({"content": "a", "tool_calls": [call]}, "tool_calls"), DONE)
    assert reply.text == "a"
    assert [call.arguments for call in reply.tool_calls] == [{"a": 1}]


@pytest.mark.req("B11")
def test_done_without_finish() -> None:
    """An aborted vLLM request ends with a clean [DONE]: incomplete where the row says so, else complete."""
    frames = (ROLE, text("a"), DONE)
    assert events_of(*frames)[-1] == Finish("other")
    error = error_of(*frames, quirks=ChatQuirks(done_needs_finish=True))
    assert isinstance(error, IncompleteStreamError)
    assert error.retryable


@SOME
@given(places)
def test_cumulative_text_says_each_character_once(cuts: list[int]) -> None:
    """A server that repeats all text so far: only what is new comes out."""
    words = ["Why", "Why is", "Why is é👍", "Why is é👍"]
    body = sse(ROLE, *(text(word) for word in words), STOP, DONE)
    events = decode_pieces(pieces(body, cuts), quirks=ChatQuirks(cumulative_text=True))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Why", " is", " é👍"]
