"""Sessions over HTTP: cut streams that are resumed, sessions that expire, servers that restart, go and do not come back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from _mcp import SERVERS, HTTPServer, nothing, nothing_left, opened, served
from _rawserver import STREAM_END, STREAM_HEAD, RawConnection, chunk, raw_server, response
from mcp.server.streamable_http import EventMessage, EventStore

from asyncllm import ConnectionFailedError, ServerError
from asyncllm.tools import RunnableTool, ToolError
from asyncllm.tools._mcp import MCP

JSON = b"content-type: application/json"


async def nobody(message: str, schema: Mapping[str, object]) -> None:
    """A callback makes the session one of the handshake, with an id: servers forget those."""


class Events(EventStore):
    """What a server keeps for clients that come back."""

    def __init__(self) -> None:
        self.kept: list[tuple[str, Any]] = []
        self.asked: list[str] = []

    async def store_event(self, stream_id: str, message: Any) -> str:
        self.kept.append((stream_id, message))
        return str(len(self.kept))

    async def replay_events_after(self, last_event_id: str, send_callback: Any) -> str | None:
        self.asked.append(last_event_id)
        stream = self.kept[int(last_event_id) - 1][0]
        for at, (name, message) in enumerate(self.kept[int(last_event_id) :], int(last_event_id) + 1):
            if name == stream and message is not None:
                await send_callback(EventMessage(message, str(at)))
        return stream


@pytest.mark.req("I8")
async def test_a_cut_stream_is_resumed() -> None:
    """The answer comes over another request, which says by Last-Event-ID where the stream was; the tool runs once."""
    events = Events()
    with served("mcp", event_store=events, retry_interval=10) as http:
        async with opened(MCP(http.url, elicit=nobody)) as tools:
            assert await tools["cut"].run({}, nothing) == "after the cut"
    assert len(events.asked) == 1


class Bare:
    """A server of raw bytes; how it answers a call is up to the test."""

    def __init__(self, *parts: bytes) -> None:
        self.parts = parts
        self.calls = 0

    async def __call__(self, connection: RawConnection) -> None:
        while True:
            request = await connection.request()
            asked = json.loads(request.body or b"{}")
            result: dict[str, Any] | None = None
            match asked.get("method"):
                case "initialize":
                    info = {"name": "bare", "version": "1"}
                    result = {"protocolVersion": "2025-06-18", "capabilities": {"tools": {}}, "serverInfo": info}
                case "tools/list":
                    result = {"tools": [{"name": "go", "inputSchema": {}}]}
                case "tools/call":
                    self.calls += 1
                    content = {"content": [{"type": "text", "text": "there"}]}
                    said = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": content}).encode()
                    event = chunk(b"data: " + said + b"\n\n")
                    await connection.send(*(event if part == b"ANSWER" else part for part in self.parts))
                    if not self.parts or not self.parts[-1].endswith(STREAM_END):
                        connection.close()
                        return
                    continue
                case "server/discover":
                    await connection.send(response(b"", status=b"404 X"))
                    continue
                case _:
                    status = b"405 X" if request.line.startswith(b"GET") else b"202 Accepted"
                    await connection.send(response(b"", status=status))
                    continue
            body = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}).encode()
            await connection.send(response(body, JSON))


@pytest.mark.req("I8")
async def test_comments_that_keep_a_stream_alive() -> None:
    """They, and events without data, are passed over."""
    pings = [chunk(b": ping\n\n"), chunk(b":\n\n"), chunk(b"event: message\ndata:\n\n")] * 20
    bare = Bare(STREAM_HEAD, *pings, b"ANSWER", *pings, STREAM_END)
    async with raw_server(bare) as raw:
        async with opened(MCP(f"{raw.url}/weather/mcp", timeout=5)) as tools:
            assert await tools["go"].run({}, nothing) == "there"


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{",),
        (STREAM_HEAD, chunk(b": ping\n\n")),
        (STREAM_HEAD, b"zzz\r\n"),
        (STREAM_HEAD, STREAM_END),
        (b"\x00\x01\x02 this is not HTTP\r\n\r\n",),
    ],
)
async def test_a_connection_that_breaks_under_a_call(parts: tuple[bytes, ...]) -> None:
    """Before, in and after the head of the answer: this call is lost, is not repeated, and no other call notices."""
    bare = Bare(*parts)
    async with nothing_left(), raw_server(bare) as raw:
        async with opened(MCP(f"{raw.url}/weather/mcp", timeout=5)) as tools:
            for calls in (1, 2):
                with pytest.raises(ToolError, match="may or may not have been carried out"):
                    await tools["go"].run({}, nothing)
                assert bare.calls == calls


# what the package's SSE server holds when uvicorn cancels it is not closed
unclosed = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
KINDS = ["mcp", pytest.param("sse", marks=unclosed)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("handshake", [True, False])
async def test_a_server_that_restarts_between_two_calls(kind: str, handshake: bool) -> None:
    """It knows nothing of the session, and says so, or its stream has ended: the call is made once, in a new session."""
    with served(kind) as http:
        async with nothing_left(), opened(MCP(http.url, elicit=nobody if handshake else None)) as tools:
            assert await tools["add"].run({"a": 1, "b": 2}, nothing) == "3"
            await asyncio.to_thread(http.stop)
            again = HTTPServer(kind)
            again.port = http.port
            await asyncio.to_thread(again.start)
            try:
                answers = await asyncio.gather(*(tools["add"].run({"a": n, "b": 2}, nothing) for n in range(5)))
                assert answers == ["2", "3", "4", "5", "6"]
                assert again.state.calls == ["add"] * 5
            finally:
                await asyncio.to_thread(again.stop)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_that_went_away(kind: str) -> None:
    """A call says that it was not made, who cannot be reached and why; so does the next run, as a typed error."""
    with served(kind) as http:
        server = MCP(http.url)
        async with nothing_left():
            async with opened(server) as tools:
                await asyncio.to_thread(http.stop)
                with pytest.raises(ToolError, match=r"everyday"):  # over SSE, it may not be seen yet that it has gone
                    await tools["add"].run({"a": 1, "b": 2}, nothing)
                with pytest.raises(ToolError, match=r"not made.* everyday .*cannot be reached"):
                    await tools["add"].run({"a": 1, "b": 2}, nothing)
            with pytest.raises(ServerError, match="everyday"):
                await server.acquire()


async def test_a_listing_of_a_server_that_went_away() -> None:
    """A run that begins while another holds the session open connects anew, or is told that it cannot."""
    with served("mcp") as http:
        server = MCP(http.url)
        async with nothing_left(), opened(server) as tools:
            await asyncio.to_thread(http.stop)
            with pytest.raises(ConnectionFailedError, match="everyday"):
                await server.acquire()
            again = HTTPServer("mcp")
            again.port = http.port
            await asyncio.to_thread(again.start)
            try:
                async with opened(server) as others:
                    assert set(others) == set(tools)
                    assert await tools["add"].run({"a": 1, "b": 2}, nothing) == "3"
            finally:
                await asyncio.to_thread(again.stop)


async def test_a_server_that_knows_no_handshake() -> None:
    """Who may be asked begins with the handshake of 2025, and goes on without it where a server has none."""
    asked: list[str] = []

    async def script(connection: RawConnection) -> None:
        while True:
            message = json.loads((await connection.request()).body)
            asked.append(message["method"])
            info = {"io.modelcontextprotocol/serverInfo": {"name": "new", "version": "1"}}
            whole = {"resultType": "complete", "ttlMs": 0, "cacheScope": "public", "_meta": info}
            results: dict[str, Any] = {
                "server/discover": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {}}, **whole},
                "tools/list": {"tools": [{"name": "go", "inputSchema": {"type": "object"}}], **whole},
                "tools/call": {"content": [{"type": "text", "text": "there"}], "resultType": "complete"},
            }
            data = {"supported": ["2026-07-28"], "requested": "2025-11-25"}
            refusal = {"code": -32022, "message": "Unsupported protocol version", "data": data}
            found = results.get(message["method"])
            answer = {"result": found} if found is not None else {"error": refusal}
            body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **answer}).encode()
            await connection.send(response(body, JSON))

    async with raw_server(script) as raw:
        async with opened(MCP(f"{raw.url}/new/mcp", elicit=nobody, timeout=5)) as tools:
            assert await tools["go"].run({}, nothing) == "there"
    assert asked == ["initialize", "server/discover", "tools/list", "tools/call"]


@pytest.mark.parametrize("kind", ["mcp", "sse"])
async def test_a_process_that_dies_under_a_call(kind: str) -> None:
    """Over HTTP as well, where the other session of the run does not notice."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    child = await asyncio.create_subprocess_exec(
        sys.executable, str(SERVERS / "everyday.py"), kind, str(port), stderr=asyncio.subprocess.DEVNULL
    )
    server = MCP(f"http://127.0.0.1:{port}/{kind}", name="remote")
    with served("mcp") as http:
        async with nothing_left():
            tools = {tool.spec.name: tool for tool in await started(server)}
            async with opened(MCP(http.url)) as others:
                other = asyncio.ensure_future(others["hang"].run({}, nothing))
                hanging = asyncio.ensure_future(tools["remote__hang"].run({}, nothing))
                await asyncio.sleep(0)
                for task in (tools["remote__leave"].run({}, nothing), hanging):
                    with pytest.raises(ToolError, match="remote was lost"):
                        await task
                assert await child.wait() == 3
                assert await others["add"].run({"a": 1, "b": 2}, nothing) == "3"
                assert not other.done()
                other.cancel()
                await asyncio.wait([other])
            await server.release()


async def started(server: MCP) -> Sequence[RunnableTool]:
    """The tools of a process that has to begin to listen first: that it does cannot be waited for."""
    for _ in range(200):
        with contextlib.suppress(ConnectionFailedError):
            return await server.acquire()
        await asyncio.sleep(0.02)
    raise AssertionError("the server did not start")
