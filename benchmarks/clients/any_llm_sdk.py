"""any-llm, its provider for OpenAI."""

# pyright: reportMissingImports=false
# (the library is in an environment of its own, see benchmarks/peers)

from __future__ import annotations

from typing import Any

from any_llm import AnyLLM

from ._client import MESSAGES, count_chunks


class AnyLLMClient:
    def __init__(self, base_url: str) -> None:
        self._client = AnyLLM.create("openai", api_key="x", api_base=base_url)

    async def open(self, model: str) -> Any:
        usage = {"include_usage": True}
        return await self._client.acompletion(model=model, messages=MESSAGES, stream=True, stream_options=usage)

    async def consume(self, stream: Any) -> int:
        return await count_chunks(stream)
