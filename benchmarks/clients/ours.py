"""asyncllm as its users have it: the default timeouts and retries, every event iterated."""

from __future__ import annotations

from typing import Any

import asyncllm

from ._client import MESSAGES, count


class AsyncLLMClient:
    provider = "openai"

    def __init__(self, base_url: str) -> None:
        self._options: dict[str, Any] = {"base_url": base_url, "api_key": "x"}
        self._clients: dict[str, asyncllm.Client] = {}

    async def open(self, model: str) -> asyncllm.Stream[object]:
        return await self._client(model).stream(MESSAGES)

    def _client(self, model: str) -> asyncllm.Client:
        client = self._clients.get(model)
        if client is None:
            client = self._clients[model] = asyncllm.Client(f"{self.provider}/{model}", **self._options)
        return client

    async def consume(self, stream: asyncllm.Stream[object]) -> int:
        return await count(stream, (asyncllm.TextDelta, asyncllm.ToolCallDelta))


class TextClient(AsyncLLMClient):
    """Nothing but the text."""

    async def consume(self, stream: asyncllm.Stream[object]) -> int:
        return await count(stream.text, (str, str))


class BatchesClient(AsyncLLMClient):
    """Every event, in lists of those that came at once."""

    async def consume(self, stream: asyncllm.Stream[object]) -> int:
        text, arguments = asyncllm.TextDelta, asyncllm.ToolCallDelta
        seen = 0
        async for batch in stream.batches():
            for event in batch:
                kind = event.__class__
                if kind is text or kind is arguments:
                    seen += 1
        return seen


class AnthropicClient(AsyncLLMClient):
    provider = "anthropic"


class ResponsesClient(AsyncLLMClient):
    provider = "openai-responses"


class GeminiClient(AsyncLLMClient):
    provider = "gemini"


class OllamaClient(AsyncLLMClient):
    provider = "ollama-native"
