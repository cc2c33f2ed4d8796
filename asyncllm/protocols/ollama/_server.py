"""The Ollama wire as its server has it: a body becomes a Request, and an answer becomes lines or one object."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any, get_args

import msgspec

from ...events import (
    Image,
    InvalidRequestError,
    Message,
    Part,
    Reasoning,
    Role,
    StreamEvent,
    Text,
    ToolResult,
    parse_call,
)
from .._request import OutputSchema, ReasoningEffort, Request, Tool
from .._server_side import ServerSide
from ._decode import media_type
from ._encode import OllamaEncoder, answer_body, error_body

_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant", "tool": "tool"}


def read_request(path: str, body: Mapping[str, Any]) -> Request:
    """What a body asks for. Raises :class:`InvalidRequestError` in the words of the server."""
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise _refusal("model is required")
    if not isinstance(messages, list) or not messages:
        raise _refusal("messages are required (without any, a real server only loads the model)")
    given = body.get("options")
    options: Mapping[str, Any] = given if isinstance(given, Mapping) else {}
    stop = options.get("stop") or ()
    return Request(
        model=model,
        messages=_Conversation().read(messages),
        tools=tuple(_tool(item, f"tools[{at}]") for at, item in enumerate(body.get("tools") or ())),
        output=_output(body.get("format")),
        max_tokens=options.get("num_predict"),
        temperature=options.get("temperature"),
        top_p=options.get("top_p"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=options.get("seed"),
        reasoning=_reasoning(body.get("think")),
    )


def _refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, status=400)


class _Conversation:
    """The messages of one body. Calls without ids get them, and so do results that only name their tool."""

    def __init__(self) -> None:
        self._calls = 0
        self._open: list[tuple[str, str]] = []  # id and name of calls that have no result yet

    def read(self, messages: list[Any]) -> tuple[Message, ...]:
        return tuple(self._message(item, f"messages[{at}]") for at, item in enumerate(messages))

    def _message(self, data: Any, where: str) -> Message:
        given = data.get("role") if isinstance(data, Mapping) else None
        role = _ROLES.get(given) if isinstance(given, str) else None
        if role is None:
            raise _refusal(f"{where}: role must be one of {', '.join(_ROLES)}, not {given!r}")
        content = data.get("content") or ""
        if not isinstance(content, str):
            raise _refusal(f"{where}: content must be text, not {type(content).__name__}")
        images = [_image(item, where) for item in data.get("images") or ()]
        if role == "tool":
            return Message("tool", [self._result(data, content, images)])
        parts: list[Part] = []
        if role == "assistant" and isinstance(thought := data.get("thinking"), str) and thought:
            parts.append(Reasoning(thought))
        if content:
            parts.append(Text(content))
        parts += images
        if role == "assistant":
            parts += [self._call(item, where) for item in data.get("tool_calls") or ()]
        only = parts[0] if len(parts) == 1 else None
        return Message(role, only.text if isinstance(only, Text) else parts or "")

    def _call(self, item: Any, where: str) -> Part:
        function = item.get("function") if isinstance(item, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str):
            raise _refusal(f"{where}: a tool call needs a function with a name")
        arguments = function.get("arguments") or {}
        if not isinstance(arguments, Mapping):
            raise _refusal(f"{where}: the arguments of {name!r} must be an object, not {type(arguments).__name__}")
        self._calls += 1
        id = item.get("id") or f"call_{self._calls}"
        self._open.append((str(id), name))
        return parse_call(str(id), name, msgspec.json.encode(arguments).decode())

    def _result(self, data: Mapping[str, Any], content: str, images: list[Image]) -> ToolResult:
        id, name = str(data.get("tool_call_id") or ""), str(data.get("tool_name") or "")
        answered = next((call for call in self._open if (call[0] == id if id else name in ("", call[1]))), None)
        if answered is not None:
            self._open.remove(answered)
            id, name = id or answered[0], name or answered[1]
        return ToolResult(id, name, [Text(content), *images] if images else content)


def _image(encoded: Any, where: str) -> Image:
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise _refusal(f"{where}: illegal base64 data in images: {error}") from None
    return Image(data=data, media_type=media_type(data))


def _tool(item: Any, where: str) -> Tool:
    function = item.get("function") if isinstance(item, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(name := function.get("name"), str) or not name:
        raise _refusal(f"{where}: a tool needs a function with a name")
    return Tool(name, str(function.get("description") or ""), function.get("parameters") or {})


def _output(value: object) -> OutputSchema | None:
    if value == "json":
        return OutputSchema("output", {"type": "object"})
    return OutputSchema("output", value) if isinstance(value, Mapping) else None


def _reasoning(value: object) -> ReasoningEffort | None:
    if isinstance(value, bool):
        return "medium" if value else "none"
    return next((effort for effort in get_args(ReasoningEffort) if effort == value), None)


def _streamed(path: str, body: Mapping[str, Any]) -> bool:
    return body.get("stream") is not False


def _encoder(request: Request, body: Mapping[str, Any]) -> OllamaEncoder:
    return OllamaEncoder(model=request.model)


def _body(events: Iterable[StreamEvent], request: Request) -> bytes:
    return answer_body(events, model=request.model)


SERVER = ServerSide(
    framing="json_lines",
    streamed=_streamed,
    read=read_request,
    encoder=_encoder,
    body=_body,
    error=error_body,
)
