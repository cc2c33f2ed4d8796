"""The Responses wire as its server has it: a body becomes a Request, and an answer becomes events or one response."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping
from typing import Any

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
    StreamEvent,
    Text,
    ToolCall,
    ToolResult,
    parse_call,
)
from .._json import to_json
from .._request import OutputSchema, Request, Tool
from .._server_side import ServerSide
from ..openai_chat._encode import error_body
from . import _builtin
from ._encode import ResponsesEncoder, response_body
from ._wire import object_of, objects, text_of

PROVIDER = "openai-responses"
"""Whose the opaque state of the items is that clients send."""

_MODEL_SAYS = frozenset({"reasoning", "function_call", "custom_tool_call", "message"}) | _builtin.KNOWN
_RESULTS = frozenset({"function_call_output", "custom_tool_call_output", *_builtin.CALLER_RUNS.values()})
_FUNCTION = frozenset({"type", "call_id", "name", "arguments", "input", "status"})


def read_request(path: str, body: Mapping[str, Any]) -> Request:
    """What a body asks for. Raises :class:`InvalidRequestError` in the words of the API."""
    model, given = body.get("model"), body.get("input")
    if not isinstance(model, str) or not model:
        raise _refusal("you must provide a model parameter", "missing_required_parameter")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    elsewhere = any(body.get(name) for name in ("previous_response_id", "conversation", "prompt"))
    if not isinstance(given, list) and not (given is None and elsewhere):
        raise _refusal("Missing required parameter: 'input'.", "missing_required_parameter")
    if not given and not elsewhere:
        raise _refusal("Invalid 'input': a text, or a list of at least one item, is expected.", "invalid_value")
    return Request(
        model=model,
        messages=tuple(_Reader().messages(given or [])),
        system=body.get("instructions") or None,
        tools=tuple(_tool(tool) for tool in objects(body.get("tools")) if tool.get("type") == "function"),
        tool_choice=_choice(body.get("tool_choice")),
        output=_output(object_of(object_of(body.get("text")).get("format"))),
        max_tokens=body.get("max_output_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        reasoning=object_of(body.get("reasoning")).get("effort"),
    )


def _refusal(message: str, code: str) -> InvalidRequestError:
    return InvalidRequestError(message, status=400, code=code)


class _Reader:
    """Items to messages: what the model said in a row is one turn, and so are the results in a row."""

    def __init__(self) -> None:
        self._calls: dict[str, ToolCall] = {}
        self._messages: list[Message] = []

    def messages(self, items: list[Any]) -> list[Message]:
        for at, item in enumerate(items):
            if not isinstance(item, dict):
                raise _refusal(f"Invalid 'input[{at}]': an object is expected.", "invalid_value")
            self._item(item, f"input[{at}]")
        return [_plain(message) for message in self._messages]

    def _item(self, item: dict[str, Any], where: str) -> None:
        kind, role = text_of(item.get("type")) or "message", item.get("role")
        if kind == "message" and role in ("user", "system", "developer"):
            content = item.get("content")
            said: str | list[Part] = content if isinstance(content, str) else _parts(content, where)
            self._messages.append(Message("user" if role == "user" else "system", said))
        elif kind == "message" and role != "assistant":
            raise _refusal(f"Invalid value: {role!r} for '{where}.role'.", "invalid_value")
        elif kind in _RESULTS:
            self._add("tool", [self._result(kind, item)])
        elif kind in _MODEL_SAYS or kind.endswith("_output"):
            self._add("assistant", self._said(kind, item, where))
        else:
            self._add("assistant", [Reasoning("", _state(item))])

    def _add(self, role: Role, parts: list[Part]) -> None:
        last = self._messages[-1] if self._messages else None
        if last is not None and last.role == role and isinstance(last.content, list):
            last.content.extend(parts)
        else:
            self._messages.append(Message(role, parts))

    def _said(self, kind: str, item: dict[str, Any], where: str) -> list[Part]:
        if kind == "message":
            content = item.get("content")
            texts = content if isinstance(content, str) else "".join(_texts(content))
            kept = {name: item[name] for name in ("id", "phase") if item.get(name)}
            return [Text(texts, _state(kept) if kept else None)]
        if kind == "reasoning":
            thoughts = [part for name in ("summary", "content") for part in _texts(item.get(name))]
            return [Reasoning("\n\n".join(thoughts), _state(item))]
        if kind in ("function_call", "custom_tool_call"):
            kept = {name: value for name, value in item.items() if name not in _FUNCTION}
            raw = text_of(item.get("arguments"))
            if kind == "custom_tool_call":
                raw, kept = to_json({"input": text_of(item.get("input"))}), {**kept, "type": kind}
            call = parse_call(text_of(item.get("call_id")), text_of(item.get("name")), raw)
            state = _state(kept) if kept else None
            call = self._calls[call.id] = ToolCall(call.id, call.name, call.arguments, raw, call.invalid, state)
            return [call]
        if kind in _builtin.KNOWN:
            made = _builtin.events_of(item, _builtin.call_id_of(item), PROVIDER)
            parts: list[Part] = [part for part in made if isinstance(part, Image | ToolCall | ToolResult)]
            for part in parts:
                if isinstance(part, ToolCall):
                    self._calls[part.id] = part
            return parts
        if (call := self._calls.get(text_of(item.get("call_id")))) is not None:  # type: ignore[assignment]
            return [_builtin.output_of(item, call, PROVIDER)]
        return [Reasoning("", _state(item))]

    def _result(self, kind: str, item: dict[str, Any]) -> ToolResult:
        id = text_of(item.get("approval_request_id")) or text_of(item.get("call_id")) or text_of(item.get("id"))
        call = self._calls.get(id)
        output = item.get("output", item.get("approve"))
        content: str | list[Text | Image] = ""
        if isinstance(output, str):
            content = output
        elif kind in ("function_call_output", "custom_tool_call_output"):
            content = [part for part in _parts(output, "output") if isinstance(part, Text | Image)]
        elif output is not None:
            content = to_json(output)
        return ToolResult(id, call.name if call is not None else "", content)


def _plain(message: Message) -> Message:
    """A turn of nothing but text is its text."""
    if isinstance(message.content, list) and len(message.content) == 1 and message.role == "assistant":
        only = message.content[0]
        if isinstance(only, Text) and only.state is None:
            return Message(message.role, only.text)
    return message


def _state(item: dict[str, Any]) -> ProviderState:
    return ProviderState(PROVIDER, {"item": item})


def _texts(content: object) -> list[str]:
    return [text_of(part.get("text")) for part in objects(content)]


def _parts(content: object, where: str) -> list[Part]:
    if not isinstance(content, list):
        raise _refusal(f"Invalid type for '{where}.content'.", "invalid_type")
    return [_part(item, f"{where}.content[{at}]") for at, item in enumerate(content)]


def _part(given: object, where: str) -> Part:
    item = object_of(given)
    match item.get("type"):
        case "input_text" | "output_text" | "text":
            return Text(text_of(item.get("text")))
        case "input_image":
            url, detail = text_of(item.get("image_url")), item.get("detail")
            if not url.startswith("data:"):
                return Image(url=url, detail=detail)
            media, data = _data(url, where)
            return Image(data=data, media_type=media, detail=detail)
        case "input_audio":
            sound = object_of(item.get("input_audio"))
            return Audio(_bytes(text_of(sound.get("data")), where), text_of(sound.get("format")) or "wav")
        case "input_file":
            name = text_of(item.get("filename")) or "file"
            if isinstance(id := item.get("file_id"), str):
                return File(file_id=id, name=name)
            media, data = _data(text_of(item.get("file_data")), where)
            return File(data=data, name=name, media_type=media)
    raise _refusal(f"Invalid value: {item.get('type')!r} for '{where}.type'.", "invalid_value")


def _data(url: str, where: str) -> tuple[str, bytes]:
    head, comma, data = url.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise _refusal(f"Invalid '{where}': a URL of the form data:<type>;base64,<data> is expected.", "invalid_value")
    return head[5:-7], _bytes(data, where)


def _bytes(data: str, where: str) -> bytes:
    try:
        return base64.b64decode(data, validate=True)
    except binascii.Error as error:
        raise _refusal(f"Invalid '{where}': the data is not base64: {error}", "invalid_base64") from None


def _tool(tool: dict[str, Any]) -> Tool:
    strict = True if tool.get("strict") is True else None
    return Tool(text_of(tool.get("name")), text_of(tool.get("description")), object_of(tool.get("parameters")), strict)


def _choice(value: object) -> str | None:
    if isinstance(value, Mapping):
        name = value.get("name")
        return name if isinstance(name, str) else None
    return value if isinstance(value, str) else None


def _output(form: dict[str, Any]) -> OutputSchema | None:
    if form.get("type") != "json_schema" or not isinstance(schema := form.get("schema"), Mapping):
        return None
    return OutputSchema(str(form.get("name") or "output"), schema, form.get("strict") is True)


def _streamed(path: str, body: Mapping[str, Any]) -> bool:
    return body.get("stream") is True


def _encoder(request: Request, body: Mapping[str, Any]) -> ResponsesEncoder:
    echo = {name: body[name] for name in ("background", "store") if isinstance(body.get(name), bool)}
    return ResponsesEncoder(model=request.model, echo=echo)


def _body(events: Iterable[StreamEvent], request: Request) -> bytes:
    return response_body(events, model=request.model)


SERVER = ServerSide(
    framing="sse",
    streamed=_streamed,
    read=read_request,
    encoder=_encoder,
    body=_body,
    error=error_body,
)
