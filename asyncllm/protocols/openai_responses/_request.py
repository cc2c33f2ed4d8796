"""A Request as the body of POST /responses, in a server's dialect.

Source: the OpenAI API reference (create a response), openai-python 3.52 `types/responses/response_create_params.py`.
"""

from __future__ import annotations

import re
from typing import Any

from ...events import InvalidRequestError
from .._body import distinct_names, merge, written
from .._codec import Encoded
from .._reasoning import effort_of
from .._request import Request, Tool
from ._decode import retrieval
from ._input import input_items
from ._quirks import ResponsesQuirks

TOOL_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
ENCRYPTED = "reasoning.encrypted_content"

_JOINED = ("tools", "include")
"""Lists of the body that `extra_body` adds to: built-in tools stand beside functions."""


def encode_request(request: Request, quirks: ResponsesQuirks, provider: str) -> Encoded:
    """Raises :class:`InvalidRequestError` for what cannot be said; what can be left out harmlessly becomes a warning.

    With `extra_body={"response_id": ...}` nothing is asked: the stream of that response is read, `starting_after` one of its
    events.
    """
    if (id := request.extra_body.get("response_id")) is not None:
        return _retrieved(id, request.extra_body.get("starting_after"))
    warnings: list[str] = []
    items = input_items(request.messages, provider, quirks, warnings)
    body: dict[str, Any] = {"model": request.model, "input": items, "stream": True, "store": quirks.store}
    if instructions := request.system or quirks.instructions:
        body["instructions"] = instructions
    _options(request, quirks, provider, body, warnings)
    _tools(request, body)
    if (wanted := request.output) is not None:
        form = {"type": "json_schema", "name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
        body["text"] = {"format": form}
    if quirks.encrypted_reasoning and not is_stored(request, quirks):
        body["include"] = [ENCRYPTED]
    merge(body, request.extra_body, joined=_JOINED)
    if not items and not any(body.get(name) for name in ("input", "previous_response_id", "conversation", "prompt")):
        raise InvalidRequestError("there is nothing to send: no messages")
    return Encoded("/responses", written(body), warnings=tuple(warnings))


def is_stored(request: Request, quirks: ResponsesQuirks) -> bool:
    """Whether the server is asked to keep the response; without a word about it, it does."""
    return request.extra_body.get("store", quirks.store) is not False


def _retrieved(id: object, after: object) -> Encoded:
    if not isinstance(id, str) or not id:
        raise InvalidRequestError(f"extra_body: response_id must be the id of a response, not {id!r}")
    if after is not None and (isinstance(after, bool) or not isinstance(after, int) or after < 0):
        raise InvalidRequestError(f"extra_body: starting_after must be the number of an event, not {after!r}")
    return retrieval(id, after)


def _options(
    request: Request, quirks: ResponsesQuirks, provider: str, body: dict[str, Any], warnings: list[str]
) -> None:
    given = {
        "max_output_tokens": request.max_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    for name, value in given.items():
        if value is None:
            continue
        if name in quirks.refuses:
            warnings.append(f"{name} is not supported by {provider} and was left out")
        else:
            body[name] = value
    for name, wanted in (("stop", request.stop), ("seed", request.seed is not None)):
        if wanted:
            warnings.append(f"{name} is not supported by the Responses API and was left out")
    if request.reasoning is not None:
        effort = effort_of(request.reasoning)
        body["reasoning"] = {"effort": effort}
        if quirks.reasoning_summary and effort != "none":
            body["reasoning"]["summary"] = quirks.reasoning_summary


def _tools(request: Request, body: dict[str, Any]) -> None:
    names = distinct_names(request.tools)
    if request.tools:
        body["tools"] = [_tool(tool) for tool in request.tools]
    choice = request.tool_choice
    if choice is None:
        return
    if choice in ("auto", "none", "required"):
        if choice == "required" and not request.tools and not request.extra_body.get("tools"):
            raise InvalidRequestError("tool_choice 'required' needs tools")
        body["tool_choice"] = choice
    elif choice in names:
        body["tool_choice"] = {"type": "function", "name": choice}
    else:
        known = ", ".join(names) or "there are none"
        raise InvalidRequestError(f"tool_choice {choice!r} is not auto, none, required or the name of a tool ({known})")


def _tool(tool: Tool) -> dict[str, Any]:
    if not TOOL_NAME.fullmatch(tool.name):
        raise InvalidRequestError(f"tool name {tool.name!r}: 1 to 64 letters, digits, _ and - are allowed")
    function: dict[str, Any] = {
        "type": "function",
        "name": tool.name,
        "parameters": tool.parameters or {"type": "object", "properties": {}},
        # said always: this API makes every tool strict that does not say it is not, and optional parameters required
        "strict": tool.strict is True,
    }
    if tool.description:
        function["description"] = tool.description
    return function
