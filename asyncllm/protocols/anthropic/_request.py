"""A Request as the body and the headers of POST /messages.

Source: the Anthropic API reference (create a message, versions, beta headers) and the parameter types of its SDK.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ...events import InvalidRequestError
from .._body import distinct_names, merge, written
from .._codec import Encoded
from .._history import schema_prompt
from .._reasoning import budget_of, effort_of
from .._request import Request, Tool
from ._quirks import MessagesQuirks
from ._schema import NotInSubset, adapt_schema
from ._turns import Block, Conversation

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
LEAST_BUDGET = 1024
NO_SAMPLING_SINCE = "2026-10-21"
"""The version of the API from which on temperature and top_p are refused, whatever the model."""

_UNCACHED = frozenset({"thinking", "redacted_thinking"})
"""Blocks that cannot carry a cache mark."""


def encode_request(request: Request, quirks: MessagesQuirks, provider: str) -> Encoded:
    """Raises :class:`InvalidRequestError` for what cannot be said; what can be left out harmlessly becomes a warning."""
    said = Conversation(provider)
    said.add(request.messages)
    if not said.turns:
        raise InvalidRequestError("there is nothing to send: no messages")
    if request.system and request.system.strip():  # blanks are refused
        said.system.insert(0, request.system)
    body: dict[str, Any] = {"model": request.model, "max_tokens": _max_tokens(request, quirks), "stream": True}
    _thinking(request, quirks, body, said.warnings)
    _sampling(request, quirks, provider, body, said.warnings)
    _output(request, quirks, provider, body, said)
    _tools(request, quirks, provider, body, said.warnings)
    if request.stop:
        body["stop_sequences"] = list(request.stop)
    if said.system:
        body["system"] = said.system[0] if len(said.system) == 1 else [_text(text) for text in said.system]
    body["messages"] = said.turns
    if request.cache is not None:
        _mark(body, {"type": "ephemeral", "ttl": request.cache})
    body["messages"] = [_shortened(turn) for turn in said.turns]
    merge(body, request.extra_body)
    headers = {"anthropic-version": quirks.version}
    if betas := list(dict.fromkeys([*quirks.betas, *said.betas])):
        headers["anthropic-beta"] = ",".join(betas)
    return Encoded("/messages", written(body), headers, tuple(said.warnings))


def _max_tokens(request: Request, quirks: MessagesQuirks) -> int:
    """The field is required. Thinking counts, so that a budget comes on top of what the answer may have."""
    if request.max_tokens is not None:
        return request.max_tokens
    budget = request.reasoning if isinstance(request.reasoning, int) and quirks.thinking != "adaptive" else 0
    return quirks.max_tokens + budget


def _thinking(request: Request, quirks: MessagesQuirks, body: dict[str, Any], warnings: list[str]) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    if wanted in ("none", 0):
        body["thinking"] = {"type": "disabled"}
        return
    if quirks.thinking == "enabled" or (quirks.thinking is None and isinstance(wanted, int)):
        budget = max(LEAST_BUDGET, budget_of(wanted))
        if wanted != budget and isinstance(wanted, int):
            warnings.append(f"the least budget for thinking is {LEAST_BUDGET} tokens: {wanted} was raised")
        if not isinstance(wanted, int) and budget >= body["max_tokens"]:
            budget = max(LEAST_BUDGET, body["max_tokens"] // 2)  # it must leave room for the answer
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}
    else:
        effort = effort_of(wanted)
        if effort == "minimal":
            effort = "low"
            warnings.append("the least effort for thinking is 'low': 'minimal' was raised")
        body["thinking"] = {"type": "adaptive"}
        body["output_config"] = {"effort": effort}
    if quirks.display is not None:
        body["thinking"]["display"] = quirks.display


def _sampling(
    request: Request, quirks: MessagesQuirks, provider: str, body: dict[str, Any], warnings: list[str]
) -> None:
    understood = quirks.sampling and quirks.version < NO_SAMPLING_SINCE
    thinks = body.get("thinking", {}).get("type") in ("enabled", "adaptive")
    for name in ("temperature", "top_p"):
        value = getattr(request, name)
        if value is None:
            continue
        if not understood:
            warnings.append(f"{name} is not supported by {provider} here and was left out")
        elif thinks and name == "temperature" and value != 1:
            warnings.append(f"{name} cannot be chosen where the model thinks and was left out")
        else:
            body[name] = value
    if request.seed is not None:
        warnings.append(f"seed is not supported by {provider} and was left out")


def _output(request: Request, quirks: MessagesQuirks, provider: str, body: dict[str, Any], said: Conversation) -> None:
    wanted = request.output
    if wanted is None:
        return
    why = f"{provider} has no JSON Schema output"
    if quirks.output == "json_schema":
        try:
            schema, moved = adapt_schema(wanted.schema)
        except NotInSubset as error:
            why = f"{provider} cannot enforce {error} in a JSON Schema"
        else:
            body.setdefault("output_config", {})["format"] = {"type": "json_schema", "schema": schema}
            if moved:
                said.warnings.append(
                    f"{provider} does not enforce {', '.join(sorted(moved))} in a JSON Schema: the model is told"
                )
            return
    said.system.append(schema_prompt(wanted))
    said.warnings.append(f"{why}: the schema is in the prompt, and the answer is checked here")


# ---- tools


def _tools(request: Request, quirks: MessagesQuirks, provider: str, body: dict[str, Any], warnings: list[str]) -> None:
    tools = [_tool(tool, quirks, provider, warnings) for tool in request.tools]
    names = distinct_names(request.tools)
    if tools or quirks.server_tools:
        body["tools"] = [*tools, *map(dict, quirks.server_tools)]
    choice = request.tool_choice
    if choice is None:
        return
    if choice in ("auto", "none"):
        if "tools" in body:  # without tools there is nothing to choose, and the field is refused
            body["tool_choice"] = {"type": choice}
    elif choice == "required":
        if "tools" not in body:
            raise InvalidRequestError("tool_choice 'required' needs tools")
        body["tool_choice"] = {"type": "any"}
    elif choice in names or any(tool.get("name") == choice for tool in quirks.server_tools):
        body["tool_choice"] = {"type": "tool", "name": choice}
    else:
        known = ", ".join(names) or "there are none"
        raise InvalidRequestError(f"tool_choice {choice!r} is not auto, none, required or the name of a tool ({known})")


def _tool(tool: Tool, quirks: MessagesQuirks, provider: str, warnings: list[str]) -> Block:
    if not TOOL_NAME.fullmatch(tool.name):
        raise InvalidRequestError(f"tool name {tool.name!r}: 1 to 128 letters, digits, _ and - are allowed")
    schema: Mapping[str, Any] = tool.parameters or {"type": "object", "properties": {}}
    out: Block = {"name": tool.name, "input_schema": schema}
    if tool.description:
        out["description"] = tool.description
    if tool.strict and not quirks.strict_tools:
        warnings.append(f"strict tools are not supported by {provider}: {tool.name!r} is sent without strict")
    elif tool.strict:
        try:
            out["input_schema"], moved = adapt_schema(schema)
        except NotInSubset as error:
            warnings.append(f"{provider} cannot enforce {error}: {tool.name!r} is sent without strict")
            return out
        out["strict"] = True
        if moved:
            warnings.append(f"{provider} does not enforce {', '.join(sorted(moved))} in tool {tool.name!r}")
    elif tool.strict is not None and quirks.strict_tools:
        out["strict"] = False
    return out


# ---- the cache, and the form of the body


def _mark(body: dict[str, Any], mark: Mapping[str, str]) -> None:
    """Breakpoints after the tools, after the system prompt and after the conversation: what came before each is cached."""
    if tools := body.get("tools"):
        tools[-1] = {**tools[-1], "cache_control": mark}
    if system := body.get("system"):
        blocks = [_text(system)] if isinstance(system, str) else system
        body["system"] = [*blocks[:-1], {**blocks[-1], "cache_control": mark}]
    blocks = body["messages"][-1]["content"]
    for at in range(len(blocks) - 1, -1, -1):
        if blocks[at]["type"] not in _UNCACHED:
            blocks[at] = {**blocks[at], "cache_control": mark}
            break


def _text(text: str) -> Block:
    return {"type": "text", "text": text}


def _shortened(turn: Block) -> Block:
    """A turn of one plain text as a string: every imitation of the API takes that."""
    blocks: Iterable[Block] = turn["content"]
    match blocks:
        case [{"type": "text", "text": str(text), **more}] if not more:
            return {"role": turn["role"], "content": text}
    return turn
