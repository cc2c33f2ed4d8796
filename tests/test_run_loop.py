"""The tool loop: steps one after another in one stream, where it ends, and how it goes on."""

from __future__ import annotations

from typing import Any

import pytest
from _runs import DONE, call, calls, events_of, results, serving

from asyncllm import (
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    Message,
    Stopped,
    StreamStart,
    Text,
    TextDelta,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, Cut

ASK_USER = Tool("ask_user", "Ask the user.", {"type": "object", "properties": {"question": {"type": "string"}}})


async def weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


def kinds(events: list[Any]) -> list[str]:
    """The names of the events, each run of one kind once."""
    names = [type(event).__name__ for event in events]
    return [name for at, name in enumerate(names) if at == 0 or names[at - 1] != name]


@pytest.mark.req("seed-E1", "seed-E6", "seed-B1")
async def test_steps_one_after_another() -> None:
    """The call, its finish, its result, and the answer that knows it, in one stream; usage and steps are summed."""
    script = [calls(call(city="Oslo"), text="Let me look."), DONE]
    async with serving(script) as (server, client):
        async with client.run("Weather in Oslo?", tools=[weather]) as stream:
            events = await events_of(stream)
            reply = await stream.reply()
    assert [kind for kind in kinds(events) if kind not in ("ToolCallDelta", "Usage")] == [
        "StreamStart",
        "TextDelta",
        "ToolCall",
        "Finish",
        "ToolResult",
        "StreamStart",
        "TextDelta",
        "Finish",
    ]
    assert results(events) == [ToolResult("c1", "weather", "21 degrees in Oslo")]
    assert (reply.text, reply.finish_reason, reply.stopped, reply.steps) == ("It is 21 degrees.", "stop", None, 2)
    told = [event.total_tokens for event in events if isinstance(event, Usage)]
    assert reply.usage is not None
    assert len(told) == 2
    assert reply.usage.total_tokens == sum(told)
    assert [message.role for message in reply.messages] == ["user", "assistant", "tool", "assistant"]
    second = server.requests[1].asked
    assert second.messages[2] == Message(
        "tool", [ToolResult("c1", "", "21 degrees in Oslo")]
    )  # this wire has no names there
    assert second.tools[0].name == "weather"
    assert second.tools[0].description == "The weather of a city."


@pytest.mark.req("seed-E4")
async def test_the_turn_is_echoed_whole() -> None:
    """Text and calls of the assistant's turn are what the next request says it said."""
    async with serving([calls(call(city="Oslo"), text="Let me look."), DONE]) as (server, client):
        reply = await client.run("Weather?", tools=[weather]).reply()
        said = server.requests[1].asked.messages[1]
        assert (said.role, said.text) == ("assistant", "Let me look.")
        assert next(part for part in said.parts if isinstance(part, ToolCall)).arguments == {"city": "Oslo"}
        again = await client.complete([*reply.messages, Message("user", "Thanks")])
        assert again.text == "It is 21 degrees."
        assert [message.role for message in server.requests[2].asked.messages][:4] == [
            message.role for message in reply.messages
        ]


async def test_a_run_without_calls_is_a_stream() -> None:
    """No tools, or tools that the model does not call: one step, and its finish is the end."""
    async with serving(DONE) as (_, client):
        for tools in ([], [weather]):
            events = await events_of(client.run("Hi", tools=tools))
            assert isinstance(events[0], StreamStart)
            assert isinstance(events[-1], Finish)
            assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "It is 21 degrees."


@pytest.mark.req("seed-E5")
async def test_the_last_step_is_marked() -> None:
    """A model that calls for ever is stopped after max_steps, and the end says so; running its messages goes on."""
    script = lambda request: calls(call(id=f"c{len(request.json['messages'])}", city="Oslo"))  # noqa: E731
    async with serving(script) as (server, client):
        events = await events_of(client.run("Hi", tools=[weather], max_steps=3))
        assert events[-1] == Stopped("max_steps")
        assert len(results(events)) == len(server.requests) == 3
        reply = await client.run("Hi", tools=[weather], max_steps=2).reply()
        assert (reply.stopped, reply.steps, reply.finish_reason) == ("max_steps", 2, "tool_calls")
        assert reply.tool_calls == []
        more = await client.run(reply.messages, tools=[weather], max_steps=1).reply()
    assert len(more.messages) == len(reply.messages) + 2


@pytest.mark.req("seed-E5")
async def test_a_hundred_steps_is_the_default() -> None:
    """Nobody's loop runs for ever."""
    script = lambda request: calls(call(id=f"c{len(request.json['messages'])}", city="Oslo"))  # noqa: E731
    async with serving(script) as (server, client):
        reply = await client.run("Hi", tools=[weather]).reply()
    assert (reply.steps, len(server.requests), reply.stopped) == (100, 100, "max_steps")


async def test_stop_when() -> None:
    """A predicate sees the reply so far, with the results of the step, and may end the run there."""
    seen: list[tuple[int, str]] = []

    def enough(reply: Any) -> bool:
        seen.append((reply.steps, reply.messages[-1].parts[0].text))
        return reply.steps == 2

    script = [calls(call(id="a", city="Oslo")), calls(call(id="b", city="Rome")), DONE]
    async with serving(script) as (_, client):
        reply = await client.run("Hi", tools=[weather], stop_when=[enough, lambda reply: False]).reply()
        assert (reply.stopped, reply.steps) == ("stop_when", 2)
        assert seen == [(1, "21 degrees in Oslo"), (2, "21 degrees in Rome")]
        reply = await client.run(reply.messages, tools=[weather], stop_when=enough).reply()
    assert (reply.stopped, reply.text) == (None, "It is 21 degrees.")


async def test_what_stop_when_raises_is_raised() -> None:
    """A mistake in a predicate is the program's, and not the model's to hear of."""
    async with serving([calls(call(city="Oslo"))]) as (_, client):
        with pytest.raises(ZeroDivisionError):
            await client.run("Hi", tools=[weather], stop_when=lambda reply: bool(1 // 0)).reply()


@pytest.mark.req("seed-E1")
async def test_the_caller_executes() -> None:
    """A tool without a function pauses the run; with its result the run goes on where it was."""
    asked = call("ask_user", id="q", question="Which Paris?")
    async with serving([calls(call(city="Paris"), asked), DONE]) as (server, client):
        stream = client.run("Weather in Paris?", tools=[weather, ASK_USER])
        events = await events_of(stream)
        paused = await stream.reply()
        assert events[-1] == Stopped("needs_results")
        assert [result.id for result in results(events)] == ["c1"]
        assert [waiting.id for waiting in paused.tool_calls] == ["q"]
        with pytest.raises(InvalidRequestError, match=r"ask_user \(q\)"):
            await client.run(paused.messages, tools=[weather, ASK_USER])
        assert len(server.requests) == 1
        answered = [*paused.messages, ToolResult("q", "ask_user", "The one in Texas")]
        reply = await client.run(answered, tools=[weather, ASK_USER]).reply()
    assert (reply.text, reply.stopped) == ("It is 21 degrees.", None)
    said = [part for message in server.requests[1].asked.messages for part in message.parts]
    assert [part.text for part in said if isinstance(part, ToolResult)] == ["21 degrees in Paris", "The one in Texas"]


@pytest.mark.req("D15")
async def test_a_run_answers_what_its_conversation_left_open() -> None:
    """A conversation that ends with calls: they are made first, and their results are the first events."""
    left = [Message("user", "Weather?"), Message("assistant", [call(id="a", city="Oslo"), call(id="b", city="Rome")])]
    done = Message("tool", [ToolResult("a", "weather", "rain")])
    async with serving(DONE) as (server, client):
        stream = client.run([*left, done], tools=[weather])
        events = await events_of(stream)
        assert events[0] == ToolResult("b", "weather", "21 degrees in Rome")
        reply = await stream.reply()
        assert reply.text == "It is 21 degrees."
    said = [part for message in server.requests[0].asked.messages for part in message.parts]
    assert [part.id for part in said if isinstance(part, ToolResult)] == ["a", "b"]
    assert [part.id for message in reply.messages for part in message.parts if isinstance(part, ToolResult)] == [
        "a",
        "b",
    ]


@pytest.mark.req("D15", "seed-B9")
async def test_history_is_repaired() -> None:
    """A call that was never answered, in the middle: the model is told, and the warning says what was changed."""
    left = [
        Message("user", "Weather?"),
        Message("assistant", [Text("Looking."), call(city="Oslo")]),
        Message("user", "Never mind. Say hello."),
        Message("assistant", ""),
        Message("user", "Please."),
    ]
    async with serving(DONE) as (server, client):
        events = await events_of(client.run(left, tools=[weather]))
    said = server.requests[0].asked.messages
    (answer,) = [part for message in said for part in message.parts if isinstance(part, ToolResult)]
    assert (answer.id, "interrupted" in answer.text) == ("c1", True)
    assert [message.role for message in said][:3] == ["user", "assistant", "tool"]
    assert isinstance(events[0], StreamStart)
    assert any("messages[1]" in warning for warning in events[0].warnings)


async def test_a_forced_call_is_forced_once() -> None:
    """tool_choice is for the first step: forced for ever, the model could never answer."""
    async with serving([calls(call(city="Oslo")), DONE]) as (server, client):
        await client.run("Hi", tools=[weather], tool_choice="required").reply()
    assert server.requests[0].json["tool_choice"] == "required"
    assert server.requests[1].json.get("tool_choice") in (None, "auto")


@pytest.mark.parametrize("reason", ["length", "content_filter"])
async def test_calls_of_an_answer_that_was_cut_are_not_made(reason: Any) -> None:
    """The model had not finished: the run ends as the model did, and the calls wait."""
    made: list[str] = []

    def note(text: str) -> None:
        made.append(text)

    async with serving(Answer([call("note", text="x"), Finish(reason)])) as (_, client):
        reply = await client.run("Hi", tools=[note]).reply()
    assert (reply.finish_reason, reply.stopped, made) == (reason, None, [])
    assert [waiting.name for waiting in reply.tool_calls] == ["note"]


async def test_a_failing_step_keeps_what_was_done() -> None:
    """The error of the second step has the first one, with its results, in its partial reply; running that goes on."""
    made: list[str] = []

    def note(text: str) -> str:
        made.append(text)
        return "noted"

    script = [calls(call("note", text="x")), Answer.text("Half of it", faults=[Cut(at=500)]), DONE]
    async with serving(script) as (server, client):
        with pytest.raises(IncompleteStreamError) as caught:
            await client.run("Hi", tools=[note]).reply()
        partial = caught.value.partial
        assert [message.role for message in partial.messages][:3] == ["user", "assistant", "tool"]
        assert not partial.complete
        reply = await client.run(partial.messages[:3], tools=[note]).reply()
    assert (reply.text, made, len(server.requests)) == ("It is 21 degrees.", ["x"], 3)


async def test_retries_of_a_step_repeat_no_call() -> None:
    """The second step fails and is asked again; the call of the first one was made once."""
    made: list[str] = []

    def note(text: str) -> str:
        made.append(text)
        return "noted"

    script = [calls(call("note", text="x")), Answer.error(status=503, headers={"retry-after-ms": "1"}), DONE]
    async with serving(script, retry=2) as (server, client):
        events = await events_of(client.run("Hi", tools=[note]))
    assert kinds(events).count("Retrying") == 1
    assert (made, len(server.requests)) == (["x"], 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_steps": 0}, "max_steps"),
        ({"tool_concurrency": True}, "tool_concurrency"),
        ({"tool_timeout": -1}, "tool_timeout"),
        ({"approve": 1}, "approve"),
        ({"stop_when": 3}, "stop_when"),
        ({"tools": [1]}, r"tools\[0\]"),
        ({"tools": "x"}, "tools"),
        ({"tools": [weather, weather]}, "weather"),
        ({"tools": [weather, {"type": "function", "function": {"name": "weather"}}]}, "weather"),
        ({"no_such": 1}, "no_such"),
    ],
)
async def test_nonsense_is_told_at_once(options: dict[str, Any], message: str) -> None:
    """What makes no sense is told where the run is made, before anything is sent."""
    async with serving(DONE) as (server, client):
        with pytest.raises(InvalidRequestError, match=message):
            client.run("Hi", **options)
    assert server.requests == []


async def test_functions_are_tools_of_a_single_call_too() -> None:
    """client.stream tells the model of a function, and leaves the call to the caller."""
    async with serving(calls(call(city="Oslo"))) as (server, client):
        reply = await client.complete("Hi", tools=[weather])
        with pytest.raises(InvalidRequestError, match="must be a function"):
            client.stream("Hi", tools=[3])
    assert [waiting.arguments for waiting in reply.tool_calls] == [{"city": "Oslo"}]
    assert server.requests[0].asked.tools[0].name == "weather"
