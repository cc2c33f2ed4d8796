"""Quirks of chat servers, group C: errors inside HTTP 200, in all their forms."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import calls_of, decode, error_of, events_of, failure
from _replay import DONE, ROLE, chunk_of, text

from asyncllm.events import (
    AuthenticationError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    StreamError,
    StreamStart,
    TextDelta,
    UnknownError,
    fold,
)


@pytest.mark.req("C1")
def test_an_error_in_the_middle_is_the_error_of_its_status() -> None:
    """529 inside the stream is what HTTP 529 is: overloaded, to be tried again; the text before it is kept."""
    body = {"error": {"message": "Overloaded", "code": 529, "type": "overloaded_error"}}
    events = events_of(ROLE, text("part"), body, DONE)
    error = failure(events)
    assert type(error) is OverloadedError
    assert (error.status, error.retryable, error.message, error.provider, error.model) == (
        529,
        True,
        "Overloaded",
        "test",
        "m",
    )
    assert fold(events).text == "part"


@pytest.mark.req("C2")
@pytest.mark.parametrize("choices", [[], [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]])
def test_an_error_beside_choices(choices: list[Any]) -> None:
    """A chunk with choices and a top-level error is that error, also with finish_reason "error"."""
    chunk = {"id": "x", "choices": choices, "error": {"code": 502, "message": "Provider disconnected"}}
    error = error_of(ROLE, text("part"), chunk, DONE)
    assert isinstance(error, ServerError)
    assert (error.status, error.message, error.retryable) == (502, "Provider disconnected", True)


@pytest.mark.req("C2")
def test_text_beside_an_error_is_delivered_first() -> None:
    """Nothing of the chunk that carries the error is lost."""
    chunk = chunk_of({"content": "last"}, error={"code": 502, "message": "no"})
    events = events_of(ROLE, chunk)
    assert TextDelta("last") in events
    assert isinstance(failure(events), ServerError)


@pytest.mark.req("C3")
@pytest.mark.parametrize("name", ["error", None])
def test_an_error_as_first_event_has_nothing_before_it(name: str | None) -> None:
    """No StreamStart and no content: what is above can repeat the call as after an HTTP status."""
    body = json.dumps({"error": {"message": "slow down", "code": 429}})
    event = f"event: {name}\n" if name else ""
    events = events_of(f"{event}data: {body}\n\n")
    assert [type(event) for event in events] == [StreamError]
    error = failure(events)
    assert isinstance(error, RateLimitError)
    assert error.retryable


@pytest.mark.req("C5")
def test_a_failed_generation_is_kept() -> None:
    """Groq's tool_use_failed: invalid request with its code, and what the model wrote in the body."""
    error = error_of(
        ROLE,
        {
            "error": {
                "message": "Failed to call a function",
                "type": "invalid_request_error",
                "code": "tool_use_failed",
                "failed_generation": "<function=read>",
                "status_code": 400,
            }
        },
    )
    assert isinstance(error, InvalidRequestError)
    assert (error.code, error.status) == ("tool_use_failed", 400)
    assert error.body is not None
    assert "<function=read>" in error.body


FORMS: dict[str, tuple[Any, type[LLMError], str]] = {
    "string": ({"error": "over capacity"}, ServerError, "over capacity"),
    "nested": ({"error": {"error": {"message": "deep", "code": 401}}}, AuthenticationError, "deep"),
    "list": ([{"error": {"code": 429, "message": "quota", "status": "RESOURCE_EXHAUSTED"}}], RateLimitError, "quota"),
    "old vLLM": (
        {"object": "error", "message": "bad", "type": "BadRequestError", "code": 400},
        InvalidRequestError,
        "bad",
    ),
    "success false": ({"success": False, "errors": [{"message": "gone", "code": 500}]}, ServerError, "gone"),
    "success false, flat": ({"success": False, "message": "gone"}, ServerError, "gone"),
    "Anthropic": ({"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}, OverloadedError, "busy"),
    "detail": ({"detail": "not allowed"}, ServerError, "not allowed"),
    "message": ({"message": "no"}, ServerError, "no"),
    "message with status": ({"message": "no", "status": 503}, OverloadedError, "no"),
    "MiniMax": ({"base_resp": {"status_code": 1002, "status_msg": "rate limit"}}, ServerError, "rate limit"),
    "in x_groq": ({**chunk_of({}), "x_groq": {"error": "over capacity"}}, ServerError, "over capacity"),
    "in the choice": (
        {"choices": [{"index": 0, "delta": {}, "error": {"code": 502, "message": "gone"}}]},
        ServerError,
        "gone",
    ),
}


@pytest.mark.req("C6")
@pytest.mark.parametrize("started", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_an_error_body(name: str, started: bool) -> None:
    """One parser for all of them, at the beginning of a stream and in the middle."""
    body, kind, message = FORMS[name]
    error = error_of(*([ROLE, text("a")] if started else []), body, DONE)
    assert isinstance(error, kind)
    assert error.message == message


@pytest.mark.req("C6")
@pytest.mark.parametrize("data", ["overloaded", '"overloaded"', '{"message":"overloaded"}'])
def test_a_named_error_event_of_any_shape(data: str) -> None:
    """`event: error` is an error whatever its data is: text, a string, an object."""
    error = error_of(ROLE, f"event: error\ndata: {data}\n\n")
    assert isinstance(error, OverloadedError)
    assert error.message == "overloaded"


@pytest.mark.req("C6")
@pytest.mark.parametrize("value", ["null", "1", "true", '"text"', "[]", "[1]"])
def test_json_that_is_no_object_is_an_error(value: str) -> None:
    """It is no chunk and says nothing: a typed error, not a crash."""
    error = error_of(ROLE, f"data: {value}\n\n")
    assert isinstance(error, LLMError)
    assert error.body == value


@pytest.mark.req("C6")
def test_an_object_that_says_nothing_is_no_error() -> None:
    """Objects with neither choices nor an error (pings, metadata) are passed over."""
    frames = (
        ROLE,
        {"type": "ping"},
        {},
        {"error": None},
        text("a"),
        {"message": "x", "choices": []},
        chunk_of({}, "stop"),
    )
    assert fold(events_of(*frames)).text == "a"


@pytest.mark.req("C11", "A6")
def test_a_page_with_status_200_is_a_protocol_error() -> None:
    """A gateway's page where a stream should be."""
    error = failure(decode(b"<html><head><title>Sign in</title></head></html>"))
    assert type(error) is ProtocolError
    assert "HTML page" in error.message


@pytest.mark.req("C11")
def test_a_cut_error_body_is_incomplete() -> None:
    """Half an object says nothing but that it was cut."""
    assert isinstance(failure(decode(b'{"error":{"mess')), IncompleteStreamError)


@pytest.mark.req("C1", "B9")
def test_calls_of_a_broken_stream_are_invalid() -> None:
    """Even one whose JSON is whole: nobody knows whether more would have come."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": '{"a":1}'}}
    events = events_of(ROLE, chunk_of({"tool_calls": [call]}), {"error": {"message": "x", "code": 500}})
    (made,) = calls_of(events)
    assert made.arguments is None
    assert made.invalid == "the stream broke before the call was whole"
    assert made.raw_arguments == '{"a":1}'


@pytest.mark.req("C6")
def test_an_error_with_neither_words_nor_codes() -> None:
    """`{"error": {}}` is nothing; `{"error": true}` is an error without a message."""
    assert isinstance(events_of(ROLE, {"error": {}}, chunk_of({}, "stop"))[0], StreamStart)
    error = error_of(ROLE, {"error": True})
    assert not isinstance(error, UnknownError)
    assert error.message
