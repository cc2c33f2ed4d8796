"""Conversations on a terminal: history, MCP servers that stay connected, Ctrl-C, and the few commands."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from _cli import PATIENCE, environment_of, finished, of, start, terminal
from _mcp import SERVERS
from _runs import DONE, call, calls

from asyncllm import Message, ToolResult
from asyncllm._conversation import Conversation
from asyncllm.testing import Answer, NoDone, NoFinish, Server, Stall

PLAIN = f"box={sys.executable} -S {SERVERS / 'plain.py'}"
"""A server of MCP that is a command: `box__echo`, `box__pid`, `box__hang` and more."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of(tmp_path)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server([Answer.text("One"), Answer.text("Two"), Answer.text("Three")]) as serving:
        yield serving


def said(server: Server, at: int = -1) -> list[str]:
    """The texts of a request's messages."""
    return [message["content"] for message in server.requests[at].json["messages"]]


# ---- servers and tools


@pytest.mark.req("seed-E1")
async def test_a_server_stays_connected(environment: dict[str, str], server: Server) -> None:
    """It is started once for the whole conversation, said to be connected to, and its process answers every turn."""
    server.play([calls(call("box__pid")), DONE, calls(call("box__pid", id="c2")), DONE])
    async with terminal(environment, *of(server), "--mcp", PLAIN) as screen:
        await screen.until(b"connecting to box ...")
        await screen.until(b"box: 10 tools")
        for _ in range(2):
            await screen.until(b"> ")
            screen.type(b"Who?\n")
            await screen.until(b"tool call: box__pid of the server box\r\n")
            await screen.until(b"[q]uit: ")
            screen.type(b"y\n")
            await screen.until(b"tool result: box__pid: ")
            await screen.until(b"21 degrees.")
        await screen.until(b"> ")
        screen.type(b"/quit\n")
        assert await screen.end() == 0
    pids = [message["content"] for message in server.requests[-1].json["messages"] if message["role"] == "tool"]
    assert len(pids) == 2
    assert len(set(pids)) == 1
    with pytest.raises(ProcessLookupError):
        os.kill(int(pids[0]), 0)


async def test_ctrl_c_stops_a_tool_and_not_the_conversation(environment: dict[str, str], server: Server) -> None:
    """The call is given up, the server stays, and the model hears that its call was interrupted."""
    server.play([calls(call("box__pid"), text="I look."), calls(call("box__hang", id="c2")), Answer.text("So?")])
    async with terminal(environment, *of(server), "--mcp", PLAIN, "--yes") as screen:
        await screen.until(b"> ")
        screen.type(b"Who?\n")
        await screen.until(b"tool call: box__hang()")
        screen.process.send_signal(signal.SIGINT)
        await screen.until(b"stopped; what was said until then is kept")
        await screen.until(b"> ")
        screen.type(b"Well?\n")
        await screen.until(b"So?")
        await screen.until(b"> ")
        screen.type(b"\x04")
        assert await screen.end() == 0
    messages = server.requests[-1].json["messages"]
    assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant", "tool", "user"]
    assert messages[2]["content"].isdigit()
    assert "interrupted" in messages[4]["content"]
    assert b"warning" not in screen.shown


async def test_a_server_that_is_down(environment: dict[str, str], server: Server) -> None:
    """One line says which and what to look at; the model is not asked, and the other server is left."""
    process = await start(environment, *of(server), "--mcp", PLAIN, "--mcp", "sky=no-such-program", "--yes", "Hi")
    code, out, err = await finished(process)
    assert (code, out) == (5, b"")
    lines = err.decode().splitlines()
    assert lines[0] == "connecting to box, sky ..."
    assert lines[1].startswith("error: the MCP server sky cannot be started: ")
    assert lines[1].endswith("does it run, and is the --mcp right?")
    assert len(lines) == 2
    assert server.requests == []


async def test_ctrl_c_while_a_server_starts(environment: dict[str, str], server: Server) -> None:
    """A server that says nothing can be left: 130, no trace, no process."""
    async with terminal(environment, *of(server), "--mcp", f"{PLAIN} slow", "Hi") as screen:
        await screen.until(b"connecting to box ...")
        screen.process.send_signal(signal.SIGINT)
        assert await screen.end() == 130
    assert b"Traceback" not in screen.shown


async def test_progress_is_shown_in_place(environment: dict[str, str], server: Server) -> None:
    """The last word of a tool stands on one line, which is gone when there is a result."""
    everyday = f"day={sys.executable} {SERVERS / 'everyday.py'}"
    server.play([calls(call("day__steps")), DONE])
    async with terminal(environment, *of(server), "--no-color", "--mcp", everyday, "--yes", "Hi") as screen:
        assert await screen.end() == 0
    line = "day__steps: 3 of 3, step 3"
    assert f"{line}\r{' ' * len(line)}\rtool result: day__steps: done\r\n".encode() in screen.shown
    assert b"\x1b" not in screen.shown


async def test_what_tools_there_are(environment: dict[str, str], server: Server, tmp_path: Path) -> None:
    """/tools names them with the first line of what they say; /help and an unknown command say what there is."""
    (tmp_path / "own.py").write_text(
        'def rain(city: str) -> bool:\n    """Whether it rains.\n\n    More."""\n    return True\n'
    )
    async with terminal(environment, *of(server), "--mcp", PLAIN, "--tool", f"{tmp_path}/own.py:rain") as screen:
        for typed, shown in [
            (b"/tools\n", b"rain: Whether it rains.\r\nbox__echo: echo\r\n"),
            (b"/nonsense\n", b"there is no /nonsense: /help tells what there is"),
            (b"/help\n", b"/save FILE"),
            (b"/save\n", b"where to?"),
            (b"/save /nowhere/at/all\n", b"error: the conversation was not saved to /nowhere/at/all: No such file"),
        ]:
            await screen.until(b"> ")
            screen.type(typed)
            await screen.until(shown)
        await screen.until(b"> ")
        screen.type(b"/quit\n")
        assert await screen.end() == 0
    assert server.requests == []


async def test_no_tools(environment: dict[str, str], server: Server) -> None:
    """/tools says how to name some; a path at the start of a question is no command."""
    async with terminal(environment, *of(server)) as screen:
        await screen.until(b"> ")
        screen.type(b"/tools\n")
        await screen.until(b"none: --tool and --mcp name some")
        await screen.until(b"> ")
        screen.type(b"/etc/hosts, what is it?\n")
        await screen.until(b"One")
        await screen.until(b"> ")
        screen.type(b"\n")
        assert await screen.end() == 0
    assert said(server) == ["/etc/hosts, what is it?"]


# ---- history


async def test_ctrl_c_keeps_what_was_said(environment: dict[str, str], server: Server) -> None:
    """An answer that is stopped is half an answer in the history; one that had not begun leaves nothing."""
    server.play(
        [
            Answer.text("Half an answer", faults=[Stall(after=2)]),
            Answer.text("never", faults=[Stall(after=0)]),
            Answer.text("Two"),
        ]
    )
    async with terminal(environment, *of(server)) as screen:
        await screen.until(b"> ")
        screen.type(b"one\n")
        await screen.until(b"Half an")
        screen.process.send_signal(signal.SIGINT)
        await screen.until(b"> ")
        screen.type(b"never\n")
        await asyncio.wait_for(server.wait_requests(2), PATIENCE)
        screen.process.send_signal(signal.SIGINT)
        await screen.until(b"> ")
        screen.type(b"two\n")
        await screen.until(b"Two")
        await screen.until(b"> ")
        screen.type(b"/quit\n")
        assert await screen.end() == 0
    assert said(server) == ["one", "Half an", "two"]


async def test_what_is_forgotten(environment: dict[str, str], server: Server, tmp_path: Path) -> None:
    """/clear begins anew; /save writes what was said since, for nobody else to read."""
    file = tmp_path / "chat.json"
    async with terminal(environment, *of(server)) as screen:
        for typed, shown in [
            (b"one\n", b"One"),
            (b"/clear\n", b"what was said is forgotten"),
            (b"two\n", b"Two"),
            (f"/save {file}\n".encode(), b"saved to"),
            (b"three\n", b"Three"),
        ]:
            await screen.until(b"> ")
            screen.type(typed)
            await screen.until(shown)
        await screen.until(b"> ")
        screen.type(b"/quit\n")
        assert await screen.end() == 0
    assert said(server) == ["two", "Two", "three"]
    assert list(Conversation.load(file)) == [Message("user", "two"), Message("assistant", "Two")]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_history_in_a_file(environment: dict[str, str], server: Server, tmp_path: Path) -> None:
    """Each call goes on with what the last one left in the file, which is private, tools and all."""
    file = tmp_path / "chat.json"
    server.play([calls(call("box__echo", text="x")), DONE, Answer.text("Two")])
    one = await start(environment, *of(server), "--history", str(file), "--mcp", PLAIN, "--yes", "one")
    assert (await finished(one))[0] == 0
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    two = await start(environment, *of(server), "--history", str(file), "two")
    assert (await finished(two))[0] == 0
    roles = [message["role"] for message in server.requests[-1].json["messages"]]
    assert roles == ["user", "assistant", "tool", "assistant", "user"]
    assert Conversation.load(file)[-1] == Message("assistant", "Two")


async def test_tools_that_were_called_are_not_forgotten(
    environment: dict[str, str], server: Server, tmp_path: Path
) -> None:
    """An error after a call keeps the call and its result in the history: asking again would do it twice."""
    file = tmp_path / "chat.json"
    server.play([calls(call("box__echo", text="done it")), Answer.error(status=400)])
    arguments = ["--history", str(file), "--mcp", PLAIN, "--yes", "Do it"]
    code, _, err = await finished(await start(environment, *of(server), *arguments))
    assert (code, b"error: openai/any: scripted HTTP 400" in err) == (2, True)
    parts = [part for message in Conversation.load(file) for part in message.parts]
    assert [part.text for part in parts if isinstance(part, ToolResult)] == ["done it"]


async def test_a_failed_question_is_forgotten(environment: dict[str, str], server: Server, tmp_path: Path) -> None:
    """Without calls there is nothing to keep of what failed: the file is as it was."""
    file = tmp_path / "chat.json"
    server.play([Answer.text("Half an", faults=[NoFinish(), NoDone()])])
    assert (await finished(await start(environment, *of(server), "--history", str(file), "Hi")))[0] == 6
    assert not file.exists()
