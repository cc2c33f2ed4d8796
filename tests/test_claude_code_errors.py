"""How Claude Code may say that a turn failed, besides what was recorded, and what error that is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from _claude_program import (
    init,
    line,
    result,
)
from _claude_turns import NOW, SAID, decoder, failed, failure, limit, of, retry, said, synthetic, whole

from asyncllm.events import (
    Finish,
    RateLimitError,
    Retrying,
    StreamError,
    fold,
)
from asyncllm.protocols.agents._exit import Exit

pytestmark = [pytest.mark.req("seed-A9")]


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"subtype": "error_during_execution", "errors": ["boom"], "result": None}, "UnknownError"),
        ({"subtype": "error_of_tomorrow", "is_error": False}, "UnknownError"),
        ({"subtype": "success", "is_error": True}, "UnknownError"),
        ({"subtype": "error_max_budget_usd", "errors": ["spent"]}, "BillingError"),
        ({"subtype": "error_max_structured_output_retries"}, "InvalidOutputError"),
        ({"subtype": "error_max_turns"}, "UnknownError"),
        ({"is_error": False, "terminal_reason": "prompt_too_long"}, "ContextLengthExceededError"),
        ({"is_error": False, "terminal_reason": "blocking_limit"}, "ContextLengthExceededError"),
        ({"is_error": False, "terminal_reason": "rapid_refill_breaker"}, "ContextLengthExceededError"),
        ({"is_error": False, "terminal_reason": "image_error"}, "InvalidRequestError"),
        ({"is_error": False, "terminal_reason": "model_error"}, "UnknownError"),
        ({"is_error": False, "terminal_reason": "aborted_tools"}, "IncompleteStreamError"),
        ({"api_error_status": 503}, "OverloadedError"),
        ({"api_error_status": 413}, "ContextLengthExceededError"),
        ({"api_error_status": 429}, "RateLimitError"),
    ],
)
def test_results_that_are_no_success(fields: dict[str, Any], name: str) -> None:
    """Whatever was said before: nothing of the result is the answer."""
    events = said(SAID, failed("the error", **fields))
    assert isinstance(events[-1], StreamError)
    assert type(events[-1].error).__name__ == name
    assert not of(events, Finish)
    assert fold(events).text == "Hello."


@pytest.mark.parametrize(
    ("word", "status", "name"),
    [
        ("authentication_failed", 401, "AuthenticationError"),
        ("authentication_failed", 403, "PermissionDeniedError"),
        ("oauth_org_not_allowed", 403, "PermissionDeniedError"),
        ("billing_error", None, "BillingError"),
        ("rate_limit", 429, "RateLimitError"),
        ("overloaded", 529, "OverloadedError"),
        ("model_not_found", 404, "NotFoundError"),
        ("server_error", 500, "ServerError"),
        ("server_error", 529, "OverloadedError"),
        ("server_error", None, "ConnectionFailedError"),
        ("invalid_request", 400, "InvalidRequestError"),
        ("max_output_tokens", None, "MaxOutputTokensError"),
        ("unknown", None, "UnknownError"),
        ("a_word_of_tomorrow", None, "UnknownError"),
        ("a_word_of_tomorrow", 500, "ServerError"),
    ],
)
def test_the_word_of_a_synthetic_message(word: str, status: int | None, name: str) -> None:
    error = failure(synthetic("It failed.", word), failed(api_error_status=status))
    assert type(error).__name__ == name
    assert (error.status, error.code) == (status, word)
    assert "It failed." in error.message


def test_an_error_that_was_overcome_is_no_cause() -> None:
    """The model spoke again after it."""
    error = failure(
        synthetic("Slow down.", "rate_limit"), retry(429), SAID, failed("boom", subtype="error_during_execution")
    )
    assert type(error).__name__ == "UnknownError"
    assert "Slow down." not in error.message


@pytest.mark.parametrize(
    ("status", "word", "name"),
    [
        (None, "unknown", "ConnectionFailedError"),
        (500, "server_error", "ServerError"),
        (529, "overloaded", "OverloadedError"),
        (429, "rate_limit", "RateLimitError"),
        (401, "authentication_failed", "AuthenticationError"),
    ],
)
def test_its_retries(status: int | None, word: str, name: str) -> None:
    (retrying,) = of(said(retry(status, word), SAID, result()), Retrying)
    assert (retrying.attempt, retrying.delay) == (2, 1.5)
    assert (type(retrying.error).__name__, retrying.error.status) == (name, status)


def test_it_refuses_to_begin() -> None:
    """Our tools would not be there."""
    refusal = {"subtype": "error", "request_id": "initialize", "error": "no such agent"}
    (last,) = decoder().decode_lines([line("control_response", response=refusal)])
    assert isinstance(last, StreamError)
    assert type(last.error).__name__ == "InvalidRequestError"
    assert "no such agent" in last.error.message


@pytest.mark.parametrize(
    ("words", "name", "status"),
    [
        ("API Error: 529 Overloaded. Try again.", "OverloadedError", 529),
        ("API Error: 500 Internal server error", "ServerError", 500),
        ("API Error: Unable to connect to API (ConnectionRefused)", "ConnectionFailedError", None),
        ("API Error: Request timed out", "ConnectionFailedError", None),
        (
            "API Error: Connection closed mid-response. The response above may be incomplete.",
            "IncompleteStreamError",
            None,
        ),
        ("API Error: Request rejected (429) · This request would exceed your limit", "RateLimitError", 429),
        ("Failed to authenticate. API Error: 403 Your organization has been disabled.", "PermissionDeniedError", 403),
        ("API Error: Claude's response exceeded the 32000 output token maximum.", "MaxOutputTokensError", None),
        ("There's an issue with the selected model (m). It may not exist.", "NotFoundError", None),
        ("Prompt is too long", "ContextLengthExceededError", None),
        ("Credit balance is too low", "BillingError", None),
        ("Something else", "UnknownError", None),
    ],
)
def test_only_words(words: str, name: str, status: int | None) -> None:
    """Text output has nothing else."""
    (last,) = whole("text", words.encode(), Exit(1))
    assert isinstance(last, StreamError)
    assert (type(last.error).__name__, last.error.status) == (name, status)


@pytest.mark.parametrize("newline", [b"", b"\n"])
def test_a_verbose_json_answer_is_a_list(newline: bytes) -> None:
    listed = b"[" + b",".join((init() + SAID + result("Hello.")).strip().split(b"\n")) + b"]"
    reply = fold(whole("json", listed + newline, Exit(0)))
    assert (reply.text, reply.finish_reason) == ("Hello.", "stop")
    assert type(whole("json", listed[:-9] + newline, Exit(0))[-1]) is StreamError


# ---- limits of a plan


@pytest.mark.parametrize("given", [1795233235, 1795233235000, "1795233235"])
def test_a_limit_that_was_rejected(given: object) -> None:
    error = failure(
        limit("rejected", resetsAt=given, rateLimitType="five_hour"),
        synthetic("You've hit your session limit · resets 3:53am (UTC)", "rate_limit"),
        failed(api_error_status=429),
    )
    assert type(error) is RateLimitError
    reset = datetime(2026, 11, 21, 3, 53, 55, tzinfo=UTC)
    assert (error.reset_time, error.retry_after) == (reset, (reset - NOW).total_seconds())


def test_a_limit_in_words() -> None:
    words = "You've hit your limit · resets 4pm (America/Los_Angeles)"
    error = failure(synthetic(words, "rate_limit"), failed(api_error_status=429))
    assert error.reset_time == datetime(2026, 11, 22, 0, 0, tzinfo=UTC)
    (last,) = whole("text", words.encode(), Exit(1))
    assert isinstance(last, StreamError)
    assert isinstance(last.error, RateLimitError)
    assert last.error.reset_time == error.reset_time


@pytest.mark.parametrize(
    ("lines", "name"),
    [
        ([limit("allowed_warning", utilization=0.9)], "UnknownError"),
        ([limit("rejected"), limit("allowed")], "UnknownError"),
        ([limit("rejected")], "RateLimitError"),
        ([limit("rejected"), synthetic("Oops.", "server_error")], "ConnectionFailedError"),
        ([limit("rejected"), synthetic("No.", "authentication_failed")], "AuthenticationError"),
    ],
)
def test_a_limit_is_not_the_cause_of_everything(lines: list[bytes], name: str) -> None:
    assert type(failure(*lines, failed("boom"))).__name__ == name


def test_a_limit_is_no_error_while_it_is_none() -> None:
    events = said(limit("rejected", isUsingOverage=True), SAID, result("Hello."))
    assert fold(events).finish_reason == "stop"
