"""What a worker asks of a client, and the conversation that all of them send."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable
from typing import Any, Protocol

MESSAGES: list[dict[str, str]] = [
    {"role": "system", "content": "You are a helpful assistant."},
    {"role": "user", "content": "Tell me a short story about a fox."},
]


class BenchmarkClient(Protocol):
    async def open(self, model: str) -> Any:
        """Send a request and return a stream when its answer has begun."""
        ...

    async def consume(self, stream: Any) -> int:
        """Read a stream to its end; return how many pieces of text or of tool arguments it held."""
        ...


def request_body(model: str) -> bytes:
    body = {"messages": MESSAGES, "model": model, "stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(body, separators=(",", ":")).encode()


async def count(events: AsyncIterable[Any], kinds: tuple[type, type]) -> int:
    """The loop of a program that looks at every event."""
    text, arguments = kinds
    seen = 0
    async for event in events:
        kind = event.__class__
        if kind is text or kind is arguments:
            seen += 1
    return seen
