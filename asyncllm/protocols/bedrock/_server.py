"""The Converse wire as its server has it: a body becomes a Request, and an answer becomes frames or one object."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from ...events import (
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
from .._request import CacheTTL, OutputSchema, Request, Tool
from .._server_side import ServerSide
from ._encode import ConverseEncoder, converse_body
from ._errors import error_body
from ._media import media_part
from ._thinking import reasoning_from

PROVIDER = "bedrock"
"""Whose opaque state it is that requests bring back."""

_PATH = re.compile(r"/model/([^/]+)/(converse-stream|converse)$")
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")

_READ = frozenset({"messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields"})


def read_request(path: str, body: Mapping[str, Any]) -> Request:
    """What a path and a body ask for. Raises :class:`InvalidRequestError` in the words of the API."""
    found = _PATH.search(path)
    if found is None:
        raise _refusal("The provided model identifier is invalid.")
    model = _ESCAPE.sub(lambda escape: bytes([int(escape[1], 16)]), found[1].encode()).decode("utf-8", "replace")
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise _refusal("A conversation must start with a user message. Try again with a conversation that does.")
    names: dict[str, str] = {}
    messages = [message for at, item in enumerate(given) for message in _messages(item, f"messages.{at}", names)]
    if messages[0].role == "assistant":
        raise _refusal("A conversation must start with a user message. Try again with a conversation that does.")
    inference, config = _object(body.get("inferenceConfig")), _object(body.get("toolConfig"))
    fields, output = _object(body.get("additionalModelRequestFields")), _output(body.get("outputConfig"))
    system = [text for item in _list(body.get("system")) if (text := item.get("text"))]
    return Request(
        model=model,
        messages=tuple(messages),
        system="\n\n".join(system) or None,
        tools=tuple(_tool(spec) for item in _list(config.get("tools")) if (spec := _object(item.get("toolSpec")))),
        tool_choice=_choice(config.get("toolChoice")),
        output=output,
        max_tokens=inference.get("maxTokens"),
        temperature=inference.get("temperature"),
        top_p=inference.get("topP"),
        stop=tuple(inference.get("stopSequences") or ()),
        reasoning=reasoning_from(fields),
        cache=_cache(body),
        extra_body={name: body[name] for name in body if name not in _READ and (name != "outputConfig" or not output)},
    )


def _refusal(message: str) -> InvalidRequestError:
    return InvalidRequestError(message, status=400, code="ValidationException")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


# ---- messages


def _messages(item: object, where: str, names: dict[str, str]) -> Iterator[Message]:
    """A turn as messages: the results in a user's turn come first, and are a message of their own."""
    message = _object(item)
    role, content = message.get("role"), message.get("content")
    if role not in ("user", "assistant", "system") or not isinstance(content, list) or not content:
        raise _refusal(f"The content field in the Message object at {where} is empty. Add a ContentBlock object.")
    parts = [part for at, block in enumerate(_list(content)) for part in _parts(block, f"{where}.content.{at}", names)]
    results: list[Part] = [part for part in parts if isinstance(part, ToolResult)] if role == "user" else []
    rest = [part for part in parts if part not in results]
    if results:
        yield Message("tool", results)
    if rest or not results:
        only = rest[0] if len(rest) == 1 else None
        yield Message(role, only.text if isinstance(only, Text) and only.state is None else rest)


def _parts(block: Mapping[str, Any], where: str, names: dict[str, str]) -> Iterator[Part]:
    if (part := media_part(block, where)) is not None:
        yield part
    elif isinstance(text := block.get("text"), str):
        if not text.strip():
            raise _refusal(f"The text field in the ContentBlock object at {where} is blank. Add text and try again.")
        yield Text(text)
    elif call := _object(block.get("toolUse")):
        yield _call(call, names)
    elif result := _object(block.get("toolResult")):
        yield _result(result, where, names)
    elif thought := _object(block.get("reasoningContent")):
        said = _object(thought.get("reasoningText"))
        state = {name: value for place in (said, thought) for name in _SEALED if (value := place.get(name)) is not None}
        yield Reasoning(str(said.get("text") or ""), ProviderState(PROVIDER, state, closes=True) if state else None)
    elif "cachePoint" not in block:
        raise _refusal(f"The ContentBlock object at {where} is of no known type: {', '.join(block) or 'empty'}.")


_SEALED = ("signature", "redactedContent")


def _call(block: Mapping[str, Any], names: dict[str, str]) -> ToolCall:
    id, name, given = str(block.get("toolUseId") or ""), str(block.get("name") or ""), block.get("input")
    names[id] = name
    kind = block.get("type")
    call = parse_call(id, name, to_json(given) if given else "")
    if kind != "server_tool_use":
        return call
    return msgspec.structs.replace(call, state=ProviderState(PROVIDER, {"type": kind}), executed=True)


def _result(block: Mapping[str, Any], where: str, names: dict[str, str]) -> ToolResult:
    id = str(block.get("toolUseId") or "")
    parts: list[Text | Image] = []
    for at, item in enumerate(_list(block.get("content"))):
        part = media_part(item, f"{where}.toolResult.content.{at}")
        if isinstance(part, Image):
            parts.append(part)
        elif part is None:
            parts.append(Text(item["text"] if isinstance(item.get("text"), str) else to_json(item.get("json"))))
    only = parts[0] if len(parts) == 1 else None
    content = only.text if isinstance(only, Text) else parts
    return ToolResult(id, names.get(id, ""), content, block.get("status") == "error")


# ---- options


def _tool(spec: Mapping[str, Any]) -> Tool:
    schema = _object(_object(spec.get("inputSchema")).get("json"))
    return Tool(str(spec.get("name") or ""), str(spec.get("description") or ""), schema, spec.get("strict"))


def _choice(value: object) -> str | None:
    choice = _object(value)
    if "tool" in choice:
        return str(_object(choice["tool"]).get("name"))
    return "auto" if "auto" in choice else "required" if "any" in choice else None


def _output(value: object) -> OutputSchema | None:
    wanted = _object(_object(_object(_object(value).get("textFormat")).get("structure")).get("jsonSchema"))
    if not wanted:
        return None
    try:
        schema = msgspec.json.decode(str(wanted.get("schema")), type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise _refusal(f"outputConfig.textFormat.structure.jsonSchema.schema is not a JSON object: {error}") from None
    return OutputSchema(str(wanted.get("name") or "output"), schema)


def _cache(body: Mapping[str, Any]) -> CacheTTL | None:
    places = [*_list(body.get("system")), *_list(_object(body.get("toolConfig")).get("tools"))]
    places += [block for message in _list(body.get("messages")) for block in _list(message.get("content"))]
    points = [_object(place.get("cachePoint")) for place in places if "cachePoint" in place]
    if not points:
        return None
    return "1h" if any(point.get("ttl") == "1h" for point in points) else "5m"


# ---- answers


def _streamed(path: str, body: Mapping[str, Any]) -> bool:
    return path.endswith("/converse-stream")


def _encoder(request: Request, body: Mapping[str, Any]) -> ConverseEncoder:
    return ConverseEncoder()


def _body(events: Iterable[StreamEvent], request: Request) -> bytes:
    return converse_body(events)


SERVER = ServerSide(
    framing="event_stream",
    streamed=_streamed,
    read=read_request,
    encoder=_encoder,
    body=_body,
    error=error_body,
)
