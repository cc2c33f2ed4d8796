"""Runs with real MCP servers, over every transport, beside Python functions."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from _mcp import SERVERS, HTTPServer, in_memory, nothing_left, plain, reached, served
from _runs import DONE, call, calls, events_of, results, running_tools, serving
from mcp.server.mcpserver import MCPServer
from mcp_servers.everyday import PNG

from asyncllm import (
    MCP,
    Allow,
    Approval,
    Image,
    Message,
    Stopped,
    Text,
    Tool,
    ToolCall,
    ToolProgress,
    ToolResult,
)

EVERYDAY = [sys.executable, str(SERVERS / "everyday.py")]
KINDS = ("memory", "stdio", "mcp", "sse")


@pytest.fixture(scope="module")
def http() -> Iterator[dict[str, HTTPServer]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(served(kind)) for kind in ("mcp", "sse")}


def four(http: dict[str, HTTPServer], **options: Any) -> list[MCP]:
    """The everyday server over each transport, named after it."""
    targets = (in_memory()[0], EVERYDAY, http["mcp"].url, http["sse"].url)
    return [MCP(target, name=kind, **options) for kind, target in zip(KINDS, targets, strict=True)]


def wave(to: str) -> str:
    """Waves, from a thread."""
    return f"hello {to}"


async def double(n: int) -> int:
    return 2 * n


@pytest.mark.req("seed-E1", "seed-E2", "seed-E3", "seed-E7")
async def test_every_transport_in_one_run(http: dict[str, HTTPServer]) -> None:
    """Four servers and two functions, called at once and then once more: the results are in the order of the calls, errors
    and images among them, the model sees all of it, and at the end nothing is left."""
    asked = [call(f"{kind}__add", id=f"a_{kind}", a=at, b=1) for at, kind in enumerate(KINDS)]
    asked[2:2] = [call("wave", id="w", to="you"), call("double", id="d", n=4)]
    odd = [call("memory__refuse", id="r"), call("sse__crash", id="c"), call("mcp__add", id="x", a="one", b=1)]
    odd += [call("stdio__show", id="s"), call("memory__weather", id="o", city="Oslo")]
    async with nothing_left(), serving([calls(*asked), calls(*odd), DONE]) as (server, client):
        stream = client.run("Hi", tools=[wave, *four(http), double])
        events = await events_of(stream)
        reply = await stream.reply()
        told = results(events)
        assert [(result.id, result.text) for result in told[:6]] == [
            ("a_memory", "1"),
            ("a_stdio", "2"),
            ("w", "hello you"),
            ("d", "8"),
            ("a_mcp", "3"),
            ("a_sse", "4"),
        ]
        assert [result.is_error for result in told] == [False] * 6 + [True] * 3 + [False] * 2
        assert "no such city" in told[6].text
        assert "inner secret" not in told[7].text
        assert "valid integer" in told[8].text
        assert told[9].content == [Text("one\ntwo"), Image(data=PNG), Text(f"[audio: audio/wav, {len(PNG)} bytes]")]
        assert json.loads(told[10].text) == {"degrees": 21, "sky": "sunny in Oslo"}
        assert (reply.text, reply.steps) == (DONE.events[0], 3)
        names = [tool.name for tool in server.requests[0].asked.tools]
        assert (names[0], names[-1], len(names)) == ("wave", "double", 2 + 4 * 12)
        parts = [part for message in server.requests[2].asked.messages for part in message.parts]
        assert sum(isinstance(part, ToolResult) for part in parts) == len(told)
        assert "iVBORw0KGgo" in server.requests[2].body.decode()


@pytest.mark.req("seed-E2")
async def test_servers_of_one_name(http: dict[str, HTTPServer]) -> None:
    """Four servers that are all called `everyday`, and a function that is called like a tool of theirs: every tool has a name
    of its own, and is reached by it."""
    targets = (in_memory()[0], plain("odd", name="everyday"), EVERYDAY, http["mcp"].url)
    names: list[str] = []

    def everyday__add(a: int, b: int) -> str:
        return "mine"

    def script(request: Any) -> Any:
        names[:] = [tool.name for tool in request.asked.tools]
        adding = [name for name in names if "__add" in name]
        return DONE if len(request.asked.messages) > 1 else calls(*(call(name, id=name, a=1, b=1) for name in adding))

    tools = [target if isinstance(target, MCP) else MCP(target) for target in targets]
    async with nothing_left(), serving(script) as (_, client):
        told = results(await events_of(client.run("Hi", tools=[*tools, everyday__add])))
    assert len(set(names)) == len(names) == 3 * 12 + 5 + 1
    assert all(len(name) <= 64 for name in names)
    assert {result.name: result.text for result in told}["everyday__add"] == "mine"
    assert sorted(result.text for result in told) == ["2", "2", "2", "mine"]


async def test_calls_over_several_servers_at_once() -> None:
    """Two calls of one server, one of another and one of a function: each waits for all four to have begun."""
    barrier = asyncio.Barrier(4)

    async def meet() -> str:
        await barrier.wait()
        return "met"

    servers = [MCPServer(name) for name in ("one", "two")]
    for server in servers:
        server.add_tool(meet)
    asked = [call(name, id=f"c{at}") for at, name in enumerate(("one__meet", "one__meet", "meet", "two__meet"))]
    async with serving([calls(*asked), DONE]) as (_, client):
        told = results(await events_of(client.run("Hi", tools=[MCP(servers[0]), meet, MCP(servers[1])])))
    assert [result.text for result in told] == ["met"] * 4


@pytest.mark.parametrize("how", ["close", "cancel"])
async def test_breaking_off_reaches_every_server(how: str) -> None:
    """Calls hang at three servers; the run is closed, or cancelled: each server is told, and nothing is left."""
    theirs, state = in_memory()
    async with nothing_left():
        with served("mcp") as over_http, served("sse") as over_sse:
            states = (state, over_http.state, over_sse.state)
            tools = [MCP(theirs, name="a"), MCP(over_http.url, name="b"), MCP(over_sse.url, name="c")]
            asked = [call(f"{name}__hang", id=name) for name in "abc"]
            async with serving(calls(*asked)) as (_, client):
                stream = client.run("Hi", tools=tools)
                task = asyncio.create_task(stream.reply())
                for one in states:
                    await reached(one.started)
                if how == "close":
                    await stream.aclose()
                else:
                    task.cancel()
                with pytest.raises(BaseException) as caught:
                    await task
                assert not isinstance(caught.value, BaseExceptionGroup)
                assert running_tools() == []
                for one in states:
                    await reached(one.cancelled)


async def test_progress_of_parallel_calls(http: dict[str, HTTPServer]) -> None:
    """What servers tell of their progress comes while their calls run: in order for each, and before its result."""
    asked = [call(f"{kind}__steps", id=kind) for kind in KINDS]
    async with serving([calls(*asked), DONE]) as (_, client):
        events = await events_of(client.run("Hi", tools=four(http)))
    for kind in KINDS:
        mine = [event for event in events if isinstance(event, ToolProgress | ToolResult) and event.id == kind]
        *progress, result = mine
        assert isinstance(result, ToolResult)
        assert (result.name, result.text) == (f"{kind}__steps", "done")
        done = [event.progress for event in progress if isinstance(event, ToolProgress)]
        assert done == sorted(set(done))
        assert progress[-1] == ToolProgress(kind, f"{kind}__steps", 3, 3, "step 3")


async def test_questions_of_a_server_in_a_run(http: dict[str, HTTPServer]) -> None:
    """A server asks the user, and asks for a model, which is the client of the run itself."""

    async def elicit(message: str, schema: Mapping[str, object]) -> Mapping[str, object]:
        return {"name": "Bo"}

    asked = [call(f"{kind}__{what}", id=f"{kind}{what}") for kind in KINDS for what in ("ask", "think")]

    def script(request: Any) -> Any:
        return DONE if len(request.json["messages"]) > 1 or "tools" not in request.json else calls(*asked)

    async with serving(script) as (_, client):
        told = results(await events_of(client.run("Hi", tools=four(http, elicit=elicit, sample=client))))
    assert [result.text for result in told] == ["hello Bo", f"m: {DONE.events[0]} (endTurn)"] * 4


async def test_approval_and_pauses(http: dict[str, HTTPServer]) -> None:
    """A call to a server is shown before it is made, may be edited; a tool of the caller's pauses the run, which goes on."""
    shown: list[str] = []

    async def approve(asked: ToolCall) -> Approval:
        shown.append(asked.name)
        return Allow({"a": 40, "b": 2}) if asked.id == "edit" else asked.id == "yes"

    ask_user = Tool("ask_user", "Ask.", {"type": "object"})
    asked = [call("mcp__add", id=id, a=1, b=1) for id in ("yes", "edit", "no")]
    async with nothing_left(), serving([calls(*asked, call("ask_user", id="q")), DONE]) as (server, client):
        tools = [MCP(http["mcp"].url, name="mcp"), ask_user]
        stream = client.run("Hi", tools=tools, approve=approve)
        events = await events_of(stream)
        assert events[-1] == Stopped("needs_results")
        assert [result.text for result in results(events)][:2] == ["2", "42"]
        assert results(events)[2].is_error
        paused = await stream.reply()
        reply = await client.run([*paused.messages, ToolResult("q", "ask_user", "yes")], tools=tools).reply()
        assert reply.text == DONE.events[0]
        assert len(server.requests) == 2
    assert shown == ["mcp__add"] * 3


async def test_a_conversation_that_waits_for_a_server() -> None:
    """It ends with a call that was never made: the server is connected, and answers it first."""
    left = [Message("user", "1 + 1?"), Message("assistant", [call("everyday__add", a=1, b=1)])]
    async with serving(DONE) as (_, client):
        events = await events_of(client.run(left, tools=[MCP(in_memory()[0])]))
    assert events[0] == ToolResult("c1", "everyday__add", "2")


async def test_who_keeps_a_server_open() -> None:
    """A run connects and leaves; a block, or the client that it is given to, keeps the same process for all runs."""

    async def pids(client: Any, **options: Any) -> list[str]:
        told = [results(await events_of(client.run("Hi", **options))) for _ in range(2)]
        return [result.text for step in told for result in step]

    def asking(request: Any) -> Any:
        return DONE if len(request.json["messages"]) > 1 else calls(call("plain__pid"))

    server = plain()
    async with nothing_left(), serving(asking) as (_, client):
        apart = await pids(client, tools=[server])
        async with server:
            block = await pids(client, tools=[server])
    async with nothing_left(), serving(asking, tools=[server]) as (_, client):
        kept = await pids(client)
    assert [len(set(found)) for found in (apart, block, kept)] == [2, 1, 1]
    assert len({*apart, *block, *kept}) == 4


async def test_runs_side_by_side_on_one_session() -> None:
    """Twenty runs share a process. Breaking off half of them, in the middle of their calls, is nothing to the others."""
    server = plain()

    def script(request: Any) -> Any:
        said = request.json["messages"]
        name = "hang" if said[0]["content"] == "hang" else "pid"
        return DONE if len(said) > 4 else calls(call(f"plain__{name}", id=f"c{len(said)}"))

    async with nothing_left(), serving(script) as (model, client):
        hanging = [asyncio.create_task(client.run("hang", tools=[server]).reply()) for _ in range(10)]
        await model.wait_requests(10)
        asking = [asyncio.create_task(events_of(client.run("pid", tools=[server]))) for _ in range(10)]
        while len(running_tools()) < 10:
            await asyncio.sleep(0)
        for task in hanging:
            task.cancel()
        told = [result.text for events in await asyncio.gather(*asking) for result in results(events)]
        await asyncio.wait(hanging)
    assert len(told) == 20
    assert len(set(told)) == 1
