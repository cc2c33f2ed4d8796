"""A loopback server that answers every request with the same bytes, and shorthands for the chat wire."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from _rawserver import RawConnection, raw_server


@asynccontextmanager
async def replaying(answer: bytes, *, step: int | None = None) -> AsyncIterator[str]:
    """The base URL of a server that sends `answer` (head and all) in pieces of `step` bytes, and closes."""
    size = step or len(answer) or 1

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(*(answer[at : at + size] for at in range(0, len(answer), size)))
        connection.close()

    async with raw_server(script) as server:
        yield f"{server.url}/v1"


def http(body: bytes, *, status: str = "200 OK", content_type: str = "text/event-stream", headers: str = "") -> bytes:
    """A whole answer with these bytes as its body."""
    return (
        f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n{headers}\r\n".encode()
        + body
    )


def chunk_of(delta: dict[str, Any] | None = None, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chat completion chunk with one choice."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "choices": [choice],
        **more,
    }


def sse(*frames: dict[str, Any] | str) -> bytes:
    """Frames as server-sent events; a string is sent as it is."""
    return b"".join(
        frame.encode()
        if isinstance(frame, str)
        else b"data: " + json.dumps(frame, ensure_ascii=False).encode() + b"\n\n"
        for frame in frames
    )


DONE = "data: [DONE]\n\n"
ROLE = chunk_of({"role": "assistant", "content": ""})
STOP = chunk_of({}, "stop")


def text(content: str) -> dict[str, Any]:
    return chunk_of({"content": content})


def said(*words: str) -> bytes:
    """A whole good stream."""
    return sse(ROLE, *(text(word) for word in words), STOP, DONE)
