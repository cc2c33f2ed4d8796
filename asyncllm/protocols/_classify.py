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
from ._error_codes import CODES, EXACT, GENERIC, PHRASES, REQUEST_IDS, STATUS
from ._numbers import whole_number
from ._retry_after import retry_after


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
    for name in ("message", "Message", "status_msg", "error_msg", "msg", "error_message"):
        value = body.get(name)
        if isinstance(value, str) and value and not facts.message:
            facts.message = value
        elif name == "message" and isinstance(value, Mapping | list):
            _read(value, facts, depth + 1)
    for name in ("code", "error_code", "__type", "type", "status", "error_type", "status_code", "reason"):
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
            facts.codes.append(exception_name(value) if name == "__type" else value)
    facts.request_id = facts.request_id or _string(body.get("request_id"))
    if isinstance(details := body.get("details"), list):
        facts.details += details
        facts.codes += [
            reason for item in details if isinstance(item, Mapping) and (reason := _string(item.get("reason")))
        ]
    elif isinstance(details, Mapping) and (code := _string(details.get("error_code"))):
        facts.codes.insert(0, code)
    metadata = body.get("metadata")
    if (wait := whole_number(body.get("resets_in_seconds"))) is not None:  # ChatGPT's plans
        facts.headers = {"retry-after": str(wait), **facts.headers}
    if isinstance(metadata, Mapping):
        if isinstance(reasons := metadata.get("reasons"), list) and "flagged_input" in metadata:
            facts.block_reason = ", ".join(map(str, reasons)) or "moderation"  # OpenRouter, as a 403
        if isinstance(headers := metadata.get("headers"), Mapping):
            facts.headers = {str(key).lower(): str(value) for key, value in headers.items()}
        if raw := _string(metadata.get("raw")):
            facts.message = f"{facts.message}: {raw}" if facts.message else raw


def exception_name(text: str) -> str:
    """The name of an AWS exception: it may stand after a namespace, and before the URI of its definition."""
    return text.partition(":")[0].rpartition("#")[2]


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
    if facts.block_reason is not None:
        return "content_blocked"
    found = ""
    for given in facts.codes:
        code = given.lower().replace(" ", "_").replace("-", "_")
        kind = CODES.get(code)
        if kind is not None and code in EXACT:
            return kind
        if kind == "unknown" and effective is not None:
            continue  # the status says more
        finer = not found or found in GENERIC or (found == "permission" and kind == "billing")
        if kind is not None and finer and not (server_side and kind == "billing"):
            found = kind
    if not found and effective is not None:
        found = STATUS.get(effective) or (
            "server_error" if server_side else "invalid_request" if effective >= 400 else "unknown"
        )
    elif found in GENERIC and effective is not None and STATUS.get(effective, found) != found:
        found = STATUS[effective] if effective != 400 else found
    if (
        found in ("", "invalid_request", "unknown")
        or (found == "server_error" and effective is None)
        or (found == "permission")
    ):
        for kind, pattern in PHRASES:
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
    headers = {name.lower(): value for name, value in headers.items()} if headers else {}
    facts = error_facts(body)
    if named := headers.get("x-amzn-errortype"):
        facts.codes.insert(0, exception_name(named))
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
    if kind == "rate_limit" and _per_day(facts.details):
        fields["retryable"] = False  # the quota comes back tomorrow, whatever the hint to wait says
    if (said := headers.get("x-should-retry")) in ("true", "false"):
        fields["retryable"] = said == "true"
    if cls is RateLimitError and wait is not None:
        with suppress(OverflowError, ValueError):  # beyond the calendar
            fields["reset_time"] = datetime.fromtimestamp(now + wait, UTC)
    if kind == "content_blocked":
        fields["block_reason"] = facts.block_reason or (facts.codes[0] if facts.codes else None)
    return cls(message, **fields)


def _per_day(details: list[object]) -> bool:
    """Whether a google.rpc.QuotaFailure is about a quota of a day."""
    violations = [item.get("violations") for item in details if isinstance(item, Mapping)]
    return any(
        isinstance(violation, Mapping) and "perday" in str(violation.get("quotaId", "")).lower()
        for listed in violations
        if isinstance(listed, list)
        for violation in listed
    )


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
    return next((value for name in REQUEST_IDS if (value := headers.get(name))), None)


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
