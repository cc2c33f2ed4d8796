"""The corners of the backends: proxies, missing limits, foreign sources, interrupts, and what transports may raise."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest
from _chat import answers, client_of, settle, stalling
from _rawserver import SOON, STREAM_HEAD, RawConnection, chunk, raw_server
from _replay import DONE, ROLE, STOP, http, said, sse, text

from asyncllm import (
    AuthenticationError,
    Client,
    ConnectionFailedError,
    ConnectTimeout,
    IncompleteStreamError,
    InvalidRequestError,
    LLMTimeoutError,
    ProtocolError,
    RateLimitError,
    ServerError,
    Stream,
    StreamStart,
    TextDelta,
    Timeout,
    UnknownError,
)
from asyncllm.backends import Credentials, Interrupt, Interrupted
from asyncllm.backends._carrier import transport_failure
from asyncllm.events import StreamEvent
from asyncllm.transports import http_client


async def test_a_proxy_in_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY: httpx2's own transport takes over, and the proxy sees the whole URL."""
    async with answers(http(said("through the proxy"))) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        async with Client("m", base_url="http://model.test/v1") as client:
            assert (await client.complete("Hi")).text == "through the proxy"
    assert proxy.requests[0].line == b"POST http://model.test/v1/chat/completions HTTP/1.1"


async def test_our_http_client_given_by_the_user() -> None:
    """`http_client()` is an httpx2 client on the fast transport; its compressed answers are inflated, too."""
    import gzip

    body = http(gzip.compress(said("Hello")), headers="content-encoding: gzip\r\n")
    async with answers(body, http(said("Hello"))) as server, http_client() as own:
        async with client_of(server, http_client=own) as client:
            assert [(await client.complete("Hi")).text for _ in range(2)] == ["Hello"] * 2
    assert server.opened == 1


async def test_without_limits() -> None:
    """`timeout=None` limits nothing but is as whole as any other."""
    async with answers(http(said("Hello"))) as server, client_of(server, timeout=None) as client:
        assert (await client.complete("Hi")).text == "Hello"
    async with stalling(ROLE, text("a")) as server:
        limits = Timeout(first_token=None, inter_token=0.05, total=None)
        async with client_of(server, timeout=limits) as client:
            with pytest.raises(LLMTimeoutError):
                await client.complete("Hi")
        async with client_of(server, timeout=Timeout(first_token=5, inter_token=None)) as client:
            stream = await client.stream("Hi")
            assert [type(await anext(stream)) for _ in range(2)] == [StreamStart, TextDelta]
            await stream.aclose()


async def test_limits_hold_between_many_pieces() -> None:
    """A stream longer than its inter-token limit is fine as long as each gap is shorter."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE)))
        for _ in range(40):
            await asyncio.sleep(0.02)
            await connection.send(chunk(sse(text("x"))))
        await connection.send(chunk(sse(STOP, DONE)), b"0\r\n\r\n")

    async with raw_server(script) as server, client_of(server, timeout=Timeout(inter_token=0.5)) as client:
        assert (await client.complete("Hi")).text == "x" * 40


@pytest.mark.parametrize(
    ("raised", "cls"),
    [
        (httpx2.ConnectTimeout("slow"), ConnectTimeout),
        (httpx2.PoolTimeout("full"), LLMTimeoutError),
        (httpx2.ReadTimeout("silent"), LLMTimeoutError),
        (httpx2.WriteTimeout("deaf"), LLMTimeoutError),
        (httpx2.UnsupportedProtocol("ftp"), InvalidRequestError),
        (httpx2.LocalProtocolError("bad header"), InvalidRequestError),
        (httpx2.ConnectError("refused"), ConnectionFailedError),
        (httpx2.ReadError(""), ConnectionFailedError),
        (RuntimeError("odd"), ServerError),
    ],
)
@pytest.mark.req("seed-C")
def test_what_transports_raise_before_an_answer(raised: Exception, cls: type[Exception]) -> None:
    """Each failure of a transport has its class; the endpoint is named."""
    error = transport_failure(raised, provider="p", model="m", where="http://host/v1")
    assert type(error) is cls
    assert "http://host/v1" in error.message


async def test_a_connection_that_takes_too_long() -> None:
    """The connect limit is its own: the handshake of a TLS server that never answers."""

    async def silent(connection: RawConnection) -> None:
        await connection.left.wait()

    async with raw_server(silent) as server:
        url = server.url.replace("http://", "https://")
        async with Client("m", base_url=url, timeout=Timeout(connect=0.05), retry=0) as client:
            with pytest.raises(ConnectTimeout, match=r"timeout\.connect"):
                await client.complete("Hi")


@pytest.mark.req("C11")
@pytest.mark.parametrize(
    "answer",
    [
        b'HTTP/1.1 503 X\r\ncontent-length: 50\r\n\r\n{"error',  # cut in the middle
        b"HTTP/1.1 503 X\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\noops",
    ],
)
async def test_an_error_body_that_breaks(answer: bytes) -> None:
    """The status says enough where the body of an error cannot be read."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(answer)
        connection.close()

    async with raw_server(script) as server, client_of(server) as client:
        with pytest.raises(ServerError) as caught:
            await client.complete("Hi")
    assert caught.value.status == 503


@pytest.mark.req("A10")
async def test_an_endless_error_body_is_not_read_to_its_end() -> None:
    """64 KiB of an error are enough."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 500 X\r\n\r\n")
        while not connection.left.is_set():
            await connection.send(b"x" * 65536)

    async with raw_server(script) as server, client_of(server) as client:
        with pytest.raises(ServerError):
            await client.complete("Hi")
        await (await server.accepted()).gone(SOON)


async def test_cancelling_while_an_error_body_is_read() -> None:
    """A cancel there closes the connection, too."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(b"HTTP/1.1 500 X\r\ncontent-length: 9\r\n\r\n{")

    async with raw_server(script) as server, client_of(server) as client:
        task = asyncio.create_task(client.complete("Hi"))
        while not server.connections:
            await asyncio.sleep(0)
        await server.connections[0].reader.read(0)
        await settle(50)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await (await server.accepted()).gone(SOON)


@pytest.mark.req("A10")
async def test_a_frame_without_end_is_refused() -> None:
    """A peer cannot make us hold more than the limit."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD, chunk(sse(ROLE, text("a")) + b"data: "))
        while not connection.left.is_set():
            await connection.send(chunk(b"x" * 1_000_000))

    async with raw_server(script) as server, client_of(server) as client:
        with pytest.raises(ProtocolError, match="larger than") as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"


class Odd:
    """A backend that ends its streams without saying how."""

    name = "odd"

    def __init__(self, *batches: list[StreamEvent]) -> None:
        self.batches = list(batches)

    def stream(self, request: Any) -> Odd:
        return self

    def __aiter__(self) -> Odd:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if not self.batches:
            raise StopAsyncIteration
        return self.batches.pop(0)

    async def aclose(self) -> None: ...

    def abort(self) -> None: ...


async def test_a_backend_that_ends_in_silence_is_incomplete() -> None:
    """The client says what the backend did not: the stream was cut."""
    async with Client(Odd([StreamStart("m")], [TextDelta("a")])) as client:
        with pytest.raises(IncompleteStreamError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert caught.value.partial.text == "a"
    async with Client(Odd()) as client:
        with pytest.raises(IncompleteStreamError):
            await client.complete("Hi")


async def test_an_interrupt_reaches_only_its_own_await() -> None:
    """Interrupting breaks the guarded await and leaves no cancellation behind; before or after, it does nothing."""
    guard: Interrupt[str] = Interrupt()
    forever: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        await forever

    async def owner() -> tuple[str | None, int]:
        with pytest.raises(Interrupted):
            await guard.run(wait)
        await asyncio.sleep(0)
        task = asyncio.current_task()
        assert task is not None
        return guard.why, task.cancelling()

    task = asyncio.create_task(owner())
    await settle()
    assert guard.task is task
    guard.interrupt("first")
    guard.interrupt("second")
    assert await task == ("first", 0)
    assert guard.task is None


async def test_an_interrupt_that_comes_too_late_changes_nothing() -> None:
    """What swallows the interrupt and returns has returned."""
    guard: Interrupt[str] = Interrupt()

    async def stubborn() -> str:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return "done all the same"
        raise AssertionError

    task = asyncio.create_task(guard.run(stubborn))
    await settle()
    guard.interrupt("late")
    assert await task == "done all the same"


def test_where_credentials_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source is named, the key never."""
    assert Credentials("p", token_provider=lambda: "t").source == "token provider"
    assert Credentials("p", api_key="k").source == "api_key"
    monkeypatch.setenv("SOME_KEY", "k")
    assert Credentials("p", env=("SOME_KEY",)).source == "environment SOME_KEY"
    assert Credentials("p").source == "missing"
    assert repr(Credentials("p", api_key="secret")) == "Credentials('p', api_key)"


async def test_a_token_provider_that_fails() -> None:
    """Its exception is the cause of an AuthenticationError; an error of ours stays what it is."""

    def broken() -> str:
        raise OSError("no metadata server")

    def limited() -> str:
        raise RateLimitError("too many tokens")

    with pytest.raises(AuthenticationError, match="no metadata server") as caught:
        await Credentials("p", token_provider=broken).token()
    assert isinstance(caught.value.__cause__, OSError)
    with pytest.raises(RateLimitError):
        await Credentials("p", token_provider=limited).token()


async def test_no_environment_variable_to_name() -> None:
    """A provider without a variable says to pass the key or token."""
    with pytest.raises(Exception, match="pass api_key="):
        await Credentials("vertex-maas").token()


async def test_other_statuses_are_errors() -> None:
    """Anything outside 200-299 is one."""
    async with answers(http(b"", status="304 Not Modified")) as server, client_of(server) as client:
        with pytest.raises(UnknownError):
            await client.complete("Hi")


async def test_a_stream_that_is_dropped_while_it_waits() -> None:
    """Closing the client under a waiting stream ends it with an error, not a hang."""
    async with stalling(ROLE, text("a")) as server, client_of(server) as client:
        stream: Stream[object] = await client.stream("Hi")
        task = asyncio.create_task(stream.reply())
        await settle()
        await client.aclose()
        with pytest.raises(IncompleteStreamError):
            await task


@pytest.mark.req("H3", "H6")
async def test_cancel_closes_what_only_an_await_can_close() -> None:
    """httpx2's own transport closes with an await: `cancel` sees to it, and a dropped stream is no different."""
    for how in ("cancel", "drop"):
        async with stalling(ROLE, text("a")) as server, httpx2.AsyncClient() as own:
            async with client_of(server, http_client=own) as client:
                stream = await client.stream("Hi")
                if how == "cancel":
                    stream.cancel()
                del stream
                await (await server.accepted()).gone(SOON)


def test_under_another_kind_of_loop() -> None:
    """trio is told what is missing, instead of something deep inside failing."""
    import trio

    async def ask() -> None:
        async with Client("demo/echo") as client:
            await client.complete("Hi")

    with pytest.raises(RuntimeError, match="needs asyncio"):
        trio.run(ask)


def test_under_uvloop() -> None:
    """uvloop is asyncio: limits, cancels and closing work there, too."""
    import uvloop

    async def ask() -> None:
        async with stalling(ROLE, text("a")) as server, client_of(server, timeout=Timeout(inter_token=0.05)) as client:
            with pytest.raises(LLMTimeoutError):
                await client.complete("Hi")
            stream = await client.stream("Hi")
            reading = asyncio.create_task(stream.reply())
            await settle()
            await stream.aclose()
            with pytest.raises(IncompleteStreamError):
                await reading

    uvloop.run(ask())
