"""Other servers of the Messages wire: recorded, and a real llama-server with a model that answers the same every time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from _replay import replaying

from asyncllm import (
    Client,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    Message,
    ReasoningDelta,
    Tool,
    ToolResult,
    Usage,
    check_order,
)

SERVERS = Path(__file__).parent / "fixtures" / "servers"
LLAMA, VLLM, VLLM_R = "llama-server-b10434-scripted", "vllm-0.32-scripted", "vllm-0.32-scripted-reasoning"
HELLO = "Hello! I am a tiny test model 🎉."
WEATHER = Tool(
    "get_weather",
    "Get the weather in a city",
    {
        "type": "object",
        "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["c", "f"]}},
        "required": ["city", "unit"],
        "additionalProperties": False,
    },
)

RECORDED: dict[str, dict[str, Any]] = {
    f"{LLAMA}/anthropic_messages_stream": {
        "text": "Hello! I am a tiny test model ",
        "finish": ("length", "max_tokens"),
        "usage": (52, 12, 51),
    },
    f"{LLAMA}/anthropic_tool_stream": {
        "calls": [("get_weather", {"city": ":42,", "unit": "f"})],
        "finish": ("tool_calls", "tool_use"),
        "usage": (402, 67, 106),
    },
    f"{VLLM_R}/anthropic_messages_stream": {
        "reasoning": "Hello there, I am a tiny test model \ufffd}o",
        "signature": "4b7667f9fc684773bc51df273561574c",
        "finish": ("length", "max_tokens"),
        "usage": (43, 12, 0),
    },
    f"{VLLM}/anthropic_tool_stream": {  # its model said a number where an object should be: nothing to run
        "calls": [("get_weather", None)],
        "finish": ("tool_calls", "tool_use"),
        "usage": (341, 46, 0),
    },
}


def test_every_recording_has_an_expectation() -> None:
    """No recording of this wire is left out, and none is expected that does not exist."""
    found = {
        str(path.relative_to(SERVERS)).removesuffix(".request.json")
        for path in SERVERS.glob("*/*.request.json")
        if json.loads(path.read_text())["path"] == "/v1/messages"
    }
    assert found == set(RECORDED)


@pytest.mark.req("seed-A8", "F6", "E7")
@pytest.mark.parametrize("step", [None, 1, 7], ids=["whole", "by-byte", "by-7"])
@pytest.mark.parametrize("name", sorted(RECORDED))
async def test_recording_gives_its_reply(name: str, step: int | None) -> None:
    """What the server said, in whatever pieces the network brought it."""
    want = RECORDED[name]
    async with replaying((SERVERS / f"{name}.http").read_bytes(), step=step) as url:
        async with Client("anthropic/scripted", base_url=url, api_key="k", retry=0, timeout=20) as client:
            async with client.stream("Hi") as stream:
                check_order([event async for event in stream])
                reply = await stream.reply()
    assert (reply.text, reply.reasoning) == (want.get("text", ""), want.get("reasoning", ""))
    assert [(call.name, call.arguments) for call in reply.tool_calls] == want.get("calls", [])
    assert (reply.finish_reason, reply.raw_finish_reason) == want["finish"]
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cache_read_tokens) == want["usage"]
    states = [part.state.data for part in reply.message.parts if part.state is not None]
    assert states == ([{"signature": want["signature"]}] if "signature" in want else [])


# ---- a real server


@pytest.fixture
async def client(llama_server: str) -> AsyncIterator[Client]:
    async with Client("anthropic/scripted", base_url=llama_server, api_key="none", retry=0, timeout=60) as made:
        yield made


@pytest.mark.req("seed-A8")
async def test_text(client: Client) -> None:
    """Text and usage of a real stream, in a legal order."""
    async with client.stream("Say hello.", temperature=0, system="Be brief.", max_tokens=100) as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    check_order(events)
    assert (reply.text, reply.finish_reason, reply.raw_finish_reason) == (HELLO, "stop", "end_turn")
    assert reply.usage is not None
    assert reply.usage.output_tokens > 0
    assert any(isinstance(event, Usage) for event in events)


async def test_tool_call_and_its_result(client: Client) -> None:
    """A whole exchange: the model asks, is answered, and says so."""
    asked = await client.complete("What is the weather in Paris?", tools=[WEATHER], temperature=0, max_tokens=200)
    (call,) = asked.tool_calls
    assert (call.name, call.arguments) == ("get_weather", {"city": "Paris", "unit": "c"})
    assert asked.finish_reason == "tool_calls"
    result = Message("tool", [ToolResult(call.id, call.name, '{"degrees": 21, "sky": "sunny"}')])
    answered = await client.complete([*asked.messages, result], tools=[WEATHER], temperature=0)
    assert answered.text == "It is 21 degrees and sunny."


@pytest.mark.req("E1")
async def test_thinking(client: Client) -> None:
    """It comes as reasoning, before the answer, and the conversation goes on with it."""
    async with client.stream("Say hello. /think", temperature=0) as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    assert any(isinstance(event, ReasoningDelta) for event in events)
    assert (reply.reasoning, reply.text) == ("Let me think", HELLO)
    again = await client.complete([*reply.messages, Message("user", "Say hello.")], temperature=0)
    assert again.text


@pytest.mark.req("B9")
async def test_output_limit(client: Client) -> None:
    """`max_tokens` is understood, and its reason is "length"."""
    reply = await client.complete("Count. /long", max_tokens=40, temperature=0)
    assert (reply.finish_reason, reply.raw_finish_reason) == ("length", "max_tokens")


@pytest.mark.req("seed-C")
async def test_errors(client: Client) -> None:
    """What a real server refuses."""
    with pytest.raises(ContextLengthExceededError):
        await client.complete("word " * 5000)
    with pytest.raises(LLMError) as caught:
        await client.complete("Hi", extra_body={"temperature": "hot"})
    assert isinstance(caught.value, InvalidRequestError)


@pytest.mark.req("H1", "H3")
async def test_leaving_stops_the_model(client: Client) -> None:
    """The stream is left in the middle, and the server has room for the next."""
    for _ in range(3):
        async with client.stream("Count. /long", max_tokens=2000) as stream:
            await anext(stream)
    assert (await client.complete("Say hello.", temperature=0)).text == HELLO
