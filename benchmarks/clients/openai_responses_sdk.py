"""The openai SDK: `responses.create(stream=True)`."""

from __future__ import annotations

from typing import Any

import openai

from ._client import SYSTEM, USER


class OpenAIResponsesClient:
    def __init__(self, base_url: str) -> None:
        self._client = openai.AsyncOpenAI(api_key="x", base_url=base_url, max_retries=0)

    async def open(self, model: str) -> Any:
        return await self._client.responses.create(model=model, instructions=SYSTEM, input=USER, stream=True)

    async def consume(self, stream: Any) -> int:
        seen = 0
        async for event in stream:
            if event.type == "response.output_text.delta":
                seen += 1
        return seen
