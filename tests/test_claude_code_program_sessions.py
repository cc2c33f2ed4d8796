"""Where a session of Claude Code goes on: in its process, in another one, on another machine, and beside itself."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from pathlib import Path
from typing import Any

import pytest
from _agents import Step, alive, backend_of, drains, played, reads, says
from _claude_program import (
    OTHER,
    SESSION,
    USER,
    Stage,
    answer,
    begins,
    entry,
    file_of,
    init,
    keeps,
    once,
    projects,
    replies,
    result,
    retries,
    text,
    turn,
)

from asyncllm import Conversation, SyncClient
from asyncllm.events import Message, NotFoundError, Reply, Retrying, Session
from asyncllm.protocols.claude_code import folder_of

pytestmark = [played, pytest.mark.req("seed-A9"), pytest.mark.req("seed-F3")]

FIRST = [entry("user", "u-1", "A"), entry("assistant", "a-1", "One.")]
SECOND = [entry("user", "u-2", "B"), entry("assistant", "a-2", "Two.")]


def remembers(stage_root: Path, *, more: bool = False) -> list[Step]:
    """A turn, or two, whose session is written down before its end is said."""
    work = stage_root / "work"
    steps = [reads(USER), keeps(work, *FIRST), says(answer("One."))]
    if more:
        steps += [reads(USER), keeps(work, *SECOND), says(answer("Two.", number=2))]
    return [*steps, drains()]


def file_in(stage: Stage, id: str = SESSION) -> Path:
    return stage.home / projects(stage.work) / f"{id}.jsonl"


def session_of(reply: Reply[Any]) -> Session:
    assert reply.session is not None
    return reply.session


# ---- the same process


async def test_several_turns(tmp_path: Path) -> None:
    """By the messages and by the session, in one process; usage and cost are those of each turn."""
    stage = Stage(tmp_path, [*turn("One."), *turn("Two.", number=2), *turn("Three.", number=3), drains()])
    async with stage.client() as client:
        first = await client.complete("A")
        second = await client.complete([*first.messages, Message("user", "B")])
        third = await client.complete("C", session=second.session)
        assert list(backend_of(client)._idle) == [SESSION]
    assert [reply.text for reply in (first, second, third)] == ["One.", "Two.", "Three."]
    assert [reply.usage.cost for reply in (first, second, third) if reply.usage] == [0.5] * 3
    assert [session_of(reply).turn for reply in (first, second, third)] == ["a-1", "a-2", "a-3"]
    assert len(stage.fake.runs) == 1
    assert stage.said() == ["A", "B", "C"]  # only what is new
    assert not stage.alive()


async def test_a_process_that_died_while_it_was_idle(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [*turn("One."), drains()], turn("Two.", number=2))
    async with stage.client() as client:
        first = await client.complete("A")
        (channel,) = backend_of(client)._idle.values()
        os.kill(stage.fake.runs[0].pid, signal.SIGKILL)
        await channel._process.wait()
        second = await client.complete([*first.messages, Message("user", "B")])
    assert second.text == "Two."
    assert stage.argument("--resume", run=1) == SESSION
    assert stage.said(1) == ["B"]


async def test_what_a_process_is_started_with_may_change(tmp_path: Path) -> None:
    """Then another process goes on with the session, and the one before it ends."""
    stage = Stage(tmp_path, [*turn("One."), drains()], [*turn("Two.", number=2), drains()])
    async with stage.client() as client:
        first = await client.complete("A", system="Be brief.")
        await client.complete([*first.messages, Message("user", "B")], system="Be long.")
        assert not alive(stage.fake.runs[0].pid)
        assert Path(stage.argument("--system-prompt-file", run=1)).read_text() == "Be long."
    assert stage.argument("--resume", run=1) == SESSION
    assert "--fork-session" not in stage.fake.runs[1].argv
    assert "--resume" not in stage.fake.runs[0].argv
    assert [run.env["CLAUDE_CODE_MAX_RETRIES"] for run in stage.fake.runs] == ["0", "2"]


@pytest.mark.parametrize("kept", [0, 1])
async def test_how_many_are_kept(tmp_path: Path, kept: int) -> None:
    scripts = [[reads(USER), says(answer("One.").replace(SESSION.encode(), id)), drains()] for id in (b"s-1", b"s-2")]
    stage = Stage(tmp_path, *scripts)
    async with stage.client(idle_processes=kept) as client:
        await client.complete("A")
        await client.complete("B")
        await asyncio.gather(*backend_of(client)._closing)
        assert stage.alive() == [run.pid for run in stage.fake.runs[1:]][:kept]
    assert not stage.alive()


async def test_several_at_once(tmp_path: Path) -> None:
    """Each in a process of its own: none has ended before all have begun."""
    over = result(subtype="error_during_execution", is_error=True, terminal_reason="aborted_streaming")
    begun = init() + begins() + text("word ")
    stage = Stage(tmp_path, [reads(USER), says(begun), reads('"interrupt"'), says(over), drains()])
    async with stage.client() as client:
        streams = [client.stream(f"Q{number}") for number in range(4)]
        async with asyncio.TaskGroup() as group:
            for stream in streams:
                group.create_task(stream.__aenter__())
        assert len(stage.alive()) == 4
        assert sorted(str(said) for run in range(4) for said in stage.said(run)) == ["Q0", "Q1", "Q2", "Q3"]
    assert not stage.alive()


# ---- other machines


@pytest.mark.parametrize("interface", ["stream-json", "print", "json", "text"])
async def test_another_machine(tmp_path: Path, interface: str) -> None:
    """From bytes: the file is put where the program looks for it, and nobody else may read it."""
    here, there = tmp_path / "here", tmp_path / "there"
    said = {"json": result("One."), "text": b"One.\n"}.get(interface, answer("One."))
    session = Session(backend="claude-code", id=SESSION, turn="a-1", state=file_of(*FIRST))
    if interface != "text":  # its sessions have ids of ours, which the program that plays it does not know
        stage = Stage(
            here, remembers(here) if interface == "stream-json" else [keeps(here / "work", *FIRST), *once(said)]
        )
        async with stage.client(interface=interface) as client:
            found = session_of(await client.complete("A"))
        assert (found.id, found.turn, found.state) == (session.id, session.turn, session.state)
        session = found
    other = Stage(there, turn("Two.", number=2) if interface == "stream-json" else once(said))
    old = os.umask(0)
    try:
        async with other.client(interface=interface, session=Session.from_json(session.to_json())) as client:
            await client.complete("B")
    finally:
        os.umask(old)
    assert other.argument("--resume") == SESSION
    assert "--fork-session" not in other.fake.runs[0].argv
    path = file_in(other)
    assert path.read_bytes() == file_of(*FIRST)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for folder in (path.parent, path.parent.parent, path.parent.parent.parent):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


async def test_a_saved_conversation(tmp_path: Path) -> None:
    """It brings its session along, and the messages lead back to the turn."""
    here, there = tmp_path / "here", tmp_path / "there"
    stage, other = Stage(here, remembers(here)), Stage(there, turn("Two.", number=2))
    conversation = Conversation()
    async with stage.client() as client:
        conversation.append("A")
        conversation.append(await client.complete(conversation))
    conversation.save(tmp_path / "chat.json")
    loaded = Conversation.load(tmp_path / "chat.json")
    loaded.append("B")
    async with other.client() as client:
        reply = await client.complete(loaded, session=loaded.session)
    loaded.append(reply)
    assert other.argument("--resume") == SESSION
    assert file_in(other).read_bytes() == file_of(*FIRST)
    assert other.said() == ["B"]
    assert loaded.session is not None
    assert loaded.session.turn == "a-2"


def test_without_await(tmp_path: Path) -> None:
    stage = Stage(tmp_path, [*turn("One."), *turn("Two.", number=2), drains()])
    where: dict[str, Any] = {"executable": str(stage.fake.path), "cwd": str(stage.work), "home": str(stage.home)}
    with SyncClient("claude-code/m", **where, retry=0) as client:
        first = client.complete("A")
        assert "".join(client.stream([*first.messages, Message("user", "B")]).text) == "Two."
    assert len(stage.fake.runs) == 1
    assert not stage.alive()


async def test_portable_or_not(tmp_path: Path) -> None:
    stage = Stage(tmp_path, remembers(tmp_path))
    async with stage.client(portable=False) as client:
        reply = await client.complete("A")
    assert session_of(reply).state is None
    assert session_of(reply).turn == "a-1"


async def test_words_of_another_model_are_told(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turn("Two."))
    async with stage.client() as client:
        reply = await client.complete([Message("user", "A"), Message("assistant", "One."), Message("user", "B")])
    assert any("told as text" in warning for warning in reply.warnings)
    assert "[assistant] One." in str(stage.said()[0])
    assert "--resume" not in stage.fake.runs[0].argv


# ---- forks


async def test_a_fork(tmp_path: Path) -> None:
    """Another session, in another process, from a copy; the first one goes on where it was."""
    forked = turn("Fork.", number=7)
    forked[1] = says(answer("Fork.", number=7).replace(SESSION.encode(), OTHER.encode()))
    stage = Stage(tmp_path, [*remembers(tmp_path)[:-1], *turn("Two.", number=2), drains()], [*forked, drains()])
    async with stage.client() as client:
        first = await client.complete("A")
        other = await client.complete("C", session=session_of(first).forked())
        second = await client.complete([*first.messages, Message("user", "B")])
    assert "--fork-session" in stage.fake.runs[1].argv
    assert stage.argument("--resume", run=1) == SESSION
    assert (session_of(second).id, session_of(other).id) == (SESSION, OTHER)
    assert not session_of(other).fork
    assert len(stage.fake.runs) == 2


@pytest.mark.parametrize("alive_still", [True, False])
async def test_an_older_turn(tmp_path: Path, alive_still: bool) -> None:
    """A copy of its beginning is forked; what came after it stays as it is."""
    stage = Stage(tmp_path, remembers(tmp_path, more=True), [*turn("Else.", number=3), drains()])
    client = stage.client()
    first = await client.complete("A")
    second = await client.complete([*first.messages, Message("user", "B")])
    if not alive_still:
        await client.aclose()
        client = stage.client()
    async with client, client.stream([*first.messages, Message("user", "C")]) as stream:
        beginning = Path(stage.argument("--resume", run=1))
        assert beginning.read_bytes() == file_of(*FIRST)
        assert stat.S_IMODE(beginning.stat().st_mode) == 0o600
        assert "--fork-session" in stage.fake.runs[1].argv
        await stream.reply()
    assert not beginning.exists()
    assert file_in(stage).read_bytes() == file_of(*FIRST, *SECOND)
    assert session_of(second).turn == "a-2"
    assert not stage.alive()


async def test_a_turn_that_is_nowhere(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turn("Never."))
    lost = Session(backend="claude-code", id=SESSION, turn="a-9", state=file_of(*FIRST))
    async with stage.client() as client:
        with pytest.raises(NotFoundError, match="no turn a-9"):
            await client.complete("B", session=lost)
    assert stage.fake.runs == []


@pytest.mark.parametrize("goes", ["further", "elsewhere"])
async def test_the_file_is_older_here(tmp_path: Path, goes: str) -> None:
    """What was brought takes its place if nothing is lost; else it is forked, and the file stays."""
    stage = Stage(tmp_path, turn("Three.", number=3))
    mine = FIRST if goes == "further" else [*FIRST, entry("user", "u-8", "mine")]
    path = file_in(stage)
    path.parent.mkdir(parents=True)
    path.write_bytes(file_of(*mine))
    brought = Session(backend="claude-code", id=SESSION, turn="a-2", state=file_of(*FIRST, *SECOND))
    async with stage.client() as client, client.stream("C", session=brought) as stream:
        named = stage.argument("--resume")
        if goes == "further":
            assert named == SESSION
            assert path.read_bytes() == file_of(*FIRST, *SECOND)
        else:
            assert Path(named).read_bytes() == file_of(*FIRST, *SECOND)
            assert path.read_bytes() == file_of(*mine)
        assert ("--fork-session" in stage.fake.runs[0].argv) == (goes == "elsewhere")
        await stream.reply()


# ---- interrupts


async def test_interrupted_before_a_word(tmp_path: Path) -> None:
    """Nobody has seen anything of it: the question is taken back, and the process goes on."""
    over = result(subtype="error_during_execution", is_error=True, terminal_reason="aborted_streaming", tokens=0)
    script = [*turn("One."), reads(USER), says(init() + retries()), reads('"interrupt"'), says(over)]
    script += [reads('"rewind_conversation"'), says(replies("asyncllm-2", rewound=True))]
    stage = Stage(tmp_path, [*script, *turn("Two.", number=2), drains()])
    async with stage.client() as client:
        first = await client.complete("A")
        stream = client.stream([*first.messages, Message("user", "B")])
        assert isinstance(await anext(aiter(stream)), Retrying)
        await stream.aclose()
        second = await client.complete([*first.messages, Message("user", "C")])
    assert second.text == "Two."
    assert len(stage.fake.runs) == 1
    asked = [line["request"] for line in stage.told(kind="control_request")]
    question = stage.told()[1]["uuid"]
    assert asked[-1] == {"subtype": "rewind_conversation", "target_message_uuid": question}


def test_the_names_of_folders() -> None:
    """As the program spells them; long ones end with a sum."""
    assert folder_of("/work-dir/work-claude") == "-work-dir-work-claude"
    assert folder_of("/a b_é.😀") == "-a-b-----"
    assert len(folder_of("/" + "d" * 300)) < 210
    assert folder_of("/" + "d" * 300) != folder_of("/" + "d" * 301)
