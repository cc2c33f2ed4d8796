"""`litellm/...`: the real package, streaming from the embedded server. It lives in an environment of its own:
`make test-litellm` makes one and runs this file in it."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")  # importing it would look for prices in the network
litellm = pytest.importorskip("litellm", reason="litellm is not installed here (it cannot be): make test-litellm")

from asyncllm import (  # noqa: E402
    AuthenticationError,
    BillingError,
    Client,
    ConnectionFailedError,
    ContentBlockedError,
    ContextLengthExceededError,
    FirstTokenTimeout,
    IncompleteStreamError,
    InterTokenTimeout,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    Message,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ReasoningDelta,
    ServerError,
    Timeout,
    Tool,
    ToolCallDelta,
    ToolResult,
    Usage,
    check_order,
)
from asyncllm.backends import _litellm  # noqa: E402
from asyncllm.testing import (  # noqa: E402
    Answer,
    ErrorAfter,
    NoDone,
    NoFinish,
    Server,
    SlowHeaders,
    Split,
    Stall,
    TruncatedChunk,
    Wait,
)

pytestmark = [
    pytest.mark.req("seed-A14"),
    # LiteLLM's own, and those of what it uses
    pytest.mark.filterwarnings("default"),
]

WEATHER = Tool("weather", "", {"type": "object", "properties": {"city": {"type": "string"}}})


@asynccontextmanager
async def asking(script: Any = None, model: str = "openai/m", **options: Any) -> AsyncIterator[tuple[Client, Server]]:
    async with Server(script) as server:
        given = {"retry": 0, "timeout": 20, "api_key": "sk-test", "base_url": server.base_url, **options}
        async with Client(f"litellm/{model}", **given) as client:
            yield client, server


async def error_of(answer: Answer, **options: Any) -> LLMError:
    async with asking(answer, **options) as (client, server):
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi")
        assert len(server.requests) == 1  # its retries are off
        return caught.value


async def test_an_answer_streams() -> None:
    """Reasoning, text and usage in a legal order, and the request is what any chat server gets."""
    answer = Answer([ReasoningDelta("hm"), "Hello there", Usage(input_tokens=3, output_tokens=2, cache_read_tokens=1)])
    async with asking(answer, extra_headers={"x-mine": "1"}) as (client, server):
        stream = await client.stream("Hi", max_tokens=9, temperature=0.5, extra_body={"top_k": 3}, system="S")
        events = [event async for event in stream]
        check_order(events)
        reply = await stream.reply()
    assert (reply.reasoning, reply.text, reply.finish_reason, reply.backend) == ("hm", "Hello there", "stop", "litellm")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cache_read_tokens) == (3, 2, 1)
    assert not reply.usage.estimated
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer sk-test"
    assert request.headers["x-mine"] == "1"
    assert {name: request.json[name] for name in ("model", "max_tokens", "temperature", "top_k", "stream")} == {
        "model": "m",
        "max_tokens": 9,
        "temperature": 0.5,
        "top_k": 3,
        "stream": True,
    }
    assert [message["role"] for message in request.json["messages"]] == ["system", "user"]


async def test_a_tool_exchange() -> None:
    """A call in fragments, its result, the answer."""
    script = [Answer(["Looking.", *Answer.tool_call("weather", {"city": "Oslo"}).events]), Answer.text("It rains.")]
    async with asking(script) as (client, server):
        async with client.stream("Rain?", tools=[WEATHER], tool_choice="weather") as stream:
            fragments = [event.arguments async for event in stream if isinstance(event, ToolCallDelta)]
            first = await stream.reply()
        (call,) = first.tool_calls
        assert (call.id, call.name, call.arguments) == ("call_1", "weather", {"city": "Oslo"})
        assert "".join(fragments) == '{"city":"Oslo"}'
        assert first.finish_reason == "tool_calls"
        result = Message("tool", [ToolResult(call.id, call.name, "rain")])
        assert (await client.complete([*first.messages, result], tools=[WEATHER])).text == "It rains."
    assert [message["role"] for message in server.requests[1].json["messages"]] == ["user", "assistant", "tool"]


async def test_structured_output() -> None:
    """The schema goes as response_format; the answer is a typed object."""

    @dataclass
    class City:
        name: str

    async with asking(Answer.text('{"name":"Oslo"}')) as (client, server):
        reply = await client.complete("A city", output=City)
    assert reply.output == City("Oslo")
    assert server.requests[0].json["response_format"]["type"] == "json_schema"


async def test_an_answer_that_is_not_streamed() -> None:
    """Switched off in the extra body: one completion, the same events."""
    async with asking(Answer.text("Hello there")) as (client, server):
        reply = await client.complete("Hi", extra_body={"stream": False})
        assert not server.requests[0].json.get("stream")
    assert (reply.text, reply.finish_reason) == ("Hello there", "stop")
    assert reply.usage is not None


async def test_usage_that_nobody_reported_is_marked() -> None:
    """LiteLLM counts with its own tokenizer where the provider says nothing."""
    async with asking(Answer.text("one two", count_usage=False)) as (client, _):
        reply = await client.complete("Hi")
    assert reply.usage is not None
    assert reply.usage.estimated


@pytest.mark.req("B1")
@pytest.mark.parametrize(
    "faults", [[NoFinish(), NoDone()], [NoFinish()], [NoFinish(), NoDone(), TruncatedChunk()]], ids=repr
)
async def test_a_cut_is_a_cut(faults: Any) -> None:
    """LiteLLM says "stop" where the stream just ended; we do not."""
    error = await error_of(Answer.text("one two", faults=faults))
    assert isinstance(error, IncompleteStreamError)
    assert error.partial is not None
    assert error.partial.text == "one two"


@pytest.mark.parametrize("faults", [[Split(1)], [Split([3, 1, 50])]], ids=repr)
async def test_harmless_faults_change_nothing(faults: Any) -> None:
    """Whatever the reads are."""
    async with asking(Answer.text("Grüße 🎉 you", faults=faults)) as (client, _):
        assert (await client.complete("Hi")).text == "Grüße 🎉 you"


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(
    "error",
    [
        RateLimitError("slow"),
        BillingError("no credit"),
        BillingError("no credit", status=402),
        AuthenticationError("who"),
        PermissionDeniedError("no"),
        NotFoundError("no such model"),
        InvalidRequestError("bad"),
        InvalidRequestError("bad", status=422),
        ContextLengthExceededError("too long"),
        ContentBlockedError("unsafe"),
        ServerError("broken"),
        ServerError("broken", status=502),
        OverloadedError("busy"),
        OverloadedError("busy", status=529),
        LLMTimeoutError("late"),
    ],
    ids=lambda error: f"{type(error).__name__}-{error.status}",
)
async def test_errors_of_the_provider(error: LLMError) -> None:
    """The class that the same HTTP answer has without LiteLLM, with its words."""
    got = await error_of(Answer.error(error))
    assert type(got) is type(error)
    assert (got.message, got.provider, got.model) == (error.message, "litellm", "openai/m")
    assert got.retryable == error.default_retryable


@pytest.mark.req("H11", "seed-C")
async def test_hints_come_through() -> None:
    """How long to wait, and the request's id, from the headers of the answer."""
    got = await error_of(Answer.error(RateLimitError("slow", retry_after=3.5, request_id="req_1")))
    assert (got.retry_after, got.request_id, got.status, got.code) == (3.5, "req_1", 429, "rate_limit_exceeded")


@pytest.mark.req("C1", "C3")
@pytest.mark.parametrize("after", [0, 1])
async def test_errors_inside_the_stream(after: int) -> None:
    """Their real class, where LiteLLM has one wrapper for all; what was received is kept."""
    got = await error_of(Answer.text("one two", faults=[ErrorAfter(after, OverloadedError("busy", retry_after=2))]))
    assert type(got) is OverloadedError
    assert (got.message, got.retry_after, got.retryable) == ("busy", 2.0, True)
    assert got.partial is not None
    assert got.partial.text == "one" * after


async def test_nobody_there() -> None:
    """A connection that cannot be made."""
    async with Server() as server:
        gone = server.base_url
    async with Client("litellm/openai/m", base_url=gone, api_key="k", retry=0) as client:
        with pytest.raises(ConnectionFailedError):
            await client.complete("Hi")


async def test_what_litellm_refuses_itself() -> None:
    """No such provider; a parameter that the provider does not know: before anything is sent."""
    async with asking(model="hologram/m", base_url=None) as (client, server):
        with pytest.raises(InvalidRequestError):
            await client.complete("Hi")
        assert server.requests == []


@pytest.mark.req("H3")
async def test_leaving_early_closes_the_connection() -> None:
    """At the first word."""
    async with asking(Answer.text("one two three", faults=[Stall(1)])) as (client, server):
        async with client.stream("Hi") as stream:
            async for text in stream.text:
                assert text == "one"
                break
        async with asyncio.timeout(5):
            await server.wait_closed()


@pytest.mark.req("H1")
async def test_cancelling_closes_the_connection() -> None:
    """Before the first word, and after it."""
    for faults in ([SlowHeaders(Wait())], [Stall(1)]):
        async with asking(Answer.text("one two", faults=faults)) as (client, server):
            task = asyncio.create_task(client.complete("Hi"))
            await server.wait_requests()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            async with asyncio.timeout(5):
                await server.wait_closed()


@pytest.mark.req("H9")
@pytest.mark.parametrize(
    ("fault", "limits", "kind"),
    [
        (Stall(1), Timeout(inter_token=0.1), InterTokenTimeout),
        (SlowHeaders(Wait()), Timeout(first_token=0.5), FirstTokenTimeout),
        (SlowHeaders(Wait()), Timeout(idle=0.2), LLMTimeoutError),
    ],
)
async def test_a_silent_server_times_out(fault: Any, limits: Timeout, kind: type[LLMError]) -> None:
    """Our limits, and LiteLLM's own from ours."""
    got = await error_of(Answer.text("one two", faults=[fault]), timeout=limits)
    assert type(got) is kind


async def test_options_are_keywords_of_litellm() -> None:
    """Whatever acompletion knows; what is ours is refused."""
    async with asking(Answer.text("Hi"), organization="org-1") as (client, server):
        await client.complete("Hi")
        assert server.requests[0].headers["openai-organization"] == "org-1"
    with pytest.raises(InvalidRequestError, match="stream cannot be a backend option"):
        Client("litellm/openai/m", stream=False)


async def test_keys_come_from_where_litellm_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider's own variable, or a provider of tokens of ours, asked for each request."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-env")
    async with asking(Answer.text("Hi"), api_key=None) as (client, server):
        await client.complete("Hi")
        assert server.requests[0].headers["authorization"] == "Bearer sk-env"
    async with asking(Answer.text("Hi"), api_key=None, token_provider=lambda: "fresh") as (client, server):
        await client.complete("Hi")
        assert server.requests[0].headers["authorization"] == "Bearer fresh"


@pytest.mark.req("H15")
async def test_the_import_is_off_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes seconds. The variable that keeps it from the network is set, and one that is set already is left alone."""
    threads: list[int] = []

    def load() -> Any:
        threads.append(threading.get_ident())
        return litellm

    with monkeypatch.context() as patch:
        patch.setattr(_litellm, "_load", load)
        async with asking(Answer.text("Hi")) as (client, _):
            await client.complete("Hi")
    assert threading.get_ident() not in threads
    assert threads
    monkeypatch.delenv("LITELLM_LOCAL_MODEL_COST_MAP", raising=False)
    assert _litellm._load() is litellm
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "True"
    monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "False")
    _litellm._load()
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "False"


async def test_a_second_loop() -> None:
    """A client may be used under one loop after another (LiteLLM keeps its connections by loop)."""

    async def ask() -> str:
        async with asking(Answer.text("Hi")) as (client, _):
            return (await client.complete("Hi")).text

    assert await asyncio.to_thread(lambda: [asyncio.run(ask()) for _ in range(2)]) == ["Hi", "Hi"]


@pytest.mark.req("E3", "E6")
async def test_signed_thinking_goes_back_as_it_came() -> None:
    """Claude through LiteLLM: blocks of thinking, whole and signed, are in the next request, byte for byte."""
    deltas: list[dict[str, Any]] = [
        {"type": "thinking_delta", "thinking": "Rain"},
        {"type": "thinking_delta", "thinking": "?"},
        {"type": "signature_delta", "signature": "c2ln"},
    ]
    events: list[dict[str, Any]] = [
        {
            "type": "message_start",
            "message": {
                "id": "msg_1",
                "type": "message",
                "role": "assistant",
                "model": "claude",
                "content": [],
                "usage": {"input_tokens": 3, "output_tokens": 1},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {
            "type": "content_block_start",
            "index": 1,
            "content_block": {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {}},
        },
        {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": "{}"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 9}},
        {"type": "message_stop"},
    ]
    body = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
    async with Server(Answer.raw(body), any_path=True) as server:
        root = server.base_url.removesuffix("/v1")
        options: Any = {"api_key": "k", "base_url": root, "retry": 0, "timeout": 20, "max_tokens": 2000}
        async with Client("litellm/anthropic/claude-sonnet-4-5", **options) as client:
            first = await client.complete("Rain?", tools=[WEATHER], reasoning="low")
            (call,) = first.tool_calls
            result = Message("tool", [ToolResult(call.id, call.name, "rain")])
            await client.complete([*first.messages, result], tools=[WEATHER], reasoning="low")
    assert (first.reasoning, first.finish_reason) == ("Rain?", "tool_calls")
    assert first.usage is not None
    assert (first.usage.input_tokens, first.usage.output_tokens) == (3, 9)
    turn = server.requests[1].json["messages"][1]
    assert turn["content"][0] == {"type": "thinking", "thinking": "Rain?", "signature": "c2ln"}
    assert turn["content"][1]["type"] == "tool_use"


@pytest.mark.req("seed-C", "C4")
@pytest.mark.parametrize(
    ("status", "type_", "message", "kind"),
    [
        (529, "overloaded_error", "busy", OverloadedError),
        (429, "rate_limit_error", "slow", RateLimitError),
        (401, "authentication_error", "who", AuthenticationError),
        (400, "invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", ContextLengthExceededError),
        (200, "overloaded_error", "busy", ServerError),
    ],
)
async def test_errors_of_another_handler(status: int, type_: str, message: str, kind: type[LLMError]) -> None:
    """Claude through LiteLLM: its handler keeps the body as text. Of an error inside the stream (200) it
    keeps nothing but the words."""
    body = json.dumps({"type": "error", "error": {"type": type_, "message": message}, "request_id": "req_1"})
    answer = (
        Answer.raw(f"event: error\ndata: {body}\n\n".encode())
        if status == 200
        else Answer.raw(body.encode(), content_type="application/json", status=status, headers={"retry-after": "3"})
    )
    async with Server(answer, any_path=True) as server:
        root = server.base_url.removesuffix("/v1")
        async with Client("litellm/anthropic/claude-sonnet-4-5", base_url=root, api_key="k", retry=0) as client:
            with pytest.raises(LLMError) as caught:
                await client.complete("Hi", max_tokens=9)
    assert type(caught.value) is kind
    assert message in caught.value.message
    if status != 200:
        assert (caught.value.retry_after, caught.value.request_id) == (3.0, "req_1")
