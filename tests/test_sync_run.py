"""Runs without asyncio: plain functions as tools and as `approve`, in any thread, also beside a running loop."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from _mcp import LINUX, PATIENCE, in_memory, plain, processes
from _runs import DONE, call, calls, results
from msgspec import Struct

from asyncllm import (
    MCP,
    Allow,
    Approval,
    AuthenticationError,
    ConnectionFailedError,
    Deny,
    InvalidRequestError,
    Reply,
    Stopped,
    SyncClient,
    Tool,
    ToolCall,
    ToolResult,
    TotalTimeout,
    check_order,
)
from asyncllm.testing import Answer, Script, Server, serve_in_thread


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    yield
    gc.collect()
    for thread in threading.enumerate():
        if thread.name.startswith("asyncllm-"):
            thread.join(PATIENCE)
            assert not thread.is_alive()


def client_of(server: Server, **options: Any) -> SyncClient:
    return SyncClient("openai-compatible/m", **{"base_url": server.base_url, "retry": 0, **options})


def weather(city: str) -> str:
    """The weather of a city."""
    return f"21 degrees in {city}"


def two_steps(request: Any) -> Answer:
    """For any number of runs at once: a call, and the answer to its result."""
    said = request.json["messages"]
    city = said[0]["content"]
    return Answer.text(said[-1]["content"]) if len(said) > 1 else calls(call(city=city))


@pytest.mark.req("seed-F2", "seed-E1")
def test_a_run() -> None:
    """Iterated, or as a reply: the events and the reply of an async run."""
    with serve_in_thread([calls(call(city="Oslo")), DONE]) as server, client_of(server) as client:
        stream = client.run("Weather?", tools=[weather])
        events = list(stream)
        check_order(events)
        assert results(events) == [ToolResult("c1", "weather", "21 degrees in Oslo")]
        reply = stream.reply()
        assert (reply.text, reply.steps) == (DONE.events[0], 2)
        server.play([calls(call(city="Oslo")), DONE])
        with client.run("Weather?", tools=[weather]) as again:
            assert again.reply().messages == reply.messages


@pytest.mark.req("seed-F2")
def test_plain_functions_run_in_threads_of_their_own() -> None:
    """Neither the caller's thread nor the loop's: two calls of a step, and the question about them, may block at once."""
    barrier = threading.Barrier(2, timeout=PATIENCE)
    threads: set[str] = set()

    def meet(who: str) -> str:
        threads.add(threading.current_thread().name)
        barrier.wait()
        return who

    def approve(asked: ToolCall) -> Approval:
        threads.add(threading.current_thread().name)
        time.sleep(0)
        match asked.id:
            case "no":
                return Deny("not now")
            case "b":
                return Allow({"who": "edited"})
        return True

    asked = [call("meet", id=id, who=id) for id in ("a", "b", "no")]
    with serve_in_thread([calls(*asked), DONE]) as server, client_of(server) as client:
        told = results(client.run("Hi", tools=[meet], approve=approve))
    assert [result.text for result in told] == ["a", "edited", "the tool was not called: not now"]
    assert not {name for name in threads if name.startswith("asyncllm-sync")}
    assert threading.current_thread().name not in threads


@pytest.mark.req("seed-F2")
def test_a_tool_that_asks_the_same_client() -> None:
    """A function among the tools, and `approve`, may use the client that they run for."""

    def script(request: Any) -> Answer:
        said = request.json["messages"]
        if said[0]["content"] != "outer":
            return Answer.text(f"{said[0]['content']}!")
        return DONE if len(said) > 1 else calls(call("translate", text="inner"))

    with serve_in_thread(script) as server, client_of(server) as client:

        def translate(text: str) -> str:
            return client.complete(text).text

        def approve(asked: ToolCall) -> bool:
            return client.complete("may it?").text == "may it?!"

        (result,) = results(client.run("outer", tools=[translate], approve=approve))
    assert result.text == "inner!"


@pytest.mark.req("seed-F2")
def test_many_threads() -> None:
    """Sixteen threads share a client: each run has its own calls and its own answer."""
    with serve_in_thread(two_steps) as server, client_of(server) as client, ThreadPoolExecutor(16) as pool:

        def ask(n: int) -> str:
            return client.run(f"city {n}", tools=[weather]).reply().text

        assert list(pool.map(ask, range(100))) == [f"21 degrees in city {n}" for n in range(100)]


@pytest.mark.req("seed-F2")
async def test_inside_a_running_loop() -> None:
    """From code that blocks a running loop (which waits meanwhile), and from a thread beside it."""
    with serve_in_thread(two_steps) as server, client_of(server) as client:

        def ask(city: str) -> str:
            return client.run(city, tools=[weather], approve=lambda asked: True).reply().text

        assert ask("Oslo") == "21 degrees in Oslo"
        assert await asyncio.gather(*(asyncio.to_thread(ask, f"c{n}") for n in range(5))) == [
            f"21 degrees in c{n}" for n in range(5)
        ]


@pytest.mark.req("seed-E1", "seed-F2")
def test_mcp_servers() -> None:
    """A child process and a server in memory: connected in the client's thread, for one run or for all, and then gone."""
    before = processes() if LINUX else set()

    def script(request: Any) -> Answer:
        asked = call("plain__pid", id="p"), call("everyday__add", id="a", a=1, b=2)
        return DONE if len(request.json["messages"]) > 1 else calls(*asked)

    with serve_in_thread(script) as server:
        with client_of(server) as client:
            alone = [results(client.run("Hi", tools=[plain(), MCP(in_memory()[0])])) for _ in range(2)]
        with client_of(server, tools=[plain(), MCP(in_memory()[0])]) as client:
            kept = [results(client.run("Hi")) for _ in range(2)]
            assert len(processes() - before) == 1 or not LINUX
    assert processes() <= before or not LINUX
    assert {told[1].text for told in [*alone, *kept]} == {"3"}
    assert len({told[0].text for told in alone}) == 2
    assert len({told[0].text for told in kept}) == 1


def test_what_has_come_can_be_looked_at_from_the_loop() -> None:
    """`stop_when` runs in the thread that `partial` would wait for."""
    seen: list[int] = []

    def look(reply: Reply[object]) -> bool:
        seen.append(stream.partial.steps)
        return False

    with serve_in_thread(two_steps) as server, client_of(server) as client:
        stream = client.run("Hi", tools=[weather], stop_when=look)
        assert list(stream)
    assert seen == [1]


def test_errors_are_raised_where_they_would_be() -> None:
    """Nonsense at once; a server that is not there, a model that refuses, a limit and what `approve` raises in the run."""

    def approve(asked: ToolCall) -> bool:
        raise EOFError("no terminal")

    def nap() -> str:
        gate.wait(PATIENCE)
        return ""

    gate = threading.Event()
    with serve_in_thread(two_steps) as server, client_of(server) as client:
        with pytest.raises(InvalidRequestError):
            client.run("Hi", tools=[3])
        with pytest.raises(ConnectionFailedError):
            client.run("Hi", tools=[MCP("no-such-program")]).reply()
        assert server.requests == []
        with pytest.raises(EOFError, match="no terminal"):
            client.run("Hi", tools=[weather], approve=approve).reply()
        with pytest.raises(EOFError, match="no terminal"):
            list(client.run("Hi", tools=[weather], approve=approve))
        with pytest.raises(ZeroDivisionError):
            list(client.run("Hi", tools=[weather], stop_when=lambda reply: bool(1 // 0)))
        server.play(calls(call("nap")))
        with pytest.raises(TotalTimeout) as caught:
            client.run("Hi", tools=[nap], timeout=0.3).reply()
        gate.set()
        assert caught.value.partial is not None
        assert [waiting.name for waiting in caught.value.partial.tool_calls] == ["nap"]
        server.play(Answer.error(status=401))
        with pytest.raises(AuthenticationError):
            next(client.run("Hi", tools=[weather]))


def test_leaving_the_program() -> None:
    """`approve` that exits, or broken off by Ctrl-C, does so where the run is read; a tool that exits is an error result."""

    def leave() -> str:
        raise SystemExit(2)

    with serve_in_thread([calls(call("leave")), DONE]) as server, client_of(server) as client:
        (result,) = results(client.run("Hi", tools=[leave]))
        assert (result.text, result.is_error) == ("SystemExit: 2", True)
        for wish in (SystemExit("bye"), KeyboardInterrupt()):

            def approve(asked: ToolCall, wish: BaseException = wish) -> bool:
                raise wish

            server.play(calls(call("leave")))
            with pytest.raises(type(wish)):
                list(client.run("Hi", tools=[leave], approve=approve))
        server.play(DONE)
        assert client.complete("Hi").text == DONE.events[0]


def test_closing_in_the_middle_of_a_call() -> None:
    """Leaving the block cancels the calls, and waits for none of the threads that cannot be."""
    begun, gate, cancelled = threading.Event(), threading.Event(), threading.Event()

    def block() -> str:
        begun.set()
        gate.wait(PATIENCE)
        return ""

    async def hang() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return ""

    with serve_in_thread(calls(call("block", id="a"), call("hang", id="b"))) as server, client_of(server) as client:
        with client.run("Hi", tools=[block, hang]) as stream:
            for event in stream:
                if isinstance(event, ToolCall) and begun.wait(PATIENCE):
                    break
        assert cancelled.wait(PATIENCE)
        assert list(stream) == []
        gate.set()


class City(Struct):
    name: str
    people: int


def test_pauses_and_typed_output() -> None:
    """A tool that only the caller can execute; the run goes on with its result, to a typed answer."""
    ask_user = Tool("ask_user", "Ask.", {"type": "object"})
    script: Script = [calls(call("ask_user", id="q")), Answer.text('{"name": "Oslo", "people": 709037}')]
    with serve_in_thread(script) as server, client_of(server) as client:
        paused = client.run("Which?", tools=[ask_user], output=City).reply()
        assert (paused.stopped, paused.output) == ("needs_results", None)
        stream = client.run([*paused.messages, ToolResult("q", "ask_user", "Norway's")], tools=[ask_user], output=City)
        partials = list(stream.partials)
        reply: Reply[City] = stream.reply()
        assert partials[-1] == {"name": "Oslo", "people": 709037}
        assert reply.output == City("Oslo", 709037)
        server.play(calls(call("ask_user", id="q")))
        assert list(client.run("Which?", tools=[ask_user]))[-1] == Stopped("needs_results")
