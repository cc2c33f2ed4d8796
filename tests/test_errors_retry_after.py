"""How long a provider asks to wait: every place and form of the hint, and the reset time that comes of it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import OverloadedError, RateLimitError
from asyncllm.protocols import classify
from asyncllm.protocols._retry_after import duration, retry_after

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC).timestamp()


def wait(headers: dict[str, str] | None = None, message: str = "", details: list[object] | None = None) -> float | None:
    return retry_after(headers or {}, details or [], message, NOW)


@pytest.mark.req("H11")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.25"}, 0.25),
        ({"retry-after": "0"}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 13:00:30 +0100"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "20ms"}, 0.02),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1.5s"}, 1.5),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "7"}, 7.0),
        ({"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": f"{NOW + 9:.0f}"}, 9.0),
        ({"x-ratelimit-reset": f"{(NOW + 9) * 1000:.0f}"}, 9.0),
        ({"x-ratelimit-reset": f"{NOW - 9:.0f}"}, 0.0),
        (
            {
                "anthropic-ratelimit-requests-remaining": "0",
                "anthropic-ratelimit-requests-reset": "2026-11-21T12:00:05Z",
            },
            5.0,
        ),
        ({"anthropic-ratelimit-tokens-remaining": "0", "anthropic-ratelimit-tokens-reset": "2026-11-21T12:00:05"}, 5.0),
    ],
)
def test_headers(headers: dict[str, str], seconds: float) -> None:
    """Milliseconds, seconds, HTTP dates, Go durations, Unix times in s and ms, RFC 3339."""
    assert wait(headers) == pytest.approx(seconds)


@pytest.mark.req("H11")
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"retry-after": "-1"},
        {"retry-after": "nan"},
        {"retry-after": "inf"},
        {"retry-after": "soon"},
        {"retry-after": ""},
        {"retry-after-ms": "-5"},
        {"x-ratelimit-reset-requests": "6m0s"},
        {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"},
        {"x-ratelimit-remaining-requests": "0"},
        {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": "later"},
        {"x-ratelimit-reset": "5", "x-ratelimit-remaining": "3"},
    ],
)
def test_no_hint(headers: dict[str, str]) -> None:
    """Negative, NaN and infinite waits are nobody's meaning; a limit that is not used up is no reason to wait."""
    assert wait(headers) is None


@pytest.mark.req("H11")
def test_the_most_precise_hint_wins() -> None:
    """Milliseconds, then Retry-After, then the details, then resets (the longest), then the words."""
    resets = {
        "x-ratelimit-remaining-requests": "0",
        "x-ratelimit-reset-requests": "5s",
        "x-ratelimit-remaining-tokens": "0",
        "x-ratelimit-reset-tokens": "4s",
    }
    details: list[object] = ["x", {"@type": "x"}, {"retryDelay": "3.5s"}]
    words = "Please try again in 6s"
    assert wait({"retry-after-ms": "1000", "retry-after": "2", **resets}, words, details) == 1.0
    assert wait({"retry-after": "2", **resets}, words, details) == 2.0
    assert wait({"retry-after": "soon", **resets}, words, details) == 3.5
    assert wait(resets, words) == 5.0
    assert wait({}, words) == 6.0


@pytest.mark.req("H11")
@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please try again in 1.2s. Visit", 1.2),
        ("Please try again in 120ms.", 0.12),
        ("Please try again in 6m0s.", 360.0),
        ("Please retry after 20 seconds.", 20.0),
        ("retrying in 1 minute", 60.0),
        ("Try again in 2h18m58s", 8338.0),
        ("Please try again later", None),
        ("Please try again in 5 bananas", None),
    ],
)
def test_phrases(message: str, seconds: float | None) -> None:
    """The words of OpenAI, Groq and Azure."""
    assert wait({}, message) == (None if seconds is None else pytest.approx(seconds))


@PLENTY
@given(st.integers(0, 99), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_durations(hours: int, minutes: int, seconds: int, ms: int) -> None:
    """Go's format, any of its units."""
    assert duration(f"{hours}h{minutes}m{seconds}s{ms}ms") == pytest.approx(
        hours * 3600 + minutes * 60 + seconds + ms / 1000
    )


@pytest.mark.req("H11", "seed-C")
def test_the_reset_time_is_aware_and_utc() -> None:
    """A rate limit knows when it ends; other errors know how long to wait."""
    error = classify({"error": "x"}, status=429, headers={"retry-after": "90"}, now=NOW)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 90.0
    assert error.reset_time == datetime(2026, 11, 21, 12, 1, 30, tzinfo=UTC)
    assert error.reset_time.tzinfo is UTC
    other = classify({"error": "x"}, status=503, headers={"retry-after": "90"}, now=NOW)
    assert isinstance(other, OverloadedError)
    assert other.retry_after == 90.0
    without = classify({"error": "x"}, status=429, now=NOW)
    assert isinstance(without, RateLimitError)
    assert (without.retry_after, without.reset_time) == (None, None)


@pytest.mark.req("seed-C")
def test_any_zone_becomes_utc() -> None:
    """A reset time given in another zone is the same moment in UTC."""
    oslo = timezone(timedelta(hours=1))
    error = RateLimitError("x", reset_time=datetime(2026, 11, 21, 13, 0, tzinfo=oslo))
    assert error.reset_time == datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
    assert error.reset_time is not None
    assert error.reset_time.tzinfo is UTC


@pytest.mark.req("H11")
def test_hints_in_the_body() -> None:
    """Google's RetryInfo, and the headers that OpenRouter repeats in its metadata."""
    google = [{"error": {"code": 429, "message": "m", "details": [{"@type": "RetryInfo", "retryDelay": "17.5s"}]}}]
    assert classify(google, now=NOW).retry_after == 17.5
    reset = {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW + 9) * 1000)}
    router = {"error": {"code": 429, "message": "m", "metadata": {"headers": reset}}}
    assert classify(json.dumps(router), now=NOW).retry_after is None
    assert classify(router, now=NOW).retry_after == pytest.approx(9.0)


@pytest.mark.req("H11")
@pytest.mark.parametrize("hint", ["1e300", "9" * 300])
def test_a_wait_beyond_all_calendars(hint: str) -> None:
    """A number too large for a date is a wait without a reset time, and no crash."""
    error = classify({"error": "x"}, status=429, headers={"retry-after": hint}, now=NOW)
    assert isinstance(error, RateLimitError)
    assert error.retry_after == float(hint)
    assert error.reset_time is None
