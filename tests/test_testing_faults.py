"""The embedded server's faults: byte-level ways in which real servers fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import re
from typing import Any

import httpx2
import pytest
from _serving import HELLO, address, asking, body_of, said, serving, text_of, until_broken

from asyncllm.events import (
    ServerError,
)
from asyncllm.testing import (
    Answer,
    Cut,
    ErrorAfter,
    Gzip,
    HoldOpen,
    KeepAlive,
    Malformed,
    NoDone,
    NoFinish,
    Server,
    SlowHeaders,
    Split,
    Stall,
    Trailing,
    TruncatedChunk,
    Wait,
)


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
