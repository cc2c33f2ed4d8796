"""Responses through the fast transport: framing, cuts, encodings, bounds."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import random
import zlib

import brotli
import httpx2
import pytest
from _rawserver import STREAM_END, STREAM_HEAD, RawConnection, answering, chunk, raw_server, response

from asyncllm.transports._http import FastTransport
from asyncllm.transports._http1_messages import MAX_HEADERS, IncomingResponse


async def fetch(wire: bytes, *parts: bytes, method: str = "GET", then: str = "stay") -> httpx2.Response:
    """What the client makes of `wire`; then the server stays, closes (`fin`) or resets (`rst`)."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(wire, *parts)
        if then == "fin":
            connection.close()
        elif then == "rst":
            connection.reset()

    async with raw_server(script) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        return await client.request(method, server.url)


async def body_and_error(wire: bytes, *, then: str = "fin") -> tuple[bytes, httpx2.TransportError | None]:
    """The bytes of a body that arrived, and what ended it."""
    received = b""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(wire)
        if then == "fin":
            connection.close()
        else:
            await go_on.wait()
            connection.reset()

    go_on = asyncio.Event()
    async with raw_server(script) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        try:
            async with client.stream("GET", server.url) as reply:
                async for data in reply.extensions["asyncllm_stream"]:
                    received += data
                    go_on.set()
        except httpx2.TransportError as exc:
            return received, exc
    return received, None


async def test_content_length() -> None:
    """A body of a declared length, with the status, reason, headers and version of its head."""
    reply = await fetch(b"HTTP/1.1 201 Made It\r\nX-One: 1  \r\nx-one: 2\r\nX-None:\r\nContent-Length: 3\r\n\r\nabc")
    assert (reply.status_code, reply.reason_phrase, reply.http_version) == (201, "Made It", "HTTP/1.1")
    assert reply.headers.get_list("x-one") == ["1", "2"]
    assert reply.headers["x-none"] == ""
    assert reply.content == b"abc"


async def test_chunked_with_extensions_and_trailers() -> None:
    """Chunk extensions and trailers are not part of the body, nor trailers of the headers."""
    reply = await fetch(STREAM_HEAD + b"3;name=value\r\nabc\r\n" + chunk(b"def") + b"0\r\nx-trailer: 1\r\n\r\n")
    assert reply.content == b"abcdef"
    assert "x-trailer" not in reply.headers


async def test_body_until_eof_is_complete_at_eof() -> None:
    """Without a length, the end of the connection is the end of the body."""
    reply = await fetch(b"HTTP/1.1 200 OK\r\n\r\nabc", b"def", then="fin")
    assert reply.content == b"abcdef"


async def test_http_1_0() -> None:
    """An HTTP/1.0 server is understood, and its version reported."""
    reply = await fetch(b"HTTP/1.0 200 OK\r\n\r\nold", then="fin")
    assert (reply.content, reply.http_version) == (b"old", "HTTP/1.0")


@pytest.mark.parametrize(
    ("method", "wire"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"),
    ],
)
async def test_responses_without_a_body(method: str, wire: bytes) -> None:
    """HEAD, 204 and 304 end with their head, whatever length it mentions, and the connection is reused."""
    async with raw_server(answering(wire)) as server, httpx2.AsyncClient(transport=FastTransport()) as client:
        for _ in range(2):
            assert (await client.request(method, server.url)).content == b""
        assert server.opened == 1


@pytest.mark.parametrize("separate", [True, False])
async def test_interim_responses_are_skipped(separate: bool) -> None:
    """100 and 103 come before the answer, in the same segment or not; their headers are not the answer's."""
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    reply = await fetch(interim, response(b"final")) if separate else await fetch(interim + response(b"final"))
    assert (reply.status_code, reply.reason_phrase, reply.content) == (200, "OK", b"final")
    assert "link" not in reply.headers


@pytest.mark.parametrize(
    ("encoding", "data"),
    [
        ("gzip", gzip.compress(b"hello " * 5000, mtime=0)),
        ("deflate", zlib.compress(b"hello " * 5000)),
        ("br", brotli.compress(b"hello " * 5000)),
    ],
)
async def test_content_encodings(encoding: str, data: bytes) -> None:
    """gzip, deflate and br are undone by httpx2, whatever the cuts."""
    head = STREAM_HEAD[:-2] + b"content-encoding: %b\r\n\r\n" % encoding.encode()
    reply = await fetch(head, *[chunk(data[i : i + 7]) for i in range(0, len(data), 7)], STREAM_END)
    assert reply.content == b"hello " * 5000


async def test_compressed_stream_is_decoded_as_it_arrives() -> None:
    """Each flushed part of a gzip stream reaches the reader before the next is sent."""
    packer = zlib.compressobj(wbits=31)
    seen = asyncio.Event()

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(STREAM_HEAD[:-2] + b"content-encoding: gzip\r\n\r\n")
        for word in (b"one", b"two"):
            await connection.send(chunk(packer.compress(word) + packer.flush(zlib.Z_SYNC_FLUSH)))
            await seen.wait()
            seen.clear()
        await connection.send(chunk(packer.flush()) + STREAM_END)

    async with (
        raw_server(script) as server,
        httpx2.AsyncClient(transport=FastTransport()) as client,
        asyncio.timeout(5),
        client.stream("GET", server.url) as reply,
    ):
        words = []
        async for data in reply.aiter_bytes():
            if data:
                words.append(data)
                seen.set()
    assert words == [b"one", b"two"]


WIRE = (
    b"HTTP/1.1 100 Continue\r\n\r\n"
    b"HTTP/1.1 200 Fine Thanks\r\nx-a: 1\r\nx-b: two words\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(chunk(b"data: %d\n\n" % i) for i in range(20))
    + b"0\r\nx-trailer: 1\r\n\r\n"
)
WIRE_BODY = b"".join(b"data: %d\n\n" % i for i in range(20))


def parse(parts: list[bytes]) -> tuple[object, ...]:
    incoming = IncomingResponse()
    for part in parts:
        incoming.feed(part)
    return incoming.status, incoming.reason, incoming.headers, b"".join(incoming.chunks), incoming.complete


def cut(data: bytes, at: list[int]) -> list[bytes]:
    edges = [0, *sorted(at), len(data)]
    return [data[i:j] for i, j in itertools.pairwise(edges) if i < j]


@pytest.mark.req("H17")
def test_cuts_do_not_matter() -> None:
    """The same response whole, byte by byte, and cut anywhere."""
    whole = parse([WIRE])
    assert whole[0] == 200
    assert whole[3:] == (WIRE_BODY, True)
    assert parse([WIRE[i : i + 1] for i in range(len(WIRE))]) == whole
    rng = random.Random(20261121)
    for _ in range(300):
        assert parse(cut(WIRE, [rng.randrange(len(WIRE)) for _ in range(rng.randrange(1, 12))])) == whole


async def test_byte_by_byte_over_a_socket() -> None:
    """The same through the socket, a segment per byte."""
    reply = await fetch(*[WIRE[i : i + 1] for i in range(len(WIRE))])
    assert (reply.reason_phrase, reply.headers["x-b"], reply.content) == ("Fine Thanks", "two words", WIRE_BODY)


@pytest.mark.parametrize("wire", [WIRE, response(b"x" * 50), response(b"", b"x-long: " + b"y" * 100)])
def test_truncated_anywhere_is_an_error(wire: bytes) -> None:
    """No prefix of a response passes for the response: EOF in it is an error, and bytes before it are kept."""
    whole = parse([wire])
    for end in range(len(wire)):
        incoming = IncomingResponse()
        incoming.feed(wire[:end])
        incoming.feed_eof()
        assert not incoming.complete
        assert isinstance(incoming.error, httpx2.RemoteProtocolError)
        assert whole[3].startswith(b"".join(incoming.chunks))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("wire", "body", "message"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", b"abc", "fewer than the 10 bytes"),
        (STREAM_HEAD + chunk(b"abc"), b"abc", "incomplete chunked read"),
        (STREAM_HEAD + chunk(b"abc") + b"5\r\nde", b"abcde", "incomplete chunked read"),
        (STREAM_HEAD + chunk(b"abc") + b"0\r\n", b"abc", "incomplete chunked read"),
        (STREAM_HEAD + chunk(b"abc") + b"zz\r\n", b"abc", "invalid HTTP response"),
    ],
)
async def test_cut_body_bytes_first_error_after(wire: bytes, body: bytes, message: str) -> None:
    """What arrived before a cut or a syntax error is delivered; then the error is raised, naming the request."""
    received, error = await body_and_error(wire)
    assert received == body
    assert isinstance(error, httpx2.RemoteProtocolError)
    assert message in str(error)
    assert error.request.method == "GET"


async def test_reset_in_the_body_is_a_read_error() -> None:
    """RST in the middle of a body: the bytes before it, then ReadError."""
    received, error = await body_and_error(STREAM_HEAD + chunk(b"abc"), then="rst")
    assert received == b"abc"
    assert isinstance(error, httpx2.ReadError)


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        (b"", "without sending a response"),
        (b"HTTP/1.1 200 OK\r\ncontent-le", "in the middle of the response head"),
        (b"SSH-2.0-OpenSSH\r\n", "invalid HTTP response"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", "invalid HTTP response"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n", "invalid HTTP response"),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", "switched protocols"),
    ],
)
async def test_bad_heads(wire: bytes, message: str) -> None:
    """A head that is missing, cut, ambiguous or not HTTP raises RemoteProtocolError at the request."""
    with pytest.raises(httpx2.RemoteProtocolError, match=message) as caught:
        await fetch(wire, then="fin")
    assert caught.value.request.method == "GET"


FIRST = b"\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n"
"""The rest of a head, and a body that begins in the same read."""


def endless(piece: bytes, times: int) -> list[bytes]:
    return [piece] * times


@pytest.mark.parametrize(
    ("wire", "message"),
    [
        ([b"HTTP/1.1 200 OK\r\n", *endless(b"x-filler: " + b"f" * 990 + b"\r\n", 70)], "65536 bytes of headers"),
        ([b"HTTP/1.1 200 OK\r\n" + b"x-filler: " + b"f" * 70000 + b"\r\n\r\n"], "65536 bytes of headers"),
        ([b"HTTP/1.1 200 OK\r\nx-one: ", *endless(b"f" * 1000, 70)], "65536 bytes of headers"),
        ([b"HTTP/1.1 200 OK\r\n", *endless(b"a: b\r\n", MAX_HEADERS + 2)], "256 headers"),
        (endless(b"HTTP/1.1 100 Continue\r\n\r\n", 3000), "65536 bytes of headers"),
        ([STREAM_HEAD + b"0\r\n", *endless(b"x-trailer: " + b"t" * 990 + b"\r\n", 70)], "65536 bytes of headers"),
        ([STREAM_HEAD + b"0\r\nx-trailer: ", *endless(b"t" * 1000, 70)], "65536 bytes of headers"),
        ([STREAM_HEAD + b"0\r\n", *endless(b"a: b\r\n", MAX_HEADERS + 2)], "256 headers"),
        ([STREAM_HEAD + b"5;", *endless(b"e" * 1000, 70)], "65536 bytes of headers"),
        ([b"HTTP/1.1 200 OK\r\nx-filler: " + b"f" * 70000 + FIRST], "65536 bytes of headers"),
        (
            [b"HTTP/1.1 103 Early\r\nlink: " + b"l" * 70000 + b"\r\n\r\nHTTP/1.1 200 OK" + FIRST],
            "65536 bytes of headers",
        ),
        ([b"HTTP/1.1 200 OK" + FIRST + b"0\r\nx-trailer: " + b"t" * 70000 + b"\r\n\r\n"], "65536 bytes of headers"),
    ],
    ids=[
        "headers",
        "one-read",
        "one-header",
        "count",
        "interim",
        "trailers",
        "one-trailer",
        "trailer-count",
        "extension",
        "head-and-body",
        "interim-and-body",
        "body-and-trailers",
    ],
)
def test_what_the_peer_controls_is_bounded(wire: list[bytes], message: str) -> None:
    """Headers, trailers, interim responses and chunk extensions without end are cut off."""
    incoming = IncomingResponse()
    for part in wire:
        incoming.feed(part)
    assert isinstance(incoming.error, httpx2.RemoteProtocolError)
    assert message in str(incoming.error)


async def test_header_limit_is_configurable_and_closes_the_connection() -> None:
    """`max_header_bytes` is the transport's, and a head above it costs the server its connection."""
    wire = response(b"ok", b"x-long: " + b"y" * 1000)
    async with (
        raw_server(answering(wire)) as server,
        httpx2.AsyncClient(transport=FastTransport(max_header_bytes=500)) as client,
    ):
        with pytest.raises(httpx2.RemoteProtocolError, match="more than 500 bytes"):
            await client.get(server.url)
        await server.connections[0].gone()
