"""MCP servers over every transport: connected, listed, called, and left without a trace."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import pytest
from _mcp import SERVERS, HTTPServer, in_memory, nothing, nothing_left, opened, plain, served, tools_of
from mcp_servers.everyday import PNG

from asyncllm import Image, Message, Reply, Text
from asyncllm.tools import ToolError, Toolset
from asyncllm.tools._mcp import MCP
from asyncllm.tools._mcp_content import object_schema

KINDS = ["memory", "stdio", "mcp", "sse"]


@pytest.fixture(scope="module")
def http() -> Iterator[dict[str, HTTPServer]]:
    with ExitStack() as stack:
        yield {kind: stack.enter_context(served(kind)) for kind in ("mcp", "sse")}


def server_of(kind: str, http: dict[str, HTTPServer], **options: Any) -> MCP:
    match kind:
        case "memory":
            return MCP(in_memory()[0], **options)
        case "stdio":
            return MCP([sys.executable, str(SERVERS / "everyday.py")], **options)
        case _:
            return MCP(http[kind].url, **options)


@pytest.mark.req("seed-E1", "seed-E2", "seed-E7", "I7")
@pytest.mark.parametrize("kind", KINDS)
async def test_a_server_from_begin_to_end(kind: str, http: dict[str, HTTPServer]) -> None:
    """Names, results of every sort, errors, progress, questions to the user and to a model; then nothing is left."""
    asked: list[object] = []

    async def elicit(message: str, schema: Mapping[str, object]) -> Mapping[str, object]:
        asked.append((message, schema["type"]))
        return {"name": "Bo"}

    async def sample(messages: list[Message], options: Mapping[str, Any]) -> str:
        asked.append((messages, options))
        return "4"

    async with nothing_left():
        async with opened(server_of(kind, http, elicit=elicit, sample=sample)) as tools:
            assert tools["add"].spec.name == "everyday__add"
            assert tools["add"].spec.description == "Adds."
            assert tools["add"].spec.parameters["required"] == ["a", "b"]
            assert await tools["add"].run({"a": 1, "b": 2}, nothing) == "3"
            assert json.loads(str(await tools["weather"].run({"city": "Oslo"}, nothing)))["sky"] == "sunny in Oslo"
            show = await tools["show"].run({}, nothing)
            assert show == [Text("one\ntwo"), Image(data=PNG), Text(f"[audio: audio/wav, {len(PNG)} bytes]")]
            for name, arguments, said in (
                ("refuse", {}, "no such city"),
                ("crash", {}, "Error executing tool crash"),
                ("add", {"a": "x"}, "valid integer"),
            ):
                with pytest.raises(ToolError, match=said) as caught:
                    await tools[name].run(arguments, nothing)
                assert "inner secret" not in str(caught.value)
            told: list[object] = []
            assert await tools["steps"].run({}, lambda *what: told.append(what)) == "done"
            assert told == [(1, 3, "step 1"), (2, 3, "step 2"), (3, 3, "step 3")]
            assert await tools["ask"].run({}, nothing) == "hello Bo"
            assert await tools["ask_url"].run({}, nothing) == "decline"
            assert await tools["think"].run({}, nothing) == "unknown: 4 (endTurn)"
    assert asked[0] == ("Who are you?", "object")
    assert asked[1] == ([Message("user", "2 + 2?")], {"system": "Be short.", "max_tokens": 7})


@pytest.mark.parametrize("kind", ["memory", "mcp"])
async def test_a_server_that_asks_when_nobody_answers(kind: str, http: dict[str, HTTPServer]) -> None:
    """Without callbacks the tool fails, as it is told that nothing can be asked."""
    async with opened(server_of(kind, http)) as tools:
        for name in ("ask", "think"):
            with pytest.raises(ToolError):
                await tools[name].run({}, nothing)


async def test_declining_failing_and_a_client_that_samples() -> None:
    """None declines; a callback that raises or makes no sense fails the call and nothing else; `complete` is asked."""
    answers: list[Any] = [None, RuntimeError("private"), {"name": ["no", {"text": 1}]}]

    async def elicit(message: str, schema: Mapping[str, object]) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    class Completing:
        async def complete(self, input: list[Message], **options: Any) -> Reply[Any]:
            return Reply(text=f"{input[0].text} {options['max_tokens']}", model="m", finish_reason="length")

    async with opened(MCP(in_memory()[0], elicit=elicit, sample=Completing())) as tools:
        assert await tools["ask"].run({}, nothing) == "decline"
        for _ in range(2):
            with pytest.raises(ToolError) as caught:
                await tools["ask"].run({}, nothing)
            assert "private" not in str(caught.value)
        assert await tools["think"].run({}, nothing) == "m: 2 + 2? 7 (maxTokens)"
        assert await tools["add"].run({"a": 1, "b": 1}, nothing) == "2"


@pytest.mark.req("seed-E1")
async def test_pages_and_long_descriptions() -> None:
    """300 tools in ten pages, whose descriptions are cut at 64 KiB."""
    async with opened(plain("pages")) as tools:
        assert list(tools) == [f"tool{at}" for at in range(300)]
        assert {len(tool.spec.description) for tool in tools.values()} == {64 * 1024}


async def test_odd_schemas_are_repaired() -> None:
    """A tool whose schema is not that of an object, or none, costs neither itself nor the others."""
    async with opened(plain("odd")) as tools:
        assert len(tools) == 5
        assert all(tool.spec.parameters["type"] == "object" for tool in tools.values())
        assert tools["odd3"].spec.parameters == {"type": "object", "properties": {}}
    assert object_schema(True) == {"type": "object", "properties": {}}


async def test_a_server_without_tools() -> None:
    """It lists none, and that is no error."""
    async with opened(plain("toolless")) as tools:
        assert tools == {}


@pytest.mark.parametrize("protocol", ["2025", "2026"])
async def test_a_listing_that_changed(protocol: str) -> None:
    """What a server says that it has now, the next acquire gives."""
    if protocol == "2025":
        server = plain()
        async with opened(server) as tools:
            await tools["grow"].run({"text": "more"}, nothing)
            assert await tools["echo"].run({"text": "after it was told"}, nothing) == "after it was told"
            async with opened(server) as again:
                assert set(again) - set(tools) == {"more"}
    else:
        theirs, _ = in_memory()
        server = MCP(theirs)
        async with opened(server) as tools:
            theirs.add_tool(lambda: "new", name="more")
            async with opened(server) as again:
                assert set(again) - set(tools) == {"more"}
                assert await again["more"].run({}, nothing) == "new"


async def test_runs_share_a_session_and_the_last_one_closes_it() -> None:
    """Many at once start one process, whose calls run at once; it ends with the last of them, and a new one begins then."""
    server = plain()
    assert isinstance(server, Toolset)
    async with nothing_left():
        tools = await asyncio.gather(*(tools_of(server) for _ in range(20)))
        pids = await asyncio.gather(*(found["pid"].run({}, nothing) for found in tools for _ in range(5)))
        assert len(set(pids)) == 1
        for _ in range(19):
            await server.release()
        assert await tools[0]["pid"].run({}, nothing) == pids[0]
        await server.release()
        await server.release()  # once too often: nothing to do
        async with opened(server) as found:
            assert await found["pid"].run({}, nothing) != pids[0]


def test_one_loop_after_another() -> None:
    """The same server in two loops, one after the other."""
    server = plain()

    async def once() -> object:
        async with nothing_left(), opened(server) as tools:
            return await tools["echo"].run({"text": "hi"}, nothing)

    assert [asyncio.run(once()) for _ in range(2)] == ["hi", "hi"]


def test_a_loop_that_ends_without_a_release() -> None:
    """Its end takes the process with it, and the next loop begins anew."""
    server = plain("deaf")

    async def forgetting() -> int:
        return int(str(await (await tools_of(server))["pid"].run({}, nothing)))

    began = time.monotonic()
    first, second = asyncio.run(forgetting()), asyncio.run(forgetting())
    assert first != second
    assert time.monotonic() - began < 2
    for pid in (first, second):
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


async def test_importing_costs_nothing_until_a_server_is_connected() -> None:
    """The mcp package is not loaded by making an MCP."""
    code = "from asyncllm.tools._mcp import MCP; MCP('http://h/x/mcp'); import sys; print({'mcp'} & set(sys.modules))"
    child = await asyncio.create_subprocess_exec(sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE)
    assert (await child.communicate())[0].split() == [b"set()"]
