"""The openai SDK: `chat.completions.create(stream=True)`."""

from __future__ import annotations

from typing import Any

import openai

from ._client import MESSAGES


class OpenAIClient:
    def __init__(self, base_url: str) -> None:
        self._client = openai.AsyncOpenAI(api_key="x", base_url=base_url)

    async def open(self, model: str) -> Any:
        create: Any = self._client.chat.completions.create
        return await create(model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True})

    async def consume(self, stream: Any) -> int:
        seen = 0
        async for chunk in stream:
            if chunk.choices:
                delta = chunk.choices[0].delta
                if delta.content or (delta.tool_calls and delta.tool_calls[0].function.arguments):
                    seen += 1
        return seen
