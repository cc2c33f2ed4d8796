"""TLS, the client factory, the ways around the fast transport, other loops, and the openai SDK on top."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
from pathlib import Path

import httpx2
import openai
import pytest
import trio
import trustme
import uvloop
from _rawserver import STREAM_END, STREAM_HEAD, RawConnection, answering, chunk, raw_server, raw_server_thread, response

from asyncllm.transports import _http
from asyncllm.transports._http import DEFAULT_TIMEOUT, FastTransport, fallback_reason, http_client
from asyncllm.transports._pool import PoolCounts

OK = answering(response(b"ok"))

PROXY_VARIABLES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PROXY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "api.example.com").configure_cert(context)
    context.set_alpn_protocols(["h2", "http/1.1"])
    return context


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_tls(server_context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """Verified, HTTP/1.1 by ALPN, streamed, reused."""
    protocols = []

    async def script(connection: RawConnection) -> None:
        protocols.append(connection.writer.get_extra_info("ssl_object").selected_alpn_protocol())
        while True:
            await connection.request()
            await connection.send(STREAM_HEAD, chunk(b"x" * 100_000), STREAM_END)

    async with (
        raw_server(script, ssl_context=server_context) as server,
        httpx2.AsyncClient(transport=FastTransport(verify=trusting)) as client,
    ):
        for _ in range(3):
            assert (await client.get(server.url)).content == b"x" * 100_000
    assert protocols == ["http/1.1"]


async def test_tls_cancel_closes_at_once(server_context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """No TLS goodbye is waited for."""
    script = answering(STREAM_HEAD + chunk(b"first"))
    async with raw_server(script, ssl_context=server_context) as server, FastTransport(verify=trusting) as transport:
        stream = (await transport.handle_async_request(httpx2.Request("GET", server.url))).extensions["asyncllm_stream"]
        assert await anext(stream) == b"first"
        stream.abort()
        await server.connections[0].gone(0.05)


async def test_unknown_authority(server_context: ssl.SSLContext) -> None:
    """By default nobody is trusted whom the system does not trust."""
    async with raw_server(OK, ssl_context=server_context) as server, FastTransport() as transport:
        with pytest.raises(httpx2.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await transport.handle_async_request(httpx2.Request("GET", server.url))
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_wrong_host(server_context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """A certificate for somebody else."""
    async with raw_server(OK, ssl_context=server_context) as server, FastTransport(verify=trusting) as transport:
        with pytest.raises(httpx2.ConnectError, match="Hostname mismatch"):
            await transport.handle_async_request(httpx2.Request("GET", f"https://localhost:{server.port}"))


async def test_sni_hostname(server_context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """The name asked of TLS may differ from the address; connections for different names do not mix."""
    names = []
    server_context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with raw_server(OK, ssl_context=server_context) as server:
        async with httpx2.AsyncClient(transport=FastTransport(verify=trusting)) as client:
            extensions = {"sni_hostname": "api.example.com"}
            await client.get(f"https://localhost:{server.port}", extensions=extensions)
            await client.get(server.url)
            await client.get(f"https://localhost:{server.port}", extensions=extensions)
        assert server.opened == 2
    assert names[0] == "api.example.com"


async def test_verify_false(server_context: ssl.SSLContext) -> None:
    """For those who ask for it."""
    async with raw_server(OK, ssl_context=server_context) as server, http_client(verify=False) as client:
        assert (await client.get(server.url)).content == b"ok"


@pytest.mark.parametrize("form", ["file", "pair", "context"])
async def test_client_certificate(
    authority: trustme.CA, server_context: ssl.SSLContext, trusting: ssl.SSLContext, tmp_path: Path, form: str
) -> None:
    """A certificate of the client's, as a file, as a pair of files, and within a context; `verify` as a path."""
    server_context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_context)
    mine = authority.issue_cert("client@example.com")
    bundle, key, chain = tmp_path / "bundle.pem", tmp_path / "key.pem", tmp_path / "chain.pem"
    mine.private_key_and_cert_chain_pem.write_to_path(bundle)
    mine.private_key_pem.write_to_path(key)
    mine.cert_chain_pems[0].write_to_path(chain)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    cert: _http.Cert | None
    verify: ssl.SSLContext | str = str(tmp_path / "ca.pem")
    if form == "context":
        mine.configure_cert(trusting)
        verify, cert = trusting, None
    else:
        cert = str(bundle) if form == "file" else (str(chain), str(key))
    async with (
        raw_server(OK, ssl_context=server_context) as server,
        http_client(verify=verify, cert=cert) as client,
    ):
        assert (await client.get(server.url)).content == b"ok"


async def test_missing_client_certificate(
    authority: trustme.CA, server_context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    """A server that wants a certificate and gets none: a transport error, whenever TLS gets round to saying so."""
    server_context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_context)
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda *_: None)  # the server's complaint
    async with raw_server(OK, ssl_context=server_context) as server, FastTransport(verify=trusting) as transport:
        with pytest.raises(httpx2.TransportError):
            await transport.handle_async_request(httpx2.Request("GET", server.url))
        assert transport.counts == PoolCounts(0, 0, 0)


async def test_ca_directory(tmp_path: Path) -> None:
    """`verify` may be a directory of certificates."""
    context = _http.build_ssl_context(str(tmp_path), None, True)
    assert context.verify_mode is ssl.CERT_REQUIRED


async def test_default_context_is_built_once_and_late(
    monkeypatch: pytest.MonkeyPatch, server_context: ssl.SSLContext, trusting: ssl.SSLContext
) -> None:
    """Not at construction, not for http, and once for requests that come together, in another thread."""
    built: list[int] = []

    def build(*_: object) -> ssl.SSLContext:
        built.append(threading.get_ident())
        return trusting

    monkeypatch.setattr(_http, "build_ssl_context", build)
    async with (
        raw_server(OK) as plain,
        raw_server(OK, ssl_context=server_context) as server,
        http_client() as client,
    ):
        await client.get(plain.url)
        assert built == []
        await asyncio.gather(*[client.get(server.url) for _ in range(5)])
    assert len(built) == 1
    assert built[0] != threading.get_ident()


async def test_client_defaults() -> None:
    """The fast transport, timeouts for models that think, no redirects."""
    async with http_client() as client:
        assert isinstance(client._transport, FastTransport)
        assert client.timeout == DEFAULT_TIMEOUT
        assert client.follow_redirects is False
    async with http_client(timeout=3) as client:
        assert client.timeout == httpx2.Timeout(3)


async def test_a_given_transport_is_used() -> None:
    """Without a word about proxies: whoever brings a transport knows."""
    mock = httpx2.MockTransport(lambda _: httpx2.Response(200, text="mock"))
    async with http_client(transport=mock) as client:
        assert (await client.get("http://x")).text == "mock"


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"https_proxy": "http://p:1"}, "the environment sets a proxy (https)"),
        ({"all_proxy": "socks5://p:1"}, "the environment sets a proxy (all)"),
        ({"http_proxy": "http://p:1", "no_proxy": "localhost"}, "the environment sets a proxy (http)"),
        ({"http_proxy": "http://p:1", "no_proxy": "localhost, *"}, None),
        ({"no_proxy": "localhost"}, None),
        ({"ftp_proxy": "http://p:1"}, None),
    ],
)
def test_environment_proxies(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], reason: str | None) -> None:
    """A proxy that is configured for what we do goes to httpx2's own transport, unless everything is exempt."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert fallback_reason() == reason
    assert fallback_reason(trust_env=False) is None


def test_fallback_reasons() -> None:
    """What the fast transport does not do."""
    assert fallback_reason(http2=True) == "HTTP/2 was asked for"
    assert fallback_reason(proxy="http://p:1") == "a proxy was given"


async def test_proxy(caplog: pytest.LogCaptureFixture) -> None:
    """A proxied request goes through httpx2, and the log says so."""
    caplog.set_level(logging.INFO, "asyncllm.transports")
    async with raw_server(OK) as proxy, http_client(proxy=proxy.url, verify=False) as client:
        assert not isinstance(client._transport, FastTransport)
        assert (await client.get("http://elsewhere.example/x")).content == b"ok"
    assert proxy.requests[0].line == b"GET http://elsewhere.example/x HTTP/1.1"
    assert "using httpx2's own transport: a proxy was given" in caplog.text


async def test_upgrade_goes_to_httpx2(caplog: pytest.LogCaptureFixture) -> None:
    """A websocket handshake gets its 101 and the raw stream, from httpx2's own transport."""
    caplog.set_level(logging.INFO, "asyncllm.transports")
    wire = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"
    transport = FastTransport(verify=False)
    async with raw_server(answering(wire)) as server, httpx2.AsyncClient(transport=transport) as client:
        headers = {"connection": "upgrade", "upgrade": "x"}
        for _ in range(2):
            async with client.stream("GET", server.url, headers=headers) as reply:
                assert reply.status_code == 101
                assert "network_stream" in reply.extensions
    assert transport.fallback_reason == "the request asks for a protocol upgrade"
    assert caplog.text.count("protocol upgrade") == 1


def test_trio(caplog: pytest.LogCaptureFixture) -> None:
    """Under trio the same client works, on httpx2's own transport."""
    caplog.set_level(logging.INFO, "asyncllm.transports")
    transport = FastTransport(verify=False)

    async def main() -> bytes:
        async with httpx2.AsyncClient(transport=transport) as client:
            return (await client.get(server.url)).content

    with raw_server_thread(OK) as server:
        assert trio.run(main) == b"ok"
    assert transport.fallback_reason == "not running under asyncio"


def test_uvloop(server_context: ssl.SSLContext, trusting: ssl.SSLContext) -> None:
    """uvloop: reuse, host names, TLS, cancel."""

    async def main() -> None:
        transport = FastTransport(verify=trusting)
        async with (
            raw_server(OK, ssl_context=server_context) as server,
            httpx2.AsyncClient(transport=transport) as client,
        ):
            for _ in range(3):
                assert (await client.get(server.url)).content == b"ok"
            assert server.opened == 1
        async with raw_server(answering(STREAM_HEAD + chunk(b"first"))) as server:
            request = httpx2.Request("GET", f"http://localhost:{server.port}", extensions={"timeout": {"read": 5}})
            stream = (await transport.handle_async_request(request)).extensions["asyncllm_stream"]
            assert await anext(stream) == b"first"
            pending = asyncio.ensure_future(anext(stream))
            await asyncio.sleep(0)
            pending.cancel()
            await asyncio.wait([pending])
            await server.connections[0].gone(0.05)
            assert transport.counts == PoolCounts(0, 0, 0)
        await transport.aclose()

    uvloop.run(main())


async def test_openai_sdk_streams_and_reuses() -> None:
    """AsyncOpenAI on the fast transport: 20 streams, one connection; a broken-off stream closes its own."""

    def event(text: str) -> bytes:
        choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
        data = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
        return chunk(b"data: " + json.dumps(data).encode() + b"\n\n")

    script = answering(STREAM_HEAD + event("Hel"), event("lo"), chunk(b"data: [DONE]\n\n"), STREAM_END)
    transport = FastTransport()
    messages: list[openai.types.chat.ChatCompletionMessageParam] = [{"role": "user", "content": "Hi"}]
    async with raw_server(script) as server, httpx2.AsyncClient(transport=transport) as http:
        client = openai.AsyncOpenAI(api_key="x", base_url=server.url, http_client=http, max_retries=0)
        for _ in range(20):
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            assert "".join([part.choices[0].delta.content or "" async for part in stream]) == "Hello"
        assert server.opened == 1
        stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
        async for _ in stream:
            break
        await stream.close()
        assert transport.counts.active == 0
