"""Errors as the service says them: over HTTP by the name of an exception in a header, inside a stream by an exception."""

from __future__ import annotations

import math

from ...events import ErrorKind, LLMError
from .._classify import classify
from .._json import to_json
from .._server_side import WireFrame

_HTTP: dict[ErrorKind, tuple[int, str]] = {
    "rate_limit": (429, "ThrottlingException"),
    "authentication": (403, "UnrecognizedClientException"),
    "permission": (403, "AccessDeniedException"),
    "billing": (400, "ServiceQuotaExceededException"),
    "invalid_request": (400, "ValidationException"),
    "not_found": (404, "ResourceNotFoundException"),
    "context_length": (400, "ValidationException"),
    "content_blocked": (400, "ValidationException"),
    "max_output": (400, "ValidationException"),
    "overloaded": (503, "ServiceUnavailableException"),
    "server_error": (500, "InternalServerException"),
    "timeout": (408, "ModelTimeoutException"),
    "connection": (500, "InternalServerException"),
    "protocol": (500, "InternalServerException"),
    "unknown": (500, "InternalServerException"),
}
"""kind -> HTTP status and the exception's name."""

_IN_STREAM = frozenset(
    {"ThrottlingException", "ValidationException", "ServiceUnavailableException", "InternalServerException"}
)
"""What a stream can say by name. The rest is the model's error, with the status that the model's server gave."""

_STATUS: dict[ErrorKind, int] = {"authentication": 401, "billing": 402, "permission": 403}

_PHRASES: dict[ErrorKind, str] = {
    "context_length": "Input is too long for requested model.",
    "content_blocked": "Blocked by the content policy.",
}
"""What has no exception of its own, and is known by its words."""

TYPE_HEADER = "x-amzn-errortype"


def error_body(error: LLMError) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers of an HTTP answer that says `error`. Its own status and code are kept where they fit."""
    usual, name = _HTTP[error.kind]
    status = error.status if error.status is not None and 400 <= error.status < 600 else usual
    if error.code and error.code.endswith("Exception"):
        own = error.code[0].upper() + error.code[1:]
        if classify({"message": error.message}, status=status, headers={TYPE_HEADER: own}).kind == error.kind:
            name = own
    headers = {"content-type": "application/json", TYPE_HEADER: name}
    if error.request_id:
        headers["x-amzn-requestid"] = error.request_id
    if error.retry_after is not None:
        headers["retry-after"] = str(math.ceil(error.retry_after))
        headers["retry-after-ms"] = f"{error.retry_after * 1000:.0f}"
    if error.retryable != error.default_retryable:
        headers["x-should-retry"] = "true" if error.retryable else "false"
    return status, to_json({"message": _message(error)}).encode(), headers


def stream_error(error: LLMError) -> WireFrame:
    """The exception that says `error` inside a stream."""
    status, name = _HTTP[error.kind]
    body: dict[str, object] = {"message": _message(error)}
    if name not in _IN_STREAM:
        name, body = "ModelStreamErrorException", {**body, "originalStatusCode": _STATUS.get(error.kind, status)}
    return WireFrame(to_json(body), f"exception:{name[0].lower()}{name[1:]}")


def _message(error: LLMError) -> str:
    phrase = _PHRASES.get(error.kind, "")
    if not phrase or classify({"message": error.message}, status=400).kind == error.kind:
        return error.message
    return f"{phrase} {error.message}".strip()
