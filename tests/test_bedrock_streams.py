"""Converse streams: the recorded ones in every cut, how each ends or fails, and what of it is not understood."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _converse import BEDROCK, PROVIDER, START, TAIL, body_of, delta, done, error_of, events_of, reply_of, start, stop
from _decoding import failure, raws_of
from _wirecase import WireCase, check_cuts, check_said, check_truncations

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StreamStart,
    TextDelta,
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
