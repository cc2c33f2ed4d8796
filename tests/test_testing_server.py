"""The embedded server itself: routes, connections, loops, TLS, threads and the pytest fixture."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from typing import Any

import httpx2
import pytest
import trustme
from _serving import HELLO, address, asking, serving, text_of

from asyncllm.testing import (
    DEMO_MODELS,
    Answer,
    Cut,
    HoldOpen,
    Server,
    Split,
    Stall,
    TruncatedChunk,
    Wait,
    serve_in_thread,
)
from asyncllm.testing._server import _Connection
from asyncllm.testing._waits import Signal


async def test_routes() -> None:
    """Health, models, an unknown path and a wrong method answer as a real server does."""
    async with serving(Answer.text("a")) as (_, client):
        assert (await client.get(f"http://{client.base_url.netloc.decode()}/health")).json() == {"status": "ok"}
        models = (await client.get("models")).json()
        assert [model["id"] for model in models["data"]] == list(DEMO_MODELS)
        missing = await client.post("nothing", json={})
        assert (missing.status_code, missing.json()["error"]["message"]) == (404, "Invalid URL (POST /v1/nothing)")
        wrong = await client.get("chat/completions")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"{", "parse the JSON"),
        (b"[]", "parse the JSON"),
        (b"[" * 100_000, "parse the JSON"),
        (b"{}", "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":[{}]}', "messages"),
    ],
)
async def test_bad_requests_are_refused(content: bytes, part: str) -> None:
    """A body that no server would take is a 400 that says why."""
    async with serving(Answer.text("a")) as (_, client):
        response = await client.post("chat/completions", content=content)
    assert response.status_code == 400
    assert part in response.json()["error"]["message"]


async def test_credentials_are_recorded_and_not_shown() -> None:
    """A test can look at the key that was sent; the repr of a request never shows it."""
    async with serving(Answer.text("a")) as (server, client):
        await client.request(**asking(), headers={"authorization": "Bearer sk-secret", "x-api-key": "k-secret"})
    assert server.requests[0].headers["authorization"] == "Bearer sk-secret"
    assert "secret" not in repr(server.requests) + repr(server.connections)


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Two requests in one write get two responses, one after the other."""
    async with Server([Answer.raw(b"first"), Answer.raw(b"second")]) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        body = json.dumps({"model": "m", "messages": HELLO}).encode()
        one = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        writer.write(one + one)
        got = b""
        while not got.endswith(b"second"):
            got += await reader.read(65536)
        assert got.index(b"first") < got.index(b"second")
        writer.close()


async def test_what_is_not_http_is_refused() -> None:
    """Garbage, and an upgrade to another protocol, get a 400 and the connection ends."""
    async with Server() as server:
        for data in (
            b"\x16\x03\x01 hello\r\n\r\n",
            b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(*address(server))
            writer.write(data)
            assert b" 400 " in await reader.read()
            writer.close()


async def test_connections_send_at_once() -> None:
    """Nagle's algorithm is off: a small event does not wait for the acknowledgement of the one before."""
    async with Server(Answer.text("a", faults=[HoldOpen()])) as server:
        _, writer = await asyncio.open_connection(*address(server))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n")
        await server.wait_requests()
        (connection,) = server._live
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()


async def test_closing_ends_everything_at_once() -> None:
    """aclose() drops stalled connections, leaves no task, may be called twice, and the server can start again."""
    before = asyncio.all_tasks()
    server = await Server(Answer.text("a", faults=[Stall(0)])).start()
    with pytest.raises(RuntimeError, match="runs already"):
        await server.start()
    reader, writer = await asyncio.open_connection(*address(server))
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readuntil(b"\r\n\r\n")
    await server.aclose()
    await server.aclose()
    assert asyncio.all_tasks() == before
    assert repr(server.connections) == "Connections(opened=1, open=0, closed=1)"
    with contextlib.suppress(ConnectionResetError):
        await reader.read()
    writer.close()
    async with server:
        assert server.base_url.startswith("http://127.0.0.1:")
    assert await server.wait_closed(0) == 0.0
    with pytest.raises(RuntimeError, match=r"before start"):
        _ = Server().base_url


async def test_a_connection_that_comes_while_closing_is_dropped() -> None:
    """What was accepted a moment before aclose() is not served any more."""

    class Accepted(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    server = await Server().start()
    await server.aclose()
    transport = Accepted()
    _Connection(server).connection_made(transport)
    assert transport.aborted


@pytest.mark.parametrize(
    "fault", [Cut(60), Cut(60, reset=True), TruncatedChunk(), Stall(1), HoldOpen(), Split(1)], ids=repr
)
def test_under_uvloop(fault: Any) -> None:
    """The same server on uvloop's loop: answers, faults, and an end that leaves nothing."""
    uvloop = pytest.importorskip("uvloop")

    async def use() -> None:
        async with serving(Answer.text("one two", faults=[fault])) as (server, client):
            with contextlib.suppress(httpx2.RemoteProtocolError, httpx2.ReadError):
                async with client.stream(**asking()) as response:
                    async for part in response.aiter_text():
                        if "one" in part and isinstance(fault, Stall | HoldOpen):
                            break
        assert server.connections.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    uvloop.run(use())


async def test_a_slow_reader_holds_the_server_back() -> None:
    """The server waits while the client does not read, and goes on when it does."""
    piece = b"x" * 1_000_000
    last = Wait()
    async with serving(Answer.raw([*[piece] * 20, last])) as (_, client), client.stream(**asking()) as response:
        parts = response.aiter_raw()
        size = len(await anext(parts))
        assert not last.reached.is_set()
        last.release()
        async for part in parts:
            size += len(part)
    assert size == 20_000_000


async def test_a_client_that_leaves_while_the_server_is_held_back() -> None:
    """The answer under way is given up at once."""
    async with serving(Answer.raw([b"x" * 1_000_000] * 20)) as (server, client):
        async with client.stream(**asking()) as response:
            await anext(response.aiter_raw())
        await server.wait_closed()
        assert not server._tasks


async def test_https() -> None:
    """With an SSL context the same server speaks TLS, faults included."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    script = [Answer.text("secret words"), Answer.text("cut", faults=[Cut(5, reset=True)])]
    async with (
        Server(script, ssl_context=context) as server,
        httpx2.AsyncClient(verify=trusting, trust_env=False) as client,
    ):
        assert server.base_url.startswith("https://")
        ask = {**asking(), "url": f"{server.base_url}/chat/completions"}
        assert text_of((await client.request(**ask)).text) == "secret words"
        with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
            await client.request(**ask)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_ipv6() -> None:
    """An IPv6 host is bracketed in the URL."""
    async with serving(Answer.text("six"), host="::1") as (server, client):
        assert server.base_url.startswith("http://[::1]:")
        assert text_of((await client.request(**asking())).text) == "six"


def test_the_server_runs_in_a_thread_for_blocking_code() -> None:
    """A sync client, barriers and waits work across threads and loops."""
    gate = Wait()
    with serve_in_thread(Answer(["one", gate, " two"])) as server:
        with httpx2.Client(base_url=server.base_url, trust_env=False) as client, client.stream(**asking()) as response:
            parts = response.iter_text()
            got = ""
            while "one" not in got:
                got += next(parts)
            asyncio.run(gate.reached.wait())
            gate.release()
            got += "".join(parts)
        asyncio.run(server.wait_closed())
    assert text_of(got) == "one two"


def test_the_fixture_serves_sync_tests(asyncllm_server: Server) -> None:
    """`asyncllm_server` runs the demo models until it is given a script."""
    asyncllm_server.play(Answer.text("from a fixture"))
    ask = {**asking(), "url": f"{asyncllm_server.base_url}/chat/completions"}
    assert text_of(httpx2.request(**ask, trust_env=False).text) == "from a fixture"


async def test_the_fixture_serves_async_tests(asyncllm_server: Server) -> None:
    """The same fixture in a test with a loop of its own, whose waits reach the server's loop."""
    async with httpx2.AsyncClient(base_url=asyncllm_server.base_url, trust_env=False) as client:
        assert (await client.get("models")).status_code == 200
    await asyncllm_server.wait_closed()


async def test_a_signal_forgets_a_waiter_that_was_cancelled() -> None:
    """Setting it later wakes nobody, and whoever waits then goes straight on."""
    event = Signal()
    waiting = asyncio.create_task(event.wait())
    other = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    event.set()
    await other
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await event.wait()
    assert not event._waiting


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="eager tasks are new in Python 3.12")
async def test_under_eager_tasks() -> None:
    """A task that is over before it is known of does not keep the next request of its connection waiting."""
    loop = asyncio.get_running_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined,unused-ignore]
    try:
        async with serving(Answer.text("Hi")) as (server, client):
            for _ in range(3):
                assert (await client.request(**asking())).status_code == 200
            assert server.connections.opened == 1
    finally:
        loop.set_task_factory(None)
