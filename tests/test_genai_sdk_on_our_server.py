"""The real google-genai SDK as a client of the embedded server: what we write is what its users' programs read."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from google import genai
from google.genai import errors, types

from asyncllm.events import (
    AuthenticationError,
    BillingError,
    Citation,
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    Image,
    InvalidRequestError,
    LLMError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProviderState,
    RateLimitError,
    ReasoningDelta,
    ServerError,
    StreamError,
    StreamStart,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, Cut, ErrorAfter, Gzip, NoFinish, Server, Split

WEATHER = {
    "name": "weather",
    "description": "Of a city.",
    "parameters_json_schema": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
NO_LOOP: Any = {"disable": True}


@contextlib.asynccontextmanager
async def sdk(script: Any = None, **options: Any) -> AsyncIterator[tuple[genai.client.AsyncClient, Server]]:
    async with Server(script) as server, httpx2.AsyncClient(trust_env=False) as http:
        given: Any = {
            "base_url": server.base_url.removesuffix("/v1"),
            "api_version": "v1beta",
            "httpx_async_client": http,
            **options,
        }
        client = genai.Client(api_key="k", http_options=given)
        yield client.aio, server
        client.close()


async def streamed(answer: Answer, **config: Any) -> list[types.GenerateContentResponse]:
    async with sdk(answer) as (client, _):
        stream = await client.models.generate_content_stream(
            model="gemini-3-pro", contents="Hi", config={"automatic_function_calling": NO_LOOP, **config}
        )
        return [chunk async for chunk in stream]


async def whole(answer: Answer, **config: Any) -> types.GenerateContentResponse:
    async with sdk(answer) as (client, _):
        return await client.models.generate_content(
            model="gemini-3-pro", contents="Hi", config={"automatic_function_calling": NO_LOOP, **config}
        )


def parts_of(chunks: list[types.GenerateContentResponse]) -> list[types.Part]:
    return [
        part
        for chunk in chunks
        for candidate in chunk.candidates or ()
        if candidate.content is not None
        for part in candidate.content.parts or ()
    ]


def text_of(chunks: list[types.GenerateContentResponse], *, thought: bool = False) -> str:
    return "".join(part.text or "" for part in parts_of(chunks) if bool(part.thought) == thought)


SAID = [
    StreamStart("gemini-x", "r7"),
    ReasoningDelta("let me "),
    ReasoningDelta("see"),
    "Hello there",
    Usage(input_tokens=9, output_tokens=7, reasoning_tokens=3, cache_read_tokens=4),
]


async def test_text_thoughts_and_usage_stream() -> None:
    """As the SDK's chunks have them: thoughts apart, names, usage, the end."""
    chunks = await streamed(Answer(SAID))
    assert (text_of(chunks), text_of(chunks, thought=True)) == ("Hello there", "let me see")
    assert {(chunk.model_version, chunk.response_id) for chunk in chunks} == {("gemini-x", "r7")}
    last = chunks[-1]
    assert last.candidates is not None
    assert last.candidates[0].finish_reason == types.FinishReason.STOP
    assert last.usage_metadata is not None
    used = last.usage_metadata
    assert (used.prompt_token_count, used.candidates_token_count, used.thoughts_token_count) == (9, 4, 3)
    assert (used.cached_content_token_count, used.total_token_count) == (4, 16)


async def test_without_streaming() -> None:
    """One response with the parts joined, thoughts apart."""
    response = await whole(Answer(SAID))
    assert response.text == "Hello there"
    assert [(part.text, bool(part.thought)) for part in parts_of([response])] == [
        ("let me see", True),
        ("Hello there", False),
    ]
    assert response.usage_metadata is not None
    assert response.usage_metadata.total_token_count == 16
    assert response.model_version == "gemini-x"


@pytest.mark.parametrize("ask", [streamed, whole])
async def test_calls_and_signatures(ask: Any) -> None:
    """Calls with ids and arguments, the signature as bytes on the part it belongs to."""
    signed = ProviderState("gemini", {"id": "c1", "thoughtSignature": "c2ln"})
    answer = Answer(
        [
            ToolCall("c1", "weather", {"city": "Oslo"}, state=signed),
            ToolCallDelta(0, "c2", "weather", '{"city":'),
            ToolCallDelta(0, "c2", "weather", '"Bergen"}'),
        ]
    )
    found = await ask(answer, tools=[{"function_declarations": [WEATHER]}])
    parts = parts_of(found if isinstance(found, list) else [found])
    calls = [
        (part.function_call.id, part.function_call.name, part.function_call.args)
        for part in parts
        if part.function_call
    ]
    assert calls == [("c1", "weather", {"city": "Oslo"}), ("c2", "weather", {"city": "Bergen"})]
    assert [part.thought_signature for part in parts] == [b"sig", None]


async def test_the_sdk_s_own_tool_loop() -> None:
    """Automatic function calling: the SDK runs a Python function between two of our answers, and we read what it sends."""
    asked: list[str] = []

    def weather(city: str) -> dict[str, str]:
        """Of a city."""
        asked.append(city)
        return {"sky": "clear"}

    signed = ProviderState("gemini", {"id": "c1", "thoughtSignature": "c2ln"})
    script = [Answer([ToolCall("c1", "weather", {"city": "Oslo"}, state=signed)]), Answer.text("It is clear.")]
    async with sdk(script) as (client, server):
        config = types.GenerateContentConfig(tools=[weather])
        response = await client.models.generate_content(model="m", contents="Weather?", config=config)
        assert response.text == "It is clear."
        assert asked == ["Oslo"]
        second = server.requests[1].asked
    call, result = second.messages[1].parts[0], second.messages[2].parts[0]
    assert isinstance(call, ToolCall)
    assert (call.id, call.name, call.arguments, call.state) == ("c1", "weather", {"city": "Oslo"}, signed)
    assert isinstance(result, ToolResult)
    assert (result.id, result.name) == ("c1", "weather")
    assert '"sky"' in result.text
    assert second.tools[0].name == "weather"


async def test_what_the_sdk_asks_is_read() -> None:
    """Both spellings of the names, which it mixes: options, tools, schemas, media."""
    async with sdk(Answer.text("ok")) as (client, server):
        config = types.GenerateContentConfig(
            system_instruction="Be brief.",
            temperature=0.5,
            top_p=0.9,
            max_output_tokens=10,
            stop_sequences=["END"],
            seed=7,
            tools=[types.Tool(function_declarations=[types.FunctionDeclaration(**WEATHER)])],  # type: ignore[arg-type]
            tool_config={"function_calling_config": {"mode": "ANY", "allowed_function_names": ["weather"]}},  # type: ignore[arg-type]
            thinking_config=types.ThinkingConfig(include_thoughts=True, thinking_level="low"),  # type: ignore[arg-type]
            response_mime_type="application/json",
            response_json_schema={"type": "object"},
            automatic_function_calling=NO_LOOP,
        )
        image = types.Part.from_bytes(data=b"png", mime_type="image/png")
        await client.models.generate_content(model="m", contents=["Look", image], config=config)
        asked = server.requests[0].asked
    assert (asked.model, asked.system, asked.temperature, asked.top_p) == ("m", "Be brief.", 0.5, 0.9)
    assert (asked.max_tokens, asked.stop, asked.seed, asked.reasoning) == (10, ("END",), 7, "low")
    assert (asked.tools[0].name, asked.tools[0].parameters, asked.tool_choice) == (
        "weather",
        WEATHER["parameters_json_schema"],
        "weather",
    )
    assert asked.output is not None
    assert asked.output.schema == {"type": "object"}
    assert asked.messages[0].parts[1] == Image(data=b"png")


async def test_code_media_and_sources() -> None:
    """The parts that are neither text nor calls, and grounding with offsets in bytes."""
    answer = Answer(
        [
            ToolCall("x", "code_execution", {"language": "PYTHON", "code": "print(1)"}, executed=True),
            ToolResult("x", "code_execution", "1\n"),
            Image(data=b"png"),
            "Grüße.",
            Citation("https://e.test", "E", 0, 5),
        ]
    )
    for found in (await streamed(answer), [await whole(answer)]):
        code, result, image, *_ = parts_of(found)
        assert code.executable_code is not None
        assert code.executable_code.code == "print(1)"
        assert result.code_execution_result is not None
        assert result.code_execution_result.outcome == types.Outcome.OUTCOME_OK
        assert image.inline_data is not None
        assert image.inline_data.data == b"png"
        assert found[-1].candidates is not None
        grounding = found[-1].candidates[0].grounding_metadata
        assert grounding is not None
        assert grounding.grounding_chunks is not None
        assert grounding.grounding_chunks[0].web is not None
        assert grounding.grounding_chunks[0].web.uri == "https://e.test"
        assert grounding.grounding_supports is not None
        segment = grounding.grounding_supports[0].segment
        assert segment is not None
        assert (segment.start_index, segment.end_index, segment.text) == (0, 7, "Grüße")


@pytest.mark.parametrize(
    ("finish", "word"),
    [
        (Finish("length"), types.FinishReason.MAX_TOKENS),
        (Finish("content_filter"), types.FinishReason.SAFETY),
        (Finish("tool_calls"), types.FinishReason.STOP),
        (Finish("error"), types.FinishReason.MALFORMED_RESPONSE),
        (Finish("other", "LANGUAGE"), types.FinishReason.LANGUAGE),
        (Finish("other"), types.FinishReason.OTHER),
    ],
)
async def test_finish_reasons(finish: Finish, word: types.FinishReason) -> None:
    """Each is a word that the SDK knows."""
    for found in ((await streamed(Answer(["a", finish])))[-1], await whole(Answer(["a", finish]))):
        assert found.candidates is not None
        assert found.candidates[0].finish_reason == word


async def test_a_blocked_prompt() -> None:
    """No candidates, and the reason in the feedback; not an exception, with the SDK."""
    blocked = Answer([StreamError(ContentBlockedError("not this", block_reason="PROHIBITED_CONTENT"))])
    for found in ((await streamed(blocked))[-1], await whole(blocked)):
        assert not found.candidates
        assert found.prompt_feedback is not None
        assert found.prompt_feedback.block_reason == types.BlockedReason.PROHIBITED_CONTENT


@pytest.mark.parametrize(
    ("error", "expected", "code", "status"),
    [
        (RateLimitError("x", retry_after=3), errors.ClientError, 429, "RESOURCE_EXHAUSTED"),
        (AuthenticationError("x"), errors.ClientError, 401, "UNAUTHENTICATED"),
        (PermissionDeniedError("x"), errors.ClientError, 403, "PERMISSION_DENIED"),
        (BillingError("x"), errors.ClientError, 403, "PERMISSION_DENIED"),
        (NotFoundError("x"), errors.ClientError, 404, "NOT_FOUND"),
        (InvalidRequestError("x"), errors.ClientError, 400, "INVALID_ARGUMENT"),
        (ContextLengthExceededError("x"), errors.ClientError, 400, "INVALID_ARGUMENT"),
        (ServerError("x"), errors.ServerError, 500, "INTERNAL"),
        (OverloadedError("x"), errors.ServerError, 503, "UNAVAILABLE"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, LLMError) else "",
)
async def test_errors_are_the_sdk_s_own(
    error: LLMError, expected: type[errors.APIError], code: int, status: str
) -> None:
    """Over HTTP, with and without streaming, and in the middle of a stream."""
    inside = Answer.text("one two", faults=[ErrorAfter(1, error)])
    for ask in (streamed(Answer.error(error)), whole(Answer.error(error)), streamed(inside)):
        with pytest.raises(expected) as caught:
            await ask
        assert (caught.value.code, caught.value.status, caught.value.message) == (code, status, "x")
    if isinstance(error, RateLimitError):
        assert caught.value.details["error"]["details"][0]["retryDelay"] == "3s"


@pytest.mark.parametrize("faults", [[Split(1)], [Split([3, 1, 50])], [Gzip()]], ids=repr)
async def test_harmless_faults_change_nothing(faults: Any) -> None:
    """Cuts anywhere, and compression. (Comments between events are too much for the SDK.)"""
    assert text_of(await streamed(Answer.text("Grüße 🎉 you", faults=faults))) == "Grüße 🎉 you"


@pytest.mark.req("B1")
async def test_a_stream_without_an_end() -> None:
    """The SDK says nothing about it, which is why ours must."""
    chunks = await streamed(Answer.text("one two", faults=[NoFinish()]))
    assert text_of(chunks) == "one two"
    assert not any(candidate.finish_reason for chunk in chunks for candidate in chunk.candidates or ())


async def test_a_broken_connection() -> None:
    """The HTTP library's own error comes through."""
    with pytest.raises(httpx2.RemoteProtocolError):
        await streamed(Answer.text("one two three", faults=[Cut(200)]))
