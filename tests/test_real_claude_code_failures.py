"""The real Claude Code against the embedded server: what fails, what is interrupted, and how it ends."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from _claude_real import USED, both, client, gone, spoken
from _real_agents import KEY, Place, needs, place, processes, server, turns

from asyncllm import (
    AuthenticationError,
    BillingError,
    Client,
    ConnectionFailedError,
    ContextLengthExceededError,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    Retrying,
    ServerError,
    TextDelta,
    TotalTimeout,
)
from asyncllm.testing import Answer, Cut, ErrorAfter, Server, Stall

__all__ = ["place", "server"]  # fixtures

pytestmark = [needs("claude"), pytest.mark.req("seed-A9")]


ERRORS: list[tuple[Answer, type[LLMError], int | None]] = [
    (Answer.error(status=400, message="messages: something is malformed"), InvalidRequestError, 400),
    (Answer.error(status=401, message="invalid x-api-key"), AuthenticationError, 401),
    (Answer.error(status=403, message="no"), PermissionDeniedError, 403),
    (Answer.error(status=404, message="model: claude-sonnet-4-5"), NotFoundError, 404),
    (Answer.error(status=429, message="too many"), RateLimitError, 429),
    (Answer.error(status=500, message="oops"), ServerError, 500),
    (Answer.error(status=529, message="Overloaded"), OverloadedError, 529),
    (Answer.error(BillingError("Your credit balance is too low", status=400)), BillingError, 400),
    (
        Answer.error(InvalidRequestError("prompt is too long: 215000 tokens > 200000 maximum", status=400)),
        ContextLengthExceededError,
        400,
    ),
    (Answer(["Hello there " * 50], faults=[Cut(at=2000)]), IncompleteStreamError, None),
    (Answer(["Hello there"], faults=[ErrorAfter(3, OverloadedError("Overloaded"))]), OverloadedError, None),
]


@both
@pytest.mark.parametrize(("answer", "kind", "status"), ERRORS)
async def test_errors(
    place: Place, server: Server, interface: str, answer: Answer, kind: type[LLMError], status: int | None
) -> None:
    server.play(answer)
    async with client(place, server, interface=interface) as asked:
        with pytest.raises(LLMError) as caught:
            await asked.complete("Hi")
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert KEY not in str(caught.value)
    assert len(turns(server)) == (1 if status != 404 else 2)  # it asks once more whether there is no such model


async def test_a_stream_that_breaks_is_asked_for_again_if_the_user_wants(place: Place, server: Server) -> None:
    """What was said is not the answer; and that it is said again is no secret."""
    server.play([Answer(["Hello there " * 50], faults=[Cut(at=2000)]), Answer(["Hello there."])])
    async with client(place, server, env={"CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": ""}) as asked:
        stream = asked.stream("Hi")
        events = [event async for event in stream]
        reply = await stream.reply()
    assert reply.text == "Hello there."
    assert [event.reason for event in events if isinstance(event, Finish)] == ["error", "stop"]
    (retrying,) = (event for event in events if isinstance(event, Retrying))
    assert isinstance(retrying.error, IncompleteStreamError)
    assert len(turns(server)) == 2


async def test_nobody_listens(place: Place) -> None:
    async with client(place, "http://127.0.0.1:9/v1") as asked:
        with pytest.raises(ConnectionFailedError):
            await asked.complete("Hi")


async def test_no_key(place: Place, server: Server) -> None:
    async with client(place, server, env={"ANTHROPIC_API_KEY": ""}) as asked:
        with pytest.raises(AuthenticationError, match="Not logged in"):
            await asked.complete("Hi")


async def test_keys(place: Place, server: Server) -> None:
    """A key, a subscription's token, and a provider of tokens; none of them is on the command line."""
    options = place.options("claude", server, builtin_tools=(), cwd=str(place.work))
    options["env"].pop("ANTHROPIC_API_KEY")
    lines: list[bytes] = []

    async def ask(**how: Any) -> dict[str, str]:
        async with Client("claude-code/claude-sonnet-4-5", **options, **how) as asked, asked.stream("Hi") as stream:
            lines.extend(Path(f"/proc/{pid}/cmdline").read_bytes() for pid in processes(place))
            await stream.reply()
        return dict(server.requests[-1].headers)

    assert (await ask(api_key="sk-ant-api-dummy"))["x-api-key"] == "sk-ant-api-dummy"
    assert (await ask(api_key="sk-ant-oat-dummy"))["authorization"] == "Bearer sk-ant-oat-dummy"
    assert (await ask(token_provider=lambda: "gateway-dummy"))["authorization"] == "Bearer gateway-dummy"
    assert lines
    assert not any(b"dummy" in line or b"Hi" in line.split(b"\0") for line in lines)


async def test_a_failed_turn_is_taken_back(place: Place, server: Server) -> None:
    """Asked again, the question is in the session once."""
    server.play([Answer(["one", USED]), *[Answer.error(status=400, message="bad")] * 2, Answer(["two", USED])])
    async with client(place, server) as asked:
        first = await asked.complete("A")
        for _ in range(2):
            with pytest.raises(InvalidRequestError):
                await asked.complete([*first.messages, Message("user", "B")])
        second = await asked.complete([*first.messages, Message("user", "B")])
    assert spoken(server)[-1] == ["A", "one", "B"]
    assert first.session is not None
    assert second.session is not None
    assert second.session.id == first.session.id


@both
async def test_retries(place: Place, server: Server, interface: str) -> None:
    """Ours, which begin anew: what was asked is not said twice."""
    server.play([Answer(["one", USED]), *[Answer.error(status=529)] * 2, Answer(["two", USED])])
    async with client(place, server, interface=interface, retry=2, retries=0) as asked:
        first = await asked.complete("A")
        events = [event async for event in asked.stream([*first.messages, Message("user", "B")])]
    assert [event.error.status for event in events if isinstance(event, Retrying)] == [529, 529]
    assert spoken(server)[-1] == ["A", "one", "B"]


async def test_its_own_retries_are_seen(place: Place, server: Server) -> None:
    server.play([Answer.error(status=529), Answer(["one", USED])])
    async with client(place, server, retries=1) as asked:
        events = [event async for event in asked.stream("A")]
    (retrying,) = (event for event in events if isinstance(event, Retrying))
    assert isinstance(retrying.error, OverloadedError)
    assert retrying.attempt == 1


async def test_a_rule_of_the_program(place: Place, server: Server) -> None:
    async with client(place, server, extra_args=("--no-such-flag",)) as asked:
        with pytest.raises(InvalidRequestError, match="unknown option"):
            await asked.complete("Hi")


# ---- interrupts, and the end


async def test_interrupted_and_gone_on_with(place: Place, server: Server) -> None:
    server.play([Answer(["one", USED]), Answer(["two three four"], faults=[Stall(3)]), Answer(["five", USED])])
    async with client(place, server) as asked:
        first = await asked.complete("A")
        pids = processes(place)
        async with asked.stream([*first.messages, Message("user", "B")]) as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        assert stream.partial.session is not None
        last = await asked.complete("C", session=stream.partial.session)
        assert processes(place) == pids
    assert last.text == "five"
    said = spoken(server)[-1]
    assert said[:3] == ["A", "one", "B"]
    assert said[3].startswith("two")  # as far as it had come
    assert said[-1] == "C"


async def test_interrupted_before_a_word(place: Place, server: Server) -> None:
    """Nobody has seen anything of it: it is taken back."""
    server.play([Answer(["one", USED]), Answer(["never"], faults=[Stall(0)]), Answer(["two", USED])])
    async with client(place, server) as asked:
        first = await asked.complete("A")
        with pytest.raises(TotalTimeout):
            await asked.complete([*first.messages, Message("user", "B")], timeout=1)
        last = await asked.complete([*first.messages, Message("user", "C")])
    assert spoken(server)[-1] == ["A", "one", "C"]
    assert first.session is not None
    assert last.session is not None
    assert last.session.id == first.session.id


async def test_killed(place: Place, server: Server) -> None:
    server.play([Answer(["one two three"], faults=[Stall(3)]), Answer(["again", USED])])
    async with client(place, server) as asked:
        with pytest.raises(IncompleteStreamError) as caught:
            async for event in asked.stream("A"):
                if isinstance(event, TextDelta):
                    for pid in processes(place):
                        os.kill(pid, 9)
        assert caught.value.partial is not None
        assert caught.value.partial.text.startswith("one")
        assert "signal 9" in caught.value.message
        assert (await asked.complete("B")).text == "again"
    assert processes(place) == []


async def test_killed_while_it_is_idle(place: Place, server: Server) -> None:
    server.play([Answer(["one", USED]), Answer(["two", USED])])
    async with client(place, server) as asked:
        first = await asked.complete("A")
        for pid in processes(place):
            os.kill(pid, 9)
        await gone(place)
        second = await asked.complete([*first.messages, Message("user", "B")])
    assert second.text == "two"
    assert spoken(server)[-1] == ["A", "one", "B"]


async def test_several_at_once(place: Place, server: Server) -> None:
    async with client(place, server) as asked, asyncio.TaskGroup() as group:
        tasks = [group.create_task(asked.complete(f"Q{number}")) for number in range(4)]
    assert len({task.result().session.id for task in tasks}) == 4  # type: ignore[union-attr]
    assert processes(place) == []
