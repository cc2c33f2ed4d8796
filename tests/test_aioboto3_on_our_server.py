"""AWS's own client of the embedded server: what we write is what its users' programs read."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import aiohttp
import pytest
from _aws import ACCESS, REGION, SECRET, isolate
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError, EventStreamError

from asyncllm.events import (
    AuthenticationError,
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
    TextDelta,
    ToolCall,
    Usage,
)
from asyncllm.testing import Answer, Cut, ErrorAfter, KeepAlive, Server, Split, Stall

HI = [{"role": "user", "content": [{"text": "Hi"}]}]
MODEL = "anthropic.claude-sonnet-4-5-20250929-v1:0"
TOOLS = {
    "tools": [
        {
            "toolSpec": {
                "name": "weather",
                "description": "Tells it",
                "inputSchema": {"json": {"type": "object", "properties": {"city": {"type": "string"}}}},
            }
        },
        {"cachePoint": {"type": "default"}},
    ],
    "toolChoice": {"any": {}},
}


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@asynccontextmanager
async def sdk(script: Any) -> AsyncIterator[tuple[Any, Server]]:
    session = aioboto3.Session(ACCESS, SECRET, region_name=REGION)
    config = AioConfig(retries={"total_max_attempts": 1})
    async with Server(script) as server:
        async with session.client("bedrock-runtime", endpoint_url=server.base_url, config=config) as client:
            yield client, server


async def streamed(script: Any, **options: Any) -> list[dict[str, Any]]:
    options.setdefault("messages", HI)
    async with sdk(script) as (client, _):
        response = await client.converse_stream(modelId=MODEL, **options)
        return [event async for event in response["stream"]]


def kinds(events: list[dict[str, Any]]) -> list[str]:
    return [next(iter(event)) for event in events]


def deltas(events: list[dict[str, Any]]) -> list[Any]:
    return [event["contentBlockDelta"]["delta"] for event in events if "contentBlockDelta" in event]


@pytest.mark.req("seed-A7", "G5")
async def test_a_text_with_its_usage() -> None:
    """In the order in which the service says it, however the bytes are cut."""
    usage = Usage(input_tokens=9, output_tokens=2, cache_read_tokens=3)
    events = await streamed(Answer(["Hello there", usage], faults=[KeepAlive(between=1), Split([5, 1, 17])]))
    assert kinds(events) == [
        "messageStart",
        *["contentBlockDelta"] * 2,
        "contentBlockStop",
        "messageStop",
        "metadata",
    ]
    assert events[0]["messageStart"] == {"role": "assistant"}
    assert "".join(delta["text"] for delta in deltas(events)) == "Hello there"
    assert events[-2]["messageStop"] == {"stopReason": "end_turn"}
    counts = events[-1]["metadata"]["usage"]
    assert (counts["inputTokens"], counts["outputTokens"], counts["totalTokens"]) == (6, 2, 11)
    assert counts["cacheReadInputTokens"] == 3


@pytest.mark.req("seed-A7", "E7")
async def test_reasoning_with_its_signature_and_its_seal() -> None:
    """Each block ends before the next begins; what is sealed arrives as bytes."""
    signed = ProviderState("bedrock", {"signature": "c2ln"}, closes=True)
    sealed = ProviderState("bedrock", {"redactedContent": "U0VDUkVU"}, closes=True)
    script = Answer([ReasoningDelta("Plan"), ReasoningDelta("", signed), ReasoningDelta("", sealed), "42"])
    events = await streamed(script)
    assert deltas(events) == [
        {"reasoningContent": {"text": "Plan"}},
        {"reasoningContent": {"signature": "c2ln"}},
        {"reasoningContent": {"redactedContent": b"SECRET"}},
        {"text": "42"},
    ]
    stops = [event["contentBlockStop"]["contentBlockIndex"] for event in events if "contentBlockStop" in event]
    assert stops == [0, 1, 2]


@pytest.mark.req("seed-A7", "G5")
async def test_tool_calls() -> None:
    """A start with id and name, the input in pieces, tool_use at the end; the request is read as it was asked."""
    async with sdk(Answer.tool_call("weather", {"city": "Oslo"}, id="tooluse_1")) as (client, server):
        response = await client.converse_stream(
            modelId=MODEL,
            messages=HI,
            system=[{"text": "Be brief"}],
            toolConfig=TOOLS,
            inferenceConfig={"maxTokens": 9, "temperature": 0.5, "topP": 0.5, "stopSequences": ["END"]},
            additionalModelRequestFields={"thinking": {"type": "enabled", "budget_tokens": 2048}},
        )
        events = [event async for event in response["stream"]]
    start = next(event["contentBlockStart"] for event in events if "contentBlockStart" in event)
    assert start["start"]["toolUse"] == {"toolUseId": "tooluse_1", "name": "weather"}
    assert "".join(delta["toolUse"]["input"] for delta in deltas(events)) == '{"city":"Oslo"}'
    assert events[-2]["messageStop"]["stopReason"] == "tool_use"
    asked = server.requests[0].asked
    assert (asked.model, asked.system, asked.max_tokens, asked.stop) == (MODEL, "Be brief", 9, ("END",))
    assert (asked.tool_choice, asked.reasoning, asked.cache) == ("required", 2048, "5m")
    assert [tool.name for tool in asked.tools] == ["weather"]


async def test_a_conversation_with_results() -> None:
    """Calls, results and images that the SDK sends are read as messages."""
    messages = [
        {"role": "user", "content": [{"text": "Look"}, {"image": {"format": "png", "source": {"bytes": b"\x89PNG"}}}]},
        {
            "role": "assistant",
            "content": [{"toolUse": {"toolUseId": "t", "name": "weather", "input": {"city": "Oslo"}}}],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t", "content": [{"json": {"rain": True}}], "status": "error"}},
                {"text": "Well?"},
            ],
        },
    ]
    async with sdk(Answer.text("ok")) as (client, server):
        await client.converse(modelId=MODEL, messages=messages, toolConfig=TOOLS)
        asked = server.requests[0].asked.messages
    assert [message.role for message in asked] == ["user", "assistant", "tool", "user"]
    assert asked[0].parts[1].data == b"\x89PNG"  # type: ignore[union-attr]
    assert asked[1].parts == [ToolCall("t", "weather", {"city": "Oslo"}, '{"city":"Oslo"}')]
    (result,) = asked[2].parts
    assert (result.name, result.text, result.is_error) == ("weather", '{"rain":true}', True)  # type: ignore[union-attr]


@pytest.mark.req("seed-A7")
async def test_a_whole_answer() -> None:
    """`converse`, which does not stream: text, reasoning, calls, usage and the end in one object."""
    signed = ProviderState("bedrock", {"signature": "c2ln"}, closes=True)
    call = ToolCall("t", "weather", {"city": "Oslo"})
    script = Answer([ReasoningDelta("Plan"), ReasoningDelta("", signed), "So: ", call, Usage(input_tokens=4)])
    async with sdk(script) as (client, _):
        answer = await client.converse(modelId=MODEL, messages=HI)
    assert answer["output"]["message"] == {
        "role": "assistant",
        "content": [
            {"reasoningContent": {"reasoningText": {"text": "Plan", "signature": "c2ln"}}},
            {"text": "So: "},
            {"toolUse": {"toolUseId": "t", "name": "weather", "input": {"city": "Oslo"}}},
        ],
    }
    assert answer["stopReason"] == "tool_use"
    assert answer["usage"]["inputTokens"] == 4
    assert answer["metrics"] == {"latencyMs": 0}


async def test_citations_and_a_guardrail() -> None:
    """A source with its quote, and an answer that was intervened in, with the trace of it."""
    trace = {"guardrail": {"actionReason": "Guardrail blocked."}}
    script = Answer(
        [
            TextDelta("cited"),
            Citation("", "Doc", quote="as it says"),
            Finish("content_filter", "guardrail_intervened", {"trace": trace}),
        ]
    )
    events = await streamed(script)
    assert deltas(events)[1] == {"citation": {"title": "Doc", "sourceContent": [{"text": "as it says"}]}}
    assert events[-2]["messageStop"]["stopReason"] == "guardrail_intervened"
    assert events[-1]["metadata"]["trace"] == trace


@pytest.mark.req("C8", "seed-C")
@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RateLimitError("slow down"), "throttlingException"),
        (OverloadedError("busy"), "serviceUnavailableException"),
        (ServerError("failed"), "internalServerException"),
        (InvalidRequestError("wrong"), "validationException"),
        (LLMTimeoutError("late"), "modelStreamErrorException"),
        (PermissionDeniedError("no"), "modelStreamErrorException"),
    ],
)
async def test_exceptions_inside_a_stream(error: LLMError, code: str) -> None:
    """After two events, under the name that the SDK's users catch, with the message."""
    seen: list[str] = []
    async with sdk(Answer.text("one two three", faults=[ErrorAfter(2, error)])) as (client, _):
        response = await client.converse_stream(modelId=MODEL, messages=HI)
        with pytest.raises(EventStreamError) as caught:
            async for event in response["stream"]:
                seen += kinds([event])
        response["stream"].close()  # the SDK leaves that to its users
    assert seen == ["messageStart", "contentBlockDelta", "contentBlockDelta"]
    assert caught.value.response["Error"]["Code"] == code
    assert error.message in str(caught.value)


@pytest.mark.req("C8", "seed-C")
@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (RateLimitError("slow down"), 429, "ThrottlingException"),
        (AuthenticationError("who"), 403, "UnrecognizedClientException"),
        (PermissionDeniedError("no"), 403, "AccessDeniedException"),
        (NotFoundError("none"), 404, "ResourceNotFoundException"),
        (ContextLengthExceededError("long"), 400, "ValidationException"),
        (ContentBlockedError("bad"), 400, "ValidationException"),
        (LLMTimeoutError("late"), 408, "ModelTimeoutException"),
        (OverloadedError("busy"), 503, "ServiceUnavailableException"),
        (ServerError("failed", request_id="r-1"), 500, "InternalServerException"),
    ],
)
@pytest.mark.parametrize("method", ["converse_stream", "converse"])
async def test_http_errors(error: LLMError, status: int, code: str, method: str) -> None:
    """Status, code and message as the SDK shows them, with the id of the request."""
    async with sdk(Answer.error(error)) as (client, _):
        with pytest.raises(ClientError) as caught:
            await getattr(client, method)(modelId=MODEL, messages=HI)
    response = caught.value.response
    assert response["ResponseMetadata"]["HTTPStatusCode"] == status
    assert response["Error"]["Code"] == code
    assert error.message in response["Error"]["Message"]
    if error.request_id:
        assert response["ResponseMetadata"]["HTTPHeaders"]["x-amzn-requestid"] == "r-1"


async def test_a_request_that_the_service_would_refuse() -> None:
    """Blank text is a validation error, in words like the service's."""
    async with sdk(Answer.text("x")) as (client, _):
        with pytest.raises(ClientError, match="is blank") as caught:
            await client.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": " "}]}])
    assert caught.value.response["Error"]["Code"] == "ValidationException"


async def test_a_cut_stream_is_one_for_the_sdk_too() -> None:
    """The connection ends in the middle of the body."""
    async with sdk(Answer.text("one two three", faults=[Cut(300)])) as (client, _):
        response = await client.converse_stream(modelId=MODEL, messages=HI)
        with pytest.raises(aiohttp.ClientPayloadError):
            async for _event in response["stream"]:
                pass
        response["stream"].close()


async def test_leaving_early_closes_the_connection() -> None:
    """Closing the SDK's stream midway is seen by the server."""
    async with sdk(Answer.text("one two", faults=[Stall(1)])) as (client, server):
        response = await client.converse_stream(modelId=MODEL, messages=HI)
        async for event in response["stream"]:
            if "contentBlockDelta" in event:
                break
        response["stream"].close()
        await server.wait_closed()
        assert server.connections.open == 0
