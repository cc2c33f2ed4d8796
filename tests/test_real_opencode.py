"""The real opencode, through Client(...), against servers of ours on loopback. Opt-in: see _real_agents.py."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from _agents import backend_of
from _mcp import HTTPServer
from _real_agents import MODEL, Place, calculator, needs, place, png, script, server, turns

from asyncllm import Client
from asyncllm.events import (
    AuthenticationError,
    ContextLengthExceededError,
    Finish,
    Image,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    ReasoningDelta,
    Retrying,
    ServerError,
    Session,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)
from asyncllm.testing import Answer, ReceivedRequest, Server, Stall, Wait

__all__ = ["calculator", "place", "server"]

pytestmark = [needs("opencode"), pytest.mark.req("seed-A11")]

SPEC = f"opencode/emu/{MODEL}"


def client(place: Place, server: Server | str, **more: Any) -> Client:
    return Client(SPEC, **place.options("opencode", server, **more))


async def test_text_comes_in_deltas(place: Place, server: Server) -> None:
    usage = Usage(input_tokens=100, output_tokens=20, reasoning_tokens=5, cache_read_tokens=60)
    steps = [ReasoningDelta("Hm. "), *(TextDelta(w) for w in ("Hello ", "there ", "you")), usage, Finish("stop")]
    server.play(Answer(steps))
    async with client(place, server) as asked, asked.stream("Hi", system="Be terse.") as stream:
        events = [event async for event in stream]
        reply = stream.partial
    assert [event.text for event in events if isinstance(event, TextDelta)][:3] == ["Hello ", "there ", "you"]
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello there you", "Hm. ", "stop")
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (100, 20)  # type: ignore[union-attr]
    assert reply.usage.cache_read_tokens == 60  # type: ignore[union-attr]
    assert reply.session is not None
    assert reply.session.state
    assert isinstance(events[0], StreamStart)
    assert isinstance(events[1], Session)
    assert "Be terse." in str(turns(server)[0].messages) + str(turns(server)[0].system)


async def test_several_turns_in_one_process(place: Place, server: Server) -> None:
    server.play(script(Answer.text("one"), Answer.text("two"), Answer.text("three")))
    async with client(place, server) as asked:
        first = await asked.complete("1")
        second = await asked.complete([*first.messages, Message("user", "2")])
        third = await asked.complete([*second.messages, Message("user", "3")])
    said = [[m.text for m in turn.messages if m.role != "system"] for turn in turns(server)]
    assert third.text == "three"
    assert said[-1] == ["1", "one", "2", "two", "3"]
    assert first.session is not None
    assert third.session is not None
    assert first.session.id == third.session.id


async def test_our_tools(place: Place, server: Server) -> None:
    def add(a: float, b: float) -> float:
        """Add two numbers."""
        return a + b

    def play(request: ReceivedRequest) -> Answer:
        last = request.json["messages"][-1]
        if last["role"] == "tool":
            said = [m["content"] for m in request.json["messages"] if m["role"] == "tool"]
            return Answer.text(f"It is {' and '.join(said)}")
        name = next(t["function"]["name"] for t in request.json["tools"] if t["function"]["name"].endswith("_add"))
        calls = [ToolCall(f"c{n}", name, {"a": n, "b": 2}, json.dumps({"a": n, "b": 2})) for n in (1, 2)]
        return Answer([TextDelta("Let me see."), *calls, Finish("tool_calls")])

    server.play(play)
    async with client(place, server) as asked:
        reply = await asked.run("Add", tools=[add]).reply()
        again = await asked.run([*reply.messages, Message("user", "Once more")], tools=[add]).reply()
    assert reply.text == "It is 3 and 4" or reply.text == "It is 3.0 and 4.0"
    assert reply.steps == 2
    assert reply.finish_reason == "stop"
    assert again.text.startswith("It is ")
    results = [part for m in reply.messages for part in m.parts if isinstance(part, ToolResult)]
    assert [result.id for result in results] == ["c1", "c2"]
    assert reply.usage is not None
    assert reply.usage.output_tokens > 0


async def test_sessions_with_different_tools_at_once(place: Place, server: Server) -> None:
    seen: dict[str, list[str]] = {}

    def play(request: ReceivedRequest) -> Answer:
        names = sorted(t["function"]["name"].partition("_")[2] for t in request.json["tools"] if "asyncllm" in str(t))
        seen[str(request.json["messages"][1]["content"])] = names
        return Answer.text("ok")

    def one() -> str:
        """One."""
        return "1"

    def two() -> str:
        """Two."""
        return "2"

    server.play(play)
    async with client(place, server) as asked:
        await asyncio.gather(
            asked.run("first", tools=[one]).reply(), asked.run("second", tools=[two]).reply(), asked.complete("third")
        )
    assert dict(seen.items()) == {"first": ["one"], "second": ["two"], "third": []}


@pytest.mark.parametrize("portable", [True, False])
async def test_session_goes_on_on_another_machine(place: Place, server: Server, portable: bool) -> None:
    server.play(script(Answer.text("Noted."), Answer.text("42")))
    async with client(place, server, portable=portable) as asked:
        first = await asked.complete("Remember 42.")
    assert first.session is not None
    kept = Session.from_json(first.session.to_json())
    async with client(place.another(), server, session=kept) as asked:
        if not portable:
            with pytest.raises(NotFoundError):
                await asked.complete("Which number?")
            return
        second = await asked.complete("Which number?")
    assert [m.text for m in turns(server)[-1].messages if m.role != "system"] == [
        "Remember 42.",
        "Noted.",
        "Which number?",
    ]
    assert second.text == "42"
    assert second.session is not None
    assert second.session.id == kept.id


async def test_fork_and_an_earlier_turn(place: Place, server: Server) -> None:
    server.play(script(*(Answer.text(word) for word in ("a", "b", "c", "d"))))
    async with client(place, server) as asked:
        first = await asked.complete("1")
        second = await asked.complete([*first.messages, Message("user", "2")])
        other = await asked.complete([*first.messages, Message("user", "2b")])
        assert second.session is not None
        assert other.session is not None
        assert other.session.id != second.session.id
        assert [m.text for m in turns(server)[-1].messages if m.role != "system"] == ["1", "a", "2b"]
    async with client(place, server, session=second.session.forked()) as asked:
        forked = await asked.complete("3")
    assert [m.text for m in turns(server)[-1].messages if m.role != "system"] == ["1", "a", "2", "b", "3"]
    assert forked.session is not None
    assert forked.session.id not in (second.session.id, other.session.id)


async def test_interrupted_and_gone_on_with(place: Place, server: Server) -> None:
    server.play(script(Answer("one two three four", faults=[Stall(after=2)]), Answer.text("fine")))
    async with client(place, server) as asked:
        async with asked.stream("1") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        session = stream.partial.session
        assert session is not None
        reply = await asked.complete("2", session=session)
        assert reply.text == "fine"
        assert reply.session is not None
        assert reply.session.id == session.id


ERRORS: dict[str, tuple[Answer, type[LLMError]]] = {
    "401": (
        Answer.error(AuthenticationError("Incorrect API key provided", status=401, code="invalid_api_key")),
        AuthenticationError,
    ),
    "400": (Answer.error(InvalidRequestError("malformed", status=400)), InvalidRequestError),
    "404": (
        Answer.error(NotFoundError("The model `x` does not exist", status=404, code="model_not_found")),
        NotFoundError,
    ),
    "429": (
        Answer.error(
            RateLimitError("Rate limit reached for emu", status=429, code="rate_limit_exceeded"),
            headers={"retry-after": "7"},
        ),
        RateLimitError,
    ),
    "500": (Answer.error(ServerError("The server had an error", status=500)), ServerError),
    "529": (Answer.error(OverloadedError("Overloaded", status=529)), OverloadedError),
    "context": (
        Answer.error(ContextLengthExceededError("maximum context length", status=400, code="context_length_exceeded")),
        ContextLengthExceededError,
    ),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_errors(place: Place, server: Server, name: str) -> None:
    answer, kind = ERRORS[name]
    server.play(script(Answer.text("fine"), answer, Answer.text("again")))
    async with client(place, server) as asked:
        first = await asked.complete("1")
        server.play(script(answer))
        with pytest.raises(kind) as failed:
            await asked.complete("new")
        if name == "429":
            assert failed.value.retry_after == pytest.approx(7, abs=1.5)
        server.play(script(answer, answer, answer, answer) if not failed.value.retryable else script(answer))
        if not failed.value.retryable:
            with pytest.raises(kind):
                await asked.complete([*first.messages, Message("user", "fails")])
        server.play(script(Answer.text("again")))
        reply = await asked.complete([*first.messages, Message("user", "2")])
    assert reply.text == "again"
    assert [m.text for m in turns(server)[-1].messages if m.role != "system"] == ["1", "fine", "2"]


async def test_its_retries_are_seen_in_a_session_that_goes_on(place: Place, server: Server) -> None:
    server.play(
        script(Answer.text("fine"), Answer.error(OverloadedError("Overloaded", status=529)), Answer.text("two"))
    )
    async with client(place, server) as asked:
        first = await asked.complete("1")
        async with asked.stream([*first.messages, Message("user", "2")]) as stream:
            events = [event async for event in stream]
    retries = [event for event in events if isinstance(event, Retrying)]
    assert len(retries) == 1
    assert isinstance(retries[0].error, OverloadedError)
    assert stream.partial.text == "two"


async def test_nobody_at_the_address(place: Place) -> None:
    async with client(place, "http://127.0.0.1:9/v1") as asked:
        with pytest.raises(ServerError):
            await asked.complete("Hi")


async def test_unknown_model(place: Place, server: Server) -> None:
    async with Client("opencode/emu/nope", **place.options("opencode", server)) as asked:
        with pytest.raises(NotFoundError):
            await asked.complete("Hi")


async def test_an_own_mcp_server(place: Place, server: Server, calculator: HTTPServer) -> None:
    def play(request: ReceivedRequest) -> Answer:
        if request.json["messages"][-1]["role"] == "tool":
            return Answer.text("It is " + str(request.json["messages"][-1]["content"]))
        return Answer([ToolCall("c1", "calc_add", {"a": 1, "b": 2}, '{"a":1,"b":2}'), Finish("tool_calls")])

    server.play(play)
    servers = {
        "calc": {"type": "remote", "url": calculator.url, "enabled": True},
        "lost": {"type": "remote", "url": "http://127.0.0.1:9/mcp", "enabled": True},
    }
    async with client(place, server, mcp_servers=servers) as asked:
        async with asked.stream("Add") as stream:
            starts = [event async for event in stream if isinstance(event, StreamStart)]
            reply = stream.partial
    assert "3" in reply.text
    assert reply.steps == 2
    assert any("lost" in warning for warning in starts[0].warnings)
    calls = [part for part in reply.messages[1].parts if isinstance(part, ToolCall)]
    assert calls
    assert calls[0].executed


async def test_what_would_be_asked_is_denied(place: Place, server: Server) -> None:
    def play(request: ReceivedRequest) -> Answer:
        if request.json["messages"][-1]["role"] == "tool":
            return Answer.text("as you like")
        raw = json.dumps({"command": "touch made", "description": "x"})
        return Answer([ToolCall("c1", "bash", json.loads(raw), raw), Finish("tool_calls")])

    server.play(play)
    async with client(place, server, permission={"*": "allow", "bash": "ask"}) as asked:
        reply = await asked.complete("Do it")
    results = [part for m in reply.messages for part in m.parts if isinstance(part, ToolResult)]
    assert [result.is_error for result in results] == [True]
    assert "denied" in results[0].text
    assert reply.text == "as you like"
    assert not (place.work / "made").exists()


async def test_nothing_is_changed_by_default(place: Place, server: Server) -> None:
    names: list[str] = []

    def play(request: ReceivedRequest) -> Answer:
        names.extend(tool["function"]["name"] for tool in request.json.get("tools", []))
        return Answer.text("ok")

    server.play(play)
    async with client(place, server) as asked:
        await asked.complete("Hi")
    assert "read" in names
    assert not {"bash", "edit", "write", "webfetch", "question"} & set(names)


async def test_large_prompt_and_large_answer(place: Place, server: Server) -> None:
    words = " ".join(f"w{n}" for n in range(35_000))
    server.play(Answer([TextDelta(words[at : at + 1000]) for at in range(0, len(words), 1000)] + [Finish("stop")]))
    async with client(place, server) as asked:
        reply = await asked.complete("x" * 300_000)
    assert len(words) > 200_000
    assert reply.text == words
    assert "x" * 300_000 in turns(server)[0].messages[-1].text


async def test_image(place: Place, server: Server) -> None:
    async with client(place, server) as asked:
        await asked.complete([Message("user", [Text("What is it?"), Image(data=png())])])
    parts = [part for m in turns(server)[0].messages for part in m.parts]
    assert any(isinstance(part, Image) for part in parts)


async def test_json_output(place: Place, server: Server) -> None:
    raw = '{"value":5}'

    def play(request: ReceivedRequest) -> Answer:
        return Answer([TextDelta("So: "), ToolCall("s1", "StructuredOutput", {"value": 5}, raw), Finish("tool_calls")])

    server.play(play)
    async with client(place, server) as asked:
        reply = await asked.complete("Five", output=int)
    assert reply.output == 5


async def test_killed_in_the_middle(place: Place, server: Server) -> None:
    server.play(script(Answer("one two three", faults=[Stall(after=2)]), Answer.text("fine")))
    async with client(place, server) as asked:
        backend = backend_of(asked)
        with pytest.raises(LLMError):
            async with asked.stream("1") as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        next(iter(backend._servers.values()))._process.kill()
        assert (await asked.complete("2")).text == "fine"


async def test_isolated(place: Place, server: Server) -> None:
    options = place.options("opencode", server, isolated=True)
    async with Client(SPEC, **options, base_url=server.base_url, api_key="sk-dummy-of-a-test") as asked:
        reply = await asked.complete("Hi")
    assert reply.text
    assert not [p for p in place.files() if "share/opencode" in str(p)]


async def test_closing_waits_for_no_answer(place: Place, server: Server) -> None:
    held = Wait()
    server.play(Answer("never", faults=[Stall(after=0, until=held)]))
    async with client(place, server) as asked:
        stream = asked.stream("1")
        reading = asyncio.ensure_future(stream.reply())
        await server.wait_requests(1)
        await stream.aclose()
        with pytest.raises(LLMError):
            await reading


# ---- run


async def test_run(place: Place, server: Server) -> None:
    server.play(script(Answer.text("one"), Answer.text("two")))
    async with client(place, server, interface="run") as asked:
        first = await asked.complete("1", system="Be terse.")
        second = await asked.complete([*first.messages, Message("user", "2")])
    assert (first.text, second.text) == ("one", "two")
    assert [m.text for m in turns(server)[-1].messages if m.role != "system"] == ["1", "one", "2"]
    assert first.session is not None
    assert first.session.state


async def test_run_our_tools(place: Place, server: Server) -> None:
    def play(request: ReceivedRequest) -> Answer:
        if request.json["messages"][-1]["role"] == "tool":
            return Answer.text("It is " + str(request.json["messages"][-1]["content"]))
        name = next(t["function"]["name"] for t in request.json["tools"] if t["function"]["name"].endswith("_now"))
        return Answer([TextDelta("See. "), ToolCall("c1", name, {}, "{}"), Finish("tool_calls")])

    def now() -> str:
        """The time."""
        return "noon"

    server.play(play)
    async with client(place, server, interface="run") as asked:
        reply = await asked.run("When?", tools=[now]).reply()
    assert reply.text == "It is noon"


async def test_run_errors_and_plain_text(place: Place, server: Server) -> None:
    server.play(script(Answer.text("plain words")))
    async with client(place, server, interface="text") as asked:
        assert (await asked.complete("1")).text == "plain words"
    server.play(Answer.error(AuthenticationError("no", status=401)))
    async with client(place, server, interface="run") as asked:
        with pytest.raises(AuthenticationError):
            await asked.complete("1")
