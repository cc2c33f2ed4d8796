"""What opencode says when something fails, as the one tree of errors."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec

from ...events import (
    AuthenticationError,
    ConnectionFailedError,
    ContentBlockedError,
    ContextLengthExceededError,
    IncompleteStreamError,
    InvalidOutputError,
    LLMError,
    MaxOutputTokensError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnknownError,
    redact,
)
from .._classify import classify
from .._numbers import whole_number
from ..agents._exit import Exit
from ..agents._reset_time import limited_until, reset_time
from ..agents._words import clipped

NAME = "opencode"

_RETRIES: dict[str, type[LLMError]] = {
    "Provider is overloaded": OverloadedError,
    "Too Many Requests": RateLimitError,
}
"""What opencode says in words of its own of a failure that it tries again after; else it says the provider's words."""

_LIMITS = frozenset({"free_tier_limit", "account_rate_limit"})
"""`action.reason` of such a retry."""


_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def error_of(error: object, *, text: str = "", now: float | None = None) -> LLMError:
    """Of `{name, data}`: the error of a session, of a message or of a line. `text`: what was said of the answer; `now`: when
    it was said (epoch, seconds), if not now."""
    return _timed(_of(error, text, now), time.time() if now is None else now)


def _timed(error: LLMError, now: float) -> LLMError:
    """A limit whose end is told in words alone."""
    if isinstance(error, RateLimitError) and error.reset_time is None:
        moment = datetime.fromtimestamp(now, UTC)
        limited_until(error, reset_time(error.message, moment), moment)
    return error


def _of(error: object, text: str, now: float | None) -> LLMError:
    given = error if isinstance(error, Mapping) else {}
    name, data = given.get("name"), given.get("data")
    data = data if isinstance(data, Mapping) else {}
    message = data.get("message")
    message = message if isinstance(message, str) else ""
    match name:
        case "APIError":
            return _of_api(data, message, now)
        case "ContextOverflowError":
            return _with_body(ContextLengthExceededError(_clipped(message), code=name), data)
        case "ProviderAuthError":
            return AuthenticationError(_clipped(message), code=name)
        case "MessageOutputLengthError":
            why = message or "the answer was cut at the limit of its length"
            return MaxOutputTokensError(why, code=name, partial_text=text)
        case "MessageAbortedError":
            return IncompleteStreamError("the turn was aborted", code=name, retryable=False)
        case "StructuredOutputError":
            return InvalidOutputError(_clipped(message), code=name)
        case "ContentFilterError":
            return ContentBlockedError(_clipped(message), code=name)
        case "NotFoundError":
            return NotFoundError(_clipped(message), code=name)
        case _:
            return _of_words(message, name if isinstance(name, str) else None, now)


def _of_api(data: Mapping[str, Any], message: str, now: float | None) -> LLMError:
    status = whole_number(data.get("statusCode"))
    given = data.get("responseHeaders")
    headers = {str(key): str(value) for key, value in given.items()} if isinstance(given, Mapping) else {}
    body = data.get("responseBody")
    if status is not None:
        text = body if isinstance(body, str) else message
        return classify(_parsed(text) or message, status=status, headers=headers, text=text, now=now)
    metadata = data.get("metadata")
    code = metadata.get("code") if isinstance(metadata, Mapping) else None
    if data.get("isRetryable") is True:  # no answer came: nobody was there, or the connection broke
        return ConnectionFailedError(_clipped(message), code=code if isinstance(code, str) else None)
    return _of_words(message, "APIError", now)


def _of_words(message: str, code: str | None, now: float | None) -> LLMError:
    """An error without a kind: the provider's own object, where the message is one."""
    body = _parsed(message)
    found = classify({"error": body} if body is not None else message, text=message, now=now)
    if type(found) is ServerError and body is None:
        return UnknownError(_clipped(message) or "opencode failed without a message", code=code)
    return found


def retry_error(status: Mapping[str, Any], delay: float, now: float) -> LLMError:
    """Why opencode tries again, `delay` seconds from `now` (epoch). It says the words of the failure, not what kind it is."""
    message, action = status.get("message"), status.get("action")
    message = message if isinstance(message, str) else ""
    reason = action.get("reason") if isinstance(action, Mapping) else None
    kind = RateLimitError if reason in _LIMITS else _RETRIES.get(message)
    if kind is not None:
        error = kind(_clipped(message), code=reason if isinstance(reason, str) else None)
    else:
        body = _parsed(message)
        error = classify({"error": body} if body is not None else message, text=message, now=now)
        if not error.retryable:  # opencode thinks otherwise, and has seen the answer
            error = ServerError(_clipped(message) or "opencode tries again, and does not say why")
    _timed(error, now)
    if error.retry_after is None:
        error.retry_after = delay
    if isinstance(error, RateLimitError) and error.reset_time is None:
        with suppress(ValueError, OverflowError, OSError):  # beyond the calendar
            error.reset_time = datetime.fromtimestamp(now + error.retry_after, UTC)
    return error


def http_error(status: int, body: bytes) -> LLMError:
    """Of an answer of its own server."""
    parsed = _parsed(body.decode("utf-8", "replace"))
    if isinstance(parsed, Mapping) and isinstance(parsed.get("name"), str) and "data" in parsed:
        error = error_of(parsed)
        if status == 404 and not isinstance(error, NotFoundError):
            error = NotFoundError(error.message, code=error.code)
        error.status = status
        return error
    return classify(parsed, status=status, text=body.decode("utf-8", "replace"))


def exit_error(exit: Exit, *, said: bool) -> LLMError:
    """The process ended without having said how its turn ended. `said`: whether it had said anything at all."""
    if exit.tail.strip():
        if said or exit.tail.lstrip()[:1] == b"{":
            return IncompleteStreamError(f"opencode ended in the middle of a line ({exit.words})")
        return ProtocolError(f"opencode said what is not JSON: {_clipped(exit.tail[:200].decode('utf-8', 'replace'))}")
    if exit.code is not None and exit.code > 0:
        complaint = " ".join(_COLOURS.sub("", exit.stderr).split())
        return UnknownError(f"opencode failed ({exit.words}): {_clipped(complaint) or 'it does not say why'}")
    return IncompleteStreamError(f"opencode ended before its turn was over ({exit.words})")


def _with_body(error: LLMError, data: Mapping[str, Any]) -> LLMError:
    body = data.get("responseBody")
    error.body = body if isinstance(body, str) else None
    return error


def _parsed(text: str) -> Any:
    """The object that a text is; None where it is none."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None


def _clipped(words: str) -> str:
    return clipped(redact(words))
