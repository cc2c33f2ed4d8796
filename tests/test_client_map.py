"""Many inputs, some of them at once: what comes out, what is bounded, and what goes wrong."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from _chat import settle
from _maps import asked, echo, numbers, only_the_first, read, serving, tasks_of_maps, texts, until_full
from msgspec import Struct

from asyncllm import (
    Client,
    FirstTokenTimeout,
    InvalidRequestError,
    Message,
    ProtocolError,
    RateLimitError,
    RetryPolicy,
    Timeout,
)
from asyncllm.backends import EventSource
from asyncllm.protocols import Request
from asyncllm.testing import Answer, ReceivedRequest, Wait, serve_in_thread

# ---- what comes out


async def test_results_come_as_they_finish() -> None:
    """A slow first input holds nothing up but its own slot, and comes last."""
    slow = Wait()
    async with serving(lambda request: Answer([slow, "0"]) if asked(request) == "0" else echo(request)) as (_, client):
        seen = []
        async for result in client.map(list("01234"), concurrency=2):
            seen.append(result)
            if len(seen) == 4:
                slow.release()
    assert seen[-1].index == 0
    assert all(result.input == str(result.index) and result.error is None for result in seen)
    assert texts(seen) == {index: str(index) for index in range(5)}


async def test_every_kind_of_input() -> None:
    """Questions, messages and conversations; options are those of each call."""
    conversation = [Message("user", "a"), Message("assistant", "b"), {"role": "user", "content": "c"}]
    async with serving() as (server, client):
        async with client.map(["q", Message("user", "m"), conversation], system="Short.", max_tokens=5) as results:
            assert texts(await read(results)) == {0: "q", 1: "m", 2: "c"}
    assert all(request.json["max_tokens"] == 5 for request in server.requests)
    assert all(request.json["messages"][0] == {"role": "system", "content": "Short."} for request in server.requests)


async def test_a_thousand_are_each_delivered_once() -> None:
    """A thousand inputs through a hundred slots."""
    async with serving() as (server, client):
        results = await read(client.map(map(str, range(1000)), concurrency=100))
        assert server.connections.opened <= 100
    assert len(results) == len(server.requests) == 1000
    assert texts(results) == {index: str(index) for index in range(1000)}


async def test_typed_output() -> None:
    """The output is of the type asked for; an answer that is not is the error of its result."""

    class City(Struct):
        name: str

    async with serving() as (server, client):
        given = ['{"name": "Oslo"}', "Oslo", '{"name": "Rome"}']
        results = {result.index: result async for result in client.map(given, output=City)}
    assert [results[at].reply.output for at in (0, 2)] == [City("Oslo"), City("Rome")]  # type: ignore[union-attr]
    assert isinstance(results[1].error, ProtocolError)
    assert server.requests[0].json["response_format"]["json_schema"]["name"] == "City"


async def test_no_inputs_and_after_the_end() -> None:
    """Iterating ends, and ends again."""
    async with serving() as (server, client):
        assert await read(client.map([])) == []
        results = client.map(["a"])
        assert not results.closed
        assert len(await read(results)) == 1
        assert results.closed
        assert await read(results) == []
        await results.aclose()
        async with results:
            assert await read(results) == []
    assert len(server.requests) == 1


async def test_it_starts_when_it_is_entered_and_not_before() -> None:
    """A map that nobody uses takes nothing and sends nothing; the block begins without a first iteration."""
    async with serving() as (server, client):
        inputs = numbers()
        unused = client.map(inputs)
        await unused.aclose()
        assert await read(unused) == []
        client.map(inputs)
        await settle()
        assert next(inputs) == "0"
        assert server.requests == []
        async with client.map(inputs, concurrency=2):
            await server.wait_requests(2)


# ---- what is bounded


@pytest.mark.parametrize("concurrency", [1, 7])
async def test_as_many_at_once_as_asked_for(concurrency: int) -> None:
    """The server sees so many calls at once, and never one more."""
    running = most = 0
    all_there = asyncio.Event()

    async def script(request: ReceivedRequest) -> Answer:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if running == concurrency:
            all_there.set()
        await all_there.wait()
        running -= 1
        return echo(request)

    async with serving(script) as (server, client):
        results = await read(client.map(map(str, range(50)), concurrency=concurrency))
        assert server.connections.opened == concurrency  # each is used again, and none is opened beside them
    assert most == concurrency
    assert len(results) == 50


@pytest.mark.parametrize("concurrency", [1, 4])
async def test_a_reader_that_stops_stops_the_inputs(concurrency: int) -> None:
    """Inputs without end: only so many are taken that `concurrency` results wait, and on reading it goes on."""
    taken: list[str] = []

    def inputs() -> Iterator[str]:
        for given in numbers():
            taken.append(given)
            yield given

    seen = []
    async with serving() as (server, client):
        async with client.map(inputs(), concurrency=concurrency) as results:
            for reads in (0, 1, 30):
                seen += [await anext(results) for _ in range(reads)]
                await until_full(results)
                assert len(taken) == len(server.requests)
                assert concurrency <= len(taken) - len(seen) < 2 * concurrency
    assert len(texts(seen)) == 31


async def test_inputs_may_wait_for_results() -> None:
    """An async iterator of inputs holds up no result while it waits for its next, which depends on one."""
    following: asyncio.Queue[str | None] = asyncio.Queue()

    async def inputs() -> AsyncIterator[str]:
        given: str | None = "a"
        while given is not None:
            yield given
            given = await following.get()

    async with serving() as (_, client):
        seen = []
        async for result in client.map(inputs()):
            seen.append(result.input)
            following.put_nowait({"a": "b", "b": "c"}.get(str(result.input)))
    assert seen == ["a", "b", "c"]


# ---- what goes wrong


async def test_the_error_of_one_is_its_own() -> None:
    """Errors of the provider and inputs that make no sense are in their results, and the others go on."""

    def script(request: ReceivedRequest) -> Answer:
        return Answer.error(RateLimitError("slow down", status=429)) if asked(request) == "busy" else echo(request)

    async with serving(script) as (_, client):
        given: list[Any] = ["a", "busy", 5, [], "b"]
        results = {result.index: result async for result in client.map(given, concurrency=2)}
    assert texts(list(results.values())) == {0: "a", 4: "b"}
    assert [type(results[at].error) for at in (1, 2, 3)] == [RateLimitError, InvalidRequestError, InvalidRequestError]
    assert [results[at].input for at in range(5)] == given
    assert all((result.reply is None) != (result.error is None) for result in results.values())
    assert results[1].error is not None
    assert results[1].error.__traceback__ is None  # it would keep the stream


async def test_timeouts_and_retries_are_those_of_each_call() -> None:
    """Each of two inputs is refused once and repeated; each of two stalls into its own limit."""
    busy = Answer.error(status=503)
    async with serving([busy, busy, Answer.text("a")], retry=RetryPolicy(tries=2, base=0.001)) as (server, client):
        assert texts(await read(client.map(["0", "1"]))) == {0: "a", 1: "a"}
        assert len(server.requests) == 4
        server.play(Answer([Wait()]))
        results = await read(client.map(["0", "1"], timeout=Timeout(first_token=0.05)))
        assert [type(result.error) for result in results] == [FirstTokenTimeout] * 2


class _Unready:
    def __iter__(self) -> Iterator[str]:
        raise ZeroDivisionError("no inputs")


def _failing() -> Iterator[str]:
    yield from "012"
    raise ZeroDivisionError("no more inputs")


async def _failing_later() -> AsyncIterator[str]:
    for given in _failing():
        await asyncio.sleep(0)
        yield given


@pytest.mark.parametrize(("inputs", "count"), [(_failing, 3), (_failing_later, 3), (_Unready, 0)])
async def test_inputs_that_fail(inputs: Callable[[], Any], count: int) -> None:
    """The calls under way finish, all results are delivered, and then it is raised, again and again."""
    slow = Wait()
    async with serving(lambda request: Answer([slow, "0"]) if asked(request) == "0" else echo(request)) as (_, client):
        seen = []
        results = client.map(inputs())
        with pytest.raises(ZeroDivisionError, match="inputs"):
            async for result in results:
                seen.append(result)
                slow.release()
        with pytest.raises(ZeroDivisionError):
            await anext(results)
    assert texts(seen) == {index: str(index) for index in range(count)}
    assert tasks_of_maps() == []


class Breaking:
    """A backend with a bug: it does not stand a 3."""

    name = "breaking"

    def __init__(self, inner: Client) -> None:
        self._inner = inner._backend
        self.model = inner.model

    def stream(self, request: Request) -> EventSource:
        if request.messages[-1].text == "3":
            raise ZeroDivisionError("a bug")
        return self._inner.stream(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


async def test_a_bug_in_a_call_ends_the_map() -> None:
    """What is no LLMError is raised, after the results of the calls under way; no more inputs are taken."""
    slow = Wait()
    async with serving(lambda request: Answer([slow, "0"]) if asked(request) == "0" else echo(request)) as (_, inner):
        inputs = numbers()
        seen = []
        with pytest.raises(ZeroDivisionError, match="a bug"):
            async for result in Client(Breaking(inner)).map(inputs, concurrency=2):
                seen.append(result)
                if result.index == 2:
                    slow.release()
        assert texts(seen) == {index: str(index) for index in range(3)}
        assert int(next(inputs)) <= 5


async def test_a_call_cancelled_by_others() -> None:
    """As with gather: it is not passed over in silence, and the reader is not itself cancelled."""
    async with serving(only_the_first) as (server, client):
        results = client.map(["0", "1"])
        assert (await anext(results)).index == 0
        await server.wait_requests(2)
        (call,) = [task for task in tasks_of_maps() if "_call" in str(task.get_coro())]
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await anext(results)
        assert asyncio.current_task().cancelling() == 0  # type: ignore[union-attr]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
async def test_eager_tasks() -> None:
    """Tasks that run while they are being made are counted, too."""
    asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    with serve_in_thread(only_the_first) as server:
        async with Client("openai-compatible/m", base_url=server.base_url) as client:
            inputs = numbers()
            async with client.map(inputs, concurrency=3) as results:
                assert (await anext(results)).index == 0
                await server.wait_requests(4)
                assert next(inputs) == "4"
            server.play(echo)
            assert len(await read(client.map(map(str, range(50)), concurrency=3))) == 50
            with pytest.raises(ZeroDivisionError):
                await read(client.map(_Unready()))


@pytest.mark.parametrize(
    ("inputs", "options", "part"),
    [
        ("a question", {}, "not str"),
        (b"bytes", {}, "not bytes"),
        (Message("user", "a"), {}, "not Message"),
        ({"role": "user", "content": "a"}, {}, "not dict"),
        (5, {}, "not int"),
        (None, {}, "not NoneType"),
        ([], {"concurrency": 0}, "concurrency"),
        ([], {"concurrency": True}, "concurrency"),
        ([], {"concurrency": 2.0}, "concurrency"),
        ([], {"concurrency": None}, "concurrency"),
        ([], {"temperature": 9}, "temperature"),
        ([], {"temprature": 1}, "unknown option temprature"),
        ([], {"output": object}, "output="),
    ],
)
def test_arguments_are_checked_at_once(inputs: Any, options: dict[str, Any], part: str) -> None:
    """InvalidRequestError where `map` is called, outside of any loop."""
    with pytest.raises(InvalidRequestError, match=part):
        Client("openai-compatible/m", base_url="http://127.0.0.1:9").map(inputs, **options)


def test_it_needs_asyncio() -> None:
    """Elsewhere it says so, and leaves no coroutine that nobody awaits."""
    results = Client("openai-compatible/m", base_url="http://127.0.0.1:9").map(["a"])
    with pytest.raises(RuntimeError, match="needs asyncio"):
        anext(results).send(None)


# ---- more streams than file descriptors


MANY_AT_ONCE = """
import asyncio, json, resource, sys
from asyncllm import Client, Stream

async def main():
    resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    async with Client("openai-compatible/m", base_url=sys.argv[1], retry=0) as client:
        begun = await asyncio.gather(*(client.stream("Hi") for _ in range(100)), return_exceptions=True)
        streams = [stream for stream in begun if isinstance(stream, Stream)]
        errors = [f"{type(error).__name__}: {error}" for error in begun if not isinstance(error, Stream)]
        print(json.dumps([len(streams), errors]), flush=True)
        print(json.dumps([(await stream.reply()).text for stream in streams]), flush=True)

asyncio.run(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit on Windows")
async def test_more_streams_than_file_descriptors() -> None:
    """Those that do not fit fail with the limit and what to do about it; the others are streams like any other."""
    held = Wait()
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error", "-c", MANY_AT_ONCE]
    async with serving(Answer(["Hello", held, " there"])) as (server, _):
        child = await asyncio.create_subprocess_exec(*command, server.base_url, stdout=PIPE, env=environment)
        assert child.stdout is not None
        opened, errors = json.loads(await child.stdout.readline())
        held.release()
        assert json.loads(await child.stdout.readline()) == ["Hello there"] * opened
        assert await child.wait() == 0
    assert 30 < opened < 64
    assert len(errors) == 100 - opened
    for error in errors:
        assert error.startswith("ConnectionFailedError: ")
        assert error.endswith("needs a file descriptor and the limit is 64; raise the limit with `ulimit -n`")
