"""liter-llm, which is written in Rust: `chat_stream` of its client, whose chunks are Rust's own objects.

Its module has a function of that name that copies each chunk into a dataclass: that costs twice as much.
"""

# pyright: reportMissingImports=false
# (the library is in an environment of its own, see benchmarks/peers)

from __future__ import annotations

from typing import Any

import liter_llm
from liter_llm._internal_bindings import ChatCompletionRequest

from ._client import count_chunks, has_piece, request_body


class LiterLLMClient:
    def __init__(self, base_url: str) -> None:
        self._client = liter_llm.create_client("x", base_url=base_url, max_retries=0, model_hint="openai")

    async def open(self, model: str) -> Any:
        request = ChatCompletionRequest.from_json(request_body(f"openai/{model}").decode())
        chunks = self._client.chat_stream(request)
        return await anext(chunks), chunks  # nothing is sent before the first is asked for

    async def consume(self, stream: Any) -> int:
        first, chunks = stream
        return has_piece(first) + await count_chunks(chunks)
