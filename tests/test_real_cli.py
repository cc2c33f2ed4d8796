"""`asyncllm chat` with the real coding agents, on a terminal: tools, Ctrl-C, and going on in another process."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from _cli import finished, start, terminal
from _real_agents import MODEL, Place, needs, place, program, script, scrubbed, server, turns

from asyncllm import ReasoningDelta, ToolCall
from asyncllm.testing import Answer, Server, Wait

__all__ = ["place", "server"]

AGENTS = {"claude": "claude-code/any", "codex": f"codex/{MODEL}", "opencode": f"opencode/emu/{MODEL}"}
each = pytest.mark.parametrize("agent", [pytest.param(name, marks=needs(name)) for name in AGENTS])


def reading(agent: str, file: Path) -> ToolCall:
    """A call of the agent's own tool that reads a file."""
    if agent == "claude":
        return ToolCall("call_1", "Read", {"file_path": str(file)})
    if agent == "opencode":
        return ToolCall("call_1", "read", {"filePath": str(file)})
    return ToolCall("call_1", "exec_command", {"cmd": f"cat {file}"})


def chat(agent: str, place: Place, server: Server) -> list[str]:
    options = {"executable": program(agent), "env": place.environment(agent, server), "home": str(place.home)}
    pairs = [word for name, value in options.items() for word in ("--option", f"{name}={json.dumps(value)}")]
    return ["chat", "-m", AGENTS[agent], "--cwd", str(place.work), *pairs]


def environment(place: Place) -> dict[str, str]:
    root = Path(__file__).parent.parent
    return {**scrubbed(place.home), "PYTHONPATH": str(root), "TERM": "xterm"}


def said_by_users(asked: Any) -> list[str]:
    return [message.text for message in asked.messages if message.role == "user"]


@pytest.mark.req("seed-F3")
@each
async def test_a_conversation_on_a_terminal(agent: str, place: Place, server: Server) -> None:
    """Reasoning, its own tool and the answer are shown; Ctrl-C stops a turn, and the session goes on behind it; what is saved
    goes on in another process and another HOME."""
    file, saved, held = place.work / "a.txt", place.root / "saved.json", Wait()
    file.write_text("forty-two\n")
    look = Answer([ReasoningDelta("Let me see."), "I look. ", reading(agent, file)])
    long = Answer(["This answer ", "is long ", held, "and has no end."])
    answers = [look, Answer.text("It says 42."), long, Answer.text("The third."), Answer.text("The fourth.")]
    server.play(script(*answers))
    async with terminal(environment(place), *chat(agent, place, server)) as screen:
        await screen.until(b"> ")
        screen.type(b"What is in it?\r")
        for shown in (
            b"Let me see.",
            b"I look.",
            b"tool call: ",
            b"forty-two" if agent != "codex" else b"tool ",
            b"It says 42.",
        ):
            await screen.until(shown)
        await screen.until(b"> ")
        screen.type(b"Say something long.\r")
        await screen.until(b"is long")
        screen.process.send_signal(signal.SIGINT)
        await screen.until(b"stopped; what was said until then is kept")
        held.release()
        await screen.until(b"> ")
        screen.type(b"And now?\r")
        await screen.until(b"The third.")
        await screen.until(b"> ")
        screen.type(f"/save {saved}\r".encode())
        await screen.until(b"saved to")
        await screen.until(b"> ")
        screen.type(b"/quit\r")
        assert await screen.end() == 0
    assert b"told as text" not in screen.shown
    third = said_by_users(turns(server)[-1])
    assert third[-1].endswith("And now?")
    assert sum("Say something long." in text for text in third) == 1
    elsewhere = place.another()
    going_on = [*chat(agent, elsewhere, server), "--history", str(saved), "Go on."]
    code, out, err = await finished(await start(environment(elsewhere), *going_on))
    assert (code, out) == (0, b"The fourth.\n"), err
    fourth = said_by_users(turns(server)[-1])
    assert fourth[-1].endswith("Go on.")
    assert sum("And now?" in text for text in fourth) == 1


@each
async def test_doctor_and_providers(agent: str, place: Place) -> None:
    """Found on PATH, with its version."""
    code, out, _ = await finished(await start(environment(place), "doctor"))
    assert code == 0
    name = AGENTS[agent].partition("/")[0]
    assert f"ok    {name}: " in out.decode()
    assert list(place.home.iterdir()) == []
