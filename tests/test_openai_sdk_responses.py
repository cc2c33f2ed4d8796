"""The real OpenAI SDK as a client of the embedded server's Responses API: what we write is what its users' programs read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import openai
import pytest
from openai.types.responses import ResponseOutputMessage, ResponseReasoningItem

from asyncllm.events import (
    AuthenticationError,
    Citation,
    ContextLengthExceededError,
    Finish,
    Image,
    InvalidRequestError,
    LLMError,
    OverloadedError,
    ProviderState,
    RateLimitError,
    ReasoningDelta,
    RefusalDelta,
    ServerError,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, ErrorAfter, NoFinish, Server, Split

TOOLS: Any = [
    {"type": "function", "name": "weather", "parameters": {"type": "object", "properties": {}}, "strict": False}
]
ME = "openai-responses"


@contextlib.asynccontextmanager
async def sdk(script: Any = None) -> AsyncIterator[tuple[openai.AsyncOpenAI, Server]]:
    async with (
        Server(script) as server,
        openai.AsyncOpenAI(
            base_url=server.base_url,
            api_key="sk-test",
            http_client=httpx2.AsyncClient(trust_env=False),
            max_retries=0,
        ) as client,
    ):
        yield client, server


async def streamed(answer: Answer) -> list[Any]:
    async with sdk(answer) as (client, _):
        return [event async for event in await client.responses.create(model="m", input="Hi", stream=True)]


async def final(answer: Answer) -> Any:
    """What the SDK's own accumulator makes of the stream; it raises for any event out of place."""
    async with sdk(answer) as (client, _), client.responses.stream(model="m", input="Hi", tools=TOOLS) as stream:
        return await stream.get_final_response()


async def whole(answer: Answer) -> Any:
    async with sdk(answer) as (client, server):
        made = await client.responses.create(model="m", input="Hi", tools=TOOLS)
        assert "stream" not in server.requests[0].json
        return made


async def both(answer: Answer) -> list[Any]:
    return [await final(answer), await whole(answer)]


async def test_text_streams() -> None:
    """Text, ids, model and usage as the SDK's events have them."""
    usage = Usage(input_tokens=3, output_tokens=2, cache_read_tokens=1, reasoning_tokens=1)
    events = await streamed(Answer([StreamStart("gpt-x", "resp_7"), "Hello there", usage]))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == "Hello there"
    last = events[-1].response
    assert (last.id, last.model, last.status, last.output_text) == ("resp_7", "gpt-x", "completed", "Hello there")
    assert (last.usage.input_tokens, last.usage.output_tokens, last.usage.total_tokens) == (3, 2, 5)
    assert last.usage.input_tokens_details.cached_tokens == 1
    assert last.usage.output_tokens_details.reasoning_tokens == 1


async def test_text_with_the_helper_and_without_streaming() -> None:
    """`.stream()` checks every event against its item; a plain `create` gets one body."""
    for made in await both(Answer.text("one two three", faults=[])):
        assert made.output_text == "one two three"
        assert made.usage.output_tokens == 3
    assert (await final(Answer.text("one two", faults=[Split(1)]))).output_text == "one two"


async def test_reasoning_summaries() -> None:
    """A reasoning item before the message; what can be sent back is in it."""
    item = {"id": "rs_7_0", "type": "reasoning", "summary": [{"type": "summary_text", "text": "let me see"}]}
    state = ProviderState(ME, {"item": {**item, "encrypted_content": "Z0FB"}}, closes=True)
    events = [
        StreamStart("m", "resp_7"),
        ReasoningDelta("let me "),
        ReasoningDelta("see"),
        ReasoningDelta("", state),
        "Yes",
    ]
    for made in await both(Answer(events)):
        thought, message = made.output
        assert isinstance(thought, ResponseReasoningItem)
        assert thought.summary[0].text == "let me see"
        assert thought.encrypted_content == "Z0FB"
        assert isinstance(message, ResponseOutputMessage)
        assert made.output_text == "Yes"
    deltas = [
        event for event in await streamed(Answer(events)) if event.type == "response.reasoning_summary_text.delta"
    ]
    assert "".join(event.delta for event in deltas) == "let me see"


@pytest.mark.req("D8")
async def test_calls_are_assembled_by_the_sdk() -> None:
    """Calls in fragments and whole ones, interleaved, each with its own arguments."""
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
    for made in await both(answer):
        message, *calls = made.output
        assert message.content[0].text == "Looking."
        assert [(call.call_id, call.name, call.arguments) for call in calls] == [
            ("c1", "weather", '{"city":"Oslo"}'),
            ("c2", "time", '{"zone":"UTC"}'),
        ]
        assert made.status == "completed"


async def test_refusals_and_sources() -> None:
    """A refusal is a part of the message; a source is an annotation of the text, with its place."""
    for made in await both(Answer([RefusalDelta("I can"), RefusalDelta("not")])):
        assert made.output[0].content[0].refusal == "I cannot"
    cited = [StreamStart("m"), TextDelta("See it."), Citation("https://a.test", "A", 0, 3)]
    for made in await both(Answer(cited)):
        (note,) = made.output[0].content[0].annotations
        assert (note.url, note.title, note.start_index, note.end_index) == ("https://a.test", "A", 0, 3)


async def test_items_of_built_in_tools() -> None:
    """They are read as what they are."""
    search = {
        "id": "ws_1",
        "type": "web_search_call",
        "status": "completed",
        "action": {"type": "search", "query": "x"},
    }
    image = {"id": "ig_1", "type": "image_generation_call", "status": "completed", "output_format": "png"}
    custom = ProviderState(ME, {"item": {"type": "custom_tool_call"}})
    events = [
        ToolCall("ws_1", "web_search", {}, "", None, ProviderState(ME, {"item": search}), executed=True),
        ToolResult("ws_1", "web_search", "found", state=ProviderState(ME, {})),
        Image(data=b"png", state=ProviderState(ME, {"item": image})),
        "Found it.",
        ToolCall("c1", "sql", {"input": "select 1"}, '{"input":"select 1"}', None, custom),
    ]
    for made in await both(Answer(events)):
        assert [item.type for item in made.output] == [
            "web_search_call",
            "image_generation_call",
            "message",
            "custom_tool_call",
        ]
        assert made.output[1].result == "cG5n"
        assert made.output[3].input == "select 1"


@pytest.mark.parametrize(("reason", "word"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_incomplete_responses(reason: Any, word: str) -> None:
    """With their reason, streamed and whole."""
    for made in [
        (await streamed(Answer(["a", Finish(reason)])))[-1].response,
        await whole(Answer(["a", Finish(reason)])),
    ]:
        assert (made.status, made.incomplete_details.reason, made.output_text) == ("incomplete", word, "a")


@pytest.mark.req("C7")
async def test_errors_inside_a_stream_are_raised() -> None:
    """By the SDK itself, with what had come before."""
    for error in (OverloadedError("busy"), ContextLengthExceededError("too long")):
        async with sdk(Answer.text("one two three", faults=[ErrorAfter(2, error)])) as (client, _):
            text = ""
            with pytest.raises(openai.APIError, match=error.message):
                async for event in await client.responses.create(model="m", input="Hi", stream=True):
                    text += event.delta if event.type == "response.output_text.delta" else ""
        assert text


async def test_a_stream_without_its_end_is_no_answer() -> None:
    """Our server can leave the last event out; the SDK says so."""
    with pytest.raises(RuntimeError, match="completed"):
        await final(Answer.text("one", faults=[NoFinish()]))


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (RateLimitError("x", retry_after=3), openai.RateLimitError),
        (AuthenticationError("x"), openai.AuthenticationError),
        (InvalidRequestError("x"), openai.BadRequestError),
        (ServerError("x"), openai.InternalServerError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LLMError) else value.__name__,
)
async def test_http_errors_are_the_sdk_s_own(error: LLMError, expected: type[openai.APIStatusError]) -> None:
    """Each kind of error raises the class that OpenAI's own error would."""
    async with sdk(Answer.error(error)) as (client, _):
        for stream in (True, False):
            with pytest.raises(expected):
                await client.responses.create(model="m", input="Hi", stream=stream)


async def test_a_bad_request_is_refused_as_by_openai() -> None:
    """No input."""
    async with sdk() as (client, _):
        with pytest.raises(openai.BadRequestError, match="input"):
            await client.responses.create(model="demo/echo")


async def test_the_demo_models_speak_this_wire() -> None:
    """With the input as a text, or as items, and the tools as this API has them."""
    async with sdk() as (client, _):
        made = await client.responses.create(model="demo/echo", input=[{"role": "user", "content": "Hi"}])
        assert made.output_text
        told = await client.responses.create(model="demo/tool", input="Rain in Oslo?", tools=TOOLS)
        assert any(item.type == "function_call" for item in told.output)
