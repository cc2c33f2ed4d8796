"""Children under every kind of loop, under loops that are gone, and beside other children."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from _children import (
    HANG,
    PATIENCE,
    Words,
    all_lines,
    children,
    descriptors,
    linux,
    nothing_left,
    running,
    start,
    state,
)

from asyncllm.transports import Process, _process
from asyncllm.transports._process_windows import start_child

pytestmark = [linux]


def _eager() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop


def _debug() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_debug(True)
    return loop


def _uvloop() -> asyncio.AbstractEventLoop:
    return pytest.importorskip("uvloop").new_event_loop()  # type: ignore[no-any-return]


LOOPS = [asyncio.new_event_loop, _debug, _uvloop, _eager]


@pytest.fixture(params=LOOPS, ids=lambda make: make.__name__)
def run(request: pytest.FixtureRequest) -> Callable[[Coroutine[Any, Any, None]], None]:
    if request.param is _eager and sys.version_info < (3, 12):
        pytest.skip("eager tasks came with Python 3.12")

    def run_in_it(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main)

    return run_in_it


async def everything() -> None:
    """What a child can do, in a few lines."""
    async with nothing_left():
        async with running("for line in sys.stdin: say(line.strip() * 2)") as process:
            await process.write(b"a\nb\n")
            process.close_stdin()
            assert await all_lines(process) == [b"aa", b"bb"]
            assert await process.wait() == 0
        async with running(
            "for n in range(20_000): print(n, 'x' * 1000)\nsay(len(sys.stdin.read()))\nsys.exit('why')"
        ) as process:
            await process.write(b"x" * 3_000_000)
            process.close_stdin()
            assert await process.wait() == 1
            lines = await all_lines(process)
            assert lines[-1] == b"3000000"
            assert len(lines) == 20_001
            assert process.stderr == "why"
        async with running("for n in range(20_000): print(n, 'x' * 1000)", backpressure=True) as process:
            assert len(await all_lines(process)) == 20_000
        with pytest.raises(FileNotFoundError):
            await start(["/no/such/program"])
        processes = await asyncio.gather(*(start(HANG) for _ in range(10)))
        stopping = [asyncio.ensure_future(process.stop(0.1)) for process in processes]
        await asyncio.sleep(0)
        stopping[0].cancel()
        ends = await asyncio.gather(*stopping, return_exceptions=True)
        assert isinstance(ends[0], asyncio.CancelledError)
        assert ends[1:] == [None] * 9
        assert {process.returncode for process in processes} <= {-signal.SIGTERM, -signal.SIGKILL}
        process = await start(HANG)
        process.kill()
        assert await process.wait() == -signal.SIGKILL


def test_every_loop(run: Callable[[Coroutine[Any, Any, None]], None]) -> None:
    run(everything())


def test_with_another_watcher() -> None:
    """Those of asyncio that wait for all children of the process steal the exit code, and nothing else."""
    if sys.version_info >= (3, 12):
        pytest.skip("there are no watchers any more that steal")
    loop = asyncio.new_event_loop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        watcher = asyncio.FastChildWatcher()
    asyncio.set_event_loop(loop)
    watcher.attach_loop(loop)

    async def main() -> None:
        process = await start("say('x'); sys.exit(3)")
        assert await all_lines(process) == [b"x"]
        assert await process.wait() in (3, 255)
        await process.stop()

    try:
        loop.run_until_complete(main())
    finally:
        watcher.close()
        asyncio.set_event_loop(None)
        loop.close()


def test_children_that_nobody_buries() -> None:
    """A program that ignores SIGCHLD has no exit codes. It is not kept waiting."""
    script = f"""
import asyncio, signal, sys
sys.path[:0] = {sys.path!r}
from _children import start
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
async def main():
    process = await start("say('x'); sys.exit(3)")
    print(await process.lines(), await process.lines(), await process.wait())
    await process.stop()
    hanging = await start("signal.pause()")
    await hanging.stop(0.1)
asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, timeout=PATIENCE
    )
    assert (done.stdout, done.stderr) == ("[b'x'] [] 255\n", "")


# ---- loops that are gone


@pytest.mark.parametrize("make", [asyncio.new_event_loop, _uvloop])
@pytest.mark.parametrize("talking", [False, True])
def test_a_loop_that_is_gone(make: Callable[[], asyncio.AbstractEventLoop], talking: bool) -> None:
    """What it has started can be killed, and is buried, with its descendants; nothing stays open."""
    code = "inner = subprocess.Popen(['sleep', '1000'], start_new_session=True); say(inner.pid)\n"
    code += "while True: print('x' * 1000)" if talking else "signal.pause()"

    async def main() -> tuple[Process, int]:
        process = await start(code)
        pid = await Words(process).number()
        if talking:
            await process.write(b"x" * 1_000_000, wait=False)
        return process, pid

    before, files, running_threads = children(), len(descriptors()), threading.active_count()
    with asyncio.Runner(loop_factory=make) as runner:
        process, pid = runner.run(main())
    assert state(pid) not in (None, "Z")
    process.kill()
    process.kill()
    _soon(lambda: children() <= before)
    _soon(lambda: state(pid) in (None, "Z"))
    _soon(lambda: threading.active_count() <= running_threads)
    assert process.returncode == -signal.SIGKILL
    del process  # and with it what it had said
    gc.collect()
    _soon(lambda: len(descriptors()) <= files)


def _soon(done: Callable[[], bool]) -> None:
    waited = threading.Event()
    for _ in range(int(PATIENCE * 100)):
        if done():
            return
        waited.wait(0.01)
    raise AssertionError("not so")


def test_a_loop_that_stands_still() -> None:
    """It is neither running nor closed."""
    loop = asyncio.new_event_loop()
    before, files = children(), len(descriptors())
    process = loop.run_until_complete(start(HANG))
    process.kill()
    _soon(lambda: children() <= before)
    assert len(descriptors()) <= files
    loop.run_until_complete(process.stop())
    assert loop.run_until_complete(process.wait()) == -signal.SIGKILL
    loop.close()


def test_a_finaliser_in_the_middle_of_a_kill() -> None:
    """A collection may call it from anywhere, also while the same thread is at it already."""

    async def main() -> None:
        process = await start(HANG)
        look = process._child._tree.look  # type: ignore[attr-defined]

        def look_again() -> object:
            process._child._tree.look = look  # type: ignore[attr-defined]
            process.kill()
            return look()

        process._child._tree.look = look_again  # type: ignore[attr-defined]
        process.kill()
        assert await process.wait() == -signal.SIGKILL

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


# ---- beside others


def test_loops_in_several_threads() -> None:
    errors: list[BaseException] = []

    def work() -> None:
        async def main() -> None:
            for _ in range(5):
                async with running("say(sys.stdin.read())") as process:
                    await process.write(b"word")
                    process.close_stdin()
                    assert await all_lines(process) == [b"word"]
                    assert await process.wait() == 0

        try:
            asyncio.run(main())
        except BaseException as error:
            errors.append(error)

    workers = [threading.Thread(target=work) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert errors == []


async def test_beside_other_children() -> None:
    """No child inherits the pipes of another: the end of an input is seen though others run, also those of other libraries."""
    stop = threading.Event()

    def forks() -> None:
        while not stop.is_set():
            subprocess.run(["true"], check=True)

    forking = threading.Thread(target=forks)
    forking.start()
    try:
        for _ in range(5):
            processes = await asyncio.gather(*(start("say(sys.stdin.read())") for _ in range(10)))
            for n, process in enumerate(processes):
                await process.write(b"%d" % n)
                process.close_stdin()
                assert await process.lines() == [b"%d" % n]
            others = await asyncio.gather(*(asyncio.create_subprocess_exec("true") for _ in range(5)))
            assert await asyncio.gather(*(other.wait() for other in others)) == [0] * 5
            for process in processes:
                assert await process.wait() == 0
                await process.stop()
    finally:
        stop.set()
        forking.join()


async def test_a_pool_that_is_full() -> None:
    """Others block every thread of the loop's pool: neither the file nor the end of a child needs one."""
    release = threading.Event()
    blocked = [asyncio.ensure_future(asyncio.to_thread(release.wait)) for _ in range(200)]
    try:
        async with asyncio.timeout(PATIENCE):
            async with running("for n in range(20_000): print(n, 'x' * 1000)") as process:
                assert await process.wait() == 0
                assert len(await all_lines(process)) == 20_000
            process = await start(HANG)
            await process.stop(0.1)
    finally:
        release.set()
        await asyncio.gather(*blocked)


# ---- where there is no Unix


async def test_the_child_of_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """It needs no Unix, so it can be tried here: all but the end of its descendants is the same."""
    monkeypatch.setattr(_process, "start_child", start_child)
    tasks = asyncio.all_tasks()
    async with running("for line in sys.stdin: say(line.strip() * 2)\nsys.exit('why')") as process:
        await process.write(b"a\nb\n")
        assert await process.lines()
        process.close_stdin()
        await all_lines(process)
        assert await process.wait() == 1
        with pytest.raises(BrokenPipeError):
            await process.write(b"x")
    async with running("for n in range(20_000): print(n, 'x' * 1000)\nsay(len(sys.stdin.read()))") as process:
        await process.write(b"x" * 3_000_000)
        process.close_stdin()
        lines = await all_lines(process)
        assert (len(lines), lines[-1]) == (20_001, b"3000000")
    async with running("for n in range(20_000): print(n, 'x' * 1000)", backpressure=True) as process:
        assert len(await all_lines(process)) == 20_000
    async with running("subprocess.Popen(['sleep', '2']); say('x')") as process:
        assert await all_lines(process) == [b"x"]
    with pytest.raises(FileNotFoundError):
        await start(["/no/such/program"])
    for group in (False, True):
        process = await start("signal.signal(15, signal.SIG_IGN); say('x'); signal.pause()")
        assert await process.lines() == [b"x"]
        process.signal(signal.SIGWINCH)
        stopping = asyncio.ensure_future(process.stop(0.1, group=group))
        with contextlib.suppress(asyncio.CancelledError):
            await stopping
        assert await process.wait() == -signal.SIGKILL
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= tasks
