"""What nobody has read yet: in memory, in a file, or in the child that waits."""

from __future__ import annotations

import asyncio
import os
import sys
import tempfile
import tracemalloc
from pathlib import Path

import pytest
from _children import LINUX, PATIENCE, all_lines, becomes, descriptors, linux, nothing_left, running

from asyncllm.transports import Process, _process_backlog
from asyncllm.transports._process_backlog import Backlog

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="files as Unix has them")]

COUNT = "for n in range(int(sys.argv[1])): sys.stdout.write('%d %s\\n' % (n, 'x' * int(sys.argv[2])))"


def numbers(lines: list[bytes]) -> list[int]:
    return [int(line.split()[0]) for line in lines]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files are made."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path / "temporary"


@pytest.mark.req("seed-A9")
async def test_a_hundred_megabytes_that_are_read_slowly(folder: Path) -> None:
    """The child is done long before; our memory stays small, and nothing is lost. The file has no name."""
    async with nothing_left(folder):
        async with running(COUNT, 100_000, 1000) as process:
            tracemalloc.start()
            try:
                assert await process.wait() == 0
                if LINUX:
                    await becomes(lambda: any("(deleted)" in one and str(folder) in one for one in descriptors()))
                assert os.listdir(folder) == []
                expected = 0
                while lines := await process.lines():
                    assert numbers(lines) == list(range(expected, expected + len(lines)))
                    expected += len(lines)
                    if expected % 7 == 0:
                        await asyncio.sleep(0)
                assert expected == 100_000
                assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
            finally:
                tracemalloc.stop()
            if LINUX:  # read to its end, the file is gone
                await becomes(lambda: not any(str(folder) in one for one in descriptors()), descriptors)


async def test_reader_and_child_at_the_same_time(folder: Path) -> None:
    """Whoever is ahead: in memory, through the file, and in memory again, in order."""
    async with running(COUNT, 300_000, 50, unread=10_000) as process:
        got: list[int] = []
        pause = 0
        while lines := await process.lines():
            got += numbers(lines)
            pause = (pause + 1) % 5
            for _ in range(pause * 3):
                await asyncio.sleep(0)
        assert got == list(range(300_000))


async def test_a_file_is_used_again(folder: Path) -> None:
    """Filled and emptied more than once, with quiet talk between."""
    code = "for line in sys.stdin:\n for n in range(int(line)): print(n, 'x' * 1000)\n sys.stdout.flush()"
    async with running(code, unread=100_000) as process:
        for count in (5000, 1, 3000, 10, 8000):
            await process.write(b"%d\n" % count)
            got: list[int] = []
            while len(got) < count:
                got += numbers(await process.lines())
                await asyncio.sleep(0)
            assert got == list(range(count))


async def test_a_long_line_in_the_file(folder: Path) -> None:
    """Longer than what is read from it at once."""
    code = "say('first'); say('x' * 5_000_000); say('y' * 3_000_000); say('last')"
    async with running(code, unread=1) as process:
        await process.wait()
        assert [len(line) for line in await all_lines(process)] == [5, 5_000_000, 3_000_000, 4]


async def test_a_cancelled_reader_of_the_file_takes_nothing(folder: Path) -> None:
    async with running(COUNT, 10_000, 1000, unread=1) as process:
        await process.wait()
        got: list[int] = []
        for turns in range(200):
            reading = asyncio.ensure_future(process.lines())
            for _ in range(turns % 4):
                await asyncio.sleep(0)
            reading.cancel()
            try:
                got += numbers(await reading)
            except asyncio.CancelledError:
                pass
        got += numbers(await all_lines(process))
        assert got == list(range(10_000))


@linux
async def test_the_file_is_private(folder: Path) -> None:
    async with running(COUNT, 10_000, 1000) as process:
        await process.wait()
        found = [one.split()[0] for one in descriptors() if str(folder) in one]
        await becomes(lambda: any(str(folder) in one for one in descriptors()))
        found = [one.split()[0] for one in descriptors() if str(folder) in one]
        assert [os.fstat(int(number)).st_mode & 0o777 for number in found] == [0o600]
        assert not any(os.get_inheritable(int(number)) for number in found)


async def test_no_room_for_the_file(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the child waits, and nothing is lost either."""

    def refuse(*arguments: object) -> int:
        raise OSError(28, "No space left on device")

    async with running(COUNT, 30_000, 1000) as process:
        monkeypatch.setattr(_process_backlog.os, "pwrite", refuse)
        await becomes(lambda: not process._backlog.spills)
        assert not await process.exited_within(0)
        assert numbers(await all_lines(process)) == list(range(30_000))
        assert await process.wait() == 0


async def test_no_folder_for_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/no/such/folder")
    async with running(COUNT, 30_000, 1000) as process:
        await becomes(lambda: not process._backlog.spills)
        assert numbers(await all_lines(process)) == list(range(30_000))


async def test_a_file_that_has_grown_too_long(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disks are not endless: the child waits from then on."""
    monkeypatch.setattr(_process_backlog, "FILE_LIMIT", 10_000_000)
    async with running(COUNT, 60_000, 1000) as process:
        await becomes(lambda: not process._backlog.spills)
        assert not await process.exited_within(0)
        assert numbers(await all_lines(process)) == list(range(60_000))


async def test_backpressure(folder: Path) -> None:
    """On demand, nothing goes to a file: the child waits until somebody reads."""
    async with running(COUNT, 30_000, 1000, backpressure=True, unread=50_000) as process:
        await becomes(lambda: process._backlog.full)
        assert not await process.exited_within(0.1)
        assert process._backlog._size < 200_000
        assert os.listdir(folder) == []
        got: list[int] = []
        while lines := await process.lines():
            assert sum(map(len, lines)) < 200_000
            got += numbers(lines)
        assert got == list(range(30_000))
        assert await process.wait() == 0


async def test_a_slow_reader_of_a_child_that_is_gone() -> None:
    """The pipe still holds some of it, and is not cut off while it waits for its reader."""
    async with running(COUNT, 60, 1000, backpressure=True, unread=1000) as process:
        assert await process.wait() == 0
        async with asyncio.timeout(PATIENCE):
            await asyncio.wait([asyncio.ensure_future(asyncio.to_thread(os.getpid))])
            loop = asyncio.get_running_loop()
            later = loop.create_future()
            loop.call_later(0.5, later.set_result, None)
            await later
            assert numbers(await all_lines(process)) == list(range(60))


async def test_stopped_with_much_unread(folder: Path) -> None:
    """What was heard can still be read, or is gone with the process."""

    async def stopped() -> Process:
        async with running(COUNT + "\nsys.stdout.flush(); sys.stdin.read()", 20_000, 1000) as process:
            await becomes(lambda: process._backlog._start < process._backlog._end)
            await process.stop()
            return process

    async with nothing_left(folder):
        got = numbers(await all_lines(await stopped()))
        assert got == list(range(len(got)))
        assert len(got) > 4000
        await stopped()


@pytest.mark.parametrize("spill", [True, False])
async def test_first_in_first_out(spill: bool, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the sizes, and wherever the lines are."""
    import random

    monkeypatch.setattr(_process_backlog, "SPOOL", 500)
    for seed in range(30):
        chance = random.Random(seed)
        backlog = Backlog(1000, spill=spill, changed=lambda: None)
        said = [b"%d " % n + b"x" * chance.choice([0, 1, 10, 300, 2000]) for n in range(300)]
        waiting, heard = list(said), []
        while len(heard) < len(said):
            for _ in range(chance.randrange(20)):
                if waiting:
                    backlog.add(waiting.pop(0))
            for _ in range(chance.randrange(3)):
                await asyncio.sleep(0)
            if chance.random() < 0.7:
                heard += await backlog.take()
        assert heard == said
        assert backlog._size == 0


@linux
def test_memory_of_the_whole_process() -> None:
    """Not only that of Python's objects: what ten children with 20 MB each have said takes 120 MB of it at most."""
    script = f"""
import asyncio, resource, sys
sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(Path(__file__).parent.parent)!r}]
from _children import start
async def main():
    first = await start({COUNT!r}, 10, 10)
    await first.stop()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    children = [await start({COUNT!r}, 20_000, 1000) for _ in range(10)]
    for child in children:
        await child.wait()
    for child in children:
        count = 0
        while lines := await child.lines():
            count += len(lines)
        assert count == 20_000
        await child.stop()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
asyncio.run(main())
"""
    import subprocess

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 120_000
