"""The end of a child with all that it has started, wherever that has gone to."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from _children import PATIENCE, Words, all_lines, becomes, linux, nothing_left, running, start, state

from asyncllm.transports import Process, _process_tree
from asyncllm.transports._process_tree import Entry, Tree, entry_of, listed

pytestmark = [linux, pytest.mark.req("seed-A9", "seed-A11")]

IGNORE = "for number in (1, 2, 15): signal.signal(number, signal.SIG_IGN)\n"
SLEEP = """['/bin/sh', '-c', 'trap "" 1 2 15; exec sleep 1000']"""
"""A child of the child that ignores what can be ignored."""

FAMILY = f"""
plain = subprocess.Popen({SLEEP})
group = subprocess.Popen({SLEEP}, process_group=0)
session = subprocess.Popen({SLEEP}, start_new_session=True)
inner = 'setsid sleep 1000 & echo $!; wait'
middle = subprocess.Popen(['/bin/sh', '-c', inner], start_new_session=True, stdout=subprocess.PIPE)
say(plain.pid, group.pid, session.pid, middle.pid, int(middle.stdout.readline()))
"""
"""In our group; in another one; in another session; and there, one with a child in a session of its own again."""


async def family(process: Process) -> list[int]:
    words = Words(process)
    pids = [await words.number() for _ in range(5)]
    assert all(state(pid) in ("S", "R", "D") for pid in pids)
    return [process.pid, *pids]


def dead(pids: list[int]) -> bool:
    """The first is the child, which is buried as well; its descendants are the first process's to bury."""
    return state(pids[0]) is None and all(state(pid) in (None, "Z", "X") for pid in pids)


@pytest.mark.req("I3")
@pytest.mark.parametrize("end", ["sys.stdin.read()", "signal.pause()", IGNORE + "signal.pause()"])
@pytest.mark.parametrize("group", [False, True])
async def test_nothing_is_left_of_a_tree(end: str, group: bool) -> None:
    """Of one that goes when its input is closed, that has to be told, and that has to be killed."""
    async with nothing_left():
        process = await start(FAMILY + end)
        pids = await family(process)
        await process.stop(0.2, group=group)
        assert dead(pids)
        if "pause" in end:
            assert process.returncode == -(signal.SIGKILL if "IGN" in end else signal.SIGTERM)
        await process.stop()


async def test_killed_without_awaiting() -> None:
    async with nothing_left():
        process = await start(FAMILY + "signal.pause()")
        pids = await family(process)
        process.kill()
        process.kill()
        assert await process.wait() == -signal.SIGKILL
        assert await process.lines() == []
        with pytest.raises(BrokenPipeError):
            await process.write(b"x")
        await becomes(lambda: dead(pids))
        await process.stop()


async def test_killed_by_another_thread() -> None:
    await asyncio.to_thread(int)  # which stays
    async with nothing_left():
        process = await start(FAMILY + "signal.pause()")
        pids = await family(process)
        await asyncio.to_thread(process.kill)
        assert await process.wait() == -signal.SIGKILL
        assert await process.lines() == []
        await becomes(lambda: dead(pids))


async def test_descendants_of_a_child_that_goes_by_itself_when_it_is_stopped() -> None:
    """It leaves them behind; they were seen before."""
    async with nothing_left():
        process = await start(FAMILY + "sys.stdin.read()")
        pids = await family(process)
        await process.stop()
        assert process.returncode == 0
        assert dead(pids)


async def test_the_group_of_a_child_that_has_gone_by_itself() -> None:
    """Who has stayed in its session or its group is found without it."""
    code = f"""
one = subprocess.Popen({SLEEP}); two = subprocess.Popen({SLEEP}, process_group=0)
say(one.pid, two.pid)
"""
    async with nothing_left():
        process = await start(code)
        words = Words(process)
        pids = [process.pid, await words.number(), await words.number()]
        assert await process.wait() == 0
        assert all(state(pid) not in (None, "Z") for pid in pids[1:])
        await process.stop(0)
        assert dead(pids)


async def test_a_tree_that_goes_on_forking() -> None:
    """Up to 64 of them, each in a session of its own: whoever is about to fork when the end comes is waited for."""
    code = """
say('on')
for _ in range(6):
    if os.fork() == 0: os.setsid()
signal.pause()
"""
    for _ in range(10):
        before = set(listed())
        process = await start(code)
        assert await process.lines() == [b"on"]
        await process.stop(0)
        assert [pid for pid in set(listed()) - before if _runs(pid, "say('on')")] == []


def _runs(pid: int, what: str) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline") as file:
            return what in file.read()
    except OSError:
        return False


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_what_is_left_of_a_child_that_was_killed_by_others(how: int) -> None:
    """Nobody had looked before; those in sessions of their own are known by their mark."""
    async with nothing_left():
        process = await start(FAMILY + "signal.pause()")
        pids = await family(process)
        os.kill(process.pid, how)
        assert await process.wait() == -how
        assert all(state(pid) not in (None, "Z") for pid in pids[1:])
        await process.stop()
        assert dead(pids)


async def test_demons() -> None:
    """They leave the session, and their parents leave them."""
    code = """
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.write(write, b'%d\\n' % os.getpid())
        os.execvp('sleep', ['sleep', '1000'])
    os._exit(0)
os.wait()
say(os.read(read, 100).decode())
"""
    for marked in (True, False):
        process = await start(code, marked=marked)
        pid = await Words(process).number()
        assert await process.wait() == 0
        await process.stop()
        if marked:
            assert dead([process.pid, pid])
        else:  # what can be done without it has its limits
            os.kill(pid, signal.SIGKILL)


async def test_the_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    """One for each child; in one of ours that runs in a child of ours, both."""
    async with running(["/usr/bin/env"], env={}) as one, running(["/usr/bin/env"], env={}) as two:
        marks = [await Words(one).next(), await Words(two).next()]
        assert len(set(marks)) == 2
        assert all(mark.startswith("ASYNCLLM_PROCESS=") for mark in marks)
    monkeypatch.setenv("ASYNCLLM_PROCESS", "outer")
    async with running(["/usr/bin/env"], env={}) as inner:
        assert (await inner.lines())[0].startswith(b"ASYNCLLM_PROCESS=outer ")
    async with running(["/usr/bin/env"], env={"ONE": "1"}, marked=False) as plain:
        assert await all_lines(plain) == [b"ONE=1"]


@pytest.mark.parametrize("begun", [0, 1, 2, 3, 5, 10])
async def test_a_stop_that_is_cancelled(begun: int) -> None:
    """Nobody waits for politeness then, but the tree is dead when the cancellation arrives."""
    async with nothing_left():
        process = await start(IGNORE + FAMILY + "signal.pause()")
        pids = await family(process)
        stopping = asyncio.ensure_future(process.stop(60))
        for _ in range(begun + 1):
            await asyncio.sleep(0)
        began = time.monotonic()
        stopping.cancel()
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert time.monotonic() - began < 1
        assert dead(pids)


async def test_stopped_by_many_at_once() -> None:
    async with nothing_left():
        process = await start(FAMILY + "signal.pause()")
        pids = await family(process)
        await asyncio.gather(*(process.stop(0.1) for _ in range(5)))
        assert dead(pids)


@pytest.mark.parametrize(
    ("code", "first", "patience", "expected"),
    [
        ("sys.stdin.read(); sys.exit(5)", None, PATIENCE, 5),
        ("signal.signal(2, lambda *_: sys.exit(6)); say('up'); signal.pause()", signal.SIGINT, PATIENCE, 6),
        ("signal.signal(15, lambda *_: sys.exit(7)); say('up'); signal.pause()", None, 0.1, 7),
        ("signal.signal(15, lambda *_: sys.exit(7)); say('up'); signal.pause()", signal.SIGWINCH, 0.1, 7),
        (IGNORE + "say('up'); signal.pause()", signal.SIGINT, 0.1, -9),
    ],
)
async def test_steps(code: str, first: int | None, patience: float, expected: int) -> None:
    """Its input is closed and the first signal sent; SIGTERM; SIGKILL. Each only if the one before did not help."""
    async with nothing_left():
        process = await start(code)
        if "up" in code:
            assert await process.lines() == [b"up"]
        await process.stop(patience, first=first)
        assert process.returncode == expected
        assert await process.wait() == expected


@pytest.mark.req("I3")
async def test_what_it_says_while_it_is_stopped() -> None:
    """Its last words are heard, however many they are."""
    code = "sys.stdin.read()\nfor n in range(100_000): print(n)\nprint('bye', file=sys.stderr)"
    process = await start(code)
    await process.stop(PATIENCE)
    assert len(await all_lines(process)) == 100_000
    assert process.stderr == "bye"
    assert process.returncode == 0


async def test_a_server_that_is_stuck_with_what_it_says() -> None:
    """With backpressure, its last words are thrown away, so that it can go."""
    process = await start(
        "for n in range(100_000): print(n, 'x' * 100)\nsys.stdin.read(); sys.exit(9)", backpressure=True, unread=1000
    )
    await process.stop(PATIENCE)
    assert process.returncode == 9


@pytest.mark.parametrize(("group", "expected"), [(False, b"alone"), (True, b"both")])
async def test_sigterm_to_the_child_or_to_its_group(group: bool, expected: bytes) -> None:
    """To the child alone, as agents want it, which tidy up their tools themselves; or to all that are with it, as servers want
    it that are wrapped in shells."""
    code = """
child = subprocess.Popen(['sleep', '1000'])
signal.signal(15, lambda *_: signal.setitimer(signal.ITIMER_REAL, 0.3))
def end(*_):
    say('both' if child.poll() == -15 else 'alone')
    os._exit(0)
signal.signal(signal.SIGALRM, end)
say('up')
while True: signal.pause()
"""
    process = await start(code)
    assert await process.lines() == [b"up"]
    stopping = asyncio.ensure_future(process.stop(1, group=group))
    assert await process.lines() == [expected]
    await stopping


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
async def test_a_wrapper_of_node() -> None:
    """As the one of codex: killed alone, it leaves the program behind."""
    code = """
const { spawn } = require("node:child_process");
const child = spawn("sleep", ["1000"], { stdio: "inherit", detached: true });
console.log(child.pid);
child.on("exit", () => process.exit(0));
"""
    async with nothing_left():
        process = await start([str(shutil.which("node")), "-e", code])
        pid = await Words(process).number()
        await process.stop(0.2)
        assert dead([process.pid, pid])


async def test_a_shell_with_jobs_in_the_background() -> None:
    async with nothing_left():
        process = await start(
            ["/bin/sh", "-c", "sleep 1000 & echo $!; setsid sleep 1001 & (sleep 1002 & echo $!); wait"]
        )
        words = Words(process)
        pids = [process.pid, await words.number(), await words.number()]
        await process.stop(0.2)
        assert dead(pids)


# ---- numbers that are used again


def test_another_process_with_the_same_number() -> None:
    """Who was born at another time is somebody else, and is left alone: as a leader, as one that was seen, and as a group."""
    with subprocess.Popen(["sleep", "1000"], start_new_session=True) as other:
        try:
            tree = Tree(other.pid, "")
            assert set(tree.look()) == {other.pid}
            tree._born = "1"
            tree._known = {other.pid: "2"}
            assert tree.look() == {}
            assert tree.signal_group(0) is False
            assert not tree.left()
            tree.kill()
            assert other.poll() is None
        finally:
            other.kill()


def test_we_are_never_among_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is the first process, whatever the table says."""
    table = {
        1: Entry(7, 7, 7, "0", False),
        os.getpid(): Entry(7, 7, 7, "0", False),
        7: Entry(1, 7, 7, "0", False),
        8: Entry(os.getpid(), 8, 8, "0", False),
    }
    monkeypatch.setattr(_process_tree, "listed", lambda: table)
    tree = Tree(7, "")
    tree._born = None
    assert set(tree.look()) == {7, 8}


def test_names_of_processes_may_be_anything() -> None:
    """The table has the name of a program in it, with what brackets and blanks that has."""
    source = (
        "import ctypes, sys; ctypes.CDLL(None).prctl(15, b') R 1 (x) 2', 0, 0, 0); print(flush=True); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-c", source], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        entry = entry_of(child.pid)
        assert entry is not None
        assert (entry.parent, entry.group) == (os.getpid(), os.getpgrp())
        child.communicate()


# ---- without /proc


@pytest.mark.skipif(shutil.which("ps") is None, reason="there is no ps")
async def test_without_proc(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on macOS: ps knows the same."""
    monkeypatch.setattr(_process_tree, "listed", _process_tree._told_by_ps)
    monkeypatch.setattr(_process_tree, "entry_of", lambda pid, dead=False: None)
    table = _process_tree._told_by_ps()
    assert table[os.getpid()][:2] == (os.getppid(), os.getpgrp())
    process = await start(FAMILY + "signal.pause()")
    pids = await family(process)
    await process.stop(0.2)
    await becomes(lambda: dead(pids))


async def test_without_any_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then it is the group that goes."""
    monkeypatch.setattr(_process_tree.os.path, "exists", lambda path: False)

    def refuse(*arguments: object, **options: object) -> None:
        raise FileNotFoundError("ps")

    monkeypatch.setattr(_process_tree.subprocess, "run", refuse)
    code = f"one = subprocess.Popen({SLEEP}); say(one.pid); signal.pause()"
    async with running(code) as process:
        pid = await Words(process).number()
        await process.stop(0.1)
        await becomes(lambda: dead([process.pid, pid]))
