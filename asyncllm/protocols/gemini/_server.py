"""The Gemini wire as its server has it: a path and a body become a Request, and an answer becomes chunks or one object."""

from __future__ import annotations

import base64
import binascii
import re
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
    StreamEvent,
    Text,
    ToolCall,
    ToolResult,
    parse_call,
)
from .._json import to_json
from .._request import OutputSchema, ReasoningEffort, Request, Tool
from .._server_side import ServerSide
from ._calls import CODE, dump
from ._contents import UNSIGNED, result_of
from ._encode import GeminiEncoder
from ._errors import error_body
from ._wire import pick, pick_object, pick_objects, pick_text

PROVIDER = "gemini"
"""Whose state a client's signatures are, as the server sees them."""

_METHOD = re.compile(r"/(?:models|tunedModels|endpoints)/([^:]+):(\w+)$")
_CHOICES = {"AUTO": "auto", "NONE": "none", "ANY": "required"}
_LEVELS: dict[str, ReasoningEffort] = {
    "MINIMAL": "minimal",
    "LOW": "low",
    "MEDIUM": "medium",
    "HIGH": "high",
    "XHIGH": "xhigh",
}


def read_request(path: str, body: Mapping[str, Any]) -> Request:
    """What a body asks for. Raises :class:`InvalidRequestError` in the words of the API."""
    found = _METHOD.search(path)
    contents = pick(body, "contents")
    if isinstance(contents, Mapping):
        contents = [contents]
    if not isinstance(contents, list) or not contents or not all(isinstance(item, dict) for item in contents):
        raise _refusal("* GenerateContentRequest.contents: contents is not specified")
    config = pick_object(body, "generationConfig") or {}
    tools = tuple(
        _tool(item, at)
        for group in pick_objects(body, "tools")
        for at, item in enumerate(pick_objects(group, "functionDeclarations"))
    )
    calling = pick_object(pick_object(body, "toolConfig") or {}, "functionCallingConfig") or {}
    mode = pick_text(calling, "mode").upper()
    allowed = pick(calling, "allowedFunctionNames") or []
    if mode == "VALIDATED":
        tools = tuple(Tool(tool.name, tool.description, tool.parameters, strict=True) for tool in tools)
    reader = _Reader()
    return Request(
        model=found[1] if found else "",
        messages=tuple(message for at, item in enumerate(contents) for message in reader.read(item, at)),
        system=_system(pick(body, "systemInstruction")),
        tools=tools,
        tool_choice=str(allowed[0]) if mode == "ANY" and len(allowed) == 1 else _CHOICES.get(mode),
        output=_output(config),
        max_tokens=pick(config, "maxOutputTokens"),
        temperature=pick(config, "temperature"),
        top_p=pick(config, "topP"),
        stop=tuple(pick(config, "stopSequences") or ()),
        seed=pick(config, "seed"),
        reasoning=_reasoning(pick_object(config, "thinkingConfig") or {}),
    )


def _refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, status=400, code="INVALID_ARGUMENT")


def _system(value: object) -> str | None:
    if isinstance(value, str):
        return value or None
    parts = pick_objects(value, "parts") if isinstance(value, Mapping) else []
    return "\n\n".join(pick_text(part, "text") for part in parts) or None


def _tool(data: Mapping[str, Any], at: int) -> Tool:
    name = pick_text(data, "name")
    if not name:
        raise _refusal(f"* GenerateContentRequest.tools[0].function_declarations[{at}].name: [FIELD_INVALID]: empty")
    schema = pick_object(data, "parametersJsonSchema") or pick_object(data, "parameters") or {}
    return Tool(name, pick_text(data, "description"), schema)


def _output(config: Mapping[str, Any]) -> OutputSchema | None:
    schema = pick_object(config, "responseJsonSchema") or pick_object(config, "responseSchema")
    return None if schema is None else OutputSchema("output", schema)


def _reasoning(thinking: Mapping[str, Any]) -> ReasoningEffort | int | None:
    budget = pick(thinking, "thinkingBudget")
    if isinstance(budget, int) and budget >= 0:
        return budget
    return _LEVELS.get(pick_text(thinking, "thinkingLevel").upper())


class _Reader:
    """Contents to messages. A call without an id gets one of its place; a result without one is of the first call of its name
    that has none yet."""

    def __init__(self) -> None:
        self._count = 0
        self._waiting: list[tuple[str, str]] = []  # id and name of calls without results

    def read(self, content: Mapping[str, Any], at: int) -> list[Message]:
        role = content.get("role") or "user"
        if role not in ("user", "model", "function"):
            raise _refusal("Please use a valid role: user, model.")
        model = role == "model"
        parts = [
            part
            for number, item in enumerate(pick_objects(content, "parts"))
            if (part := self._part(item, f"contents[{at}].parts[{number}]", model)) is not None
        ]
        if not parts:
            raise _refusal(f"* GenerateContentRequest.contents[{at}].parts: contents.parts must not be empty.")
        if model:
            return [Message("assistant", _plain(parts))]
        results: list[Part] = [part for part in parts if isinstance(part, ToolResult)]
        said: list[Part] = [part for part in parts if not isinstance(part, ToolResult)]
        messages = [Message("tool", results)] if results else []
        return [*messages, Message("user", _plain(said))] if said else messages

    def _part(self, item: dict[str, Any], where: str, model: bool) -> Part | None:
        signature = pick(item, "thoughtSignature")
        data: dict[str, object] = {"thoughtSignature": signature} if signature and signature != UNSIGNED else {}
        if isinstance(text := item.get("text"), str):
            if item.get("thought") is True:
                return Reasoning(text, _state(data))
            return Text(text, _state(data))
        if (call := pick_object(item, "functionCall")) is not None:
            return self._call(call, data)
        if (result := pick_object(item, "functionResponse")) is not None:
            return self._result(result, where)
        if item.get("thought") is True:
            data = {"thought": True, **data}
        if (blob := pick_object(item, "inlineData")) is not None:
            return _blob(blob, where, _state(data))
        if (file := pick_object(item, "fileData")) is not None:
            kind, uri = pick_text(file, "mimeType"), pick_text(file, "fileUri")
            if kind.startswith("image/"):
                return Image(url=uri, media_type=kind, state=_state(data))
            return File(file_id=uri, media_type=kind or "application/octet-stream", state=_state(data))
        if (code := pick_object(item, "executableCode")) is not None and model:
            arguments: dict[str, object] = {name: code[name] for name in ("language", "code") if name in code}
            state = _state({"executableCode": code, **data})
            made = self._identity(code)
            return ToolCall(made, CODE, arguments, dump(arguments), state=state, executed=True)
        if (outcome := pick_object(item, "codeExecutionResult")) is not None and model:
            failed = pick_text(outcome, "outcome") not in ("", "OUTCOME_OK")
            state = _state({"codeExecutionResult": outcome, **data})
            identity = pick_text(outcome, "id") or f"call_{self._count - 1}"
            return ToolResult(identity, CODE, pick_text(outcome, "output"), failed, state)
        return None

    def _identity(self, data: Mapping[str, Any]) -> str:
        self._count += 1
        return pick_text(data, "id") or f"call_{self._count - 1}"

    def _call(self, call: Mapping[str, Any], data: dict[str, object]) -> ToolCall:
        name = pick_text(call, "name")
        if given := pick_text(call, "id"):
            data = {**data, "id": given}
        identity = self._identity(call)
        self._waiting.append((identity, name))
        return parse_call(identity, name, dump(pick_object(call, "args") or {}), state=_state(data))

    def _result(self, result: Mapping[str, Any], where: str) -> ToolResult:
        given, name = pick_text(result, "id"), pick_text(result, "name")
        match = next((held for held in self._waiting if (held[0] == given if given else held[1] == name)), None)
        if match is not None:
            self._waiting.remove(match)
        images = [
            made
            for item in pick_objects(result, "parts")
            if (blob := pick_object(item, "inlineData")) is not None
            and isinstance(made := _blob(blob, where, None), Image)
        ]
        identity = given or (match[0] if match is not None else "")
        return result_of(identity, name, pick_object(result, "response") or {}, images)


def _plain(parts: list[Part]) -> str | list[Part]:
    only = parts[0] if len(parts) == 1 else None
    return only.text if isinstance(only, Text) and only.state is None else parts


def _state(data: dict[str, object]) -> ProviderState | None:
    return ProviderState(PROVIDER, data) if data else None


def _blob(blob: Mapping[str, Any], where: str, state: ProviderState | None) -> Image | Audio | File:
    kind = pick_text(blob, "mimeType")
    try:
        data = base64.b64decode(pick_text(blob, "data"), validate=True)
    except (binascii.Error, ValueError):
        raise _refusal(f"* {where}.inline_data.data: Base64 decoding failed") from None
    if kind.startswith("image/"):
        return Image(data=data, media_type=kind, state=state)
    if kind.startswith("audio/"):
        return Audio(data, kind.removeprefix("audio/"), state)
    return File(data=data, media_type=kind, state=state)


def _streamed(path: str, body: Mapping[str, Any]) -> bool:
    return path.endswith(":streamGenerateContent")


def _encoder(request: Request, body: Mapping[str, Any]) -> GeminiEncoder:
    return GeminiEncoder(model=request.model)


def _body(events: Iterable[StreamEvent], request: Request) -> bytes:
    return to_json(GeminiEncoder(model=request.model).body(events)).encode()


SERVER = ServerSide(
    framing="sse",
    streamed=_streamed,
    read=read_request,
    encoder=_encoder,
    body=_body,
    error=error_body,
)
