"""The embedded server's scripts: what an Answer says, and when."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from _serving import address, asking, body_of, said, serving, text_of

from asyncllm.events import (
    Finish,
    OverloadedError,
    RateLimitError,
    ReasoningDelta,
    StreamError,
    TextDelta,
    ToolCall,
    Usage,
)
from asyncllm.testing import (
    Answer,
    Delay,
    ReceivedRequest,
    Server,
    Wait,
)


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
