"""A Request as the body of POST /api/chat.

Sources: the API documentation of Ollama (chat, thinking, structured outputs, tool calling) and the types of its server.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any

from ...events import Image, InvalidRequestError, Message, Reasoning, Text, ToolCall, ToolResult
from .._body import distinct_names, merge, written
from .._codec import Encoded
from .._history import executed_elsewhere, own
from .._reasoning import effort_of
from .._request import ReasoningEffort, Request, Tool
from ._quirks import OllamaQuirks

PATH = "/api/chat"

LEVELS: dict[ReasoningEffort, str | bool] = {
    "none": False,
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
    "max": "high",
}


def encode_request(request: Request, quirks: OllamaQuirks, provider: str) -> Encoded:
    """Raises :class:`InvalidRequestError` for what cannot be said; what can be left out harmlessly becomes a warning."""
    warnings: list[str] = []
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _Messages(quirks, provider, warnings).of(request),
        "stream": True,
    }
    if tools := _tools(request, provider, warnings):
        body["tools"] = tools
    if request.output is not None:
        body["format"] = request.output.schema
    if request.reasoning is not None:
        level = LEVELS[effort_of(request.reasoning)]
        body["think"] = level if quirks.think_levels else bool(level)
    if options := _options(request):
        body["options"] = options
    merge(body, request.extra_body)
    return Encoded(PATH, written(body), warnings=tuple(warnings))


def _options(request: Request) -> dict[str, Any]:
    options = {
        "num_predict": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "seed": request.seed,
        "stop": list(request.stop) or None,
    }
    return {name: value for name, value in options.items() if value is not None}


# ---- messages


class _Messages:
    """The conversation, message by message; what was left out of it is among the warnings."""

    def __init__(self, quirks: OllamaQuirks, provider: str, warnings: list[str]) -> None:
        self._quirks = quirks
        self._provider = provider
        self._warnings = warnings
        self._names: dict[str, str] = {}  # of tools, by the id of a call: results from elsewhere may know only that

    def of(self, request: Request) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        if request.system:
            out.append({"role": "system", "content": request.system})
        for at, message in enumerate(request.messages):
            out += self._message(message, f"messages[{at}]")
        if not out:
            raise InvalidRequestError("there is nothing to send: no messages")
        return out

    def _message(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        if message.name:
            self._warnings.append(f"{where}: a message has no name on this wire; {message.name!r} was left out")
        if message.role == "tool":
            yield from self._results(message, where)
        elif message.role == "assistant":
            if turn := self._assistant(message, where):  # a ghost turn, without content, is left out (B9)
                yield {"role": "assistant", **turn}
        else:
            yield {"role": message.role, **self._said(message, where)}

    def _said(self, message: Message, where: str) -> dict[str, Any]:
        texts: list[str] = []
        images: list[str] = []
        for part in message.parts:
            match part:
                case Text(text=text):
                    texts.append(text)
                case Image():
                    images.append(_image(part, where))
                case _:
                    raise InvalidRequestError(
                        f"{where}: {self._provider} takes text and images, not {type(part).__name__}, "
                        f"in a {message.role} message"
                    )
        return _with_images("".join(texts), images)

    def _results(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        for part in message.parts:
            if not isinstance(part, ToolResult):
                raise InvalidRequestError(f"{where}: a tool message holds ToolResult parts, not {type(part).__name__}")
            parts = [Text(part.content)] if isinstance(part.content, str) else part.content
            text = "".join(inner.text for inner in parts if isinstance(inner, Text))
            images = [_image(inner, where) for inner in parts if isinstance(inner, Image)]
            out: dict[str, Any] = {"role": "tool", **_with_images(text, images)}
            if name := part.name or self._names.get(part.id, ""):
                out["tool_name"] = name
            if part.id:
                out["tool_call_id"] = part.id
            yield out

    def _assistant(self, message: Message, where: str) -> dict[str, Any]:
        texts: list[str] = []
        thoughts: list[str] = []
        images: list[str] = []
        calls: list[dict[str, Any]] = []
        for part in message.parts:
            match part:
                case Text(text=text):
                    texts.append(text)
                case Reasoning(text=text, state=state):
                    if self._quirks.echo_reasoning and own(state, self._provider):
                        thoughts.append(text)  # to nobody else (E9)
                case ToolCall(executed=False):
                    calls.append(self._call(part))
                case Image(data=bytes()):
                    images.append(_image(part, where))
                case ToolResult() if not _is_answered(part, message, self._provider):
                    raise InvalidRequestError(f"{where}: results of tools go in a message of role 'tool'")
                case _:  # what another provider's model made or ran: this wire has no place for it
                    self._warnings.append(f"{where}: the assistant's {type(part).__name__} was left out")
        if not texts and not calls and not images:
            return {}
        out = _with_images("".join(texts), images)
        if thoughts:
            out["thinking"] = "".join(thoughts)
        if calls:
            out["tool_calls"] = calls
        return out

    def _call(self, part: ToolCall) -> dict[str, Any]:
        self._names[part.id] = part.name
        call: dict[str, Any] = {"function": {"name": part.name, "arguments": part.arguments or {}}}
        return {"id": part.id, **call} if part.id else call


def _is_answered(part: ToolResult, message: Message, provider: str) -> bool:
    """Whether this is the result of a call of the same message, which its provider ran itself."""
    return executed_elsewhere(part, provider) or any(
        isinstance(call, ToolCall) and call.id == part.id for call in message.parts
    )


def _with_images(text: str, images: list[str]) -> dict[str, Any]:
    return {"content": text, "images": images} if images else {"content": text}


def _image(part: Image, where: str) -> str:
    """Base64, and nothing else: the server fetches no URLs."""
    if part.data is not None:
        return base64.b64encode(part.data).decode()
    head, _, data = (part.url or "").partition(",")
    if head.startswith("data:") and head.endswith(";base64"):
        try:
            return base64.b64encode(base64.b64decode(data, validate=True)).decode()
        except binascii.Error as error:
            raise InvalidRequestError(f"{where}: the data of the Image is not base64: {error}") from None
    if part.url:
        raise InvalidRequestError(f"{where}: this wire takes the bytes of an Image, not its URL; use Image(data=...)")
    raise InvalidRequestError(f"{where}: an Image needs data")


# ---- tools


def _tools(request: Request, provider: str, warnings: list[str]) -> list[dict[str, Any]]:
    distinct_names(request.tools)
    if request.tool_choice not in (None, "auto", "none"):
        raise InvalidRequestError(
            f"{provider} cannot force a tool call (tool_choice={request.tool_choice!r}); use 'auto' or 'none'"
        )
    if request.tool_choice == "none":
        return []  # the wire has no such choice: tools that are not offered are not called
    return [_tool(tool, provider, warnings) for tool in request.tools]


def _tool(tool: Tool, provider: str, warnings: list[str]) -> dict[str, Any]:
    if not tool.name:
        raise InvalidRequestError("a tool needs a name")
    if tool.strict:
        warnings.append(f"strict tools are not supported by {provider}: {tool.name!r} is sent without strict")
    function: dict[str, Any] = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    function["parameters"] = tool.parameters or {"type": "object", "properties": {}}
    return {"type": "function", "function": function}
