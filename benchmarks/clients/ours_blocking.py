"""asyncllm's facade for blocking callers: the asynchronous client in a thread, whose time is counted, too."""

from __future__ import annotations

from typing import Any

import asyncllm

from ._client import MESSAGES


class SyncClient:
    def __init__(self, base_url: str) -> None:
        self._options: dict[str, Any] = {"base_url": base_url, "api_key": "x"}
        self._clients: dict[str, asyncllm.SyncClient] = {}

    def open(self, model: str) -> asyncllm.SyncStream[object]:
        client = self._clients.get(model)
        if client is None:
            client = self._clients[model] = asyncllm.SyncClient(f"openai/{model}", **self._options)
        return client.stream(MESSAGES).__enter__()

    def consume(self, stream: asyncllm.SyncStream[object]) -> int:
        text, arguments = asyncllm.TextDelta, asyncllm.ToolCallDelta
        seen = 0
        for event in stream:
            kind = event.__class__
            if kind is text or kind is arguments:
                seen += 1
        return seen
