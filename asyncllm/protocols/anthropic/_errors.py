"""Our errors in the form of the API: of an HTTP answer, and inside a stream.

Source: the Anthropic API reference (errors). A finer kind than the API has a type for rides in `details.error_code`.
"""

from __future__ import annotations

import math
from typing import Any

from ...events import ErrorKind, LLMError
from .._classify import classify
from .._json import to_json

_ERRORS: dict[ErrorKind, tuple[int, str, str | None]] = {
    "rate_limit": (429, "rate_limit_error", None),
    "authentication": (401, "authentication_error", None),
    "permission": (403, "permission_error", None),
    "billing": (402, "billing_error", None),
    "invalid_request": (400, "invalid_request_error", None),
    "not_found": (404, "not_found_error", None),
    "context_length": (400, "invalid_request_error", "context_length_exceeded"),
    "content_blocked": (400, "invalid_request_error", "content_policy_violation"),
    "max_output": (400, "invalid_request_error", "max_output"),
    "overloaded": (529, "overloaded_error", None),
    "server_error": (500, "api_error", None),
    "timeout": (504, "timeout_error", None),
    "connection": (500, "api_error", "connection"),
    "protocol": (500, "api_error", "protocol"),
    "unknown": (500, "api_error", "unknown"),
}
"""kind -> HTTP status, `type`, `details.error_code`."""


def error_body(error: LLMError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an HTTP answer that says `error`. Its own status is kept if it is one of an error."""
    usual = _ERRORS[error.kind][0]
    status = error.status if error.status is not None and 400 <= error.status < 600 else usual
    headers = {"content-type": "application/json", **_wait_headers(error)}
    if error.request_id:
        headers["request-id"] = error.request_id
    if error.retryable != error.default_retryable:
        headers["x-should-retry"] = "true" if error.retryable else "false"
    return status, to_json({"type": "error", **error_object(error, status)}).encode(), headers


def error_object(error: LLMError, status: int | None) -> dict[str, Any]:
    """What stands beside `"type": "error"`. `status` is None inside a stream, where the hint to wait has no header."""
    _, type, fine = _ERRORS[error.kind]
    own = error.code if error.code and error.code != type else None
    inner: dict[str, Any] = {}
    for code in (*filter(None, (own, fine)), None):  # the provider's own word, unless it would be read as another kind
        inner = {"type": type, "message": error.message, **({"details": {"error_code": code}} if code else {})}
        if classify({"error": inner}, status=status).kind == error.kind:
            break
    if status is None and (headers := _wait_headers(error)):
        inner["metadata"] = {"headers": headers}
    return {"error": inner, **({"request_id": error.request_id} if error.request_id else {})}


def _wait_headers(error: LLMError) -> dict[str, str]:
    """`retry-after` in whole seconds, never too few, and the exact time beside it."""
    if error.retry_after is None:
        return {}
    return {"retry-after": str(math.ceil(error.retry_after)), "retry-after-ms": f"{error.retry_after * 1000:.0f}"}
