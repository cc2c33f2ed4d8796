"""The real Claude Code against the embedded server, on loopback: what it says, and where it goes on."""

from __future__ import annotations

import msgspec
import pytest
from _claude_real import USED, both, client, private, spoken
from _real_agents import Place, greets, needs, place, png, processes, server, three_turns, turns

from asyncllm import (
    Image,
    Message,
    NotFoundError,
    Session,
    Text,
    TextDelta,
    ToolCall,
)
from asyncllm.testing import Answer, Server

__all__ = ["place", "server"]  # fixtures

pytestmark = [needs("claude"), pytest.mark.req("seed-A9")]


@both
async def test_text(place: Place, server: Server, interface: str) -> None:
    async with client(place, server, interface=interface) as asked:
        reply, pieces = await greets(asked, server, USED)
    assert pieces > 1
    assert reply.usage is not None
    assert reply.usage.cost
    assert reply.session is not None
    assert reply.session.state is not None
    assert reply.session.turn.encode() in reply.session.state
    assert turns(server)[-1].system is not None
    assert "Be brief." in str(turns(server)[-1].system)
    assert processes(place) == []


@pytest.mark.parametrize("interface", ["json", "text"])
async def test_the_other_forms(place: Place, server: Server, interface: str) -> None:
    server.play([Answer(["one", USED]), Answer(["two", USED])])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete([*first.messages, Message("user", "B")])
    assert spoken(server)[-1] == ["A", "one", "B"]
    assert second.text == "two"
    assert (second.usage is not None) == (interface == "json")
    assert second.session is not None
    assert second.session.turn.encode() in (second.session.state or b"")
    assert second.session.turn


@both
async def test_several_turns(place: Place, server: Server, interface: str) -> None:
    """By the messages and by the session; usage and cost are those of each turn."""
    async with client(place, server, interface=interface) as asked:
        replies = await three_turns(asked, server, USED)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C"]
    used = [reply.usage for reply in replies]
    assert [(usage.output_tokens, usage.cost) for usage in used if usage] == [(7, used[0] and used[0].cost)] * 3


async def test_a_long_answer_and_a_long_prompt(place: Place, server: Server) -> None:
    answer, prompt = "word " * 40_000, "text " * 60_000
    server.play(Answer([TextDelta(answer[at : at + 500]) for at in range(0, len(answer), 500)]))
    async with client(place, server) as asked:
        reply = await asked.complete(prompt)
    assert reply.text == answer
    assert spoken(server)[-1] == [prompt.strip()]


@both
async def test_a_long_prompt_on_standard_input(place: Place, server: Server, interface: str) -> None:
    prompt, system = "text " * 60_000, "rule " * 60_000
    async with client(place, server, interface=interface, system=system) as asked:
        await asked.complete(prompt)
    assert spoken(server)[-1] == [prompt.strip()]
    assert system.strip() in str(turns(server)[-1].system)


async def test_an_image(place: Place, server: Server) -> None:
    image = png()
    async with client(place, server) as asked:
        await asked.complete(Message("user", [Text("What is this?"), Image(data=image)]))
    parts = [part for message in turns(server)[-1].messages for part in message.parts]
    assert any(isinstance(part, Image) and part.data for part in parts)


async def test_json_that_was_asked_for(place: Place, server: Server) -> None:
    class City(msgspec.Struct):
        name: str
        people: int

    output = ToolCall(
        "toolu_out", "StructuredOutput", {"name": "Ulm", "people": 126000}, '{"name":"Ulm","people":126000}'
    )
    server.play([Answer([output, USED]), Answer(["Here it is.", USED])])
    async with client(place, server, output=City) as asked:
        reply = await asked.complete("Which city?")
    assert reply.output == City("Ulm", 126000)


async def test_options_of_a_request(place: Place, server: Server) -> None:
    async with client(
        place, server, extra_headers={"x-mine": "yes"}, extra_body={"metadata": {"user_id": "me"}}
    ) as asked:
        await asked.complete("Hi", max_tokens=1234, reasoning=2000, extra_headers={"x-call": "too"})
        quiet = await asked.complete("Hi", reasoning="none", temperature=0.5)
    first, second = (request for request in server.requests if request.path.startswith("/v1/messages"))
    assert (first.headers["x-mine"], first.headers["x-call"]) == ("yes", "too")
    assert second.headers["x-mine"] == "yes"
    assert "x-call" not in second.headers
    assert first.json["metadata"] == {"user_id": "me"}
    assert first.json["max_tokens"] == 1234
    assert first.json["thinking"]["type"] == "enabled"
    assert second.json.get("thinking", {"type": "disabled"})["type"] == "disabled"
    assert quiet.warnings == ("claude-code knows no temperature: left out",)


# ---- sessions


@both
@pytest.mark.req("seed-F3")
async def test_resume_on_another_machine(place: Place, server: Server, interface: str) -> None:
    server.play([Answer(["one", USED]), Answer(["two", USED]), Answer(["three", USED]), Answer(["four", USED])])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete("B", session=first.session)
    assert second.session is not None
    taken = Session.from_json(second.session.to_json())
    elsewhere = place.another()
    async with client(elsewhere, server, interface=interface) as asked:
        third = await asked.complete("C", session=taken)
    assert third.session is not None
    assert third.session.id == taken.id
    async with client(place, server, interface=interface) as asked:  # and back, where the file is older
        fourth = await asked.complete("D", session=third.session)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C", "three", "D"]
    assert fourth.session is not None
    assert fourth.session.id == taken.id
    private(elsewhere)


@both
async def test_a_fork_and_an_older_turn(place: Place, server: Server, interface: str) -> None:
    server.play([Answer([word, USED]) for word in ("one", "two", "three", "four", "five")])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete([*first.messages, Message("user", "B")])
        assert second.session is not None
        other = await asked.complete([*first.messages, Message("user", "other")])  # from before
        assert spoken(server)[-1] == ["A", "one", "other"]
        forked = await asked.complete("C", session=second.session.forked())
        assert spoken(server)[-1] == ["A", "one", "B", "two", "C"]
        last = await asked.complete([*second.messages, Message("user", "D")])
        assert spoken(server)[-1] == ["A", "one", "B", "two", "D"]
    assert last.session is not None
    assert last.session.id == second.session.id
    assert len({reply.session.id for reply in (second, other, forked) if reply.session}) == 3


async def test_the_names_of_folders(place: Place, server: Server) -> None:
    for name in ("a b_é.😀", "d" * 90 + "/" + "e" * 100):
        folder = place.work / name
        folder.mkdir(parents=True)
        link = place.work / f"link{len(name)}"
        link.symlink_to(folder)
        async with client(place, server, cwd=str(link)) as asked:
            reply = await asked.complete("A")
        assert reply.session is not None
        assert reply.session.state is not None, name


async def test_a_session_that_is_not_there(place: Place, server: Server) -> None:
    missing = Session(backend="claude-code", id="99999999-2222-4333-8444-555555555555")
    async with client(place, server) as asked:
        with pytest.raises(NotFoundError, match="No conversation found"):
            await asked.complete("Hi", session=missing)


async def test_isolated(place: Place, server: Server) -> None:
    """Nothing of the user's is read, and nothing is left."""
    (place.home / ".claude").mkdir()
    (place.home / ".claude" / "CLAUDE.md").write_text("SECRET OF THE USER")
    (place.work / "CLAUDE.md").write_text("SECRET OF THE PROJECT")
    async with client(place, server, isolated=True) as asked:
        reply = await asked.complete("Hi")
    assert "SECRET" not in str(server.requests[-1].json)
    assert reply.session is not None
    assert reply.session.state is not None
    assert [path.name for path in place.files()] == ["CLAUDE.md", "CLAUDE.md"]
