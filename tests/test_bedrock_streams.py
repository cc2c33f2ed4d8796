"""Converse streams: the recorded ones in every cut, and each kind of block and of end."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _converse import (
    BEDROCK,
    PROVIDER,
    START,
    TAIL,
    body_of,
    call,
    delta,
    done,
    error_of,
    events_of,
    reply_of,
    start,
    stop,
)
from _decoding import calls_of, failure, raws_of
from _wirecase import WireCase, check_cuts, check_said, check_truncated, check_truncations

from asyncllm.events import (
    Citation,
    Finish,
    Image,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    OverloadedError,
    ProtocolError,
    ProviderState,
    RateLimitError,
    Reasoning,
    ServerError,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    fold,
)
from asyncllm.transports import EventStreamFramer

STRICT = replace(BEDROCK, make_framer=EventStreamFramer)
each_stream = pytest.mark.parametrize("path", BEDROCK.streams, ids=lambda path: path.stem)


@pytest.mark.req("seed-A7", "C8", "G4", "G5")
@pytest.mark.parametrize("case", [BEDROCK, STRICT], ids=["sniffed", "named"])
@each_stream
def test_stream_says_what_is_expected(path: Path, case: WireCase) -> None:
    """Text, reasoning, usage, finish and error of a stream, whether its framing is known or found."""
    check_said(case, path)


@pytest.mark.req("A3", "seed-A7")
@each_stream
def test_cuts_change_nothing(path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events."""
    check_cuts(BEDROCK, path)


@pytest.mark.req("B1", "seed-A7")
@each_stream
def test_truncated_anywhere(path: Path) -> None:
    """What arrived is kept; the end is the stream's own, or IncompleteStreamError, and never invented."""
    check_truncations(BEDROCK, path)


# ---- tool calls


@pytest.mark.req("G5", "D11")
def test_calls_are_put_together_by_their_block() -> None:
    """The input comes in pieces after a start without any; two calls may be under way at once; an empty one is {}."""
    begun = [start(at, toolUse={"toolUseId": f"t{at}", "name": name}) for at, name in ((0, "f"), (1, "g"))]
    pieces = [delta(at, toolUse={"input": piece}) for at, piece in ((0, '{"a"'), (1, '{"b":'), (0, ":1}"), (1, "2}"))]
    reply = reply_of(START, *begun, *pieces, stop(0), stop(1), *call(2, "t2", "h"), done("tool_use"), TAIL)
    assert reply.tool_calls == [
        ToolCall("t0", "f", {"a": 1}, '{"a":1}'),
        ToolCall("t1", "g", {"b": 2}, '{"b":2}'),
        ToolCall("t2", "h", {}),
    ]
    assert reply.finish_reason == "tool_calls"


@pytest.mark.req("G5")
def test_a_call_is_said_as_it_comes_and_then_whole() -> None:
    """Deltas with the name from the start on, and the whole call where its block ends, before what follows it."""
    events = events_of(START, *call(0, "t", "f", '{"a', '":1}'), delta(1, text="so"), done("tool_use"), TAIL)
    assert events[1:6] == [
        ToolCallDelta(0, "t", "f", ""),
        ToolCallDelta(0, "t", "f", '{"a'),
        ToolCallDelta(0, "t", "f", '":1}'),
        ToolCall("t", "f", {"a": 1}, '{"a":1}'),
        TextDelta("so"),
    ]


@pytest.mark.req("G5", "D9")
@pytest.mark.parametrize("given", [{"a": 1}, '{"a":1}'])
def test_an_input_that_is_whole_in_the_start(given: object) -> None:
    """Some gateways say it there, as an object or as text; where deltas follow, what the start says is nothing."""
    (found,) = reply_of(START, *call(0, "t", "f", input=given), done("tool_use")).tool_calls
    assert (found.arguments, found.raw_arguments) == ({"a": 1}, '{"a":1}')
    (found,) = reply_of(START, *call(0, "t", "f", '{"b":2}', input={}), done("tool_use")).tool_calls
    assert found.arguments == {"b": 2}


@pytest.mark.req("D12")
@pytest.mark.parametrize("raw", ['{"a": Dave}', "[1]", '{"a": "x'])
def test_arguments_that_are_no_object_are_an_invalid_call(raw: str) -> None:
    """The stream goes on, and the text of the arguments is kept."""
    events = events_of(START, *call(0, "t", "f", raw), done("tool_use"), TAIL)
    (found,) = calls_of(events)
    assert (found.arguments, found.raw_arguments) == (None, raw)
    assert found.invalid
    assert events[-1] == Finish("tool_calls", "tool_use")


@pytest.mark.req("D12", "G8")
def test_a_call_that_the_limit_cut_is_never_valid() -> None:
    """Its block is ended as if it were whole, and only the stop reason tells; a call before it is not touched."""
    whole = call(0, "t0", "f")
    (first, last) = calls_of(events_of(START, *whole, *call(1, "t1", "g"), done("max_tokens"), TAIL))
    assert first == ToolCall("t0", "f", {})
    assert last.arguments is None
    assert last.invalid
    assert calls_of(events_of(START, *whole, done("tool_use"))) == [ToolCall("t0", "f", {})]


@pytest.mark.req("B8", "C8")
def test_a_call_that_an_exception_cut_is_invalid() -> None:
    """A call that was whole before it stays so."""
    broken = [start(1, toolUse={"toolUseId": "t1", "name": "g"}), delta(1, toolUse={"input": '{"b":2}'})]
    events = events_of(START, *call(0, "t0", "f", "{}"), *broken, ("exception:internalServerException", {}))
    assert [call.invalid is None for call in calls_of(events)] == [True, False]
    assert fold(events).tool_calls[1].raw_arguments == '{"b":2}'


@pytest.mark.req("B1", "G5")
def test_a_cut_between_two_calls() -> None:
    """At every byte: a call is said whole or as broken, and never as less than what was sent."""
    said = [START, *call(0, "t0", "f", '{"a":', "1}"), done("tool_use"), TAIL]
    body = body_of(said)
    whole = BEDROCK.decode(body)
    for at in range(len(body)):
        check_truncated(BEDROCK, body, whole, at)
        for found in calls_of(BEDROCK.decode(body[:at])):
            assert found.invalid or found.arguments == {"a": 1}


@pytest.mark.req("D3")
def test_calls_without_an_id_or_with_the_same_one() -> None:
    """Each gets an id of its own, by which its result finds it."""
    found = calls_of(
        events_of(START, *call(0, "", "f", "{}"), *call(1, "x", "f", "{}"), *call(2, "x", "f", "{}"), done("tool_use"))
    )
    assert len({call.id for call in found}) == 3
    assert found[1].id == "x"
    assert all(call.id for call in found)


def test_end_turn_after_a_call_is_a_call() -> None:
    """Some models say end_turn where they mean tool_use; the raw word is kept."""
    assert events_of(START, *call(0, "t", "f", "{}"), done(), TAIL)[-1] == Finish("tool_calls", "end_turn")


@pytest.mark.req("G5")
def test_input_without_a_start_is_an_invalid_call() -> None:
    """Nobody knows what was called; that something was is not hidden."""
    (found,) = calls_of(events_of(START, delta(0, toolUse={"input": "{}"}), stop(0), done("tool_use")))
    assert found.name == ""
    assert found.invalid


# ---- reasoning


def state(**data: object) -> ProviderState:
    return ProviderState(PROVIDER, data, closes=True)


def thought(index: int, *texts: str, signature: str = "") -> list[Any]:
    said = [delta(index, reasoningContent={"text": text}) for text in texts]
    if signature:
        said.append(delta(index, reasoningContent={"signature": signature}))
    return [*said, stop(index)]


@pytest.mark.req("E7")
def test_each_thought_keeps_its_own_signature() -> None:
    """Blocks stay apart, in their order among texts and calls, signed or sealed or empty with a signature."""
    sealed = [delta(3, reasoningContent={"redactedContent": "U0VDUkVU"}), stop(3)]
    reply = reply_of(
        START,
        *thought(0, "one", " two", signature="s0"),
        *thought(1, "three", signature="s1"),
        *thought(2, signature="s2"),
        *sealed,
        delta(4, text="so"),
        stop(4),
        *thought(5, "more", signature="s5"),
        *call(6, "t", "f", "{}"),
        done("tool_use"),
        TAIL,
    )
    assert reply.message.parts == [
        Reasoning("one two", state(signature="s0")),
        Reasoning("three", state(signature="s1")),
        Reasoning("", state(signature="s2")),
        Reasoning("", state(redactedContent="U0VDUkVU")),
        Text("so"),
        Reasoning("more", state(signature="s5")),
        ToolCall("t", "f", {}, "{}"),
    ]
    assert reply.reasoning == "one twothreemore"


@pytest.mark.req("E7")
def test_pieces_of_a_signature_and_of_a_seal_are_joined() -> None:
    """A signature is text; what is sealed is base64 of bytes, each piece by itself."""
    halves = [base64.b64encode(part).decode() for part in (b"SE", b"CRET")]
    reply = reply_of(
        START,
        delta(0, reasoningContent={"text": "x"}),
        delta(0, reasoningContent={"signature": "ab"}),
        delta(0, reasoningContent={"signature": "cd"}),
        stop(0),
        *(delta(1, reasoningContent={"redactedContent": half}) for half in halves),
        stop(1),
        done(),
    )
    assert reply.message.parts == [
        Reasoning("x", state(signature="abcd")),
        Reasoning("", state(redactedContent=base64.b64encode(b"SECRET").decode())),
    ]


@pytest.mark.req("E7")
def test_an_unsigned_thought_is_not_covered_by_the_signature_of_the_next() -> None:
    """Of two thoughts in a row only the second is signed: they are two parts."""
    reply = reply_of(START, *thought(0, "loose"), *thought(1, "bound", signature="s"), done())
    assert reply.message.parts == [Reasoning("loose", state()), Reasoning("bound", state(signature="s"))]


@pytest.mark.req("E7")
def test_a_thought_that_was_cut_has_no_signature() -> None:
    """Half a signature would be refused, and so would a whole one under half a text: it is said at the block's end."""
    events = BEDROCK.decode(body_of([START, *thought(0, "x", signature="s")[:-1]]))
    assert fold(events).message.parts == [Reasoning("x")]
    assert isinstance(failure(events), IncompleteStreamError)


@pytest.mark.req("E7", "G5")
def test_blocks_that_nobody_ends() -> None:
    """A block of another index ends a thought or a text; the end of the message ends what is left."""
    said = [*thought(0, "x", signature="s")[:-1], delta(1, text="so"), *call(2, "t", "f", "{}")[:-1]]
    reply = reply_of(START, *said, done("tool_use"))
    assert reply.message.parts == [Reasoning("x", state(signature="s")), Text("so"), ToolCall("t", "f", {}, "{}")]


def test_a_block_that_changes_its_kind() -> None:
    """Reasoning and text under one index are two parts."""
    reply = reply_of(START, delta(0, reasoningContent={"text": "hm"}), delta(0, text="so"), stop(0), done())
    assert (reply.reasoning, reply.text) == ("hm", "so")


# ---- the provider's own tools, sources, images


@pytest.mark.req("seed-A7")
def test_a_tool_that_the_provider_runs_itself() -> None:
    """Call and result are said whole, in their place, with what they need to be sent back."""
    result = {"toolUseId": "s", "type": "nova_grounding_result", "status": "success"}
    content = [{"text": "found"}, {"json": {"a": 1}}]
    reply = reply_of(
        START,
        *call(0, "s", "nova_grounding", '{"q":1}', type="server_tool_use"),
        start(1, toolResult=result),
        delta(1, toolResult=content[:1]),
        delta(1, toolResult=content[1:]),
        stop(1),
        delta(2, text="so"),
        stop(2),
        done(),
        TAIL,
    )
    ran = ProviderState(PROVIDER, {"type": "server_tool_use"})
    said = ProviderState(PROVIDER, {"toolResult": {**result, "content": content}})
    assert reply.message.parts == [
        ToolCall("s", "nova_grounding", {"q": 1}, '{"q":1}', state=ran, executed=True),
        ToolResult("s", "nova_grounding", 'found\n{"a":1}', state=said),
        Text("so"),
    ]
    assert reply.tool_calls == []
    assert reply.finish_reason == "stop"


def test_citations_name_the_text_they_stand_for() -> None:
    """Title, quote, address and the place in the answer; the provider's object is kept."""
    raw: dict[str, Any] = {
        "title": "Doc",
        "sourceContent": [{"text": "as it "}, {"text": "says"}],
        "location": {"documentChar": {"documentIndex": 0, "start": 3, "end": 9}},
    }
    web = {"location": {"web": {"url": "https://a.example/x", "domain": "a.example"}}}
    events = events_of(
        START,
        delta(0, text="ab"),
        stop(0),
        delta(1, text="cde"),
        delta(1, citation=raw),
        delta(1, citation=web),
        stop(1),
        done(),
    )
    assert [event for event in events if isinstance(event, Citation)] == [
        Citation("", "Doc", 2, 5, "as it says", raw),
        Citation("https://a.example/x", "", 2, 5, "", web),
    ]


def test_an_image_that_the_model_made() -> None:
    """Its bytes may come in pieces, each in base64 by itself."""
    pieces = [delta(0, image={"source": {"bytes": base64.b64encode(part).decode()}}) for part in (b"ab", b"c")]
    reply = reply_of(START, start(0, image={"format": "jpeg"}), *pieces, stop(0), done())
    (image,) = reply.message.parts
    assert isinstance(image, Image)
    assert (image.data, image.media_type) == (b"abc", "image/jpeg")


# ---- the end


@pytest.mark.req("B6")
@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("guardrail_intervened", "content_filter"),
        ("content_filtered", "content_filter"),
        ("malformed_model_output", "error"),
        ("malformed_tool_use", "error"),
        ("brand_new", "other"),
    ],
)
def test_stop_reasons(raw: str, reason: str) -> None:
    """All of the wire's, and one that nobody knows."""
    assert events_of(START, delta(0, text="a"), done(raw), TAIL)[-1] == Finish(reason, raw)  # type: ignore[arg-type]


@pytest.mark.req("B2", "C8")
def test_after_message_stop_the_answer_is_whole() -> None:
    """Without usage, with half of it, or with an exception in its place: the model had said that it was done."""
    said = [START, delta(0, text="a"), done()]
    for tail in (b"", body_of([TAIL])[:30], body_of([("exception:internalServerException", {"message": "late"})])):
        assert BEDROCK.decode(body_of(said) + tail)[-1] == Finish("stop", "end_turn")


@pytest.mark.req("B1")
def test_usage_without_message_stop_is_no_end() -> None:
    """The counts are kept, and the stream was cut."""
    events = BEDROCK.decode(body_of([START, delta(0, text="a"), TAIL]))
    assert isinstance(failure(events), IncompleteStreamError)
    assert fold(events).usage is not None


def test_nothing_follows_the_end() -> None:
    """What comes after usage is not read."""
    assert events_of(START, done(), TAIL, delta(0, text="late"))[-1] == Finish("stop", "end_turn")


@pytest.mark.req("F7", "seed-B2")
def test_the_input_of_usage_includes_the_cache() -> None:
    """This wire counts what was read from and written to the cache beside the input; ours is the sum, theirs is kept."""
    raw = {
        "inputTokens": 4,
        "outputTokens": 145,
        "totalTokens": 9149,
        "cacheReadInputTokens": 8000,
        "cacheWriteInputTokens": 1000,
        "cacheDetails": [{"ttl": "1h", "inputTokens": 1000}],
    }
    usage = reply_of(START, done(), ("metadata", {"usage": raw})).usage
    assert usage == Usage(
        input_tokens=9004, output_tokens=145, cache_read_tokens=8000, cache_write_tokens=1000, raw=raw
    )
    assert usage.total_tokens == raw["totalTokens"]


def test_what_is_said_beside_the_end_is_in_its_details() -> None:
    """Fields of the model's own that were asked for, and the trace of a guardrail."""
    fields, trace = {"stop_sequence": "END"}, {"guardrail": {"actionReason": "blocked"}}
    events = events_of(
        START, done("guardrail_intervened", additionalModelResponseFields=fields), ("metadata", {"trace": trace})
    )
    assert events[-1] == Finish(
        "content_filter", "guardrail_intervened", {"additionalModelResponseFields": fields, "trace": trace}
    )


# ---- failures

EXCEPTIONS: list[tuple[str, dict[str, Any], type[LLMError], int | None]] = [
    ("throttlingException", {"message": "Too many tokens"}, RateLimitError, None),
    ("serviceUnavailableException", {"message": "m"}, OverloadedError, None),
    ("internalServerException", {"message": "m"}, ServerError, None),
    ("validationException", {"message": "m"}, InvalidRequestError, None),
    ("modelStreamErrorException", {"message": "m", "originalStatusCode": 529}, OverloadedError, 529),
    ("modelStreamErrorException", {"message": "m", "originalStatusCode": 503}, OverloadedError, 503),
    ("modelStreamErrorException", {"message": "m", "originalStatusCode": 429}, RateLimitError, 429),
    ("modelStreamErrorException", {"message": "m", "originalStatusCode": 500}, ServerError, 500),
    ("modelStreamErrorException", {"message": "m"}, ServerError, None),
    ("brandNewException", {"message": "m"}, ServerError, None),
]


@pytest.mark.req("C1", "C8", "seed-C")
@pytest.mark.parametrize(("name", "body", "kind", "status"), EXCEPTIONS)
@pytest.mark.parametrize("before", [[], [START, delta(0, text="Hel")]], ids=["first", "in the middle"])
def test_exceptions_have_their_class(
    name: str, body: dict[str, Any], kind: type[LLMError], status: int | None, before: list[Any]
) -> None:
    """Wherever it comes, with the service's name for it as the code and the model server's status, where it is told."""
    error = error_of(*before, (f"exception:{name}", body))
    assert type(error) is kind
    assert (error.code, error.status, error.message) == (name, status, body["message"])
    assert (error.provider, error.model) == (PROVIDER, "m")


@pytest.mark.req("C8")
def test_the_words_of_the_model_server_are_kept() -> None:
    """modelStreamErrorException has two messages."""
    body = {"message": "The model failed.", "originalMessage": "overloaded_error: busy", "originalStatusCode": 529}
    error = error_of(START, ("exception:modelStreamErrorException", body))
    assert error.message == "The model failed.: overloaded_error: busy"
    assert json.loads(error.body or "") == body


@pytest.mark.req("C8", "C11")
@pytest.mark.parametrize("text", ["", "not JSON", "[1]", '"x"'])
def test_an_exception_without_a_body_of_json(text: str) -> None:
    """Its name is enough."""
    error = error_of(START, ("exception:throttlingException", text))
    assert type(error) is RateLimitError
    assert error.message


@pytest.mark.req("C8")
@pytest.mark.parametrize("text", ["broken", ""])
def test_an_error_of_the_event_stream_itself(text: str) -> None:
    """`:message-type: error` says its code and its message in headers."""
    error = error_of(START, ("error:InternalError", text))
    assert type(error) is ServerError
    assert error.code == "InternalError"
    assert text in error.message


@pytest.mark.req("C8", "seed-C")
def test_too_long_an_input_is_known_by_its_words() -> None:
    """The service has no name for it."""
    error = error_of(("exception:validationException", {"message": "Input is too long for requested model."}))
    assert error.kind == "context_length"


@pytest.mark.req("B1", "C11")
def test_a_damaged_message_is_a_protocol_error_with_what_came_before() -> None:
    """A wrong checksum in the middle: the text before it is kept, and nothing after it is believed."""
    good, bad = body_of([START, delta(0, text="Hel")]), bytearray(body_of([delta(0, text="lo")]))
    bad[-1] ^= 1
    events = BEDROCK.decode(good + bytes(bad) + body_of([done(), TAIL]))
    assert fold(events).text == "Hel"
    assert type(failure(events)) is ProtocolError


@pytest.mark.req("C6", "C11")
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"message":"Too many requests, please wait before trying again."}', "rate_limit"),
        (b'{"Message":"The security token is expired"}', "server_error"),
        (b'{"error":{"message":"busy","code":"overloaded_error"}}', "overloaded"),
        (b"<html>Bad gateway</html>", "protocol"),
        (b"", "protocol"),
    ],
)
def test_what_gateways_answer_instead_of_a_stream(body: bytes, kind: str) -> None:
    """JSON, a page or nothing, with a good status: a typed error and never an empty answer."""
    assert failure(BEDROCK.decode(body)).kind == kind


# ---- what is not understood


@pytest.mark.req("G4")
def test_what_is_not_understood_is_skipped_or_there_raw() -> None:
    """Padding, metrics, events, blocks, members of deltas and fields that nobody knew when this was written."""
    said = [
        ("messageStart", {"role": "assistant", "p": "abc"}),
        ("hologram", {"x": 1}),
        ("initial-response", ""),
        start(0, hologram={"y": 2}),
        delta(0, hologram={"z": 3}),
        ("contentBlockDelta", {"contentBlockIndex": 1, "delta": {"text": "a"}, "p": "ab"}),
        delta(1, text="b", shiny=True),
        delta("?", text="c"),
        done("end_turn", more=1),
        TAIL,
    ]
    assert [type(event) for event in events_of(*said)] == [StreamStart, TextDelta, TextDelta, Usage, Finish]
    raw = events_of(*said, raw=True)
    assert [event for event in raw if type(event).__name__ != "RawEvent"] == events_of(*said)
    assert raws_of(raw) == [
        {"messageStart": {"p": "abc"}},
        {"hologram": {"x": 1}},
        {"initial-response": ""},
        {"contentBlockStart": said[3][1]},
        {"contentBlockDelta": said[4][1]},
        {"contentBlockDelta": {"p": "ab"}},
        {"contentBlockDelta": said[6][1]},
        {"contentBlockDelta": said[7][1]},
        {"messageStop": {"more": 1}},
        {"metadata": {"metrics": {"latencyMs": 1}}},
    ]


@pytest.mark.req("G5")
def test_a_stream_without_its_start() -> None:
    """messageStart says nothing that is needed."""
    assert reply_of(delta(0, text="a"), done()).text == "a"
    assert reply_of(done()).text == ""


@pytest.mark.req("A1", "A3")
def test_characters_are_whole() -> None:
    """U+2028 stays; halves of a character in two deltas are joined, in text, reasoning and input."""
    reply = reply_of(
        START,
        ("contentBlockDelta", '{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"\\ud83d"}}}'),
        ("contentBlockDelta", '{"contentBlockIndex":0,"delta":{"reasoningContent":{"text":"\\ude00"}}}'),
        ("contentBlockDelta", '{"contentBlockIndex":1,"delta":{"text":"x\\u2028\\ud83d"}}'),
        ("contentBlockDelta", '{"contentBlockIndex":1,"delta":{"text":"\\ude00y\\ud83d"}}'),
        stop(1),
        start(2, toolUse={"toolUseId": "t", "name": "f"}),
        ("contentBlockDelta", '{"contentBlockIndex":2,"delta":{"toolUse":{"input":"{\\"a\\":\\"\\ud83d"}}}'),
        ("contentBlockDelta", '{"contentBlockIndex":2,"delta":{"toolUse":{"input":"\\ude00\\"}"}}}'),
        stop(2),
        done("tool_use"),
    )
    assert (reply.reasoning, reply.text) == ("😀", "x\u2028😀y\ufffd")
    assert reply.tool_calls[0].arguments == {"a": "😀"}
