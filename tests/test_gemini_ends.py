"""How Gemini streams end: blocked prompts and answers, finish reasons, usage, and errors in every form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import failure
from _gemini import GEMINI, STOP, body_of, chunk, events_of

from asyncllm.events import (
    AuthenticationError,
    BillingError,
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    Reasoning,
    ServerError,
    StreamError,
    TextDelta,
    Usage,
    fold,
)
from asyncllm.protocols import classify_response
from asyncllm.protocols.gemini import GeminiCodec

# ---- blocked


@pytest.mark.req("seed-A6")
@pytest.mark.parametrize(
    "reason",
    ["SAFETY", "OTHER", "BLOCKLIST", "PROHIBITED_CONTENT", "IMAGE_SAFETY", "MODEL_ARMOR", "JAILBREAK", "NEW_WORD"],
)
def test_a_blocked_prompt_is_an_error(reason: str) -> None:
    """Its reason is kept, its tokens are counted, and it is not worth another try."""
    feedback = {
        "promptFeedback": {"blockReason": reason, "blockReasonMessage": "not this"},
        "usageMetadata": {"promptTokenCount": 4},
    }
    events = events_of(feedback)
    error = failure(events)
    assert isinstance(error, ContentBlockedError)
    assert (error.block_reason, error.message, error.retryable) == (reason, "not this", False)
    assert any(isinstance(event, Usage) and event.input_tokens == 4 for event in events)


BLOCKS = ["SAFETY", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "RECITATION", "MODEL_ARMOR", "LANGUAGE"] + [
    f"IMAGE_{word}" for word in ("SAFETY", "PROHIBITED_CONTENT", "RECITATION", "OTHER")
]


@pytest.mark.req("seed-A6")
@pytest.mark.parametrize("reason", BLOCKS)
@pytest.mark.parametrize(
    "before", [[], [chunk({"text": "hm", "thought": True})], [chunk("")]], ids=["", "thought", "empty"]
)
def test_an_answer_blocked_before_it_began_is_an_error(reason: str, before: list[Any]) -> None:
    """An empty success would be a lie: without a word of the answer the block is an error with its reason."""
    error = failure(events_of(*before, chunk(finish=reason, finishMessage="why")))
    assert isinstance(error, ContentBlockedError)
    assert (error.block_reason, error.message, error.retryable) == (reason, "why", False)


@pytest.mark.req("B6")
@pytest.mark.parametrize("reason", BLOCKS)
def test_an_answer_blocked_in_its_middle_is_a_finish(reason: str) -> None:
    """What was said stands, and the finish says that a filter ended it, and why."""
    ratings = [{"category": "HARM_CATEGORY_HARASSMENT", "blocked": True}]
    events = events_of(chunk("Par"), chunk(finish=reason, safetyRatings=ratings))
    assert fold(events).text == "Par"
    assert events[-1] == Finish("content_filter", reason, {"safetyRatings": ratings})


# ---- how it ends


@pytest.mark.req("B6", "G6")
@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("MALFORMED_FUNCTION_CALL", "error"),
        ("UNEXPECTED_TOOL_CALL", "error"),
        ("TOO_MANY_TOOL_CALLS", "error"),
        ("MISSING_THOUGHT_SIGNATURE", "error"),
        ("MALFORMED_RESPONSE", "error"),
        ("OTHER", "other"),
        ("NO_IMAGE", "other"),
        ("ESCALATION", "other"),
        ("PUP_LIMITED_DISABLED", "other"),
        ("CONTINUATION", "other"),
        ("FINISH_REASON_UNSPECIFIED", "other"),
        ("A_WORD_OF_TOMORROW", "other"),
    ],
)
def test_finish_reasons(word: str, reason: str) -> None:
    """Each word has a meaning, and is kept; a candidate without content or parts is none the worse."""
    assert events_of(chunk(finish=word))[-1] == Finish(reason, word)  # type: ignore[arg-type]
    assert events_of({"candidates": [{"content": {"role": "model"}, "finishReason": word}]})[-1] == Finish(reason, word)  # type: ignore[arg-type]


@pytest.mark.req("G6")
def test_a_malformed_call_keeps_what_the_server_says() -> None:
    """The message has the call as the model wrote it."""
    events = events_of(chunk(finish="MALFORMED_FUNCTION_CALL", finishMessage="Malformed function call: print(1)"))
    assert events[-1] == Finish(
        "error", "MALFORMED_FUNCTION_CALL", {"finishMessage": "Malformed function call: print(1)"}
    )


@pytest.mark.req("B3", "B4", "F1")
def test_usage_after_the_end_and_an_end_said_twice() -> None:
    """One Finish; the last count is the one that counts, and it is said once."""
    events = events_of(
        {**chunk("a"), "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 1}},
        {**STOP, "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2}},
        STOP,
        {
            "usageMetadata": {
                "promptTokenCount": 3,
                "candidatesTokenCount": 2,
                "toolUsePromptTokenCount": 5,
                "thoughtsTokenCount": 7,
            }
        },
    )
    assert sum(isinstance(event, Finish) for event in events) == 1
    (usage,) = [event for event in events if isinstance(event, Usage)]
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (8, 9, 7)


@pytest.mark.req("B4", "B5")
def test_a_server_that_says_stop_with_every_chunk() -> None:
    """Content after the end goes on, and such a server's end is that of its bytes alone."""
    codec = GeminiCodec("gemini")
    assert (
        fold(events_of(chunk("a", finish="STOP"), chunk("b", finish="STOP"), chunk("c", finish="STOP"))).text == "abc"
    )
    decoder = codec.decoder(GEMINI.request, codec.encode(_asking()))
    framer = GEMINI.make_framer()
    decoder.decode(framer.feed(body_of(chunk("a", finish="STOP"))))
    assert decoder.ending
    decoder.decode(framer.feed(body_of(chunk("b", finish="STOP"))))
    assert not decoder.ending
    unsaid = "FINISH_REASON_UNSPECIFIED"
    events = events_of(chunk("a", finish=unsaid), chunk("b", finish=""), chunk("c", finish="MAX_TOKENS"))
    assert events[-1] == Finish("length", "MAX_TOKENS")
    assert isinstance(failure(events_of(chunk("a", finish=unsaid), chunk("b"))), IncompleteStreamError)


def _asking() -> Any:
    from asyncllm.events import Message
    from asyncllm.protocols import Request

    return Request(model="m", messages=(Message("user", "Hi"),))


@pytest.mark.req("G10", "B1")
def test_done_ends_nothing_that_is_not_done() -> None:
    """`[DONE]`, which proxies add, is no end by itself."""
    assert isinstance(events_of(chunk("a"), STOP, b"data: [DONE]\n\n")[-1], Finish)
    assert isinstance(failure(events_of(chunk("a"), b"data: [DONE]\n\n")), IncompleteStreamError)


def test_a_thought_alone_is_an_answer_that_was_cut_at_its_limit() -> None:
    """All tokens went into thinking: the limit is the end, and there is no text."""
    events = events_of(chunk({"text": "hm", "thought": True}), chunk(finish="MAX_TOKENS"))
    assert events[-1] == Finish("length", "MAX_TOKENS")
    assert [type(part) for part in fold(events).message.parts] == [Reasoning]


# ---- errors

RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "17.5s"}


def quota(id: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaMetric": "m", "quotaId": id, "quotaValue": "50"}],
    }


def info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


LONG = "The input token count (1048577) exceeds the maximum number of tokens allowed (1048576)."
ERRORS: list[tuple[int, str, str, list[Any], type[LLMError], bool]] = [
    (400, "INVALID_ARGUMENT", "bad", [], InvalidRequestError, False),
    (400, "INVALID_ARGUMENT", "API key not valid.", [info("API_KEY_INVALID")], AuthenticationError, False),
    (400, "INVALID_ARGUMENT", LONG, [], ContextLengthExceededError, False),
    (400, "FAILED_PRECONDITION", "wrong state", [], InvalidRequestError, False),
    (
        400,
        "FAILED_PRECONDITION",
        "Gemini API free tier is not available in your country. Please enable billing",
        [],
        BillingError,
        False,
    ),
    (401, "UNAUTHENTICATED", "no", [info("ACCESS_TOKEN_EXPIRED")], AuthenticationError, False),
    (402, "", "pay", [], BillingError, False),
    (403, "PERMISSION_DENIED", "no", [], PermissionDeniedError, False),
    (403, "PERMISSION_DENIED", "no", [info("BILLING_DISABLED")], BillingError, False),
    (404, "NOT_FOUND", "models/x is not found", [], NotFoundError, False),
    (409, "ABORTED", "again", [], ServerError, True),
    (
        429,
        "RESOURCE_EXHAUSTED",
        "slow",
        [RETRY, quota("GenerateRequestsPerMinutePerProjectPerModel")],
        RateLimitError,
        True,
    ),
    (
        429,
        "RESOURCE_EXHAUSTED",
        "slow",
        [RETRY, quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier")],
        RateLimitError,
        False,
    ),
    (499, "CANCELLED", "gone", [], LLMTimeoutError, True),
    (500, "INTERNAL", "oops", [], ServerError, True),
    (503, "UNAVAILABLE", "The model is overloaded.", [], OverloadedError, True),
    (504, "DEADLINE_EXCEEDED", "late", [], LLMTimeoutError, True),
]


@pytest.mark.req("C1", "C3", "C6", "A9", "seed-C", "H11")
@pytest.mark.parametrize(("code", "status", "message", "details", "kind", "retryable"), ERRORS)
def test_errors_in_every_form(
    code: int, status: str, message: str, details: list[Any], kind: type[LLMError], retryable: bool
) -> None:
    """Over HTTP as an object or an array, inside the stream as an event, and unframed as pretty JSON: the same error."""
    body: dict[str, Any] = {"error": {"code": code, "message": message, "status": status, "details": details}}
    pretty = json.dumps(body, indent=2).replace("\n", "\r\n").encode()
    array = json.dumps([body], indent=2).encode()
    found = [classify_response(code, {}, content) for content in (pretty, array, json.dumps(body).encode())]
    for frames in ([body], [chunk("a"), body], [chunk("a"), pretty], [chunk("a"), pretty + b"\r\n"], [pretty], [array]):
        events = events_of(*frames)
        assert isinstance(events[-1], StreamError)
        found.append(events[-1].error)
        assert fold(events).text == ("a" if len(frames) > 1 else "")
    for error in found:
        assert type(error) is kind
        assert (error.status, error.retryable) == (code, retryable)
        assert error.message == message
        assert error.retry_after == (17.5 if RETRY in details else None)


@pytest.mark.req("B1")
def test_an_unframed_error_that_was_cut() -> None:
    """Half an error is no end that anybody said."""
    pretty = json.dumps({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}, indent=2).encode()
    assert isinstance(failure(events_of(chunk("a"), pretty[:-5])), IncompleteStreamError)


@pytest.mark.req("F9")
def test_what_was_counted_before_an_error_is_said() -> None:
    """The tokens of half an answer are paid for, too."""
    events = events_of(
        {**chunk("a"), "usageMetadata": {"promptTokenCount": 3}}, {"error": {"code": 500, "status": "INTERNAL"}}
    )
    assert [event.input_tokens for event in events if isinstance(event, Usage)] == [3]
    assert isinstance(events[1], TextDelta)
