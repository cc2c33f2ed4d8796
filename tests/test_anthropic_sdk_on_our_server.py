"""The real Anthropic SDK as a client of the embedded server: what we write is what its users' programs read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import anthropic
import httpx2
import pytest

from asyncllm.events import (
    AuthenticationError,
    BillingError,
    Citation,
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderState,
    RateLimitError,
    ReasoningDelta,
    ServerError,
    StreamError,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, ErrorAfter, Gzip, KeepAlive, NoDone, Server, Split

MESSAGES: Any = [{"role": "user", "content": "Hi"}]
TOOLS: Any = [{"name": "weather", "input_schema": {"type": "object", "properties": {}}}]
ASKED: Any = {"model": "claude", "max_tokens": 100, "messages": MESSAGES}
CITED = {
    "type": "web_search_result_location",
    "url": "https://a.test",
    "title": "A",
    "cited_text": "x",
    "encrypted_index": "i",
}


@contextlib.asynccontextmanager
async def sdk(script: Any = None, **options: Any) -> AsyncIterator[tuple[anthropic.AsyncAnthropic, Server]]:
    async with (
        Server(script) as server,
        anthropic.AsyncAnthropic(
            base_url=server.base_url.removesuffix("/v1"),
            api_key="sk-ant-api-test",
            http_client=httpx2.AsyncClient(trust_env=False),
            **{"max_retries": 0, **options},
        ) as client,
    ):
        yield client, server


async def both_ways(answer: Answer) -> list[Any]:
    """The message that the SDK's accumulator makes of the stream, and the one that is not streamed."""
    async with sdk(answer) as (client, _):
        async with client.messages.stream(**ASKED, tools=TOOLS) as stream:
            streamed = await stream.get_final_message()
        return [streamed, await client.messages.create(**ASKED, tools=TOOLS)]


async def test_text_and_usage() -> None:
    """Text, id, model, stop reason and usage, streamed and whole."""
    usage = Usage(input_tokens=9, cache_read_tokens=4, cache_write_tokens=2, output_tokens=7, reasoning_tokens=3)
    for message in await both_ways(Answer([StreamStart("claude-x", "msg_7"), "Hello there", usage])):
        assert (message.id, message.model, message.role, message.type) == ("msg_7", "claude-x", "assistant", "message")
        assert [(block.type, block.text) for block in message.content] == [("text", "Hello there")]
        assert message.stop_reason == "end_turn"
        counts = message.usage
        assert (counts.input_tokens, counts.cache_read_input_tokens, counts.cache_creation_input_tokens) == (3, 4, 2)
        assert (counts.output_tokens, counts.output_tokens_details.thinking_tokens) == (7, 3)


async def test_every_event_of_the_sdk() -> None:
    """The raw events in the order of the wire, and the text as it comes."""
    async with sdk(Answer.text("one two")) as (client, _):
        stream = await client.messages.create(**ASKED, stream=True)
        assert [event.type async for event in stream] == [
            "message_start",
            "content_block_start",
            "content_block_delta",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ]
        async with client.messages.stream(**ASKED) as helper:
            assert [text async for text in helper.text_stream] == ["one", " two"]


@pytest.mark.req("E7")
async def test_thinking_signatures_and_redacted_blocks() -> None:
    """Each in a block of its own, signed."""
    state = ProviderState("anthropic", {"signature": "c2ln"}, closes=True)
    redacted = ProviderState("anthropic", {"block": {"type": "redacted_thinking", "data": "ZW5j"}}, closes=True)
    answer = Answer(
        [
            ReasoningDelta("let me "),
            ReasoningDelta("see"),
            ReasoningDelta("", state),
            ReasoningDelta("", redacted),
            "Yes",
        ]
    )
    for message in await both_ways(answer):
        thinking, hidden, text = message.content
        assert (thinking.type, thinking.thinking, thinking.signature) == ("thinking", "let me see", "c2ln")
        assert (hidden.type, hidden.data) == ("redacted_thinking", "ZW5j")
        assert text.text == "Yes"


@pytest.mark.req("D8")
async def test_tool_calls_are_assembled_by_the_sdk() -> None:
    """Calls in fragments and whole ones, interleaved, come out with their own input."""
    answer = Answer(
        [
            "Looking.",
            ToolCallDelta(0, "c1", "weather", ""),
            ToolCallDelta(0, "c1", "weather", '{"city":'),
            ToolCall("c2", "time", {"zone": "UTC"}),
            ToolCallDelta(0, "c1", "weather", '"Oslo"}'),
            ToolCall("c1", "weather", {"city": "Oslo"}, '{"city":"Oslo"}'),
            ToolCall("c3", "now", {}),
        ]
    )
    for message in await both_ways(answer):
        text, *calls = message.content
        assert text.text == "Looking."
        assert [(call.id, call.name, call.input) for call in calls] == [
            ("c1", "weather", {"city": "Oslo"}),
            ("c2", "time", {"zone": "UTC"}),
            ("c3", "now", {}),
        ]
        assert message.stop_reason == "tool_use"


async def test_a_tool_exchange() -> None:
    """What the SDK sends back is read as what it is: the call, its result, and what follows."""
    answers = [Answer.tool_call("weather", {"city": "Oslo"}), Answer.text("Rain.")]
    async with sdk(answers) as (client, server):
        first = await client.messages.create(**ASKED, tools=TOOLS)
        result: Any = {"type": "tool_result", "tool_use_id": first.content[0].id, "content": "wet", "is_error": True}  # type: ignore[union-attr]
        turns: Any = [
            *MESSAGES,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result, {"type": "text", "text": "so?"}]},
        ]
        await client.messages.create(**{**ASKED, "messages": turns}, tools=TOOLS, system="Be brief.")
        asked = server.requests[1].asked
    assert asked.system == "Be brief."
    assert asked.tools[0].name == "weather"
    _, turn, results, question = asked.messages
    assert turn.content == [ToolCall("call_1", "weather", {"city": "Oslo"})]
    assert results.content == [ToolResult("call_1", "weather", "wet", is_error=True)]
    assert question.parts == [Text("so?")]


async def test_searches_and_citations() -> None:
    """The provider's own tools, and text with its sources, in the SDK's types."""
    content = [
        {"type": "web_search_result", "url": "https://a.test", "title": "A", "encrypted_content": "e", "page_age": None}
    ]
    found = {"type": "web_search_tool_result", "tool_use_id": "s1", "content": content}
    answer = Answer(
        [
            ToolCall("s1", "web_search", {"query": "x"}, executed=True),
            ToolResult("s1", "web_search", "A", state=ProviderState("anthropic", {"block": found})),
            TextDelta("So."),
            Citation("https://a.test", "A", raw=CITED),
        ]
    )
    for message in await both_ways(answer):
        use, result, text = message.content
        assert (use.type, use.name, use.input) == ("server_tool_use", "web_search", {"query": "x"})
        assert (result.tool_use_id, result.content[0].url) == ("s1", "https://a.test")
        assert (text.text, text.citations[0].url) == ("So.", "https://a.test")


async def test_refusal_with_details() -> None:
    """The stop reason and why."""
    why = {"type": "refusal", "category": "cyber", "explanation": "No."}
    for message in await both_ways(Answer([Finish("content_filter", details={"stop_details": why})])):
        assert message.stop_reason == "refusal"
        assert (message.stop_details.category, message.stop_details.explanation) == ("cyber", "No.")


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimitError("x", retry_after=3), anthropic.RateLimitError),
        (BillingError("x"), anthropic.PaymentRequiredError),
        (AuthenticationError("x"), anthropic.AuthenticationError),
        (PermissionDeniedError("x"), anthropic.PermissionDeniedError),
        (NotFoundError("x"), anthropic.NotFoundError),
        (InvalidRequestError("x"), anthropic.BadRequestError),
        (ContextLengthExceededError("x"), anthropic.BadRequestError),
        (ContentBlockedError("x"), anthropic.BadRequestError),
        (ServerError("x"), anthropic.InternalServerError),
        (OverloadedError("x"), anthropic.OverloadedError),
        (LLMTimeoutError("x"), anthropic.GatewayTimeoutError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LLMError) else value.__name__,
)
async def test_http_errors_are_the_sdk_s_own(error: LLMError, expected: type[anthropic.APIStatusError]) -> None:
    """Each kind of error raises the class that the API's own error would, with its hints."""
    async with sdk(Answer.error(error)) as (client, _):
        for stream in (True, False):
            with pytest.raises(expected) as caught:
                await client.messages.create(**ASKED, stream=stream)
    assert type(caught.value) is expected
    if isinstance(error, RateLimitError):
        assert caught.value.response.headers["retry-after"] == "3"


@pytest.mark.req("C4")
@pytest.mark.parametrize(
    "answer",
    [
        Answer.text("one two three", faults=[ErrorAfter(2, OverloadedError("busy"))]),
        Answer([TextDelta("one"), TextDelta(" two"), StreamError(OverloadedError("busy"))]),
    ],
)
async def test_an_in_band_error_is_an_api_error(answer: Answer) -> None:
    """An error inside the stream raises the SDK's error with its type, after the text before it."""
    text = ""
    async with sdk(answer) as (client, _):
        with pytest.raises(anthropic.APIStatusError) as caught:
            async with client.messages.stream(**ASKED) as stream:
                async for piece in stream.text_stream:
                    text += piece
    assert text == "one two"
    assert caught.value.type == "overloaded_error"
    assert "busy" in caught.value.message


@pytest.mark.parametrize(
    "faults", [[Split(1)], [Split([3, 1, 50])], [KeepAlive(before=2, between=1)], [Gzip()], [NoDone()]], ids=repr
)
async def test_harmless_faults_change_nothing(faults: Any) -> None:
    """Cuts anywhere, comments, compression, a missing message_stop: the text is the same."""
    async with sdk(Answer.text("Grüße 🎉 you", faults=faults)) as (client, _):
        async with client.messages.stream(**ASKED) as stream:
            assert await stream.get_final_text() == "Grüße 🎉 you"


async def test_a_request_that_makes_no_sense_is_refused() -> None:
    """In the words of the API."""
    async with sdk(Answer.text("x")) as (client, _):
        with pytest.raises(anthropic.BadRequestError, match="at least one message is required"):
            await client.messages.create(**{**ASKED, "messages": []})
