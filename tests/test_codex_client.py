"""The app-server through `Client(...)`: a program answers as a script says, where no recording has what is looked at."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from _agents import Player, Step, drains, ends, holds, player, reads, says
from _children import becomes, linux, state
from _mcp import nothing_left

from asyncllm import Client, Conversation, SyncClient
from asyncllm.backends.agents import _codex_server
from asyncllm.backends.agents._codex_exec import ExecChannel
from asyncllm.events import (
    AuthenticationError,
    IncompleteStreamError,
    InvalidRequestError,
    NotFoundError,
    ProtocolError,
    Session,
    TextDelta,
    ToolResult,
)
from asyncllm.transports import Process

pytestmark = [linux, pytest.mark.req("seed-A10")]

THREAD = "01a1fc15-4ab7-7c83-ace5-c93d6f083f9f"


def line(**message: Any) -> bytes:
    return json.dumps(message).encode() + b"\n"


def note(method: str, of: str, where: str, /, **params: Any) -> bytes:
    return line(method=method, params={"threadId": where, "turnId": of, **params})


def begun(id: int, turn: str = "turn-1", thread: str = THREAD) -> bytes:
    answer = line(id=id, result={"turn": {"id": turn}})
    return answer + note("turn/started", turn, thread, turn={"id": turn})


def delta(text: str, turn: str = "turn-1", thread: str = THREAD) -> bytes:
    return note("item/agentMessage/delta", turn, thread, itemId="i", delta=text)


def over(status: str = "completed", turn: str = "turn-1", thread: str = THREAD, error: object = None) -> bytes:
    return note("turn/completed", turn, thread, turn={"id": turn, "status": status, "error": error})


def thread(id: int, name: str = THREAD, **more: Any) -> bytes:
    return line(id=id, result={"thread": {"id": name}, "model": "its-own", **more})


START: list[Step] = [reads("initialize"), says(line(id=1, result={})), reads('"thread/'), says(thread(2))]
"""Until there is a thread; our requests are counted from 1."""


def turn(*said: bytes, id: int = 3) -> list[Step]:
    return [reads("turn/start"), says(begun(id) + b"".join(said))]


HELLO = [*START, *turn(delta("Hello"), over()), drains()]


def client(folder: Path, *runs: list[Step], **options: Any) -> tuple[Client, Player]:
    fake = player(folder / "bin", "codex", *runs)
    home = {} if options.get("isolated") else {"home": str(folder / "home")}
    given = {"executable": str(fake.path), "cwd": str(folder), "retry": 0, "timeout": 20, "portable": False, **home}
    return Client(options.pop("spec", "codex/m"), **{**given, **options}), fake


def told(fake: Player, method: str) -> list[dict[str, Any]]:
    """The parameters of what was asked."""
    return [each["params"] for run in fake.runs for each in run.told if each.get("method") == method]


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


# ---- what it asks


@pytest.mark.parametrize("where", [THREAD, "thread-of-a-sub-agent"])
@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("item/commandExecution/requestApproval", "decline"),
        ("item/fileChange/requestApproval", "decline"),
        ("mcpServer/elicitation/request", "decline"),
        ("item/permissions/requestApproval", "permissions"),
        ("item/tool/requestUserInput", "answers"),
        ("item/tool/call", "there is no tool"),
        ("something/new", "is not supported"),
    ],
)
async def test_whatever_it_asks_is_answered(method: str, answer: str, where: str, tmp_path: Path) -> None:
    """In the middle of a turn, in its thread and in that of a sub-agent: the turn goes on then, and not before."""
    ask = line(method=method, id=0, params={"threadId": where, "turnId": "turn-1", "tool": "x", "callId": "c"})
    script = [*START, *turn(ask), reads(answer), says(delta("Hello") + over()), drains()]
    asked, _ = client(tmp_path, script)
    async with asked:
        assert (await asked.complete("Hi")).text == "Hello"


async def test_without_a_model_it_takes_its_own(tmp_path: Path) -> None:
    asked, fake = client(tmp_path, HELLO, spec="codex")
    async with asked:
        reply = await asked.complete("Hi")
    assert reply.model == "its-own"
    assert [call for call in (*told(fake, "thread/start"), *told(fake, "turn/start")) if "model" in call] == []


# ---- turns that break


async def test_killed_in_the_middle_and_gone_on_with(tmp_path: Path) -> None:
    again = [*START, *turn(delta("Hello"), over()), drains()]
    asked, fake = client(tmp_path, [*START, *turn(delta("Hel")), holds()], again)
    async with asked:
        async with asked.stream("Hi") as stream:
            with pytest.raises(IncompleteStreamError, match="signal 9"):
                async for event in stream:
                    if isinstance(event, TextDelta):
                        os.kill(fake.runs[0].pid, signal.SIGKILL)
        assert stream.partial.text == "Hel"
        assert stream.partial.session is not None
        reply = await asked.complete("Again", session=stream.partial.session)
    assert reply.text == "Hello"
    assert [call["threadId"] for call in told(fake, "thread/resume")] == [THREAD]
    assert len(fake.runs) == 2


async def test_exit_code_0_is_no_success(tmp_path: Path) -> None:
    asked, _ = client(tmp_path, [*START, *turn(delta("Hel")), ends(0)])
    async with asked:
        with pytest.raises(IncompleteStreamError, match="exit code 0"):
            await asked.complete("Hi")


async def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says that, and not that somebody has killed the process."""

    async def limited(command: list[str], **options: Any) -> Process:
        return await Process.start(command, **options, line_limit=100_000)

    monkeypatch.setattr(_codex_server, "started", limited)
    asked, fake = client(tmp_path, [*START, *turn(delta("Hel"), b"x" * 200_000), holds()])
    async with nothing_left(), asked:
        with pytest.raises(ProtocolError, match="100000 bytes"):
            await asked.complete("Hi")
        await becomes(lambda: state(fake.runs[0].pid) is None)


async def test_a_thread_without_a_name(tmp_path: Path) -> None:
    """Nothing could be heard of it: that is an error at once, not a wait without an end."""
    script = [
        reads("initialize"),
        says(line(id=1, result={})),
        reads("thread/start"),
        says(line(id=2, result={})),
        drains(),
    ]
    asked, _ = client(tmp_path, script)
    async with asked:
        with pytest.raises(ProtocolError, match="without a thread"):
            await asked.complete("Hi")


@pytest.mark.parametrize("interface", ["app-server", "exec"])
async def test_a_program_that_cannot_be_run(interface: str, tmp_path: Path) -> None:
    asked, fake = client(tmp_path, HELLO, interface=interface)
    fake.path.write_bytes(b"\x7fELF is no program")
    async with nothing_left(), asked:
        with pytest.raises(InvalidRequestError, match="cannot be run"):
            await asked.complete("Hi")


async def test_its_requests_fail(tmp_path: Path) -> None:
    refused = line(id=2, error={"code": -32600, "message": "no rollout found for thread id x"})
    asked, _ = client(tmp_path, [*START[:3], says(refused), drains()])
    async with asked:
        with pytest.raises(NotFoundError, match="no rollout"):
            await asked.complete("Hi", session=Session(backend="codex", id="01a1fc15-0000-7c83-ace5-c93d6f083f9f"))


async def test_secrets_are_in_no_error_and_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    error = {"message": f"Incorrect API key provided: {key}", "codexErrorInfo": "unauthorized"}
    asked, fake = client(tmp_path, [*START, *turn(over("failed", error=error)), drains()], api_key=key)
    async with asked:
        with pytest.raises(AuthenticationError) as caught:
            await asked.complete("Hi")
    run = fake.runs[0]
    assert run.env["ASYNCLLM_CODEX_KEY"] == key
    for said in (str(run.argv), "".join(run.stdin), str(caught.value), repr(caught.value), repr(asked), caplog.text):
        assert key not in said


# ---- stopping, and going on


async def test_interrupted_and_gone_on_with(tmp_path: Path) -> None:
    """By the protocol; the process lives on, and so does the session."""
    stop = [reads("turn/interrupt"), says(line(id=4, result={}) + over("interrupted"))]
    second = [reads("turn/start"), says(begun(5, "turn-2") + delta("Two", "turn-2") + over(turn="turn-2"))]
    asked, fake = client(tmp_path, [*START, *turn(delta("One")), *stop, *second, drains()])
    async with nothing_left(), asked:
        async with asked.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        reply = await asked.complete("On", session=stream.partial.session)
        assert (stream.partial.text, reply.text) == ("One", "Two")
    assert len(fake.runs) == 1
    assert told(fake, "turn/interrupt") == [{"threadId": THREAD, "turnId": "turn-1"}]


async def test_cancelled_in_the_middle(tmp_path: Path) -> None:
    stop = [reads("turn/interrupt"), says(line(id=4, result={}) + over("interrupted")), drains()]
    asked, fake = client(tmp_path, [*START, *turn(delta("One")), *stop])
    heard = asyncio.Event()

    async def read() -> None:
        async with asked.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    heard.set()

    async with nothing_left(), asked:
        task = asyncio.ensure_future(read())
        await heard.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await becomes(lambda: bool(told(fake, "turn/interrupt")))


async def test_cancelled_while_its_files_are_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread cannot be cancelled: its folder is removed when it is done, and not before."""
    begun, go, write = threading.Event(), threading.Event(), ExecChannel._files

    def slowly(self: ExecChannel, *given: Any) -> Any:
        begun.set()
        go.wait()
        return write(self, *given)

    monkeypatch.setattr(ExecChannel, "_files", slowly)
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    asked, _ = client(tmp_path, [drains()], interface="exec")
    async with asked:
        task = asyncio.ensure_future(asked.complete("Hi", system="Be brief."))
        await asyncio.to_thread(begun.wait)
        task.cancel()
        await asyncio.sleep(0)
        go.set()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert os.listdir(folder) == []


def our_call(id: str) -> bytes:
    params = {"threadId": THREAD, "turnId": "turn-1", "callId": id, "tool": "add", "arguments": {"a": 1, "b": 2}}
    return line(method="item/tool/call", id=f"ask-{id}", params=params)


@pytest.mark.parametrize("noticed", [True, False])
async def test_a_process_that_dies_while_its_turn_stands_still(tmp_path: Path, noticed: bool) -> None:
    """What the tool says is told to the session in words, by another process, and that is said."""
    first = [*START, *turn(our_call("c1")), holds()]
    asked, fake = client(tmp_path, first, HELLO)
    async with nothing_left(), asked:
        reply = await asked.complete("Add", tools=[add])
        assert [call.name for call in reply.tool_calls] == ["add"]
        pid = fake.runs[0].pid
        os.kill(pid, signal.SIGKILL)
        if noticed:
            await becomes(lambda: state(pid) is None)
        else:  # dead, and the event loop has had no turn to hear of it
            while state(pid) not in (None, "Z"):
                time.sleep(0.001)
        last = await asked.complete([*reply.messages, ToolResult("c1", "add", "three")], tools=[add])
    assert last.text == "Hello"
    assert "told as text" in " ".join(last.warnings)
    (asked_again,) = told(fake, "turn/start")[1:]
    assert "three" in str(asked_again["input"])


async def test_nobody_comes_back_to_a_turn_that_stands_still(tmp_path: Path) -> None:
    """It is interrupted with the client, and nothing is left."""
    stop = [reads("turn/interrupt"), says(line(id=4, result={}) + over("interrupted")), drains()]
    asked, fake = client(tmp_path, [*START, *turn(our_call("c1")), *stop])
    async with nothing_left():
        async with asked:
            reply = await asked.complete("Add", tools=[add])
            assert [call.id for call in reply.tool_calls] == ["c1"]
    assert told(fake, "turn/interrupt")


async def test_a_conversation_that_was_saved(tmp_path: Path) -> None:
    """It leads another client back to the session."""
    asked, fake = client(tmp_path, HELLO)
    conversation = Conversation("One")
    async with asked:
        conversation.append(await asked.complete(conversation))
    conversation.save(tmp_path / "saved.json")
    loaded = Conversation.load(tmp_path / "saved.json")
    loaded.append("Two")
    async with client(tmp_path, HELLO)[0] as another:
        await another.complete(loaded, session=loaded.session)
    assert [call["threadId"] for call in told(fake, "thread/resume")] == [THREAD]
    assert [part["text"] for call in told(fake, "turn/start") for part in call["input"]] == ["One", "Two"]


async def test_sessions_that_wait_are_as_many_as_one_wants(tmp_path: Path) -> None:
    """The server is told which thread nobody wants any more."""
    other = "01a1fc15-0000-7c83-ace5-c93d6f083f9f"
    second = [reads("thread/start"), says(thread(4, other)), reads("turn/start")]
    script = [*START, *turn(delta("One"), over()), *second]
    script += [says(begun(5, "t", other) + delta("Two", "t", other) + over(turn="t", thread=other)), drains()]
    asked, fake = client(tmp_path, script, idle_processes=1)
    async with asked:
        assert (await asked.complete("A")).text == "One"
        assert (await asked.complete("B")).text == "Two"
        await becomes(lambda: {"threadId": THREAD} in told(fake, "thread/unsubscribe"))
        assert {"threadId": other} not in told(fake, "thread/unsubscribe")


async def test_nothing_of_the_user_is_read_when_isolated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by us nor, as far as its environment leads it, by Codex."""
    mine = tmp_path / "mine"
    (mine / ".codex").mkdir(parents=True)
    for name in ("config.toml", "auth.json", "mine.config.toml"):
        (mine / ".codex" / name).write_text("poison")
        (mine / ".codex" / name).chmod(0o000)
    for name in ("HOME", "CODEX_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(mine))
    monkeypatch.setenv("CODEX_API_KEY", "sk-mine")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-mine")
    asked, fake = client(tmp_path, HELLO, isolated=True)
    async with asked:
        assert (await asked.complete("Hi")).text == "Hello"
        home = Path(fake.runs[0].env["HOME"])
        assert [path.stat().st_mode & 0o077 for path in (home, *home.rglob("*"))] == [0, 0]
    assert not [value for value in fake.runs[0].env.values() if str(mine) in value or "sk-mine" in value]
    assert not home.exists()


def test_without_asyncio(tmp_path: Path) -> None:
    fake = player(tmp_path / "bin", "codex", HELLO)
    options: dict[str, Any] = {"executable": str(fake.path), "home": str(tmp_path), "portable": False}
    with SyncClient("codex/m", **options) as asked:
        with asked.stream("Hi") as stream:
            pieces = [event.text for event in stream if isinstance(event, TextDelta)]
            assert stream.reply().text == "Hello"
    assert "".join(pieces) == "Hello"
    assert state(fake.runs[0].pid) is None
