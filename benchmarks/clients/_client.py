"""What a worker asks of a client, and the conversation that all of them send. Standard library only."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterable
from typing import Any, Protocol

SYSTEM = "You are a helpful assistant."
USER = "Tell me a short story about a fox."
MESSAGES: list[dict[str, str]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": USER}]
JSON_HEADERS = {"authorization": "Bearer x", "content-type": "application/json"}


class BenchmarkClient(Protocol):
    async def open(self, model: str) -> Any:
        """Send a request and return a stream when its answer has begun."""
        ...

    async def consume(self, stream: Any) -> int:
        """Read a stream to its end; return how many pieces of text or of tool arguments it held."""
        ...


class BlockingClient(Protocol):
    """The same without `await`."""

    def open(self, model: str) -> Any: ...
    def consume(self, stream: Any) -> int: ...


class Blocking:
    """A blocking client where a worker expects the other kind: in a thread, which does nothing else."""

    def __init__(self, client: BlockingClient) -> None:
        self._client = client

    async def open(self, model: str) -> Any:
        return await asyncio.to_thread(self._client.open, model)

    async def consume(self, stream: Any) -> int:
        return await asyncio.to_thread(self._client.consume, stream)


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


async def count_chunks(chunks: AsyncIterable[Any]) -> int:
    """The same for libraries whose events are OpenAI's chunks, or look like them."""
    seen = 0
    async for chunk in chunks:
        if has_piece(chunk):
            seen += 1
    return seen


def has_piece(chunk: Any) -> bool:
    """Whether a chunk holds some text or tool arguments. Each field is asked for once: in some libraries that costs."""
    choices = chunk.choices
    if not choices:
        return False
    delta = choices[0].delta
    if delta.content:
        return True
    calls = delta.tool_calls
    return bool(calls and calls[0].function.arguments)
