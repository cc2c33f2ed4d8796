"""A prompt goes on where it broke: no tool is run twice, and limits and sums are those of all attempts (seeds D, E6)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from _runs import DONE, call, calls, serving
from _waits import noted_waits

from asyncllm import (
    Allow,
    LLMError,
    Message,
    Retrying,
    RetryPolicy,
    ServerError,
    StreamEvent,
    Tool,
    ToolCall,
    ToolResult,
    TotalTimeout,
    Usage,
)
from asyncllm.testing import Answer, Cut, ErrorAfter, Stall

FAST = RetryPolicy(tries=3, base=0.001, empty_delay=0.001)


def typed(error: LLMError) -> Answer:
    """An answer that a classifier cannot mistake: the typed error in the wire's own form."""
    return Answer.error(error)


class Weather:
    """A tool that knows how often it was called."""

    timeout = None

    def __init__(self) -> None:
        self.called: list[object] = []
        self.spec = Tool("weather", "", {"type": "object", "properties": {"city": {"type": "string"}}})

    async def run(self, arguments: dict[str, object], report: Any) -> str:
        self.called.append(arguments["city"])
        return f"21 degrees in {arguments['city']}"


@pytest.mark.req("seed-D", "seed-E6")
async def test_a_retry_goes_on_where_it_was() -> None:
    """No tool is run twice; steps, usage and tools are those of all attempts; the broken turn is gone."""
    tool = Weather()
    broken = Answer(["I found", Usage(input_tokens=30, output_tokens=3)], faults=[ErrorAfter(2, ServerError("no"))])
    script = [
        calls(call(id="a", city="Oslo"), call(id="b", city="Rome"), text="Let me look."),
        broken,
        calls(call(id="c", city="Bergen")),
        Answer.error(status=500),
        Answer.error(status=500),
        Answer.error(status=500),
        DONE,
    ]
    events: list[StreamEvent] = []
    async with serving(script, retry=FAST) as (server, client):
        result = await client.prompt("Weather?", tools=[tool], on_event=events.append)
        assert len(server.requests) == 7
        asked = [request.asked for request in server.requests]
    assert tool.called == ["Oslo", "Rome", "Bergen"]
    assert (result.success, result.result) == (True, "It is 21 degrees.")
    assert result.metadata.turns == result.stream_result.steps == 3
    assert result.metadata.tools == {"weather": 3}
    assert result.metadata.attempts == 5  # tries count anew after a step that came through
    assert [message.role for message in result.stream_result.messages] == [
        "user",
        "assistant",
        "tool",
        "assistant",
        "tool",
        "assistant",
    ]
    assert asked[1].messages == asked[2].messages
    assert asked[3].messages == asked[6].messages
    told = [event for event in events if isinstance(event, Usage)]
    assert result.metadata.usage == result.stream_result.usage
    assert result.metadata.usage is not None
    ends = [told[0], told[-2], told[-1]]
    broke = result.metadata.usage.output_tokens - sum(usage.output_tokens for usage in ends)
    assert broke > 0
    retries = [(event.attempt, type(event.error)) for event in events if isinstance(event, Retrying)]
    assert retries == [(attempt, ServerError) for attempt in range(1, 5)]


@pytest.mark.req("seed-D")
async def test_steps_are_limited_over_all_attempts() -> None:
    """`max_steps` and `stop_when` look at the whole prompt, however often it broke."""
    script = [
        calls(call(id="a", city="Oslo")),
        Answer.error(status=500),
        calls(call(id="b", city="Oslo")),
        Answer.error(status=500),
        calls(call(id="c", city="Oslo")),
        DONE,
    ]
    async with serving(script, retry=FAST) as (server, client):
        result = await client.prompt("Weather?", tools=[Weather()], max_steps=3)
        assert len(server.requests) == 5
        assert (result.success, result.metadata.stopped, result.metadata.turns) == (True, "max_steps", 3)
    seen: list[int] = []
    async with serving(script, retry=FAST) as (_, client):
        stop = lambda reply: seen.append(reply.steps) or reply.steps == 2  # noqa: E731
        result = await client.prompt("Weather?", tools=[Weather()], stop_when=stop)
    assert (result.metadata.stopped, result.metadata.turns, seen) == ("stop_when", 2, [1, 2])


async def test_a_forced_call_is_for_the_first_step() -> None:
    """It is asked for again while that step has not come through, and not afterwards."""
    script = [Answer.error(status=500), calls(call(city="Oslo")), Answer.error(status=500), DONE]
    async with serving(script, retry=FAST) as (server, client):
        await client.prompt("Weather?", tools=[Weather()], tool_choice="weather")
        asked = [request.asked.tool_choice for request in server.requests]
    assert asked == ["weather", "weather", None, None]


async def test_results_that_the_conversation_waited_for() -> None:
    """Calls at the end of the given history are made once, though the answer to their results broke."""
    tool = Weather()
    history = [Message("user", "Weather?"), Message("assistant", [call(city="Oslo")])]
    async with serving([Answer.error(status=500), Answer.text("one", faults=[Cut(200)]), DONE], retry=FAST) as (
        server,
        client,
    ):
        result = await client.prompt(history, tools=[tool])
        assert [len(request.asked.messages) for request in server.requests] == [3, 3, 3]
    assert tool.called == ["Oslo"]
    assert (result.result, result.metadata.tools) == ("It is 21 degrees.", {"weather": 1})


async def test_an_error_of_approve_does_not_repeat_its_calls() -> None:
    """It comes while calls are made: what of them was carried out nobody can say, so the error is raised, whatever it is."""
    tool = Weather()
    asked: list[str] = []

    async def approve(asked_for: ToolCall) -> Allow:
        asked.append(asked_for.id)
        if asked_for.id == "b":
            raise ServerError("the model that decides is down")
        return Allow()

    script = [calls(call(id="a", city="Oslo"), call(id="b", city="Rome")), DONE]
    async with serving(script, retry=FAST) as (server, client):
        with pytest.raises(ServerError, match="decides"):
            await client.prompt("Weather?", tools=[tool], approve=approve)
        assert (asked, len(server.requests)) == (["a", "b"], 1)


@pytest.mark.req("seed-D")
async def test_the_time_is_limited_over_all_attempts(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout.total` is for the prompt: a wait that would not leave any time is not begun, and silence ends it, untried."""
    waits = noted_waits(monkeypatch)
    async with serving(Answer.error(status=500), retry=5, timeout=12) as (server, client):
        result = await client.prompt("Hi")
        assert (result.success, waits, len(server.requests)) == (False, [5, 10], 3)
    async with serving(Answer.text("one two", faults=[Stall(1)]), retry=FAST, timeout=0.2) as (server, client):
        result = await client.prompt("Hi")
        assert len(server.requests) == 1
    assert isinstance(result.error, TotalTimeout)
    assert "0.2 s" in result.stderr
    assert result.result == "one"


async def test_the_wait_is_cut_short_by_cancelling() -> None:
    """A prompt that waits for its next try ends with its task."""
    waiting = asyncio.Event()

    def on_event(event: StreamEvent) -> None:
        if isinstance(event, Retrying):
            waiting.set()

    async with serving(Answer.error(status=500), retry=3) as (server, client):
        task = asyncio.create_task(client.prompt("Hi", on_event=on_event))
        await asyncio.wait_for(waiting.wait(), 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(server.requests) == 1


async def test_tools_are_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Calls that failed, too; what was never answered is not counted."""
    script = [calls(call(id="a", city="Oslo"), call("no_such_tool", id="b")), DONE]
    async with serving(script, retry=FAST) as (_, client):
        result = await client.prompt("Weather?", tools=[Weather()])
    assert result.metadata.tools == {"weather": 1, "no_such_tool": 1}
    told = [part for message in result.messages for part in message.parts if isinstance(part, ToolResult)]
    assert [part.is_error for part in told] == [False, True]
