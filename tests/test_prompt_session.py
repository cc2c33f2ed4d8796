"""A prompt goes on elsewhere: the conversation is bytes on its result."""

from __future__ import annotations

import pytest
from _runs import DONE, call, calls

from asyncllm import (
    Client,
    InvalidRequestError,
    ProviderState,
    Reasoning,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolResult,
)
from asyncllm.testing import Answer, Server

SIGNED = ProviderState("anthropic", {"signature": "c2lnbmF0dXJl"})


async def weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


def client_for(model: str, server: Server) -> Client:
    return Client(model, base_url=server.base_url, api_key="k", retry=0, timeout=20)


@pytest.mark.req("seed-F3")
@pytest.mark.parametrize("other", ["anthropic/m", "openai/m", "openai-responses/m", "gemini/m"])
async def test_it_goes_on_elsewhere(other: str) -> None:
    """Thoughts, a call, its result and the answer are there for the next prompt, of another client and provider. What
    the first provider signed goes back to it, and to no other."""
    first = Answer([ReasoningDelta("hm"), ReasoningDelta("", SIGNED), call(city="Oslo")])
    async with Server([first, DONE]) as server, client_for("anthropic/m", server) as client:
        state = (await client.prompt("Weather?", tools=[weather])).session
    assert isinstance(state, bytes)
    async with Server([Answer([TextDelta("As I said.")])]) as server, client_for(other, server) as client:
        result = await client.prompt("Again?", tools=[weather], session=state)
        asked = server.requests[0].asked.messages
        sent = server.requests[0].body
    assert result.result == "As I said."
    parts = [part for message in asked for part in message.parts]
    assert [part.arguments for part in parts if isinstance(part, ToolCall)] == [{"city": "Oslo"}]
    assert "21 degrees in Oslo" in next(part.text for part in parts if isinstance(part, ToolResult))
    assert [message.text for message in asked if message.role == "user"] == ["Weather?", "Again?"]
    assert (b"c2lnbmF0dXJl" in sent) == other.startswith("anthropic")
    assert any(isinstance(part, Reasoning) for part in parts) == other.startswith("anthropic")
    assert len(result.stream_result.messages) == 6
    assert [message.text for message in result.messages] == [
        "Again?",
        "As I said.",
    ]  # the transcript is of this call alone


@pytest.mark.req("seed-F3")
async def test_a_run_that_was_stopped_goes_on() -> None:
    """The bytes of one that ended at max_steps are as good; a session that is none is told at once."""
    async with Server([calls(call(city="Oslo")), DONE]) as server, client_for("openai/m", server) as client:
        stopped = await client.prompt("Weather?", tools=[weather], max_steps=1)
        assert stopped.metadata.stopped == "max_steps"
        assert (await client.prompt("Well?", tools=[weather], session=stopped.session)).result == "It is 21 degrees."
        for wrong in (b"", b"{}", b"\xff", 3):
            with pytest.raises(InvalidRequestError):
                await client.prompt("Well?", session=wrong)  # type: ignore[arg-type]
        assert len(server.requests) == 2
