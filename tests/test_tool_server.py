"""Our tools as an MCP server on loopback: who may call them, and when calls are answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from _mcp import nothing, opened

from asyncllm.backends.agents import _tool_server_http
from asyncllm.backends.agents._tool_server import ToolServer, ToolSession
from asyncllm.events import Image, Text, ToolResult
from asyncllm.protocols import Tool
from asyncllm.tools._mcp import MCP

pytestmark = pytest.mark.req("seed-A11")

ADD = Tool("add", "Add two numbers.", {"type": "object", "properties": {"a": {"type": "number"}}})


@pytest.fixture
async def tools() -> AsyncIterator[ToolServer]:
    async with ToolServer() as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=20) as client:
        yield client


def call(id: object = 1, name: str = "add", arguments: dict[str, Any] | None = None) -> dict[str, Any]:
    params = {"name": name, "arguments": arguments or {}}
    return {"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}


async def post(http: httpx2.AsyncClient, session: ToolSession, message: object, **headers: str) -> httpx2.Response:
    return await http.post(session.url, json=message, headers={**session.headers, **headers})


def said(response: httpx2.Response) -> dict[str, Any]:
    """The answer, whether it came at once or late."""
    if response.headers["content-type"] == "application/json":
        found: dict[str, Any] = response.json()
    else:
        found = json.loads(next(line for line in response.text.split("\n") if line.startswith("data: "))[6:])
    return found


async def test_list(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    session = tools.add([ADD])
    first = await post(http, session, {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {}})
    assert said(first)["result"]["capabilities"] == {"tools": {}}
    noted = await post(http, session, {"jsonrpc": "2.0", "method": "notifications/initialized"})
    assert (noted.status_code, noted.content) == (202, b"")
    listed = await post(http, session, {"jsonrpc": "2.0", "id": "x", "method": "tools/list"})
    assert [tool["name"] for tool in said(listed)["result"]["tools"]] == ["add"]
    assert said(listed)["id"] == "x"


async def test_a_call_waits_for_its_result(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    session = tools.add([ADD])
    asking = asyncio.ensure_future(post(http, session, call(7, arguments={"a": 1})))
    [waiting] = await session.came()
    assert (waiting.name, waiting.arguments) == ("add", {"a": 1})
    assert not asking.done()
    session.answer(waiting.id, ToolResult(waiting.id, "add", [Text("3"), Image(data=b"x")]))
    answer = said(await asking)
    assert answer["id"] == 7
    assert [part["type"] for part in answer["result"]["content"]] == ["text", "image"]
    assert session.calls == {}


async def test_results_find_their_calls_by_what_they_ask(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    session = tools.add([ADD])
    early = asyncio.ensure_future(post(http, session, call(1, arguments={"a": 1, "b": 2})))
    await session.came()
    session.resolve("add", {"a": 2}, ToolResult("c2", "add", "two"))
    session.resolve("add", {"b": 2, "a": 1}, ToolResult("c1", "add", "one"))
    late = await post(http, session, call(2, arguments={"a": 2}))
    assert said(await early)["result"]["content"][0]["text"] == "one"
    assert said(late)["result"]["content"][0]["text"] == "two"
    assert late.headers["content-type"] == "application/json"


async def test_equal_calls_get_their_results_in_order(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    session = tools.add([ADD])
    first = asyncio.ensure_future(post(http, session, call(1)))
    await session.came()
    second = asyncio.ensure_future(post(http, session, call(2)))
    await session.came()
    session.resolve("add", {}, ToolResult("a", "add", "one"))
    session.resolve("add", {}, ToolResult("b", "add", "two"))
    assert [said(r)["result"]["content"][0]["text"] for r in (await first, await second)] == ["one", "two"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": "Bearer wrong"}, 401),
        ({"authorization": ""}, 401),
        ({"host": "example.com"}, 403),
        ({"origin": "https://example.com"}, 403),
    ],
)
async def test_strangers_are_refused(
    tools: ToolServer, http: httpx2.AsyncClient, headers: dict[str, str], status: int
) -> None:
    session = tools.add([ADD])
    sent = {**{name.lower(): value for name, value in session.headers.items()}, **headers}
    answer = await http.post(session.url, json=call(), headers=sent)
    assert answer.status_code == status
    assert session.calls == {}


async def test_each_session_has_its_own_secret(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    one, two = tools.add([ADD]), tools.add([ADD])
    assert one.url != two.url
    answer = await http.post(two.url, json=call(), headers=one.headers)
    assert answer.status_code == 401
    for session in (one, two):
        secret = session.headers["Authorization"].removeprefix("Bearer ")
        assert len(secret) >= 43
        assert secret not in repr(session)
    two.remove()
    assert (await post(http, two, call())).status_code == 401


async def test_what_is_no_message(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    session = tools.add([ADD])
    for body in (b"", b"{", b"[]", b"3", b"\xff"):
        answer = await http.post(session.url, content=body, headers=session.headers)
        assert answer.status_code == 400
    assert (await http.get(session.url, headers=session.headers)).status_code == 405
    unknown = await post(http, session, call(1, "nothing"))
    assert "no tool" in said(unknown)["error"]["message"]


async def test_limits(tools: ToolServer, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_tool_server_http, "BODY_LIMIT", 1000)
    session = tools.add([ADD])
    large = await http.post(session.url, content=b" " * 2000, headers=session.headers)
    assert large.status_code == 413
    monkeypatch.setattr(_tool_server_http, "HEADER_LIMIT", 1000)
    long = await http.post(session.url, content=b"", headers={**session.headers, "x": "y" * 2000})
    assert long.status_code == 431
    reader, writer = await asyncio.open_connection("127.0.0.1", tools.port)
    writer.write(b"nonsense\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 400")
    writer.close()
    await writer.wait_closed()


async def test_a_client_that_goes_away_waits_no_more(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    session = tools.add([ADD])
    reader, writer = await asyncio.open_connection("127.0.0.1", tools.port)
    body = json.dumps(call()).encode()
    head = {**session.headers, "Host": f"127.0.0.1:{tools.port}", "Content-Length": str(len(body))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    writer.write(f"POST {session.path} HTTP/1.1\r\n{lines}\r\n".encode() + body)
    await session.came()
    [connection] = tools._live
    writer.transport.abort()
    await connection.gone
    assert session.calls == {}
    assert reader is not None


async def test_cancelled(tools: ToolServer, http: httpx2.AsyncClient) -> None:
    session = tools.add([ADD])
    asking = asyncio.ensure_future(post(http, session, call(5)))
    await session.came()
    await post(http, session, {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 5}})
    assert said(await asking)["result"]["isError"] is True


async def test_comments_keep_a_waiting_call_alive(
    tools: ToolServer, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_tool_server_http, "KEEP_ALIVE", 0.001)
    session = tools.add([ADD])
    async with http.stream("POST", session.url, json=call(), headers=session.headers) as answer:
        [waiting] = await session.came()
        lines = answer.aiter_lines()
        comments = [line async for line in _first(lines, 6)]
        session.answer(waiting.id, ToolResult("x", "add", "3"))
        rest = [line async for line in lines]
    assert comments.count(": wait") >= 3
    assert any(line.startswith("data: ") for line in rest)


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    for _ in range(count):
        yield await anext(lines)


async def test_closed_with_a_call_that_waits(http: httpx2.AsyncClient) -> None:
    tools = await ToolServer().start()
    session = tools.add([ADD])
    asking = asyncio.ensure_future(post(http, session, call()))
    await session.came()
    await tools.aclose()
    await tools.aclose()
    try:
        assert said(await asking)["result"]["isError"] is True
    except httpx2.TransportError:
        pass  # the answer was overtaken by the end of the connection
    with pytest.raises(httpx2.TransportError):
        await post(http, session, call())


async def test_started_twice_it_listens_once() -> None:
    tools = ToolServer()
    await asyncio.gather(tools.start(), tools.start())
    port = tools.port
    await tools.start()
    assert tools.port == port
    await tools.aclose()


async def test_with_the_client_of_the_mcp_sdk(tools: ToolServer) -> None:
    session = tools.add([ADD])

    async def answer() -> None:
        [waiting] = await session.came()
        session.answer(waiting.id, ToolResult("x", "add", f"got {waiting.arguments['a']}"))

    async with opened(MCP(session.url, headers=session.headers)) as found, asyncio.TaskGroup() as group:
        group.create_task(answer())
        result = await found["add"].run({"a": 4}, nothing)
    assert result == "got 4"
