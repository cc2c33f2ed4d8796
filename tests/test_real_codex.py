"""The real Codex CLI against the embedded server, by both of its interfaces."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from _codex_real import USED, both, client, multiply, processes, spoken
from _mcp import HTTPServer
from _real_agents import Place, add, calculator, called, greets, needs, place, png, server, three_turns, turns

from asyncllm import Client
from asyncllm.events import (
    Image,
    Message,
    Reply,
    Session,
    StreamStart,
    Text,
    ToolCall,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, Plan, Server
from asyncllm.testing._faults import Frame

__all__ = ["calculator", "place", "server"]  # fixtures

pytestmark = [needs("codex"), pytest.mark.req("seed-A10")]


@both
async def test_text(place: Place, server: Server, interface: str) -> None:
    async with client(place, server, interface=interface, system="Be brief.") as asked:
        _, pieces = await greets(asked, server, USED)
    assert pieces > 1 or interface == "exec"
    assert "Be brief." in str(server.requests[-1].json)
    assert "You are Codex" not in str(server.requests[-1].json)


@both
async def test_several_turns(place: Place, server: Server, interface: str) -> None:
    """By the messages and by the session; usage is that of each turn."""
    async with client(place, server, interface=interface) as asked:
        replies = await three_turns(asked, server, USED)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C"]
    assert [reply.usage and reply.usage.output_tokens for reply in replies] == [7, 7, 7]


@both
@pytest.mark.req("seed-F3")
async def test_resume_on_another_machine(place: Place, server: Server, interface: str) -> None:
    server.play([Answer(["one", USED]), Answer(["two", USED]), Answer(["three", USED])])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete("B", session=first.session)
    assert second.session is not None
    taken = Session.from_json(second.session.to_json())
    elsewhere = place.another()
    async with client(elsewhere, server, interface=interface) as asked:
        third = await asked.complete("C", session=taken)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C"]
    assert third.session is not None
    assert third.session.id == taken.id
    assert third.usage is not None
    assert third.usage.output_tokens == 7
    kept = [path for path in elsewhere.files() if path.name.startswith("rollout-")]
    assert [path.stat().st_mode & 0o077 for path in kept] == [0]


@pytest.mark.req("seed-F3")
async def test_from_one_interface_to_the_other(place: Place, server: Server) -> None:
    server.play([Answer(["one", USED]), Answer(["two", USED]), Answer(["three", USED])])
    async with client(place, server) as asked:
        first = await asked.complete("A")
    async with client(place, server, interface="exec") as asked:
        second = await asked.complete("B", session=first.session)
    async with client(place, server) as asked:
        third = await asked.complete("C", session=second.session)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C"]
    assert [reply.usage and reply.usage.output_tokens for reply in (first, second, third)] == [7, 7, 7]


@both
async def test_fork(place: Place, server: Server, interface: str) -> None:
    """From the end, and from an older turn; the session itself stays as it is, and a fork moves to another machine."""
    server.play([Answer([word]) for word in ("one", "two", "three", "four", "five", "six")])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete([*first.messages, Message("user", "B")])
        assert second.session is not None
        fork = await asked.complete("C", session=second.session.forked())
        older = await asked.complete([*first.messages, Message("user", "D")])
        again = await asked.complete([*second.messages, Message("user", "E")])
    assert spoken(server)[2:] == [
        ["A", "one", "B", "two", "C"],
        ["A", "one", "D"],
        ["A", "one", "B", "two", "E"],
    ]
    ids = [reply.session.id for reply in (second, fork, older, again) if reply.session]
    assert len({*ids}) == 3
    assert ids[0] == ids[3]
    async with client(place.another(), server, interface=interface) as asked:
        await asked.complete("F", session=fork.session)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C", "three", "F"]


async def test_our_tools(place: Place, server: Server) -> None:
    """The agent calls Python functions: several at once, again and again, in a session that goes on."""
    calls = called("c1", "add", 1, 2), called("c2", "add", 3, 4)
    third = called("c3", "add", 3, 7)
    server.play(
        [Answer(["Let me see.", *calls, USED]), Answer([third, USED]), Answer(["It is 10.", USED]), Answer(["Yes."])]
    )
    async with client(place, server) as asked:
        reply = await asked.run("Add", tools=[add]).reply()
        more = await asked.complete([*reply.messages, Message("user", "Sure?")], tools=[add])
    assert (reply.text, reply.steps) == ("It is 10.", 3)
    results = [part for message in reply.messages for part in message.parts if isinstance(part, ToolResult)]
    assert [(part.id, part.text) for part in results] == [("c1", "3"), ("c2", "7"), ("c3", "10")]
    assert reply.usage is not None
    assert reply.usage.output_tokens == 21
    assert more.text == "Yes."
    asked_for = turns(server)[-1]
    assert [part.text for message in asked_for.messages for part in message.parts if isinstance(part, ToolResult)] == [
        "3",
        "7",
        "10",
    ]
    assert reply.session is not None
    assert more.session is not None
    assert reply.session.id == more.session.id


async def test_the_tools_of_a_session_change(place: Place, server: Server) -> None:
    """Codex keeps the tools that a thread was begun with: with others it goes on as a copy of itself."""
    call = called("c1", "multiply", 3, 4)
    server.play([Answer(["one"]), Answer([call]), Answer(["12"]), Answer(["none"])])
    async with client(place, server) as asked:
        first = await asked.complete("A", tools=[add])
        second = await asked.run([*first.messages, Message("user", "B")], tools=[multiply]).reply()
        await asked.complete([*second.messages, Message("user", "C")])
    assert spoken(server)[-1] == ["A", "one", "B", "12", "C"]
    names = [{tool.name for tool in request.tools} & {"add", "multiply"} for request in turns(server)]
    assert names == [{"add"}, {"multiply"}, {"multiply"}, set()]


async def test_a_tool_that_takes_its_time_and_another_client(place: Place, server: Server) -> None:
    """A turn that stands still is gone with its client: what the tools said is told to the session in words."""
    call = called("c1", "add", 1, 2)
    server.play([Answer([call]), Answer(["It is 3."])])
    async with client(place, server) as asked:
        first = await asked.complete("Add", tools=[add])
    assert [waiting.id for waiting in first.tool_calls] == ["c1"]
    async with client(place, server) as asked:
        second = await asked.complete([*first.messages, ToolResult("c1", "add", "3")], tools=[add])
    assert second.text == "It is 3."
    assert "3" in spoken(server)[-1][-1]


class Namespaced:
    """A fault that is none: tools of MCP servers are called by their name and that of their server."""

    def apply(self, plan: Plan) -> None:
        for at, step in enumerate(plan.steps):
            if isinstance(step, Frame):
                data = step.data.replace(b'"name":"add"', b'"namespace":"mcp__calc","name":"add"')
                plan.steps[at] = replace(step, data=data)


@both
async def test_a_native_mcp_server(place: Place, server: Server, calculator: HTTPServer, interface: str) -> None:
    """Codex runs the call itself, without asking: the server was given by who asks."""
    server.play([Answer([called("c1", "add", 17, 25), USED], faults=[Namespaced()]), Answer(["It is 42.", USED])])
    options = {"interface": interface, "mcp_servers": {"calc": {"url": calculator.url}}}
    async with client(place, server, **options) as asked:
        reply = await asked.complete("Add")
    parts = [part for message in reply.messages for part in message.parts if isinstance(part, ToolCall | ToolResult)]
    call, result = parts
    assert isinstance(call, ToolCall)
    assert isinstance(result, ToolResult)
    assert (call.name, call.arguments, call.executed) == ("mcp__calc__add", {"a": 17, "b": 25}, True)
    assert (result.id, result.is_error) == (call.id, False)
    assert "42" in result.text
    assert (reply.text, reply.steps) == ("It is 42.", 2)
    assert reply.usage is not None
    assert reply.usage.output_tokens == 14


@pytest.mark.parametrize("together", [False, True])
async def test_each_request_is_a_step(place: Place, server: Server, together: bool) -> None:
    """With its calls, their results and its usage, in a new session and in one that is resumed."""
    one, two = (
        ToolCall(id, "exec_command", {"cmd": f"echo {id}"}, json.dumps({"cmd": f"echo {id}"})) for id in ("c1", "c2")
    )
    answers = [Answer([one, two, USED])] if together else [Answer([one, USED]), Answer([two, USED])]
    server.play([*answers, Answer(["Done.", USED])] * 2)
    session = None
    for _ in range(2):
        async with client(place, server) as asked, asked.stream("Run it", session=session) as stream:
            events = [event async for event in stream]
            session = (await stream.reply()).session
        steps: list[list[str]] = []
        for event in events:
            if isinstance(event, StreamStart):
                steps.append([])
            elif isinstance(event, ToolCall | ToolResult | Usage):
                steps[-1].append(type(event).__name__)
        parts = [("ToolCall", 2 if together else 1), ("ToolResult", 2 if together else 1), ("Usage", 1)]
        each = sorted(name for name, count in parts for _ in range(count))
        assert [sorted(step) for step in steps] == [each] * len(answers) + [["Usage"]]


async def test_what_it_may_not_do(place: Place, server: Server) -> None:
    """A command that would write is denied by the sandbox, and the result says so."""
    command: dict[str, object] = {"cmd": f"touch {place.work}/made"}
    run = ToolCall("c1", "exec_command", command, json.dumps(command))
    server.play([Answer([run]), Answer(["I could not."])])
    async with client(place, server) as asked:
        reply = await asked.complete("Touch it")
    results = [part for message in reply.messages for part in message.parts if isinstance(part, ToolResult)]
    assert [(part.name, part.is_error) for part in results] == [("exec_command", True)]
    assert "Read-only" in results[0].text
    assert not (place.work / "made").exists()


@both
async def test_a_lost_mcp_server_is_told(place: Place, server: Server, interface: str) -> None:
    options = {"interface": interface, "mcp_servers": {"calc": {"url": "http://127.0.0.1:9/mcp"}}}
    async with client(place, server, **options) as asked, asked.stream("Hi") as stream:
        reply = await stream.reply()
    assert reply.text == "Hello there, this is a test."
    told = " ".join([*reply.warnings, str(reply.finish_details)])
    assert "MCP server" in told


async def test_several_sessions_at_once(place: Place, server: Server) -> None:
    """One process serves them all."""
    server.play(lambda request: Answer([request.asked.messages[-1].text]))
    async with client(place, server) as asked:
        await asked.complete("warm")
        before = processes(place)
        replies = await asyncio.gather(*(asked.complete(f"question {number}") for number in range(8)))
        assert processes(place) == before
    assert [reply.text for reply in replies] == [f"question {number}" for number in range(8)]
    assert not processes(place)


@both
async def test_large(place: Place, server: Server, interface: str) -> None:
    long = "".join(f"{number} " for number in range(40_000))
    server.play(Answer([Text(long).text, USED]))
    prompt = "x" * 300_000
    async with client(place, server, interface=interface) as asked:
        reply = await asked.complete(prompt)
    assert reply.text == long
    assert prompt in spoken(server)[-1]


@both
async def test_image(place: Place, server: Server, interface: str) -> None:
    message = Message("user", [Text("What is it?"), Image(data=png())])
    async with client(place, server, interface=interface) as asked:
        await asked.complete([message])
    assert "data:image/png;base64," in str(server.requests[-1].json["input"])


@both
async def test_output(place: Place, server: Server, interface: str) -> None:
    server.play(Answer(['{"colour": "teal"}']))
    schema = {"title": "Colour", "type": "object", "properties": {"colour": {"type": "string"}}, "required": ["colour"]}
    async with client(place, server, interface=interface) as asked:
        reply: Reply[Any] = await asked.complete("Which?", output=schema)
    assert reply.output == {"colour": "teal"}
    assert "colour" in str(server.requests[-1].json)


@both
async def test_a_profile(place: Place, server: Server, interface: str) -> None:
    """In a session that goes on, too."""
    options = place.options("codex", server, interface=interface, profile="mine")
    (place.home / ".codex" / "mine.config.toml").write_text('model_reasoning_effort = "low"\n')
    async with Client("codex", **options) as asked:
        first = await asked.complete("A")
        await asked.complete("B", session=first.session)
    assert [request.json["reasoning"]["effort"] for request in server.requests if request.json] == ["low", "low"]


async def test_nothing_of_the_user_is_changed(place: Place, server: Server) -> None:
    async with client(place, server, config={"model_verbosity": "low"}, reasoning="high") as asked:
        before = (place.home / ".codex" / "config.toml").read_bytes()
        await asked.complete("Hi")
    assert (place.home / ".codex" / "config.toml").read_bytes() == before
    assert server.requests[-1].json["reasoning"]["effort"] == "high"
