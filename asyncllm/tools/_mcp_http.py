"""The HTTP client under a session: what fails there is told to the call that it failed for, and to nobody else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextvars import ContextVar
from typing import Any

import httpx2
from mcp.types import CONNECTION_CLOSED

BODY_LIMIT = 64 * 1024 * 1024
"""Bytes of one answer."""

SECONDS = 30.0
"""To connect, and to send. Reading has no limit: an answer takes as long as the tool does."""

_SESSION_ID = "mcp-session-id"


class Exchange:
    """What became of the requests of one call."""

    def __init__(self) -> None:
        self.failed = False
        """The connection broke, or was never there."""
        self.not_done = False
        """The server cannot have carried out the call: it was not reached, or does not know the session."""


EXCHANGE: ContextVar[Exchange | None] = ContextVar("asyncllm.mcp.exchange", default=None)
"""The call that a request belongs to. The mcp package sends a message in the context of whoever asked for it."""


class SessionClient(httpx2.AsyncClient):
    """Notes how requests fail. Of the streamable transport it also keeps failures away: an exception from one POST would end
    the whole session there, and every other call in it."""

    def __init__(self, headers: Mapping[str, str], *, broken: Callable[[], None] | None = None) -> None:
        # uncompressed, so that the limit on a body is one on memory
        timeout = httpx2.Timeout(SECONDS, read=None, pool=None)
        super().__init__(headers={"accept-encoding": "identity", **headers}, timeout=timeout)
        self._broken = broken
        self.failure: httpx2.TransportError | None = None
        """The last reason why there was no answer."""
        self.status: int | None = None
        """The last answer that was an error: its status. Not that of the GET that a server may do without."""

    async def send(self, request: httpx2.Request, *args: Any, **options: Any) -> httpx2.Response:
        exchange = EXCHANGE.get()
        post = request.method == "POST"
        try:
            response = await super().send(request, *args, **options)
        except httpx2.TransportError as error:
            if exchange is not None:
                exchange.failed = True
                exchange.not_done = isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
            if not (post or self._broken):
                raise
            self.failure = error
            if self._broken is not None:
                self._broken()
                raise
            told = {"code": CONNECTION_CLOSED, "message": str(error)}
            return httpx2.Response(502, request=request, json={"jsonrpc": "2.0", "id": None, "error": told})
        if response.status_code >= 400 and (post or self._broken is not None):
            self.status = response.status_code
            if exchange is not None and response.status_code == 404 and _SESSION_ID in request.headers:
                exchange.not_done = True
            if self._broken is not None:
                self._broken()
            return response
        if post:
            self.status = None
        if response.headers.get("content-type", "").lower().startswith("application/json"):
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _Body(response.stream)
        return response


class _Body(httpx2.AsyncByteStream):
    """A body of limited size, whose failing is a StreamError: the transport makes that the failure of one call."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for part in self._stream:
                size += len(part)
                if size > BODY_LIMIT:
                    raise httpx2.StreamError(f"an answer of more than {BODY_LIMIT} bytes")
                yield part
        except httpx2.TransportError as error:
            if (exchange := EXCHANGE.get()) is not None:
                exchange.failed = True
            raise httpx2.StreamError(str(error)) from error

    async def aclose(self) -> None:
        await self._stream.aclose()
