"""The google-genai SDK: `generate_content_stream`, over aiohttp, which it takes where it is installed."""

from __future__ import annotations

from typing import Any

from google import genai
from google.genai.types import GenerateContentConfig, HttpOptions

from ._client import SYSTEM, USER


class GoogleGenAIClient:
    def __init__(self, base_url: str) -> None:
        server, _, api_version = base_url.rpartition("/")
        options = HttpOptions(base_url=server, api_version=api_version)
        self._client = genai.Client(api_key="x", http_options=options)

    async def open(self, model: str) -> Any:
        config = GenerateContentConfig(system_instruction=SYSTEM)
        return await self._client.aio.models.generate_content_stream(model=model, contents=USER, config=config)

    async def consume(self, stream: Any) -> int:
        seen = 0
        async for chunk in stream:
            if chunk.text:
                seen += 1
        return seen
