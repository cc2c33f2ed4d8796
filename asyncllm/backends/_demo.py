"""The demo: the embedded server of :mod:`asyncllm.testing`, in this process, over a real socket, without a key."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from typing import TYPE_CHECKING

from ..protocols import Encoded, Timeout
from ..protocols.openai_chat import ChatCodec
from ._backend import Backend
from ._credentials import Credentials
from ._http import HTTPBackend

if TYPE_CHECKING:
    from ..transports import FastTransport
    from ._carrier import Answer, Carrier
    from ._registry import Settings


class _DemoCarrier:
    """Starts the server when it is first needed, under the loop that needs it; it ends with that loop, at the latest.

    The way there is a transport of its own: no proxy that is configured for the world leads to this process.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[str] | None = None
        self._serving: AsyncGenerator[str] | None = None
        self._carrier: Carrier | None = None
        self._transport: FastTransport | None = None

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._carrier = loop, None
            self._serving = _serve()
            self._starting = loop.create_task(_first(self._serving))
        if self._carrier is None:
            from ._carrier import HTTPCarrier

            assert self._starting is not None
            base_url = await asyncio.shield(self._starting)
            self._carrier = HTTPCarrier(base_url, http=self._http)
        return await self._carrier.send(encoded, token, headers, timeout)

    def _http(self) -> FastTransport:
        if self._transport is None:
            from ..transports import FastTransport

            self._transport = FastTransport()
        return self._transport

    async def aclose(self) -> None:
        if self._transport is not None:
            await self._transport.aclose()
        if self._serving is not None and self._starting is not None and self._loop is asyncio.get_running_loop():
            await self._starting
            serving, self._serving, self._loop = self._serving, None, None
            await serving.aclose()


async def _serve() -> AsyncGenerator[str]:
    """Gives the base URL. Suspended there until it is closed, or until the loop shuts its generators down."""
    from ..testing import demo_server

    server = await demo_server()
    try:
        yield server.base_url
    finally:
        await server.aclose()


async def _first(serving: AsyncGenerator[str]) -> str:
    return await anext(serving)


def demo_backend(settings: Settings) -> Backend:
    credentials = Credentials("demo", default="demo")
    where = "the demo server"
    return HTTPBackend("demo", ChatCodec("demo"), _DemoCarrier, credentials, headers=settings.headers, where=where)
