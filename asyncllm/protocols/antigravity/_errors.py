"""Why a turn of `agy` failed: `AGY_ERROR: {...}` on its standard error (exit code 3), the `error` of its result, or what it
says there in words. What the model says is never looked at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ...events import (
    AuthenticationError,
    BillingError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    UnknownError,
)
from .._classify import classify
from .._json import parse_json
from ..agents._exit import Exit
from ..agents._reset_time import limited_until, reset_time

UPDATE = "update it (agy update): versions before 1.1 write nothing into a pipe, and stream-json needs 1.1.3"

_TIMEOUT = re.compile(r"^.*\bprint[- ]timeout (?:after|reached|exceeded|expired|elapsed)\b.*$", re.I | re.M)
_DENIED = re.compile(r"^.*(?:auto-denied|permissions\.allow).*$", re.I | re.M)
_CODE = re.compile(r"\bcode (\d{3})\b|\bHTTP (\d{3})\b", re.I)
_CANONICAL = re.compile(r"\b([A-Z]{4,}(?:_[A-Z]+)*)\b")
_NAMES = ("short_error", "message", "error_message", "error", "detail", "reason")
_CODES = ("http_code", "http_status", "httpStatus", "status_code", "code")

_WORDS: tuple[tuple[re.Pattern[str], type[LLMError]], ...] = tuple(
    (re.compile(pattern, re.I), kind)
    for pattern, kind in (
        (
            r"authentication required|not (?:signed|logged)[- ]?in|(?:sign|log)[- ]?in\b|unauthenticated",
            AuthenticationError,
        ),
        (r"quota (?:was |is |has been )?(?:reached|exceeded|exhausted)|usage limit", RateLimitError),
        (r"credits? balance is too low|out of credits", BillingError),
        (r"(?:invalid|unknown|unsupported) model|model .{0,80}(?:not found|does not exist)", NotFoundError),
        (r"conversation .{0,80}(?:not found|does not exist)|no such conversation", NotFoundError),
        (
            r"flag provided but not defined|unknown (?:flag|command|option)|not supported|invalid .{0,40}(?:flag|value)",
            InvalidRequestError,
        ),
    )
)
"""For what has no code: it is documented that it fails, and not how it says so."""


def error_of(exit: Exit, said: str = "", *, now: datetime | None = None) -> LLMError:
    """The typed error. `said` is the error of its result, where there was a result."""
    now = now or datetime.now(UTC)
    payload = _payload(exit.stderr)
    message = said or _message(payload) or _last_line(exit.stderr)
    status, code = _facts(payload, f"{said}\n{_message(payload)}")
    error: LLMError
    if status is not None or code:
        error = classify({"message": message, "code": code or None}, status=status)
    else:
        kind = next((kind for pattern, kind in _WORDS if pattern.search(f"{message}\n{exit.stderr}")), UnknownError)
        error = kind(message or f"agy ended with {exit.words} and said nothing")
    if isinstance(error, AuthenticationError):
        error.add_note("sign in by running agy once, or use api_key= with isolated=True")
    if isinstance(error, RateLimitError):
        limited_until(error, reset_time(message, now), now)
    if isinstance(retryable := payload.get("retryable"), bool):
        error.retryable = retryable
    return error


def said_timeout(exit: Exit) -> LLMError | None:
    """agy gave up waiting, and calls what it had till then a success."""
    found = _TIMEOUT.search(exit.stderr)
    return None if found is None else LLMTimeoutError(f"agy gave up: {found[0].strip()}")


def unfinished(exit: Exit, *, spoke: bool, strange: str = "") -> LLMError:
    """It ended without a result. `spoke`: there was an event; `strange`: the first line that is none."""
    if (timeout := said_timeout(exit)) is not None:
        return timeout
    if exit.code is not None and exit.code < 0:
        return IncompleteStreamError(f"agy was ended by {exit.words} before its turn was over")
    if exit.code or "AGY_ERROR:" in exit.stderr:
        return error_of(exit)
    if spoke:
        return IncompleteStreamError("agy ended before its turn was over")
    if strange:
        return ProtocolError(
            f"agy wrote no stream-json; {UPDATE}, or use interface='text'", body=strange, retryable=False
        )
    if (denied := _DENIED.search(exit.stderr)) is not None:
        return PermissionDeniedError(denied[0].strip())
    return ProtocolError(f"agy wrote nothing; {UPDATE}", body=exit.stderr or None, retryable=False)


def _payload(stderr: str) -> Mapping[str, Any]:
    for line in reversed(stderr.splitlines()):
        _, found, rest = line.partition("AGY_ERROR:")
        if found:
            try:
                data = parse_json(rest.strip())
            except ValueError:
                data = None
            return data if isinstance(data, Mapping) else {"message": rest.strip()}
    return {}


def _message(payload: Mapping[str, Any]) -> str:
    for name in _NAMES:
        value = payload.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, Mapping) and (inner := _message(value)):
            return inner
    return ""


def _facts(payload: Mapping[str, Any], said: str) -> tuple[int | None, str]:
    """The HTTP status and Google's canonical code: fields, or words like "RESOURCE_EXHAUSTED (code 429)"."""
    inner = payload.get("error")
    places = [payload, inner] if isinstance(inner, Mapping) else [payload]
    status = next(
        (code for place in places for name in _CODES if isinstance(code := place.get(name), int) and 400 <= code < 600),
        None,
    )
    if status is None and (found := _CODE.search(said)) is not None:
        status = int(found[1] or found[2])
    named = [place.get(name) for place in places for name in ("status", "canonical_status", "code")]
    words = [word for word in named if isinstance(word, str)] + [said]
    codes = [found[1] for word in words for found in _CANONICAL.finditer(word) if found[1] in _GOOGLE]
    return status if status is None or 400 <= status < 600 else None, codes[0] if codes else ""


_GOOGLE = {
    "INVALID_ARGUMENT",
    "FAILED_PRECONDITION",
    "OUT_OF_RANGE",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "NOT_FOUND",
    "ABORTED",
    "ALREADY_EXISTS",
    "RESOURCE_EXHAUSTED",
    "CANCELLED",
    "DATA_LOSS",
    "INTERNAL",
    "UNAVAILABLE",
    "DEADLINE_EXCEEDED",
}
"""The canonical codes of Google's APIs."""


def _last_line(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"(?i)error\b", line)]
    return (errors or lines or [""])[-1].removeprefix("error: ").removeprefix("Error: ")
