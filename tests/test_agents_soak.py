"""Hundreds of turns of every coding agent through `Client(...)`, broken off anywhere: nothing is left of any.

The programs are those that play the agents elsewhere in these tests. Here each has children of its own, which would outlive
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from _agents import Step, drains, ends, reads, says
from _agents import player as scripted
from _antigravity import FOLDER as AGY
from _children import becomes, children, descriptors, linux, state, threads
from _claude import recorded
from _codex_player import player as codex_player
from _opencode import FOLDER as OPENCODE

from asyncllm import Client, LLMError

pytestmark = [linux, pytest.mark.req("seed-A9", "seed-A10", "seed-A11", "seed-A12")]

STARTS = 150
"""Of each kind of event loop."""

AT_ONCE = 8
SPECS = {"claude": "claude-code/m", "codex": "codex/m", "opencode": "opencode/emu/emu-1", "agy": "antigravity"}

FAMILY = """#!/bin/sh
echo $$ >> "$SOAK/pids"
sleep 1000 &
setsid sleep 1000 < /dev/null > /dev/null 2>&1 &
exec {program} "$@"
"""
"""The agent, and children of it: one that holds its output, one in a session of its own."""


class Play(NamedTuple):
    """What an agent is asked by, and what its program plays."""

    agent: str
    name: str
    interface: str = ""
    do: str = ""


PLAYS = [
    Play("claude", "text_partial"),
    Play("claude", "stream_input_interrupt"),
    Play("claude", "tool_mcp", "print"),
    Play("codex", "appserver_text"),
    Play("codex", "appserver_concurrent_threads"),
    Play("codex", "appserver_interrupt"),
    Play("codex", "appserver_sigterm_midturn"),
    Play("codex", "tool_mcp", "exec"),
    Play("codex", "kill_SIGKILL_bash", "exec"),
    Play("opencode", "serve_text_2turns"),
    Play("opencode", "serve_abort"),
    Play("opencode", "serve_concurrent"),
    Play("opencode", "tool_mcp", "run"),
    Play("opencode", "err_e401", "run"),
    Play("agy", "text"),
    Play("agy", "text", "", "hold"),
    Play("agy", "text", "", "linger"),
    Play("agy", "text", "stdin"),
]

HELD = ("stream_input_interrupt", "appserver_interrupt", "serve_abort")


def held(play: Play) -> bool:
    """Whether it stops in the middle of its turn."""
    return play.do == "hold" or play.name in HELD


def at_once(play: Play, ending: str, chance: random.Random) -> int:
    """Turns at once: the recording of a server has as many sessions as were recorded."""
    if "concurrent" in play.name:
        return 3
    server = play.agent in ("codex", "opencode") and not play.interface
    return 1 if server or ending == "kill" else chance.choice([1, 2])


ENDINGS = ("read", "leave", "cancel", "close", "kill")


# ---- the programs


def program(folder: Path, play: Play) -> tuple[Path, dict[str, str]]:
    """It, and its environment."""
    match play.agent:
        case "claude":
            return scripted(folder, "claude", claude_script(play)).path, {}
        case "codex":
            return codex_player(folder, play.name)[0], {}
        case "opencode":
            what = "run" if play.interface == "run" else "serve"
            plan = {"folder": str(OPENCODE), "log": str(folder / "log"), what: play.name}
            return copied(folder / "opencode", "_fake_opencode.py"), {"FAKE": json.dumps(plan)}
        case _:
            env = {"FAKE_AGY_PLAY": str(AGY / play.name), "FAKE_AGY_LOG": str(folder / "log"), "FAKE_AGY_DO": play.do}
            return copied(folder / "agy", "_fake_agy.py"), env


def copied(path: Path, source: str) -> Path:
    path.write_text(f"#!{sys.executable} -SE\n{(Path(__file__).parent / source).read_text()}")
    path.chmod(0o700)
    return path


def claude_script(play: Play) -> list[Step]:
    """It says all, or it stops in the middle until it is interrupted."""
    data = recorded(play.name)
    if play.interface:
        return [drains(), says(data), ends(0)]
    if play.name != "stream_input_interrupt":
        return [reads('"type":"user"'), says(data), drains()]
    said, answered, rest = data.partition(
        b'{"type":"control_response","response":{"subtype":"success","request_id":"r1"}}'
    )
    assert answered
    return [reads('"type":"user"'), says(said), reads('"interrupt"'), says(answered + rest), drains()]


class Place(NamedTuple):
    """Where programs of a test are, and what they write down."""

    root: Path
    programs: dict[Play, tuple[Path, dict[str, str]]]

    def options(self, play: Play, life: Path, chance: random.Random) -> dict[str, Any]:
        """Of a client whose processes write their numbers down in the folder `life`."""
        path, env = self.programs[play]
        own = {"isolated": True} if chance.random() < 0.4 else {"home": str(self.root / "home")}
        more = {"idle_processes": chance.choice([0, 4]), "portable": chance.random() < 0.3}
        interface = {"interface": play.interface} if play.interface else {}
        env = {**env, "SOAK": str(life)}
        return {"executable": str(path), "cwd": str(self.root), "env": env, "retry": 0, **own, **more, **interface}

    def pids(self) -> list[int]:
        """Of all agents that were started."""
        return [int(pid) for path in self.root.glob("lives/*/pids") for pid in path.read_text().split()]

    def family(self) -> set[int]:
        """Processes of these tests that live, whoever their parent is by now."""
        mark, found = f"SOAK={self.root}".encode(), set[int]()
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                with contextlib.suppress(OSError):
                    if mark in (Path("/proc") / name / "environ").read_bytes() and state(int(name)) != "Z":
                        found.add(int(name))
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    (tmp_path / "home").mkdir()
    (tmp_path / "lives").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    found = {}
    for number, play in enumerate(PLAYS):
        folder = tmp_path / "programs" / str(number)
        folder.mkdir(parents=True)
        real, env = program(folder, play)
        wrapper = folder / "family"
        wrapper.write_text(FAMILY.format(program=real))
        wrapper.chmod(0o700)
        found[play] = (wrapper, env)
    return Place(tmp_path, found)


# ---- lives


class Moment:
    """When a turn is broken off: after so many events, when a process is there, or after so many turns of the loop."""

    def __init__(self, life: Path, play: Play, chance: random.Random) -> None:
        self._pids = life / "pids"
        self._kind = chance.choice(["events", "events", "started", "soon"])
        self._left = chance.choice([1, 2] if held(play) else [1, 2, 5, 12])
        self._turns = chance.choice([0, 1, 3, 30, 300])
        self._came = asyncio.Event()
        self._over = False

    def event(self) -> None:
        self._left -= 1
        if self._left <= 0:
            self._came.set()

    def over(self) -> None:
        self._over = True
        self._came.set()

    async def wait(self, *, started: bool = False) -> None:
        if self._kind == "events":
            await self._came.wait()
        elif self._kind == "started" or started:
            await becomes(lambda: self._over or (self._pids.exists() and bool(self._pids.read_text())))
        else:
            for _ in range(self._turns):
                await asyncio.sleep(0)


async def read(client: Client, moment: Moment, *, leave: bool) -> None:
    """A turn, to its end or until somebody has had enough of it."""
    try:
        async with client.stream("Hi") as stream:
            async for _ in stream.as_events():
                moment.event()
                if leave and moment._came.is_set():
                    break
    finally:
        moment.over()


PATIENCE = 30.0
"""Seconds of one life: none may hang. Three turns that do not react, one after another, take 12."""


@contextlib.asynccontextmanager
async def hanging_is_a_failure(what: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(PATIENCE):
            yield
    except TimeoutError:
        raise AssertionError(f"it hangs: {what}") from None


async def life(place: Place, play: Play, number: int, chance: random.Random) -> None:
    """A client, one or two turns at once, and the end that chance has for them. Errors are those of the one tree."""
    folder = place.root / "lives" / str(number)
    folder.mkdir()
    ending = chance.choice(ENDINGS)
    client = Client(SPECS[play.agent], **place.options(play, folder, chance))
    if play.name == "appserver_concurrent_threads" and ending == "cancel":  # it says nothing until all have asked
        ending = "leave"
    moments = [Moment(folder, play, chance) for _ in range(at_once(play, ending, chance))]
    turns = [asyncio.ensure_future(read(client, moment, leave=ending == "leave")) for moment in moments]
    async with hanging_is_a_failure(f"{play}, ended by {ending}"), client:
        for turn, moment in zip(turns, moments, strict=True):
            match ending:
                case "cancel":
                    await moment.wait()
                    turn.cancel()
                    if chance.random() < 0.3:
                        await asyncio.sleep(0)
                        turn.cancel()
                case "close":
                    await moment.wait()
                    await client.aclose()
                case "kill":
                    await moment.wait(started=True)
                    for pid in place_pids(folder):
                        with contextlib.suppress(ProcessLookupError):
                            os.kill(pid, signal.SIGKILL)
                case _ if held(play):  # nothing else ends it
                    await moment.wait()
                    turn.cancel()
        for result in await asyncio.gather(*turns, return_exceptions=True):
            assert result is None or isinstance(result, LLMError | asyncio.CancelledError), repr(result)


def place_pids(life: Path) -> list[int]:
    path = life / "pids"
    return [int(pid) for pid in path.read_text().split()] if path.exists() else []


def uvloop() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()  # type: ignore[no-any-return]


@pytest.mark.req("I3")
@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop], ids=["asyncio", "uvloop"])
def test_hundreds_of_turns(make: Callable[[], asyncio.AbstractEventLoop], place: Place) -> None:
    chance = random.Random(7)

    async def main() -> None:
        tasks, number = asyncio.all_tasks(), 0
        while len(place.pids()) < STARTS:
            kinds = [PLAYS[(number + at) % len(PLAYS)] for at in range(AT_ONCE)]
            await asyncio.gather(*(life(place, play, number + at, chance) for at, play in enumerate(kinds)))
            number += AT_ONCE
        await becomes(lambda: asyncio.all_tasks() <= tasks, asyncio.all_tasks)

    with asyncio.Runner(loop_factory=make) as runner:  # what a first loop leaves is not ours
        runner.run(asyncio.sleep(0))
    with nothing_left(place), asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())
    started = place.pids()
    assert len({*started}) == len(started) >= STARTS
    assert not [pid for pid in started if state(pid) is not None]


@contextlib.contextmanager
def nothing_left(place: Place) -> Iterator[None]:
    """No process, thread, descriptor or file of the block is there after it."""
    before = (children(), len(descriptors()), threads())
    yield
    gc.collect()
    assert place.family() == set()
    assert children() <= before[0]
    assert threads() <= before[2]
    assert len(descriptors()) <= before[1]
    assert os.listdir(place.root / "temporary") == []


def test_the_soak_sees_what_is_left(place: Place) -> None:
    """Otherwise it would prove nothing."""
    folder = place.root / "lives" / "0"
    folder.mkdir()
    options = place.options(Play("codex", "appserver_interrupt"), folder, random.Random(1))

    async def main() -> int:
        async with Client("codex/m", **options) as client, client.stream("Hi") as stream:
            async for _ in stream:
                break
            return len(place.family())

    assert asyncio.run(main()) == 3
    assert not place.family()
