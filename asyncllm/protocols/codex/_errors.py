"""What Codex says when a turn fails, as the one tree of errors.

The app-server names a kind (`codexErrorInfo`); `codex exec` has only its messages, which are fixed strings of the program.
Source: openai/codex 0.169.0 (`codex app-server generate-ts`, and recordings).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec

from ...events import (
    AuthenticationError,
    BillingError,
    ConnectionFailedError,
    ContentBlockedError,
    ContextLengthExceededError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    MaxOutputTokensError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnknownError,
)
from .._classify import classify
from .._numbers import whole_number
from ..agents._exit import Exit
from ..agents._reset_time import from_epoch, limited_until, reset_time
from ..agents._words import clipped

_KINDS: dict[str, type[LLMError]] = {
    "contextWindowExceeded": ContextLengthExceededError,
    "sessionBudgetExceeded": BillingError,
    "usageLimitExceeded": RateLimitError,
    "rateLimitExceeded": RateLimitError,
    "flexUnavailable": OverloadedError,
    "serverOverloaded": OverloadedError,
    "modelNotFound": NotFoundError,
    "policyCapacityUnavailable": OverloadedError,
    "inferenceHookDenied": PermissionDeniedError,
    "cyberPolicy": ContentBlockedError,
    "misalignmentPolicyViolation": ContentBlockedError,
    "tooManyDenials": PermissionDeniedError,
    "internalServerError": ServerError,
    "unauthorized": AuthenticationError,
    "activeTurnNotSteerable": InvalidRequestError,
}
"""The kinds that mean one thing; the others say less than their message and their HTTP status."""

_OF_LINK = frozenset({"httpConnectionFailed", "responseStreamConnectionFailed"})
"""Kinds that without a status mean that nobody was reached."""

_PHRASES: tuple[tuple[type[LLMError], re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (BillingError, r"^quota exceeded|check your plan and billing|upgrade to plus|out of credits"),
        (RateLimitError, r"hit your usage limit|usage limit has been reached"),
        (ContextLengthExceededError, r"model's context window|context window exceeded"),
        (OverloadedError, r"model is at capacity"),
        (ServerError, r"experiencing high demand"),
        (MaxOutputTokensError, r"^incomplete response returned, reason: max_output_tokens"),
        (ContentBlockedError, r"^incomplete response returned, reason: content_filter"),
        (NotFoundError, r"^the model `.{0,120}` does not exist|no rollout found|thread not found|no such thread"),
        (
            AuthenticationError,
            r"^missing environment variable|not logged in|sign in again|token (was|is) .{0,20}expired",
        ),
        (
            ConnectionFailedError,
            r"^connection failed|error sending request|failed to lookup address|connection (refused|reset)"
            r"|required mcp servers failed",
        ),
        (LLMTimeoutError, r"idle timeout|request timed out|timeout waiting for|operation timed out"),
        (IncompleteStreamError, r"stream (disconnected|closed) before .{0,40}(transport error|response\.completed)"),
        (
            InvalidRequestError,
            r"not inside a trusted directory|error loading config|unexpected argument|^error: .*(value|argument)"
            r"|invalid_request_error",
        ),
    )
)

_STATUS = re.compile(r"(?:unexpected status|last status:?) (\d{3})\b[^:,]*(?:: (.*))?", re.IGNORECASE | re.DOTALL)
_REQUEST = re.compile(r"request id: ([\w.\-]+)")
_URL = re.compile(r",? ?url: \S+|,? ?(?:cf-ray|request id): [\w.\-]+")
_DISCONNECTED = re.compile(r"^stream disconnected before completion: ", re.IGNORECASE)
RECONNECTING = re.compile(r"^Reconnecting\.\.\.(?: (\d+)/\d+| waiting for network)?(?: \((.*)\))?\s*$", re.DOTALL)
"""What Codex says when it tries again: which attempt, and why."""


def error_of(error: Mapping[str, Any], limits: Mapping[str, Any], now: datetime, *, text: str = "") -> LLMError:
    """Of a TurnError of the app-server. `limits`: its last RateLimitSnapshot; `text`: what was said of the answer."""
    info, status = error.get("codexErrorInfo"), None
    if isinstance(info, Mapping) and info:
        name, inner = next(iter(info.items()))
        status = whole_number(inner.get("httpStatusCode")) if isinstance(inner, Mapping) else None
    else:
        name = info if isinstance(info, str) else ""
    message, details = error.get("message"), error.get("additionalDetails")
    words = message if isinstance(message, str) else ""
    if isinstance(details, str) and details and (not words or RECONNECTING.match(words)):
        words = details
    found = from_words(words, now, limits=limits, status=status, text=text)
    kind = _KINDS.get(name)
    if (
        kind is not None
        and not isinstance(found, kind)
        and not (kind is RateLimitError and isinstance(found, BillingError))
    ):
        found = _made(kind, words, status, now, limits, text)
    elif name in _OF_LINK and status is None and type(found) in (UnknownError, ServerError):
        found = _made(ConnectionFailedError, words, None, now, limits, text)
    elif name == "responseStreamDisconnected" and status is None and type(found) is UnknownError:
        found = _made(IncompleteStreamError, words, None, now, limits, text)
    elif name == "badRequest" and not isinstance(found, InvalidRequestError):
        found = _made(InvalidRequestError, words, status, now, limits, text)
    if name and name != "other" and (found.code is None or name in _KINDS):
        found.code = name
    return found


def from_words(
    words: str,
    now: datetime,
    *,
    limits: Mapping[str, Any] | None = None,
    status: int | None = None,
    text: str = "",
) -> LLMError:
    """Of one of its messages."""
    words = words.strip()
    if words.startswith("{"):
        try:
            body: object = msgspec.json.decode(words)
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            pass
        else:
            return classify(body, status=status or 400, text=words, now=now.timestamp())
    if (found := _STATUS.search(words)) is not None:
        status = status or int(found[1])
        said = _URL.sub("", found[2] or "").strip()
        asked = _REQUEST.search(words)
        body = {"error": {"message": said or _URL.sub("", words)}}
        try:
            body = msgspec.json.decode(said) if said.startswith("{") else body
        except (msgspec.DecodeError, RecursionError, UnicodeEncodeError):
            pass
        error = classify(body, status=status, text=words, now=now.timestamp())
        error.request_id = error.request_id or (asked[1] if asked else None)
        return _timed(error, words, now, limits)
    for kind, pattern in _PHRASES:
        if pattern.search(words):
            return _made(kind, words, status, now, limits, text)
    if status is not None:
        return _timed(classify({"error": {"message": words}}, status=status, now=now.timestamp()), words, now, limits)
    if (cut := _DISCONNECTED.match(words)) is not None:  # the server said something before it went
        said = words[cut.end() :]
        error = classify({"error": {"message": said}}, text=words, now=now.timestamp())
        return error
    error = classify({"error": {"message": words}}, text=words, now=now.timestamp())
    return UnknownError(clipped(words) or "Codex failed without a message") if type(error) is ServerError else error


def exit_error(exit: Exit, now: datetime, *, said: bool) -> LLMError:
    """The process ended without having said how its turn ended. `said`: whether it had said anything at all."""
    if exit.tail.strip() and said:
        return IncompleteStreamError(f"codex ended in the middle of a line ({exit.words})")
    words = _complaint(exit.stderr) if not said and (exit.code or 0) > 0 else ""
    if words:
        error = from_words(words, now)
        if exit.code == 2 and not isinstance(error, InvalidRequestError):  # what its command line parser ends with
            error = InvalidRequestError(clipped(words))
        error.body = exit.stderr[-1000:]
        return error
    if exit.tail.strip():
        return not_json(exit.tail)
    return IncompleteStreamError(
        f"codex ended before its turn was over ({exit.words})", body=exit.stderr[-1000:] or None
    )


def not_json(line: bytes) -> LLMError:
    text = line.decode("utf-8", "replace")
    return ProtocolError(f"codex said what is not JSON: {text[:120]}", body=text)


def _complaint(stderr: str) -> str:
    """The line of its standard error that says what is wrong: the last that begins as errors do, else the last one."""
    lines = [line for line in stderr.splitlines() if line.strip() and not line.startswith(("WARNING:", "Reading "))]
    for line in reversed(lines):
        if line.lower().startswith("error"):
            return line.removeprefix("Error: ")
    for line in reversed(lines):
        if " ERROR " in line and "failed" in line:
            return line.partition(" ERROR ")[2]
    return lines[-1] if lines else ""


def _made(
    kind: type[LLMError],
    words: str,
    status: int | None,
    now: datetime,
    limits: Mapping[str, Any] | None,
    text: str,
) -> LLMError:
    if kind is MaxOutputTokensError:
        return MaxOutputTokensError(clipped(words), status=status, partial_text=text)
    if kind is ContentBlockedError:
        return ContentBlockedError(
            clipped(words), status=status, block_reason=words.rpartition("reason: ")[2][:100] or None
        )
    return _timed(kind(clipped(words), status=status), words, now, limits)


def _timed(error: LLMError, words: str, now: datetime, limits: Mapping[str, Any] | None) -> LLMError:
    """A rate limit knows when it is over: the window that is used up says so to the second, the message to the minute."""
    if isinstance(error, RateLimitError) and error.reset_time is None:
        limited_until(error, _exhausted(limits or {}) or reset_time(words, now), now)
    return error


def still(limits: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """Of limits that were told a while ago: without the windows that are over by now."""
    ends = {name: from_epoch(limit.get("resetsAt")) for name, limit in limits.items() if isinstance(limit, Mapping)}
    return {name: limit for name, limit in limits.items() if (end := ends.get(name)) is None or end > now}


def _exhausted(limits: Mapping[str, Any]) -> datetime | None:
    """When the last of the windows that are used up begins anew."""
    ends: list[datetime] = []
    for name in ("primary", "secondary", "individualLimit"):
        window = limits.get(name)
        if isinstance(window, Mapping) and isinstance(used := window.get("usedPercent"), int | float) and used >= 100:
            at = from_epoch(window.get("resetsAt"))
            if at is not None:
                ends.append(at)
    return max(ends, default=None)
