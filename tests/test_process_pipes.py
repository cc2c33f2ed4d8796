"""What goes through the pipes of a child process: its lines, its input, its errors."""

from __future__ import annotations

import asyncio
import shutil
import signal
import sys
import time

import pytest
from _children import PATIENCE, Words, all_lines, linux, running

from asyncllm.events import ProtocolError
from asyncllm.transports import _process

pytestmark = [pytest.mark.skipif(sys.platform == "win32", reason="signals and shells of Unix")]

CAT = "for line in sys.stdin.buffer: sys.stdout.buffer.write(line); sys.stdout.flush()"
SWALLOW = "say(len(sys.stdin.buffer.read()))"
KEY = "sk-" + "k" * 40
NODE = shutil.which("node")


# ---- lines


@pytest.mark.req("seed-A9")
@pytest.mark.parametrize(
    ("said", "lines", "tail"),
    [
        (b"", [], b""),
        (b"a\nb\n", [b"a", b"b"], b""),
        (b"a\n\n\nb", [b"a", b"", b""], b"b"),
        (b"a\r\nb\r\n", [b"a\r", b"b\r"], b""),
        ("\x85{\u2028}\n\x0b\x0c\x1c\n".encode(), ["\x85{\u2028}".encode(), b"\x0b\x0c\x1c"], b""),
        (b"\0\xff\xfe\n\n", [b"\0\xff\xfe", b""], b""),
        (b"no end", [], b"no end"),
    ],
)
async def test_lines_end_with_newlines_alone(said: bytes, lines: list[bytes], tail: bytes) -> None:
    """Nothing else is a line's end, and what comes after the last one is the tail."""
    async with running(f"sys.stdout.buffer.write({said!r})") as process:
        assert await all_lines(process) == lines
        assert process.tail == tail
        assert await process.lines() == []
        assert await process.wait() == 0


async def test_lines_that_come_in_pieces() -> None:
    """Byte by byte, each written by itself."""
    async with running("for byte in b'one\\ntwo\\nthree': os.write(1, bytes([byte]))") as process:
        assert await all_lines(process) == [b"one", b"two"]
        assert process.tail == b"three"


async def test_lines_are_there_when_they_are_said() -> None:
    """Not only when a buffer is full, or the child has ended."""
    async with running(CAT) as process:
        for n in range(20):
            await process.write(b"%d\n" % n)
            assert await process.lines() == [b"%d" % n]


@pytest.mark.parametrize("size", [200_000, 5_000_000])
async def test_long_lines(size: int) -> None:
    async with running("for c in 'ab': say(c * int(sys.argv[1]))", size) as process:
        assert await all_lines(process) == [b"a" * size, b"b" * size]


async def test_a_line_that_is_too_long() -> None:
    """Those before it are read. The child is not left stuck with the rest."""
    async with running("say('ok'); say('x' * 10**6); say('more'); sys.exit(3)", line_limit=100_000) as process:
        assert await process.lines() == [b"ok"]
        for _ in range(2):
            with pytest.raises(ProtocolError, match="more than 100000 bytes"):
                await process.lines()
        assert await process.wait() == 3


@pytest.mark.parametrize(("size", "fits"), [(1000, True), (1001, False)])
async def test_the_limit_is_exact(size: int, fits: bool) -> None:
    async with running("say('x' * int(sys.argv[1]))", size, line_limit=1000) as process:
        if fits:
            assert await all_lines(process) == [b"x" * 1000]
        else:
            with pytest.raises(ProtocolError):
                await process.lines()


async def test_the_limit_by_default() -> None:
    """64 MiB without a newline is no line of any protocol."""
    endless = "piece = b'x' * 2**20\nfor _ in range(80): os.write(1, piece)"
    async with running(endless) as process:
        with pytest.raises(ProtocolError, match=str(64 * 1024 * 1024)):
            await process.lines()
        assert await process.wait() == 0


async def test_a_cancelled_reader_takes_nothing() -> None:
    async with running(CAT) as process:
        for _ in range(3):
            reading = asyncio.ensure_future(process.lines())
            await asyncio.sleep(0)
            reading.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reading
        await process.write(b"still here\n")
        assert await process.lines() == [b"still here"]


async def test_a_slow_consumer_of_a_long_answer() -> None:
    """The child has ended long before: all of it is there, with our loop held up while it was written."""
    code = "for n in range(2000): print(n, 'x' * 100)"
    async with running(code) as process:
        time.sleep(0.3)
        assert await process.wait() == 0
        assert await all_lines(process) == [b"%d %s" % (n, b"x" * 100) for n in range(2000)]


@pytest.mark.req("seed-A11")
@pytest.mark.skipif(NODE is None, reason="node is not installed")
@pytest.mark.parametrize("size", [200_000, 1_000_000])
async def test_node_that_exits_while_our_loop_is_held_up(size: int) -> None:
    """It throws away what the pipe does not take at once, so the pipe takes a lot. From a usual pipe, the rest is lost."""
    if sys.platform != "linux":
        pytest.skip("only Linux has large pipes")
    code = f"process.stdout.write('x'.repeat({size - 1}) + '\\n'); process.exit(0)"
    async with running([str(NODE), "-e", code]) as process:
        time.sleep(0.5)
        assert [len(line) for line in await all_lines(process)] == [size - 1]
    async with running([str(NODE), "-e", code], backpressure=True) as process:
        time.sleep(0.5)
        assert await all_lines(process) == []
        assert len(process.tail) < size - 1


@linux
@pytest.mark.parametrize("name", ["/dev/stdout", "/proc/self/fd/1"])
async def test_standard_output_can_be_opened_again(name: str) -> None:
    async with running(["/bin/sh", "-c", f"echo one; echo two > {name}; echo three >> /dev/stderr"]) as process:
        assert await all_lines(process) == [b"one", b"two"]
        assert process.stderr == "three"


# ---- input


@pytest.mark.req("seed-A9")
@pytest.mark.parametrize("size", [300_000, 5_000_000])
async def test_a_long_prompt_to_a_child_that_writes_first(size: int) -> None:
    """It reads only when all of its own has been taken, which nobody reads here. Neither waits for the other."""
    code = f"for _ in range(100): say('x' * {size // 100})\n{SWALLOW}"
    async with running(code) as process:
        async with asyncio.timeout(PATIENCE):
            await process.write(b"p" * size)
            process.close_stdin()
            assert await process.wait() == 0
        *said, count = await all_lines(process)
        assert b"".join(said) == b"x" * (size // 100 * 100)
        assert int(count) == size


async def test_the_input_is_closed_after_what_was_written() -> None:
    """Also when nobody waits for room."""
    async with running(SWALLOW) as process:
        await process.write(b"x" * 3_000_000, wait=False)
        process.close_stdin()
        process.close_stdin()
        assert await all_lines(process) == [b"3000000"]


async def test_an_input_that_is_closed_without_a_word() -> None:
    async with running(SWALLOW) as process:
        process.close_stdin()
        with pytest.raises(BrokenPipeError):
            await process.write(b"late")
        assert await all_lines(process) == [b"0"]


async def test_several_writers() -> None:
    """Each one's bytes stay together."""
    async with running(
        "import collections; say(*sorted(collections.Counter(sys.stdin.read().split()).items()))"
    ) as process:
        parts = [bytes([letter]) * 100_000 + b" " for letter in b"abcdef"]
        await asyncio.gather(*(process.write(part) for part in parts))
        process.close_stdin()
        (line,) = await all_lines(process)
        assert line.decode() == " ".join(str((chr(part[0]) * 100_000, 1)) for part in parts)


async def test_a_writer_waits_for_room_and_may_be_cancelled() -> None:
    """What it has written is delivered all the same, in one piece."""
    code = (
        "signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1}); say('up'); signal.sigwait({signal.SIGUSR1});"
        "say(len(sys.stdin.buffer.read()))"
    )
    async with running(code) as process:
        assert await process.lines() == [b"up"]
        writing = asyncio.ensure_future(process.write(b"x" * 2_000_000))
        for _ in range(3):
            await asyncio.sleep(0)
        assert not writing.done()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        process.close_stdin()
        process.signal(signal.SIGUSR1)
        assert await all_lines(process) == [b"2000000"]


@pytest.mark.parametrize("how", ["os.close(0); say('deaf'); signal.pause()", "say('gone')"])
async def test_nobody_listens(how: str) -> None:
    """The writer is told, whether it waits already or not, and whether the child lives or not."""
    async with running(how) as process:
        words = Words(process)
        if await words.next() == "gone":
            await process.wait()
        with pytest.raises(BrokenPipeError):
            await process.write(b"x" * 1_000_000)
        with pytest.raises(BrokenPipeError):
            await process.write(b"x")


async def test_a_child_that_dies_while_it_is_written_to() -> None:
    async with running("sys.stdin.buffer.read(1); os._exit(7)") as process:
        with pytest.raises(BrokenPipeError):
            await process.write(b"x" * 5_000_000)
        assert await process.wait() == 7


@linux
async def test_a_child_of_the_child_that_holds_the_input_open() -> None:
    """The process is gone: nobody waits for room any more."""
    code = "subprocess.Popen(['sleep', '1000']); say('x'); sys.stdin.buffer.read(1); os._exit(0)"
    async with running(code) as process:
        async with asyncio.timeout(PATIENCE):
            with pytest.raises(BrokenPipeError):
                await process.write(b"x" * 5_000_000)


# ---- errors


async def test_a_flood_of_errors() -> None:
    """Drained without anybody's doing, and only its end is kept."""
    code = (
        "for n in range(100_000): print(n, 'x' * 100, file=sys.stderr)\nprint('the end', file=sys.stderr)\nsay('done')"
    )
    async with running(code) as process:
        assert await all_lines(process) == [b"done"]
        assert await process.wait() == 0
        assert process.stderr.endswith("99999 " + "x" * 100 + "\nthe end")
        assert 10_000 < len(process.stderr) <= _process.STDERR_KEPT
        assert len(process._stderr) <= 2 * _process.STDERR_KEPT


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("plain", "plain"),
        ("\x1b[1;31mred\x1b[0m \x1b]0;title\x07text\x1b(B", "red text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("10%\r20%\r\nnext\ttab\x08", "10%\n20%\nnext\ttab"),
        ("\x1b[2K\x1b[1Gé\u2028ü", "é\u2028ü"),
        (f"key {KEY} and Bearer {'b' * 12}", "key sk-*** and Bearer ***"),
        (f"\x1b[31m{KEY[:3]}\x1b[0m{KEY[3:]}", "sk-***"),
    ],
)
async def test_errors_are_plain_text_without_secrets(said: str, kept: str) -> None:
    async with running("sys.stderr.buffer.write(sys.argv[1].encode())", said) as process:
        await process.wait()
        assert process.stderr == kept


async def test_a_key_that_was_cut_in_two() -> None:
    """The end that is kept does not begin in the middle of it."""
    for more in (_process.STDERR_KEPT * 2 - 20, _process.STDERR_KEPT - 20):
        async with running(f"sys.stderr.write({KEY!r} + ' ' + 'y ' * ({more} // 2))") as process:
            await process.wait()
            assert "kkk" not in process.stderr


async def test_bytes_that_are_no_text() -> None:
    heard: list[bytes] = []
    async with running("os.write(2, b'\\xff\\xc3')", on_stderr=heard.append) as process:
        await process.wait()
        assert process.stderr == "\ufffd\ufffd"
        assert b"".join(heard) == b"\xff\xc3"
