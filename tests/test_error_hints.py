"""What an error says beside its kind, for each provider: how long to wait, and the id of the request."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from _decoding import failure
from _error_cases import PER_DAY, WIRES, claude, google, openai, quota, router

from asyncllm.backends import RetryPolicy
from asyncllm.events import RateLimitError
from asyncllm.protocols import classify, classify_response

# ---- where the wait hint is

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC).timestamp()
SPENT = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"}

HINTS: list[tuple[str, dict[str, str], Any, float | None]] = [
    ("retry-after-ms", {"retry-after-ms": "1500", "retry-after": "9"}, None, 1.5),
    ("retry-after", {"Retry-After": "20"}, None, 20.0),
    ("retry-after, a float", {"retry-after": "0.5"}, None, 0.5),
    ("retry-after, a date", {"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, None, 30.0),
    ("retry-after, a date in the past", {"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, None, 0.0),
    *((f"retry-after {text}", {"retry-after": text}, None, None) for text in ("-1", "NaN", "inf", "soon")),
    *((f"retry-after-ms {text}", {"retry-after-ms": text}, None, None) for text in ("-1", "NaN", "inf")),
    ("reset of requests", {**SPENT, "x-ratelimit-reset-requests": "6m0s"}, None, 360.0),
    ("reset of requests", {**SPENT, "x-ratelimit-reset-requests": "1s"}, None, 1.0),
    ("reset of tokens", {**SPENT, "x-ratelimit-reset-tokens": "20ms"}, None, 0.02),
    ("reset in seconds", {**SPENT, "x-ratelimit-reset-tokens": "7"}, None, 7.0),
    ("reset as unix time", {**SPENT, "x-ratelimit-reset-requests": f"{NOW + 9:.0f}"}, None, 9.0),
    (
        "the longer of two resets",
        {**SPENT, "x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "7.66s"},
        None,
        7.66,
    ),
    (
        "the reset of what is not used up",
        {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"},
        None,
        None,
    ),
    *(
        (
            f"anthropic {what}",
            {
                f"anthropic-ratelimit-{what}-remaining": "0",
                f"anthropic-ratelimit-{what}-reset": "2026-11-21T12:00:05Z",
            },
            None,
            5.0,
        )
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
    ("openrouter", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{(NOW + 9) * 1000:.0f}"}, None, 9.0),
    (
        "openrouter, in the body",
        {},
        router(429, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{(NOW + 9) * 1000:.0f}"}),
        9.0,
    ),
    (
        "google",
        {},
        google(429, "RESOURCE_EXHAUSTED", "m", {"@type": "google.rpc.RetryInfo", "retryDelay": "17.5s"}),
        17.5,
    ),
    ("openai, in words", {}, openai("rate_limit_exceeded", "tokens", "Please try again in 1.2s. Visit"), 1.2),
    ("openai, in words", {}, openai("rate_limit_exceeded", "tokens", "Please try again in 120ms."), 0.12),
    ("groq, in words", {}, openai("rate_limit_exceeded", "tokens", "Please try again in 6m0s."), 360.0),
    ("azure, in words", {}, openai("429", None, "Please retry after 20 seconds."), 20.0),
    ("gemini, in words", {}, google(429, "RESOURCE_EXHAUSTED", "Please retry in 17.54s."), 17.54),
    ("chatgpt", {}, {"error": {"type": "usage_limit_reached", "message": "m", "resets_in_seconds": 90}}, 90.0),
    ("nobody says", {}, openai("rate_limit_exceeded", "tokens"), None),
]


@pytest.mark.req("H11", "seed-C")
@pytest.mark.parametrize(("place", "headers", "body", "seconds"), HINTS, ids=[hint[0] for hint in HINTS])
def test_where_the_wait_hint_is(place: str, headers: dict[str, str], body: Any, seconds: float | None) -> None:
    """Seconds to wait, and for a rate limit the moment at which it ends, in UTC; without a hint there is neither."""
    error = classify(body or openai("rate_limit_exceeded", None), status=429, headers=headers, now=NOW)
    assert isinstance(error, RateLimitError)
    if seconds is None:
        assert (error.retry_after, error.reset_time) == (None, None)
        return
    assert error.retry_after == pytest.approx(seconds, abs=1e-3)
    assert error.reset_time is not None
    assert error.reset_time.tzinfo is UTC
    assert error.reset_time.timestamp() == pytest.approx(NOW + seconds, abs=1e-2)


@pytest.mark.req("H11")
def test_no_hint_makes_a_call_wait_for_ever() -> None:
    """More than two minutes, a quota of a day, a spending limit: the error, and no retry."""
    policy = RetryPolicy()
    day = google(429, "RESOURCE_EXHAUSTED", "m", quota(PER_DAY), {"@type": "RetryInfo", "retryDelay": "5s"})
    for error in (
        classify(openai("rate_limit_exceeded", None), status=429, headers={"retry-after": "121"}),
        classify(day, status=429),
        classify(claude("rate_limit_error", error_code="enforced_spend_limit_reached"), status=429),
    ):
        assert policy.delay(1, error) is None
    assert policy.delay(1, classify(openai("slow_down", None), status=429, headers={"retry-after": "119"})) == 119


# ---- request ids


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(
    ("who", "header"),
    [
        ("openai", "X-Request-Id"),
        ("anthropic", "request-id"),
        ("bedrock", "x-amzn-RequestId"),
        ("gemini", "x-goog-request-id"),
        ("azure", "apim-request-id"),
        ("litellm", "x-litellm-call-id"),
        ("cloudflare", "CF-Ray"),
    ],
)
def test_request_ids(who: str, header: str) -> None:
    """Under each provider's name; the provider's own before that of what stands in front of it."""
    for headers in ({header: "id-1"}, {header: "id-1", **({} if who == "cloudflare" else {"cf-ray": "ray"})}):
        assert classify_response(500, httpx2.Headers(headers), b"").request_id == "id-1"


@pytest.mark.req("seed-C")
def test_a_request_id_inside_a_stream() -> None:
    """Claude's errors carry it in their body."""
    said = b"event: error\ndata: " + json.dumps(claude("overloaded_error")).encode() + b"\n\n"
    assert failure(WIRES["anthropic"].decode(said)).request_id == "req_1"
