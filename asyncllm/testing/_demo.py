"""The demo models: no model at all, but answers that look like one's, for trying the library without a key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..events import Finish, NotFoundError, OverloadedError, ReasoningDelta, StreamError, TextDelta, ToolCall
from ..protocols.openai_chat._input import message_from_dict
from ._script import Answer, ReceivedRequest, Step, words
from ._server import Server

DEMO_MODELS = ("demo/echo", "demo/story", "demo/reason", "demo/tool", "demo/error", "demo/slow")
"""echo: what you said · story: a fixed text · reason: reasoning, then an answer · tool: calls the first tool offered ·
error: fails midway · slow: takes its time."""

WORD_SECONDS = 0.025
"""Between two words: slow enough that a person sees the streaming."""

SLOW_SECONDS = 0.5
"""Between two words of demo/slow: slow enough to cancel."""

_THIS_IS = "This is a demo, not a model. "

_STORY = (
    "Once there was a stream that wanted to reach the sea. Every stone told it to stop, and every stone was answered "
    "in the same way: around. It lost a little on the way to the grass, and a little to the sun, and never said that "
    "it had arrived before it had. When it came to the sea nobody noticed, which is how it knew that it was done."
)


async def demo_server(model: str | None = None, *, host: str = "127.0.0.1", port: int = 0) -> Server:
    """A started server of the demo models; the caller closes it. With `model`, that one answers every request."""
    script = demo_answer if model is None else lambda request: demo_answer(request, model)
    return await Server(script, host=host, port=port).start()


def demo_answer(request: ReceivedRequest, model: str | None = None) -> Answer:
    """The script of the demo models: the request's `model` says which, with or without `demo/`."""
    body: Mapping[str, Any] = request.json
    name = (model or str(body["model"])).removeprefix("demo/")
    if f"demo/{name}" not in DEMO_MODELS:
        known = ", ".join(DEMO_MODELS)
        message = f"The model '{name}' does not exist here. There are: {known}"
        return Answer.error(NotFoundError(message, status=404, code="model_not_found"))
    events: list[Step] = list(_events(name, body))
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    if isinstance(limit, int) and limit < len(events):
        events = [*events[:limit], Finish("length")]
    return Answer(events, pace=SLOW_SECONDS if name == "slow" else WORD_SECONDS)


def _events(name: str, body: Mapping[str, Any]) -> Iterator[Step]:
    """One event a word, as a model has one a token."""
    messages = [message_from_dict(message) for message in body["messages"]]
    said = next((message.text for message in reversed(messages) if message.role == "user"), "")
    schema = _output_schema(body)
    if schema is not None:
        text = json.dumps(example(schema))
    elif name == "story":
        text = _STORY
    elif name == "reason":
        thoughts = f"The user said {said!r}. There is nothing to think about, but I will show how thinking streams."
        yield from (ReasoningDelta(word) for word in words(thoughts))
        text = f"{_THIS_IS}I thought about it: {said}"
    elif name == "tool":
        if messages[-1].role == "tool":
            text = f"{_THIS_IS}The tool said: {_results(messages[-1].parts)}"
        elif (tool := _first_tool(body)) is not None:
            arguments = example(tool.get("parameters") or {})
            yield ToolCall(
                f"call_{len(messages)}", str(tool.get("name", "")), arguments if isinstance(arguments, dict) else {}
            )
            return
        else:
            text = f"{_THIS_IS}No tool was offered, so there is none to call."
    else:
        text = f"{_THIS_IS}You said: {said}"
    pieces = words(text)
    if name == "error":
        yield from (TextDelta(piece) for piece in pieces[: len(pieces) // 2])
        yield StreamError(OverloadedError("The demo model fails here, as it should.", code="overloaded"))
    else:
        yield from (TextDelta(piece) for piece in pieces)


def _results(parts: Sequence[object]) -> str:
    return " ".join(str(getattr(part, "text", "")) for part in parts)


def _output_schema(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The JSON Schema that the answer was asked to satisfy, if any."""
    wanted = body.get("response_format")
    inner = wanted.get("json_schema") if isinstance(wanted, Mapping) else None
    schema = inner.get("schema") if isinstance(inner, Mapping) else None
    return schema if isinstance(schema, Mapping) else None


def _first_tool(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    tools = body.get("tools")
    if not isinstance(tools, list) or not tools or body.get("tool_choice") == "none":
        return None
    function = tools[0].get("function") if isinstance(tools[0], Mapping) else None
    return function if isinstance(function, Mapping) else None


def example(schema: Mapping[str, Any], root: Mapping[str, Any] | None = None, depth: int = 0) -> object:
    """A value that satisfies the usual parts of a JSON Schema: types, enums, defaults, bounds, references, unions."""
    root = schema if root is None else root
    if depth > 16 or not isinstance(schema, Mapping):
        return None
    for name in ("const", "default"):
        if name in schema:
            return schema[name]
    for name in ("enum", "examples"):
        if schema.get(name):
            return schema[name][0]
    if isinstance(reference := schema.get("$ref"), str):
        target: Any = root
        for key in reference.removeprefix("#").strip("/").split("/"):
            target = target.get(key, {}) if key else target
        return example(target, root, depth + 1)
    for name in ("anyOf", "oneOf", "allOf"):
        if schema.get(name):
            return example(schema[name][0], root, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string" if depth else "object")
    match kind[0] if isinstance(kind, list) else kind:
        case "object":
            properties: Mapping[str, Any] = schema.get("properties") or {}
            needed = schema.get("required") or list(properties)
            return {key: example(properties.get(key, {}), root, depth + 1) for key in needed}
        case "array":
            return [
                example(schema.get("items") or {}, root, depth + 1) for _ in range(max(1, schema.get("minItems", 1)))
            ]
        case "integer" | "number":
            return schema.get("minimum", schema.get("maximum", 1))
        case "boolean":
            return True
        case "null":
            return None
        case _:
            return "demo".ljust(schema.get("minLength", 0), "o")[: schema.get("maxLength")]
