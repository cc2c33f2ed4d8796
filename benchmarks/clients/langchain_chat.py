"""langchain-openai: `ChatOpenAI.astream`."""

# pyright: reportMissingImports=false
# (the library is in an environment of its own, see benchmarks/peers)

from __future__ import annotations

from typing import Any

from langchain_openai import ChatOpenAI

from ._client import SYSTEM, USER


class LangChainClient:
    def __init__(self, base_url: str) -> None:
        self._options: dict[str, Any] = {"base_url": base_url, "api_key": "x", "stream_usage": True, "max_retries": 0}
        self._models: dict[str, Any] = {}
        self._messages = [("system", SYSTEM), ("human", USER)]

    async def open(self, model: str) -> Any:
        chat = self._models.get(model)
        if chat is None:
            chat = self._models[model] = ChatOpenAI(model=model, **self._options)
        chunks = chat.astream(self._messages)
        return await anext(chunks), chunks  # nothing is sent before the first is asked for

    async def consume(self, stream: Any) -> int:
        first, chunks = stream
        seen = _holds(first)
        async for chunk in chunks:
            seen += _holds(chunk)
        return seen


def _holds(chunk: Any) -> int:
    return 1 if chunk.content or (chunk.tool_call_chunks and chunk.tool_call_chunks[0]["args"]) else 0
