"""Errors as Google's APIs say them (google.rpc.Status), over HTTP and inside a stream."""

from __future__ import annotations

from ...events import ContentBlockedError, ErrorKind, LLMError
from .._classify import classify
from .._json import to_json

_STATUSES: dict[ErrorKind, tuple[int, str, str]] = {
    "rate_limit": (429, "RESOURCE_EXHAUSTED", ""),
    "authentication": (401, "UNAUTHENTICATED", ""),
    "permission": (403, "PERMISSION_DENIED", ""),
    "billing": (403, "PERMISSION_DENIED", "BILLING_DISABLED"),
    "invalid_request": (400, "INVALID_ARGUMENT", ""),
    "not_found": (404, "NOT_FOUND", ""),
    "context_length": (400, "INVALID_ARGUMENT", "CONTEXT_LENGTH_EXCEEDED"),
    "content_blocked": (400, "INVALID_ARGUMENT", "CONTENT_BLOCKED"),
    "max_output": (400, "INVALID_ARGUMENT", "MAX_OUTPUT"),
    "overloaded": (503, "UNAVAILABLE", ""),
    "server_error": (500, "INTERNAL", ""),
    "timeout": (504, "DEADLINE_EXCEEDED", ""),
    "connection": (502, "CONNECTION", ""),
    "protocol": (502, "PROTOCOL", ""),
    "unknown": (500, "UNKNOWN", ""),
}
"""kind -> HTTP status, `status`, and the ErrorInfo reason that tells it from its neighbours."""


def error_body(error: LLMError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an HTTP answer that says `error`. Its own status is kept if it is one of an error."""
    usual = _STATUSES[error.kind][0]
    status = error.status if error.status is not None and 400 <= error.status < 600 else usual
    headers = {"content-type": "application/json; charset=UTF-8"}
    if error.request_id:
        headers["x-goog-request-id"] = error.request_id
    if error.retryable != error.default_retryable:
        headers["x-should-retry"] = "true" if error.retryable else "false"
    return status, to_json({"error": error_object(error, status)}).encode(), headers


def error_object(error: LLMError, status: int | None) -> dict[str, object]:
    """The `error` of a body, or (without a `status`) of a chunk."""
    usual, word, reason = _STATUSES[error.kind]
    details: list[dict[str, object]] = []
    shape: dict[str, object] = {"code": status or usual, "message": error.message, "status": word}
    if error.code and error.code != word:
        # the provider's own word, unless it would be read as another kind
        own = {**shape, "details": [{"reason": error.code}]}
        reason = error.code if classify({"error": own}, status=status).kind == error.kind else reason
    if reason:
        details.append(
            {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}
        )
    if error.retry_after is not None:
        delay = f"{error.retry_after:.3f}".rstrip("0").rstrip(".")
        details.append({"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": f"{delay}s"})
    if details:
        shape["details"] = details
    return shape


def block_of(error: LLMError) -> dict[str, object] | None:
    """The promptFeedback of an answer that was blocked before it began; None for other errors."""
    if not isinstance(error, ContentBlockedError):
        return None
    feedback: dict[str, object] = {"blockReason": error.block_reason or "OTHER"}
    if error.message:
        feedback["blockReasonMessage"] = error.message
    return feedback
