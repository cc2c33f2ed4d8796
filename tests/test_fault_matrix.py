"""The fault matrix: thirteen things real servers do that break clients. All pass through the whole client, over a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from _rawserver import RawConnection, raw_server
from _replay import DONE, ROLE, STOP, chunk_of, http, replaying, said, sse, text

from asyncllm import (
    Client,
    IncompleteStreamError,
    LLMError,
    OverloadedError,
    Reply,
    Retrying,
    RetryPolicy,
    ServerError,
    check_order,
)

pytestmark = pytest.mark.parametrize("step", [None, 1], ids=["whole", "by-byte"])


@asynccontextmanager
async def client_of(body: bytes, step: int | None, **options: Any) -> AsyncIterator[Client]:
    async with replaying(http(body), step=step) as base_url:
        async with Client("openai-compatible/m", base_url=base_url, retry=0, timeout=20, **options) as client:
            yield client


async def reply_to(body: bytes, step: int | None) -> Reply[object]:
    async with client_of(body, step) as client, client.stream("Hi") as stream:
        check_order([event async for event in stream.as_events()])
        return await stream.reply()


async def error_of(body: bytes, step: int | None) -> LLMError:
    async with client_of(body, step) as client:
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi")
    return caught.value


def tool(arguments: str | None = None, **fields: Any) -> dict[str, Any]:
    function = {
        name: value
        for name, value in (("name", fields.pop("name", None)), ("arguments", arguments))
        if value is not None
    }
    return {**fields, "function": function}


@pytest.mark.req("C1")
async def test_1_in_band_error_midway(step: int | None) -> None:
    """An error in the middle of a 200 is the class that the HTTP status would have been, with what was received."""
    error = await error_of(
        sse(ROLE, text("Hel"), {"error": {"message": "Overloaded", "code": 529, "type": "overloaded_error"}}), step
    )
    assert type(error) is OverloadedError
    assert error.retryable
    assert error.partial is not None
    assert error.partial.text == "Hel"


@pytest.mark.req("C3")
async def test_2_in_band_error_first_is_retried(step: int | None) -> None:
    """An error before any content of a 200 is retried like a 503, visibly, and the second answer is whole."""
    bodies = [sse(ROLE, {"error": {"message": "busy", "code": 503}}), said("Hello")]

    async def script(connection: RawConnection) -> None:
        await connection.request()
        answer = http(bodies.pop(0))
        size = step or len(answer)
        await connection.send(*(answer[at : at + size] for at in range(0, len(answer), size)))
        connection.close()

    async with raw_server(script) as server:
        policy = RetryPolicy(tries=1, base=0.001)
        async with Client("openai-compatible/m", base_url=server.url, retry=policy) as client:
            stream = await client.stream("Hi")
            events = [event async for event in stream]
    check_order(events)
    assert isinstance(events[0], Retrying)
    assert isinstance(events[0].error, OverloadedError)
    assert (await stream.reply()).text == "Hello"
    assert bodies == []


@pytest.mark.req("C2", "B7")
async def test_3_openrouter_error_chunk(step: int | None) -> None:
    """A normal-looking choice with finish_reason "error" beside a top-level error is an error, and retryable."""
    broken = {
        **chunk_of({"content": ""}, "error"),
        "error": {"code": 502, "message": "Provider disconnected unexpectedly"},
    }
    error = await error_of(sse(": OPENROUTER PROCESSING\n\n", ROLE, text("Hi"), broken, DONE), step)
    assert type(error) is ServerError
    assert error.retryable
    assert error.message == "Provider disconnected unexpectedly"


@pytest.mark.req("A1")
async def test_4_line_separators_in_text(step: int | None) -> None:
    """U+2028 and U+0085 are characters, not line ends."""
    assert (await reply_to(said("x\u2028y\u0085z"), step)).text == "x\u2028y\u0085z"


@pytest.mark.req("B1")
async def test_5_eof_without_finish(step: int | None) -> None:
    """A clean end of the bytes without a finish_reason is not an end of the answer."""
    error = await error_of(sse(ROLE, text("Hel")), step)
    assert type(error) is IncompleteStreamError
    assert error.partial is not None
    assert (error.partial.text, error.partial.finish_reason) == ("Hel", None)


@pytest.mark.req("A4")
async def test_6_comments(step: int | None) -> None:
    """Keep-alive comments are nothing."""
    body = sse(": keep-alive\n\n", ROLE, ": OPENROUTER PROCESSING\n\n", text("ok"), ":\n\n", STOP, DONE)
    assert (await reply_to(body, step)).text == "ok"


@pytest.mark.req("D1")
async def test_7_tool_delta_without_index(step: int | None) -> None:
    """Two calls told apart by their ids alone."""
    first = chunk_of({"tool_calls": [tool('{"a":1}', id="c1", name="f")]})
    second = chunk_of({"tool_calls": [tool("{}", id="c2", name="g")]})
    reply = await reply_to(sse(ROLE, first, second, chunk_of({}, "tool_calls"), DONE), step)
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        ("c1", "f", {"a": 1}),
        ("c2", "g", {}),
    ]


@pytest.mark.req("D2")
async def test_8_two_ids_at_index_zero(step: int | None) -> None:
    """The same index with a new id and name is another call."""
    first = chunk_of({"tool_calls": [tool('{"x":1}', index=0, id="c1", name="f")]})
    second = chunk_of({"tool_calls": [tool('{"y":2}', index=0, id="c2", name="g")]})
    reply = await reply_to(sse(ROLE, first, second, chunk_of({}, "tool_calls"), DONE), step)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("f", {"x": 1}), ("g", {"y": 2})]


@pytest.mark.req("D4")
async def test_9_name_repeated(step: int | None) -> None:
    """The full name in every delta is one name."""
    deltas = [
        chunk_of({"tool_calls": [tool(part, index=0, id="c1", name="read")]}) for part in ('{"p', 'ath":', '"a"}')
    ]
    reply = await reply_to(sse(ROLE, *deltas, chunk_of({}, "tool_calls"), DONE), step)
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("read", {"path": "a"})]


@pytest.mark.req("F1")
async def test_10_cumulative_usage(step: int | None) -> None:
    """Usage on every chunk is a running total: the last counts, nothing is added up."""
    usages = [{"prompt_tokens": 5, "completion_tokens": made, "total_tokens": 5 + made} for made in (1, 2, 3)]
    chunks = [chunk_of({"content": "a"}, usage=usage) for usage in usages]
    reply = await reply_to(sse(ROLE, *chunks, chunk_of({}, "stop", usage=usages[-1]), DONE), step)
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 3)


@pytest.mark.req("G1", "F3")
async def test_11_empty_choices(step: int | None) -> None:
    """Azure's filter chunk first, the usage chunk last: neither has a choice."""
    azure = {
        "id": "",
        "object": "",
        "created": 0,
        "model": "",
        "choices": [],
        "prompt_filter_results": [{"prompt_index": 0}],
    }
    usage = {**chunk_of(), "choices": [], "usage": {"prompt_tokens": 4, "completion_tokens": 1, "total_tokens": 5}}
    reply = await reply_to(sse(azure, ROLE, text("ok"), STOP, usage, DONE), step)
    assert reply.text == "ok"
    assert reply.usage is not None
    assert reply.usage.total_tokens == 5


@pytest.mark.req("E1")
async def test_12_reasoning_in_both_fields(step: int | None) -> None:
    """`reasoning` and `reasoning_content` with the same text are one thought, said once."""
    both = [chunk_of({"reasoning": part, "reasoning_content": part}) for part in ("Let me ", "think")]
    reply = await reply_to(sse(ROLE, *both, chunk_of({"reasoning": "."}), text("ok"), STOP, DONE), step)
    assert (reply.reasoning, reply.text) == ("Let me think.", "ok")


@pytest.mark.req("G2")
async def test_13_delta_null(step: int | None) -> None:
    """`delta: null` says nothing and breaks nothing."""
    null = {**chunk_of(), "choices": [{"index": 0, "delta": None, "finish_reason": None}]}
    assert (await reply_to(sse(ROLE, null, text("ok"), null, STOP, DONE), step)).text == "ok"
