"""The demo: the embedded server of :mod:`asyncllm.testing`, in this process, over a real socket, without a key."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from ..protocols import Encoded, Timeout
from ..protocols.openai_chat import ChatCodec
from ._backend import Backend
from ._carrier import Answer, Carrier, HTTPCarrier
from ._credentials import Credentials
from ._http import HTTPBackend


class _DemoCarrier:
    """Starts the server when it is first needed, under the loop that needs it."""

    def __init__(self, settings: Any) -> None:
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Any = None
        self._carrier: Carrier | None = None
        self._starting = asyncio.Lock()

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._starting = asyncio.Lock()
            self._loop, self._server, self._carrier = loop, None, None
        async with self._starting:
            if self._carrier is None:
                from ..testing import demo_server

                self._server = await demo_server()
                self._carrier = HTTPCarrier(self._server.base_url, http=self._settings.http)
        return await self._carrier.send(encoded, token, headers, timeout)

    async def aclose(self) -> None:
        server, self._server, self._carrier = self._server, None, None
        if server is not None and self._loop is asyncio.get_running_loop():
            await server.aclose()


def demo_backend(settings: Any) -> Backend:
    return HTTPBackend("demo", ChatCodec("demo"), lambda: _DemoCarrier(settings), Credentials("demo", default="demo"), headers=settings.headers)
