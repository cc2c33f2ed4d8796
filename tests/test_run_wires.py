"""The tool loop over every wire, through a real socket: the same script, the same events."""

from __future__ import annotations

from typing import Any

import pytest
from _runs import DONE, call, calls, events_of, results
from msgspec import Struct

from asyncllm import (
    Client,
    Deny,
    Image,
    InvalidOutputError,
    Message,
    Retrying,
    Stopped,
    Text,
    Tool,
    ToolCall,
    ToolError,
    ToolResult,
)
from asyncllm.testing import Answer, Server

WIRES: dict[str, tuple[str, dict[str, Any]]] = {
    "openai_chat": ("openai/m", {}),
    "openai_responses": ("openai-responses/m", {}),
    "anthropic": ("anthropic/m", {"max_tokens": 1000}),
    "gemini": ("gemini/m", {}),
    "vertex": ("vertex/m", {}),
    "bedrock": ("bedrock/m", {"region": "eu-west-1"}),
    "ollama": ("ollama-native/m", {}),
}
each_wire = pytest.mark.parametrize("wire", WIRES)
PIXEL = b"\x89PNG\r\n\x1a\n" + bytes(20)


def client_for(wire: str, server: Server) -> Client:
    model, options = WIRES[wire]
    key = {} if wire == "ollama" else {"api_key": "k"}
    root = server.base_url.removesuffix("/v1") if wire in ("ollama", "bedrock") else server.base_url
    return Client(model, base_url=root, retry=0, timeout=20, **key, **options)


async def weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


def look(at: str) -> list[Text | Image]:
    """Look at something."""
    return [Text(f"This is {at}."), Image(data=PIXEL)]


def broken(what: str) -> str:
    """Always fails."""
    raise ValueError(f"no {what} here")


@each_wire
@pytest.mark.req("seed-E1", "seed-E3", "seed-E4", "seed-E6")
async def test_parallel_calls_and_their_results(wire: str) -> None:
    """Three steps: two calls at once, of which one fails; one with an image; then the answer. All of it is in the history that
    the provider is shown, in order."""
    asked = [call("weather", id="call_a", city="Oslo"), call("broken", id="call_b", what="rain")]
    script = [calls(*asked, text="Let me look."), calls(call("look", id="call_c", at="the sky")), DONE]
    async with Server(script) as server, client_for(wire, server) as client:
        stream = client.run("Weather?", tools=[weather, look, broken], system="Be brief.")
        events = await events_of(stream)
        reply = await stream.reply()
    told = [(result.name, result.text, result.is_error) for result in results(events)]
    assert told == [
        ("weather", "21 degrees in Oslo", False),
        ("broken", "ValueError: no rain here", True),
        ("look", "This is the sky.[image]", False),
    ]
    assert (reply.text, reply.steps, reply.finish_reason) == ("It is 21 degrees.", 3, "stop")
    assert [message.role for message in reply.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    last = server.requests[2].asked
    parts = [part for message in last.messages for part in message.parts]
    assert [part.name for part in parts if isinstance(part, ToolCall)] == ["weather", "broken", "look"]
    said = [part.text for part in parts if isinstance(part, ToolResult)]
    assert [("21 degrees" in text, "no rain here" in text, "the sky" in text) for text in said] == [
        (True, False, False),
        (False, True, False),
        (False, False, True),
    ]
    assert [tool.name for tool in last.tools] == ["weather", "look", "broken"]
    shown = [
        part for result in parts if isinstance(result, ToolResult) for part in result.content if isinstance(part, Image)
    ]
    assert len([*shown, *(part for part in parts if isinstance(part, Image))]) == 1


@each_wire
@pytest.mark.req("seed-E4")
async def test_a_paused_run_goes_on_with_another_provider(wire: str) -> None:
    """A run that waits for its caller on one wire is answered on another: the whole conversation is taken there."""
    ask_user = Tool("ask_user", "Ask.", {"type": "object", "properties": {"question": {"type": "string"}}})
    asked = [call("weather", id="call_a", city="Oslo"), call("ask_user", id="call_b", question="Which?")]
    async with Server([calls(*asked)]) as server, client_for(wire, server) as client:
        paused = await client.run("Weather?", tools=[weather, ask_user]).reply()
    assert paused.stopped == "needs_results"
    (waiting,) = paused.tool_calls
    for other in WIRES:
        async with Server([DONE]) as server, client_for(other, server) as client:
            answered = [*paused.messages, ToolResult(waiting.id, waiting.name, "The first")]
            reply = await client.run(answered, tools=[weather, ask_user]).reply()
            assert reply.text == "It is 21 degrees."
            said = [
                part.text for m in server.requests[0].asked.messages for part in m.parts if isinstance(part, ToolResult)
            ]
            assert len(said) == 2
            assert "21 degrees in Oslo" in said[0]
            assert "The first" in said[1]


@each_wire
@pytest.mark.req("seed-B10")
async def test_an_answer_is_mended_once(wire: str) -> None:
    """What is not a City is told to the model, which answers anew; the bad answer is in no history. A second bad one is an
    error with its text."""

    class City(Struct):
        name: str
        people: int

    good = '{"name":"Oslo","people":700000}'
    script = [calls(call("weather", id="call_a", city="Oslo")), Answer.text('{"name":"Oslo"}'), Answer.text(good)]
    async with Server(script) as server, client_for(wire, server) as client:
        stream = client.run("Oslo?", tools=[weather], output=City)
        events = await events_of(stream)
        reply = await stream.reply()
        assert reply.output == City("Oslo", 700000)
        assert [type(event.error) for event in events if isinstance(event, Retrying)] == [InvalidOutputError]
        assert [message.text for message in reply.messages if message.role == "assistant"] == ["", good]
        asked = server.requests[2].asked.messages
        assert "people" in asked[-1].text
        assert asked[-2].text == '{"name":"Oslo"}'
    async with Server([Answer.text("Oslo is nice.")]) as server, client_for(wire, server) as client:
        with pytest.raises(InvalidOutputError) as caught:
            await client.complete("Oslo?", output=City)
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Oslo is nice."
        assert len(server.requests) == 2


@each_wire
@pytest.mark.req("seed-E5")
async def test_the_end_at_max_steps_goes_on_anywhere(wire: str) -> None:
    """The marked end leaves a conversation that the same provider takes on."""
    script = [calls(call("weather", id="call_a", city="Oslo")), DONE]
    async with Server(script) as server, client_for(wire, server) as client:
        events = await events_of(client.run("Weather?", tools=[weather], max_steps=1))
        assert events[-1] == Stopped("max_steps")
        reply = await client.run("Weather?", tools=[weather], max_steps=1).reply()
        again = await client.complete([*reply.messages, Message("user", "So?")])
        assert again.text == "It is 21 degrees."


@each_wire
@pytest.mark.req("seed-E3", "A1")
async def test_half_a_character_is_no_reason_to_stop(wire: str) -> None:
    """A user, a tool or whoever is asked says what UTF-8 cannot: it is replaced in the request, and the run goes on."""
    half = "x\udcffy"

    def say() -> str:
        raise ToolError(half)

    async def deny(call: ToolCall) -> Deny:
        return Deny(half)

    for approve in (None, deny):
        async with Server([calls(call("say", id="call_a")), DONE]) as server, client_for(wire, server) as client:
            reply = await client.run(half, tools=[say], approve=approve).reply()
            assert reply.text == "It is 21 degrees."
            asked = server.requests[1].asked.messages
        assert asked[0].text == "x\ufffdy"
        (told,) = [part.text for message in asked for part in message.parts if isinstance(part, ToolResult)]
        assert "x\ufffdy" in told
