"""What carries a request: our HTTP client, a user's, or a user's SDK client. All give the same Answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Protocol

import httpx2

from ..events import ConnectionFailedError, ConnectTimeout, InvalidRequestError, LLMError, LLMTimeoutError, ServerError
from ..protocols import Encoded, Timeout

ERROR_BODY_LIMIT = 65536


class Answer:
    """A response whose body has not been read: its head, its bytes, and how to let go of it."""

    __slots__ = ("_response", "_stream", "headers", "read", "status")

    def __init__(self, response: httpx2.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.headers: Mapping[str, str] = response.headers
        self._stream: Any = response.extensions.get("asyncllm_stream")
        chunks: AsyncIterator[bytes]
        if self._stream is not None and "content-encoding" not in response.headers:
            chunks = self._stream.__aiter__()  # our transport: all that has arrived, in one piece, with nothing between
        else:
            chunks = response.aiter_bytes().__aiter__()
        self.read = chunks.__anext__
        """Some bytes of the body, decoded; StopAsyncIteration at its end, httpx2.TransportError where it breaks."""

    async def finish(self) -> None:
        """All that matters was read. The tail may still come: the connection is kept for reuse if it does."""
        if self._stream is not None:
            self._stream.finish()
        await self._response.aclose()

    async def aclose(self) -> None:
        await self._response.aclose()

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.abort()

    async def error_body(self) -> bytes:
        """The start of the body, as much as there is before it breaks; the response is closed then (H4)."""
        pieces: list[bytes] = []
        size = 0
        try:
            while size < ERROR_BODY_LIMIT:
                piece = await self.read()
                pieces.append(piece)
                size += len(piece)
            await self.aclose()
        except StopAsyncIteration:
            await self.aclose()
        except (httpx2.TransportError, httpx2.DecodingError):
            await self.aclose()  # the status says enough
        except BaseException:
            self.abort()
            raise
        return b"".join(pieces)[:ERROR_BODY_LIMIT]


class Carrier(Protocol):
    """Sends one encoded request and returns with the head of the answer; raises httpx2.TransportError."""

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer: ...

    async def aclose(self) -> None: ...


class HTTPCarrier:
    """Over an ``httpx2.AsyncClient``: ours, with the fast transport, or the user's. Its owner closes it, not we."""

    def __init__(self, base_url: str, *, client: Callable[[], httpx2.AsyncClient], auth_header: str = "authorization") -> None:
        self._client = client
        self._base = base_url.rstrip("/")
        self._auth_header = auth_header
        try:
            url = httpx2.URL(self._base)
        except httpx2.InvalidURL as error:
            raise InvalidRequestError(f"base_url {base_url!r} is not a URL: {error}") from None
        if url.scheme not in ("http", "https") or not url.host:
            raise InvalidRequestError(f"base_url {base_url!r} must begin with http:// or https:// and name a host")
        self._query = url.query.decode()
        self._path_base = str(url.copy_with(query=None)).rstrip("/") if self._query else self._base

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        sent = {"accept": "text/event-stream", "content-type": "application/json", **encoded.headers}
        if token:
            sent[self._auth_header] = f"Bearer {token}" if self._auth_header == "authorization" else token
        sent.update(headers)
        url = self._path_base + encoded.path + (f"?{self._query}" if self._query else "")
        limits = httpx2.Timeout(timeout.idle, connect=timeout.connect)
        client = self._client()
        request = client.build_request("POST", url, content=encoded.body, headers=sent, timeout=limits)
        return Answer(await client.send(request, stream=True))

    async def aclose(self) -> None:
        """Nothing is ours."""


def transport_failure(error: Exception, *, provider: str, model: str, where: str) -> LLMError:
    """Our error for what a transport raised before the head of the answer was there."""
    fields: dict[str, Any] = {"provider": provider, "model": model}
    text = str(error) or type(error).__name__
    if isinstance(error, httpx2.ConnectTimeout):
        return ConnectTimeout(f"no connection to {where} in time (timeout.connect): {text}", **fields)
    if isinstance(error, httpx2.PoolTimeout):
        return LLMTimeoutError(f"no free connection to {where}: {text}", **fields)
    if isinstance(error, httpx2.TimeoutException):
        return LLMTimeoutError(f"{where} did not answer in time: {text}", **fields)
    if isinstance(error, httpx2.UnsupportedProtocol | httpx2.InvalidURL | httpx2.LocalProtocolError):
        return InvalidRequestError(f"the request to {where} cannot be sent: {text}", **fields)
    if isinstance(error, httpx2.TransportError):
        return ConnectionFailedError(f"the connection to {where} failed: {text}", **fields)
    return ServerError(f"the request to {where} failed: {text}", retryable=False, **fields)
