"""Asking the embedded server: shorthands for its tests."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2

from asyncllm.testing import (
    Answer,
    Server,
)

HELLO = [{"role": "user", "content": "Hi"}]


def asking(*, stream: bool = True, **body: object) -> dict[str, Any]:
    """The keywords of a `client.stream` or `client.request` call that asks for a chat completion."""
    given = {"model": "m", "messages": HELLO, "stream": stream, "stream_options": {"include_usage": True}, **body}
    return {"method": "POST", "url": "chat/completions", "json": given}


@contextlib.asynccontextmanager
async def serving(script: Any = None, **options: Any) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    async with (
        Server(script, **options) as server,
        httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as client,
    ):
        yield server, client


async def body_of(answer: Answer, **body: object) -> str:
    async with serving(answer) as (_, client):
        return (await client.request(**asking(**body))).text


async def until_broken(answer: Answer) -> bytes:
    """What arrived before the connection broke, as it must."""
    got = b""
    async with serving(answer) as (_, client):
        try:
            async with client.stream(**asking()) as response:
                async for part in response.aiter_raw():
                    got += part
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            return got
    raise AssertionError(f"the connection did not break; it brought {got!r}")


def said(body: str) -> list[Any]:
    """The data of the events of a stream, parsed where it is JSON."""
    found = [block[6:] for block in body.split("\n\n") if block.startswith("data: ")]
    return [json.loads(data) if data != "[DONE]" else data for data in found]


def text_of(body: str) -> str:
    chunks = [chunk for chunk in said(body) if chunk != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))


def address(server: Server) -> tuple[str, int]:
    url = httpx2.URL(server.base_url)
    assert url.port is not None
    return url.host, url.port
