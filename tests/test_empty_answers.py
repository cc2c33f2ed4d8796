"""Answers that say nothing, and the waits of streams that are tried again: the rows of seeds D about streams."""

from __future__ import annotations

from typing import Any

import pytest
from _runs import serving
from _waits import noted_waits

from asyncllm import (
    Client,
    Finish,
    InvalidRequestError,
    Message,
    ProtocolError,
    RateLimitError,
    Retrying,
    RetryPolicy,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
)
from asyncllm.testing import Answer, Server

EMPTY = Answer([Finish("stop")])
HELLO = Answer.text("Hello")
STUBBORN = RetryPolicy(tries=0, empty_tries=3)


async def asked(client: Client, input: Any = "Hi") -> list[StreamEvent]:
    events = [event async for event in client.stream(input)]
    check_order(events)
    return events


@pytest.mark.req("seed-D")
async def test_nothing_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times after a second, visibly; then the answer that came is the answer, once."""
    waits = noted_waits(monkeypatch)
    async with serving([EMPTY, EMPTY, EMPTY, HELLO], retry=STUBBORN) as (server, client):
        events = await asked(client)
        assert len(server.requests) == 4
        retries = [event for event in events if isinstance(event, Retrying)]
        assert [(event.attempt, event.delay) for event in retries] == [(1, 1.0), (2, 1.0), (3, 1.0)]
        assert all(isinstance(event.error, ProtocolError) for event in retries)
        assert "empty" in retries[0].error.message
        assert sum(isinstance(event, StreamStart) for event in events) == 1
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello"
    assert waits == [1.0, 1.0, 1.0]


@pytest.mark.req("seed-D")
async def test_when_the_tries_are_used_up_nothing_is_the_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is delivered as it came, with its usage, and not as an error."""
    noted_waits(monkeypatch)
    async with serving(EMPTY, retry=STUBBORN) as (server, client):
        events = await asked(client)
        assert len(server.requests) == 4
        assert [type(event) for event in events] == [Retrying, Retrying, Retrying, StreamStart, Usage, Finish]
        reply = await client.complete("Hi")
        assert (reply.text, reply.finish_reason) == ("", "stop")


CALL = ToolCall("c1", "weather", {})


@pytest.mark.req("seed-D")
@pytest.mark.parametrize(
    "conversation",
    [
        [Message("user", "Hi"), Message("assistant", "Hello")],
        [Message("user", "Hi"), Message("assistant", [CALL]), ToolResult("c1", "weather", "rain")],
    ],
    ids=["assistant", "tool"],
)
async def test_after_another_turn_nothing_is_an_answer(conversation: list[Any]) -> None:
    """Where the last message is not the user's, there may be nothing to add: one request."""
    async with serving(EMPTY, retry=STUBBORN) as (server, client):
        events = await asked(client, conversation)
        assert isinstance(events[-1], Finish)
        assert len(server.requests) == 1


@pytest.mark.req("seed-D")
@pytest.mark.parametrize("reason", ["length", "content_filter", "tool_calls", "other"])
async def test_another_end_is_an_answer(reason: Any) -> None:
    """Nothing that ended with `length`, or for another reason, is not asked for again."""
    async with serving(Answer([Finish(reason)]), retry=STUBBORN) as (server, client):
        await asked(client)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer.text(" "),
        Answer.text("", reasoning="Hm."),
        Answer.tool_call("weather", {}),
        Answer([TextDelta("Yes"), Finish("stop")]),
    ],
    ids=["space", "reasoning", "call", "text"],
)
async def test_whatever_is_said_is_an_answer(answer: Answer) -> None:
    """A space, a thought, a call: it is delivered as it comes, from one request."""
    async with serving(answer, retry=STUBBORN) as (server, client):
        await asked(client)
        assert len(server.requests) == 1


async def test_by_default_nothing_is_an_answer() -> None:
    """Streams ask again only where their policy says so."""
    async with serving(EMPTY, retry=2) as (server, client):
        assert (await client.complete("Hi")).text == ""
        assert len(server.requests) == 1


async def test_failures_and_empty_answers_are_counted_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure between two empty answers takes nothing from their tries, and the attempts are numbered through."""
    waits = noted_waits(monkeypatch)
    policy = RetryPolicy(tries=1, base=2.0, jitter=0.0, empty_tries=2, empty_delay=0.5)
    async with serving([EMPTY, Answer.error(status=500), EMPTY, HELLO], retry=policy) as (_, client):
        events = await asked(client)
    assert [event.attempt for event in events if isinstance(event, Retrying)] == [1, 2, 3]
    assert waits == [0.5, 2.0, 0.5]
    assert isinstance(events[-1], Finish)


async def test_a_fallback_answers_for_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several models the first one's silence is its answer: the next is for errors."""
    noted_waits(monkeypatch)
    async with Server(EMPTY) as server:
        models = ["openai-compatible/a", "openai-compatible/b"]
        async with Client(models, base_url=server.base_url, retry=STUBBORN) as client:
            assert (await client.complete("Hi")).text == ""
        assert [request.json["model"] for request in server.requests] == ["a"] * 4


@pytest.mark.req("seed-D")
async def test_rate_limits_up_to_ten_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds, doubling, to two minutes; and then the error, typed."""
    waits = noted_waits(monkeypatch)
    patient = RetryPolicy(rate_limit_tries=10, empty_tries=3, jitter=0.0)
    async with serving(Answer.error(status=429), retry=patient) as (server, client):
        with pytest.raises(RateLimitError):
            await client.stream("Hi")
        assert len(server.requests) == 11
    assert waits == [2, 4, 8, 16, 32, 64, 120, 120, 120, 120]


@pytest.mark.req("seed-D")
async def test_what_the_provider_asks_for_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """`retry-after-ms` before seconds before a date, and before our own waits."""
    waits = noted_waits(monkeypatch)
    busy = [
        {"retry-after-ms": "1500", "retry-after": "9"},
        {"retry-after": "7"},
        {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"},
        {},
    ]
    script = [*(Answer.error(status=429, headers=headers) for headers in busy), HELLO]
    policy = RetryPolicy(rate_limit_tries=10, jitter=0.0)
    async with serving(script, retry=policy) as (_, client):
        retries = [event for event in await asked(client) if isinstance(event, Retrying)]
    assert [event.delay for event in retries] == [1.5, 7.0, 0.0, 16.0]
    assert waits == [1.5, 7.0, 16.0]


@pytest.mark.parametrize("retry", [-1, True, 1.5, "2", None])
async def test_what_is_no_number_of_tries(retry: Any) -> None:
    """Told when the client is made."""
    with pytest.raises(InvalidRequestError, match="retry"):
        Client("demo/echo", retry=retry)
