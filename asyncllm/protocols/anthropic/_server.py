"""The Messages wire as its server has it: a body becomes a Request, and an answer becomes events or one message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ...events import StreamEvent
from .._request import CacheTTL, OutputSchema, Request, Tool
from .._server_side import ServerSide
from ._encode import MessagesEncoder, message_body
from ._errors import error_body
from ._input import messages_from, refusal


def read_request(path: str, body: Mapping[str, Any]) -> Request:
    """What a body asks for. Raises :class:`InvalidRequestError` in the words of the API."""
    model, messages, most = body.get("model"), body.get("messages"), body.get("max_tokens")
    if not isinstance(model, str) or not model:
        raise refusal("model: Field required")
    if not isinstance(most, int):
        raise refusal("max_tokens: Field required")
    if not isinstance(messages, list):
        raise refusal("messages: Field required")
    if not messages:
        raise refusal("messages: at least one message is required")
    config = body.get("output_config")
    config = config if isinstance(config, Mapping) else {}
    tools = body.get("tools")
    return Request(
        model=model,
        messages=messages_from(messages),
        system=_system(body.get("system")),
        tools=tuple(_tools(tools if isinstance(tools, list) else [])),
        tool_choice=_choice(body.get("tool_choice")),
        output=_output(config.get("format")),
        max_tokens=most,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        stop=tuple(body.get("stop_sequences") or ()),
        reasoning=_reasoning(body.get("thinking"), config.get("effort")),
        cache=_cache(body),
    )


def _system(given: object) -> str | None:
    if isinstance(given, list):
        return "\n\n".join(str(block.get("text") or "") for block in given if isinstance(block, Mapping))
    return given if isinstance(given, str) else None


def _tools(given: list[Any]) -> Iterator[Tool]:
    """The tools that the caller runs; the provider's own have no schema."""
    for item in given:
        if isinstance(item, Mapping) and isinstance(schema := item.get("input_schema"), Mapping):
            yield Tool(str(item.get("name")), str(item.get("description") or ""), schema, item.get("strict"))


_CHOICES = {"auto": "auto", "none": "none", "any": "required"}


def _choice(given: object) -> str | None:
    if not isinstance(given, Mapping):
        return None
    return str(given.get("name")) if given.get("type") == "tool" else _CHOICES.get(str(given.get("type")))


def _output(given: object) -> OutputSchema | None:
    schema = given.get("schema") if isinstance(given, Mapping) else None
    return OutputSchema("output", schema) if isinstance(schema, Mapping) else None


def _reasoning(thinking: object, effort: Any) -> Any:
    kind = thinking.get("type") if isinstance(thinking, Mapping) else None
    if kind == "disabled":
        return "none"
    if isinstance(thinking, Mapping) and kind == "enabled":
        return thinking.get("budget_tokens")
    return effort or ("high" if kind == "adaptive" else None)


def _cache(body: Mapping[str, Any]) -> CacheTTL | None:
    """How long what is marked is kept, by the first mark there is."""
    for block in _blocks(body):
        if isinstance(mark := block.get("cache_control"), Mapping):
            return "1h" if mark.get("ttl") == "1h" else "5m"
    return None


def _blocks(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield body
    messages = [item.get("content") for item in body.get("messages") or () if isinstance(item, Mapping)]
    for listed in (body.get("tools"), body.get("system"), *messages):
        yield from (block for block in listed if isinstance(block, Mapping)) if isinstance(listed, list) else ()


def _streamed(path: str, body: Mapping[str, Any]) -> bool:
    return body.get("stream") is True


def _encoder(request: Request, body: Mapping[str, Any]) -> MessagesEncoder:
    return MessagesEncoder(model=request.model)


def _body(events: Iterable[StreamEvent], request: Request) -> bytes:
    return message_body(events, model=request.model)


SERVER = ServerSide(
    framing="sse",
    streamed=_streamed,
    read=read_request,
    encoder=_encoder,
    body=_body,
    error=error_body,
)
