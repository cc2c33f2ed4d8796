"""asyncllm as its users have it: the default timeouts and retries, every event iterated."""

from __future__ import annotations

import asyncllm

from ._client import MESSAGES, count


class AsyncLLMClient:
    def __init__(self, base_url: str) -> None:
        self._base_url = base_url
        self._clients: dict[str, asyncllm.Client] = {}

    async def open(self, model: str) -> asyncllm.Stream[object]:
        client = self._clients.get(model)
        if client is None:
            client = self._clients[model] = asyncllm.Client(f"openai/{model}", base_url=self._base_url, api_key="x")
        return await client.stream(MESSAGES)

    async def consume(self, stream: asyncllm.Stream[object]) -> int:
        return await count(stream, (asyncllm.TextDelta, asyncllm.ToolCallDelta))
