"""The calls of a run: what goes wrong with one is told to the model; approval, limits, order and cancellation."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from _runs import DONE, call, calls, events_of, results, running_tools, serving

from asyncllm import (
    Allow,
    Approval,
    Deny,
    Image,
    InvalidRequestError,
    Stopped,
    Text,
    ToolCall,
    ToolError,
    ToolProgress,
    ToolResult,
    TotalTimeout,
)
from asyncllm.protocols import Tool
from asyncllm.testing import Answer, Wait
from asyncllm.tools import Content, Report


class Named:
    """A tool of one's own: an object that satisfies the protocol, with `run` given."""

    def __init__(self, name: str, run: Any, timeout: float | None = None) -> None:
        self.spec = Tool(name)
        self.timeout = timeout
        self._run = run

    async def run(self, arguments: dict[str, object], report: Report) -> Content:
        content: Content = await self._run(arguments, report)
        return content


def failing(error: BaseException) -> Named:
    async def run(arguments: dict[str, object], report: Report) -> Content:
        raise error

    return Named("weather", run)


@pytest.mark.req("seed-E3")
@pytest.mark.parametrize(
    ("asked", "tool", "told"),
    [
        (call("no_such_tool"), failing(ValueError()), "there is no tool 'no_such_tool'; there are: weather"),
        (call(city="Oslo"), failing(ValueError("no such city")), "ValueError: no such city"),
        (call(city="Oslo"), failing(ToolError("the service is closed on Sundays")), "the service is closed on Sundays"),
        (call(city="Oslo"), failing(asyncio.CancelledError()), "cancelled from within"),
        (call(city="Oslo"), failing(TimeoutError("mine")), "TimeoutError: mine"),
        (call(city="Oslo"), failing(OSError("bad name: \udcff")), "OSError: bad name: ?"),
        (call(city="Oslo"), failing(KeyError("sk-proj-abcdefghijklmnopqrstuvwxyz")), "KeyError"),
    ],
)
async def test_what_goes_wrong_is_told_to_the_model(asked: ToolCall, tool: Named, told: str) -> None:
    """The result is an error in words, the loop goes on, and no key is in them."""
    async with serving([calls(asked), DONE]) as (server, client):
        stream = client.run("Hi", tools=[tool])
        (result,) = results(await events_of(stream))
        assert (await stream.reply()).text == "It is 21 degrees."
    assert result.is_error
    assert told in result.text
    assert "sk-proj" not in result.text
    assert result.text in str(server.requests[1].json["messages"])


@pytest.mark.req("seed-E3", "seed-B5")
@pytest.mark.parametrize("raw", ['{"city": "Oslo', "[1]", "Oslo", '{"city": 1}', "{}", '{"town": "Oslo"}'])
async def test_bad_arguments_are_told_to_the_model(raw: str) -> None:
    """Arguments that are no JSON, no object, or not what the function takes: it is not called."""
    made: list[str] = []

    def weather(city: str) -> str:
        made.append(city)
        return "rain"

    async with serving([Answer.tool_call("weather", raw), DONE]) as (_, client):
        (result,) = results(await events_of(client.run("Hi", tools=[weather])))
    assert (result.is_error, made) == (True, [])
    assert "arguments" in result.text or "city" in result.text or "town" in result.text


async def test_calls_run_at_once_and_answer_in_order() -> None:
    """Each of three calls waits for all of them to have begun; the results are in the order of the calls."""
    barrier, last = asyncio.Barrier(3), asyncio.Event()

    async def meet(who: str) -> str:
        await barrier.wait()
        if who == "c":
            last.set()
        else:
            await last.wait()  # the last one is done first
        return who

    asked = [call("meet", id=f"call_{who}", who=who) for who in "abc"]
    async with serving([calls(*asked), DONE]) as (server, client):
        events = await events_of(client.run("Hi", tools=[meet]))
    assert [result.text for result in results(events)] == ["a", "b", "c"]
    assert [m.parts[0].text for m in server.requests[1].asked.messages if m.role == "tool"][:1] == ["a"]


async def test_a_limited_number_runs_at_once() -> None:
    """tool_concurrency=2: never three, and all of them in the end."""
    now, most = 0, 0

    async def work(n: int) -> int:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        for _ in range(5):
            await asyncio.sleep(0)
        now -= 1
        return n

    asked = [call("work", id=f"call_{n}", n=n) for n in range(7)]
    async with serving([calls(*asked), DONE]) as (_, client):
        events = await events_of(client.run("Hi", tools=[work], tool_concurrency=2))
    assert [result.text for result in results(events)] == [str(n) for n in range(7)]
    assert most == 2


async def test_a_result_is_said_when_those_before_it_are() -> None:
    """The first result comes while the second call still runs."""
    go = asyncio.Event()

    async def work(n: int) -> int:
        if n:
            await go.wait()
        return n

    async with serving([calls(call("work", id="a", n=0), call("work", id="b", n=1)), DONE]) as (_, client):
        seen = []
        async for event in client.run("Hi", tools=[work]):
            if isinstance(event, ToolResult):
                seen.append(event.text)
                go.set()
    assert seen == ["0", "1"]


async def test_a_call_that_takes_too_long() -> None:
    """The limit of the run, or the tool's own, makes an error result; other calls are not touched."""
    ended: list[str] = []

    async def hang(arguments: dict[str, object], report: Report) -> Content:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("hang")
        raise AssertionError

    async def good(arguments: dict[str, object], report: Report) -> Content:
        return "good"

    asked = [call("hang", id="a"), call("good", id="b"), call("own", id="c")]
    tools = [Named("hang", hang), Named("good", good), Named("own", hang, timeout=0.02)]
    async with serving([calls(*asked), DONE]) as (_, client):
        events = await events_of(client.run("Hi", tools=tools, tool_timeout=0.01))
    first, second, third = results(events)
    assert (first.is_error, "0.01 s" in first.text) == (True, True)
    assert (second.text, second.is_error) == ("good", False)
    assert "0.02 s" in third.text
    assert ended == ["hang", "hang"]


async def test_progress_is_an_event() -> None:
    """A running tool tells how far it is; of what nobody reads in time, the last is kept."""

    async def work(arguments: dict[str, object], report: Report) -> Content:
        for done in range(1000):
            report(done, 999, "")
        await asyncio.sleep(0)
        report(1000, None, "almost")
        return "done"

    async with serving([calls(call("work", id="a")), DONE]) as (_, client):
        events = await events_of(client.run("Hi", tools=[Named("work", work)]))
    progress = [event for event in events if isinstance(event, ToolProgress)]
    assert progress == [ToolProgress("a", "work", 999, 999), ToolProgress("a", "work", 1000, None, "almost")]


@pytest.mark.req("seed-E7")
async def test_images_are_results_too() -> None:
    """Texts and images go back as parts."""

    async def look(arguments: dict[str, object], report: Report) -> Content:
        return [Text("a cat"), Image(data=b"png")]

    async with serving([calls(call("look")), DONE]) as (_, client):
        stream = client.run("Hi", tools=[Named("look", look)])
        (result,) = results(await events_of(stream))
    assert result.content == [Text("a cat"), Image(data=b"png")]
    assert result.text == "a cat[image]"


# ---- approval


async def test_approval() -> None:
    """Allowed, denied with a reason, edited: asked one at a time, in the order of the calls, before any runs too far."""
    made: list[str] = []
    asking = 0

    def send(to: str) -> str:
        made.append(to)
        return f"sent to {to}"

    async def approve(asked: ToolCall) -> Approval:
        nonlocal asking
        asking += 1
        assert asking == 1
        await asyncio.sleep(0)
        asking -= 1
        assert asked.arguments is not None
        return {
            "a": True,
            "b": False,
            "c": Deny("not to her"),
            "d": Allow({"to": "Dora"}),
            "e": Allow(),
        }[asked.id]

    asked = [call("send", id=id, to=id) for id in "abcde"]
    async with serving([calls(*asked), DONE]) as (_, client):
        events = await events_of(client.run("Hi", tools=[send], approve=approve))
    texts = [(result.text, result.is_error) for result in results(events)]
    assert texts[0] == ("sent to a", False)
    assert texts[1] == ("the tool was not called: the user did not allow this call", True)
    assert texts[2] == ("the tool was not called: not to her", True)
    assert texts[3:] == [("sent to Dora", False), ("sent to e", False)]
    assert sorted(made) == ["Dora", "a", "e"]


async def test_a_plain_function_may_block_while_it_is_asked() -> None:
    """It is asked in a thread, so that the loop goes on."""
    main = threading.get_ident()

    def approve(asked: ToolCall) -> bool:
        return threading.get_ident() != main

    async def weather() -> str:
        return "rain"

    async with serving([calls(call()), DONE]) as (_, client):
        (result,) = results(await events_of(client.run("Hi", tools=[weather], approve=approve)))
    assert result.text == "rain"


async def test_what_approve_raises_ends_the_run() -> None:
    """Nobody can be asked: no call is made, and those under way are cancelled."""
    hung = asyncio.Event()

    async def hang() -> str:
        hung.set()
        await asyncio.Event().wait()
        return ""

    async def approve(asked: ToolCall) -> Any:
        if asked.id == "b":
            await hung.wait()
            raise EOFError("no terminal")
        return True if asked.id == "a" else "yes"

    async with serving(calls(call("hang", id="a"), call("hang", id="b"))) as (_, client):
        with pytest.raises(EOFError, match="no terminal"):
            await client.run("Hi", tools=[hang], approve=approve).reply()
        assert running_tools() == []
    async with serving(calls(call("hang", id="c"))) as (_, client):
        with pytest.raises(InvalidRequestError, match="'yes'"):
            await client.run("Hi", tools=[hang], approve=approve).reply()


# ---- ends


class Hanging:
    """A tool that hangs, and knows when it has begun and when it was cancelled."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.ended = asyncio.Event()

    async def __call__(self) -> str:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # what a tool does to clean up may take a while
            self.ended.set()
        return ""


async def test_cancelling_reaches_the_tools() -> None:
    """Who waits for the run is cancelled: the tools are, too, and are gone when it is."""
    tool = Hanging()
    async with serving(calls(call("hang", id="a"), call("hang", id="b"))) as (_, client):
        task = asyncio.create_task(client.run("Hi", tools=[named(tool)]).reply())
        await tool.begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert tool.ended.is_set()
        assert running_tools() == []


def named(tool: Hanging) -> Named:
    async def run(arguments: dict[str, object], report: Report) -> Content:
        return await tool()

    return Named("hang", run)


async def test_closing_reaches_the_tools() -> None:
    """Leaving the block, or aclose() from another task, cancels them."""
    tool = Hanging()
    async with serving(calls(call("hang"))) as (_, client):
        stream = client.run("Hi", tools=[named(tool)])
        task = asyncio.create_task(drain(stream))
        await tool.begun.wait()
        await stream.aclose()
        assert [type(event) for event in await task][-1] is not Stopped
        assert tool.ended.is_set()
        assert running_tools() == []


async def drain(stream: Any) -> list[Any]:
    return [event async for event in stream]


async def test_the_limit_of_the_whole_run_reaches_the_tools() -> None:
    """timeout.total: the run ends with TotalTimeout, with what was said so far, and the tools are gone."""
    tool = Hanging()
    async with serving(calls(call("hang"), text="Wait.")) as (_, client):
        with pytest.raises(TotalTimeout) as caught:
            await client.run("Hi", tools=[named(tool)], tool_timeout=None, timeout=0.3).reply()
        assert tool.ended.is_set()
        assert running_tools() == []
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Wait."
    assert [waiting.name for waiting in caught.value.partial.tool_calls] == ["hang"]


async def test_tools_may_be_silent_for_long() -> None:
    """The limits of an answer's silence do not count while tools work, nor before the next answer begins."""
    from asyncllm import Timeout

    async def slow(arguments: dict[str, object], report: Report) -> Content:
        await asyncio.sleep(0.3)
        return "done"

    limits = Timeout(first_token=5, inter_token=0.1)
    async with serving([calls(call("slow")), DONE]) as (_, client):
        reply = await client.run("Hi", tools=[Named("slow", slow)], timeout=limits).reply()
    assert reply.text == "It is 21 degrees."


async def test_silence_counts_in_later_steps() -> None:
    """An answer that stops in the second step is a timeout, as in the first."""
    from asyncllm import InterTokenTimeout, Timeout

    async def quick() -> str:
        return "done"

    limits = Timeout(first_token=5, inter_token=0.05)
    async with serving([calls(call("quick")), Answer(["word", Wait()])]) as (_, client):
        with pytest.raises(InterTokenTimeout) as caught:
            await client.run("Hi", tools=[quick], timeout=limits).reply()
    assert caught.value.partial is not None
    assert caught.value.partial.steps == 2


async def test_a_dropped_run_leaves_nothing() -> None:
    """With the last reference the tools are cancelled."""
    tool = Hanging()
    async with serving(calls(call("hang"))) as (_, client):
        stream = client.run("Hi", tools=[named(tool)])
        task = asyncio.create_task(anext(stream.batches().__aiter__()))
        await task
        reading = asyncio.create_task(drain(stream))
        await tool.begun.wait()
        reading.cancel()
        del stream
        with pytest.raises(asyncio.CancelledError):
            await reading
        del reading, task
        await tool.ended.wait()
        assert running_tools() == []
