"""Chat servers for tests of the client: scripts of whole answers, one a request."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from _rawserver import STREAM_HEAD, RawConnection, RawServer, chunk, raw_server
from _replay import http, sse

from asyncllm import Client


def error_answer(status: int, body: Any = None, *headers: str) -> bytes:
    """An HTTP error in OpenAI's form."""
    content = json.dumps({"error": {"message": f"refused with {status}"}} if body is None else body).encode()
    head = "".join(f"{line}\r\n" for line in headers)
    return http(content, status=f"{status} X", content_type="application/json", headers=head)


@asynccontextmanager
async def answers(*scripted: bytes) -> AsyncIterator[RawServer]:
    """Answers the first request with the first bytes and so on, over any connections; the last for all that follow."""
    left = list(scripted)

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(left.pop(0) if len(left) > 1 else left[0])

    async with raw_server(script) as server:
        yield server


@asynccontextmanager
async def stalling(*frames: dict[str, Any] | str, head: bytes = STREAM_HEAD) -> AsyncIterator[RawServer]:
    """Sends these frames and then nothing, leaving the connection open."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        if head:
            await connection.send(head, *([chunk(sse(*frames))] if frames else []))

    async with raw_server(script) as server:
        yield server


def client_of(server: RawServer, model: str = "openai-compatible/m", **options: Any) -> Client:
    options.setdefault("retry", 0)
    options.setdefault("timeout", 20)
    return Client(model, base_url=f"{server.url}/v1", **options)


def bodies(server: RawServer) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in server.requests]


async def settle(turns: int = 20) -> None:
    """Lets everything that can run do so."""
    for _ in range(turns):
        await asyncio.sleep(0)


def texts(events: Sequence[object]) -> str:
    return "".join(getattr(event, "text", "") for event in events if type(event).__name__ == "TextDelta")
