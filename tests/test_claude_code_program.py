"""Every recording of Claude Code through `Client(...)`: a program plays it in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from _agents import Step, alive, backend_of, complains, drains, ends, events_of, played, reads, says
from _claude import PLAIN, ROWS, agrees, command_of, exit_of, recorded
from _claude_program import USER, Stage

from asyncllm import SyncClient
from asyncllm.events import Session, StreamEvent, TextDelta

pytestmark = [played, pytest.mark.req("seed-A9")]

INTERRUPT = '"subtype":"interrupt"'


def interface_of(name: str) -> str:
    """How the program was driven when it was recorded."""
    argv = command_of(name)["argv"]
    if "--input-format" in argv and argv[argv.index("--input-format") + 1] == "stream-json":
        return "stream-json"
    return PLAIN.get(name, "print")


def turns_of(name: str) -> list[bytes]:
    """What it said in each turn."""
    found, held = list[bytes](), b""
    for line in recorded(name).splitlines(keepends=True) if b"\n" in recorded(name) else [recorded(name)]:
        held += line
        if b'"type":"result"' in line or b'"type": "result"' in line:
            found.append(held)
            held = b""
    return [*found, held] if held or not found else found


def plays(name: str) -> list[Step]:
    """The recording, and how it ended."""
    exit = exit_of(name)
    end = [complains(exit.stderr), ends(exit.code or 0)] if exit.stderr else [ends(exit.code or 0)]
    if interface_of(name) != "stream-json":
        return [drains(), says(recorded(name)), *end]
    steps: list[Step] = []
    for said in turns_of(name):
        steps += [reads(USER), says(said)]
    return [*steps, *([drains()] if not exit.code else []), *end]


@pytest.mark.recordings("claude")
@pytest.mark.parametrize("name", [name for name in ROWS if name != "stream_input_interrupt"])
async def test_recording(tmp_path: Path, name: str) -> None:
    """The same as its row says, through a process, for the interface that it was made with."""
    interface = interface_of(name)
    stage = Stage(tmp_path, plays(name))
    session: Session | None = None
    async with stage.client(interface=interface) as client:
        for row in ROWS[name]:
            found = await events_of(client, session=session)
            agrees(found, row)
            session = named(found)
    assert len(stage.fake.runs) == 1  # one process, for all turns
    assert not stage.alive()
    assert (
        stage.said() == ["Hi"] * len(ROWS[name]) if interface == "stream-json" else stage.fake.runs[0].stdin == ["Hi"]
    )


def named(events: list[StreamEvent]) -> Session | None:
    sessions = [event for event in events if isinstance(event, Session)]
    return sessions[-1] if sessions else None


async def test_the_recorded_interrupt(tmp_path: Path) -> None:
    """A stream that is closed stops the turn by the protocol, and the session goes on in its process."""
    first, second = turns_of("stream_input_interrupt")
    at = first.index(b'{"type":"control_response","response":{"subtype":"success","request_id":"r1"')
    script = [reads(USER), says(first[:at]), reads(INTERRUPT), says(first[at:]), reads(USER), says(second), drains()]
    stage = Stage(tmp_path, script)
    cut, whole = ROWS["stream_input_interrupt"]
    async with stage.client() as client:
        async with client.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta) and stream.partial.text == cut.text:
                    break
        assert stream.partial.text == cut.text
        assert stream.partial.session is not None
        assert stream.partial.session.id.startswith(cut.session)
        assert list(backend_of(client)._idle) == [stream.partial.session.id]
        agrees(await events_of(client, "Go on", session=stream.partial.session), whole)
    (run,) = stage.fake.runs
    kinds = [line["type"] for line in run.told]
    assert kinds == ["control_request", "user", "control_request", "user"]
    assert not alive(run.pid)


@pytest.mark.parametrize("name", ["tool_mcp", "err_400", "trunc_max_tokens"])
def test_without_await(tmp_path: Path, name: str) -> None:
    stage = Stage(tmp_path, plays(name))
    where: dict[str, Any] = {"executable": str(stage.fake.path), "cwd": str(stage.work), "home": str(stage.home)}
    with SyncClient("claude-code/m", **where, interface="print", retry=0) as client:
        agrees(list(client.stream("Hi").as_events()), ROWS[name][0])
    assert not stage.alive()
