"""opencode's sessions and our tools, through Client(...), on a program of ours that keeps sessions as opencode does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _agents import alive, backend_of, events_of, played
from _opencode import FOLDER
from _opencode_program import SPEC, Fake, fake

from asyncllm import Client, Conversation, SyncClient
from asyncllm.events import (
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    Reply,
    Session,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolResult,
)

__all__ = ["fake"]

pytestmark = [played, pytest.mark.req("seed-A11")]

KEEPS = {"composed": True}
CALLS = {**KEEPS, "call": ["add", {"a": 1, "b": 2}]}


def add(a: int, b: int) -> str:
    """Add two numbers."""
    return f"{a}+{b}={a + b}"


def elsewhere(fake: Fake) -> dict[str, Any]:
    """Another machine: a HOME where nobody has been."""
    home = fake.root / "elsewhere"
    home.mkdir(exist_ok=True)
    return {"home": str(home)}


def kept(reply: Reply) -> Session:
    assert reply.session is not None
    return reply.session


# ---- sessions


@pytest.mark.req("seed-F3")
async def test_a_session_goes_on_on_another_machine_from_its_bytes(fake: Fake) -> None:
    async with Client(SPEC, **fake.options(KEEPS, portable=True)) as client:
        first = await client.complete("one")
        assert first.text == "after [] heard [one]"
    session = Session.from_json(kept(first).to_json())
    assert session.state
    old = os.umask(0)
    try:
        async with Client(SPEC, **fake.options(KEEPS, **elsewhere(fake)), session=session) as client:
            second = await client.complete("two")
    finally:
        os.umask(old)
    assert second.text == "after [one] heard [two]"
    assert kept(second).id == session.id
    imported = next(call for call in fake.told() if call.get("argv", [""])[0] == "import")
    assert imported["mode"] == "0o600"
    assert not os.path.exists(os.path.dirname(imported["argv"][1]))
    nothing = Session(backend="opencode", id=session.id, cwd=session.cwd)
    options = fake.options(KEEPS, home=str(fake.root / "work"))
    async with Client(SPEC, **options, session=nothing) as client:
        with pytest.raises(NotFoundError, match="no state"):
            await client.complete("two")


async def test_fork_and_an_older_turn(fake: Fake) -> None:
    async with Client(SPEC, **fake.options(KEEPS)) as client:
        first = await client.complete("1")
        second = await client.complete([*first.messages, Message("user", "2")])
        older = await client.complete([*first.messages, Message("user", "2b")])
        assert second.text == "after [1] heard [2]"
        assert older.text == "after [1] heard [2b]"
        assert kept(first).id == kept(second).id != kept(older).id
        forked = await client.complete("3", session=kept(second).forked())
        assert forked.text == "after [1 | 2] heard [3]"
        assert len({kept(reply).id for reply in (second, older, forked)}) == 3
        again = await client.complete([*second.messages, Message("user", "3b")])
        assert again.text == "after [1 | 2] heard [3b]", "the session itself was left as it was"


async def test_a_conversation_is_saved_and_gone_on_with(fake: Fake) -> None:
    chat = Conversation(system="Be terse.")
    async with Client(SPEC, **fake.options(KEEPS, portable=True)) as client:
        chat.append("one")
        chat.append(await client.complete(chat))
    chat.save(fake.root / "chat.json")
    assert (fake.root / "chat.json").stat().st_mode & 0o077 == 0
    loaded = Conversation.load(fake.root / "chat.json")
    assert loaded.session is not None
    loaded.append("two")
    async with Client(SPEC, **fake.options(KEEPS, **elsewhere(fake)), session=loaded.session) as client:
        reply = await client.complete(loaded)
    assert reply.text == "after [one] heard [two]"


async def test_several_sessions_at_once_and_few_that_wait(fake: Fake) -> None:
    async with Client(SPEC, **fake.options(KEEPS, idle_processes=2)) as client:
        replies = await asyncio.gather(*(client.complete(f"n{n}") for n in range(5)))
        assert [reply.text for reply in replies] == [f"after [] heard [n{n}]" for n in range(5)]
        assert len({kept(reply).id for reply in replies}) == 5
        assert len(backend_of(client)._idle) == 2
        old = await asyncio.gather(*(client.complete([*r.messages, Message("user", "more")]) for r in replies))
        assert [reply.text for reply in old] == [f"after [n{n}] heard [more]" for n in range(5)]
    assert len([call for call in fake.told() if call.get("argv")]) == 1


async def test_interrupted_and_gone_on_with(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({**KEEPS, "hold": True})) as client:
        stream = client.stream("one")
        async for event in stream:
            if isinstance(event, TextDelta):
                break
        await stream.aclose()
        session = stream.partial.session
        assert session is not None
        again = client.stream("two", session=session)
        async for event in again:
            if isinstance(event, TextDelta):
                assert event.text == "after [one] heard [two]"
                break
        await again.aclose()
    assert len(fake.calls("/abort")) == 2


async def test_cancelled_in_the_middle(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({**KEEPS, "hold": True})) as client:
        begun = asyncio.Event()

        async def ask() -> None:
            async for event in client.stream("one"):
                if isinstance(event, TextDelta):
                    begun.set()

        task = asyncio.create_task(ask())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not alive(fake.told()[0]["pid"])


async def test_cancelled_while_it_starts(fake: Fake) -> None:
    os.mkfifo(fake.root / "ready")
    async with Client(SPEC, **fake.options({"mute": True})) as client:
        task = asyncio.create_task(client.complete("one"))
        pid = int(await asyncio.to_thread((fake.root / "ready").read_text))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert alive(pid), "others may wait for it"
    assert not alive(pid)


async def test_a_failed_turn_is_not_repeated_where_it_cannot_be_undone(fake: Fake) -> None:
    """Who names no turn of the session cannot go on from before it."""
    plan = {**KEEPS, "hold": True}
    async with Client(SPEC, **fake.options(KEEPS, portable=True)) as client:
        first = kept(await client.complete("one"))
    for turn, again in (("", False), (first.turn, True)):
        session = Session(backend="opencode", id=first.id, cwd=first.cwd, turn=turn, state=first.state)
        async with Client(SPEC, **fake.options(plan), session=session) as client:
            stream = client.stream("two")
            with pytest.raises(IncompleteStreamError) as failed:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        os.kill(fake.told_last("pid"), signal.SIGKILL)
        assert failed.value.retryable is again


@pytest.mark.parametrize("interface", ["serve", "run"])
@pytest.mark.parametrize("id", ["../config", "a b", "--help", "x?y=1", "ses\r\nx: y", ""])
async def test_ids_of_sessions_are_nothing_else(fake: Fake, interface: str, id: str) -> None:
    session = Session(backend="opencode", id=id, state=b"{}")
    async with Client(SPEC, **fake.options(KEEPS, interface=interface), session=session) as client:
        with pytest.raises(InvalidRequestError):
            await client.complete("Hi")
    assert not [call for call in fake.told() if id and id in str(call.get("path", call.get("argv")))]


def test_sync(fake: Fake) -> None:
    with SyncClient(SPEC, **fake.options(CALLS)) as client:
        first = client.complete("one")
        second = client.complete([*first.messages, Message("user", "two")])
        assert second.text == "after [one] heard [two]"
        assert client.run("Add", tools=[add]).reply().text == "it is 1+2=3"
    assert not alive(fake.told()[0]["pid"])


# ---- tools


async def test_our_tools(fake: Fake) -> None:
    async with Client(SPEC, **fake.options(CALLS)) as client:
        reply = await client.run("Add", tools=[add]).reply()
        parts = [part for message in reply.messages for part in message.parts]
        assert (reply.text, reply.steps, reply.finish_reason) == ("it is 1+2=3", 2, "stop")
        assert [part.executed for part in parts if isinstance(part, ToolCall)] == [False]
        assert [part.text for part in parts if isinstance(part, ToolResult)] == ["1+2=3"]
        assert reply.usage is not None
        assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cost) == (6, 4, 1.0)
    [made] = [call["body"] for call in fake.calls("/mcp") if call["method"] == "POST"]
    assert made["config"]["headers"]["Authorization"].startswith("Bearer ")
    [session] = [call["body"] for call in fake.calls("/session") if call["method"] == "POST"]
    allowed = [rule["permission"] for rule in session["permission"] if rule["action"] == "allow"]
    assert f"{made['name']}_*" in allowed
    assert len(fake.calls(f"/mcp/{made['name']}/disconnect")) == 1


async def parked(client: Client, **more: Any) -> tuple[Reply, ToolCall]:
    reply = await client.complete("Add", tools=[add], **more)
    assert reply.finish_reason == "tool_calls"
    [call] = reply.tool_calls
    assert call.arguments == {"a": 1, "b": 2}
    return reply, call


@pytest.mark.parametrize("interface", ["serve", "run"])
async def test_a_parked_turn_waits_until_it_is_answered(fake: Fake, interface: str) -> None:
    async with Client(SPEC, **fake.options({**CALLS, "run": "text"}, interface=interface)) as client:
        reply, call = await parked(client)
        result = Message("tool", [ToolResult(call.id, call.name, "three")])
        done = await client.complete([*reply.messages, result], tools=[add])
        assert "three" in done.text
        assert not backend_of(client)._parked


@pytest.mark.parametrize("interface", ["serve", "run"])
async def test_a_parked_turn_that_is_dropped(fake: Fake, interface: str) -> None:
    async with Client(SPEC, **fake.options({**CALLS, "run": "text"}, interface=interface)) as client:
        await parked(client)
        assert len(backend_of(client)._parked) == 1
    assert not alive(fake.told()[0]["pid"])


async def test_closing_does_not_wait_for_a_server_that_does_not_listen(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({**CALLS, "deaf": True})) as client:
        await parked(client)
        async with asyncio.timeout(20):
            await client.aclose()
    assert not alive(fake.told()[0]["pid"])


async def test_a_parked_turn_whose_server_died_is_told_its_results(fake: Fake) -> None:
    async with Client(SPEC, **fake.options(CALLS)) as client:
        reply, call = await parked(client)
        [server] = backend_of(client)._servers.values()
        os.kill(fake.told_last("pid"), signal.SIGKILL)
        await server._process.wait()
        result = Message("tool", [ToolResult(call.id, call.name, "three")])
        done = await client.complete([*reply.messages, result], tools=[add])
    assert done.text.startswith("after [Add] heard [")
    assert "[result of add] three" in done.text
    assert any("told as text" in warning and "gone" in warning for warning in done.warnings)
    assert kept(done).id == kept(reply).id
    assert len({call["pid"] for call in fake.told() if call.get("pid")}) == 2


async def test_a_parked_run_that_died_is_told_its_results(fake: Fake) -> None:
    start = json.loads((FOLDER / "text.stdout").read_bytes().split(b"\n")[0])
    messages = [{"info": {"id": start["part"]["messageID"]}}]
    known = {"info": {"id": start["sessionID"], "directory": str(fake.root / "work")}, "messages": messages}
    (fake.root / "known").write_text(json.dumps(known))
    plan = {**CALLS, "run": "text", "export": str(fake.root / "known")}
    async with Client(SPEC, **fake.options(plan, interface="run")) as client:
        reply, call = await parked(client)
        assert kept(reply).id == start["sessionID"]
        [channel] = backend_of(client)._parked.values()
        os.kill(fake.told_last("pid"), signal.SIGKILL)
        await channel._process.wait()
        result = Message("tool", [ToolResult(call.id, call.name, "three")])
        done = await client.complete([*reply.messages, result], tools=[add])
    assert done.text.startswith("Hello")
    assert "[result of add] three" in fake.told_last("start")


@pytest.fixture
def open_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


# ---- safety


@pytest.mark.parametrize("interface", ["serve", "run"])
@pytest.mark.usefixtures("open_umask")
async def test_isolated_reads_nothing_of_the_user(
    fake: Fake, interface: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    poisoned = tmp_path / "poisoned"
    for folder in (".config/opencode", ".local/share/opencode"):
        (poisoned / folder).mkdir(parents=True)
    monkeypatch.setenv("HOME", str(poisoned))
    for name in ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "OPENCODE_CONFIG", "OPENCODE_CONFIG_DIR", "OPENCODE_API_KEY"):
        monkeypatch.setenv(name, str(poisoned / "x"))
    monkeypatch.setenv("ANTHROPIC_API_KEY", "poison")
    before = sorted(poisoned.rglob("*"))
    options = fake.options({**KEEPS, "run": "text"}, interface=interface, isolated=True, home=None)
    async with Client(SPEC, **options) as client:
        await client.complete("Hi")
        home = Path(backend_of(client).home)
        assert home.stat().st_mode & 0o077 == 0
        assert not [path for path in home.rglob("*") if path.stat().st_mode & 0o077 and path.parent == home.parent]
    environment = fake.told()[0]["env"]
    assert environment["HOME"] == str(home)
    assert "poison" not in str(environment)
    assert environment["OPENCODE_DISABLE_PROJECT_CONFIG"] == "1"
    assert sorted(poisoned.rglob("*")) == before
    assert not home.exists()


async def test_by_default_nothing_may_be_changed_whatever_the_user_allows_elsewhere(fake: Fake) -> None:
    async with Client(SPEC, **fake.options({**KEEPS, "run": "text"})) as client:
        await client.complete("Hi")
    [session] = [call["body"] for call in fake.calls("/session") if call["method"] == "POST"]
    denied = {
        rule["permission"] for rule in session["permission"] if rule["action"] == "deny" and rule["pattern"] == "*"
    }
    assert {"bash", "edit", "webfetch", "websearch", "question"} <= denied
    assert not {"read", "glob", "*"} & denied
    async with Client(SPEC, **fake.options({"run": "text"}, interface="run")) as client:
        await client.complete("Hi")
    agents = fake.config()["agent"]
    assert {agents[name]["permission"]["bash"] for name in ("build", "general", "explore")} == {"deny"}


async def test_options_reach_it(fake: Fake) -> None:
    other = fake.root / "other"
    other.mkdir()
    more: dict[str, Any] = {
        "add_dirs": [str(other)],
        "permission": {"bash": {"git *": "allow", "*": "deny"}},
        "agent": "plan",
        "variant": "high",
        "pure": True,
        "config": {"snapshot": False},
        "mcp_servers": {
            "calc": {"type": "remote", "url": "http://127.0.0.1:9", "headers": {"x": "sk-mcp-secret-0123"}}
        },
        "extra_args": ["--log-level", "ERROR"],
        "api_key": "sk-very-secret-0123456789",
        "base_url": "http://127.0.0.1:9/v1",
    }
    async with Client(SPEC, **fake.options(KEEPS, **more)) as client:
        events = await events_of(client, "s" * 1000, system="Be secretive.")
        shown = repr(client) + repr(backend_of(client)) + repr(backend_of(client)._launch.access("emu/emu-1"))
    assert isinstance(events[0], StreamStart)
    start = fake.told()[0]
    assert start["argv"][-2:] == ["--log-level", "ERROR"]
    assert start["cwd"] == str(fake.root / "work")
    assert start["env"]["OPENCODE_PURE"] == "1"
    config = fake.config()
    assert config["permission"]["external_directory"][f"{other}/**"] == "allow"
    assert (config["snapshot"], config["mcp"]["calc"]["url"]) == (False, "http://127.0.0.1:9")
    [prompt] = fake.calls("/prompt_async")
    assert (prompt["body"]["agent"], prompt["body"]["variant"]) == ("plan", "high")
    assert prompt["body"]["system"] == "Be secretive."
    [session] = [call["body"] for call in fake.calls("/session") if call["method"] == "POST"]
    assert {"permission": "bash", "pattern": "git *", "action": "allow"} in session["permission"]
    for secret in ("sk-very", "sk-mcp", "secretive", "ssss"):
        assert secret not in " ".join(start["argv"])
        assert secret not in shown


async def test_no_model(fake: Fake) -> None:
    async with Client("opencode", **fake.options(KEEPS)) as client:
        await client.complete("Hi")
    assert "model" not in fake.calls("/prompt_async")[0]["body"]


@pytest.mark.parametrize("interface", ["serve", "run"])
@pytest.mark.parametrize(
    ("text", "mode"), [("#!/no/such/interpreter\n", 0o700), ("\x00\x01", 0o700), ("#!/bin/sh\n", 0o600)]
)
async def test_a_program_that_cannot_run(fake: Fake, interface: str, text: str, mode: int) -> None:
    fake.path.write_text(text)
    fake.path.chmod(mode)
    async with Client(SPEC, **fake.options({}, interface=interface)) as client:
        with pytest.raises(LLMError, match="opencode"):
            await client.complete("Hi")
