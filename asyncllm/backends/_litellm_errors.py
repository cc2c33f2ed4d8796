"""What LiteLLM raises, to our errors: by classes, statuses, headers and bodies, and never by its words.

LiteLLM wraps: its own class by what it thinks, around the SDK's or its handler's error with the provider's body, status and
headers, around the transport's. The provider's own body says most and counts first; the class counts where there is none,
and where LiteLLM knows a finer kind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from ..events import IncompleteStreamError, LLMError, UnknownError
from ..events._errors import BY_KIND
from ..protocols import classify

KINDS: dict[str, str] = {
    "ContextWindowExceededError": "context_length",
    "ContentPolicyViolationError": "content_blocked",
    "RejectedRequestError": "content_blocked",
    "GuardrailRaisedException": "content_blocked",
    "BlockedPiiEntityError": "content_blocked",
    "PaymentRequiredError": "billing",
    "BudgetExceededError": "billing",
    "AuthenticationError": "authentication",
    "PermissionDeniedError": "permission",
    "NotFoundError": "not_found",
    "RateLimitError": "rate_limit",
    "BadRequestError": "invalid_request",
    "UnprocessableEntityError": "invalid_request",
    "ServiceUnavailableError": "overloaded",
    "BadGatewayError": "server_error",
    "InternalServerError": "server_error",
    "APIResponseValidationError": "protocol",
    "APITimeoutError": "timeout",
    "ImportError": "invalid_request",
}
"""Names of classes, LiteLLM's and the openai SDK's, the finer ones first. `ImportError`: a provider needs a package more."""

FINE = frozenset({"context_length", "content_blocked", "billing"})

TIMEOUTS = frozenset(
    {"TimeoutException", "TimeoutError", "ServerTimeoutError", "ReadTimeoutError", "ConnectTimeoutError"}
)
BREAKS = frozenset(
    {"TransportError", "ClientConnectionError", "ClientPayloadError", "HTTPClientError", "ConnectionError"}
)
"""Of httpx, aiohttp, botocore and Python."""


def typed_error(error: BaseException, *, provider: str, model: str, begun: bool) -> LLMError:
    """Our error for any of LiteLLM's. `begun`: the head of the answer had come."""
    links = list(_chain(error))
    body: object = None
    headers: Mapping[str, str] = {}
    status: int | None = None
    for link in links:  # the innermost one that has it: the one nearest to the wire
        body = _body(link) or body
        headers, status = _answered(link) or (headers, status)
    named = _named(links)
    fields: dict[str, Any] = {"provider": provider, "model": model}
    if body or status is not None:
        text = msgspec.json.encode(body, enc_hook=str).decode() if body else ""
        said = classify(body, status=status, headers=headers, text=text, **fields)
        if named in FINE and said.kind == "invalid_request":
            return _as(said, named)
        return said
    message = (
        next((text for link in reversed(links) if (text := _message(link))), "") or str(error) or type(error).__name__
    )
    names = {name for link in links for name in _names(link)}
    if names & TIMEOUTS:
        return BY_KIND["timeout"](message, **fields)
    if names & BREAKS:
        if begun:
            return IncompleteStreamError(f"the connection broke in the middle of the answer: {message}", **fields)
        return BY_KIND["connection"](message, **fields)
    if named is not None:
        return BY_KIND[named](message, **fields)
    return UnknownError(message, **fields)


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and everything it was made of, outermost first."""
    seen: set[int] = set()
    waiting: list[object] = [error]
    while waiting and len(seen) < 20:
        link = waiting.pop(0)
        if isinstance(link, BaseException) and id(link) not in seen:
            seen.add(id(link))
            yield link
            waiting += [getattr(link, "original_exception", None), link.__cause__ or link.__context__]


def _names(link: BaseException) -> list[str]:
    return [cls.__name__ for cls in type(link).__mro__]


def _named(links: list[BaseException]) -> str | None:
    """The kind of the outermost link whose class names one. A wrapper that only says "in the middle" says nothing."""
    for link in links:
        names = _names(link)
        if "MidStreamFallbackError" not in names and (name := next((name for name in KINDS if name in names), None)):
            return KINDS[name]
    return None


def _message(link: BaseException) -> str:
    message = getattr(link, "message", None) or (str(link) if isinstance(link, ImportError) else "")
    return message if isinstance(message, str) else ""


def _body(link: BaseException) -> object:
    """The provider's own: parsed by the SDK, or the JSON that LiteLLM's handlers keep as their message."""
    body = getattr(link, "body", None)
    if isinstance(body, Mapping | list) and body:
        return body
    message = getattr(link, "message", None)
    if isinstance(message, str | bytes):
        try:
            found = msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeEncodeError):
            return None
        return found if isinstance(found, Mapping | list) else None
    return None


def _answered(link: BaseException) -> tuple[Mapping[str, str], int | None] | None:
    """Headers and status of a real answer: LiteLLM makes up responses, too, and those have no headers."""
    response = getattr(link, "response", None)
    for headers, whose in ((getattr(response, "headers", None), response), (getattr(link, "headers", None), link)):
        if isinstance(headers, Mapping) and headers:
            status = getattr(whose, "status_code", None)
            lower = {str(name).lower(): str(value) for name, value in headers.items()}
            return lower, status if isinstance(status, int) else None
    return None


def _as(error: LLMError, kind: str) -> LLMError:
    """The same error of a finer kind."""
    fields = {name: value for name, value in error.__dict__.items() if name not in ("message", "retryable", "partial")}
    return BY_KIND[kind](error.message, **fields)
