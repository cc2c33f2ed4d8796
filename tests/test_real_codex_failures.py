"""What goes wrong with the real Codex CLI, and what can be gone on with afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal

import pytest
from _codex_real import both, client, processes, spoken
from _real_agents import Place, add, called, needs, place, server, turns

from asyncllm.events import (
    AuthenticationError,
    ConnectionFailedError,
    ContextLengthExceededError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    Retrying,
    ServerError,
    Session,
    TextDelta,
)
from asyncllm.testing import Answer, Cut, Server

__all__ = ["place", "server"]  # fixtures

pytestmark = [needs("codex"), pytest.mark.req("seed-A10")]


@both
@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (401, "invalid_api_key", AuthenticationError),
        (400, "invalid_value", InvalidRequestError),
        (400, "context_length_exceeded", ContextLengthExceededError),
        (404, "model_not_found", NotFoundError),
        (429, "rate_limit_exceeded", RateLimitError),
        (500, "server_error", ServerError),
        (503, "server_is_overloaded", OverloadedError),
    ],
)
async def test_errors(
    place: Place, server: Server, interface: str, status: int, code: str, kind: type[LLMError]
) -> None:
    said = "The model `emu-1` does not exist." if status == 404 else "It went wrong."  # exec repeats nothing but this
    body = f'{{"error":{{"message":"{said}","type":"x","param":null,"code":"{code}"}}}}'.encode()
    server.play(Answer(status=status, body=[body], headers={"content-type": "application/json"}))
    async with client(place, server, interface=interface) as asked:
        with pytest.raises(kind) as caught:
            await asked.complete("Hi")
    assert type(caught.value) is kind
    assert caught.value.provider == "codex"
    assert len(turns(server)) == 1  # its own retries are turned down


@both
async def test_nobody_listens(place: Place, interface: str) -> None:
    async with client(place, "http://127.0.0.1:9/v1", interface=interface) as asked:
        with pytest.raises(ConnectionFailedError):
            await asked.complete("Hi")


@both
async def test_a_stream_that_is_cut(place: Place, server: Server, interface: str) -> None:
    server.play(Answer(["Hello there, this is a test."], faults=[Cut(1500)]))
    async with client(place, server, interface=interface) as asked:
        with pytest.raises(IncompleteStreamError) as caught:
            await asked.complete("Hi")
    assert caught.value.partial is not None
    assert "Hello there, this is a test.".startswith(caught.value.partial.text)


async def test_a_failed_turn_is_taken_back(place: Place, server: Server) -> None:
    """What a failed turn has said is not said again by the next one: neither by our own retry, nor in a session later on."""
    server.play(
        [Answer(["one"]), Answer.error(status=500), Answer(["two"]), Answer.error(status=400), Answer(["three"])]
    )
    async with client(place, server, retry=1) as asked:
        first = await asked.complete("A")
        events = [event async for event in asked.stream("B", session=first.session)]
        assert [type(event.error) for event in events if isinstance(event, Retrying)] == [ServerError]
        second = [event for event in events if isinstance(event, Session)][-1]
        with pytest.raises(InvalidRequestError):
            await asked.complete("C", session=second)
        third = await asked.complete("D", session=second)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "D"]
    async with client(place.another(), server) as asked:
        server.play(Answer(["four"]))
        await asked.complete("E", session=third.session)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "D", "three", "E"]


async def test_interrupted_and_gone_on_with(place: Place, server: Server) -> None:
    """Closing a stream stops the turn; the process and the session live on, and the next turn knows of it."""
    held = asyncio.Event()
    server.play([Answer(["Once upon ", held, "a time"]), Answer(["two"])])
    async with client(place, server) as asked:
        async with asked.stream("A") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        left = stream.partial.session
        assert left is not None
        held.set()
        reply = await asked.complete("B", session=left)
    assert reply.text == "two"
    assert spoken(server)[-1][-1] == "B"
    assert "A" in spoken(server)[-1]


async def test_closed_while_it_stands_still(place: Place, server: Server) -> None:
    call = called("c1", "add", 1, 2)
    server.play([Answer([call]), Answer(["two"])])
    async with client(place, server) as asked:
        first = await asked.complete("A", tools=[add])
        assert first.tool_calls
    assert not processes(place)


async def test_killed(place: Place, server: Server) -> None:
    """The process is killed in the middle of a turn: the turn fails, and the session goes on in another process."""
    held = asyncio.Event()
    server.play([Answer(["one"]), Answer(["Once ", held, "more"]), Answer(["three"])])
    async with client(place, server) as asked:
        first = await asked.complete("A")
        with pytest.raises(IncompleteStreamError):
            async with asked.stream("B", session=first.session) as stream:
                async for event in stream:
                    if isinstance(event, TextDelta):
                        for pid in processes(place):
                            with contextlib.suppress(ProcessLookupError):
                                os.kill(pid, signal.SIGKILL)
        held.set()
        third = await asked.complete("C", session=first.session)
    assert third.text == "three"
    assert spoken(server)[-1] == ["A", "one", "C"]
    assert not processes(place)
