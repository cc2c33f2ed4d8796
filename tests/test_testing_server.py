"""The embedded server: scripts, faults, routes, connections, demo models, the pytest fixture and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
import trustme

import asyncllm.testing
from asyncllm.events import (
    Finish,
    OverloadedError,
    RateLimitError,
    ReasoningDelta,
    ServerError,
    StreamError,
    TextDelta,
    ToolCall,
    Usage,
)
from asyncllm.testing import (
    DEMO_MODELS,
    Answer,
    Cut,
    Delay,
    ErrorAfter,
    Gzip,
    HoldOpen,
    KeepAlive,
    Malformed,
    NoDone,
    NoFinish,
    ReceivedRequest,
    Server,
    SlowHeaders,
    Split,
    Stall,
    Trailing,
    TruncatedChunk,
    Wait,
    demo_server,
    serve_in_thread,
)
from asyncllm.testing.__main__ import main, serve
from asyncllm.testing._demo import example
from asyncllm.testing._script import words
from asyncllm.testing._server import _Connection
from asyncllm.testing._waits import Signal

pytest_plugins = ["asyncllm.testing.pytest_plugin"]

HELLO = [{"role": "user", "content": "Hi"}]


def asking(*, stream: bool = True, **body: object) -> dict[str, Any]:
    """The keywords of a `client.stream` or `client.request` call that asks for a chat completion."""
    given = {"model": "m", "messages": HELLO, "stream": stream, "stream_options": {"include_usage": True}, **body}
    return {"method": "POST", "url": "chat/completions", "json": given}


@contextlib.asynccontextmanager
async def serving(script: Any = None, **options: Any) -> AsyncIterator[tuple[Server, httpx2.AsyncClient]]:
    async with (
        Server(script, **options) as server,
        httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as client,
    ):
        yield server, client


async def body_of(answer: Answer, **body: object) -> str:
    async with serving(answer) as (_, client):
        return (await client.request(**asking(**body))).text


async def until_broken(answer: Answer) -> bytes:
    """What arrived before the connection broke, as it must."""
    got = b""
    async with serving(answer) as (_, client):
        try:
            async with client.stream(**asking()) as response:
                async for part in response.aiter_raw():
                    got += part
        except (httpx2.RemoteProtocolError, httpx2.ReadError):
            return got
    raise AssertionError(f"the connection did not break; it brought {got!r}")


def said(body: str) -> list[Any]:
    """The data of the events of a stream, parsed where it is JSON."""
    found = [block[6:] for block in body.split("\n\n") if block.startswith("data: ")]
    return [json.loads(data) if data != "[DONE]" else data for data in found]


def text_of(body: str) -> str:
    chunks = [chunk for chunk in said(body) if chunk != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk.get("choices", ()))


# ---- scripts


async def test_a_text_is_streamed_word_by_word() -> None:
    """A plain text becomes a stream that is complete: role, words, finish, counted usage, [DONE]."""
    async with serving(Answer.text("Hello there  you\n")) as (server, client):
        response = await client.request(**asking())
    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert text_of(response.text) == "Hello there  you\n"
    assert len(said(response.text)) == 1 + 4 + 1 + 1 + 1
    assert said(response.text)[-2]["usage"]["completion_tokens"] == 3
    assert said(response.text)[-2]["usage"]["estimated"] is True
    assert said(response.text)[-1] == "[DONE]"
    (request,) = server.requests
    assert (request.method, request.path, request.json["model"]) == ("POST", "/v1/chat/completions", "m")


async def test_the_same_script_without_streaming_is_one_object() -> None:
    """`stream` follows the request unless the answer says otherwise, in both directions."""
    whole = json.loads(await body_of(Answer.text("Hello there"), stream=False))
    assert whole["choices"][0]["message"]["content"] == "Hello there"
    assert json.loads(await body_of(Answer.text("Hi", stream=False)))["object"] == "chat.completion"
    assert text_of(await body_of(Answer.text("Hi", stream=True), stream=False)) == "Hi"


async def test_events_are_sent_as_they_are() -> None:
    """Events of ours, given usage and finish are on the wire; nothing is added to them."""
    events = [
        ReasoningDelta("hm"),
        TextDelta("x"),
        ToolCall("c", "f", {}),
        Usage(input_tokens=7),
        Finish("length", "max"),
    ]
    *_, finish, usage, done = said(await body_of(Answer(events)))
    assert finish["choices"][0]["finish_reason"] == "max"
    assert usage["usage"]["prompt_tokens"] == 7
    assert done == "[DONE]"


async def test_usage_may_be_left_out() -> None:
    """`count_usage=False` is a server that reports none, and a request that asks for none gets none."""
    assert "prompt_tokens" not in await body_of(Answer.text("a", count_usage=False))
    assert "usage" not in await body_of(Answer.text("a"), stream_options=None)


@pytest.mark.parametrize(("arguments", "raw"), [({"city": "Oslo"}, '{"city":"Oslo"}'), ('{"cut": ', '{"cut": ')])
async def test_a_tool_call_comes_in_fragments(arguments: Any, raw: str) -> None:
    """The arguments arrive in pieces that add up to what was given, valid or not; the finish says tool_calls."""
    chunks = said(await body_of(Answer.tool_call("weather", arguments)))
    pieces = [
        call for chunk in chunks[:-1] for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", ())
    ]
    assert "".join(piece["function"]["arguments"] for piece in pieces) == raw
    assert (pieces[0]["id"], pieces[0]["function"]["name"]) == ("call_1", "weather")
    assert chunks[-3]["choices"][0]["finish_reason"] == "tool_calls"
    whole = json.loads(await body_of(Answer([ToolCall("c", "f", {"a": 1})]), stream=False))
    assert whole["usage"]["completion_tokens"] == 2


async def test_a_list_of_answers_is_used_in_order_and_the_last_repeats() -> None:
    """One answer for each request; play() starts a new script."""
    async with serving([Answer.text("one"), Answer.text("two")]) as (server, client):
        texts = [text_of((await client.request(**asking())).text) for _ in range(3)]
        server.play(Answer.text("three"))
        texts.append(text_of((await client.request(**asking())).text))
    assert texts == ["one", "two", "two", "three"]
    assert server.connections.opened == 1, "keep-alive: all went over one connection"
    with pytest.raises(ValueError, match="at least one"):
        Server([])


async def test_a_script_may_be_a_function() -> None:
    """Sync and async functions of the request; one that fails, or makes no Answer, is a 500 that says so."""

    async def later(request: ReceivedRequest) -> Answer:
        return Answer.text(f"async {request.json['model']}")

    def broken(request: ReceivedRequest) -> Answer:
        raise LookupError("no such thing")

    def limited(request: ReceivedRequest) -> Answer:
        raise RateLimitError("not now")

    async with serving(lambda request: Answer.text(f"sync {request.json['model']}")) as (server, client):
        assert text_of((await client.request(**asking())).text) == "sync m"
        server.play(later)
        assert text_of((await client.request(**asking())).text) == "async m"
        server.play(broken)
        failed = await client.request(**asking())
        assert (failed.status_code, failed.headers["x-should-retry"]) == (500, "false")
        assert "LookupError: no such thing" in failed.json()["error"]["message"]
        server.play(lambda request: "text")  # type: ignore[arg-type, return-value]
        assert "not an Answer" in (await client.request(**asking())).json()["error"]["message"]
        server.play(limited)
        assert (await client.request(**asking())).status_code == 429


async def test_a_barrier_holds_the_stream() -> None:
    """Everything before a Wait has been sent when it is reached, and nothing after it before it is released."""
    gate, event = Wait(), asyncio.Event()
    async with (
        serving(Answer(["one", gate, " two", event, Wait(event), " three"])) as (_, client),
        client.stream(**asking()) as response,
    ):
        parts = response.aiter_text()
        got = ""
        while "one" not in got:
            got += await anext(parts)
        await gate.reached.wait()
        assert gate.reached.is_set()
        assert text_of(got) == "one"
        gate.release()
        while "two" not in got:
            got += await anext(parts)
        event.set()
        async for part in parts:
            got += part
    assert text_of(got) == "one two three"


async def test_pace_is_seconds_between_events() -> None:
    """A number, or a function of how many events were said; never before the first."""
    asked: list[int] = []

    def pace(count: int) -> float:
        asked.append(count)
        return 0.0

    assert text_of(await body_of(Answer(["a b c", Delay(0)], pace=pace))) == "a b c"
    assert asked == [1, 2, 3], "before b, c and the finish"
    assert text_of(await body_of(Answer.text("a b", pace=0.001))) == "a b"


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (Answer.error(status=429), 429, "rate_limit_exceeded"),
        (Answer.error(OverloadedError("busy", status=529)), 529, "server_is_overloaded"),
        (Answer(status=404), 404, "model_not_found"),
        (Answer(status=599), 599, None),
    ],
)
async def test_error_answers(answer: Answer, status: int, code: str | None) -> None:
    """Any status, typed or plain, in OpenAI's form."""
    async with serving(answer) as (_, client):
        response = await client.request(**asking())
    assert (response.status_code, response.json()["error"]["code"]) == (status, code)


async def test_headers_of_an_answer_win() -> None:
    """A wrong content type, a retry hint, any header: the script's word is the last."""
    for answer in (
        Answer.text("a", headers={"Content-Type": "text/html"}),
        Answer.raw(b"a", headers={"content-type": "text/html"}),
    ):
        async with serving(answer) as (_, client):
            assert (await client.request(**asking())).headers["content-type"] == "text/html"
    async with serving(Answer.error(status=429, message="slow", headers={"retry-after": "7"})) as (_, client):
        assert (await client.request(**asking())).headers["retry-after"] == "7"


async def test_an_error_event_is_in_band_or_a_status() -> None:
    """A StreamError is the last chunk of a stream, and the status of an answer that is not streamed."""
    answer = Answer(["some text", StreamError(OverloadedError("busy"))])
    assert said(await body_of(answer))[-1]["error"]["code"] == "server_is_overloaded"
    async with serving(answer) as (_, client):
        assert (await client.request(**asking(stream=False))).status_code == 503


async def test_raw_bodies_are_exact() -> None:
    """Bytes come as they are: whole with a content-length, or piece by piece as HTTP chunks with barriers between."""
    async with serving(Answer.raw(b"\xff\x00", content_type="x/y")) as (server, client):
        whole = await client.request(**asking())
        assert (whole.content, whole.headers["content-length"], whole.headers["content-type"]) == (
            b"\xff\x00",
            "2",
            "x/y",
        )
        gate = Wait()
        gate.release()
        server.play(Answer.raw([b"data: ", gate, b"[DONE]\n\n"]))
        pieces = await client.request(**asking())
        assert (pieces.content, pieces.headers["transfer-encoding"]) == (b"data: [DONE]\n\n", "chunked")


async def test_a_recorded_response_is_replayed_byte_for_byte() -> None:
    """Head included, with given cuts, for any method and path; then the connection ends."""
    recorded = b"HTTP/1.1 200 Fine\r\nX-Odd:  yes\r\ncontent-length: 5\r\n\r\nhello"
    async with Server(Answer.wire(recorded, cuts=[3, 40, 999]), any_path=True) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        writer.write(b"GET /v1/messages?key=k123 HTTP/1.1\r\nhost: x\r\n\r\n")
        assert await reader.read() == recorded
        writer.close()
        assert server.requests[0].path == "/v1/messages?key=k123"
        assert "k123" not in repr(server.requests[0])


# ---- faults


def address(server: Server) -> tuple[str, int]:
    url = httpx2.URL(server.base_url)
    assert url.port is not None
    return url.host, url.port


@pytest.mark.req("C1", "C3")
@pytest.mark.parametrize("events", [0, 2])
async def test_an_in_band_error_first_or_midway(events: int) -> None:
    """The error chunk replaces everything after so many words."""
    chunks = said(await body_of(Answer.text("one two three", faults=[ErrorAfter(events, ServerError("broken"))])))
    assert chunks[-1]["error"]["message"] == "broken"
    assert len(chunks) == (events and events + 1) + 1


@pytest.mark.parametrize("reset", [False, True])
async def test_a_cut_at_a_byte(reset: bool) -> None:
    """Exactly so many bytes of the body arrive, then the connection breaks, with FIN or RST."""
    plain = (await body_of(Answer.raw([b"0123456789", b"abcdef"]))).encode()
    for at in (0, 1, 10, 12, 16, 99):
        got = await until_broken(Answer.raw([b"0123456789", b"abcdef"], faults=[Cut(at, reset=reset)]))
        assert got == plain[:at]


async def test_a_cut_of_a_body_with_a_length() -> None:
    """The content-length still promises the whole."""
    async with serving(Answer.text("Hello there", faults=[Cut(9)])) as (_, client):
        with pytest.raises(httpx2.RemoteProtocolError, match="received 9 bytes, expected"):
            await client.request(**asking(stream=False))


async def test_a_truncated_chunk() -> None:
    """The connection ends inside an announced HTTP chunk, after all of the body, or earlier after a cut."""
    assert (await until_broken(Answer.raw([b"all"], faults=[TruncatedChunk()]))).startswith(b"all")
    assert (await until_broken(Answer.raw([b"all"], faults=[Cut(1), TruncatedChunk()]))).startswith(b"a")


@pytest.mark.req("H9")
async def test_a_stall_lasts_until_it_is_released() -> None:
    """Silence after so many words; what follows comes after the release."""
    gate = Wait()
    async with (
        serving(Answer.text("one two", faults=[Stall(1, until=gate)])) as (_, client),
        client.stream(**asking()) as response,
    ):
        parts = response.aiter_text()
        got = ""
        while "one" not in got:
            got += await anext(parts)
        await gate.reached.wait()
        gate.release()
        async for part in parts:
            got += part
    assert text_of(got) == "one two"


@pytest.mark.req("H10")
async def test_a_stall_with_keep_alive_comments() -> None:
    """Comments keep coming while nothing else does, and stop when the stall does."""
    gate = Wait()
    async with (
        serving(Answer.text("one two", faults=[Stall(1, until=gate, keep_alive=0.001)])) as (_, client),
        client.stream(**asking()) as response,
    ):
        got = ""
        async for part in response.aiter_text():
            got += part
            if got.count(": keep-alive\n\n") == 3:
                gate.release()
    assert text_of(got) == "one two"
    assert got.count(": keep-alive\n\n") >= 3


@pytest.mark.req("A11", "B2", "H1")
async def test_held_open_after_the_end() -> None:
    """Everything was said, nothing ends; the server sees when the client leaves."""
    async with serving(Answer.text("one", faults=[NoDone(), HoldOpen()])) as (server, client):
        async with client.stream(**asking()) as response:
            got = ""
            async for part in response.aiter_text():
                got += part
                if '"prompt_tokens"' in got:
                    break
            assert server.connections.open == 1
            left = asyncio.get_running_loop().time()
        assert 0 <= await server.wait_closed() - left < 0.05
        assert (server.connections.open, server.connections.closed) == (0, 1)
    assert "[DONE]" not in got


async def test_slow_headers() -> None:
    """Not a byte before the barrier opens."""
    gate = Wait()
    async with serving(Answer.text("one", faults=[SlowHeaders(gate)])) as (server, client):
        asked = asyncio.create_task(client.request(**asking()))
        assert (await server.wait_requests()).json["model"] == "m"
        await gate.reached.wait()
        assert not asked.done()
        gate.release()
        assert text_of((await asked).text) == "one"


@pytest.mark.req("A2", "A3")
@pytest.mark.parametrize("sizes", [1, [1, 2, 3], [10_000]])
async def test_split_writes(sizes: Any) -> None:
    """The same response in writes of any size; a client on this loop reads them one by one."""
    async with Server(Answer.raw(["é🎉".encode(), b"x"], faults=[Split(sizes)])) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        body = json.dumps({"model": "m", "messages": HELLO}).encode()
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b"
            % (len(body), body)
        )
        reads = []
        while part := await reader.read(65536):
            reads.append(part)
        writer.close()
    assert b"".join(reads).endswith(b"6\r\n\xc3\xa9\xf0\x9f\x8e\x89\r\n1\r\nx\r\n0\r\n\r\n")
    if sizes != [10_000]:
        assert max(map(len, reads)) <= 3


def test_split_refuses_sizes_that_are_none() -> None:
    """Zero bytes at a time would never end."""
    for sizes in (0, [], [3, 0]):
        with pytest.raises(ValueError, match="positive"):
            Split(sizes).apply(None)  # type: ignore[arg-type]


@pytest.mark.req("A4", "A7", "B1", "B11")
async def test_frames_inserted_and_left_out() -> None:
    """Malformed frames, comments, missing finish and [DONE], trailing bytes: each exactly where it was asked for."""
    body = await body_of(Answer.text("one two", faults=[Malformed(1, b"data: {oops\n\n")]))
    assert re.search(r'"one".*\n\ndata: \{oops\n\ndata: .*" two"', body)
    body = await body_of(Answer.text("one two", faults=[KeepAlive(before=2, between=1, interval=0.001, text="ping")]))
    assert body.startswith(": ping\n\n: ping\n\ndata: ")
    assert body.count(": ping\n\n") == 4
    body = await body_of(Answer.text("one", faults=[NoFinish(), KeepAlive(before=1)]))
    assert '"finish_reason":"' not in body
    assert said(body)[-1] == "[DONE]"
    assert said(body)[-2]["usage"]["completion_tokens"] == 1
    body = await body_of(Answer.text("one", faults=[NoDone(), Trailing(b"junk")]))
    assert body.endswith("}\n\njunk")
    assert "glued" not in body
    assert '"role":"adata: ' in await body_of(Answer.text("one", faults=[Malformed(0)]))
    assert "after the end" in (await body_of(Answer.text("one", faults=[Trailing()]))).partition("[DONE]")[2]


async def test_gzip_is_flushed_after_each_frame() -> None:
    """Each frame can be inflated when it arrives; a recorded response keeps its own headers."""
    gate = Wait()
    async with (
        serving(Answer(["one", gate, " two"], faults=[Gzip()])) as (_, client),
        client.stream(**asking()) as response,
    ):
        assert response.headers["content-encoding"] == "gzip"
        parts = response.aiter_text()
        got = ""
        while "one" not in got:
            got += await anext(parts)
        gate.release()
        got += "".join([part async for part in parts])
    assert text_of(got) == "one two"
    async with Server(Answer.wire(b"all of it", faults=[Gzip()])) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        body = json.dumps({"model": "m", "messages": HELLO}).encode()
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        assert gzip.decompress(await reader.read()) == b"all of it"
        writer.close()


# ---- routes and requests


async def test_routes() -> None:
    """Health, models, an unknown path and a wrong method answer as a real server does."""
    async with serving(Answer.text("a")) as (_, client):
        assert (await client.get(f"http://{client.base_url.netloc.decode()}/health")).json() == {"status": "ok"}
        models = (await client.get("models")).json()
        assert [model["id"] for model in models["data"]] == list(DEMO_MODELS)
        missing = await client.post("nothing", json={})
        assert (missing.status_code, missing.json()["error"]["message"]) == (404, "Invalid URL (POST /v1/nothing)")
        wrong = await client.get("chat/completions")
        assert (wrong.status_code, wrong.headers["allow"]) == (405, "POST")


@pytest.mark.parametrize(
    ("content", "part"),
    [
        (b"{", "parse the JSON"),
        (b"[]", "parse the JSON"),
        (b"[" * 100_000, "parse the JSON"),
        (b"{}", "model"),
        (b'{"model":"m"}', "messages"),
        (b'{"model":"m","messages":[]}', "messages"),
        (b'{"model":"m","messages":[{}]}', "messages"),
    ],
)
async def test_bad_requests_are_refused(content: bytes, part: str) -> None:
    """A body that no server would take is a 400 that says why."""
    async with serving(Answer.text("a")) as (_, client):
        response = await client.post("chat/completions", content=content)
    assert response.status_code == 400
    assert part in response.json()["error"]["message"]


async def test_credentials_are_recorded_and_not_shown() -> None:
    """A test can look at the key that was sent; the repr of a request never shows it."""
    async with serving(Answer.text("a")) as (server, client):
        await client.request(**asking(), headers={"authorization": "Bearer sk-secret", "x-api-key": "k-secret"})
    assert server.requests[0].headers["authorization"] == "Bearer sk-secret"
    assert "secret" not in repr(server.requests) + repr(server.connections)


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Two requests in one write get two responses, one after the other."""
    async with Server([Answer.raw(b"first"), Answer.raw(b"second")]) as server:
        reader, writer = await asyncio.open_connection(*address(server))
        body = json.dumps({"model": "m", "messages": HELLO}).encode()
        one = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        writer.write(one + one)
        got = b""
        while not got.endswith(b"second"):
            got += await reader.read(65536)
        assert got.index(b"first") < got.index(b"second")
        writer.close()


async def test_what_is_not_http_is_refused() -> None:
    """Garbage, and an upgrade to another protocol, get a 400 and the connection ends."""
    async with Server() as server:
        for data in (
            b"\x16\x03\x01 hello\r\n\r\n",
            b"GET / HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
        ):
            reader, writer = await asyncio.open_connection(*address(server))
            writer.write(data)
            assert b" 400 " in await reader.read()
            writer.close()


# ---- connections


async def test_connections_send_at_once() -> None:
    """Nagle's algorithm is off: a small event does not wait for the acknowledgement of the one before."""
    async with Server(Answer.text("a", faults=[HoldOpen()])) as server:
        _, writer = await asyncio.open_connection(*address(server))
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\n\r\n")
        await server.wait_requests()
        (connection,) = server._live
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        writer.close()


async def test_closing_ends_everything_at_once() -> None:
    """aclose() drops stalled connections, leaves no task, may be called twice, and the server can start again."""
    before = asyncio.all_tasks()
    server = await Server(Answer.text("a", faults=[Stall(0)])).start()
    with pytest.raises(RuntimeError, match="runs already"):
        await server.start()
    reader, writer = await asyncio.open_connection(*address(server))
    body = json.dumps({"model": "m", "messages": HELLO}).encode()
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
    await reader.readuntil(b"\r\n\r\n")
    await server.aclose()
    await server.aclose()
    assert asyncio.all_tasks() == before
    assert repr(server.connections) == "Connections(opened=1, open=0, closed=1)"
    with contextlib.suppress(ConnectionResetError):
        await reader.read()
    writer.close()
    async with server:
        assert server.base_url.startswith("http://127.0.0.1:")
    assert await server.wait_closed(0) == 0.0
    with pytest.raises(RuntimeError, match=r"before start"):
        _ = Server().base_url


async def test_a_connection_that_comes_while_closing_is_dropped() -> None:
    """What was accepted a moment before aclose() is not served any more."""

    class Accepted(asyncio.Transport):
        aborted = False

        def abort(self) -> None:
            self.aborted = True

    server = await Server().start()
    await server.aclose()
    transport = Accepted()
    _Connection(server).connection_made(transport)
    assert transport.aborted


@pytest.mark.parametrize(
    "fault", [Cut(60), Cut(60, reset=True), TruncatedChunk(), Stall(1), HoldOpen(), Split(1)], ids=repr
)
def test_under_uvloop(fault: Any) -> None:
    """The same server on uvloop's loop: answers, faults, and an end that leaves nothing."""
    uvloop = pytest.importorskip("uvloop")

    async def use() -> None:
        async with serving(Answer.text("one two", faults=[fault])) as (server, client):
            with contextlib.suppress(httpx2.RemoteProtocolError, httpx2.ReadError):
                async with client.stream(**asking()) as response:
                    async for part in response.aiter_text():
                        if "one" in part and isinstance(fault, Stall | HoldOpen):
                            break
        assert server.connections.open == 0
        assert asyncio.all_tasks() == {asyncio.current_task()}

    uvloop.run(use())


async def test_a_slow_reader_holds_the_server_back() -> None:
    """The server waits while the client does not read, and goes on when it does."""
    piece = b"x" * 1_000_000
    last = Wait()
    async with serving(Answer.raw([*[piece] * 20, last])) as (_, client), client.stream(**asking()) as response:
        parts = response.aiter_raw()
        size = len(await anext(parts))
        assert not last.reached.is_set()
        last.release()
        async for part in parts:
            size += len(part)
    assert size == 20_000_000


async def test_a_client_that_leaves_while_the_server_is_held_back() -> None:
    """The answer under way is given up at once."""
    async with serving(Answer.raw([b"x" * 1_000_000] * 20)) as (server, client):
        async with client.stream(**asking()) as response:
            await anext(response.aiter_raw())
        await server.wait_closed()
        assert not server._tasks


async def test_https() -> None:
    """With an SSL context the same server speaks TLS, faults included."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    script = [Answer.text("secret words"), Answer.text("cut", faults=[Cut(5, reset=True)])]
    async with (
        Server(script, ssl_context=context) as server,
        httpx2.AsyncClient(verify=trusting, trust_env=False) as client,
    ):
        assert server.base_url.startswith("https://")
        ask = {**asking(), "url": f"{server.base_url}/chat/completions"}
        assert text_of((await client.request(**ask)).text) == "secret words"
        with pytest.raises((httpx2.ReadError, httpx2.RemoteProtocolError)):
            await client.request(**ask)


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="no IPv6 here")
async def test_ipv6() -> None:
    """An IPv6 host is bracketed in the URL."""
    async with serving(Answer.text("six"), host="::1") as (server, client):
        assert server.base_url.startswith("http://[::1]:")
        assert text_of((await client.request(**asking())).text) == "six"


def test_the_server_runs_in_a_thread_for_blocking_code() -> None:
    """A sync client, barriers and waits work across threads and loops."""
    gate = Wait()
    with serve_in_thread(Answer(["one", gate, " two"])) as server:
        with httpx2.Client(base_url=server.base_url, trust_env=False) as client, client.stream(**asking()) as response:
            parts = response.iter_text()
            got = ""
            while "one" not in got:
                got += next(parts)
            asyncio.run(gate.reached.wait())
            gate.release()
            got += "".join(parts)
        asyncio.run(server.wait_closed())
    assert text_of(got) == "one two"


def test_the_fixture_serves_sync_tests(asyncllm_server: Server) -> None:
    """`asyncllm_server` runs the demo models until it is given a script."""
    asyncllm_server.play(Answer.text("from a fixture"))
    ask = {**asking(), "url": f"{asyncllm_server.base_url}/chat/completions"}
    assert text_of(httpx2.request(**ask, trust_env=False).text) == "from a fixture"


async def test_the_fixture_serves_async_tests(asyncllm_server: Server) -> None:
    """The same fixture in a test with a loop of its own, whose waits reach the server's loop."""
    async with httpx2.AsyncClient(base_url=asyncllm_server.base_url, trust_env=False) as client:
        assert (await client.get("models")).status_code == 200
    await asyncllm_server.wait_closed()


async def test_a_signal_forgets_a_waiter_that_was_cancelled() -> None:
    """Setting it later wakes nobody, and whoever waits then goes straight on."""
    event = Signal()
    waiting = asyncio.create_task(event.wait())
    other = asyncio.create_task(event.wait())
    await asyncio.sleep(0)
    waiting.cancel()
    event.set()
    await other
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await event.wait()
    assert not event._waiting


# ---- demo models


async def demo_reply(model: str, **body: object) -> dict[str, Any]:
    async with serving() as (_, client):
        response = await client.request(**asking(stream=False, model=model, **body))
        return response.json()  # type: ignore[no-any-return]


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The demo models without their pace."""
    monkeypatch.setattr("asyncllm.testing._demo.WORD_SECONDS", 0)
    monkeypatch.setattr("asyncllm.testing._demo.SLOW_SECONDS", 0)


WEATHER = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}


@pytest.mark.usefixtures("_quick")
@pytest.mark.parametrize("model", ["echo", "demo/echo", "demo/slow"])
async def test_demo_echo(model: str) -> None:
    """It says first that it is no model, then what the user said; its usage is marked as counted."""
    reply = await demo_reply(model, messages=[{"role": "user", "content": [{"type": "text", "text": "Hi you"}]}])
    assert reply["choices"][0]["message"]["content"] == "This is a demo, not a model. You said: Hi you"
    assert reply["usage"]["estimated"] is True


@pytest.mark.usefixtures("_quick")
async def test_demo_story_and_reason() -> None:
    """A fixed text; and reasoning before an answer."""
    assert "stream" in (await demo_reply("demo/story"))["choices"][0]["message"]["content"]
    message = (await demo_reply("demo/reason"))["choices"][0]["message"]
    assert "'Hi'" in message["reasoning_content"]
    assert message["content"].startswith("This is a demo")


@pytest.mark.usefixtures("_quick")
async def test_demo_tool() -> None:
    """It calls the first tool with arguments made from its schema, and answers with the result."""
    reply = await demo_reply("demo/tool", tools=[WEATHER])
    (call,) = reply["choices"][0]["message"]["tool_calls"]
    assert call["function"] == {"name": "weather", "arguments": '{"city":"demo"}'}
    history = [*HELLO, reply["choices"][0]["message"], {"role": "tool", "tool_call_id": call["id"], "content": "rain"}]
    assert (await demo_reply("demo/tool", tools=[WEATHER], messages=history))["choices"][0]["message"][
        "content"
    ].endswith("The tool said: rain")
    for tools in ({"tools": [WEATHER], "tool_choice": "none"}, {}, {"tools": ["odd"]}):
        assert "No tool" in (await demo_reply("demo/tool", **tools))["choices"][0]["message"]["content"]


@pytest.mark.usefixtures("_quick")
async def test_demo_error() -> None:
    """It fails midway through a stream, with an error that may be retried."""
    async with serving() as (_, client):
        chunks = said((await client.request(**asking(model="demo/error"))).text)
    assert len(chunks) > 2
    assert chunks[-1]["error"]["code"] == "overloaded"


@pytest.mark.usefixtures("_quick")
async def test_demo_limits_schemas_and_unknown_models() -> None:
    """max_tokens cuts, a JSON schema is satisfied, an unknown model is not found, a bad role is refused."""
    cut = (await demo_reply("demo/story", max_tokens=3))["choices"][0]
    assert (cut["message"]["content"], cut["finish_reason"]) == ("Once there was", "length")
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    made = await demo_reply(
        "demo/echo", response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}
    )
    assert json.loads(made["choices"][0]["message"]["content"]) == {"n": 1}
    assert (await demo_reply("demo/gpt"))["error"]["code"] == "model_not_found"
    assert "role" in (await demo_reply("demo/echo", messages=[{"role": "critic"}]))["error"]["message"]


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({}, {}),
        (
            {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "null"}}, "required": ["b"]},
            {"b": None},
        ),
        (
            {"properties": {"a": {"enum": ["x", "y"]}, "b": {"const": 3}, "c": {"default": []}}},
            {"a": "x", "b": 3, "c": []},
        ),
        ({"type": "array", "items": {"type": "number", "minimum": 2.5}, "minItems": 2}, [2.5, 2.5]),
        ({"type": ["boolean", "null"]}, True),
        ({"anyOf": [{"type": "string", "minLength": 6, "maxLength": 6}, {"type": "null"}]}, "demooo"),
        ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "integer", "maximum": 0}}}, 0),
        ({"properties": {"a": {}}}, {"a": "demo"}),
    ],
)
def test_examples_of_json_schemas(schema: dict[str, Any], value: object) -> None:
    """The usual parts of JSON Schema give a value that satisfies them."""
    assert example(schema) == value


def test_an_endless_schema_ends() -> None:
    """A schema that contains itself is followed only so deep."""
    assert '"next": null' in json.dumps(example({"properties": {"next": {"$ref": "#"}}}))


@pytest.mark.parametrize("text", ["", " ", "a", " a  b\n\nc ", "\n"])
def test_words_add_up(text: str) -> None:
    """The pieces of a text are the text."""
    assert "".join(words(text)) == text


async def test_a_demo_server_with_one_model() -> None:
    """demo_server() is started, and may answer with one model whatever is asked for."""
    server = await demo_server("demo/story")
    try:
        async with httpx2.AsyncClient(base_url=server.base_url, trust_env=False) as client:
            asked = asking(stream=False, model="gpt-5", max_tokens=1)
            assert (await client.request(**asked)).json()["choices"][0]["message"]["content"] == "Once"
    finally:
        await server.aclose()


# ---- command line, imports


async def test_the_command_serves_until_it_is_stopped(capsys: pytest.CaptureFixture[str]) -> None:
    """It prints its URL, serves, and is gone afterwards."""
    stop = asyncio.Event()
    stop.set()
    await serve("demo/echo", "127.0.0.1", 0, stop)
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/v1\nmodels: demo/echo .*\n", capsys.readouterr().out)


def test_the_command_takes_its_options(monkeypatch: pytest.MonkeyPatch) -> None:
    """Port, host and model reach the server; an unknown model is refused."""
    seen: list[object] = []

    async def fake(model: str | None, host: str, port: int, stop: asyncio.Event) -> None:
        seen.extend([model, host, port])
        raise KeyboardInterrupt

    monkeypatch.setattr("asyncllm.testing.__main__.serve", fake)
    assert main(["--port", "8081", "--model", "demo/echo"]) == 0
    assert seen == ["demo/echo", "127.0.0.1", 8081]
    with pytest.raises(SystemExit):
        main(["--model", "gpt"])


@pytest.mark.skipif(sys.platform == "win32", reason="Ctrl-C is another thing on Windows")
def test_python_m_ends_quietly_with_ctrl_c() -> None:
    """`python -m asyncllm.testing` serves a request and exits with 0, without a traceback, on SIGINT."""
    command = [sys.executable, "-m", "asyncllm.testing", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        url = process.stdout.readline().strip()
        assert httpx2.get(f"{url}/models", trust_env=False).status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.stderr.read() == ""
        assert process.wait(10) == 0


@pytest.mark.req("F6")
def test_the_pytest_plugin_imports_nothing() -> None:
    """Loading the plugin, as every pytest run does, loads neither the server nor any dependency of it."""
    heavy = "('httptools', 'httpx2', 'msgspec', 'anyio', 'asyncllm.events', 'asyncllm.testing._server')"
    code = f"import pytest, sys, asyncllm.testing.pytest_plugin; print([m for m in {heavy} if m in sys.modules])"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )


def test_every_public_name_is_there() -> None:
    """The lazy names are all importable, listed, and nothing else is."""
    for name in asyncllm.testing.__all__:
        assert getattr(asyncllm.testing, name) is not None
    assert dir(asyncllm.testing) == sorted(asyncllm.testing.__all__)
    assert set(asyncllm.testing._HOME) == set(asyncllm.testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = asyncllm.testing.nothing  # type: ignore[attr-defined]
