"""HTTP for httpx2: the fast transport, and a client that uses it wherever it can.

The fast transport does HTTP/1.1 under asyncio (uvloop included), with TLS and a connection pool. What it does not do
goes to httpx2's own transport, and says so in the log `asyncllm.transports` and in `fallback_reason`: proxies, HTTP/2,
SOCKS, protocol upgrades, and event loops that are not asyncio's.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import ssl
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any
from urllib.request import getproxies

import httpx2

from ._http1 import BufferedConnection, Connection, Key
from ._http1_messages import MAX_HEADER_BYTES, IncomingResponse, OutgoingRequest, encode_message, encode_request
from ._http1_stream import ResponseStream
from ._pool import Pool, PoolCounts

if sys.platform != "win32":
    import resource  # here: with no file descriptor left nothing can be imported

__all__ = [
    "DEFAULT_LIMITS",
    "FastTransport",
    "IncomingResponse",
    "ResponseStream",
    "as_response",
    "build_ssl_context",
    "fallback_reason",
    "http_client",
    "origin_of",
]

logger = logging.getLogger("asyncllm.transports")

DEFAULT_LIMITS = httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0)
"""Connections are not limited: an open stream needs one for as long as a model talks, and whoever had many streams will have
them again. Idle ones close after half a minute, or when their descriptors are needed."""
DEFAULT_TIMEOUT = httpx2.Timeout(600.0, connect=10.0)
"""A model may think for minutes without a byte; a connection that takes ten seconds will not come."""

Cert = str | tuple[str, str] | tuple[str, str, str]
"""A PEM file with certificate and key, or (certificate, key), or (certificate, key, password)."""

Timeouts = Mapping[str, float | None]
"""Seconds for `connect`, `read`, `write` and `pool`, as httpx2 has them in its extensions; what is missing is no limit."""

_PORTS = {"http": 80, "https": 443}
_HAPPY_EYEBALLS_DELAY = 0.25


class FastTransport(httpx2.AsyncBaseTransport):
    """HTTP/1.1 on asyncio.Protocol and httptools.

    May be used under several event loops, one after another or at once: each has its own pool. The TLS context is made
    on the first https request, off the loop (it takes 0.1 s), and is an `ssl.SSLContext` of the caller, or by default
    verifies. `response.extensions["asyncllm_stream"]` is the `ResponseStream`.
    """

    def __init__(
        self,
        *,
        verify: ssl.SSLContext | bool | str = True,
        cert: Cert | None = None,
        trust_env: bool = True,
        limits: httpx2.Limits = DEFAULT_LIMITS,
        max_header_bytes: int = MAX_HEADER_BYTES,
    ) -> None:
        self._limits = limits
        self._max_header_bytes = max_header_bytes
        self._make_ssl_context = partial(build_ssl_context, verify, cert, trust_env)
        self._ssl_context: ssl.SSLContext | None = None
        self._ssl_lock = threading.Lock()
        self._pools: dict[asyncio.AbstractEventLoop, Pool] = {}
        self._fallback: httpx2.AsyncHTTPTransport | None = None
        self.fallback_reason: str | None = None
        """Why httpx2's own transport was used, if it was."""

    @property
    def counts(self) -> PoolCounts:
        """Connections under the running event loop."""
        pool = self._pools.get(asyncio.get_running_loop())
        return PoolCounts(0, 0, 0) if pool is None else pool.counts

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Returns when the head of the response is there. Raises httpx2's exceptions, with `request` set."""
        if _running_loop() is None:
            return await self._fall_back(request, "not running under asyncio")
        if "upgrade" in request.headers:
            return await self._fall_back(request, "the request asks for a protocol upgrade")
        try:
            return await self._handle(request)
        except httpx2.TransportError as exc:
            exc.request = request
            raise

    async def aclose(self) -> None:
        """Closes all connections, idle or not. The transport can be used again."""
        pools, self._pools = self._pools, {}
        for loop, pool in pools.items():
            await _close_pool(loop, pool)
        if self._fallback is not None:
            fallback, self._fallback = self._fallback, None
            await fallback.aclose()

    async def send(
        self,
        origin: Key,
        method: bytes,
        target: bytes,
        headers: Sequence[tuple[bytes, bytes]],
        body: bytes,
        *,
        timeouts: Timeouts,
    ) -> ResponseStream:
        """A request without the work of httpx2's client, request and response. `headers` include the host, not the length.

        Returns when the head of the response is there. Raises httpx2's exceptions.
        """
        return await self._exchange(origin, encode_message(method, target, headers, body), timeouts, None)

    async def _handle(self, request: httpx2.Request) -> httpx2.Response:
        extensions = request.extensions
        origin = origin_of(request.url, extensions.get("sni_hostname"))
        stream = await self._exchange(origin, encode_request(request), extensions.get("timeout") or {}, request)
        return as_response(stream)

    async def _exchange(
        self, key: Key, message: OutgoingRequest, timeouts: Timeouts, request: httpx2.Request | None
    ) -> ResponseStream:
        loop = asyncio.get_running_loop()
        pool = self._pools.get(loop) or await self._add_pool(loop)
        connect = partial(self._connect, loop, pool, key, timeouts.get("connect"))
        exchange_options: dict[str, Any] = {
            "read_timeout": timeouts.get("read"),
            "write_timeout": timeouts.get("write"),
            "max_header_bytes": self._max_header_bytes,
        }
        connection = await pool.acquire(key, connect, timeouts.get("pool"))
        try:
            exchange = await connection.request(message, **exchange_options)
        except httpx2.TransportError:
            if not (connection.stale and message.replayable):
                raise
            logger.debug("%s had closed an idle connection: trying once more on a new one", key.address)
            connection = await pool.acquire(key, connect, timeouts.get("pool"), fresh=True)
            exchange = await connection.request(message, **exchange_options)
        return ResponseStream(connection, exchange, request)

    async def _add_pool(self, loop: asyncio.AbstractEventLoop) -> Pool:
        """A pool for a loop seen for the first time: the moment to clear away those of loops that are closed."""
        for other in [other for other in self._pools if other.is_closed()]:
            self._pools.pop(other).dispose()
        pool = self._pools[loop] = await Pool.open(loop, self._limits)
        return pool

    async def _connect(
        self, loop: asyncio.AbstractEventLoop, pool: Pool, key: Key, timeout: float | None
    ) -> Connection:
        stdlib, tls = isinstance(loop, asyncio.BaseEventLoop), key.scheme == "https"
        connection = (BufferedConnection if stdlib or tls else Connection)(loop, pool, key)
        options: dict[str, Any] = {}
        if tls:
            context = self._ssl_context or await asyncio.to_thread(self._get_ssl_context)
            options = {"ssl": context, "server_hostname": key.sni or key.host}
        if stdlib and _is_name(key.host):
            options["happy_eyeballs_delay"] = _HAPPY_EYEBALLS_DELAY
        try:
            async with asyncio.timeout(timeout):
                await loop.create_connection(lambda: connection, key.host, key.port, **options)
        except BaseException as exc:
            connection.abort()
            if isinstance(exc, TimeoutError):
                raise httpx2.ConnectTimeout(f"cannot connect to {key.address} within {timeout} s") from exc
            if isinstance(exc, OSError | UnicodeError):
                raise httpx2.ConnectError(f"cannot connect to {key.address}: {_explain(exc)}") from exc
            raise
        return connection

    def _get_ssl_context(self) -> ssl.SSLContext:
        """Runs in a worker thread; the lock makes requests that come together share one context."""
        with self._ssl_lock:
            if self._ssl_context is None:
                self._ssl_context = self._make_ssl_context()
            return self._ssl_context

    async def _fall_back(self, request: httpx2.Request, reason: str) -> httpx2.Response:
        if self._fallback is None:
            logger.info("using httpx2's own transport: %s", reason)
            self.fallback_reason = reason
            self._fallback = httpx2.AsyncHTTPTransport(verify=self._get_ssl_context(), limits=self._limits)
        return await self._fallback.handle_async_request(request)


def as_response(stream: ResponseStream) -> httpx2.Response:
    """What httpx2 makes of an answer: decoded content, and its kind of headers."""
    head = stream.head
    return httpx2.Response(
        head.status,
        headers=head.headers,
        stream=stream,
        extensions={
            "http_version": head.http_version,
            "reason_phrase": head.reason,
            "asyncllm_stream": stream,
        },
    )


def http_client(
    *,
    verify: ssl.SSLContext | bool | str = True,
    cert: Cert | None = None,
    proxy: httpx2.Proxy | httpx2.URL | str | None = None,
    http2: bool = False,
    limits: httpx2.Limits | None = None,
    trust_env: bool = True,
    timeout: httpx2.Timeout | float | None = None,
    transport: httpx2.AsyncBaseTransport | None = None,
) -> httpx2.AsyncClient:
    """An `httpx2.AsyncClient` on the fast transport, or on httpx2's own where that is needed (see `fallback_reason`).

    `timeout=None` and `limits=None` mean `DEFAULT_TIMEOUT` and `DEFAULT_LIMITS`. Redirects are not followed: an API
    that redirects a POST is misconfigured. A `transport` is used as it is.
    """
    limits = limits or DEFAULT_LIMITS
    common: dict[str, Any] = {"timeout": DEFAULT_TIMEOUT if timeout is None else timeout, "trust_env": trust_env}
    if transport is not None:
        return httpx2.AsyncClient(transport=transport, **common)
    reason = fallback_reason(proxy=proxy, http2=http2, trust_env=trust_env)
    if reason is None:
        transport = FastTransport(verify=verify, cert=cert, trust_env=trust_env, limits=limits)
        return httpx2.AsyncClient(transport=transport, **common)
    logger.info("using httpx2's own transport: %s", reason)
    context = build_ssl_context(verify, cert, trust_env)
    return httpx2.AsyncClient(verify=context, proxy=proxy, http2=http2, limits=limits, **common)


def fallback_reason(
    *, proxy: httpx2.Proxy | httpx2.URL | str | None = None, http2: bool = False, trust_env: bool = True
) -> str | None:
    """Why `http_client` would not use the fast transport with these settings; None if it would."""
    if http2:
        return "HTTP/2 was asked for"
    if proxy is not None:
        return "a proxy was given"
    if trust_env:
        environment = getproxies()
        exempt = [host.strip() for host in environment.get("no", "").split(",")]
        found = [scheme for scheme in ("http", "https", "all") if environment.get(scheme)]
        if found and "*" not in exempt:
            return f"the environment sets a proxy ({', '.join(found)})"
    return None


def build_ssl_context(verify: ssl.SSLContext | bool | str, cert: Cert | None, trust_env: bool) -> ssl.SSLContext:
    """`verify` as httpx2 means it, or the path of a CA file or directory. ALPN offers HTTP/1.1 only."""
    if isinstance(verify, str):
        directory = os.path.isdir(verify)
        context = ssl.create_default_context(capath=verify) if directory else ssl.create_default_context(cafile=verify)
    else:
        context = httpx2.create_ssl_context(verify=verify, trust_env=trust_env)
    if cert is not None:
        context.load_cert_chain(*((cert,) if isinstance(cert, str) else cert))
    context.set_alpn_protocols(["http/1.1"])
    return context


def origin_of(url: httpx2.URL, sni: str | None = None) -> Key:
    """Whom to connect to for a URL. Raises UnsupportedProtocol for anything but http and https."""
    scheme = url.scheme
    if scheme not in _PORTS:
        raise httpx2.UnsupportedProtocol(f"the URL {scheme}://... is neither http:// nor https://")
    host = url.raw_host.decode("ascii")
    if not host:
        raise httpx2.UnsupportedProtocol("the URL has no host")
    return Key(scheme, host, url.port or _PORTS[scheme], sni)


def _is_name(host: str) -> bool:
    return ":" not in host and not host.replace(".", "").isdigit()


def _explain(exc: Exception) -> str:
    if isinstance(exc, OSError) and exc.errno in (errno.EMFILE, errno.ENFILE):
        known = ""
        if exc.errno == errno.EMFILE and sys.platform != "win32":
            known = f" and the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}"
        return f"{exc.strerror}: every open stream needs a file descriptor{known}; raise the limit with `ulimit -n`"
    return str(exc) or type(exc).__name__


async def _close_pool(loop: asyncio.AbstractEventLoop, pool: Pool) -> None:
    """Closes a pool from wherever this runs."""
    if loop.is_closed():
        pool.dispose()
    elif loop is _running_loop():
        await pool.aclose()
    else:
        loop.call_soon_threadsafe(pool.close)


def _running_loop() -> asyncio.AbstractEventLoop | None:
    """None where asyncio does not run: under trio, say."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
