"""`ollama-native/...` through the whole client, over a socket, against the embedded server; and where that server is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from asyncllm import (
    AuthenticationError,
    Client,
    ConnectionFailedError,
    Finish,
    FirstTokenTimeout,
    Image,
    IncompleteStreamError,
    InterTokenTimeout,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ReasoningDelta,
    Retrying,
    RetryPolicy,
    ServerError,
    StreamStart,
    Timeout,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
)
from asyncllm.backends import VENDORS, HTTPBackend, Settings, make_backend, providers
from asyncllm.backends._registry import env_url
from asyncllm.testing import (
    Answer,
    Cut,
    ErrorAfter,
    Gzip,
    HoldOpen,
    NoFinish,
    Server,
    SlowHeaders,
    Split,
    Stall,
    TruncatedChunk,
    Wait,
)

MODEL = "ollama-native/llama3.2"
WEATHER = Tool("weather", "", {"type": "object", "properties": {"city": {"type": "string"}}})
PNG = b"\x89PNG\r\n\x1a\n"


@asynccontextmanager
async def asking(script: Any = None, **options: Any) -> AsyncIterator[tuple[Client, Server]]:
    async with Server(script) as server:
        root = server.base_url.removesuffix("/v1")
        async with Client(MODEL, base_url=root, **{"retry": 0, "timeout": 20, **options}) as client:
            yield client, server


@pytest.mark.req("seed-A3")
async def test_an_answer_streams() -> None:
    """Thinking, text, an image and usage; no key was needed, and none was sent."""
    answer = Answer(
        [
            StreamStart("llama3.2:1b"),
            ReasoningDelta("hm"),
            "Hello there",
            Image(data=PNG),
            Usage(input_tokens=3, output_tokens=2),
        ]
    )
    async with asking(answer) as (client, server):
        stream = await client.stream("Hi", max_tokens=9, reasoning="low")
        events = [event async for event in stream]
        check_order(events)
        reply = await stream.reply()
    assert (reply.reasoning, reply.text, reply.model) == ("hm", "Hello there", "llama3.2:1b")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (3, 2)
    assert reply.message.parts[-1] == Image(data=PNG)
    (request,) = server.requests
    assert request.path == "/api/chat"
    assert "authorization" not in request.headers
    assert request.json == {
        "model": "llama3.2",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "think": "low",
        "options": {"num_predict": 9},
    }


@pytest.mark.req("seed-E4", "B8")
async def test_a_tool_exchange() -> None:
    """A call, its result, and the answer: the second request holds all of the first turn."""
    script = [
        Answer([ReasoningDelta("rain?"), ToolCall("c1", "weather", {"city": "Oslo"})]),
        Answer.text("It rains."),
    ]
    async with asking(script) as (client, server):
        first = await client.complete("Rain in Oslo?", tools=[WEATHER])
        (call,) = first.tool_calls
        assert (call.arguments, first.finish_reason) == ({"city": "Oslo"}, "tool_calls")
        result = Message("tool", [ToolResult(call.id, call.name, "rain")])
        second = await client.complete([*first.messages, result], tools=[WEATHER])
    assert second.text == "It rains."
    assert server.requests[1].json["messages"][1:] == [
        {
            "role": "assistant",
            "content": "",
            "thinking": "rain?",
            "tool_calls": [{"id": "c1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}}],
        },
        {"role": "tool", "content": "rain", "tool_name": "weather", "tool_call_id": "c1"},
    ]


async def test_an_answer_that_is_not_streamed() -> None:
    """`stream: false` in the extra body: one object, and the same events."""
    async with asking(Answer(["Hi", ToolCall("c1", "f", {"a": 1})])) as (client, server):
        reply = await client.complete("Hi", extra_body={"stream": False})
        assert server.requests[0].json["stream"] is False
    assert (reply.text, [call.arguments for call in reply.tool_calls]) == ("Hi", [{"a": 1}])
    assert reply.usage is not None


@pytest.mark.parametrize(
    "faults", [[], [Split(1)], [Split([3, 1, 50])], [Gzip()], [Gzip(), Split(7)], [HoldOpen(Wait())]], ids=repr
)
async def test_harmless_faults_change_nothing(faults: Any) -> None:
    """Cuts anywhere, compression, a connection that stays open after the last line."""
    async with asking(Answer.text("Grüße\u2028 🎉 you", faults=faults)) as (client, _):
        reply = await client.complete("Hi")
    assert (reply.text, reply.finish_reason) == ("Grüße\u2028 🎉 you", "stop")


@pytest.mark.req("B1")
@pytest.mark.parametrize("fault", [NoFinish(), Cut(150), Cut(150, reset=True), TruncatedChunk()], ids=repr)
async def test_a_cut_is_a_cut(fault: Any) -> None:
    """Without the line that says done the stream is incomplete, however it broke; what arrived is kept."""
    async with asking(Answer.text("one two three", faults=[NoFinish(), fault])) as (client, _):
        with pytest.raises(IncompleteStreamError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert "one two three".startswith(caught.value.partial.text)


@pytest.mark.req("C9", "C1", "C3")
async def test_errors_inside_the_stream() -> None:
    """The typed error with what was received; as the first line it is retried like a status."""
    busy = OverloadedError("server busy")
    once = RetryPolicy(tries=1, base=0.0)
    async with asking(Answer.text("one two", faults=[ErrorAfter(1, busy)]), retry=once) as (client, server):
        with pytest.raises(OverloadedError, match="server busy") as caught:
            await client.complete("Hi")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "one"
        server.play([Answer.text("x", faults=[ErrorAfter(0, busy)]), Answer.text("at last")])
        async with client.stream("Hi") as stream:
            events = [event async for event in stream]
            assert isinstance(events[0], Retrying)
            assert (await stream.reply()).text == "at last"


@pytest.mark.req("C11")
@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (404, {"error": "model 'x' not found"}, NotFoundError),
        (400, {"error": '"x" does not support tools'}, InvalidRequestError),
        (401, {"error": "unauthorized"}, AuthenticationError),
        (429, {"error": "you've reached your hourly usage limit"}, RateLimitError),
        (500, {"error": "model requires more system memory (5.6 GiB) than is available (2.1 GiB)"}, ServerError),
        (503, {"error": "server busy, please try again.  maximum pending requests exceeded"}, OverloadedError),
    ],
)
async def test_errors_of_the_server(status: int, body: dict[str, str], kind: type[LLMError]) -> None:
    """The statuses and bodies of a real server."""
    answer = Answer.raw(json.dumps(body).encode(), content_type="application/json", status=status)
    async with asking(answer) as (client, _):
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi")
    assert type(caught.value) is kind
    assert (caught.value.message, caught.value.status, caught.value.provider) == (
        body["error"],
        status,
        "ollama-native",
    )


async def test_a_model_that_knows_no_levels_of_thinking() -> None:
    """Its refusal teaches the client, which asks once more, and knows it the next time."""
    refusal = Answer.error(InvalidRequestError('think value "low" is not supported for this model', status=400))
    async with asking([refusal, Answer.text("Hi")]) as (client, server):
        for _ in range(2):
            assert (await client.complete("Hi", reasoning="low")).text == "Hi"
        assert [request.json["think"] for request in server.requests] == ["low", True, True]


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


@pytest.mark.req("H9")
@pytest.mark.parametrize(
    ("fault", "limits", "kind"),
    [
        (Stall(1), Timeout(inter_token=0.05), InterTokenTimeout),
        (SlowHeaders(Wait()), Timeout(first_token=0.05), FirstTokenTimeout),
    ],
)
async def test_a_silent_server_times_out(fault: Any, limits: Timeout, kind: type[LLMError]) -> None:
    """A model that is loaded for too long, and one that falls silent."""
    async with asking(Answer.text("one two", faults=[fault]), timeout=limits) as (client, server):
        with pytest.raises(kind):
            await client.complete("Hi")
        async with asyncio.timeout(5):
            await server.wait_closed()


async def test_the_demo_models_answer_on_this_wire() -> None:
    """Without a script the server is the demo, also with tools and structured output."""
    async with Server() as server:
        async with Client("ollama-native/demo/tool", base_url=server.base_url, timeout=20) as client:
            reply = await client.complete("Hi", tools=[WEATHER])
            assert reply.tool_calls[0].arguments == {"city": "demo"}
            events = [event async for event in await client.stream("Hi")]
            assert isinstance(events[-1], Finish)


# ---- where the server is, and who asks


@pytest.mark.req("seed-A3")
@pytest.mark.parametrize(
    ("variable", "value", "url"),
    [
        ("OLLAMA_HOST", "gpu", "http://gpu:11434"),
        ("OLLAMA_HOST", "gpu/", "http://gpu:11434"),
        ("OLLAMA_HOST", "gpu:9999", "http://gpu:9999"),
        ("OLLAMA_HOST", "gpu:9999/path/", "http://gpu:9999/path"),
        ("OLLAMA_HOST", ":9999", "http://localhost:9999"),
        ("OLLAMA_HOST", "0.0.0.0", "http://127.0.0.1:11434"),
        ("OLLAMA_HOST", "[::]:9999", "http://[::1]:9999"),
        ("OLLAMA_HOST", "[fe80::1]", "http://[fe80::1]:11434"),
        ("OLLAMA_HOST", "http://gpu", "http://gpu"),
        ("OLLAMA_HOST", "https://ollama.example/", "https://ollama.example"),
        ("OLLAMA_BASE_URL", "http://gpu:1/v1", "http://gpu:1"),
        ("OLLAMA_BASE_URL", "http://gpu:1/v1/", "http://gpu:1"),
        ("OLLAMA_BASE_URL", "gpu:1", "http://gpu:1"),
    ],
)
def test_the_variables_that_say_where(monkeypatch: pytest.MonkeyPatch, variable: str, value: str, url: str) -> None:
    """In every form that Ollama takes; the chat preset finds the same server, at /v1."""
    monkeypatch.setenv(variable, value)
    for name, there in (("ollama-native", url), ("ollama", f"{url}/v1")):
        backend, _ = make_backend(f"{name}/m", Settings(http=lambda: pytest.fail("nothing is sent")))
        assert isinstance(backend, HTTPBackend)
        assert backend.where == there


def test_the_clients_own_variable_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """OLLAMA_HOST is also what servers listen on."""
    monkeypatch.setenv("OLLAMA_HOST", "0.0.0.0")
    monkeypatch.setenv("OLLAMA_BASE_URL", "http://gpu:1")
    row = next(vendor for vendor in VENDORS if vendor.name == "ollama-native")
    assert env_url(row) == "http://gpu:1"


@pytest.mark.parametrize("value", ["gpu:port", "[::", "http://", "a b"])
def test_a_variable_that_is_no_place(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """An error that shows it, and nothing else."""
    monkeypatch.setenv("OLLAMA_HOST", value)
    with pytest.raises(InvalidRequestError, match="is not a URL"):
        make_backend("ollama-native/m", Settings(http=lambda: pytest.fail("nothing is sent")))


async def test_a_key_for_the_cloud(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the variable or the argument, as a bearer token."""
    async with asking(Answer.text("Hi")) as (client, server):
        monkeypatch.setenv("OLLAMA_API_KEY", "k-1")
        await client.complete("Hi")
        assert server.requests[0].headers["authorization"] == "Bearer k-1"


async def test_nobody_there() -> None:
    """A connection error that says where."""
    async with Server() as server:
        gone = server.base_url
    async with Client(MODEL, base_url=gone, retry=0) as client:
        with pytest.raises(ConnectionFailedError, match=r"127\.0\.0\.1"):
            await client.complete("Hi")


def test_it_is_listed() -> None:
    """Beside the chat preset."""
    assert {"ollama", "ollama-native"} <= set(providers())
