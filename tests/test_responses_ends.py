"""Every way in which a stream of the Responses API ends: finish reasons, errors, cuts, and its resumption."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from _decoding import failure
from _responses import (
    CREATED,
    ME,
    RESPONSES,
    Event,
    added,
    body_of,
    delta,
    done,
    ended,
    error_of,
    events_of,
    function,
    message,
    reply_of,
    response,
)

from asyncllm.events import (
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    RateLimitError,
    ServerError,
    StreamStart,
    TextDelta,
    ToolCall,
    check_order,
    fold,
)
from asyncllm.protocols import Encoded, Request
from asyncllm.protocols.openai_responses import ResponsesCodec

# ---- how it ends


@pytest.mark.req("C7", "B6")
@pytest.mark.parametrize(
    ("end", "reason", "raw"),
    [
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", "max_output_tokens"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter", "content_filter"),
        (ended("incomplete", incomplete_details={"reason": "steered"}), "other", "steered"),
        (ended("incomplete"), "other", "incomplete"),
        # vLLM says "completed" whatever the status is
        (
            {
                "type": "response.completed",
                "response": response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            },
            "length",
            "max_output_tokens",
        ),
        (ended("done", status="completed"), "stop", "completed"),
        ({"type": "response.completed"}, "stop", "completed"),
    ],
)
def test_finish_reasons(end: Event, reason: str, raw: str) -> None:
    """An incomplete response is an answer, with its reason; the provider's word is kept."""
    reply = reply_of(CREATED, done(0, message("Hel")), end)
    assert (reply.text, reply.finish_reason, reply.raw_finish_reason) == ("Hel", reason, raw)


def failed(error: Any, **more: Any) -> Event:
    return ended("failed", error=error, **more)


def in_band(error: Event) -> list[Callable[[], Event]]:
    return [
        lambda: failed(error),
        lambda: {"type": "error", **error, "param": None},
        lambda: {"type": "error", "error": {"type": "error", **error}},
    ]


@pytest.mark.req("C1", "C6", "C7")
@pytest.mark.parametrize("shape", [0, 1, 2], ids=["response.failed", "flat error", "nested error"])
@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        ("server_error", ServerError, True),
        ("rate_limit_exceeded", RateLimitError, True),
        ("usage_limit_reached", RateLimitError, True),
        ("context_length_exceeded", ContextLengthExceededError, False),
        ("invalid_prompt", ContentBlockedError, False),
        ("bio_policy", ContentBlockedError, False),
        ("image_content_policy_violation", ContentBlockedError, False),
        ("invalid_image_url", InvalidRequestError, False),
        ("vector_store_timeout", LLMTimeoutError, True),
        ("something_new", ServerError, True),
        (None, ServerError, True),
    ],
)
def test_errors_inside_the_stream(shape: int, code: str | None, expected: type[LLMError], retryable: bool) -> None:
    """Both shapes of `error`, and `response.failed`, are the real class of the error, with what had arrived before it."""
    frame = in_band({"code": code, "message": "It broke"})[shape]()
    error = error_of(CREATED, delta("output_text", "Hel"), added(1, function("")), frame)
    assert type(error) is expected
    assert (error.code, error.retryable) == (code, retryable)
    assert "It broke" in error.message
    events = events_of(CREATED, delta("output_text", "Hel"), added(1, function("")), frame)
    assert fold(events).text == "Hel"
    assert all(call.invalid for call in events if isinstance(call, ToolCall))


def test_a_failure_without_a_word_and_its_usage() -> None:
    """`error: null`; what it cost is reported all the same."""
    events = events_of(CREATED, failed(None, usage={"input_tokens": 3, "output_tokens": 1}))
    assert isinstance(failure(events), ServerError)
    reply = fold(events)
    assert reply.usage is not None
    assert reply.usage.input_tokens == 3


@pytest.mark.req("C3")
def test_an_error_as_the_first_event() -> None:
    """Nothing began: there is nothing but the error."""
    events = events_of({"type": "error", "code": "server_error", "message": "x", "param": None})
    assert len(events) == 1
    assert isinstance(failure(events), ServerError)
    (only,) = RESPONSES.decode(b'data: {"detail": "Unsupported parameter: x"}\n\n')
    assert "Unsupported" in failure([only]).message


@pytest.mark.req("B1")
@pytest.mark.parametrize("status", ["cancelled", "in_progress", "queued"])
def test_a_response_that_will_not_or_did_not_end(status: str) -> None:
    """Cancelled by its owner, or read before it was done: no answer."""
    for frame in ({"type": "response.completed", "response": response(status)}, ended("cancelled", status=status)):
        error = error_of(CREATED, frame)
        assert isinstance(error, IncompleteStreamError)
        assert (error.code, error.retryable) == (status, False)
    (_, only) = RESPONSES.decode(json.dumps(response(status)).encode())
    assert isinstance(failure([only]), IncompleteStreamError)


@pytest.mark.req("B1", "G10")
def test_done_is_no_end() -> None:
    """`[DONE]` without a last event, or the end of the bytes after whole items: the stream was cut."""
    body = body_of(CREATED, done(0, message("Hello")))
    for end in (b"data: [DONE]\n\n", b""):
        assert isinstance(failure(RESPONSES.decode(body + end)), IncompleteStreamError)


def test_nothing_follows_the_end() -> None:
    """What comes after the last event is not read."""
    events = events_of(CREATED, done(0, message("a")), ended(), delta("output_text", "late"), failed({"message": "x"}))
    assert isinstance(events[-1], Finish)
    assert fold(events).text == "a"


def test_a_stream_that_nobody_announced() -> None:
    """Deltas before `response.created`, or without it, begin the step."""
    events = events_of(delta("output_text", "Hello"), CREATED, ended())
    assert events[:2] == [StreamStart("m", "", ME), TextDelta("Hello")]
    assert fold(events).text == "Hello"


# ---- resumption


def decoder_of(**extra: Any) -> Any:
    request = Request(model="m", messages=(), extra_body=extra)
    return ResponsesCodec(ME).decoder(request, Encoded("/responses", b""))


def frames_of(*frames: Event, start: int = 0) -> list[Any]:
    from asyncllm.transports import SniffingFramer

    numbered = [{**frame, "sequence_number": start + at} for at, frame in enumerate(frames)]
    return SniffingFramer().feed(b"".join(f"data: {json.dumps(frame)}\n\n".encode() for frame in numbered))


@pytest.mark.req("H18")
def test_a_background_response_can_be_resumed() -> None:
    """After the last event that came; what comes twice is said once. Others cannot, nor one that has ended."""
    assert decoder_of().resume() is None
    for created, extra, can in (
        (response(background=True), {}, True),
        (response(), {"background": True}, True),
        (response(background=False), {"background": True}, False),
        (response(), {}, False),
    ):
        decoder = decoder_of(**extra)
        assert decoder.resume() is None  # nobody knows its id yet
        decoder.decode(frames_of({"type": "response.created", "response": created}, delta("output_text", "Hel")))
        assert (decoder.resume() is not None) == can
    decoder = decoder_of(background=True)
    start = [CREATED, delta("output_text", "Hel")]
    events = decoder.decode(frames_of(*start))
    sent = decoder.resume()
    assert sent == Encoded("/responses/resp_1?stream=true&starting_after=1", b"", method="GET")
    events += decoder.decode(frames_of(*start, delta("output_text", "lo"), ended(output=[message("Hello")])))
    check_order(events)
    assert fold(events).text == "Hello"
    assert isinstance(events[-1], Finish)
    assert decoder.resume() is None
