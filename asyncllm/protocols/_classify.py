"""Any provider's error body to the one taxonomy. The table is data; the order of tests is: stable code, then type, then
HTTP status, then phrase (a phrase is unstable, and only refines what the rest leaves open)."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import msgspec
from msgspec import Struct

from ..events import LLMError, redact
from ..events._errors import BY_KIND, MESSAGE_LIMIT, RateLimitError
from ._numbers import whole_number
from ._retry_after import retry_after

_CODES: dict[str, str] = {
    code: kind
    for kind, codes in {
        "rate_limit": """rate_limit_exceeded slow_down requests tokens rate_limit_error ramp_limit_exceeded rate_limit
            rate_limited too_many_requests resource_exhausted throttlingexception modelnotreadyexception throttling
            limit_burst_rate ratelimiterror""",
        "billing": """insufficient_quota credit_balance_exhausted organization_spend_limit_exceeded billing_error
            project_spend_limit_exceeded organization_usage_limit_exceeded billing_hard_limit_reached billing_not_active
            enforced_spend_limit_reached contract_spend_limit_reached billing_disabled insufficient_balance
            insufficient_credits payment_required arrearage""",
        "authentication": """invalid_api_key authentication_error unauthenticated unauthorized api_key_invalid
            invalid_authentication unrecognizedclientexception invalidsignatureexception expiredtokenexception
            authenticationerror""",
        "permission": """permission_error permission_denied unsupported_country_region_territory accessdeniedexception
            access_denied forbidden permissiondeniederror""",
        "not_found": """model_not_found not_found_error not_found deploymentnotfound resourcenotfoundexception notfounderror
            deployment_not_found""",
        "context_length": """context_length_exceeded exceed_context_size_error string_above_max_length
            model_context_window_exceeded context_window_exceeded""",
        "content_blocked": """content_policy_violation content_filter invalid_prompt bio_policy
            misalignment_policy_violation responsibleaipolicyviolation data_inspection_failed content_blocked""",
        "overloaded": """server_is_overloaded service_unavailable_error overloaded_error overloaded unavailable
            serviceunavailableexception service_unavailable insufficient_system_resource capacity_exceeded
            serviceunavailableerror""",
        "server_error": """server_error internal_server_error internal api_error internalserverexception
            modelerrorexception modelstreamerrorexception malformed_model_output internal_error internalservererror
            provider_error upstream_error""",
        "timeout": "timeout_error deadline_exceeded cancelled modeltimeoutexception timeout request_timeout gateway_timeout",
        "invalid_request": """invalid_request_error unsupported_parameter invalid_value unsupported_value invalid_argument
            failed_precondition validationexception badrequesterror bad_request invalid_request request_too_large
            tool_use_failed invalidparameter invalid_parameter unprocessable_entity missing_required_parameter
            json_validate_failed""",
        "protocol": "protocol",
        "connection": "connection",
        "max_output": "max_output",
        "unknown": "unknown",
    }.items()
    for code in codes.split()
}

_GENERIC = frozenset({"invalid_request", "server_error"})
"""Kinds that a code of a broader sort names; a finer code or phrase beside it wins."""

_STATUS: dict[int, str] = {
    400: "invalid_request",
    401: "authentication",
    402: "billing",
    403: "permission",
    404: "not_found",
    408: "timeout",
    409: "server_error",
    413: "context_length",
    422: "invalid_request",
    424: "server_error",
    429: "rate_limit",
    451: "permission",
    498: "rate_limit",
    499: "timeout",
    503: "overloaded",
    504: "timeout",
    524: "timeout",
    529: "overloaded",
}

_PHRASES: tuple[tuple[str, re.Pattern[str]], ...] = tuple(
    (kind, re.compile(pattern, re.IGNORECASE))
    for kind, pattern in (
        (
            "context_length",
            r"maximum context length|context.{0,12}(length|window|size|limit)|prompt is too long|input is too long"
            r"|inputs tokens \+ max_new_tokens must be|exceeds the maximum number of tokens|too many (input )?tokens"
            r"|reduce the length of the (messages|input|prompt)",
        ),
        (
            "billing",
            r"credit balance is too low|insufficient (credit|balance|fund)|spend(ing)? limit|invalid_payment_instrument",
        ),
        ("authentication", r"api key not valid|(invalid|incorrect|missing|no) api[ -_]?key"),
        ("not_found", r"model .{0,80}(not found|does not exist)|model identifier is invalid|no such model"),
        ("content_blocked", r"content (management )?policy|safety (system|filter)"),
        ("overloaded", r"\boverloaded\b"),
        ("rate_limit", r"rate.?limit(ed)? (is )?(reached|exceeded)|too many requests"),
    )
)


_REQUEST_IDS = (
    "x-request-id",
    "request-id",
    "x-amzn-requestid",
    "x-goog-request-id",
    "apim-request-id",
    "x-generation-id",
    "cf-ray",
)


class ErrorFacts(Struct):
    """What an error body says, whatever its form."""

    message: str = ""
    codes: list[str] = []
    status: int | None = None
    details: list[object] = []
    request_id: str | None = None
    headers: Mapping[str, str] = {}
    block_reason: str | None = None


def error_facts(body: object) -> ErrorFacts:
    """Read one of the known forms (quirk C6; `wire: bodies to parse`): an error body has no single shape."""
    facts = ErrorFacts()
    _read(body, facts, depth=0)
    return facts


def _read(body: object, facts: ErrorFacts, depth: int) -> None:
    if depth > 4:
        return
    if isinstance(body, str):
        facts.message = facts.message or body
    elif isinstance(body, list):
        for item in body[:1]:
            _read(item, facts, depth + 1)
    elif isinstance(body, Mapping):
        _read_object(body, facts, depth)


def _read_object(body: Mapping[str, Any], facts: ErrorFacts, depth: int) -> None:
    for name in ("error", "errors", "detail", "base_resp", "innererror", "inner_error"):
        inner = body.get(name)
        if name == "detail" and isinstance(inner, list):
            facts.message = facts.message or "; ".join(_validation(item) for item in inner)
        elif inner not in (None, "", False):
            _read(inner, facts, depth + 1)
    for name in ("message", "status_msg", "error_msg", "msg", "error_message"):
        value = body.get(name)
        if isinstance(value, str) and value and not facts.message:
            facts.message = value
        elif name == "message" and isinstance(value, Mapping | list):
            _read(value, facts, depth + 1)
    for name in ("code", "error_code", "type", "status", "error_type", "status_code", "reason"):
        value = body.get(name)
        if isinstance(value, bool) or value in (None, "", "error"):
            continue
        number = whole_number(value)
        if number is not None:
            if 400 <= number < 600 and facts.status is None:
                facts.status = number
            elif name in ("code", "status_code") and number:
                facts.codes.append(str(number))
        elif isinstance(value, str):
            facts.codes.append(value)
    facts.request_id = facts.request_id or _string(body.get("request_id"))
    if isinstance(details := body.get("details"), list):
        facts.details += details
        facts.codes += [
            reason for item in details if isinstance(item, Mapping) and (reason := _string(item.get("reason")))
        ]
    elif isinstance(details, Mapping) and (code := _string(details.get("error_code"))):
        facts.codes.insert(0, code)
    metadata = body.get("metadata")
    if isinstance(metadata, Mapping):
        if isinstance(headers := metadata.get("headers"), Mapping):
            facts.headers = {str(key).lower(): str(value) for key, value in headers.items()}
        if raw := _string(metadata.get("raw")):
            facts.message = f"{facts.message}: {raw}" if facts.message else raw


def _string(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def _validation(item: object) -> str:
    if not isinstance(item, Mapping):
        return str(item)
    where = item.get("loc")
    path = ".".join(map(str, where)) if isinstance(where, list | tuple) else ""
    return f"{path}: {item.get('msg', item)}" if path else str(item.get("msg", item))


def _kind(facts: ErrorFacts, status: int | None) -> str:
    effective = status if status is not None and status != 200 else facts.status
    server_side = effective is not None and effective >= 500
    found = ""
    for code in facts.codes:
        kind = _CODES.get(code.lower().replace(" ", "_").replace("-", "_"))
        if kind is not None and (not found or found in _GENERIC) and not (server_side and kind == "billing"):
            found = kind
    if not found and effective is not None:
        found = _STATUS.get(effective) or (
            "server_error" if server_side else "invalid_request" if effective >= 400 else "unknown"
        )
    elif found in _GENERIC and effective is not None and _STATUS.get(effective, found) != found:
        found = _STATUS[effective] if effective != 400 else found
    if (
        found in ("", "invalid_request", "unknown")
        or (found == "server_error" and effective is None)
        or (found == "permission")
    ):
        for kind, pattern in _PHRASES:
            if pattern.search(facts.message) and (found != "permission" or kind in ("content_blocked", "billing")):
                return kind
    return found or "server_error"


def classify(
    body: object,
    *,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    provider: str | None = None,
    model: str | None = None,
    text: str | None = None,
    now: float | None = None,
) -> LLMError:
    """The typed error for an error body, of an HTTP answer (`status`) or inside a stream (no status).

    `body` is the parsed JSON, or the text where it is none; `text` the body as sent. `now` is for tests.
    """
    headers = headers or {}
    facts = error_facts(body)
    kind = _kind(facts, status)
    now = time.time() if now is None else now
    wait = retry_after({**facts.headers, **headers}, facts.details, facts.message, now)
    message = redact(facts.message.strip() or _summary(text, status))
    if len(message) > MESSAGE_LIMIT:
        message = message[:MESSAGE_LIMIT] + "…"
    cls = BY_KIND[kind]
    fields: dict[str, Any] = {
        "status": status if status is not None and status != 200 else facts.status,
        "code": facts.codes[0] if facts.codes else None,
        "provider": provider,
        "model": model,
        "request_id": request_id(headers) or facts.request_id,
        "retry_after": wait,
        "body": text,
    }
    if (said := headers.get("x-should-retry")) in ("true", "false"):
        fields["retryable"] = said == "true"
    if cls is RateLimitError and wait is not None:
        with suppress(OverflowError, ValueError):  # beyond the calendar
            fields["reset_time"] = datetime.fromtimestamp(now + wait, UTC)
    if kind == "content_blocked":
        fields["block_reason"] = facts.codes[0] if facts.codes else None
    return cls(message, **fields)


def _summary(text: str | None, status: int | None) -> str:
    """A message for a body that has none: the title or the text of a page, else the status."""
    if text and text.strip():
        title = re.search(r"<title[^>]*>([^<]{1,200})", text, re.IGNORECASE)
        plain = title[1] if title else re.sub(r"<[^>]{0,500}>", " ", text[:2000])
        if plain := " ".join(plain.split()):
            return plain
    return (
        f"the server answered HTTP {status} with no message"
        if status
        else "the server reported an error without a message"
    )


def request_id(headers: Mapping[str, str]) -> str | None:
    """The provider's id of a request, from the headers of its answer."""
    return next((value for name in _REQUEST_IDS if (value := headers.get(name))), None)


def classify_response(
    status: int, headers: Mapping[str, str], content: bytes, *, provider: str | None = None, model: str | None = None
) -> LLMError:
    """The typed error for an HTTP answer: JSON of any known form, a page, or nothing (quirk C11)."""
    text = content.decode("utf-8", "replace")
    try:
        body: object = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError, ValueError):
        body = None
    return classify(body, status=status, headers=headers, provider=provider, model=model, text=text)
