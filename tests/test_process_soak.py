"""Hundreds of children, broken off anywhere: no process, descriptor, thread, task or file is left of any."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
from _children import children, linux, nothing_left, program, start, state

from asyncllm.events import ProtocolError
from asyncllm.transports import Process

pytestmark = [linux, pytest.mark.req("seed-A9", "seed-A10", "seed-A11")]

CYCLES = 300
AT_ONCE = 6

GRANDCHILD = "subprocess.Popen(['sleep', '1000'], start_new_session={})\n"
KINDS: dict[str, list[str]] = {
    "echo": program("for line in sys.stdin: print(line, end='', flush=True)"),
    "ends": program("say('x'); print('why', file=sys.stderr); sys.exit(3)"),
    "talks": program("for n in range(30_000): print(n, 'x' * 500)\nsys.stdin.read()"),
    "never stops talking": program("while True: print('x' * 1000)"),
    "complains": program("while True: print('x' * 1000, file=sys.stderr)"),
    "deaf": program("import signal\nfor n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)\nsay('x'); signal.pause()"),
    "long line": program("while True: os.write(1, b'x' * 65536)"),
    "family": program(GRANDCHILD.format(False) + GRANDCHILD.format(True) + "say('x'); signal.pause()"),
    "leaves children": program(GRANDCHILD.format(False) + "say('x')"),
    "shell": ["/bin/sh", "-c", "cat; sleep 1000 & sleep 1000"],
    "node": [
        shutil.which("node") or "/bin/cat",
        *(["-e", "process.stdin.on('data', data => process.stdout.write(data))"] if shutil.which("node") else []),
    ],
    "not there": ["/no/such/program"],
}


async def life(kind: str, chance: random.Random) -> None:
    """Written to, read, waited for and ended, in any order and by any means."""
    options = {"backpressure": chance.random() < 0.3, "unread": chance.choice([1000, 4 * 2**20]), "line_limit": 2**20}
    try:
        process = await start(KINDS[kind], **options)
    except FileNotFoundError:
        assert kind == "not there"
        return
    try:
        for _ in range(chance.randrange(5)):
            with contextlib.suppress(BrokenPipeError, ProtocolError, TimeoutError):
                async with asyncio.timeout(chance.random() / 20):
                    await _step(process, chance)
    finally:
        how = chance.random()
        if how < 0.5:
            await process.stop(
                chance.choice([0, 0.02, 0.1]), first=chance.choice([None, 2]), group=chance.random() < 0.3
            )
        else:
            process.kill()
            if how < 0.7:
                await process.wait()


async def _step(process: Process, chance: random.Random) -> None:
    match chance.randrange(6):
        case 0:
            await process.write(b"x" * chance.choice([1, 1000, 1_000_000]) + b"\n", wait=chance.random() < 0.7)
        case 1 | 2:
            await process.lines()
        case 3:
            process.close_stdin()
        case 4:
            await process.wait()
        case 5:
            await asyncio.sleep(chance.random() / 50)


async def broken_off(work: Coroutine[Any, Any, None], chance: random.Random) -> None:
    task = asyncio.ensure_future(work)
    if chance.random() < 0.5:
        for _ in range(chance.choice([0, 1, 2, 5, 20])):
            await asyncio.sleep(0)
        if chance.random() < 0.7:
            await asyncio.sleep(chance.random() / 20)
        task.cancel()
        if chance.random() < 0.3:
            await asyncio.sleep(0)
            task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


def _uvloop() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [asyncio.new_event_loop, _uvloop], ids=["asyncio", "uvloop"])
def test_hundreds_of_lives(
    make: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    chance = random.Random(5)
    kinds = list(KINDS)

    async def main() -> None:
        before, seen = children(), _ours()
        async with nothing_left(tmp_path / "temporary"):
            for _ in range(CYCLES // AT_ONCE):
                await asyncio.gather(*(broken_off(life(chance.choice(kinds), chance), chance) for _ in range(AT_ONCE)))
            async with asyncio.timeout(20):
                while children() > before or _ours() > seen:
                    await asyncio.sleep(0.01)

    with asyncio.Runner(loop_factory=make) as runner:
        runner.run(main())


def _ours() -> set[int]:
    """Programs of these tests that live, whoever their parent is by now."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid() and state(int(name)) not in (None, "Z"):
            with contextlib.suppress(OSError):
                command = (Path("/proc") / name / "cmdline").read_bytes()
                if (
                    command in (b"sleep\x001000\x00", b"cat\0")
                    or b"\0".join(map(str.encode, program("")[:4])) in command
                ):
                    found.add(int(name))
    return found


def test_the_soak_sees_what_is_left() -> None:
    """Otherwise it would prove nothing."""

    async def main() -> None:
        seen = _ours()
        process = await start(KINDS["family"])
        await process.lines()
        assert len(_ours() - seen) == 3
        await process.stop(0)
        assert _ours() <= seen

    asyncio.run(main())
    assert sys.platform == "linux"
