"""The real opencode: what it may do, and what becomes of a turn when things go wrong. Opt-in: see _real_agents.py."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _agents import backend_of
from _real_agents import MODEL, Place, add, needs, place, script, server, turns

from asyncllm import Client
from asyncllm.events import (
    Finish,
    InvalidOutputError,
    Message,
    Session,
    TextDelta,
    ToolCall,
    ToolResult,
)
from asyncllm.testing import Answer, ReceivedRequest, Server

__all__ = ["place", "server"]

pytestmark = [needs("opencode"), pytest.mark.req("seed-A11")]

SPEC = f"opencode/emu/{MODEL}"
CHANGING = {"bash", "edit", "write", "apply_patch", "webfetch", "websearch", "question"}


def offered(request: ReceivedRequest) -> set[str]:
    return {tool["function"]["name"] for tool in request.json.get("tools", [])}


def calls(name: str, arguments: dict[str, Any]) -> Answer:
    raw = json.dumps(arguments)
    return Answer([ToolCall("c1", name, arguments, raw), Finish("tool_calls")])


@pytest.mark.parametrize("interface", ["serve", "run"])
async def test_what_the_user_allows_elsewhere_is_not_allowed_here(place: Place, server: Server, interface: str) -> None:
    """In the configuration, in that of its agent, and in that of a sub-agent."""
    options = place.options("opencode", server, interface=interface)
    path = place.home / ".config" / "opencode" / "opencode.json"
    opened = {"bash": "allow", "edit": "allow", "webfetch": "allow"}
    agents = {name: {"permission": opened} for name in ("build", "general")}
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"permission": {**opened, "*": "allow"}, "agent": agents})
    )
    seen: list[set[str]] = []

    def play(request: ReceivedRequest) -> Answer:
        seen.append(offered(request))
        said = str(request.json["messages"][-1]["content"])
        if "delegate" in said:
            return calls("task", {"description": "d", "prompt": "look", "subagent_type": "general"})
        return Answer.text("fine")

    server.play(play)
    async with Client(SPEC, **options) as client:
        reply = await client.complete("delegate")
    assert reply.text == "fine"
    assert len(seen) == 3
    assert not CHANGING & set.union(*seen)
    assert "read" in set.intersection(*seen)
    seen.clear()
    async with Client(SPEC, **options, permission="allow") as client:
        await client.complete("Hi")
    assert {"bash", "read"} <= seen[0]


async def test_what_was_allowed_once_is_not_allowed_for_ever(place: Place, server: Server) -> None:
    """Rules travel with a session."""
    seen: list[set[str]] = []

    def play(request: ReceivedRequest) -> Answer:
        seen.append(offered(request))
        return Answer.text("fine")

    server.play(play)
    reply, rules = None, []
    for permission in ("allow", None, None, {"*": "deny", "glob": "allow"}):
        session = None if reply is None else reply.session
        async with Client(SPEC, **place.options("opencode", server, permission=permission)) as client:
            reply = await client.complete("Hi", session=session)
            assert reply.session is not None
            rules.append(json.loads(reply.session.state or b"")["info"]["permission"])
    assert CHANGING & seen[0]
    assert not CHANGING & seen[1]
    assert rules[1][len(rules[0])] == {"permission": "*", "pattern": "*", "action": "deny"}
    assert rules[1] == rules[2]
    assert seen[3] == {"glob"}


async def test_what_is_asked_in_another_directory_is_denied_there(place: Place, server: Server) -> None:
    other = place.root / "another project"
    other.mkdir()

    def play(request: ReceivedRequest) -> Answer:
        last = request.json["messages"][-1]
        if last["role"] == "tool" or "bash" not in str(last["content"]):
            return Answer.text("fine")
        return calls("bash", {"command": "touch made", "description": "x"})

    server.play(play)
    asked: dict[str, Any] = {"permission": {"*": "allow", "bash": "ask"}}
    options = place.options("opencode", server, **asked)
    async with Client(SPEC, **place.options("opencode", server, cwd=str(other), **asked)) as client:
        first = await client.complete("one")
    async with Client(SPEC, **options) as client:
        reply = await client.complete([*first.messages, Message("user", "bash")])
    assert reply.text == "fine"
    assert reply.session is not None
    assert reply.session.cwd == str(other)
    results = [part for m in reply.messages for part in m.parts if isinstance(part, ToolResult)]
    assert [result.is_error for result in results] == [True]
    assert "denied" in results[0].text


async def test_an_answer_that_is_not_the_json_that_was_asked_for(place: Place, server: Server) -> None:
    server.play(Answer.text("Five, I think."))
    async with Client(SPEC, **place.options("opencode", server)) as client:
        with pytest.raises(InvalidOutputError):
            await client.complete("Five", output=int)


async def test_results_for_a_server_that_died(place: Place, server: Server) -> None:
    def play(request: ReceivedRequest) -> Answer:
        last = str(request.json["messages"][-1]["content"])
        if "Add" in last and "result of" not in last:
            name = next(name for name in offered(request) if name.endswith("_add"))
            return calls(name, {"a": 1, "b": 2})
        return Answer.text("fine")

    server.play(play)
    async with Client(SPEC, **place.options("opencode", server)) as client:
        reply = await client.complete("Add", tools=[add])
        [call] = reply.tool_calls
        [running] = backend_of(client)._servers.values()
        running._process.kill()
        await running._process.wait()
        result = Message("tool", [ToolResult(call.id, call.name, "three")])
        done = await client.complete([*reply.messages, result], tools=[add])
    assert done.text == "fine"
    assert any("told as text" in warning for warning in done.warnings)
    assert "[result of add] three" in turns(server)[-1].messages[-1].text


async def test_sessions_are_not_readable_by_others(place: Place, server: Server) -> None:
    """What we write: nothing is left but what opencode itself keeps."""
    server.play(script(Answer.text("one"), Answer.text("two")))
    async with Client(SPEC, **place.options("opencode", server)) as client:
        first = await client.complete("1")
    assert first.session is not None
    kept = Session.from_json(first.session.to_json())
    there = place.another()
    async with Client(SPEC, **there.options("opencode", server), session=kept) as client:
        stream = client.stream("2")
        assert [event.text async for event in stream if isinstance(event, TextDelta) and event.text] == ["two"]
    ours = [path for path in there.files() if ".local" not in path.parts and ".cache" not in path.parts]
    assert [path.name for path in ours if path.suffix == ".json" and "session" in path.name] == []
