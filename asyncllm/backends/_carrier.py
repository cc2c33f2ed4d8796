"""What carries a request: our HTTP client, a user's, or a user's SDK client. All give the same Answer."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import httpx2

from .._version import __version__
from ..events import ConnectionFailedError, ConnectTimeout, InvalidRequestError, LLMError, LLMTimeoutError, ServerError
from ..protocols import Encoded, Timeout
from ..transports import FastTransport, ResponseStream, as_response, origin_of
from ._credentials import auth_headers

ERROR_BODY_LIMIT = 65536


HTTP = Callable[[], "httpx2.AsyncClient | FastTransport"]
"""Gives what carries requests, when there is one to carry: nothing is made before."""

LISTS = frozenset({"anthropic-beta"})
"""Headers that list things: what we ask for and what a user asks for are both sent."""

_USER_AGENT = f"asyncllm/{__version__}".encode()


class Answer:
    """The head of an answer, its bytes to come, and how to let go of it.

    `read()` gives some bytes of the body, decoded, or none yet; it raises StopAsyncIteration at the end, httpx2.TransportError
    where the body breaks. Whoever is cancelled in it must `abort`. `headers` are case-insensitive.
    """

    __slots__ = ("_head", "_headers", "_response", "_stream", "direct", "read", "status")

    def __init__(self, answer: ResponseStream | httpx2.Response) -> None:
        stream = answer if isinstance(answer, ResponseStream) else answer.extensions.get("asyncllm_stream")
        self._stream: ResponseStream | None = stream
        self._response: httpx2.Response | None = None
        self._headers: Mapping[str, str] | None = None
        self.read: Callable[[], Awaitable[bytes]]
        self.direct: ResponseStream | None = None
        """What is read, where nothing is between us and our transport."""
        if stream is not None and not stream.head.has_header(b"content-encoding"):
            self.direct = stream
            self._head = stream.head
            self.status = self._head.status
            self.read = stream.read
        else:
            response = self._response = as_response(answer) if isinstance(answer, ResponseStream) else answer
            self._headers = response.headers
            self.status = response.status_code
            self.read = response.aiter_bytes().__aiter__().__anext__

    @property
    def headers(self) -> Mapping[str, str]:
        if self._headers is None:
            self._headers = httpx2.Headers(self._head.headers)
        return self._headers

    async def finish(self) -> None:
        """All that matters was read. The tail may still come: the connection is kept for reuse if it does."""
        if self._stream is not None:
            self._stream.finish()
        if self._response is not None:
            await self._response.aclose()

    async def aclose(self) -> None:
        if self._response is not None:
            await self._response.aclose()
        elif self._stream is not None:
            await self._stream.aclose()

    def abort(self) -> None:
        if self._stream is not None:
            self._stream.abort()
        elif self._response is not None:
            _close_soon(self._response)

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


_closing: set[asyncio.Task[None]] = set()


def _close_soon(response: httpx2.Response) -> None:
    """Close what can only be closed with an await: in a task, where a loop runs; elsewhere its collection closes it."""
    with contextlib.suppress(RuntimeError):
        task = asyncio.get_running_loop().create_task(response.aclose())
        _closing.add(task)
        task.add_done_callback(_closing.discard)


class Carrier(Protocol):
    """Sends one encoded request and returns with the head of the answer; raises httpx2.TransportError."""

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer: ...

    async def aclose(self) -> None: ...


class HTTPCarrier:
    """Over HTTP: straight through our transport, or through an ``httpx2.AsyncClient``. Their owner closes them, not we."""

    def __init__(self, base_url: str, *, http: HTTP, auth_header: str = "authorization") -> None:
        self._http = http
        self._auth_header = auth_header
        self._url = httpx2.URL(base_url)
        self._origin = origin_of(self._url)
        self._targets: dict[str, bytes] = {}

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        sent = {"accept": "application/json, text/event-stream", "content-type": "application/json", **encoded.headers}
        for more in (auth_headers(self._auth_header, token), headers):
            for name in LISTS.intersection(more, sent):
                more = {**more, name: joined(sent[name], more[name])}
            sent.update(more)
        http = self._http()
        if isinstance(http, httpx2.AsyncClient):
            limits = httpx2.Timeout(timeout.idle, connect=timeout.connect)
            url = self._url.copy_with(raw_path=self._target(encoded.path))
            request = http.build_request(encoded.method, url, content=encoded.body, headers=sent, timeout=limits)
            return Answer(await http.send(request, stream=True))
        return await self._send(http, encoded, sent, timeout)

    async def _send(self, transport: FastTransport, encoded: Encoded, sent: dict[str, str], timeout: Timeout) -> Answer:
        lines = [(b"host", self._url.netloc), (b"user-agent", _USER_AGENT)]
        lines += [(name.encode("ascii"), value.encode("ascii")) for name, value in sent.items()]
        limits = {"connect": timeout.connect, "read": timeout.idle, "write": timeout.idle}
        target = self._target(encoded.path)
        method = encoded.method.encode("ascii")
        return Answer(await transport.send(self._origin, method, target, lines, encoded.body, timeouts=limits))

    def _target(self, path: str) -> bytes:
        """The path of a request, below the base URL's own; the queries of both are joined."""
        target = self._targets.get(path)
        if target is None:
            base, _, base_query = self._url.raw_path.partition(b"?")
            own, _, query = path.encode("ascii").partition(b"?")
            queries = b"&".join(filter(None, (query, base_query)))
            target = base.rstrip(b"/") + own + (b"?" + queries if queries else b"")
            if len(self._targets) < 100:
                self._targets[path] = target
        return target

    async def aclose(self) -> None:
        """Nothing is ours."""


def joined(value: str, other: str) -> str:
    """Two comma lists as one; what both have is there once."""
    items = [item.strip() for item in f"{value},{other}".split(",")]
    return ",".join(dict.fromkeys(item for item in items if item))


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
