"""aiohttp, with the floor's parser behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import aiohttp

from ._client import JSON_HEADERS, count, request_body
from ._minimal import Arguments, Event, Text, feed


class AiohttpClient:
    def __init__(self, base_url: str) -> None:
        self._url = f"{base_url}/chat/completions"
        self._session: aiohttp.ClientSession | None = None

    async def open(self, model: str) -> aiohttp.ClientResponse:
        if self._session is None:  # it wants a running loop
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=600)
            self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), timeout=timeout)
        return await self._session.post(self._url, data=request_body(model), headers=JSON_HEADERS)

    async def consume(self, stream: aiohttp.ClientResponse) -> int:
        try:
            return await count(self._events(stream), (Text, Arguments))
        finally:
            stream.release()

    async def _events(self, response: aiohttp.ClientResponse) -> AsyncIterator[Event]:
        rest = b""
        async for data in response.content.iter_any():
            events, rest = feed(rest, data)
            for event in events:
                yield event
