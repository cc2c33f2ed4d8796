"""The conversation as `contents`: turns that alternate, parts in their order, each with the signature it came with.

Sources: the Gemini API reference (Content, Part), the pages on thought signatures and function calling.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
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
    Text,
    ToolCall,
    ToolResult,
)
from .._history import executed_elsewhere, own, turns
from ._quirks import generation

UNSIGNED = "skip_thought_signature_validator"
"""What Google documents for calls that no Gemini model made (they come from another provider, or from nowhere): since
Gemini 3 a turn of tools whose first call has no signature is refused."""

_FILES = "https://generativelanguage.googleapis.com/v1beta/"

_IMAGES = {
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "png": "image/png",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "heif": "image/heif",
}

_EXECUTED = ("executableCode", "codeExecutionResult", "toolCall", "toolResponse")


class Conversation:
    """Messages to contents. Results find their calls by id, and stand in the order of the calls."""

    def __init__(self, provider: str, model: str, warnings: list[str]) -> None:
        self._provider = provider
        self._newer = generation(model) >= (3, 0)
        self._warnings = warnings
        self._calls: dict[str, _Call] = {}
        self._waiting: list[_Call] = []  # calls without a result so far
        self._count = 0
        self._executed: set[str] = set()  # calls of other providers' own tools, which are left out
        self.system: list[str] = []
        self.contents: list[dict[str, Any]] = []

    def add(self, messages: Iterable[Message]) -> None:
        for message in messages:
            if message.name is not None:
                self._warn("names of messages are not supported and were left out")
        for role, parts in turns(messages):
            if role == "system":
                self._system(parts)
            elif role == "assistant":
                self._append("model", [said for part, where in parts if (said := self._made(part, where)) is not None])
            else:
                self._append("user", self._given(parts))
        if self._newer:
            self._sign()

    def _append(self, role: str, parts: list[dict[str, Any]]) -> None:
        if not parts:
            return
        if self.contents and self.contents[-1]["role"] == role:  # what was between them was left out
            self.contents[-1]["parts"] += parts
        else:
            self.contents.append({"role": role, "parts": parts})

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)

    def _system(self, parts: list[tuple[Part, str]]) -> None:
        for part, where in parts:
            if not isinstance(part, Text):
                raise InvalidRequestError(f"{where}: a system message holds text, not {type(part).__name__}")
            if self.contents:
                self._warn(f"{where}: there is one system instruction, before the conversation: moved there")
            self.system.append(part.text)

    # ---- the model's turns

    def _made(self, part: Part, where: str) -> dict[str, Any] | None:
        mine = own(part.state, self._provider)
        signed = {"thoughtSignature": mine["thoughtSignature"]} if "thoughtSignature" in mine else {}
        match part:
            case Text(text=text):
                return {"text": text, **signed} if text or signed else None
            case Reasoning(text=text):
                return {"text": text, "thought": True, **signed} if signed else None  # a summary alone says nothing
            case ToolCall() if executed_elsewhere(part, self._provider):
                self._executed.add(part.id)
                self._left_out(part, where)
            case ToolCall(executed=True) | ToolResult() if name := next((n for n in _EXECUTED if n in mine), ""):
                return {name: mine[name], **signed}
            case ToolCall():
                return self._call(part, mine, signed)
            case ToolResult():
                if executed_elsewhere(part, self._provider) or part.id in self._executed:
                    self._left_out(part, where)
                else:
                    raise InvalidRequestError(f"{where}: results of tools go in a message of role 'tool'")
            case Image() | Audio() | File():
                thought = {"thought": True} if mine.get("thought") is True else {}
                try:
                    return {**self._media(part, where), **thought, **signed}
                except InvalidRequestError:
                    self._left_out(part, where)  # another provider's file
        return None

    def _left_out(self, part: Part, where: str) -> None:
        self._warn(f"{where}: the assistant's {type(part).__name__} is another provider's and was left out")

    def _call(self, part: ToolCall, mine: Mapping[str, object], signed: dict[str, Any]) -> dict[str, Any]:
        given = mine.get("id")
        call = _Call(self._count, legal_name(part.name), given if isinstance(given, str) else "")
        self._count += 1
        self._calls[part.id] = call
        self._waiting.append(call)
        body: dict[str, Any] = {"id": call.given} if call.given else {}
        return {"functionCall": {**body, "name": call.name, "args": part.arguments or {}}, **signed}

    def _sign(self) -> None:
        """In the turn under way (since the user last spoke) the first call of each step needs a signature."""
        for content in reversed(self.contents):
            if content["role"] == "model":
                first = next((part for part in content["parts"] if "functionCall" in part), None)
                if first is not None:
                    first.setdefault("thoughtSignature", UNSIGNED)
            elif not all("functionResponse" in part for part in content["parts"]):
                break

    # ---- the user's turns, and results of tools

    def _given(self, parts: list[tuple[Part, str]]) -> list[dict[str, Any]]:
        results: list[tuple[int, dict[str, Any]]] = []
        beside: list[dict[str, Any]] = []
        rest: list[dict[str, Any]] = []
        for part, where in parts:
            match part:
                case ToolResult():
                    results.append(self._result(part, where, beside))
                case Text(text=text):
                    if text:
                        rest.append({"text": text})
                case Image() | Audio() | File():
                    rest.append(self._media(part, where))
                case Reasoning() | ToolCall():
                    raise InvalidRequestError(f"{where}: a user message cannot hold {type(part).__name__}")
        results.sort(key=lambda item: item[0])
        return [*(body for _, body in results), *beside, *rest]

    def _result(self, part: ToolResult, where: str, beside: list[dict[str, Any]]) -> tuple[int, dict[str, Any]]:
        call = self._find(part)
        name = call.name if call is not None else legal_name(part.name) if part.name else ""
        if not name:
            raise InvalidRequestError(
                f"{where}: the result of {part.id!r} belongs to no call before it, and names no tool"
            )
        body: dict[str, Any] = {"id": call.given} if call is not None and call.given else {}
        body |= {"name": name, "response": response_of(part)}
        if isinstance(part.content, list):
            images = [self._media(item, where) for item in part.content if isinstance(item, Image)]
            if images and self._newer:
                body["parts"] = images
            else:
                beside += images  # before Gemini 3 a response holds no media: they follow it
        return (call.at if call is not None else self._count), {"functionResponse": body}

    def _find(self, part: ToolResult) -> _Call | None:
        """The call of a result: by its id, else the first one of its name that has none."""
        call = self._calls.get(part.id) if part.id else None
        if call is None and part.name:
            name = legal_name(part.name)
            call = next((waiting for waiting in self._waiting if waiting.name == name), None)
        if call in self._waiting:
            self._waiting.remove(call)
        return call

    def _media(self, part: Image | Audio | File, where: str) -> dict[str, Any]:
        match part:
            case Image(url=str() as url) if url.startswith("data:"):
                head, comma, data = url.partition(",")
                if not comma or not head.endswith(";base64"):
                    raise InvalidRequestError(f"{where}: a data: URL of an Image must be base64")
                return {"inlineData": {"mimeType": head[5:-7] or part.media_type, "data": data}}
            case Image():
                if part.detail not in (None, "auto"):
                    self._warn("the detail of images is not supported and was left out")
                if part.url is not None:
                    ending = re.sub(r"[?#].*", "", part.url).rpartition(".")[2].lower()
                    return {"fileData": {"mimeType": _IMAGES.get(ending, part.media_type), "fileUri": part.url}}
                if part.data is None:
                    raise InvalidRequestError(f"{where}: an Image needs a url or data")
                return _inline(part.data, part.media_type)
            case Audio():
                return _inline(part.data, f"audio/{part.format}")
            case File(file_id=str() as uri):
                if uri.startswith("files/"):
                    uri = _FILES + uri
                if "://" not in uri:
                    raise InvalidRequestError(
                        f"{where}: file_id {uri!r} is neither the URI of an uploaded file (https://..., files/...) nor gs://"
                    )
                return {"fileData": {"mimeType": part.media_type, "fileUri": uri}}
            case File():
                if part.data is None:
                    raise InvalidRequestError(f"{where}: a File needs data or a file_id")
                return _inline(part.data, part.media_type)


class _Call:
    """A call of the conversation so far: its place, its name, and the id that this server gave it."""

    __slots__ = ("at", "given", "name")

    def __init__(self, at: int, name: str, given: str) -> None:
        self.at = at
        self.name = name
        self.given = given


def _inline(data: bytes, media_type: str) -> dict[str, Any]:
    return {"inlineData": {"mimeType": media_type, "data": base64.b64encode(data).decode("ascii")}}


def legal_name(name: str) -> str:
    """A tool's name in the letters that this wire takes (other providers take others first)."""
    name = re.sub(r"[^a-zA-Z0-9_.:-]", "_", name)[:64] or "unknown"
    return name if name[0].isalpha() or name[0] == "_" else f"_{name}"[:64]


def response_of(result: ToolResult) -> dict[str, Any]:
    """The result as an object: a JSON object is said as it is, anything else is the `output`, or the `error`."""
    text = (
        result.text
        if isinstance(result.content, str)
        else "".join(part.text for part in result.content if isinstance(part, Text))
    )
    if result.is_error:
        return {"error": text}
    try:
        value = msgspec.json.decode(text) if text[:1] == "{" else None
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        value = None
    return {"output": text} if not isinstance(value, dict) or _ambiguous(value) else value


def _ambiguous(value: Mapping[str, Any]) -> bool:
    return value.keys() <= {"output", "error"}


def result_of(id: str, name: str, response: Mapping[str, Any], images: list[Image]) -> ToolResult:
    """The reverse of :func:`response_of`."""
    failed = response.keys() == {"error"}
    value = response["error"] if failed else response["output"] if response.keys() == {"output"} else response
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    content: str | list[Text | Image] = [*([Text(text)] if text else []), *images] if images else text
    return ToolResult(id, name, content, failed)


def state_of(provider: str, part: Mapping[str, Any], **more: object) -> ProviderState | None:
    """What a part of a model's turn has beside its content."""
    data = {name: value for name, value in {**more, "thoughtSignature": part.get("thoughtSignature")}.items() if value}
    return ProviderState(provider, data) if data else None
