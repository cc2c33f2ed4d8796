"""Messages of the API to ours: the turns of :mod:`._turns` read backwards."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from ...events import (
    File,
    Image,
    InvalidRequestError,
    Message,
    Part,
    ProviderState,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from ._blocks import KEPT_OF_CALLS
from ._readable import is_failure, readable

PROVIDER = "anthropic"
"""Whose the opaque state is that comes with a request."""


def messages_from(items: list[Any]) -> tuple[Message, ...]:
    """Raises :class:`InvalidRequestError` in the words of the API."""
    messages: list[Message] = []
    names: dict[str, str] = {}  # of calls, for their results
    for at, item in enumerate(items):
        role = item.get("role") if isinstance(item, Mapping) else None
        if role not in ("user", "assistant", "system"):
            raise refusal(f"messages.{at}.role: Input should be 'user', 'assistant' or 'system'")
        content = item.get("content")
        if isinstance(content, str):
            messages.append(Message(role, content))
            continue
        if not isinstance(content, list) or not all(isinstance(block, Mapping) for block in content):
            raise refusal(f"messages.{at}.content: Input should be a valid list")
        if role == "assistant":
            messages.append(_message(role, [_answered(block, names) for block in content]))
            continue
        results: list[Part] = [_result(block, names) for block in content if block.get("type") == "tool_result"]
        if results:
            messages.append(Message("tool", results))
        if len(results) < len(content) or not content:
            messages.append(_message(role, [asked(block, f"messages.{at}.content") for block in content]))
    return tuple(messages)


def refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, status=400, code="invalid_request_error")


def _message(role: Any, found: list[Part | None]) -> Message:
    parts = [part for part in found if part is not None]
    only = parts[0] if len(parts) == 1 else None
    return Message(role, only.text if isinstance(only, Text) and only.state is None else parts or "")


def asked(block: Mapping[str, Any], where: str) -> Part | None:
    """A block of the user's; None for a type that there is no part for."""
    source = block.get("source")
    source = source if isinstance(source, Mapping) else {}
    match block.get("type"), source.get("type"):
        case "text", _:
            return Text(str(block.get("text") or ""))
        case "image", "url":
            return Image(url=str(source.get("url")))
        case "image", "base64":
            return Image(data=_bytes(source, where), media_type=str(source.get("media_type")))
        case "image", "file":
            return File(file_id=str(source.get("file_id")), media_type="image/png")
        case "document", kind:
            name = str(block.get("title") or "file")
            if kind == "file":
                return File(file_id=str(source.get("file_id")), name=name)
            if kind == "base64":
                return File(data=_bytes(source, where), name=name, media_type=str(source.get("media_type")))
            if kind == "text":
                return File(data=str(source.get("data")).encode(), name=name, media_type="text/plain")
    return None


def _bytes(source: Mapping[str, Any], where: str) -> bytes:
    try:
        return base64.b64decode(str(source.get("data")), validate=True)
    except binascii.Error:
        raise refusal(f"{where}: the data is not base64") from None


def _result(block: Mapping[str, Any], names: Mapping[str, str]) -> ToolResult:
    id, content = str(block.get("tool_use_id")), block.get("content")
    failed = block.get("is_error") is True
    if not isinstance(content, list):
        return ToolResult(id, names.get(id, ""), content if isinstance(content, str) else "", failed)
    parts = [asked(item, "tool_result") for item in content if isinstance(item, Mapping)]
    return ToolResult(id, names.get(id, ""), [part for part in parts if isinstance(part, Text | Image)], failed)


def _answered(block: Mapping[str, Any], names: dict[str, str]) -> Part | None:
    kind = str(block.get("type"))
    whole = {name: value for name, value in block.items() if name != "cache_control"}
    kept = ProviderState(PROVIDER, {"block": whole})
    match kind:
        case "text":
            citations = block.get("citations")
            state = ProviderState(PROVIDER, {"citations": citations}, closes=True) if citations else None
            return Text(str(block.get("text") or ""), state)
        case "thinking":
            signature = ProviderState(PROVIDER, {"signature": str(block.get("signature") or "")}, closes=True)
            return Reasoning(str(block.get("thinking") or ""), signature)
        case "tool_use":
            more = {name: value for name in KEPT_OF_CALLS if (value := block.get(name)) is not None}
            return _call(block, names, ProviderState(PROVIDER, more) if more else None)
        case "server_tool_use" | "mcp_tool_use":
            return _call(block, names, kept, executed=True)
        case "container_upload":
            return File(file_id=str(block.get("file_id")), media_type="application/octet-stream", state=kept)
        case _ if kind.endswith("_tool_result"):
            id, content = str(block.get("tool_use_id")), block.get("content")
            name = names.get(id) or kind.removesuffix("_tool_result")
            return ToolResult(id, name, readable(content), block.get("is_error") is True or is_failure(content), kept)
    return Reasoning("", ProviderState(PROVIDER, {"block": whole}, closes=True))


def _call(
    block: Mapping[str, Any], names: dict[str, str], state: ProviderState | None, *, executed: bool = False
) -> ToolCall:
    id, name, given = str(block.get("id")), str(block.get("name")), block.get("input")
    names[id] = name
    return ToolCall(id, name, given if isinstance(given, dict) else {}, state=state, executed=executed)
