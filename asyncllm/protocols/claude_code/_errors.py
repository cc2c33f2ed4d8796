"""Claude Code's failures as the one tree. What counts is what it says in fields: the word of its synthetic message, the HTTP
status, the subtype and the reason of its result, the limits of a plan. Its sentences only refine what those leave open."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from msgspec import Struct

from ...events import (
    BillingError,
    ConnectionFailedError,
    IncompleteStreamError,
    InvalidOutputError,
    InvalidRequestError,
    LLMError,
    MaxOutputTokensError,
    NotFoundError,
    OverloadedError,
    ProtocolError,
    RateLimitError,
    ServerError,
    UnknownError,
)
from ...events._errors import BY_KIND
from .._classify import classify
from .._error_codes import STATUS
from .._numbers import whole_number
from ..agents._exit import Exit
from ..agents._reset_time import from_epoch, limited_until, reset_time
from ..agents._words import clipped

ABORTED = ("aborted_streaming", "aborted_tools")
"""Why a turn ended that was interrupted: by us, or by a signal. The exit code may be 0 all the same."""

_WORDS = {
    "authentication_failed": "authentication",
    "oauth_org_not_allowed": "permission",
    "billing_error": "billing",
    "rate_limit": "rate_limit",
    "overloaded": "overloaded",
    "model_not_found": "not_found",
    "max_output_tokens": "max_output",
    "server_error": "server_error",
    "invalid_request": "invalid_request",
}
"""The word of a synthetic message, or of a retry, to the kind. "unknown" is none."""

_BROAD = ("authentication", "server_error", "invalid_request", "")
"""Kinds that an HTTP status, or else the sentence, makes finer."""

_REASONS = {
    "prompt_too_long": "context_length",
    "blocking_limit": "context_length",
    "rapid_refill_breaker": "context_length",
    "image_error": "invalid_request",
}

FAILED = (*_REASONS, "model_error")
"""Reasons that are none of success, whatever else the result says."""

_SUBTYPES: dict[str, type[LLMError]] = {
    "error_max_budget_usd": BillingError,
    "error_max_structured_output_retries": InvalidOutputError,
}

_CUT = re.compile(r"mid-response|mid-stream|while thinking, before", re.IGNORECASE)

_SENTENCES = (
    (re.compile(r"\b(?:hit|reached) your\b.{0,40}\blimit\b|\blimit reached\b", re.IGNORECASE), "rate_limit"),
    (re.compile(r"output token maximum"), "max_output"),
    (re.compile(r"issue with the selected model"), "not_found"),
    (_CUT, "cut"),
    (re.compile(r"API Error: .*(?:connect|timed out)", re.IGNORECASE), "connection"),
)
"""What it writes where it gives no word and no status: "You've hit your limit · resets 4pm (America/Los_Angeles)"."""

_STATUS = re.compile(r"API Error: (?:Request rejected \()?(\d{3})\b")

_MISSING = ("No conversation found", "No message found")


class Trouble(Struct):
    """What has been said so far that tells why a turn fails.

    Attributes:
        word, text, request_id: of the synthetic message.
        limit: of the plan, when it was rejected.
        retry: why it tries again.
    """

    word: str = ""
    text: str = ""
    request_id: str | None = None
    limit: Mapping[str, Any] | None = None
    retry: str = ""


def result_error(result: Mapping[str, Any], trouble: Trouble, now: datetime, *, text: str, said: bool) -> LLMError:
    """The error of a result that is none of success. `text` is the answer so far; `said`: a message of the model was cut."""
    subtype, reason = str(result.get("subtype", "")), str(result.get("terminal_reason") or "")
    listed = result.get("errors")
    errors = [line for line in listed if isinstance(line, str)] if isinstance(listed, list) else []
    own = result.get("result")
    words = trouble.text or (own if isinstance(own, str) else "") or "; ".join(errors)
    if reason in ABORTED:
        return IncompleteStreamError("the turn was interrupted", code=reason, retryable=False)
    if (known := _SUBTYPES.get(subtype)) is not None:
        return known(_clipped(words or subtype), code=subtype)
    if subtype == "error_max_turns":
        return UnknownError(_clipped(words or subtype), code=subtype, retryable=False)
    if any(line.startswith(_MISSING) for line in errors):
        return NotFoundError(_clipped(words), code=subtype)
    status = whole_number(result.get("api_error_status"))
    kind, code = _REASONS.get(reason, ""), trouble.word or ("" if subtype == "success" else subtype)
    return failure(trouble, words, status, now, kind=kind, code=code, text=text, said=said)


def failure(
    trouble: Trouble,
    words: str,
    status: int | None,
    now: datetime,
    *,
    kind: str = "",
    code: str = "",
    text: str = "",
    said: bool = False,
) -> LLMError:
    """The error that a word, a status and a sentence mean."""
    kind = kind or _WORDS.get(trouble.word, "")
    fields: dict[str, Any] = {"status": status, "code": code or None, "request_id": trouble.request_id}
    if trouble.limit is not None and kind in ("rate_limit", "") and status in (None, 429):
        kind = "rate_limit"
    elif kind in _BROAD:
        if status is not None:
            kind = _by_status(kind, words, status)
        elif kind == "server_error":
            kind = "cut" if said or _CUT.search(words) else "connection"  # its body broke, or there was no HTTP answer
        elif not kind:
            kind = _by_words(words)
    if kind == "rate_limit":
        return _limited(trouble, words, now, fields)
    message = _clipped(words) or "Claude Code failed, and does not say why"
    if kind == "cut":
        return IncompleteStreamError(message, **fields)
    if kind == "max_output":
        return MaxOutputTokensError(message, partial_text=text, **fields)
    return BY_KIND[kind](message, **fields)


def _by_status(kind: str, words: str, status: int) -> str:
    if kind == "authentication":
        return STATUS.get(status, kind) if status == 403 else kind
    if kind == "server_error":
        return STATUS.get(status, kind) if status >= 500 else kind
    return classify({"error": {"message": words}}, status=status).kind


def _by_words(words: str) -> str:
    for pattern, kind in _SENTENCES:
        if pattern.search(words):
            return kind
    found = classify({"error": {"message": words}})
    return found.kind if type(found) is not ServerError else "unknown"  # "server_error" is what it says of anything


def _limited(trouble: Trouble, words: str, now: datetime, fields: dict[str, Any]) -> RateLimitError:
    limit = trouble.limit or {}
    reset = from_epoch(limit.get("resetsAt")) or from_epoch(limit.get("overageResetsAt"))
    error = RateLimitError(_clipped(words) or f"the {limit.get('rateLimitType', 'rate')} limit is reached", **fields)
    limited_until(error, reset or reset_time(words, now), now)
    return error


def retry_error(event: Mapping[str, Any], now: datetime) -> LLMError:
    """Why a request is tried again (`api_retry`)."""
    word, status = str(event.get("error") or ""), whole_number(event.get("error_status"))
    if status is None and word in ("", "unknown", "server_error"):
        return ConnectionFailedError("no answer from the API", code=word or None)
    error = failure(Trouble(word=word), f"HTTP {status}: {word}" if status else word, status, now, code=word)
    return OverloadedError(error.message, status=status, code=word) if word == "overloaded" else error


def exit_error(exit: Exit, *, said: bool, retry: str = "") -> LLMError:
    """The process ended without a result. `said`: it had said something that made sense."""
    if exit.tail.strip():
        return IncompleteStreamError(f"Claude Code's output was cut in the middle of a line ({exit.words})")
    if not said and exit.code is not None and 0 < exit.code < 128 and exit.stderr:
        return InvalidRequestError(_clipped(exit.stderr))  # it did not like its command line
    more = f": {exit.stderr}" if exit.stderr else ""
    if retry:
        more += f"; it was about to try again after {retry}"
    return IncompleteStreamError(_clipped(f"Claude Code ended without a result ({exit.words}){more}"))


def not_json(line: bytes) -> LLMError:
    words = line.decode(errors="replace")
    return ProtocolError(_clipped(f"Claude Code says what is not JSON: {words}"), body=words, retryable=False)


def plain_error(words: str, exit: Exit, now: datetime) -> LLMError:
    """Text output has nothing but words."""
    if not words and not exit.stderr:
        return IncompleteStreamError(f"Claude Code said nothing ({exit.words})")
    if exit.code is None or exit.code <= 0 or exit.code >= 128:
        return IncompleteStreamError(_clipped(f"Claude Code was ended ({exit.words}): {words or exit.stderr}"))
    if not words:
        return exit_error(exit, said=False)
    found = _STATUS.search(words)
    return failure(Trouble(), words, int(found[1]) if found is not None else None, now)


def _clipped(words: str) -> str:
    return clipped(" ".join(words.split()))
