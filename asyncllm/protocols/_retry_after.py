"""How long a provider asks to wait: the places and forms of the hint, the most precise first."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|milliseconds?|h|hours?|m|minutes?|s|seconds?)(?![a-z])", re.IGNORECASE)
_PHRASE = re.compile(r"(?:try again|retry)(?:ing)? (?:in|after) ((?:\d+(?:\.\d+)?\s*[a-z]+\s*)+)", re.IGNORECASE)
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}

_RESETS = (
    ("x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
    ("x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
    ("anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"),
    ("anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"),
    ("anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"),
    ("anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"),
)


def retry_after(headers: Mapping[str, str], details: Sequence[object], message: str, now: float) -> float | None:
    """Seconds to wait, or None where nobody says. `headers` have lower-case names; `now` is Unix time."""
    if (ms := _seconds(headers.get("retry-after-ms"))) is not None:
        return ms / 1000
    if (hint := headers.get("retry-after")) is not None:
        if (seconds := _seconds(hint)) is not None:
            return seconds
        if (at := _http_date(hint)) is not None:
            return max(0.0, at - now)
    for item in details:
        if (
            isinstance(item, Mapping)
            and isinstance(delay := item.get("retryDelay"), str)
            and (found := duration(delay)) is not None
        ):
            return found
    waits = [
        wait
        for left, reset in _RESETS
        if _used_up(headers.get(left)) and (wait := _reset(headers.get(reset), now)) is not None
    ]
    if waits:
        return max(waits)
    if (wait := _reset(headers.get("x-ratelimit-reset"), now)) is not None and _used_up(
        headers.get("x-ratelimit-remaining", "0")
    ):
        return wait
    found_phrase = _PHRASE.search(message)
    return duration(found_phrase[1]) if found_phrase else None


def _used_up(left: str | None) -> bool:
    try:
        return left is not None and float(left) <= 0
    except ValueError:
        return False


def duration(text: str) -> float | None:
    """Seconds in "6m0s", "17.5s", "120ms", "2h18m58s", "1 minute"; None if there is none."""
    found = _DURATION.findall(text)
    return sum(float(amount) * _unit(unit.lower()) for amount, unit in found) if found else None


def _unit(name: str) -> float:
    return 0.001 if name.startswith(("ms", "milli")) else _UNITS[name[0]]


def _seconds(text: str | None) -> float | None:
    """A plain number; negative, NaN and infinite ones are nobody's meaning."""
    try:
        value = float(text) if text is not None else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _http_date(text: str) -> float | None:
    try:
        at = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()


def _reset(text: str | None, now: float) -> float | None:
    """A reset time: a Go duration, an RFC 3339 time, seconds, or Unix time in s or ms."""
    if text is None:
        return None
    if (value := _seconds(text)) is not None:
        if value > 1e11:
            return max(0.0, value / 1000 - now)
        return max(0.0, value - now) if value > 1e9 else value
    if (found := duration(text)) is not None and "T" not in text:
        return found
    try:
        at = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return max(0.0, (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() - now)
