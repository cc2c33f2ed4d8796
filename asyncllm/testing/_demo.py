"""The demo models: no model at all, but answers that look like one's, for trying the library without a key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..events import Finish, NotFoundError, OverloadedError, ReasoningDelta, StreamError, TextDelta, ToolCall
from ..protocols import Request
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
    asked = request.asked
    name = (model or asked.model).removeprefix("demo/")
    if f"demo/{name}" not in DEMO_MODELS:
        known = ", ".join(DEMO_MODELS)
        message = f"The model '{name}' does not exist here. There are: {known}"
        return Answer.error(NotFoundError(message, status=404, code="model_not_found"))
    events: list[Step] = list(_events(name, asked))
    if asked.max_tokens is not None and asked.max_tokens < len(events):
        events = [*events[: asked.max_tokens], Finish("length")]
    return Answer(events, pace=SLOW_SECONDS if name == "slow" else WORD_SECONDS)


def _events(name: str, asked: Request) -> Iterator[Step]:
    """One event a word, as a model has one a token."""
    messages = asked.messages
    said = next((message.text for message in reversed(messages) if message.role == "user"), "")
    if asked.output is not None:
        text = json.dumps(example(asked.output.schema))
    elif name == "story":
        text = _STORY
    elif name == "reason":
        thoughts = f"The user said {said!r}. There is nothing to think about, but I will show how thinking streams."
        yield from (ReasoningDelta(word) for word in words(thoughts))
        text = f"{_THIS_IS}I thought about it: {said}"
    elif name == "tool":
        if messages[-1].role == "tool":
            text = f"{_THIS_IS}The tool said: {_results(messages[-1].parts)}"
        elif asked.tools and asked.tool_choice != "none":
            tool = asked.tools[0]
            arguments = example(tool.parameters)
            yield ToolCall(f"call_{len(messages)}", tool.name, arguments if isinstance(arguments, dict) else {})
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
