"""litellm: `acompletion(stream=True)`."""

# pyright: reportMissingImports=false
# (the library is in an environment of its own, see benchmarks/peers)

from __future__ import annotations

from typing import Any

import litellm

from ._client import MESSAGES, count_chunks


class LiteLLMClient:
    def __init__(self, base_url: str) -> None:
        litellm.suppress_debug_info = True
        litellm.telemetry = False
        self._options: dict[str, Any] = {"api_base": base_url, "api_key": "x", "max_retries": 0}

    async def open(self, model: str) -> Any:
        usage = {"include_usage": True}
        return await litellm.acompletion(
            model=f"openai/{model}", messages=MESSAGES, stream=True, stream_options=usage, **self._options
        )

    async def consume(self, stream: Any) -> int:
        return await count_chunks(stream)
