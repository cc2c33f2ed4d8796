"""Antigravity in a HOME of its own, and tools of ours: it calls them over MCP in the middle of its turn."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import time
from pathlib import Path
from typing import Any

import pytest
from _antigravity_program import Fake, fake, flags, played
from _mcp import nothing_left, processes

from asyncllm import Client, check_order, tool
from asyncllm.events import (
    InvalidRequestError,
    Message,
    StreamStart,
    ToolCall,
    ToolResult,
)

__all__ = ["fake"]

pytestmark = [played, pytest.mark.req("seed-A12")]


async def test_an_isolated_home(fake: Fake) -> None:
    """A key of ours means the provider that takes keys; the files are private, and gone afterwards."""
    servers = {"calc": {"serverUrl": "http://127.0.0.1:1/mcp"}}
    options = fake.options(isolated=True, mcp_servers=servers, settings={"theme": "dark"}, api_key="sk-of-a-test")
    seen: dict[str, Any] = {}
    async with Client("antigravity", **options, base_url="http://127.0.0.1:9") as client:
        await client.complete("Hi")
        home = Path(fake.starts[0]["env"]["HOME"])
        for name in ("antigravity-cli/settings.json", "config/mcp_config.json"):
            path = home / ".gemini" / name
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            seen[name] = json.loads(path.read_text())
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
    assert seen == {
        "antigravity-cli/settings.json": {
            "modelProvider": "gemini",
            "permissions": {"allow": ["mcp(calc/*)"]},
            "theme": "dark",
        },
        "config/mcp_config.json": {"mcpServers": servers},
    }
    assert fake.starts[0]["env"]["GEMINI_API_KEY"] == "sk-of-a-test"
    assert fake.starts[0]["env"]["GOOGLE_GEMINI_BASE_URL"] == "http://127.0.0.1:9"
    assert "sk-of-a-test" not in json.dumps(fake.starts[0]["argv"])
    assert not home.exists()


async def test_the_users_home_is_not_written_to(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Neither with a key nor without."""
    monkeypatch.setenv("GEMINI_API_KEY", "sk-of-the-user")
    async with Client("antigravity", **fake.options()) as client:
        await client.complete("Hi")
    assert fake.starts[0]["env"]["GEMINI_API_KEY"] == "sk-of-the-user"
    assert list((tmp_path / "home").iterdir()) == []


@tool
def add(a: int, b: int) -> int:
    """Adds."""
    return a + b


async def test_tools_of_ours(fake: Fake) -> None:
    """The agent calls them over MCP, on loopback; the turn stands still till they are answered."""
    async with nothing_left(), Client("antigravity", **fake.options(do="mcp", isolated=True)) as client:
        run = client.run("Add.", tools=[add])
        events = [event async for event in run]
        check_order(events)
        reply = await run.reply()
    (call,) = [event for event in events if isinstance(event, ToolCall)]
    assert (call.name, call.arguments, call.executed) == ("add", {"a": 20, "b": 22}, False)
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["42"]
    assert sum(isinstance(event, StreamStart) for event in events) == 2
    assert reply.text == "It is 42."
    assert reply.usage is not None
    assert reply.usage.total_tokens == 13
    assert len(fake.starts) == 1


async def test_tools_of_ours_that_are_never_answered(fake: Fake) -> None:
    """The turn ends with the client."""
    async with nothing_left(), Client("antigravity", **fake.options(do="mcp", isolated=True)) as client:
        reply = await client.complete("Add.", tools=[add])
        assert [call.name for call in reply.tool_calls] == ["add"]
        assert reply.session is not None


async def test_results_of_a_turn_that_is_gone(fake: Fake) -> None:
    """They are told in words."""
    async with Client("antigravity", **fake.options(do="mcp", isolated=True)) as client:
        reply = await client.complete("Add.", tools=[add])
    result = Message("tool", [ToolResult(reply.tool_calls[0].id, "add", "42")])
    async with Client("antigravity", **fake.options()) as client:
        after = await client.complete([*reply.messages, result])
    assert "[result of add] 42" in flags(fake.starts[-1])["-p"]
    assert flags(fake.starts[-1])["--conversation"] == "c-1"
    assert any("told as text" in warning for warning in after.warnings)


async def test_a_turn_whose_process_dies_while_it_waits(fake: Fake) -> None:
    """Another goes on with the conversation, and is told the results in words."""
    async with Client("antigravity", **fake.options(do="mcp", isolated=True)) as client:
        reply = await client.complete("Add.", tools=[add])
        os.kill(fake.starts[0]["pid"], signal.SIGKILL)
        while fake.starts[0]["pid"] in processes():
            await asyncio.sleep(0)
        result = Message("tool", [ToolResult(reply.tool_calls[0].id, "add", "42")])
        again = await client.complete([*reply.messages, result])
    assert len(fake.starts) == 2
    assert "[result of add] 42" in flags(fake.starts[1])["-p"]
    assert flags(fake.starts[1])["--conversation"] == "c-1"
    assert again.warnings


@pytest.mark.parametrize(
    ("options", "asked", "words"),
    [
        ({}, {}, "isolated=True"),
        ({"isolated": True, "interface": "text"}, {}, "no tools"),
        ({"isolated": True}, {"tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_tools_that_cannot_be(fake: Fake, options: dict[str, Any], asked: dict[str, Any], words: str) -> None:
    """Said, and nothing is started."""
    async with Client("antigravity", **fake.options(**options)) as client:
        with pytest.raises(InvalidRequestError, match=words):
            await client.complete("Add.", tools=[add], **asked)
    assert fake.starts == []


async def test_no_tools_are_wanted(fake: Fake) -> None:
    """tool_choice="none" needs no server."""
    async with Client("antigravity", **fake.options()) as client:
        assert (await client.complete("Hi", tools=[add], tool_choice="none")).text


def test_one_client_under_two_loops(fake: Fake) -> None:
    """What lived under a loop that is gone is gone, with its process and its server of tools."""
    client = Client("antigravity", **fake.options(do="mcp", isolated=True))

    async def ask() -> str:
        return (await client.complete("Add.", tools=[add])).tool_calls[0].name

    async def ask_and_close() -> str:
        async with client:
            return await ask()

    assert asyncio.run(ask()) == "add"
    assert asyncio.run(ask_and_close()) == "add"
    gone = {start["pid"] for start in fake.starts}
    deadline = time.monotonic() + 5
    while gone & processes() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(gone) == 2
    assert not gone & processes()
