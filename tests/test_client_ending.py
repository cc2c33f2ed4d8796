"""How a stream ends: limits of time, closing from anywhere, cancelling, dropping, and what the server sees of it."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable

import pytest
from _chat import answers, client_of, settle, stalling
from _rawserver import PATIENCE, SOON, STREAM_HEAD, RawConnection, chunk, raw_server, raw_server_thread
from _replay import DONE, ROLE, STOP, chunk_of, http, said, sse, text

from asyncllm import (
    Client,
    Finish,
    FirstTokenTimeout,
    IncompleteStreamError,
    InterTokenTimeout,
    LLMError,
    LLMTimeoutError,
    Stream,
    TextDelta,
    Timeout,
    TotalTimeout,
    Usage,
)
from asyncllm.backends import _http_source
from asyncllm.transports import _http1

ENDLESS = Timeout(first_token=30, inter_token=30, total=60)


# ---- limits of time


@pytest.mark.req("H9")
async def test_no_first_token() -> None:
    """Headers and a role chunk are not a token: FirstTokenTimeout."""
    async with stalling(ROLE) as server, client_of(server, timeout=Timeout(first_token=0.2)) as client:
        with pytest.raises(FirstTokenTimeout) as caught:
            await client.stream("Hi")
        await (await server.accepted()).gone(SOON)
    assert caught.value.retryable


@pytest.mark.req("H9")
async def test_no_headers() -> None:
    """A server that accepts and says nothing at all: FirstTokenTimeout."""
    async with stalling(head=b"") as server, client_of(server, timeout=Timeout(first_token=0.2)) as client:
        with pytest.raises(FirstTokenTimeout):
            await client.stream("Hi")
        await (await server.accepted()).gone(SOON)


@pytest.mark.req("H9")
async def test_silence_in_the_middle() -> None:
    """Silence after the first word: InterTokenTimeout, with the word."""
    async with stalling(ROLE, text("Hel")) as server, client_of(server, timeout=Timeout(inter_token=0.05)) as client:
        stream = await client.stream("Hi")
        with pytest.raises(InterTokenTimeout) as caught:
            [event async for event in stream]
        await (await server.accepted()).gone(SOON)
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


@pytest.mark.req("H9")
async def test_total_covers_retries_and_waits() -> None:
    """The total limit breaks into a wait before a retry as into a read."""
    busy = http(b"{}", status="429 X", headers="retry-after: 60\r\n")
    async with answers(busy) as server, client_of(server, retry=3, timeout=0.2) as client:
        with pytest.raises(TotalTimeout):
            await client.stream("Hi")
    async with stalling(ROLE, text("a")) as server, client_of(server, timeout=0.2) as client:
        with pytest.raises(TotalTimeout) as caught:
            await client.complete("Hi")
        await (await server.accepted()).gone(SOON)
    assert isinstance(caught.value, LLMTimeoutError)
    assert not caught.value.retryable


@pytest.mark.req("H10", "A4")
async def test_keep_alives_do_not_count_as_tokens() -> None:
    """Comments keep the connection (idle limit) and not the answer (inter-token limit)."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("a"))))
        while not connection.left.is_set():
            await connection.send(chunk(b": keep-alive\n\n"))
            await asyncio.sleep(0.002)

    async with raw_server(script) as server:
        async with client_of(server, timeout=Timeout(inter_token=0.2, idle=0.1)) as client:
            stream = await client.stream("Hi")
            with pytest.raises(InterTokenTimeout, match="inter_token"):
                [event async for event in stream]


@pytest.mark.req("H10")
async def test_a_connection_without_any_bytes_is_idle() -> None:
    """The idle limit is the transport's: no bytes at all, not even comments."""
    async with stalling(ROLE, text("a")) as server, client_of(server, timeout=Timeout(idle=0.05)) as client:
        stream = await client.stream("Hi")
        with pytest.raises(LLMTimeoutError):
            [event async for event in stream]


async def test_a_slow_consumer_is_not_a_silent_model() -> None:
    """The inter-token limit runs only while somebody waits for the next event."""
    release = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("a"))))
        await release.wait()
        await connection.send(chunk(sse(text("b"), STOP, DONE)), b"0\r\n\r\n")

    async with raw_server(script) as server, client_of(server, timeout=Timeout(inter_token=0.2)) as client:
        stream = await client.stream("Hi")
        await asyncio.sleep(0.5)  # the consumer's own time: more than twice the limit
        release.set()
        assert (await stream.reply()).text == "ab"


@pytest.mark.req("B2")
async def test_a_tail_that_never_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """finish_reason, then heartbeats and an open socket: the stream ends after a bounded grace, without an error."""
    monkeypatch.setattr(_http_source, "TAIL_GRACE", 0.05)
    async with stalling(ROLE, text("ok"), STOP, ": heartbeat\n\n") as server, client_of(server) as client:
        reply = await client.complete("Hi")
        await (await server.accepted()).gone(SOON)
    assert (reply.text, reply.finish_reason) == ("ok", "stop")


@pytest.mark.req("B2", "B3")
async def test_a_late_tail_is_read() -> None:
    """The usage chunk that comes after the finish_reason, in another packet, still counts."""
    more = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("ok"), STOP)))
        await more.wait()
        usage = {**chunk_of(), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1}}
        await connection.send(chunk(sse(usage, DONE)), b"0\r\n\r\n")

    async with raw_server(script) as server, client_of(server) as client:
        stream = await client.stream("Hi")
        events = []
        async for event in stream:
            events.append(event)
            if isinstance(event, TextDelta):
                more.set()
    assert isinstance(events[-2], Usage)
    assert events[-1] == Finish("stop", "stop")


@pytest.mark.req("B3")
async def test_a_tail_that_breaks_is_no_error() -> None:
    """The connection breaks after the finish_reason: the answer was whole."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("ok"), STOP)))
        connection.reset()

    async with raw_server(script) as server, client_of(server) as client:
        assert (await client.complete("Hi")).finish_reason == "stop"


@pytest.mark.req("A11")
async def test_nothing_after_done_matters() -> None:
    """The stream ends at `[DONE]`, whatever follows, and the connection is not reused dirty."""

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(STREAM_HEAD, chunk(said("ok") + sse(text("late"), {"error": "late"})))

    async with raw_server(script) as server, client_of(server) as client:
        assert (await client.complete("Hi")).text == "ok"
        assert (await client.complete("Hi")).text == "ok"
    assert server.opened == 2


@pytest.mark.req("B2")
async def test_the_end_of_the_answer_is_the_end_of_the_iteration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the end of the body, which a server may owe for ever."""
    monkeypatch.setattr(_http1, "DRAIN_SECONDS", 10 * PATIENCE)
    more = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("a"))))
        await more.wait()
        await connection.send(chunk(sse(text("b"), STOP, DONE)))
        await connection.left.wait()

    async with raw_server(script) as server, client_of(server) as client, asyncio.timeout(PATIENCE):
        stream = await client.stream("Hi")
        said = [event.text async for event in stream if not more.set() and isinstance(event, TextDelta)]
        assert [event async for event in stream] == []
    assert said == ["a", "b"]


# ---- closing


async def leave_block(client: Client) -> None:
    async with client.stream("Hi") as stream:
        async for _ in stream:
            break


async def aclose_twice(client: Client) -> None:
    stream = await client.stream("Hi")
    await stream.aclose()
    await stream.aclose()
    assert [event async for event in stream] == []


async def cancel_stream(client: Client) -> None:
    stream = await client.stream("Hi")
    stream.cancel()
    stream.cancel()
    assert stream.closed


async def cancel_stream_while_reading(client: Client) -> None:
    stream = await client.stream("Hi")
    task = asyncio.create_task(stream.reply())
    await settle()
    asyncio.get_running_loop().call_soon(stream.cancel)
    with pytest.raises(IncompleteStreamError):
        await task


async def drop(client: Client) -> None:
    stream = await client.stream("Hi")
    async for _ in stream:
        break
    del stream
    gc.collect()


async def raise_inside(client: Client) -> None:
    with pytest.raises(ZeroDivisionError):
        async with client.stream("Hi") as stream:
            async for _ in stream:
                raise ZeroDivisionError


async def cancel(client: Client) -> None:
    await cancelled(client, times=1)


async def cancel_twice(client: Client) -> None:
    await cancelled(client, times=2)


async def cancelled(client: Client, times: int) -> None:
    reading = asyncio.Event()

    async def read() -> None:
        stream = await client.stream("Hi")
        async for _ in stream:
            reading.set()

    task = asyncio.create_task(read())
    await reading.wait()
    await settle()
    for _ in range(times):
        task.cancel()
        await asyncio.sleep(0)
    with pytest.raises(asyncio.CancelledError):
        await task


async def timeout_block(client: Client) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await client.complete("Hi")


async def close_client(client: Client) -> None:
    stream = await client.stream("Hi")
    await client.aclose()
    with pytest.raises(IncompleteStreamError):
        await stream.reply()


@pytest.mark.req("H1", "H2", "H3", "H7")
@pytest.mark.parametrize(
    "leave",
    [
        leave_block,
        aclose_twice,
        cancel_stream,
        cancel_stream_while_reading,
        drop,
        raise_inside,
        cancel,
        cancel_twice,
        timeout_block,
        close_client,
    ],
)
async def test_leaving_early_closes_the_connection(leave: Callable[[Client], object]) -> None:
    """However a stream is left, the server sees its connection go at once."""
    async with stalling(ROLE, text("a")) as server, client_of(server, timeout=ENDLESS) as client:
        await leave(client)  # type: ignore[misc]
        await (await server.accepted()).gone(SOON)
        assert server.opened == 1


@pytest.mark.req("H6")
async def test_aclose_from_another_task_ends_the_iteration() -> None:
    """A task that waits for the next event sees the end of the iteration; its reply says that it was cut short."""
    async with stalling(ROLE, text("a")) as server, client_of(server, timeout=ENDLESS) as client:
        stream = await client.stream("Hi")

        async def read() -> list[object]:
            return [event async for event in stream]

        task = asyncio.create_task(read())
        await settle()
        await stream.aclose()
        events = await task
        assert [type(event).__name__ for event in events] == ["StreamStart", "TextDelta"]
        assert stream.closed
        assert task.cancelling() == 0
        await (await server.accepted()).gone(SOON)
        with pytest.raises(IncompleteStreamError) as caught:
            await stream.reply()
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


@pytest.mark.req("H6")
async def test_two_tasks_cannot_read_one_stream() -> None:
    """The second reader gets a clear error, and the first goes on."""
    async with stalling(ROLE, text("a")) as server, client_of(server, timeout=ENDLESS) as client:
        stream = await client.stream("Hi")
        reader = asyncio.create_task(stream.reply())
        await settle()
        with pytest.raises(RuntimeError, match="one task at a time"):
            await stream.reply()
        await stream.aclose()
        with pytest.raises(IncompleteStreamError):
            await reader


async def test_cancellation_by_others_wins_over_a_limit() -> None:
    """A task that is cancelled from outside is cancelled, also when a limit passes in the same moment."""
    async with stalling(ROLE, text("a")) as server, client_of(server, timeout=Timeout(inter_token=0.02)) as client:
        stream = await client.stream("Hi")

        async def read() -> None:
            with pytest.raises(LLMError):
                await stream.reply()

        task = asyncio.create_task(read())
        await settle()
        stream._guard.interrupt("total")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_an_unawaited_stream_opens_nothing() -> None:
    """`client.stream()` that nobody awaits sends nothing and warns of nothing."""
    async with answers(http(said("x"))) as server, client_of(server) as client:
        stream = client.stream("Hi")
        assert isinstance(stream, Stream)
        await stream.aclose()
        assert [event async for event in stream] == []
        del stream
    assert server.opened == 0


@pytest.mark.req("H8")
def test_one_client_under_several_loops() -> None:
    """A client that outlives `asyncio.run` works under the next one, without complaints."""

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(http(said("Hello")))

    with raw_server_thread(script) as server:
        client = Client("openai-compatible/m", base_url=server.url)

        async def ask() -> str:
            return (await client.complete("Hi")).text

        assert [asyncio.run(ask()) for _ in range(3)] == ["Hello"] * 3

        async def close() -> None:
            await client.aclose()

        asyncio.run(close())
        gc.collect()


@pytest.mark.req("H17")
async def test_connections_are_reused() -> None:
    """Two hundred streams one after another need one connection."""
    async with answers(http(said("Hello"))) as server, client_of(server) as client:
        for _ in range(200):
            await client.complete("Hi")
        assert server.opened == 1


@pytest.mark.req("H1", "H2")
async def test_many_at_once_with_random_cancels_leave_nothing() -> None:
    """300 streams, a third cancelled at some moment: no task, no connection, no timer is left."""
    chooser = random.Random(7)

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(
                STREAM_HEAD, *(chunk(sse(text("word "))) for _ in range(5)), chunk(sse(STOP, DONE)), b"0\r\n\r\n"
            )

    async with raw_server(script) as server, client_of(server) as client:
        before = len(asyncio.all_tasks())

        async def one() -> str:
            return (await client.complete("Hi")).text

        tasks = [asyncio.create_task(one()) for _ in range(300)]
        for task in tasks:
            if chooser.random() < 0.33:
                for _ in range(chooser.randrange(30)):
                    await asyncio.sleep(0)
                task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert {result for result in results if isinstance(result, str)} == {"word " * 5}
        assert all(isinstance(result, str | asyncio.CancelledError) for result in results)
        await client.aclose()
        async with asyncio.timeout(5):
            for connection in server.connections:
                await connection.left.wait()
            while len(asyncio.all_tasks()) > before:
                await asyncio.sleep(0)
