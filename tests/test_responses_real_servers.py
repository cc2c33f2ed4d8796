"""The Responses API of real servers: recordings of llama.cpp, vLLM and transformers, and a llama-server that runs."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
from _replay import replaying

from asyncllm import (
    Client,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    Message,
    Reply,
    Tool,
    ToolResult,
    Usage,
    check_order,
)

SERVERS = Path(__file__).parent / "fixtures" / "servers"
TINY = "I am a tiny test model "
CUT_CALL = "<tool_call>\n" * 100
PARIS = '{"city":"Paris","unit":"c"}'

REPLIES: dict[str, dict[str, Any]] = {
    # llama.cpp names no places of items, and says "completed" where the limit was reached
    "llama-server-b10434-scripted/responses_stream": {
        "text": f"Hello! {TINY}",
        "raw": "completed",
        "usage": (52, 12, 51),
    },
    "llama-server-b10434-scripted/responses_tool_stream": {
        "calls": [("get_weather", PARIS), ("get_weather", '{"city":":","unit":"c"}')],
        "finish_reason": "tool_calls",
        "usage": (401, 122, 294),
    },
    # transformers names no events
    "transformers-serve-5.18-scripted/responses_stream": {"text": f"Hello there, {TINY}", "usage": (43, 12, 0)},
    "transformers-serve-5.18-scripted/responses_tool_stream": {"text": CUT_CALL, "finish_reason": "stop"},
    # vLLM says `response.completed` for a response whose status is "incomplete"
    "vllm-0.32-scripted/responses_stream": {
        "text": f"Hello there, {TINY}",
        "finish_reason": "length",
        "raw": "max_output_tokens",
    },
    "vllm-0.32-scripted/responses_tool_stream": {
        "calls": [("get_weather", '{"city": "Paris", "unit": "c"}')],
        "finish_reason": "tool_calls",
        "usage": (342, 7, 0),
    },
    "vllm-0.32-scripted-reasoning/responses_stream": {
        "text": "",
        "reasoning": f"Hello there, {TINY}%>{{",
        "finish_reason": "length",
    },
}


def recorded() -> set[str]:
    return {
        str(path.relative_to(SERVERS)).removesuffix(".request.json")
        for path in SERVERS.glob("*/*.request.json")
        if json.loads(path.read_text())["path"] == "/v1/responses"
    }


def test_every_recording_has_an_expectation() -> None:
    """No recording of this wire is left out."""
    assert recorded() == set(REPLIES)


def facts(reply: Reply[object]) -> dict[str, Any]:
    return {
        "text": reply.text,
        "reasoning": reply.reasoning,
        "finish_reason": reply.finish_reason,
        "raw": reply.raw_finish_reason,
        "calls": [(call.name, call.raw_arguments) for call in reply.tool_calls if call.arguments is not None],
        "usage": reply.usage and (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cache_read_tokens),
    }


@pytest.mark.req("seed-A13", "B6", "B8", "E1", "G10")
@pytest.mark.parametrize("step", [None, 1, 7], ids=["whole", "by-byte", "by-7"])
@pytest.mark.parametrize("name", sorted(REPLIES))
async def test_recording_gives_its_reply(name: str, step: int | None) -> None:
    """What the server said, in whatever pieces the network brought it."""
    async with replaying((SERVERS / f"{name}.http").read_bytes(), step=step) as base_url:
        async with Client("openai-responses/scripted", base_url=base_url, api_key="k", retry=0, timeout=20) as client:
            async with client.stream("Hi") as stream:
                check_order([event async for event in stream])
                found = facts(await stream.reply())
    assert {key: found[key] for key in REPLIES[name]} == REPLIES[name]


@pytest.mark.req("B1")
@pytest.mark.parametrize("name", sorted(REPLIES))
async def test_a_recording_cut_anywhere_is_never_a_success(name: str) -> None:
    """Truncated in many places: whole only with its last event."""
    whole = (SERVERS / f"{name}.http").read_bytes()
    head, end = whole.index(b"\r\n\r\n") + 4, whole.rindex(b"response.completed")
    for at in range(head, end, max(1, (end - head) // 40)):
        async with replaying(whole[:at]) as base_url:
            async with Client("openai-responses/m", base_url=base_url, api_key="k", retry=0, timeout=20) as client:
                with pytest.raises(IncompleteStreamError) as caught:
                    await client.complete("Hi")
        assert caught.value.partial is not None
        assert caught.value.partial.finish_reason is None


# ---- a server that runs

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


@pytest.fixture
async def client(llama_server: str) -> AsyncIterator[Client]:
    async with Client(
        "openai-responses/scripted", base_url=llama_server, api_key="none", temperature=0, retry=0, timeout=60
    ) as made:
        yield made


async def test_plain(client: Client) -> None:
    """Text and usage, in a legal order."""
    async with client.stream("Say hello.") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    check_order(events)
    assert (reply.text, reply.finish_reason) == (HELLO, "stop")
    assert sum(isinstance(event, Usage) for event in events) == 1


async def test_reasoning_and_its_replay(client: Client) -> None:
    """Reasoning comes as events of its own, and the turn goes back with it."""
    reply = await client.complete("Say hello. /think")
    assert (reply.reasoning, reply.text) == ("Let me think", HELLO)
    assert (await client.complete([*reply.messages, Message("user", "Say hello.")])).text == HELLO


async def test_tool_call_and_its_result(client: Client) -> None:
    """A whole exchange: the model asks, is answered, and says so."""
    asked = await client.complete("What is the weather in Paris?", tools=[WEATHER], max_tokens=200)
    call = asked.tool_calls[0]
    assert (call.name, call.arguments) == ("get_weather", {"city": "Paris", "unit": "c"})
    results = [ToolResult(one.id, one.name, '{"degrees": 21, "sky": "sunny"}') for one in asked.tool_calls]
    answered = await client.complete([*asked.messages, Message("tool", list(results))], tools=[WEATHER])
    assert answered.text == "It is 21 degrees and sunny."


async def test_a_conversation_with_a_system_prompt(client: Client) -> None:
    """Texts of the model in the history, with a phase and without, and instructions."""
    history = [Message("user", "Say hello."), Message("assistant", HELLO), Message("user", "Say hello.")]
    assert (await client.complete(history, system="Be nice.")).text == HELLO


@pytest.mark.req("seed-C")
async def test_errors(client: Client, llama_server: str) -> None:
    """What a real server refuses."""
    with pytest.raises(LLMError) as long:
        await client.complete("word " * 5000)
    assert long.value.kind == "context_length"
    with pytest.raises(InvalidRequestError):
        await client.complete("Hi", extra_body={"temperature": "hot"})


async def test_through_a_users_openai_client(llama_server: str) -> None:
    """The same through the openai SDK's own client."""
    async with openai.AsyncOpenAI(api_key="none", base_url=llama_server) as own:
        async with Client("openai-responses/scripted", http_client=own, temperature=0) as client:
            assert (await client.complete("Say hello.")).text == HELLO
