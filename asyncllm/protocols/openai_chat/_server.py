"""The chat wire as its server has it: a body becomes a Request, and an answer becomes chunks or one object."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...events import InvalidRequestError, StreamEvent
from .._request import OutputSchema, Request
from .._server_side import ServerSide
from ._encode import ChatEncoder, completion_body, error_body
from ._input import message_from_dict, tool_from_dict


def read_request(path: str, body: Mapping[str, Any]) -> Request:
    """What a body asks for. Raises :class:`InvalidRequestError` in the words of the API."""
    model, messages = body.get("model"), body.get("messages")
    if not isinstance(model, str) or not model:
        raise _refusal("you must provide a model parameter", "missing_required_parameter")
    if not isinstance(messages, list):
        raise _refusal("Missing required parameter: 'messages'.", "missing_required_parameter")
    if not messages or not all(isinstance(item, dict) and isinstance(item.get("role"), str) for item in messages):
        raise _refusal("Invalid 'messages': a list of at least one object with a role is expected.", "invalid_value")
    stop = body.get("stop") or ()
    tools = body.get("tools") or []
    return Request(
        model=model,
        messages=tuple(message_from_dict(item, f"messages[{at}]") for at, item in enumerate(messages)),
        tools=tuple(tool_from_dict(item, f"tools[{at}]") for at, item in enumerate(tools)),
        tool_choice=_choice(body.get("tool_choice")),
        output=_output(body.get("response_format")),
        max_tokens=body.get("max_completion_tokens") or body.get("max_tokens"),
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        seed=body.get("seed"),
        reasoning=body.get("reasoning_effort"),
    )


def _refusal(message: str, code: str) -> InvalidRequestError:
    return InvalidRequestError(message, status=400, code=code)


def _choice(value: object) -> str | None:
    if isinstance(value, Mapping):
        function = value.get("function")
        return str(function.get("name")) if isinstance(function, Mapping) else None
    return value if isinstance(value, str) else None


def _output(value: object) -> OutputSchema | None:
    inner = value.get("json_schema") if isinstance(value, Mapping) else None
    if not isinstance(inner, Mapping) or not isinstance(schema := inner.get("schema"), Mapping):
        return None
    return OutputSchema(str(inner.get("name") or "output"), schema, inner.get("strict") is True)


def _streamed(path: str, body: Mapping[str, Any]) -> bool:
    return body.get("stream") is True


def _encoder(request: Request, body: Mapping[str, Any]) -> ChatEncoder:
    options = body.get("stream_options")
    include_usage = isinstance(options, Mapping) and options.get("include_usage") is True
    return ChatEncoder(model=request.model, include_usage=include_usage)


def _body(events: Iterable[StreamEvent], request: Request) -> bytes:
    return completion_body(events, model=request.model)


SERVER = ServerSide(
    framing="sse",
    streamed=_streamed,
    read=read_request,
    encoder=_encoder,
    body=_body,
    error=error_body,
)
