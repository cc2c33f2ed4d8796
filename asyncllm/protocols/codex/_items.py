"""What Codex does in a turn (its items) as calls of tools that it runs itself, and their results.

The app-server and `codex exec` name the same things in camelCase and in snake_case.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from ...events import Image, Text, ToolCall, ToolResult
from .._json import parse_json, to_json

_HUMP = re.compile(r"(?<=[a-z0-9])([A-Z])")

_COMMANDS = frozenset({"exec_command", "shell", "shell_command", "local_shell", "apply_patch", "write_stdin"})

DENIED = "denied: what this tool may do is limited by the sandbox and the approval policy"
"""The result of a call that was declined, where Codex says no more."""


def kind_of(item: Mapping[str, Any]) -> str:
    """The type of an item, in snake_case."""
    kind = item.get("type")
    return _snake(kind) if isinstance(kind, str) else ""


def call_of(item: Mapping[str, Any]) -> ToolCall | None:
    """The call that an item is; None for an item that is none."""
    kind, id = kind_of(item), item.get("id")
    if not isinstance(id, str) or not id:
        return None
    name: str = kind
    arguments: dict[str, object]
    match kind:
        case "command_execution":
            arguments = {"command": item.get("command", "")}
        case "file_change":
            arguments = {"changes": _changes(item.get("changes"))}
        case "mcp_tool_call":
            name = f"mcp__{item.get('server', '')}__{item.get('tool', '')}"
            given = item.get("arguments")
            arguments = dict(given) if isinstance(given, Mapping) else {} if given is None else {"value": given}
        case "web_search":
            arguments = {"query": item.get("query") or ""}
        case "image_view":
            arguments = {"path": item.get("path", "")}
        case "collab_agent_tool_call" | "collab_tool_call":
            name = f"agent_{_snake(str(item.get('tool', '')))}"
            arguments = {"prompt": prompt} if (prompt := item.get("prompt")) else {}
        case _:
            return None
    return ToolCall(id, name, arguments, to_json(arguments), executed=True)


def result_of(item: Mapping[str, Any], call: ToolCall) -> ToolResult:
    """What came of it, once it is over."""
    status = _snake(str(item.get("status") or ""))
    content: str | list[Text | Image]
    failed = status in ("failed", "declined")
    match kind_of(item):
        case "command_execution":
            code = _get(item, "exit_code")
            output = _get(item, "aggregated_output")
            content = output if isinstance(output, str) else ""
            failed = failed or (isinstance(code, int) and code != 0)
            if not content and failed and status != "declined":
                content = f"exit code {code}" if code is not None else "failed"
        case "mcp_tool_call":
            content, failed = _mcp(item, failed)
        case "file_change":
            content = "\n".join(f"{change['kind']} {change['path']}" for change in _changes(item.get("changes")))
        case "web_search":
            results = item.get("results")
            content = to_json(results) if results else ""
        case "collab_agent_tool_call" | "collab_tool_call":
            content = _agents(_get(item, "agents_states"))
        case _:
            content = ""
    if status == "declined" and not content:
        content = DENIED
    return ToolResult(call.id, call.name, content, is_error=failed)


def image_of(item: Mapping[str, Any]) -> Image | None:
    """The image that an item made."""
    data = item.get("result")
    if kind_of(item) != "image_generation" or not isinstance(data, str) or not data:
        return None
    try:
        return Image(data=base64.b64decode(data, validate=True))
    except binascii.Error:
        return None


def raw_call(item: Mapping[str, Any], id: str) -> ToolCall:
    """A call as the model made it, of one of Codex's own tools."""
    name, given = str(item.get("name") or "tool"), item.get("arguments", item.get("input"))
    raw = given if isinstance(given, str) else to_json(given)
    try:
        parsed = parse_json(raw)
    except ValueError:
        parsed = None
    arguments: dict[str, object] = parsed if isinstance(parsed, dict) else {"input": raw}
    return ToolCall(id, name, arguments, raw, executed=True)


def raw_result(item: Mapping[str, Any], call: ToolCall) -> ToolResult:
    """What the model was answered to it. A command of which nothing else is told was refused, or stopped by the sandbox."""
    output = item.get("output")
    if isinstance(output, list):
        texts = [part.get("text") for part in output if isinstance(part, Mapping)]
        output = "\n".join(text for text in texts if isinstance(text, str))
    text = output if isinstance(output, str) else ""
    failed = call.name in _COMMANDS and "exited with code 0\n" not in text
    return ToolResult(call.id, call.name, text, is_error=failed or text.startswith("unsupported call"))


def _mcp(item: Mapping[str, Any], failed: bool) -> tuple[str | list[Text | Image], bool]:
    error = item.get("error")
    if isinstance(error, Mapping):
        return str(error.get("message") or "failed"), True
    result = item.get("result")
    parts: list[Text | Image] = []
    listed = result.get("content") if isinstance(result, Mapping) else None
    for part in listed if isinstance(listed, list) else ():
        if not isinstance(part, Mapping):
            continue
        if isinstance(text := part.get("text"), str):
            parts.append(Text(text))
        elif part.get("type") == "image" and isinstance(data := part.get("data"), str):
            try:
                parts.append(Image(data=base64.b64decode(data), media_type=str(part.get("mimeType", "image/png"))))
            except binascii.Error:
                parts.append(Text("[image]"))
        else:
            parts.append(Text(to_json(part)))
    if any(isinstance(part, Image) for part in parts):
        return parts, failed
    return "\n".join(part.text for part in parts if isinstance(part, Text)), failed


def _agents(states: object) -> str:
    """What the sub-agents have come to, and said: nothing else of theirs is told."""
    lines: list[str] = []
    for thread, state in states.items() if isinstance(states, Mapping) else ():
        if isinstance(state, Mapping):
            said = state.get("message")
            lines.append(f"{thread} {_snake(str(state.get('status', '')))}{f': {said}' if said else ''}")
    return "\n".join(lines)


def _changes(given: object) -> list[dict[str, object]]:
    changes: list[dict[str, object]] = []
    for change in given if isinstance(given, list) else ():
        if isinstance(change, Mapping):
            kind = change.get("kind")
            changes.append(
                {
                    "path": change.get("path", ""),
                    "kind": kind.get("type", "update") if isinstance(kind, Mapping) else kind or "update",
                    **({"diff": diff} if isinstance(diff := change.get("diff"), str) else {}),
                }
            )
    return changes


def _get(item: Mapping[str, Any], name: str) -> Any:
    first, *rest = name.split("_")
    return item.get(name, item.get(first + "".join(word.capitalize() for word in rest)))


def _snake(name: str) -> str:
    return _HUMP.sub(lambda found: f"_{found[1].lower()}", name)
