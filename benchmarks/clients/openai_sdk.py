"""The openai SDK: `chat.completions.create(stream=True)`."""

from __future__ import annotations

from typing import Any

import openai

from ._client import MESSAGES


class OpenAIClient:
    def __init__(self, base_url: str) -> None:
        self._client = openai.AsyncOpenAI(api_key="x", base_url=base_url)

    async def open(self, model: str) -> Any:
        messages: Any = MESSAGES
        options = {"include_usage": True}
        return await self._client.chat.completions.create(model=model, messages=messages, stream=True, stream_options=options)  # type: ignore[call-overload]

    async def consume(self, stream: Any) -> int:
        seen = 0
        async for chunk in stream:
            if chunk.choices:
                delta = chunk.choices[0].delta
                if delta.content or (delta.tool_calls and delta.tool_calls[0].function.arguments):
                    seen += 1
        return seen
