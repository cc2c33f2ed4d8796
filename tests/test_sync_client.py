"""The blocking facade: the same events, from any thread, with Ctrl-C and closing as one expects them."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from queue import SimpleQueue

import pytest
from _chat import error_answer
from _maps import echo, numbers, only_the_first, texts
from _rawserver import PATIENCE, STREAM_HEAD, RawConnection, RawServer, chunk, raw_server_thread
from _replay import DONE, ROLE, STOP, http, said, sse, text

from asyncllm import (
    AuthenticationError,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    StreamError,
    SyncClient,
    TextDelta,
    check_order,
)
from asyncllm._sync import READ_AHEAD, ROOM_AT, _HandOver
from asyncllm.testing import Script, Server, serve_in_thread


async def hello(connection: RawConnection) -> None:
    while True:
        await connection.request()
        await connection.send(http(said("Hel", "lo")))


async def stall(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("Hel"))))


async def cut(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(http(sse(ROLE, text("Hel"))))
    connection.close()


async def refuse(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(error_answer(401))


async def burst(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(
        STREAM_HEAD, *(chunk(sse(text("x"))) for _ in range(3000)), chunk(sse(STOP, DONE)), b"0\r\n\r\n"
    )


def client_of(server: RawServer, **options: object) -> SyncClient:
    return SyncClient("openai-compatible/m", base_url=f"{server.url}/v1", retry=0, **options)


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("asyncllm-"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


@pytest.mark.req("seed-F2")
def test_iterating_gives_the_events() -> None:
    """`for event in client.stream(...)` is the whole of it."""
    with raw_server_thread(hello) as server, client_of(server) as client:
        events = list(client.stream("Hi"))
        check_order(events)
        assert events[-1] == Finish("stop", "stop")
        assert "SyncClient(openai-compatible/m)" in repr(client)
        assert list(client.stream("Hi").text) == ["Hel", "lo"]


def test_block_reply_and_complete() -> None:
    """The other forms: a block, the reply, and one call for all."""
    with raw_server_thread(hello) as server, client_of(server) as client:
        with client.stream("Hi") as stream:
            assert next(stream).__class__.__name__ == "StreamStart"
            reply = stream.reply()
        assert reply.text == client.complete("Hi").text == "Hello"
        assert stream.reply() == reply
        assert list(stream) == []


def test_looking_at_what_has_come_loses_nothing_of_it() -> None:
    """`partial` is asked for in this thread while the other one reads on: the reply is whole all the same."""

    async def a_little_at_a_time(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(STREAM_HEAD)
            for _ in range(2000):
                await connection.send(chunk(sse(text("x"))))
                await asyncio.sleep(0)
            await connection.send(chunk(sse(STOP, DONE)), b"0\r\n\r\n")

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with raw_server_thread(a_little_at_a_time) as server, client_of(server) as client:
            for _ in range(3):
                stream = client.stream("Hi")
                for _ in stream:
                    assert set(stream.partial.text) <= {"x"}
                assert stream.reply().text == stream.partial.text == "x" * 2000
    finally:
        sys.setswitchinterval(before)


def test_errors_are_raised_where_they_would_be() -> None:
    """Before content at the first event, afterwards after the events that came; input errors at once."""
    with raw_server_thread(refuse) as server, client_of(server) as client:
        with pytest.raises(AuthenticationError):
            next(client.stream("Hi"))
        with pytest.raises(InvalidRequestError):
            client.stream([])
    with raw_server_thread(cut) as server, client_of(server) as client:
        stream = client.stream("Hi")
        seen = []
        with pytest.raises(IncompleteStreamError) as caught:
            seen.extend(event for event in stream)
        assert caught.value.partial is not None
        assert caught.value.partial.text == stream.partial.text == "Hel"
        events = list(client.stream("Hi").as_events())
        assert isinstance(events[-1], StreamError)
        with pytest.raises(IncompleteStreamError):
            client.complete("Hi")


@pytest.mark.parametrize("how", ["close", "block", "drop", "client"])
def test_leaving_early_closes_the_connection(how: str) -> None:
    """However the stream is left, the server sees the connection go."""
    gone = threading.Event()

    async def script(connection: RawConnection) -> None:
        await stall(connection)
        await connection.left.wait()
        gone.set()

    with raw_server_thread(script) as server, client_of(server) as client:
        stream = client.stream("Hi")
        assert isinstance(next(iter(stream)).__class__, type)
        if how == "close":
            stream.close()
            stream.close()
            assert list(stream) == []
        elif how == "block":
            with stream:
                pass
        elif how == "drop":
            del stream
            gc.collect()
        else:
            client.close()
        assert gone.wait(PATIENCE)


@pytest.mark.req("H19", "seed-F2")
async def test_works_where_a_loop_is_running() -> None:
    """In a notebook or a handler: the facade has a loop of its own."""
    with raw_server_thread(hello) as server, client_of(server) as client:
        assert client.complete("Hi").text == "Hello"
        assert (await asyncio.to_thread(client.complete, "Hi")).text == "Hello"


def test_a_slow_consumer_loses_nothing() -> None:
    """The loop reads ahead a bounded number of batches, and goes on when they are taken."""
    with raw_server_thread(burst) as server, client_of(server) as client, client.stream("Hi") as stream:
        first = next(stream)
        hand_over = stream._begin()
        assert hand_over.queue.qsize() <= READ_AHEAD + 1
        events = [first, *stream]
    assert sum(isinstance(event, TextDelta) for event in events) == 3000


async def test_a_consumer_that_is_faster_than_the_bound_is_not_waited_for() -> None:
    """The queue is emptied just after it was found full: nobody would say that there is room, so nobody may wait for it."""
    hand_over = _HandOver(asyncio.get_running_loop())
    async with asyncio.timeout(PATIENCE):
        await hand_over._wait_for_room()
    for _ in range(READ_AHEAD):
        hand_over.queue.put([])
    waiting = asyncio.create_task(hand_over._wait_for_room())
    await asyncio.sleep(0)
    assert not waiting.done()
    for _ in range(READ_AHEAD - ROOM_AT):
        hand_over.take()
    async with asyncio.timeout(PATIENCE):
        await waiting


def test_many_threads_share_a_client() -> None:
    """One client, eight threads, one loop."""
    with raw_server_thread(hello) as server, client_of(server) as client:
        results: list[str] = []
        threads = [threading.Thread(target=lambda: results.append(client.complete("Hi").text)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert results == ["Hello"] * 8


def test_a_closed_client_says_so() -> None:
    """Closing twice is fine; asking afterwards is not."""
    with raw_server_thread(hello) as server:
        client = client_of(server)
        assert client.complete("Hi").text == "Hello"
        client.close()
        client.close()
        with pytest.raises(RuntimeError, match="closed"):
            client.complete("Hi")


# ---- maps


@contextlib.contextmanager
def echoing(script: Script = echo) -> Iterator[tuple[Server, SyncClient]]:
    with serve_in_thread(script) as server:
        with SyncClient("openai-compatible/m", base_url=server.base_url, retry=0) as client:
            yield server, client


def test_map_gives_results() -> None:
    """As an iterator and in a block; errors are in the results, and the iterator ends for good."""
    with echoing() as (_, client):
        results = client.map(["0", [], "2"], concurrency=2)
        assert texts(seen := list(results)) == {0: "0", 2: "2"}
        assert {type(result.error) for result in seen} == {type(None), InvalidRequestError}
        with client.map(map(str, range(20)), concurrency=3) as results:
            assert texts(list(results)) == {index: str(index) for index in range(20)}
            assert list(results) == []
        with pytest.raises(InvalidRequestError):
            client.map("a question")
    assert list(results) == []
    results.close()


def test_inputs_of_a_map_may_block() -> None:
    """They may be another map of the same client, wait for a result, and fail."""
    with echoing() as (_, client):
        asked_first = client.map(map(str, range(40)), concurrency=4)
        then = client.map((f"{result.index}!" for result in asked_first), concurrency=4)
        assert sorted(result.reply.text for result in then if result.reply) == sorted(f"{n}!" for n in range(40))

        following: SimpleQueue[str] = SimpleQueue()
        following.put("a")
        seen = []
        for result in client.map(iter(following.get, "end")):
            seen.append(result.input)
            following.put({"a": "b"}.get(str(result.input), "end"))
        assert seen == ["a", "b"]

        failing = client.map(1 // number and str(number) for number in (1, 0))
        assert next(failing).input == "1"
        with pytest.raises(ZeroDivisionError):
            next(failing)


@pytest.mark.parametrize("how", ["close", "block", "drop", "client", "another loop"])
def test_leaving_a_map_early_closes_its_connections(how: str) -> None:
    """However it is left, inputs without end are no longer taken, and the server sees the connections go."""
    with echoing(only_the_first) as (server, client):
        results = client.map(numbers(), concurrency=3)
        assert next(results).index == 0
        asyncio.run(server.wait_requests(4))
        if how == "close":
            results.close()
            results.close()
        elif how == "block":
            with results:
                pass
        elif how == "client":
            client.close()
            with pytest.raises(RuntimeError, match="closed"):
                next(results)
            results.close()
        elif how == "another loop":
            asyncio.run(results._map.aclose())
        if how != "drop":
            assert list(results) == []
        del results
        gc.collect()
        asyncio.run(asyncio.wait_for(server.wait_closed(3), PATIENCE))
        assert len(server.requests) == 4


LEFT_OPEN = """
import sys
from asyncllm import SyncClient
results = SyncClient("openai-compatible/m", base_url=sys.argv[1]).map(map(str, range(100)))
print(next(results).index)
"""


def test_a_program_may_end_with_a_map_open() -> None:
    """The client stays while its map is used, and what runs at the end of the program goes without a word."""
    with echoing(only_the_first) as (server, _):
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        command = [sys.executable, "-W", "error", "-c", LEFT_OPEN, server.base_url]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert (done.stdout, done.stderr, done.returncode) == ("0\n", "", 0)


# ---- Ctrl-C


CTRL_C = """
import signal, sys
from asyncllm import SyncClient
with SyncClient("openai-compatible/m", base_url=sys.argv[1], retry=0) as client:
    try:
        if sys.argv[2] != "stream":
            print("reading", flush=True)
        if sys.argv[2] == "complete":
            client.complete("Hi")
        if sys.argv[2] == "map":
            list(client.map(iter(["Hi"])))
        for event in client.stream("Hi"):
            print("reading", flush=True)
    except KeyboardInterrupt:
        print("stopped", flush=True)
"""


@pytest.mark.req("H19")
@pytest.mark.parametrize("how", ["stream", "complete", "map"])
def test_ctrl_c_cancels(how: str) -> None:
    """SIGINT while waiting for a model: KeyboardInterrupt in the caller, and the server sees the connection go."""
    gone = threading.Event()
    reading = threading.Event()

    async def script(connection: RawConnection) -> None:
        await stall(connection)
        reading.set()
        await connection.left.wait()
        gone.set()

    with raw_server_thread(script) as server:
        environment = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(sys.path)}
        child = subprocess.Popen(
            [sys.executable, "-c", CTRL_C, server.url, how], stdout=subprocess.PIPE, text=True, env=environment
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "reading\n"
        assert reading.wait(PATIENCE)
        if how == "stream":
            assert child.stdout.readline() == "reading\n"
        child.send_signal(signal.SIGINT)
        assert child.communicate(timeout=PATIENCE)[0].endswith("stopped\n")
        assert child.returncode == 0
        assert gone.wait(PATIENCE)
