"""Tools of Claude Code, and our Python tools, which it calls in the middle of its turn."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from _agents import alive, backend_of, drains, ends, events_of, played, reads, says
from _claude_program import (
    ALLOWED,
    ANSWERED,
    SESSION,
    TOOL,
    USER,
    Stage,
    add,
    asks,
    begins,
    block,
    calls,
    given,
    init,
    replies,
    result,
    stops,
    text,
    turn,
    wants,
)

from asyncllm import Client
from asyncllm.backends.agents._agent import PARKED
from asyncllm.events import Finish, Message, Retrying, StreamEvent, ToolCall, ToolResult

pytestmark = [played, pytest.mark.req("seed-A9")]

ADD = "mcp__asyncllm__add"
OVER = stops("tool_use")


def called(*ids: str) -> bytes:
    """A message that calls `add`, and the permission that it asks for."""
    found = b"".join(calls(id, ADD, {"a": at, "b": 1}, at) for at, id in enumerate(ids))
    return init() + begins() + found + OVER


def end(words: str = "Done.", **fields: Any) -> bytes:
    return (
        begins("msg_9")
        + text(words)
        + block({"type": "text", "text": words}, "msg_9", "a-9")
        + stops()
        + result(words, **fields)
    )


def reasons(events: list[StreamEvent]) -> list[str]:
    return [event.reason for event in events if isinstance(event, Finish)]


async def test_our_tools(tmp_path: Path) -> None:
    """Two calls at once, asked for in one order and answered in another, and a third that comes later."""
    script = [
        reads(USER),
        says(called("t1", "t2")),
        says(asks("p1", "can_use_tool", tool_name=ADD, input={"a": 0, "b": 1}, tool_use_id="t1")),
        reads(ALLOWED),
        says(wants("m2", "t2", a=1, b=1)),
        reads(ANSWERED),
        says(wants("m1", "t1", a=0, b=1)),
        reads(ANSWERED),
        says(given("t1", "1") + given("t2", "2") + begins("msg_2") + calls("t3", ADD, {"a": 5, "b": 5}) + OVER),
        says(wants("m3", "t3", a=5, b=5)),
        reads(ANSWERED),
        says(given("t3", "10") + end()),
        drains(),
    ]
    stage = Stage(tmp_path, script)
    async with stage.client() as client:
        stream = client.run("Hi", tools=[add])
        events = [event async for event in stream]
        reply = await stream.reply()
    results = {event.id: event.text for event in events if isinstance(event, ToolResult)}
    assert results == {"t1": "1", "t2": "2", "t3": "10"}
    assert reasons(events) == ["tool_calls", "tool_calls", "stop"]
    assert [(e.name, e.executed) for e in events if isinstance(e, ToolCall)] == [("add", False)] * 3
    assert (reply.text, reply.steps) == ("Done.", 3)
    assert reply.usage is not None
    assert (reply.usage.output_tokens, reply.usage.cost) == (7, 0.5)  # of the turn, once
    (run,) = stage.fake.runs
    assert run.told[0]["request"]["sdkMcpServers"] == ["asyncllm"]
    assert "--allowedTools=mcp__asyncllm__*" in run.argv
    assert int(run.env["MCP_TOOL_TIMEOUT"]) >= 3_600_000
    answered = {
        line["response"]["request_id"]: line["response"]["response"] for line in stage.told(kind="control_response")
    }
    assert answered["p1"] == {"behavior": "allow", "updatedInput": {"a": 0, "b": 1}}
    said = {id: answered[id]["mcp_response"]["result"]["content"][0]["text"] for id in ("m1", "m2", "m3")}
    assert said == {"m1": "1", "m2": "2", "m3": "10"}


async def test_what_its_server_is_asked(tmp_path: Path) -> None:
    """The MCP server in which our tools are, without any connection; and servers and requests that are not there."""
    messages = {
        "c1": {"method": "initialize", "params": {"protocolVersion": "2025-11-25"}, "jsonrpc": "2.0", "id": 0},
        "c2": {"method": "notifications/initialized", "jsonrpc": "2.0"},
        "c3": {"method": "tools/list", "jsonrpc": "2.0", "id": 1},
    }
    asked = b"".join(asks(id, "mcp_message", server_name="asyncllm", message=each) for id, each in messages.items())
    asked += asks("c4", "mcp_message", server_name="other", message=messages["c3"])
    asked += asks("c5", "no_such_request") + asks("c6", "hook_callback", callback_id="x")
    stage = Stage(tmp_path, [reads(USER), says(asked), reads('"c6"'), says(init() + end()), drains()])
    async with stage.client() as client:
        await client.complete("Hi", tools=[add])
    told = {line["response"]["request_id"]: line["response"] for line in stage.told(kind="control_response")}
    listed = told["c3"]["response"]["mcp_response"]["result"]["tools"]
    assert [(tool["name"], tool["description"]) for tool in listed] == [("add", "Add two numbers.")]
    assert told["c1"]["response"]["mcp_response"]["result"]["serverInfo"]["name"] == "asyncllm"
    assert told["c2"]["response"]["mcp_response"]["result"] == {}
    assert [told[id]["subtype"] for id in ("c4", "c5", "c6")] == ["error", "error", "success"]


async def test_a_tool_that_fails(tmp_path: Path) -> None:
    def broken() -> str:
        """Fail."""
        raise ValueError("no such thing")

    params = {"name": "broken", "arguments": {}, "_meta": {"claudecode/toolUseId": "t1"}}
    message = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": params}
    call = init() + begins() + calls("t1", "mcp__asyncllm__broken", {}) + OVER
    asked = asks("m1", "mcp_message", server_name="asyncllm", message=message)
    stage = Stage(
        tmp_path, [reads(USER), says(call + asked), reads(ANSWERED), says(given("t1", "x") + end()), drains()]
    )
    async with stage.client() as client:
        assert (await client.run("Hi", tools=[broken]).reply()).text == "Done."
    (line,) = stage.told(kind="control_response")
    found = line["response"]["response"]["mcp_response"]
    assert (found["id"], found["result"]["isError"]) == (3, True)
    assert "no such thing" in found["result"]["content"][0]["text"]


async def parked(client: Client) -> list[Message]:
    first = await client.complete("Hi", tools=[TOOL])
    assert [call.name for call in first.tool_calls] == ["add"]
    assert first.finish_reason == "tool_calls"
    return first.messages


async def test_a_parked_turn_waits_for_its_results(tmp_path: Path) -> None:
    """And what Claude Code said besides, before it was answered, is not lost, nor taken for the end of its process."""
    early = init() + begins() + calls("t0", "Read", {"file": "x"}) + calls("t1", ADD, {"a": 1, "b": 2}, 1) + OVER
    script = [reads(USER), says(early + wants("m1", "t1", a=1, b=2) + given("t0", "apple"))]
    stage = Stage(tmp_path, [*script, reads(ANSWERED), says(given("t1", "3") + end()), drains()])
    async with stage.client() as client:
        messages = await parked(client)
        assert set(backend_of(client)._parked) == {"t1"}
        said = [*messages, Message("tool", [ToolResult("t1", "add", "3")]), Message("user", "Be quick.")]
        events = await events_of(client, said, tools=[TOOL])
        assert backend_of(client)._parked == {}
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["apple"]
    assert reasons(events) == ["stop"]
    assert len(stage.fake.runs) == 1
    (line,) = stage.told(kind="control_response")
    words = "".join(part["text"] for part in line["response"]["response"]["mcp_response"]["result"]["content"])
    assert words == "3\n\nThe user says:\n\nBe quick."


async def test_a_call_without_a_result_is_answered_all_the_same(tmp_path: Path) -> None:
    script = [reads(USER), says(called("t1", "t2") + wants("m1", "t1", a=0, b=1) + wants("m2", "t2", a=1, b=1))]
    stage = Stage(tmp_path, [*script, reads('"m2"'), says(end()), drains()])
    async with stage.client() as client:
        first = await client.complete("Hi", tools=[TOOL])
        assert len(first.tool_calls) == 2
        await client.complete([*first.messages, Message("tool", [ToolResult("t1", "add", "1")])], tools=[TOOL])
    told = {
        line["response"]["request_id"]: line["response"]["response"] for line in stage.told(kind="control_response")
    }
    assert [told[id]["mcp_response"]["result"]["isError"] for id in ("m1", "m2")] == [False, True]


@pytest.mark.parametrize("how", ["killed", "ended"])
async def test_results_for_a_process_that_is_gone(tmp_path: Path, how: str) -> None:
    """They are told in words, in a session that is resumed, and a warning says so."""
    early = init() + begins() + calls("t0", "Read", {}) + calls("t1", ADD, {"a": 1}, 1) + OVER + wants("m1", "t1", a=1)
    parks = [reads(USER), says(early + given("t0", "apple"))]
    stage = Stage(tmp_path, [*parks, *([drains()] if how == "killed" else []), ends(0)], turn("Three."))
    async with stage.client() as client:
        messages = await parked(client)
        if how == "killed":
            os.kill(stage.fake.runs[0].pid, signal.SIGKILL)
        (channel,) = set(backend_of(client)._parked.values())
        await channel._process.wait()
        stream = client.stream([*messages, Message("tool", [ToolResult("t1", "add", "3")])], tools=[TOOL])
        events = [event async for event in stream]
        reply = await stream.reply()
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["apple"]  # said before it was gone
    assert (reply.text, reply.finish_reason) == ("Three.", "stop")
    assert any("told as text" in warning for warning in reply.warnings)
    assert "[result of add] 3" in str(stage.said(1)[0])


async def test_a_parked_turn_that_nobody_answers(tmp_path: Path) -> None:
    """Its session goes on as a fork; its process ends with the client."""
    stage = Stage(tmp_path, [reads(USER), says(called("t1") + wants("m1", "t1", a=0, b=1)), drains()], turn("Else."))
    async with stage.client() as client:
        stream = client.stream("Hi", tools=[TOOL])
        await stream.reply()
        assert stream.partial.session is not None
        assert stream.partial.session.id == SESSION
        await client.complete("Something else", session=stream.partial.session, tools=[TOOL])
        assert alive(stage.fake.runs[0].pid)
    assert "--fork-session" in stage.fake.runs[1].argv
    assert not stage.alive()


async def test_too_many_parked_turns(tmp_path: Path) -> None:
    """The oldest is let go of: nobody came back to it."""
    scripts = [
        [reads(USER), says(called(f"t{at}") + wants("m", f"t{at}", a=0, b=1)), drains()] for at in range(PARKED + 1)
    ]
    stage = Stage(tmp_path, *scripts)
    async with stage.client() as client:
        for _ in range(PARKED + 1):
            await parked(client)
        assert "t0" not in backend_of(client)._parked
        assert len(backend_of(client)._parked) == PARKED
        await asyncio.gather(*backend_of(client)._closing)
        assert not alive(stage.fake.runs[0].pid)
    assert not stage.alive()


# ---- permissions


@pytest.mark.parametrize("answer", [True, False, "not today"])
async def test_who_is_asked(tmp_path: Path, answer: bool | str) -> None:
    asked: list[tuple[str, object]] = []

    def decide(name: str, arguments: dict[str, object]) -> bool | str:
        asked.append((name, arguments))
        return answer

    wish = asks("p1", "can_use_tool", tool_name="Bash", input={"command": "ls"}, tool_use_id="t1")
    call = init() + begins() + calls("t1", "Bash", {"command": "ls"}) + OVER
    stage = Stage(tmp_path, [reads(USER), says(call + wish), reads(ALLOWED), says(given("t1", "x") + end()), drains()])
    async with stage.client(can_use_tool=decide) as client:
        events = await events_of(client)
    assert asked == [("Bash", {"command": "ls"})]
    assert stage.argument("--permission-mode") == "default"
    (line,) = stage.told(kind="control_response")
    response = line["response"]["response"]
    if answer is True:
        assert response == {"behavior": "allow", "updatedInput": {"command": "ls"}}
    else:
        assert response == {"behavior": "deny", "message": answer or "the user said no"}
    (ran,) = (event for event in events if isinstance(event, ToolCall))
    assert ran.executed


async def test_nobody_is_asked(tmp_path: Path) -> None:
    """What needs permission is denied, and the answer to the program says how that is changed."""
    wish = asks("p1", "can_use_tool", tool_name="Bash", input={}, tool_use_id="t1")
    stage = Stage(tmp_path, [reads(USER), says(init() + wish), reads(ALLOWED), says(end()), drains()])
    async with stage.client() as client:
        await client.complete("Hi")
    (line,) = stage.told(kind="control_response")
    assert line["response"]["response"]["behavior"] == "deny"
    assert "allowed_tools=" in line["response"]["response"]["message"]


async def test_who_asks_is_interrupted(tmp_path: Path) -> None:
    """Nobody is asked about a turn that is being ended."""
    asked: list[str] = []

    def decide(name: str, arguments: dict[str, object]) -> bool:
        asked.append(name)
        return True

    wish = asks("p1", "can_use_tool", tool_name="Bash", input={}, tool_use_id="t1")
    script = [reads(USER), says(init() + begins() + text("word")), reads('"interrupt"'), says(wish), reads(ALLOWED)]
    over = result(subtype="error_during_execution", is_error=True, terminal_reason="aborted_tools")
    stage = Stage(tmp_path, [*script, says(over), drains()])
    async with stage.client(can_use_tool=decide) as client, client.stream("Hi") as stream:
        async for _ in stream.text:
            break
    assert asked == []
    (line,) = stage.told(kind="control_response")
    assert line["response"]["response"]["behavior"] == "deny"


async def test_a_turn_is_not_answered_by_the_one_before(tmp_path: Path) -> None:
    """What an interrupted turn has asked is refused, and does not stop the next one."""
    script = [reads(USER), says(called("t1") + begins("msg_2") + text("word")), reads('"interrupt"')]
    over = result(subtype="error_during_execution", is_error=True, terminal_reason="aborted_tools")
    script += [says(wants("m1", "t1", a=0, b=1) + over), reads(USER), says(init() + end("Fresh.")), drains()]
    stage = Stage(tmp_path, script)
    async with stage.client() as client:
        async with client.stream("Hi", tools=[TOOL]) as stream:
            async for _ in stream.text:
                break
        reply = await client.complete("Again", session=stream.partial.session, tools=[TOOL])
    assert (reply.text, reply.finish_reason, reply.tool_calls) == ("Fresh.", "stop", [])
    assert len(stage.fake.runs) == 1
    (line,) = stage.told(kind="control_response")
    assert line["response"]["subtype"] == "error"


async def test_a_failed_turn_is_taken_back_and_asked_again(tmp_path: Path) -> None:
    """In a session that goes on: the question is in it once, in the same process."""
    bad = init() + result("API Error: 529", subtype="success", is_error=True, api_error_status=529, tokens=0)
    script = [
        *turn("One."),
        reads(USER),
        says(bad),
        reads('"rewind_conversation"'),
        says(replies("asyncllm-1", rewound=True)),
    ]
    stage = Stage(tmp_path, [*script, *turn("Two.", number=2), drains()])
    async with stage.client(retry=1) as client:
        first = await client.complete("A")
        events = await events_of(client, [*first.messages, Message("user", "B")])
    assert [type(event.error).__name__ for event in events if isinstance(event, Retrying)] == ["OverloadedError"]
    assert reasons(events) == ["stop"]
