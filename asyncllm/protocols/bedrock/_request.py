"""A Request as the body of POST /model/{modelId}/converse-stream.

Source: the model of the Bedrock runtime (ConverseStreamRequest) and the Converse API reference.
"""

from __future__ import annotations

import re
from typing import Any

from ...events import InvalidRequestError
from .._body import distinct_names, merge, written
from .._codec import Encoded
from .._history import schema_prompt
from .._json import to_json
from .._request import Request, Tool
from ._conversation import TOOL_NAME, Conversation
from ._quirks import BedrockQuirks
from ._thinking import fit_budget, style_of, thinking_fields

ACCEPT = "application/vnd.amazon.eventstream"

_RESERVED = re.compile(r"[^A-Za-z0-9\-._~]")


def encode_request(request: Request, quirks: BedrockQuirks, provider: str) -> Encoded:
    """Raises :class:`InvalidRequestError` for what cannot be said; what can be left out harmlessly becomes a warning."""
    warnings: list[str] = []
    said = Conversation(request.messages, provider, warnings)
    if not said.messages:
        raise InvalidRequestError("there is nothing to send: no messages")
    system = [text for text in (request.system or "", *said.system) if text.strip()]
    body: dict[str, Any] = {"messages": said.messages}
    inference = _inference(request, provider, warnings)
    if request.output is not None:
        _output(request, quirks, provider, body, system, warnings)
    if request.reasoning is not None:
        _reasoning(request, quirks, provider, body, inference, warnings)
    if inference:
        body["inferenceConfig"] = inference
    if tools := _tools(request, said, provider, warnings):
        body["toolConfig"] = tools
    if system:
        body["system"] = [{"text": text} for text in system]
    if request.cache is not None:
        _cache(request, body)
    merge(body, request.extra_body)
    return Encoded(path_of(request.model), written(body), {"accept": ACCEPT}, tuple(warnings))


def path_of(model: str) -> str:
    """The path for a model's id or ARN, in which every character but those never escaped is (`:` is %3A)."""
    escaped = _RESERVED.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), model)
    return f"/model/{escaped}/converse-stream"


def _inference(request: Request, provider: str, warnings: list[str]) -> dict[str, Any]:
    if request.seed is not None:
        warnings.append(f"seed is not supported by {provider} and was left out")
    given = {
        "maxTokens": request.max_tokens,
        "temperature": request.temperature,
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
    }
    return {name: value for name, value in given.items() if value is not None}


def _output(
    request: Request,
    quirks: BedrockQuirks,
    provider: str,
    body: dict[str, Any],
    system: list[str],
    warnings: list[str],
) -> None:
    wanted = request.output
    assert wanted is not None
    if quirks.output == "json_schema":
        schema = {"name": wanted.name, "schema": to_json(wanted.schema)}  # a schema is text on this wire
        body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": schema}}}
        return
    system.append(schema_prompt(wanted))
    warnings.append(f"{provider}: the JSON Schema is in the prompt, and the answer is checked here")


def _reasoning(
    request: Request,
    quirks: BedrockQuirks,
    provider: str,
    body: dict[str, Any],
    inference: dict[str, Any],
    warnings: list[str],
) -> None:
    assert request.reasoning is not None
    style = style_of(request.model) if quirks.thinking == "auto" else quirks.thinking
    fields = thinking_fields(request.reasoning, style) if style is not None else {}
    if not fields:
        why = f"{provider} does not say how {request.model} is told" if style is None else "there is no word for it"
        warnings.append(f"reasoning={request.reasoning!r} was left out: {why} (see the option thinking=)")
        return
    fixed = isinstance(request.reasoning, int)
    fit_budget(fields, inference, fixed=fixed, provider=provider, warnings=warnings)
    body["additionalModelRequestFields"] = fields


# ---- tools


def _tools(request: Request, said: Conversation, provider: str, warnings: list[str]) -> dict[str, Any]:
    tools = list(request.tools)
    names = distinct_names(tools)
    choice = _choice(request, names)
    if request.tool_choice == "none":
        if not said.tools:
            return {}  # the wire has no such choice: tools that are not offered are not called
        warnings.append(f"{provider} has no tool_choice 'none' while tools are in the conversation: it may call one")
    if not tools and said.tools:
        tools = [Tool(name) for name in said.tools]
        warnings.append(f"{provider} wants the tools that were called to be declared: {', '.join(said.tools)}")
    if not tools:
        return {}
    config: dict[str, Any] = {"tools": [_tool(tool) for tool in tools]}
    if choice is not None:
        config["toolChoice"] = choice
    return config


def _choice(request: Request, names: list[str]) -> dict[str, Any] | None:
    choice = request.tool_choice
    if choice is None or choice == "none":
        return None
    if choice == "auto":
        return {"auto": {}}
    if choice == "required":
        if not names:
            raise InvalidRequestError("tool_choice 'required' needs tools")
        return {"any": {}}
    if choice not in names:
        known = ", ".join(names) or "there are none"
        raise InvalidRequestError(f"tool_choice {choice!r} is not auto, none, required or the name of a tool ({known})")
    return {"tool": {"name": choice}}


def _tool(tool: Tool) -> dict[str, Any]:
    if not TOOL_NAME.fullmatch(tool.name):
        raise InvalidRequestError(f"tool name {tool.name!r}: 1 to 64 letters, digits, _ and - are allowed")
    schema = {"type": "object", **tool.parameters} if tool.parameters else {"type": "object", "properties": {}}
    spec: dict[str, Any] = {"name": tool.name, "inputSchema": {"json": schema}}
    if tool.description.strip():
        spec["description"] = tool.description
    if tool.strict is not None:
        spec["strict"] = tool.strict
    return {"toolSpec": spec}


# ---- the rest


def _cache(request: Request, body: dict[str, Any]) -> None:
    """Marks where the prompt may be cached: after what comes before the conversation, and after the last of the user's
    turns. Tools stand before the system prompt, so that one mark covers both."""
    point: dict[str, Any] = {"type": "default"}
    if request.cache != "5m":
        point["ttl"] = request.cache
    mark = {"cachePoint": point}
    if "system" in body:
        body["system"].append(mark)
    elif "toolConfig" in body:
        body["toolConfig"]["tools"].append(mark)
    last = next(message for message in reversed(body["messages"]) if message["role"] == "user")
    last["content"].append(mark)
