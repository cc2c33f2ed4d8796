"""How a child process begins, and how it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest
from _children import PATIENCE, Words, all_lines, linux, nothing_left, running, start

from asyncllm.transports import Process, _process

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="signals and shells of Unix")]


# ---- its start


async def test_the_environment_is_the_one_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_OURS", "x")
    async with running(["/usr/bin/env"], env={"ONE": "1", "TWO": "zwei ü"}) as process:
        mark, *given = sorted(await all_lines(process))
        assert given == [b"ONE=1", "TWO=zwei ü".encode()]
        assert mark.startswith(b"ASYNCLLM_PROCESS=")


async def test_a_session_of_its_own(tmp_path: Path) -> None:
    """Signals of our terminal do not reach it, and it holds nothing of ours open."""
    (tmp_path / "file").write_text("x")
    with open(tmp_path / "file") as file:
        os.set_inheritable(file.fileno(), False)
        code = "say(os.getpid(), os.getsid(0), os.getpgid(0), os.getcwd(), *os.listdir('/dev/fd'))"
        async with running(code, cwd=str(tmp_path)) as process:
            pid, session, group, cwd, *files = [word async for word in _words(process, 8)]
            assert {pid, session, group} == {str(process.pid)}
            assert cwd == str(tmp_path)
            assert set(files[:3]) == {"0", "1", "2"}
            assert len(files) == 4  # the listing itself


async def _words(process: Process, count: int):  # type: ignore[no-untyped-def]
    words = Words(process)
    for _ in range(count):
        yield await words.next()


@pytest.mark.parametrize(
    ("command", "cwd", "error", "filename"),
    [
        (["/no/such/program"], None, FileNotFoundError, "/no/such/program"),
        (["no-such-program-anywhere"], None, FileNotFoundError, "no-such-program-anywhere"),
        (["/etc/passwd"], None, PermissionError, "/etc/passwd"),
        (["/"], None, PermissionError, "/"),
        (["/bin/sh"], "/no/such/folder", FileNotFoundError, "/no/such/folder"),
        (["/bin/sh"], "/etc/passwd", NotADirectoryError, "/etc/passwd"),
    ],
)
async def test_what_cannot_be_run(command: list[str], cwd: str | None, error: type[OSError], filename: str) -> None:
    """The error says what is not there. Nothing is left of the try."""
    async with nothing_left():
        with pytest.raises(error) as caught:
            await start(command, cwd=cwd)
        assert caught.value.filename == filename


async def test_a_program_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "program").write_bytes(b"\x01\x02\x03")
    (tmp_path / "program").chmod(0o755)
    async with nothing_left():
        with pytest.raises(OSError, match="Exec format error"):
            await start([str(tmp_path / "program")])


async def test_no_thread_to_wait_with(monkeypatch: pytest.MonkeyPatch) -> None:
    """The child that was there already is killed and buried."""

    def refuse(thread: object) -> None:
        raise RuntimeError("can't start new thread")

    async with nothing_left():
        with monkeypatch.context() as patched:
            patched.setattr("threading.Thread.start", refuse)
            with pytest.raises(RuntimeError):
                await start("signal.pause()")


async def test_no_descriptors_left_to_start_with() -> None:
    """Also half of the pipes are closed again."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with nothing_left():
        used = len(os.listdir("/dev/fd"))
        for free in range(0, 10, 2):
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + free, hard))
            try:
                with pytest.raises(OSError):
                    process = await start("signal.pause()")
                    await process.stop(0)
                    raise OSError
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# ---- the end


@pytest.mark.parametrize("code", [0, 1, 3, 255])
async def test_exit_codes(code: int) -> None:
    async with running(f"sys.exit({code})") as process:
        assert await process.wait() == code
        assert process.returncode == code
        assert await process.wait() == code


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT, signal.SIGHUP, signal.SIGSEGV])
async def test_signals(number: int) -> None:
    async with running("signal.signal(2, signal.SIG_DFL); say('x'); signal.pause()") as process:
        assert process.returncode is None
        assert await process.lines() == [b"x"]
        process.signal(number)
        assert await process.wait() == -number
        process.signal(number)  # to nobody


async def test_what_it_said_last_is_there_when_it_is_gone() -> None:
    """An exit code is never known before the words that explain it."""
    for n in range(20):
        async with running("sys.stderr.write('why'); print('last'); sys.exit(1)") as process:
            if n % 2:
                time.sleep(0.02)
            assert await process.wait() == 1
            assert process.stderr == "why"
            assert process.ready() == [b"last"]


@linux
async def test_a_child_of_the_child_that_holds_the_output_open() -> None:
    """The end of the process is soon that of its output."""
    code = "subprocess.Popen(['sleep', '1000']); say('said'); sys.stdout.write('tail')"
    async with running(code) as process:
        began = time.monotonic()
        assert await all_lines(process) == [b"said"]
        assert process.tail == b"tail"
        assert time.monotonic() - began < 2
        assert await process.wait() == 0


@linux
async def test_a_child_of_the_child_that_goes_on_talking() -> None:
    """What it says after the end of the process has its end, too."""
    code = "subprocess.Popen([sys.executable, '-S', '-c', 'while True: print(\"noise\" * 1000)']); say('said')"
    async with running(code) as process:
        async with asyncio.timeout(PATIENCE):
            assert b"said" in await all_lines(process)


async def test_an_output_that_is_closed_early() -> None:
    """The end of the output is not that of the process."""
    async with running("say('x'); os.close(1); sys.stdin.read(); os._exit(4)") as process:
        assert await all_lines(process) == [b"x"]
        assert process.returncode is None
        process.close_stdin()
        assert await process.wait() == 4


async def test_cancelling_who_waits() -> None:
    async with running("sys.stdin.read()") as process:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await process.wait()
        assert not await process.exited_within(0)
        process.close_stdin()
        assert await process.exited_within(PATIENCE)


def test_it_is_exported_and_loaded_when_asked_for() -> None:
    assert Process is _process.Process
