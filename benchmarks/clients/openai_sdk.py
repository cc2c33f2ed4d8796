"""The openai SDK: `chat.completions.create(stream=True)`, and its helper `chat.completions.stream(...)`."""

from __future__ import annotations

from typing import Any

import openai

from ._client import MESSAGES, count_chunks

_WITH_USAGE = {"include_usage": True}
_TOOL: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "do_it",
        "strict": True,
        "parameters": {
            "type": "object",
            "properties": {"items": {"type": "array", "items": {"type": "string"}}},
            "required": ["items"],
            "additionalProperties": False,
        },
    },
}


class OpenAIClient:
    def __init__(self, base_url: str) -> None:
        self._client = openai.AsyncOpenAI(api_key="x", base_url=base_url)

    async def open(self, model: str) -> Any:
        create: Any = self._client.chat.completions.create
        return await create(model=model, messages=MESSAGES, stream=True, stream_options=_WITH_USAGE)

    async def consume(self, stream: Any) -> int:
        return await count_chunks(stream)


class OpenAIHelperClient(OpenAIClient):
    """The helper keeps the whole message so far, and parses the arguments so far of a tool it was told of."""

    async def open(self, model: str) -> Any:
        stream: Any = self._client.chat.completions.stream
        tools = {"tools": [_TOOL]} if model.startswith("tools:") else {}
        manager = stream(model=model, messages=MESSAGES, stream_options=_WITH_USAGE, **tools)
        return manager, await manager.__aenter__()

    async def consume(self, stream: Any) -> int:
        manager, events = stream
        seen = 0
        async for event in events:
            if (event.type == "content.delta" and event.delta) or (
                event.type == "tool_calls.function.arguments.delta" and event.arguments_delta
            ):
                seen += 1
        await manager.__aexit__(None, None, None)
        return seen
