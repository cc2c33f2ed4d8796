"""Items of the provider's own tools, as calls, results and images. The item itself rides along, to be sent back verbatim.

A tool that the provider runs is a ToolCall(executed=True), with its ToolResult if the item holds one. One that the caller
has to run (a computer, a local shell, a patch, an approval) is a ToolCall like any other; its ToolResult goes back as the
kind of item that answers it. Source: openai-python 3.52, `types/responses/response_output_item.py`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from ...events import Image, ProviderState, StreamEvent, Text, ToolCall, ToolResult
from .._json import parse_json, to_json
from ._wire import object_of, objects, text_of

CALLER_RUNS = {
    "computer_call": "computer_call_output",
    "shell_call": "shell_call_output",
    "local_shell_call": "local_shell_call_output",
    "apply_patch_call": "apply_patch_call_output",
    "mcp_approval_request": "mcp_approval_response",
}
"""Items that wait for an answer of the caller, and the type of that answer."""

PROVIDER_RUNS = frozenset(
    {
        "web_search_call",
        "file_search_call",
        "code_interpreter_call",
        "image_generation_call",
        "mcp_call",
        "tool_search_call",
        "shell_call",
    }
)

KNOWN = PROVIDER_RUNS | frozenset(CALLER_RUNS)

_ARGUMENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "web_search_call": lambda item: item.get("action"),
    "file_search_call": lambda item: {"queries": item.get("queries")},
    "code_interpreter_call": lambda item: {"code": item.get("code")},
    "image_generation_call": lambda item: {"prompt": item.get("revised_prompt")},
    "mcp_call": lambda item: item.get("arguments"),
    "tool_search_call": lambda item: item.get("arguments"),
    "computer_call": lambda item: _some(item, "action", "actions", "pending_safety_checks"),
    "shell_call": lambda item: item.get("action"),
    "local_shell_call": lambda item: item.get("action"),
    "apply_patch_call": lambda item: item.get("operation"),
    "mcp_approval_request": lambda item: _some(item, "server_label", "name", "arguments"),
}


def waits_for_caller(item: dict[str, Any]) -> bool:
    """Whether nothing goes on before the caller has done what this item asks for."""
    kind = text_of(item.get("type"))
    if kind == "shell_call":  # in a container of the provider's, or on the caller's machine
        return object_of(item.get("environment")).get("type") != "container_reference"
    return kind in CALLER_RUNS


def call_id_of(item: dict[str, Any]) -> str:
    """By which the result of a call finds it."""
    return text_of(item.get("call_id")) or text_of(item.get("id"))


def events_of(item: dict[str, Any], id: str, provider: str) -> list[StreamEvent]:
    """What a finished item of a built-in tool says. `id` is for the call, unique in its step."""
    kind = text_of(item.get("type"))
    if kind == "image_generation_call" and (image := _image(item, provider)) is not None:
        return [image]
    arguments, raw = _object(_ARGUMENTS[kind](item))
    name = text_of(item.get("name")) if kind == "mcp_call" else kind.removesuffix("_call")
    executed = not waits_for_caller(item)
    invalid = None if arguments is not None else "the arguments are not a JSON object"
    events: list[StreamEvent] = [
        ToolCall(id, name or "mcp", arguments, raw, invalid, ProviderState(provider, {"item": item}), executed)
    ]
    content, is_error = _result(kind, item)
    if executed and (content or is_error):
        events.append(ToolResult(id, name or "mcp", content, is_error, ProviderState(provider, {})))
    return events


def output_of(item: dict[str, Any], call: ToolCall, provider: str) -> ToolResult:
    """The result of a hosted tool whose output is an item of its own (`shell_call_output`, ...)."""
    output = item.get("output", item.get("result", item.get("tools")))
    pieces = [text_of(part.get("stdout")) + text_of(part.get("stderr")) for part in objects(output)]
    text = output if isinstance(output, str) else "".join(pieces) or ("" if output is None else to_json(output))
    return ToolResult(call.id, call.name, text, item.get("status") == "failed", ProviderState(provider, {"item": item}))


def image_item(image: Image, item: dict[str, Any]) -> dict[str, Any]:
    """The item of an image that the model made, whole again."""
    return {**item, "result": base64.b64encode(image.data or b"").decode()}


def _some(item: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: item[name] for name in names if item.get(name) not in (None, [])}


def _object(value: object) -> tuple[dict[str, object] | None, str]:
    """(arguments, raw arguments)"""
    raw = value if isinstance(value, str) else ""
    if isinstance(value, str):
        try:
            value = parse_json(value) if value.strip() else {}
        except ValueError:
            return None, raw
    if isinstance(value, dict):
        return {name: inner for name, inner in value.items() if inner is not None}, raw
    return (None, raw) if value is not None else ({}, raw)


def _image(item: dict[str, Any], provider: str) -> Image | None:
    try:
        data = base64.b64decode(text_of(item.get("result")), validate=True)
    except (binascii.Error, ValueError):
        return None
    if not data:
        return None
    format = text_of(item.get("output_format")) or "png"
    kept = {name: value for name, value in item.items() if name != "result"}
    media_type = "image/svg+xml" if format == "svg" else f"image/{format}"
    return Image(data=data, media_type=media_type, state=ProviderState(provider, {"item": kept}))


def _result(kind: str, item: dict[str, Any]) -> tuple[str | list[Text | Image], bool]:
    """What an item holds of its tool's result, and whether the tool failed."""
    error = item.get("error")
    failed = item.get("status") == "failed" or bool(error)
    if failed:
        said = object_of(error).get("message") or object_of(error).get("content") or error or "the tool failed"
        return said if isinstance(said, str) else to_json(said), True
    match kind:
        case "mcp_call":
            return text_of(item.get("output")), False
        case "web_search_call":
            sources = objects(object_of(item.get("action")).get("sources"))
            return "\n".join(filter(None, (text_of(source.get("url")) for source in sources))), False
        case "file_search_call":
            found = objects(item.get("results"))
            texts = [f"{text_of(one.get('filename'))}: {text_of(one.get('text'))}" for one in found]
            return "\n\n".join(texts), False
        case "code_interpreter_call":
            return _outputs(objects(item.get("outputs"))), False
    return "", False


def _outputs(outputs: list[dict[str, Any]]) -> str | list[Text | Image]:
    parts: list[Text | Image] = []
    for output in outputs:
        if isinstance(logs := output.get("logs"), str):
            parts.append(Text(logs))
        elif isinstance(url := output.get("url"), str):
            parts.append(Image(url=url))
    if any(isinstance(part, Image) for part in parts):
        return parts
    return "".join(part.text for part in parts if isinstance(part, Text))
