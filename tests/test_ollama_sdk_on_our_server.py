"""The real Ollama SDK as a client of the embedded server: what we write is what its users' programs read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
import ollama
import pytest

from asyncllm.events import (
    BillingError,
    Finish,
    Image,
    LLMError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ReasoningDelta,
    ServerError,
    StreamError,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, Cut, ErrorAfter, Gzip, NoFinish, Server, Split

MESSAGES: Any = [{"role": "user", "content": "Hi"}]


@contextlib.asynccontextmanager
async def sdk(script: Any = None) -> AsyncIterator[tuple[ollama.AsyncClient, Server]]:
    async with Server(script) as server:
        client = ollama.AsyncClient(host=server.base_url.removesuffix("/v1"), trust_env=False)
        try:
            yield client, server
        finally:
            await client._client.aclose()


async def streamed(answer: Answer, **options: Any) -> list[ollama.ChatResponse]:
    async with sdk(answer) as (client, _):
        return [part async for part in await client.chat("m", messages=MESSAGES, stream=True, **options)]


def text_of(parts: list[ollama.ChatResponse]) -> str:
    return "".join(part.message.content or "" for part in parts)


async def test_text_streams() -> None:
    """Text, model, done and usage as the SDK's parts have them."""
    parts = await streamed(Answer([StreamStart("llama3.2"), "Hello there", Usage(input_tokens=3, output_tokens=2)]))
    assert text_of(parts) == "Hello there"
    assert {part.model for part in parts} == {"llama3.2"}
    assert [part.done for part in parts] == [False, False, True]
    last = parts[-1]
    assert (last.done_reason, last.prompt_eval_count, last.eval_count) == ("stop", 3, 2)


async def test_thinking_has_its_field() -> None:
    """Apart from the text."""
    parts = await streamed(Answer([ReasoningDelta("let me "), ReasoningDelta("see"), "Yes"]), think=True)
    assert "".join(part.message.thinking or "" for part in parts) == "let me see"
    assert text_of(parts) == "Yes"


@pytest.mark.req("D8")
async def test_tool_calls() -> None:
    """Whole, with argument objects, whether they were said whole or in fragments; streamed or not."""
    answer = Answer(
        [
            "Looking.",
            ToolCallDelta(0, "c1", "weather", '{"city":'),
            ToolCallDelta(0, "c1", "weather", '"Oslo"}'),
            ToolCall("c2", "now", {}),
        ]
    )

    def calls(parts: list[ollama.ChatResponse]) -> dict[str, Any]:
        return {call.function.name: call.function.arguments for part in parts for call in part.message.tool_calls or ()}

    wanted = {"now": {}, "weather": {"city": "Oslo"}}
    assert calls(await streamed(answer)) == wanted
    async with sdk(answer) as (client, _):
        whole = await client.chat("m", messages=MESSAGES)
    assert calls([whole]) == wanted
    assert (whole.message.content, whole.done_reason) == ("Looking.", "stop")


async def test_without_streaming() -> None:
    """One object: text, thinking, usage."""
    answer = Answer([ReasoningDelta("hm"), "Hello there", Usage(input_tokens=3, output_tokens=2)])
    async with sdk(answer) as (client, _):
        whole = await client.chat("m", messages=MESSAGES)
    assert (whole.message.content, whole.message.thinking) == ("Hello there", "hm")
    assert (whole.done, whole.done_reason, whole.eval_count) == (True, "stop", 2)


async def test_what_the_sdk_asks_is_understood() -> None:
    """Tools from functions, images as bytes, results by the tool's name, a schema, thinking, options."""

    def weather(city: str) -> str:
        """The weather.

        Args:
          city: where
        """
        return city

    messages: Any = [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "Look", "images": [b"\x89PNG"]},
        ollama.Message(
            role="assistant",
            thinking="hm",
            tool_calls=[
                ollama.Message.ToolCall(
                    function=ollama.Message.ToolCall.Function(name="weather", arguments={"city": "Oslo"})
                )
            ],
        ),
        {"role": "tool", "content": "rain", "tool_name": "weather"},
    ]
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    options = {"temperature": 0.5, "seed": 1, "num_predict": 7, "stop": ["x"], "num_ctx": 9}
    async with sdk(Answer.text("ok")) as (client, server):
        await client.chat("m", messages=messages, tools=[weather], format=schema, think="high", options=options)
    asked = server.requests[0].asked
    assert [message.role for message in asked.messages] == ["system", "user", "assistant", "tool"]
    assert asked.messages[1].parts[1] == Image(data=b"\x89PNG")
    assert asked.messages[2].parts[1] == ToolCall("call_1", "weather", {"city": "Oslo"}, '{"city":"Oslo"}')
    assert asked.messages[3].parts == [ToolResult("call_1", "weather", "rain")]
    assert asked.tools[0].name == "weather"
    assert asked.output is not None
    assert asked.output.schema == schema
    assert (asked.temperature, asked.seed, asked.max_tokens, asked.stop, asked.reasoning) == (0.5, 1, 7, ("x",), "high")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (NotFoundError("model 'x' not found"), 404),
        (RateLimitError("x"), 429),
        (BillingError("x"), 402),
        (OverloadedError("x"), 503),
        (ServerError("x"), 500),
    ],
    ids=lambda value: type(value).__name__,
)
async def test_http_errors_are_the_sdk_s_own(error: LLMError, status: int) -> None:
    """ResponseError with the message and the status, streamed or not."""
    async with sdk(Answer.error(error)) as (client, _):
        for stream in (True, False):
            with pytest.raises(ollama.ResponseError) as caught:
                answer: Any = await client.chat("m", messages=MESSAGES, stream=stream)
                async for _part in answer:
                    pass
            assert (caught.value.error, caught.value.status_code) == (error.message, status)


@pytest.mark.req("C9")
@pytest.mark.parametrize(
    "answer",
    [
        Answer.text("one two three", faults=[ErrorAfter(2, OverloadedError("busy"))]),
        Answer([TextDelta("one"), TextDelta(" two"), StreamError(OverloadedError("busy"))]),
    ],
)
async def test_an_in_band_error_is_a_response_error(answer: Answer) -> None:
    """After the text before it."""
    text = ""
    async with sdk(answer) as (client, _):
        with pytest.raises(ollama.ResponseError, match="busy"):
            async for part in await client.chat("m", messages=MESSAGES, stream=True):
                text += part.message.content or ""
    assert text == "one two"


@pytest.mark.parametrize("faults", [[Split(1)], [Split([3, 1, 50])], [Gzip()]], ids=repr)
async def test_harmless_faults_change_nothing(faults: Any) -> None:
    """Also U+2028, at which the SDK would cut a line in two: what we write is ASCII."""
    assert text_of(await streamed(Answer.text("Grüße\u2028 🎉 you", faults=faults))) == "Grüße\u2028 🎉 you"


async def test_a_raw_line_separator_kills_the_sdk() -> None:
    """Why the above matters, and why we read lines ourselves."""
    body = '{"message":{"role":"assistant","content":"a\u2028b"},"done":true}\n'.encode()
    async with sdk(Answer.raw(body, content_type="application/x-ndjson")) as (client, _):
        with pytest.raises(ValueError, match="Unterminated string"):
            _ = [part async for part in await client.chat("m", messages=MESSAGES, stream=True)]


@pytest.mark.req("B1")
async def test_a_stream_without_an_end() -> None:
    """The SDK says nothing about a missing last line, which is why ours must; a broken connection it notices."""
    parts = await streamed(Answer.text("one two", faults=[NoFinish()]))
    assert text_of(parts) == "one two"
    assert not any(part.done for part in parts)
    with pytest.raises(httpx.RemoteProtocolError):
        await streamed(Answer.text("one two", faults=[Cut(250)]))


@pytest.mark.parametrize(("reason", "word"), [("stop", "stop"), ("length", "length"), ("tool_calls", "stop")])
async def test_finish_reasons(reason: Any, word: str) -> None:
    """In the words of the wire."""
    assert (await streamed(Answer(["a", Finish(reason)])))[-1].done_reason == word


async def test_a_request_without_messages_is_refused() -> None:
    """A real server would load the model; this one has none."""
    async with sdk() as (client, _):
        with pytest.raises(ollama.ResponseError, match="messages are required") as caught:
            await client.chat("m", messages=[])
    assert caught.value.status_code == 400
