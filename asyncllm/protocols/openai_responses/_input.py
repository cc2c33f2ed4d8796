"""Messages as input items. What came from this provider goes back as it came; what came from another, as far as it can be
said here. Source: openai-python 3.52, `types/responses/response_input_item_param.py`.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from typing import Any

from ...events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    Part,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from .._body import written
from .._history import executed_elsewhere, own, safe_id
from .._json import parse_json
from ._builtin import CALLER_RUNS, image_item
from ._quirks import ResponsesQuirks
from ._wire import object_of, objects, text_of

_ANSWERS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output", **CALLER_RUNS}
_CARRIED = ("caller", "namespace")
"""Fields of a call that its output repeats."""

_YES = frozenset({"approve", "approved", "true", "yes"})


def input_items(
    messages: Iterable[Message], provider: str, quirks: ResponsesQuirks, warnings: list[str]
) -> list[dict[str, Any]]:
    """Raises :class:`InvalidRequestError` for what cannot be said, naming its place."""
    return _Writer(provider, quirks, warnings).items(messages)


class _Writer:
    def __init__(self, provider: str, quirks: ResponsesQuirks, warnings: list[str]) -> None:
        self._provider = provider
        self._quirks = quirks
        self._warnings = warnings
        self._called: dict[str, dict[str, Any]] = {}  # what is known of the calls so far, by id

    def items(self, messages: Iterable[Message]) -> list[dict[str, Any]]:
        out: list[dict[str, Any]] = []
        for at, message in enumerate(messages):
            where = f"messages[{at}]"
            if message.name:
                self._warnings.append(f"{where}: names of speakers are not supported by this API: it was left out")
            match message.role:
                case "assistant":
                    out += self._turn(message, where)
                case "tool":
                    out += self._results(message, where)
                case "user" | "system":
                    role = self._quirks.system_role if message.role == "system" else "user"
                    out.append({"role": role, "content": self._content(message, where)})
        return out

    # ---- what the user says

    def _content(self, message: Message, where: str) -> str | list[dict[str, Any]]:
        if isinstance(message.content, str):
            return message.content
        if not message.content:
            raise InvalidRequestError(f"{where} is empty")
        return [_part(part, message.role, where) for part in message.content]

    def _results(self, message: Message, where: str) -> Iterator[dict[str, Any]]:
        for part in message.parts:
            if not isinstance(part, ToolResult):
                raise InvalidRequestError(f"{where}: a tool message holds ToolResult parts, not {type(part).__name__}")
            yield self._result(part)

    def _result(self, result: ToolResult) -> dict[str, Any]:
        said = object_of(own(result.state, self._provider).get("item"))
        if said.get("type"):
            return said
        call = self._called.get(result.id, {})
        kind = _ANSWERS.get(text_of(call.get("type")), "function_call_output")
        id = {"call_id": safe_id(result.id)}
        match kind:
            case "mcp_approval_response":
                approved = not result.is_error and result.text.strip().lower() in _YES
                return {"type": kind, "approval_request_id": result.id, "approve": approved}
            case "computer_call_output":
                image = next((part for part in result.content if isinstance(part, Image)), None)
                screen = {"type": "computer_screenshot", **({"image_url": image.as_url} if image else {})}
                return {"type": kind, **id, "output": screen}
            case "shell_call_output":
                return {"type": kind, **id, "output": _shell(result)}
            case "local_shell_call_output":
                return {"type": kind, "id": result.id, "output": result.text}
            case "apply_patch_call_output":
                status = "failed" if result.is_error else "completed"
                return {"type": kind, **id, "status": status, "output": result.text}
        output: str | list[dict[str, Any]] = result.text
        if not isinstance(result.content, str) and any(isinstance(part, Image) for part in result.content):
            output = [_part(part, "tool", "a tool's result") for part in result.content]
        carried = {name: call[name] for name in _CARRIED if call.get(name)}
        return {"type": kind, **id, "output": output, **carried}

    # ---- what the model said

    def _turn(self, message: Message, where: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        for part in message.parts:
            state = object_of(own(part.state, self._provider).get("item"))
            match part:
                case Text(text=text):
                    items += self._text(text, state)
                case Reasoning():
                    items += [self._as_it_was(state)] if state else []
                case ToolCall(executed=False):
                    items.append(self._call(part, state))
                case ToolCall() | Image() if state.get("type"):
                    item = image_item(part, state) if isinstance(part, Image) else state
                    items.append(self._as_it_was(item))
                case ToolResult() if executed_elsewhere(part, self._provider):
                    self._left_out(part, where)
                case ToolResult(state=None) if any(
                    isinstance(call, ToolCall) and call.id == part.id for call in message.parts
                ):
                    self._left_out(part, where)
                case ToolResult(state=None):
                    raise InvalidRequestError(f"{where}: results of tools go in a message of role 'tool'")
                case ToolResult():  # most results are fields of their call
                    items += [self._as_it_was(state)] if state else []
                case _:
                    self._left_out(part, where)
        while items and items[-1].get("type") == "reasoning":  # refused without what it led to
            items.pop()
        return items

    def _left_out(self, part: Part, where: str) -> None:
        self._warnings.append(f"{where}: the assistant's {type(part).__name__} was left out")

    def _text(self, text: str, state: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if text:  # in full: some servers do not know the short form of the model's own messages
            content = [{"type": "output_text", "text": text, "annotations": []}]
            yield self._as_it_was({"type": "message", "role": "assistant", "content": content, **state})

    def _call(self, call: ToolCall, state: dict[str, Any]) -> dict[str, Any]:
        kind = text_of(state.get("type")) or "function_call"
        self._called[call.id] = {"type": kind, **state}
        if kind in CALLER_RUNS:
            return self._as_it_was(state)
        item = {**state, "type": kind, "call_id": safe_id(call.id), "name": call.name}
        if kind == "custom_tool_call":
            text = (call.arguments or {}).get("input")
            return self._as_it_was({**item, "input": text if isinstance(text, str) else call.raw_arguments})
        arguments = call.raw_arguments or "{}"
        if call.arguments is not None and not call.raw_arguments:
            arguments = written(call.arguments).decode()
        elif call.invalid is not None:
            arguments = "{}"  # what is not JSON would be refused; the result says what was wrong
        return self._as_it_was({**item, "arguments": arguments})

    def _as_it_was(self, item: dict[str, Any]) -> dict[str, Any]:
        if self._quirks.item_ids:
            return item
        return {name: value for name, value in item.items() if name != "id"}


def _shell(result: ToolResult) -> list[dict[str, Any]]:
    """What a local shell gave: a list of the API's own form as JSON, or the text of one command."""
    try:
        given = parse_json(result.text)
    except ValueError:
        given = None
    if objects(given):
        return objects(given)
    text = {"stdout": "", "stderr": result.text} if result.is_error else {"stdout": result.text, "stderr": ""}
    return [{**text, "outcome": {"type": "exit", "exit_code": 1 if result.is_error else 0}}]


def _part(part: Part, role: str, where: str) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "input_text", "text": text}
        case Image():
            if part.url is None and part.data is None:
                raise InvalidRequestError(f"{where}: an Image needs a url or data")
            image: dict[str, Any] = {"type": "input_image", "image_url": part.as_url}
            return image if part.detail is None else {**image, "detail": part.detail}
        case Audio():
            sound = {"data": base64.b64encode(part.data).decode(), "format": part.format}
            return {"type": "input_audio", "input_audio": sound}
        case File(file_id=str() as file_id):
            return {"type": "input_file", "file_id": file_id}
        case File(data=bytes()):
            return {"type": "input_file", "filename": part.name, "file_data": part.as_url}
        case File():
            raise InvalidRequestError(f"{where}: a File needs data or a file_id")
        case Reasoning() | ToolCall() | ToolResult():
            raise InvalidRequestError(f"{where}: a {role} message cannot hold {type(part).__name__}")
