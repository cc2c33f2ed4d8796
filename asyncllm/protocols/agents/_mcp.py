"""Our tools as an MCP server, sans-IO: what an agent asks of it, and what it is answered. (MCP 2025-11-25, the part with
tools.)"""

from __future__ import annotations

import base64
from collections.abc import Sequence

from msgspec import Struct

from ...events import Text, ToolResult
from .._request import Tool

VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26", "2024-11-05")
"""Protocol versions that make no difference to a server of tools, the newest first."""

UNKNOWN_METHOD, BAD_PARAMS = -32601, -32602


class Asked(Struct, frozen=True):
    """The agent calls a tool: answer request `id` of it with :func:`answered`. `call` is its own name of the call, where it
    says it."""

    id: object
    name: str
    arguments: dict[str, object]
    call: str = ""


def respond(
    message: dict[str, object], tools: Sequence[Tool], *, name: str, version: str
) -> dict[str, object] | Asked | None:
    """The answer to one JSON-RPC message of the agent, or the call that it makes; None for what wants no answer."""
    method, id = message.get("method"), message.get("id")
    given = message.get("params")
    params: dict[str, object] = given if isinstance(given, dict) else {}
    if id is None or not isinstance(method, str):
        return None  # a notification, or an answer
    match method:
        case "initialize":
            wanted = params.get("protocolVersion")
            return _result(
                id,
                {
                    "protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": name, "version": version},
                },
            )
        case "ping":
            return _result(id, {})
        case "tools/list":
            return _result(id, {"tools": [_described(tool) for tool in tools]})
        case "tools/call":
            called, arguments = params.get("name"), params.get("arguments") or {}
            if not isinstance(called, str) or not isinstance(arguments, dict):
                return _error(id, BAD_PARAMS, "tools/call needs a name, and arguments that are an object")
            if called not in {tool.name for tool in tools}:
                return _error(id, BAD_PARAMS, f"there is no tool {called!r}")
            meta = params.get("_meta")
            call = meta.get("claudecode/toolUseId", "") if isinstance(meta, dict) else ""
            return Asked(id, called, arguments, call if isinstance(call, str) else "")
        case _:
            return _error(id, UNKNOWN_METHOD, f"there is no method {method!r}")


def answered(id: object, result: ToolResult) -> dict[str, object]:
    """The response to a call."""
    parts = [result.content] if isinstance(result.content, str) else result.content
    content: list[dict[str, object]] = []
    for part in parts:
        if isinstance(part, str):
            content.append({"type": "text", "text": part})
        elif isinstance(part, Text):
            content.append({"type": "text", "text": part.text})
        elif part.data is not None:
            data = base64.b64encode(part.data).decode()
            content.append({"type": "image", "data": data, "mimeType": part.media_type})
        else:
            content.append({"type": "text", "text": f"[image: {part.url}]"})
    return _result(id, {"content": content, "isError": result.is_error})


def _described(tool: Tool) -> dict[str, object]:
    schema = dict(tool.parameters)
    schema.setdefault("type", "object")
    return {"name": tool.name, "description": tool.description, "inputSchema": schema}


def _result(id: object, result: dict[str, object]) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id, "result": result}


def _error(id: object, code: int, message: str) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}
