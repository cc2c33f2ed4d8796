"""A real server: llama.cpp's llama-server with a hand-made model that answers the same things every time."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from typing import Any, TypedDict

import openai
import pytest
from _mcp import nothing_left, served
from mcp.server.mcpserver import MCPServer

from asyncllm import (
    MCP,
    Client,
    ContextLengthExceededError,
    InvalidRequestError,
    Message,
    NotFoundError,
    RawEvent,
    ReasoningDelta,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
)

pytestmark = pytest.mark.req("seed-A1")

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


class City(TypedDict):
    name: str
    age: int


@pytest.fixture
async def client(llama_server: str) -> AsyncIterator[Client]:
    async with Client("llama.cpp/scripted", base_url=llama_server, temperature=0, retry=0, timeout=60) as made:
        yield made


async def test_plain(client: Client) -> None:
    """Text and usage of a real stream, in a legal order."""
    async with client.stream("Say hello.") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    check_order(events)
    assert reply.text == HELLO
    assert reply.finish_reason == "stop"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 15
    assert sum(isinstance(event, Usage) for event in events) == 1
    assert reply.model == "scripted"


async def test_tool_call_and_its_result(client: Client) -> None:
    """A whole exchange: the model asks, is answered, and says so."""
    asked = await client.complete("What is the weather in Paris?", tools=[WEATHER], max_tokens=200)
    (call,) = asked.tool_calls
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments) == ("get_weather", {"city": "Paris", "unit": "c"})
    assert asked.finish_reason == "tool_calls"
    result = Message("tool", [ToolResult(call.id, call.name, '{"degrees": 21, "sky": "sunny"}')])
    answered = await client.complete([*asked.messages, result], tools=[WEATHER])
    assert answered.text == "It is 21 degrees and sunny."


async def get_weather(city: str, unit: str) -> str:
    """Get the weather in a city."""
    return f'{{"city": "{city}", "degrees": 21, "sky": "sunny"}}'


@pytest.mark.req("seed-E1", "seed-E2", "seed-E4", "seed-E7")
@pytest.mark.parametrize("kind", ["function", "mcp"])
async def test_a_run_with_a_tool(client: Client, kind: str) -> None:
    """The whole loop: a Python function, and the tool of an MCP server, which the model knows as `weather__get_weather`."""
    server = MCPServer("weather")
    server.add_tool(get_weather)
    async with nothing_left():
        tools = [get_weather if kind == "function" else MCP(server)]
        async with client.run("What is the weather in Paris?", tools=tools, max_tokens=200) as stream:
            events = [event async for event in stream]
            reply = await stream.reply()
    check_order(events)
    (result,) = [event for event in events if isinstance(event, ToolResult)]
    assert result.name == ("get_weather" if kind == "function" else "weather__get_weather")
    assert (result.is_error, '"city": "Paris"' in result.text) == (False, True)
    assert (reply.text, reply.steps, reply.stopped) == ("It is 21 degrees and sunny.", 2, None)


@pytest.mark.req("seed-E1")
async def test_a_run_with_a_server_over_http(client: Client) -> None:
    """The same over streamable HTTP, with one tool of the server's dozen."""
    with served() as http:
        http_tools = MCP(http.url, include="weather")
        reply = await client.run("What is the weather in Paris?", tools=[http_tools], max_tokens=200).reply()
    results = [part for message in reply.messages for part in message.parts if isinstance(part, ToolResult)]
    assert [(result.name, result.is_error) for result in results] == [("everyday__weather", False)]
    assert json.loads(results[0].text) == {"degrees": 21, "sky": "sunny in Paris"}
    assert reply.text == "It is 21 degrees and sunny."


@pytest.mark.req("seed-B10")
async def test_json_schema(client: Client) -> None:
    """Structured output that a real grammar enforces."""
    reply = await client.complete("Which city?", output=City)
    assert reply.output == {"name": "Paris", "age": 42}


@pytest.mark.req("E1")
async def test_reasoning(client: Client) -> None:
    """Reasoning comes as events of its own, before the answer."""
    async with client.stream("Say hello. /think") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    assert any(isinstance(event, ReasoningDelta) for event in events)
    assert (reply.reasoning, reply.text) == ("Let me think", HELLO)


@pytest.mark.req("B9")
async def test_output_limit(client: Client) -> None:
    """`max_tokens` is understood, and its reason is "length"."""
    reply = await client.complete("Count. /long", max_tokens=40)
    assert reply.finish_reason == "length"
    assert reply.usage is not None
    assert reply.usage.output_tokens == 40


async def test_two_choices(client: Client) -> None:
    """n=2: one answer in the events, both in the raw events, and a warning."""
    async with client.stream("Say hello.", extra_body={"n": 2}, raw=True) as stream:
        raws = [event.data async for event in stream if isinstance(event, RawEvent)]
        reply = await stream.reply()
    assert reply.text == HELLO
    assert any("n > 1" in warning for warning in reply.warnings)
    indexes = {choice["index"] for raw in raws for choice in raw["choices"]}  # type: ignore[index]
    assert 1 in indexes


@pytest.mark.req("seed-C")
async def test_errors(client: Client, llama_server: str) -> None:
    """What a real server refuses, and how."""
    with pytest.raises(ContextLengthExceededError) as long:
        await client.complete("word " * 5000)
    assert long.value.status == 400
    with pytest.raises(InvalidRequestError):
        await client.complete("Hi", extra_body={"temperature": "hot"})
    async with Client("llama.cpp/scripted", base_url=f"{llama_server}/nowhere", retry=0) as lost:
        with pytest.raises(NotFoundError):
            await lost.complete("Hi")


def _busy_slots(llama_server: str) -> int:
    """How many requests the server is working on."""
    with urllib.request.urlopen(f"{llama_server.removesuffix('/v1')}/slots") as answer:
        slots: list[dict[str, Any]] = json.load(answer)
    return sum(bool(slot["is_processing"]) for slot in slots)


@pytest.mark.req("H1", "H3")
async def test_disconnect_stops_the_model(client: Client, llama_server: str) -> None:
    """Leaving the stream stops the generation: the server's slot is free again."""
    async with client.stream("Count. /long", max_tokens=4000, extra_body={"ignore_eos": True}) as stream:
        await anext(stream)
    async with asyncio.timeout(10):
        while await asyncio.to_thread(_busy_slots, llama_server):
            await asyncio.sleep(0.01)


async def test_through_a_users_openai_client(llama_server: str) -> None:
    """The same through the openai SDK's own client."""
    async with openai.AsyncOpenAI(api_key="none", base_url=llama_server) as own:
        async with Client("llama.cpp/scripted", http_client=own, temperature=0) as client:
            assert (await client.complete("Say hello.")).text == HELLO


async def test_many_at_once(client: Client) -> None:
    """Thirty streams over two slots: all are whole."""
    replies = await asyncio.gather(*(client.complete("Say hello.") for _ in range(30)))
    assert {reply.text for reply in replies} == {HELLO}
