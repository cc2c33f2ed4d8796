"""What MCP says, in our words: results of calls, listed tools, and the messages of a sampling request."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from ..events import Image, Message, Text
from ..protocols import Tool
from ._tool import Content

if TYPE_CHECKING:
    import mcp.types

NOTHING = "The tool returned nothing."
SILENT_FAILURE = "The tool failed and did not say why."

DESCRIPTION_LIMIT = 64 * 1024
"""Characters of a tool's description that are kept: each is paid for in every request."""


def content_of(result: mcp.types.CallToolResult) -> Content:
    """A result as text, or as texts and images in their order where there are images.

    Texts that follow each other become one, a line apart. `structured_content` is a copy of the content for programs: it is
    used only where there is nothing else.
    """
    parts = [part for block in result.content if (part := _part(block)) is not None]
    if not parts:
        if result.structured_content is not None:
            return _json(result.structured_content)
        return SILENT_FAILURE if result.is_error else NOTHING
    joined = _joined(parts)
    only = joined[0]
    return only.text if len(joined) == 1 and isinstance(only, Text) else joined


def _joined(parts: Sequence[Text | Image]) -> list[Text | Image]:
    joined: list[Text | Image] = []
    texts: list[str] = []
    for part in parts:
        if isinstance(part, Text):
            texts.append(part.text)
            continue
        if texts:
            joined.append(Text("\n".join(texts)))
            texts = []
        joined.append(part)
    if texts:
        joined.append(Text("\n".join(texts)))
    return joined


def _part(block: mcp.types.ContentBlock) -> Text | Image | None:
    """One block; None for an empty text, which says nothing."""
    match block.type:
        case "text":
            return Text(block.text) if block.text else None
        case "image":
            return _image(block.data, block.mime_type)
        case "audio":
            return _note("audio", block.data, block.mime_type)
        case "resource_link":
            return Text(f"{block.title or block.name}: {block.uri}")
        case "resource":
            resource = block.resource
            text = getattr(resource, "text", None)
            if text is not None:
                return Text(text) if text else None
            return _note("resource", getattr(resource, "blob", ""), resource.mime_type, f" {resource.uri}")


def _image(data: str, media_type: str) -> Text | Image:
    decoded = _decoded(data)
    if not decoded or not media_type.lower().startswith("image/"):
        return _note("image", data, media_type)
    return Image(data=decoded, media_type=media_type)


def _note(what: str, data: str, media_type: str | None, where: str = "") -> Text:
    """What is there that a model cannot be shown."""
    decoded = _decoded(data)
    size = "not valid base64" if decoded is None else f"{len(decoded)} bytes"
    return Text(f"[{what}{where}: {media_type or 'unknown type'}, {size}]")


def _decoded(data: str) -> bytes | None:
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        return None


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()


# ---- what is listed


def spec_of(tool: mcp.types.Tool, name: str) -> Tool:
    """What the model is told of a listed tool, under the name it has on the wire."""
    description = tool.description or tool.title or ""
    return Tool(name, description[:DESCRIPTION_LIMIT], object_schema(tool.input_schema))


def object_schema(schema: object) -> dict[str, object]:
    """The schema of an object: what it is called with, whatever the server forgot to say."""
    if not isinstance(schema, Mapping):
        return {"type": "object", "properties": {}}
    return {**schema, "type": "object"} if schema.get("type") != "object" else dict(schema)


def repair_listing(result: Mapping[str, object]) -> None:
    """Makes the schemas of a raw `tools/list` result those of objects, in place: one that is not would cost all tools."""
    tools = result.get("tools")
    for tool in tools if isinstance(tools, list) else ():
        if isinstance(tool, dict):
            tool["inputSchema"] = object_schema(tool.get("inputSchema"))


# ---- what a server wants a model to be asked


def messages_of(params: mcp.types.CreateMessageRequestParams) -> list[Message]:
    """The conversation of a sampling request."""
    return [_message(message) for message in params.messages]


def _message(message: mcp.types.SamplingMessage) -> Message:
    parts: list[Text | Image] = []
    for block in message.content_as_list:
        match block.type:
            case "text":
                parts.append(Text(block.text))
            case "image":
                parts.append(_image(block.data, block.mime_type))
            case "audio":
                parts.append(_note("audio", block.data, block.mime_type))
            case _:
                parts.append(Text(f"[{block.type}]"))  # tools in sampling: never asked for, as we do not offer them
    if len(parts) == 1 and isinstance(parts[0], Text):
        return Message(message.role, parts[0].text)
    return Message(message.role, list(parts))


def options_of(params: mcp.types.CreateMessageRequestParams) -> dict[str, object]:
    """The options of a sampling request, named as `Client.complete` names them; without what the server left open."""
    given: dict[str, object] = {
        "system": params.system_prompt,
        "max_tokens": params.max_tokens,
        "temperature": params.temperature,
        "stop": params.stop_sequences,
    }
    return {name: value for name, value in given.items() if value is not None and value != []}
