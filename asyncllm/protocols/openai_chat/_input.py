"""OpenAI-style messages and tools to ours: what people already have, and what the embedded server is sent."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

import msgspec

from ...events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    Part,
    ProviderState,
    Reasoning,
    Role,
    Text,
    ToolResult,
    parse_call,
)
from .._request import Tool
from ._wire import flatten

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}


def message_from_dict(data: Mapping[str, Any], where: str = "message") -> Message:
    """One message of the chat API. Raises :class:`InvalidRequestError` that says what is wrong with it, and where."""
    given = data.get("role")
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        raise InvalidRequestError(f"{where}: role must be system, developer, user, assistant or tool, not {given!r}")
    name = data.get("name")
    name = name if isinstance(name, str) else None
    content = data.get("content")
    if role == "tool":
        text, _ = flatten(content)
        return Message("tool", [ToolResult(str(data.get("tool_call_id") or name or ""), name or "", text or "")])
    parts = _reasoning(data) if role == "assistant" else []
    if content is None or isinstance(content, str):
        if content:
            parts.append(Text(content))
    elif isinstance(content, list):
        parts += [_part(item, f"{where}: content[{at}]") for at, item in enumerate(content)]
    else:
        raise InvalidRequestError(
            f"{where}: content must be text, a list of parts or null, not {type(content).__name__}"
        )
    if role == "assistant":
        parts += _calls(data, where)
    only = parts[0] if len(parts) == 1 else None
    return Message(role, only.text if isinstance(only, Text) else parts or "", name)


def _reasoning(data: Mapping[str, Any]) -> list[Part]:
    for field in ("reasoning_content", "reasoning"):
        if isinstance(text := data.get(field), str) and text:
            return [Reasoning(text)]
    return []


def _calls(data: Mapping[str, Any], where: str) -> list[Part]:
    calls: list[Part] = []
    listed = data.get("tool_calls") or []
    if not isinstance(listed, list | tuple):
        raise InvalidRequestError(f"{where}: tool_calls must be a list, not {type(listed).__name__}")
    if isinstance(legacy := data.get("function_call"), Mapping):
        listed = [*listed, {"id": legacy.get("name"), "function": legacy}]
    for at, item in enumerate(listed):
        function = item.get("function") if isinstance(item, Mapping) else None
        if not isinstance(function, Mapping):
            raise InvalidRequestError(f"{where}: tool_calls[{at}] has no function")
        arguments = function.get("arguments")
        raw = arguments if isinstance(arguments, str) else _dump(arguments)
        extra = item.get("extra_content")
        state = ProviderState("", {"extra_content": extra}) if isinstance(extra, Mapping) else None
        calls.append(parse_call(str(item.get("id") or ""), str(function.get("name") or ""), raw, state=state))
    return calls


def _dump(value: object) -> str:
    return "" if value is None else msgspec.json.encode(value).decode()


def _part(item: object, where: str) -> Part:
    if isinstance(item, str):
        return Text(item)
    if not isinstance(item, Mapping):
        raise InvalidRequestError(f"{where} must be an object")
    kind = item.get("type")
    inner = item.get(str(kind))
    if kind in ("text", "input_text", "output_text", "refusal"):
        return Text(str(item.get("text") or item.get("refusal") or ""))
    if kind == "thinking":
        text, thought = flatten([item])
        return Reasoning(thought or text or "")
    if kind in ("image_url", "input_image"):
        url = inner.get("url") if isinstance(inner, Mapping) else item.get("image_url", inner)
        detail = inner.get("detail") if isinstance(inner, Mapping) else item.get("detail")
        if isinstance(url, str):
            return _image(url, detail, where)
    if kind == "input_audio" and isinstance(inner, Mapping):
        return Audio(_decode(inner.get("data"), where), str(inner.get("format") or "wav"))
    if kind == "file" and isinstance(inner, Mapping):
        name = str(inner.get("filename") or "file")
        if isinstance(inner.get("file_id"), str):
            return File(file_id=inner["file_id"], name=name)
        media, data = _data_url(str(inner.get("file_data") or ""), where)
        return File(data=data, name=name, media_type=media)
    raise InvalidRequestError(f"{where}: a part of type {kind!r} is not known (text, image_url, input_audio, file)")


def _image(url: str, detail: Any, where: str) -> Image:
    if not url.startswith("data:"):
        return Image(url=url, detail=detail)
    media, data = _data_url(url, where)
    return Image(data=data, media_type=media, detail=detail)


def _data_url(url: str, where: str) -> tuple[str, bytes]:
    head, comma, data = url.partition(",")
    if not head.startswith("data:") or not head.endswith(";base64") or not comma:
        raise InvalidRequestError(f"{where}: expected a URL of the form data:<type>;base64,<data>")
    return head[5:-7], _decode(data, where)


def _decode(data: object, where: str) -> bytes:
    try:
        return base64.b64decode(str(data), validate=True)
    except binascii.Error as error:
        raise InvalidRequestError(f"{where}: the data is not base64: {error}") from None


def tool_from_dict(data: Mapping[str, Any], where: str = "tool") -> Tool:
    """One tool of the chat API, or the bare function object."""
    function = data.get("function", data)
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str) or not name:
        raise InvalidRequestError(f"{where}: a tool needs a function with a name")
    parameters = function.get("parameters", function.get("input_schema")) or {}
    if not isinstance(parameters, Mapping):
        raise InvalidRequestError(f"{where}: parameters of {name!r} must be a JSON Schema object")
    return Tool(name, str(function.get("description") or ""), parameters, function.get("strict"))
