"""The real OpenAI SDK as a client of the embedded server: what we write is what its users' programs read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk

from asyncllm.events import (
    AuthenticationError,
    BillingError,
    ConnectionFailedError,
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ReasoningDelta,
    RefusalDelta,
    ServerError,
    StreamError,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
)
from asyncllm.testing import (
    DEMO_MODELS,
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

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@contextlib.asynccontextmanager
async def sdk(script: Any = None, **options: Any) -> AsyncIterator[tuple[openai.AsyncOpenAI, Server]]:
    async with (
        Server(script) as server,
        openai.AsyncOpenAI(
            base_url=server.base_url,
            api_key="sk-test",
            http_client=httpx2.AsyncClient(trust_env=False),
            **{"max_retries": 0, **options},
        ) as client,
    ):
        yield client, server


async def streamed(answer: Answer, **options: Any) -> list[ChatCompletionChunk]:
    async with sdk(answer) as (client, _):
        stream = await client.chat.completions.create(
            model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}, **options
        )
        return [chunk async for chunk in stream]


async def until_error(answer: Answer) -> tuple[str, Exception]:
    """The text that arrived, and the error that ended the stream."""
    text = ""
    async with sdk(answer) as (client, _):
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        try:
            async for chunk in stream:
                text += text_of([chunk])
        except (openai.APIError, ValueError) as error:
            return text, error
    raise AssertionError(f"no error ended the stream; it brought {text!r}")


def text_of(chunks: list[ChatCompletionChunk]) -> str:
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def test_text_streams() -> None:
    """Text, ids, model, finish reason and usage as the SDK's chunks have them."""
    events = [
        StreamStart("gpt-x", "chatcmpl-7"),
        "Hello there",
        Usage(input_tokens=3, output_tokens=2, cache_read_tokens=1),
    ]
    chunks = await streamed(Answer(events))
    assert text_of(chunks) == "Hello there"
    assert {(chunk.id, chunk.model, chunk.object) for chunk in chunks} == {
        ("chatcmpl-7", "gpt-x", "chat.completion.chunk")
    }
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens, chunks[-1].usage.total_tokens) == (
        3,
        2,
        5,
    )
    assert chunks[-1].usage.prompt_tokens_details is not None
    assert chunks[-1].usage.prompt_tokens_details.cached_tokens == 1
    assert all(chunk.usage is None for chunk in chunks[:-1])


async def test_reasoning_has_its_field() -> None:
    """Reasoning arrives as `reasoning_content`, apart from the text."""
    chunks = await streamed(Answer([ReasoningDelta("let me "), ReasoningDelta("see"), "Yes"]))
    thoughts = [getattr(choice.delta, "reasoning_content", None) for chunk in chunks for choice in chunk.choices]
    assert "".join(filter(None, thoughts)) == "let me see"
    assert text_of(chunks) == "Yes"


async def test_refusal() -> None:
    """A refusal is assembled by the SDK's own accumulator, with no content."""
    async with (
        sdk(Answer([RefusalDelta("I can"), RefusalDelta("not")])) as (client, _),
        client.chat.completions.stream(model="m", messages=MESSAGES) as stream,
    ):
        message = (await stream.get_final_completion()).choices[0].message
    assert (message.refusal, message.content) == ("I cannot", None)


@pytest.mark.req("D8")
async def test_tool_calls_are_assembled_by_the_sdk() -> None:
    """Calls in fragments and whole ones, interleaved, come out of `.stream()` with their own arguments."""
    answer = Answer(
        [
            "Looking.",
            ToolCallDelta(0, "c1", "weather", ""),
            ToolCallDelta(0, "c1", "weather", '{"city":'),
            ToolCall("c2", "time", {"zone": "UTC"}),
            ToolCallDelta(0, "c1", "weather", '"Oslo"}'),
            ToolCall("c1", "weather", {"city": "Oslo"}, '{"city":"Oslo"}'),
        ]
    )
    async with sdk(answer) as (client, _), client.chat.completions.stream(model="m", messages=MESSAGES) as stream:
        kinds = [event.type async for event in stream]
        choice = (await stream.get_final_completion()).choices[0]
    assert choice.message.content == "Looking."
    assert choice.message.tool_calls is not None
    calls = [(call.id, call.function.name, call.function.arguments) for call in choice.message.tool_calls]
    assert calls == [("c1", "weather", '{"city":"Oslo"}'), ("c2", "time", '{"zone":"UTC"}')]
    assert choice.finish_reason == "tool_calls"
    assert "tool_calls.function.arguments.delta" in kinds


async def test_only_a_call_has_no_content() -> None:
    """Where the model only calls, content is None, as with OpenAI."""
    async with sdk(Answer.tool_call("weather", {"city": "Oslo"})) as (client, _):
        async with client.chat.completions.stream(model="m", messages=MESSAGES, tools=TOOLS) as stream:
            message = (await stream.get_final_completion()).choices[0].message
        whole = (await client.chat.completions.create(model="m", messages=MESSAGES, tools=TOOLS)).choices[0].message
    for one in (message, whole):
        assert one.content is None
        assert one.tool_calls is not None
        assert one.tool_calls[0].function.arguments == '{"city":"Oslo"}'  # type: ignore[union-attr]


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "content_filter"])
async def test_finish_reasons(reason: Any) -> None:
    """Each reason arrives, streamed and whole."""
    chunks = await streamed(Answer(["a", Finish(reason)]))
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == reason
    async with sdk(Answer(["a", Finish(reason)])) as (client, _):
        assert (await client.chat.completions.create(model="m", messages=MESSAGES)).choices[0].finish_reason == reason


async def test_the_stream_helper_and_usage() -> None:
    """`.stream()` yields content deltas and a final completion with usage."""
    async with (
        sdk(Answer.text("one two three")) as (client, _),
        client.chat.completions.stream(model="m", messages=MESSAGES, stream_options={"include_usage": True}) as stream,
    ):
        deltas = [event.delta async for event in stream if event.type == "content.delta"]
        final = await stream.get_final_completion()
    assert [delta for delta in deltas if delta] == ["one", " two", " three"]
    assert final.choices[0].message.content == "one two three"
    assert final.usage is not None
    assert final.usage.completion_tokens == 3


async def test_without_streaming() -> None:
    """A whole completion with text, usage, and reasoning beside it."""
    async with sdk(Answer.text("Hello there", reasoning="hm")) as (client, server):
        completion = await client.chat.completions.create(model="m", messages=MESSAGES)
    message = completion.choices[0].message
    assert (message.content, message.refusal, getattr(message, "reasoning_content", None)) == (
        "Hello there",
        None,
        "hm",
    )
    assert completion.usage is not None
    assert completion.usage.completion_tokens_details is not None
    assert completion.usage.completion_tokens_details.reasoning_tokens == 1
    assert "stream" not in server.requests[0].json
    assert server.requests[0].headers["authorization"] == "Bearer sk-test"


async def test_models_list() -> None:
    """`models.list()` names the demo models, and they answer."""
    async with sdk() as (client, _):
        assert tuple([model.id async for model in client.models.list()]) == DEMO_MODELS
        completion = await client.chat.completions.create(model="demo/echo", messages=MESSAGES, max_tokens=3)
        assert completion.choices[0].message.content == "This is a"
        with pytest.raises(openai.NotFoundError, match="does not exist"):
            await client.chat.completions.create(model="gpt-5", messages=MESSAGES)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimitError("x", retry_after=3), openai.RateLimitError),
        (BillingError("x"), openai.RateLimitError),
        (AuthenticationError("x"), openai.AuthenticationError),
        (PermissionDeniedError("x"), openai.PermissionDeniedError),
        (NotFoundError("x"), openai.NotFoundError),
        (InvalidRequestError("x"), openai.BadRequestError),
        (InvalidRequestError("x", status=422), openai.UnprocessableEntityError),
        (ContextLengthExceededError("x"), openai.BadRequestError),
        (ContentBlockedError("x"), openai.BadRequestError),
        (ServerError("x"), openai.InternalServerError),
        (OverloadedError("x"), openai.InternalServerError),
        (LLMTimeoutError("x"), openai.InternalServerError),
        (ConnectionFailedError("x"), openai.InternalServerError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LLMError) else value.__name__,
)
async def test_http_errors_are_the_sdk_s_own(error: LLMError, expected: type[openai.APIStatusError]) -> None:
    """Each kind of error raises the class that OpenAI's own error would, with its code and hints."""
    async with sdk(Answer.error(error)) as (client, _):
        for stream in (True, False):
            with pytest.raises(expected) as caught:
                await client.chat.completions.create(model="m", messages=MESSAGES, stream=stream)
    assert type(caught.value) is expected
    if isinstance(error, RateLimitError):
        assert caught.value.response.headers["retry-after"] == "3"
    if isinstance(error, ContextLengthExceededError):
        assert caught.value.code == "context_length_exceeded"


async def test_the_sdk_retries_what_we_say_it_may() -> None:
    """A retryable error is tried again with the hint; one marked as final is not, whatever its status."""
    script = [Answer.error(OverloadedError("busy", retry_after=0.001)), Answer.text("at last")]
    async with sdk(script, max_retries=1) as (client, server):
        assert (await client.chat.completions.create(model="m", messages=MESSAGES)).choices[
            0
        ].message.content == "at last"
        assert len(server.requests) == 2
        server.play(Answer.error(OverloadedError("never", retryable=False)))
        with pytest.raises(openai.InternalServerError, match="never"):
            await client.chat.completions.create(model="m", messages=MESSAGES)
        assert len(server.requests) == 3


@pytest.mark.req("C1")
@pytest.mark.parametrize(
    "answer",
    [
        Answer.text("one two three", faults=[ErrorAfter(2, OverloadedError("busy"))]),
        Answer([TextDelta("one"), TextDelta(" two"), StreamError(OverloadedError("busy"))]),
    ],
)
async def test_an_in_band_error_is_an_api_error(answer: Answer) -> None:
    """An error inside the stream raises openai.APIError with our code, after the text before it."""
    text, error = await until_error(answer)
    assert text == "one two"
    assert type(error) is openai.APIError
    assert (error.message, error.code, error.type) == ("busy", "server_is_overloaded", "service_unavailable_error")


@pytest.mark.parametrize("fault", [Cut(700), Cut(700, reset=True), TruncatedChunk()])
async def test_a_broken_connection_is_a_connection_error(fault: Any) -> None:
    """A body that breaks off raises openai.APIConnectionError, where [DONE] was not seen before."""
    text, error = await until_error(Answer.text("one two three", faults=[NoDone(), fault]))
    assert type(error) is openai.APIConnectionError
    assert "one two three".startswith(text)


async def test_a_malformed_frame_is_a_json_error() -> None:
    """The SDK gives up on two frames glued into one, after the text before them."""
    text, error = await until_error(Answer.text("one two", faults=[Malformed(1)]))
    assert (text, isinstance(error, ValueError)) == ("one", True)


@pytest.mark.parametrize(
    "faults",
    [
        [Split(1)],
        [Split([3, 1, 50])],
        [KeepAlive(before=2, between=1)],
        [KeepAlive(before=2, between=1, interval=0.001), Split(7)],
        [Gzip()],
        [Gzip(), Split(1)],
        [Trailing()],
        [NoDone()],
    ],
    ids=repr,
)
async def test_harmless_faults_change_nothing(faults: Any) -> None:
    """Cuts anywhere, comments, compression, bytes after the end, a missing [DONE]: the text is the same."""
    chunks = await streamed(Answer.text("Grüße 🎉 you", faults=faults))
    assert text_of(chunks) == "Grüße 🎉 you"
    assert chunks[-1].usage is not None


@pytest.mark.req("B1")
async def test_a_stream_without_an_end() -> None:
    """Neither finish_reason nor [DONE]: the SDK says nothing about it, which is why ours must."""
    chunks = await streamed(Answer.text("one two", faults=[NoFinish(), NoDone()]))
    assert text_of(chunks) == "one two"
    assert not any(choice.finish_reason for chunk in chunks for choice in chunk.choices)


@pytest.mark.req("H9")
@pytest.mark.parametrize("fault", [Stall(1), SlowHeaders(Wait())])
async def test_a_silent_server_times_out(fault: Any) -> None:
    """A stall, or headers that never come, runs into the SDK's own timeout, and the server sees it leave."""
    async with sdk(Answer.text("one two", faults=[fault]), timeout=0.05) as (client, server):
        with pytest.raises(openai.APITimeoutError):
            async for _ in await client.chat.completions.create(model="m", messages=MESSAGES, stream=True):
                pass
        await server.wait_closed()


@pytest.mark.req("A11")
async def test_a_connection_held_open_after_done() -> None:
    """The SDK ends at [DONE] though the body does not end; closing the client closes the connection."""
    release = Wait()
    async with sdk(Answer.text("one", faults=[HoldOpen(release)])) as (client, server):
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        text = ""
        async for chunk in stream:
            text += text_of([chunk])
        assert text == "one"
        await server.wait_closed()


async def test_a_wrong_content_type_is_not_looked_at() -> None:
    """The SDK parses a stream that calls itself a page."""
    assert text_of(await streamed(Answer.text("one", headers={"content-type": "text/html"}))) == "one"


async def test_leaving_early_closes_the_connection() -> None:
    """Closing the SDK's stream midway is seen by the server at once."""
    async with sdk(Answer.text("one two", faults=[Stall(1)])) as (client, server):
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        async for chunk in stream:
            if text_of([chunk]):
                break
        await stream.close()
        await server.wait_closed()
        assert server.connections.open == 0
