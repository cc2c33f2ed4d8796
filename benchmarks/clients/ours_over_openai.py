"""asyncllm over a user's own `openai.AsyncOpenAI`: its endpoint, credentials and connections; its bytes, read by us."""

from __future__ import annotations

import openai

from asyncllm.transports import http_client

from .ours import AsyncLLMClient


class OverOpenAIClient(AsyncLLMClient):
    """With the HTTP client that the SDK makes for itself: httpx2 as shipped."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self._options = {"http_client": openai.AsyncOpenAI(api_key="x", base_url=base_url)}


class OverOpenAIAndUsClient(AsyncLLMClient):
    """With an HTTP client of ours under the SDK: `AsyncOpenAI(http_client=asyncllm.transports.http_client())`."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        sdk = openai.AsyncOpenAI(api_key="x", base_url=base_url, http_client=http_client())
        self._options = {"http_client": sdk}
