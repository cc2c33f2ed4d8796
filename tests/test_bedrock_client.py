"""`bedrock/...` through the whole client, over a socket: whole exchanges, how they end, and how they are left."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest
from _aws import isolate, set_keys
from _bedrock import stream, talking
from _converse import START, TAIL, body_of, call, delta, done, stop
from _rawserver import SOON

from asyncllm import (
    Client,
    Finish,
    InterTokenTimeout,
    InvalidRequestError,
    Message,
    NotFoundError,
    ReasoningDelta,
    Text,
    TextDelta,
    Timeout,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
)
from asyncllm.events import LLMTimeoutError
from asyncllm.testing import Answer, Gzip, KeepAlive, Server, SlowHeaders, Split, Stall, Wait


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch)


# ---- whole exchanges

WEATHER = Tool("weather", "Tells it", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.mark.req("seed-A7", "E7", "G5")
async def test_a_tool_exchange_with_signed_reasoning(keys: None) -> None:
    """The second request carries the first answer's reasoning with its signature, its call, and the result."""
    first = [
        START,
        delta(0, reasoningContent={"text": "Let me look."}),
        delta(0, reasoningContent={"signature": "c2lnbmVk"}),
        stop(0),
        delta(1, reasoningContent={"redactedContent": "U0VDUkVU"}),
        stop(1),
        *call(2, "tooluse_1", "weather", '{"city":', '"Oslo"}'),
        done("tool_use"),
        TAIL,
    ]
    async with talking([stream(body_of(first)), Answer.text("Rain.")]) as (client, server):
        reply = await client.complete("Rain?", tools=[WEATHER], reasoning=2048)
        (asked,) = reply.tool_calls
        result = Message("tool", [ToolResult(asked.id, asked.name, "7 degrees")])
        reply = await client.complete([*reply.messages, result], tools=[WEATHER], reasoning=2048)
    assert reply.text == "Rain."
    assert server.requests[1].json["messages"] == [
        {"role": "user", "content": [{"text": "Rain?"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Let me look.", "signature": "c2lnbmVk"}}},
                {"reasoningContent": {"redactedContent": "U0VDUkVU"}},
                {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Oslo"}}},
            ],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "7 degrees"}]}}]},
    ]


@pytest.mark.req("seed-A7")
async def test_the_events_of_a_stream(keys: None) -> None:
    """Reasoning, text, a call, usage and finish, in a legal order, from the same script as for every other wire."""
    usage = Usage(input_tokens=9, output_tokens=5, cache_read_tokens=4)
    script = Answer(
        [ReasoningDelta("hm"), "Let me see", ToolCall("t", "weather", {"city": "Oslo"}), usage],
        faults=[Split([7, 1, 30])],
    )
    async with talking(script) as (client, server):
        async with client.stream("Rain?", tools=[WEATHER]) as answer:
            events = [event async for event in answer]
            reply = await answer.reply()
    check_order(events)
    assert (reply.reasoning, reply.text, reply.backend) == ("hm", "Let me see", "bedrock")
    assert [(called.name, called.arguments) for called in reply.tool_calls] == [("weather", {"city": "Oslo"})]
    assert reply.usage is not None
    assert msgspec.structs.replace(reply.usage, raw=None) == usage
    assert events[-1] == Finish("tool_calls", "tool_use")
    assert server.requests[0].asked.tools == (WEATHER,)


async def test_structured_output_that_the_model_refuses_is_asked_for_in_the_prompt(keys: None) -> None:
    """Once, and from then on for this model."""
    refusal = Answer.error(InvalidRequestError("This model doesn't support the outputConfig field.", status=400))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    async with talking([refusal, Answer.text('{"a": 1}')]) as (client, server):
        for _ in range(2):
            assert (await client.complete("Hi", output=schema)).output == {"a": 1}
    assert ["outputConfig" in request.json for request in server.requests] == [True, False, False]


async def test_a_conversation_through_the_demo(keys: None) -> None:
    """The embedded server's own models answer on this wire, too."""
    async with Server() as server, Client("bedrock/demo%2Fx", base_url=server.base_url, retry=0) as client:
        with pytest.raises(NotFoundError):
            await client.complete("Hi")
    async with Server() as server, Client("bedrock/echo", base_url=server.base_url, retry=0) as client:
        assert "You said: Hi" in (await client.complete("Hi")).text


async def test_bad_input_is_told_before_anything_is_sent(keys: None) -> None:
    """With its place in the conversation."""
    async with talking() as (client, server):
        with pytest.raises(InvalidRequestError, match=r"messages\[1\]"):
            await client.complete([Message("user", "a"), Message("user", [Text("")])])
        assert server.requests == []


# ---- how a stream comes, and ends well


@pytest.mark.req("G4", "H10")
async def test_events_that_keep_the_connection_alive_are_passed_over(keys: None) -> None:
    """They say nothing, and are no token: silence between the words is still measured."""
    async with talking(Answer.text("Hello there", faults=[KeepAlive(before=2, between=3)])) as (client, _):
        assert (await client.complete("Hi")).text == "Hello there"
    async with talking(Answer.text("Hello there", faults=[Stall(1, keep_alive=0.01)])) as (client, _):
        with pytest.raises(InterTokenTimeout):
            await client.complete("Hi", timeout=Timeout(inter_token=0.1, idle=0.05))


async def test_a_compressed_stream(keys: None) -> None:
    """A proxy may do that."""
    async with talking(Answer.text("Hello there", faults=[Gzip()])) as (client, _):
        assert (await client.complete("Hi")).text == "Hello there"


@pytest.mark.req("B2")
async def test_the_answer_is_whole_with_message_stop(keys: None) -> None:
    """Where no usage follows and the connection stays open, the end does not wait for more than a moment."""
    async with talking(stream(body_of([START, delta(0, text="a"), stop(0), done()]), Wait())) as (client, _):
        reply = await client.complete("Hi")
    assert (reply.text, reply.finish_reason) == ("a", "stop")


async def test_one_connection_serves_many_requests(keys: None) -> None:
    """An answer that ended well leaves its connection for the next."""
    async with talking() as (client, server):
        for _ in range(3):
            await client.complete("Hi")
        assert server.connections.opened == 1


# ---- how it is left


@pytest.mark.req("H1", "H3")
@pytest.mark.parametrize("way", ["break", "aclose", "cancel"])
async def test_leaving_early_is_seen_by_the_server_at_once(way: str, keys: None) -> None:
    """By leaving the block, by closing, by cancelling the task: within milliseconds, with the stream in the middle."""
    async with talking(Answer.text("one two three", faults=[Stall(1)])) as (client, server):
        there = asyncio.Event()

        async def read() -> None:
            async with client.stream("Hi") as answer:
                async for event in answer:
                    if isinstance(event, TextDelta):
                        there.set()
                        if way == "break":
                            return
                        if way == "aclose":
                            await answer.aclose()
                            return

        task = asyncio.create_task(read())
        await there.wait()
        begun = asyncio.get_running_loop().time()
        if way == "cancel":
            task.cancel()
        closed = await server.wait_closed()
        assert closed - begun < SOON
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.req("H9", "H16")
async def test_silence_is_measured_by_our_limits_alone(keys: None) -> None:
    """No library's own 60 seconds of reading are in the way: the limits are the call's, before and between the words."""
    assert (Timeout().idle or 0) > 60
    async with talking(Answer.text("one two three", faults=[Stall(1)])) as (client, server):
        with pytest.raises(InterTokenTimeout) as caught:
            await client.complete("Hi", timeout=Timeout(inter_token=0.05))
        assert caught.value.partial is not None
        assert caught.value.partial.text == "one"
        await server.wait_closed()
    async with talking(Answer.text("x", faults=[SlowHeaders(Wait())])) as (client, server):
        with pytest.raises(LLMTimeoutError):
            await client.complete("Hi", timeout=Timeout(first_token=0.05))
        await server.wait_closed()
    async with talking(Answer.text("one two", faults=[Stall(1)])) as (client, server):
        with pytest.raises(LLMTimeoutError):
            await client.complete("Hi", timeout=Timeout(idle=0.05))
