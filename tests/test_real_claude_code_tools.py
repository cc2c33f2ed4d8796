"""The real Claude Code against the embedded server: tools of ours, of its own, and of MCP servers."""

from __future__ import annotations

import os
from typing import Any

import pytest
from _claude_real import USED, client, gone, spoken
from _mcp import HTTPServer
from _real_agents import Place, add, calculator, called, needs, place, png, processes, server, turns

from asyncllm import (
    Finish,
    Image,
    Message,
    StreamStart,
    ToolCall,
    ToolResult,
    UnknownError,
)
from asyncllm.testing import Answer, Server

__all__ = ["calculator", "place", "server"]  # fixtures

pytestmark = [needs("claude"), pytest.mark.req("seed-A9")]


async def test_our_tools(place: Place, server: Server) -> None:
    server.play(
        [
            Answer(
                [called("toolu_1", "mcp__asyncllm__add", 1, 2), called("toolu_2", "mcp__asyncllm__add", 3, 4), USED]
            ),
            Answer([called("toolu_3", "mcp__asyncllm__add", 10, 20), USED]),
            Answer(["Thirty.", USED]),
            Answer(["Yes.", USED]),
        ]
    )
    async with client(place, server) as asked:
        stream = asked.run("Add", tools=[add])
        events = [event async for event in stream]
        reply = await stream.reply()
        after = await asked.complete([*reply.messages, Message("user", "Sure?")], tools=[add])
    results = {event.id: event.text for event in events if isinstance(event, ToolResult)}
    assert results == {"toolu_1": "3", "toolu_2": "7", "toolu_3": "30"}
    assert [event.reason for event in events if isinstance(event, Finish)] == ["tool_calls", "tool_calls", "stop"]
    assert reply.text == "Thirty."
    assert reply.steps == 3
    assert reply.usage is not None
    assert reply.usage.output_tokens == 21
    sent = [part for message in turns(server)[2].messages for part in message.parts if isinstance(part, ToolResult)]
    assert [(part.id, part.text) for part in sent] == [("toolu_1", "3"), ("toolu_2", "7"), ("toolu_3", "30")]
    assert after.text == "Yes."
    assert len(turns(server)[-1].messages) > len(turns(server)[2].messages)


async def test_a_tool_that_fails_and_an_image(place: Place, server: Server) -> None:
    def broken() -> str:
        """Fail."""
        raise ValueError("no such thing")

    def picture() -> Image:
        """Draw."""
        return Image(data=png())

    server.play(
        [
            Answer([ToolCall("toolu_1", "mcp__asyncllm__broken", {}, "{}"), USED]),
            Answer([ToolCall("toolu_2", "mcp__asyncllm__picture", {}, "{}"), USED]),
            Answer(["Seen.", USED]),
        ]
    )
    async with client(place, server) as asked:
        reply = await asked.run("Do", tools=[broken, picture]).reply()
    assert reply.text == "Seen."
    first, second = (
        part for message in turns(server)[-1].messages for part in message.parts if isinstance(part, ToolResult)
    )
    assert first.is_error
    assert "no such thing" in first.text
    assert isinstance(second.content, list)
    assert any(isinstance(part, Image) for part in second.content)


async def test_results_for_a_process_that_is_gone(place: Place, server: Server) -> None:
    server.play([Answer([called("toolu_1", "mcp__asyncllm__add", 1, 2), USED]), Answer(["Three.", USED])])
    tool = {"name": "add", "description": "Add", "parameters": {"type": "object"}}
    async with client(place, server) as asked:
        first = await asked.complete("Add", tools=[tool])
        assert [call.name for call in first.tool_calls] == ["add"]
        for pid in processes(place):
            os.kill(pid, 9)
        await gone(place)
        messages = [*first.messages, Message("tool", [ToolResult("toolu_1", "add", "3")])]
        second = await asked.complete(messages, tools=[tool])
    assert second.text == "Three."
    assert any("told as text" in warning for warning in second.warnings)
    assert "[result of add] 3" in spoken(server)[-1][-1]


async def test_native_tools(place: Place, server: Server, calculator: HTTPServer) -> None:
    (place.work / "note.txt").write_text("the word is apple")
    server.play(
        [
            Answer([ToolCall("toolu_1", "Read", {}, f'{{"file_path":"{place.work}/note.txt"}}'), USED]),
            Answer([called("toolu_2", "mcp__calc__add", 17, 25), USED]),
            Answer([ToolCall("toolu_3", "Bash", {}, '{"command":"touch made.txt","description":"x"}'), USED]),
            Answer(["Done.", USED]),
        ]
    )
    servers = {
        "calc": {"type": "http", "url": calculator.url},
        "lost": {"type": "http", "url": "http://127.0.0.1:9/mcp"},
    }
    options: dict[str, Any] = {"mcp_servers": servers, "allowed_tools": ("mcp__calc__*",), "builtin_tools": None}
    async with client(place, server, **options) as asked:
        stream = asked.stream("Do")
        events = [event async for event in stream]
        reply = await stream.reply()
    results = {event.id: event for event in events if isinstance(event, ToolResult)}
    assert "apple" in results["toolu_1"].text
    assert "42" in results["toolu_2"].text
    assert results["toolu_3"].is_error  # nobody was asked, and nothing may be changed
    assert not (place.work / "made.txt").exists()
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert [(call.name, call.executed) for call in calls] == [("Read", True), ("mcp__calc__add", True), ("Bash", True)]
    assert reply.text == "Done."
    assert reply.steps == 4
    assert any("'lost'" in warning for event in events if isinstance(event, StreamStart) for warning in event.warnings)


@pytest.mark.parametrize("answer", [True, "not today"])
async def test_who_is_asked(place: Place, server: Server, answer: bool | str) -> None:
    asked_for: list[tuple[str, object]] = []

    async def decide(name: str, arguments: dict[str, object]) -> bool | str:
        asked_for.append((name, arguments["command"]))
        return answer

    server.play(
        [
            Answer([ToolCall("toolu_1", "Bash", {}, '{"command":"touch made.txt","description":"x"}'), USED]),
            Answer(["Done.", USED]),
        ]
    )
    async with client(place, server, can_use_tool=decide, builtin_tools=("Bash",)) as asked:
        events = [event async for event in asked.stream("Do")]
    assert asked_for == [("Bash", "touch made.txt")]
    (result,) = (event for event in events if isinstance(event, ToolResult))
    assert result.is_error is (answer is not True)
    assert (place.work / "made.txt").exists() is (answer is True)
    assert answer is True or "not today" in result.text


async def test_max_turns(place: Place, server: Server, calculator: HTTPServer) -> None:
    server.play(Answer([called("toolu_2", "mcp__calc__add", 17, 25), USED]))
    servers = {"calc": {"type": "http", "url": calculator.url}}
    async with client(place, server, mcp_servers=servers, allowed_tools=("mcp__calc__*",), max_turns=1) as asked:
        with pytest.raises(UnknownError) as caught:
            await asked.complete("Do")
    assert caught.value.code == "error_max_turns"
