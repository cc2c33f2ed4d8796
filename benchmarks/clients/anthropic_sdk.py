"""The anthropic SDK: `messages.create(stream=True)`."""

from __future__ import annotations

from typing import Any

import anthropic

from ._client import SYSTEM, USER


class AnthropicSDKClient:
    def __init__(self, base_url: str) -> None:
        # its paths begin with /v1
        self._client = anthropic.AsyncAnthropic(api_key="x", base_url=base_url.removesuffix("/v1"), max_retries=0)

    async def open(self, model: str) -> Any:
        return await self._client.messages.create(
            model=model, max_tokens=4096, system=SYSTEM, messages=[{"role": "user", "content": USER}], stream=True
        )

    async def consume(self, stream: Any) -> int:
        seen = 0
        async for event in stream:
            if event.type == "content_block_delta" and event.delta.type == "text_delta":
                seen += 1
        return seen
