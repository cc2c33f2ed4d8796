"""httpx2 as shipped (h11, httpcore2), with the floor's parser behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2

from ._client import JSON_HEADERS, count, request_body
from ._minimal import Arguments, Event, Text, feed


class Httpx2Client:
    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/chat/completions"
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=1000)
        self._client = httpx2.AsyncClient(timeout=httpx2.Timeout(600, connect=5), limits=limits)

    async def open(self, model: str) -> httpx2.Response:
        request = self._client.build_request("POST", self._url, content=request_body(model), headers=JSON_HEADERS)
        return await self._client.send(request, stream=True)

    async def consume(self, stream: httpx2.Response) -> int:
        try:
            return await count(self._events(stream), (Text, Arguments))
        finally:
            await stream.aclose()

    async def _events(self, response: httpx2.Response) -> AsyncIterator[Event]:
        rest = b""
        async for data in response.aiter_raw():
            events, rest = feed(rest, data)
            for event in events:
                yield event
