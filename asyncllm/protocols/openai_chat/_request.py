"""A Request as the body of POST /chat/completions, in a server's dialect.

Source: the OpenAI API reference (create chat completion); the dialects are in :class:`ChatQuirks`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
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
from .._body import distinct_names, merge, written
from .._codec import Encoded
from .._history import schema_prompt
from .._reasoning import effort_of
from .._request import Request, Tool
from ._quirks import ChatQuirks

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")


def encode_request(request: Request, quirks: ChatQuirks, provider: str) -> Encoded:
    """Raises :class:`InvalidRequestError` for what cannot be said; what can be left out harmlessly becomes a warning."""
    warnings: list[str] = []
    body: dict[str, Any] = {
        "model": request.model,
        "messages": _messages(request, quirks, provider, warnings),
        "stream": True,
    }
    if quirks.stream_options:
        body["stream_options"] = {"include_usage": True}
    if request.max_tokens is not None:
        body[quirks.max_tokens] = request.max_tokens
    for name in ("temperature", "top_p"):
        if (value := getattr(request, name)) is not None:
            body[name] = value
    if request.seed is not None:
        if quirks.seed:
            body["seed"] = request.seed
        else:
            warnings.append(f"seed is not supported by {provider} and was left out")
    if request.stop:
        body["stop"] = list(request.stop)
    if request.reasoning is not None:
        if quirks.reasoning_effort:
            body["reasoning_effort"] = effort_of(request.reasoning)
        else:
            warnings.append(f"reasoning effort is not supported by {provider} and was left out")
    _tools(request, quirks, provider, body, warnings)
    _output(request, quirks, provider, body, warnings)
    merge(body, request.extra_body)
    if body.get("max_tokens") is not None and body.get("max_completion_tokens") is not None:
        body.pop(quirks.max_tokens if quirks.max_tokens not in request.extra_body else _other(quirks.max_tokens))
    if isinstance(body.get("n"), int) and body["n"] > 1:
        warnings.append("n > 1: only the first choice becomes events; the others are raw events (raw=True)")
    return Encoded("/chat/completions", written(body), warnings=tuple(warnings))


def _other(name: str) -> str:
    return "max_completion_tokens" if name == "max_tokens" else "max_tokens"


# ---- messages


def _messages(request: Request, quirks: ChatQuirks, provider: str, warnings: list[str]) -> list[dict[str, Any]]:
    out: list[dict[str, Any]] = []
    if request.system:
        out.append({"role": quirks.system_role, "content": request.system})
    seen: list[
        dict[str, Any]
    ] = []  # images in results: a tool message has no place for them, and the results are one block
    for at, message in enumerate(request.messages):
        where = f"messages[{at}]"
        if message.role == "tool":
            out += _results(message, where, seen)
            continue
        if seen:
            out += _shown(seen)
        out += _message(message, quirks, provider, where, warnings)
    if seen:
        out += _shown(seen)
    if not out:
        raise InvalidRequestError("there is nothing to send: no messages")
    if request.output is not None and quirks.output != "json_schema":
        out.insert(0, {"role": quirks.system_role, "content": schema_prompt(request.output)})
    return out


def _message(
    message: Message, quirks: ChatQuirks, provider: str, where: str, warnings: list[str]
) -> Iterator[dict[str, Any]]:
    out: dict[str, Any] = {"role": quirks.system_role if message.role == "system" else message.role}
    if message.name:
        out["name"] = message.name
    if message.role == "assistant":
        turn = _assistant(message, quirks, provider, where, warnings)
        if turn:  # a ghost turn, without content, is refused by many servers (B9)
            yield {**out, **turn}
    elif isinstance(message.content, str):
        yield {**out, "content": message.content}
    else:
        parts = [_part(part, message.role, where) for part in message.content]
        if all(part["type"] == "text" for part in parts) and len(parts) == 1:
            yield {**out, "content": parts[0]["text"]}
        else:
            yield {**out, "content": parts}


def _results(message: Message, where: str, seen: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for part in message.parts:
        if not isinstance(part, ToolResult):
            raise InvalidRequestError(f"{where}: a tool message holds ToolResult parts, not {type(part).__name__}")
        images = [] if isinstance(part.content, str) else [item for item in part.content if isinstance(item, Image)]
        if images:
            seen.append({"type": "text", "text": f"The images in the result of {part.name or part.id}:"})
            seen += [_part(image, "tool", where) for image in images]
        yield {"role": "tool", "tool_call_id": part.id, "content": part.text}


def _shown(seen: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The images of results, after them, as a message of the user's."""
    yield {"role": "user", "content": seen.copy()}
    seen.clear()


def _assistant(message: Message, quirks: ChatQuirks, provider: str, where: str, warnings: list[str]) -> dict[str, Any]:
    texts: list[str] = []
    calls: list[dict[str, Any]] = []
    out: dict[str, Any] = {}
    for part in message.parts:
        match part:
            case Text(text=text):
                texts.append(text)
            case ToolCall(executed=False):
                calls.append(_call(part, provider))
            case Reasoning():
                if quirks.echo_reasoning:
                    _echo(part, provider, out)
            case ToolResult(state=None) if not any(
                isinstance(call, ToolCall) and call.id == part.id for call in message.parts
            ):
                raise InvalidRequestError(f"{where}: results of tools go in a message of role 'tool'")
            case _:  # what another provider's model made or ran: this wire has no place for it
                warnings.append(f"{where}: the assistant's {type(part).__name__} was left out")
    text = "".join(texts)
    if not text and not calls:
        return {}
    if calls:
        out["tool_calls"] = calls
    thought = out.pop("content", "")
    if thought:  # Mistral has it among the parts of the content, in one block (E5)
        parts = [{"type": "thinking", "thinking": [{"type": "text", "text": thought}]}]
        return {"content": [*parts, *([{"type": "text", "text": text}] if text else [])], **out}
    return {"content": text or None, **out}


def _echo(part: Reasoning, provider: str, out: dict[str, Any]) -> None:
    """Reasoning goes back to whom it came from, under the name it came in, and to nobody else (E3, E9)."""
    if part.state is None or part.state.provider != provider:
        return
    if isinstance(field := part.state.data.get("field"), str) and part.text:
        out[field] = out.get(field, "") + part.text
    if isinstance(details := part.state.data.get("reasoning_details"), list):
        out["reasoning_details"] = [*out.get("reasoning_details", []), *details]


def _call(part: ToolCall, provider: str) -> dict[str, Any]:
    arguments = part.raw_arguments or "{}"
    if part.arguments is not None and not part.raw_arguments:
        arguments = written(part.arguments).decode()
    elif part.invalid is not None:
        arguments = "{}"  # servers parse the history: what is not JSON would be refused; the result says what was wrong
    call: dict[str, Any] = {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": arguments}}
    if part.state is not None and part.state.provider in (provider, ""):
        call.update(part.state.data)
    return call


def _part(part: Part, role: str, where: str) -> dict[str, Any]:
    match part:
        case Text(text=text):
            return {"type": "text", "text": text}
        case Image():
            if part.url is None and part.data is None:
                raise InvalidRequestError(f"{where}: an Image needs a url or data")
            url: dict[str, Any] = {"url": part.as_url}
            if part.detail is not None:
                url["detail"] = part.detail
            return {"type": "image_url", "image_url": url}
        case Audio():
            return {
                "type": "input_audio",
                "input_audio": {"data": base64.b64encode(part.data).decode(), "format": part.format},
            }
        case File(file_id=str() as file_id):
            return {"type": "file", "file": {"file_id": file_id}}
        case File(data=bytes()):
            return {"type": "file", "file": {"filename": part.name, "file_data": part.as_url}}
        case File():
            raise InvalidRequestError(f"{where}: a File needs data or a file_id")
        case Reasoning() | ToolCall() | ToolResult():
            raise InvalidRequestError(f"{where}: a {role} message cannot hold {type(part).__name__}")


# ---- tools and structured output


def _tools(request: Request, quirks: ChatQuirks, provider: str, body: dict[str, Any], warnings: list[str]) -> None:
    if request.tools:
        body["tools"] = [_tool(tool, quirks, provider, warnings) for tool in request.tools]
        distinct_names(request.tools)
    choice = request.tool_choice
    if choice is None:
        return
    if choice in ("auto", "none", "required"):
        body["tool_choice"] = choice
    elif any(tool.name == choice for tool in request.tools):
        body["tool_choice"] = {"type": "function", "function": {"name": choice}}
    else:
        known = ", ".join(tool.name for tool in request.tools) or "there are none"
        raise InvalidRequestError(f"tool_choice {choice!r} is not auto, none, required or the name of a tool ({known})")
    if choice in ("required",) and not request.tools:
        raise InvalidRequestError("tool_choice 'required' needs tools")
    if choice not in ("auto", "none") and not quirks.tool_choice_forced:
        raise InvalidRequestError(
            f"{provider} does not support a forced tool call (tool_choice={choice!r}); use 'auto'"
        )


def _tool(tool: Tool, quirks: ChatQuirks, provider: str, warnings: list[str]) -> dict[str, Any]:
    if not TOOL_NAME.fullmatch(tool.name):
        raise InvalidRequestError(f"tool name {tool.name!r}: 1 to 64 letters, digits, _ and - are allowed")
    function: dict[str, Any] = {
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
    }
    if tool.description:
        function["description"] = tool.description
    if tool.strict is not None:
        if quirks.strict_tools:
            function["strict"] = tool.strict
        else:
            warnings.append(f"strict tools are not supported by {provider}: {tool.name!r} is sent without strict")
    return {"type": "function", "function": function}


def _output(request: Request, quirks: ChatQuirks, provider: str, body: dict[str, Any], warnings: list[str]) -> None:
    wanted = request.output
    if wanted is None:
        return
    if quirks.output == "json_schema":
        schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
        body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return
    warnings.append(
        f"{provider} has no JSON Schema output: the schema is in the prompt, and the answer is checked here"
    )
    if quirks.output == "json_object":
        body["response_format"] = {"type": "json_object"}
