"""The real Claude Code against the embedded server, on loopback."""

from __future__ import annotations

import asyncio
import os
import stat
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest
from _mcp import HTTPServer
from _real_agents import KEY, Place, calculator, needs, place, server, turns

from asyncllm import (
    AuthenticationError,
    BillingError,
    Client,
    ConnectionFailedError,
    ContextLengthExceededError,
    Finish,
    Image,
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
    Session,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
    TotalTimeout,
    UnknownError,
    Usage,
)
from asyncllm.testing import Answer, Cut, ErrorAfter, Server, Stall

__all__ = ["calculator", "place", "server"]  # fixtures

pytestmark = [needs("claude"), pytest.mark.req("seed-A9")]
both = pytest.mark.parametrize("interface", ["stream-json", "print"])
USED = Usage(input_tokens=100, output_tokens=7, cache_read_tokens=60)


def client(place: Place, server: Server | str, **options: Any) -> Client:
    options = {"builtin_tools": (), "system": "Be brief.", **options}
    return Client("claude-code/claude-sonnet-4-5", **place.options("claude", server, **options))


def spoken(server: Server) -> list[list[str]]:
    """Of each request, what the user and the model have said; not what Claude Code adds."""
    said = []
    for request in turns(server):
        parts = [
            part for message in request.messages if message.role in ("user", "assistant") for part in message.parts
        ]
        texts = [part.text.strip() for part in parts if isinstance(part, Text)]
        said.append([text for text in texts if text and not text.startswith("<")])
    return said


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def called(id: str, name: str, a: int, b: int) -> ToolCall:
    return ToolCall(id, name, {"a": a, "b": b}, f'{{"a":{a},"b":{b}}}')


def png(color: tuple[int, int, int] = (255, 0, 0)) -> bytes:
    """8 by 8 points."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(color) * 8 for _ in range(8))
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def processes(place: Place) -> list[int]:
    """Those that have this HOME."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if f"HOME={place.home}".encode() in environment and int(entry.name) != os.getpid():
                found.append(int(entry.name))
    return found


# ---- text


@both
async def test_text(place: Place, server: Server, interface: str) -> None:
    server.play(Answer(["Hello there, this is a test.", USED]))
    async with client(place, server, interface=interface) as asked, asked.stream("Hi") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    pieces = [event.text for event in events if isinstance(event, TextDelta) and event.text]
    assert "".join(pieces) == reply.text == "Hello there, this is a test."
    assert len(pieces) > 1
    assert isinstance(events[0], StreamStart)
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cache_read_tokens) == (100, 7, 60)
    assert reply.usage.cost
    assert reply.session is not None
    assert reply.session.state is not None
    assert reply.session.turn.encode() in reply.session.state
    assert turns(server)[-1].system is not None
    assert "Be brief." in str(turns(server)[-1].system)
    assert processes(place) == []


@pytest.mark.parametrize("interface", ["json", "text"])
async def test_the_other_forms(place: Place, server: Server, interface: str) -> None:
    server.play([Answer(["one", USED]), Answer(["two", USED])])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete([*first.messages, Message("user", "B")])
    assert spoken(server)[-1] == ["A", "one", "B"]
    assert second.text == "two"
    assert (second.usage is not None) == (interface == "json")


@both
async def test_several_turns(place: Place, server: Server, interface: str) -> None:
    """By the messages and by the session; usage and cost are those of each turn."""
    server.play([Answer(["one", USED]), Answer(["two", USED]), Answer(["three", USED])])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete([*first.messages, Message("user", "B")])
        third = await asked.complete("C", session=second.session)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C"]
    used = [reply.usage for reply in (first, second, third)]
    assert [(usage.output_tokens, usage.cost) for usage in used if usage] == [(7, used[0] and used[0].cost)] * 3
    assert len({reply.session.id for reply in (first, second, third) if reply.session}) == 1


async def test_a_long_answer_and_a_long_prompt(place: Place, server: Server) -> None:
    answer, prompt = "word " * 40_000, "text " * 60_000
    server.play(Answer([TextDelta(answer[at : at + 500]) for at in range(0, len(answer), 500)]))
    async with client(place, server) as asked:
        reply = await asked.complete(prompt)
    assert reply.text == answer
    assert spoken(server)[-1] == [prompt.strip()]


@both
async def test_a_long_prompt_on_standard_input(place: Place, server: Server, interface: str) -> None:
    prompt, system = "text " * 60_000, "rule " * 60_000
    async with client(place, server, interface=interface, system=system) as asked:
        await asked.complete(prompt)
    assert spoken(server)[-1] == [prompt.strip()]
    assert system.strip() in str(turns(server)[-1].system)


async def test_an_image(place: Place, server: Server) -> None:
    image = png()
    async with client(place, server) as asked:
        await asked.complete(Message("user", [Text("What is this?"), Image(data=image)]))
    parts = [part for message in turns(server)[-1].messages for part in message.parts]
    assert any(isinstance(part, Image) and part.data for part in parts)


async def test_json_that_was_asked_for(place: Place, server: Server) -> None:
    class City(msgspec.Struct):
        name: str
        people: int

    output = ToolCall(
        "toolu_out", "StructuredOutput", {"name": "Ulm", "people": 126000}, '{"name":"Ulm","people":126000}'
    )
    server.play([Answer([output, USED]), Answer(["Here it is.", USED])])
    async with client(place, server, output=City) as asked:
        reply = await asked.complete("Which city?")
    assert reply.output == City("Ulm", 126000)


async def test_options_of_a_request(place: Place, server: Server) -> None:
    async with client(
        place, server, extra_headers={"x-mine": "yes"}, extra_body={"metadata": {"user_id": "me"}}
    ) as asked:
        await asked.complete("Hi", max_tokens=1234, reasoning=2000)
        quiet = await asked.complete("Hi", reasoning="none", temperature=0.5)
    first, second = (request for request in server.requests if request.path.startswith("/v1/messages"))
    assert first.headers["x-mine"] == "yes"
    assert first.json["metadata"] == {"user_id": "me"}
    assert first.json["max_tokens"] == 1234
    assert first.json["thinking"]["type"] == "enabled"
    assert second.json.get("thinking", {"type": "disabled"})["type"] == "disabled"
    assert quiet.warnings == ("claude-code knows no temperature: left out",)


# ---- sessions


@both
@pytest.mark.req("seed-F3")
async def test_resume_on_another_machine(place: Place, server: Server, interface: str) -> None:
    server.play([Answer(["one", USED]), Answer(["two", USED]), Answer(["three", USED]), Answer(["four", USED])])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete("B", session=first.session)
    assert second.session is not None
    taken = Session.from_json(second.session.to_json())
    elsewhere = place.another()
    async with client(elsewhere, server, interface=interface) as asked:
        third = await asked.complete("C", session=taken)
    assert third.session is not None
    assert third.session.id == taken.id
    async with client(place, server, interface=interface) as asked:  # and back, where the file is older
        fourth = await asked.complete("D", session=third.session)
    assert spoken(server)[-1] == ["A", "one", "B", "two", "C", "three", "D"]
    assert fourth.session is not None
    assert fourth.session.id == taken.id
    private(elsewhere)


def private(place: Place) -> None:
    """What was said is for nobody else."""
    for path in place.files():
        if path.suffix == ".jsonl":
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


@both
async def test_a_fork_and_an_older_turn(place: Place, server: Server, interface: str) -> None:
    server.play([Answer([word, USED]) for word in ("one", "two", "three", "four", "five")])
    async with client(place, server, interface=interface) as asked:
        first = await asked.complete("A")
        second = await asked.complete([*first.messages, Message("user", "B")])
        assert second.session is not None
        other = await asked.complete([*first.messages, Message("user", "other")])  # from before
        assert spoken(server)[-1] == ["A", "one", "other"]
        forked = await asked.complete("C", session=second.session.forked())
        assert spoken(server)[-1] == ["A", "one", "B", "two", "C"]
        last = await asked.complete([*second.messages, Message("user", "D")])
        assert spoken(server)[-1] == ["A", "one", "B", "two", "D"]
    assert last.session is not None
    assert last.session.id == second.session.id
    assert len({reply.session.id for reply in (second, other, forked) if reply.session}) == 3


async def test_the_names_of_folders(place: Place, server: Server) -> None:
    for name in ("a b_é.😀", "d" * 90 + "/" + "e" * 100):
        folder = place.work / name
        folder.mkdir(parents=True)
        link = place.work / f"link{len(name)}"
        link.symlink_to(folder)
        async with client(place, server, cwd=str(link)) as asked:
            reply = await asked.complete("A")
        assert reply.session is not None
        assert reply.session.state is not None, name


async def test_a_session_that_is_not_there(place: Place, server: Server) -> None:
    missing = Session(backend="claude-code", id="99999999-2222-4333-8444-555555555555")
    async with client(place, server) as asked:
        with pytest.raises(NotFoundError, match="No conversation found"):
            await asked.complete("Hi", session=missing)


async def test_isolated(place: Place, server: Server) -> None:
    """Nothing of the user's is read, and nothing is left."""
    (place.home / ".claude").mkdir()
    (place.home / ".claude" / "CLAUDE.md").write_text("SECRET OF THE USER")
    (place.work / "CLAUDE.md").write_text("SECRET OF THE PROJECT")
    async with client(place, server, isolated=True) as asked:
        reply = await asked.complete("Hi")
    assert "SECRET" not in str(server.requests[-1].json)
    assert reply.session is not None
    assert reply.session.state is not None
    assert [path.name for path in place.files()] == ["CLAUDE.md", "CLAUDE.md"]


# ---- tools


async def test_our_tools(place: Place, server: Server) -> None:
    server.play(
        [
            Answer(
                [called("toolu_1", "mcp__asyncllm__add", 1, 2), called("toolu_2", "mcp__asyncllm__add", 3, 4), USED]
            ),
            Answer([called("toolu_3", "mcp__asyncllm__add", 10, 20), USED]),
            Answer(["Thirty.", USED]),
            Answer(["Yes.", USED]),
        ]
    )
    async with client(place, server) as asked:
        stream = asked.run("Add", tools=[add])
        events = [event async for event in stream]
        reply = await stream.reply()
        after = await asked.complete([*reply.messages, Message("user", "Sure?")], tools=[add])
    results = {event.id: event.text for event in events if isinstance(event, ToolResult)}
    assert results == {"toolu_1": "3", "toolu_2": "7", "toolu_3": "30"}
    assert [event.reason for event in events if isinstance(event, Finish)] == ["tool_calls", "tool_calls", "stop"]
    assert reply.text == "Thirty."
    assert reply.steps == 3
    assert reply.usage is not None
    assert reply.usage.output_tokens == 21
    sent = [part for message in turns(server)[2].messages for part in message.parts if isinstance(part, ToolResult)]
    assert [(part.id, part.text) for part in sent] == [("toolu_1", "3"), ("toolu_2", "7"), ("toolu_3", "30")]
    assert after.text == "Yes."
    assert len(turns(server)[-1].messages) > len(turns(server)[2].messages)


async def test_a_tool_that_fails_and_an_image(place: Place, server: Server) -> None:
    def broken() -> str:
        """Fail."""
        raise ValueError("no such thing")

    def picture() -> Image:
        """Draw."""
        return Image(data=png())

    server.play(
        [
            Answer([ToolCall("toolu_1", "mcp__asyncllm__broken", {}, "{}"), USED]),
            Answer([ToolCall("toolu_2", "mcp__asyncllm__picture", {}, "{}"), USED]),
            Answer(["Seen.", USED]),
        ]
    )
    async with client(place, server) as asked:
        reply = await asked.run("Do", tools=[broken, picture]).reply()
    assert reply.text == "Seen."
    first, second = (
        part for message in turns(server)[-1].messages for part in message.parts if isinstance(part, ToolResult)
    )
    assert first.is_error
    assert "no such thing" in first.text
    assert isinstance(second.content, list)
    assert any(isinstance(part, Image) for part in second.content)


async def test_results_for_a_process_that_is_gone(place: Place, server: Server) -> None:
    server.play([Answer([called("toolu_1", "mcp__asyncllm__add", 1, 2), USED]), Answer(["Three.", USED])])
    tool = {"name": "add", "description": "Add", "parameters": {"type": "object"}}
    async with client(place, server) as asked:
        first = await asked.complete("Add", tools=[tool])
        assert [call.name for call in first.tool_calls] == ["add"]
        for pid in processes(place):
            os.kill(pid, 9)
        await gone(place)
        messages = [*first.messages, Message("tool", [ToolResult("toolu_1", "add", "3")])]
        second = await asked.complete(messages, tools=[tool])
    assert second.text == "Three."
    assert any("told as text" in warning for warning in second.warnings)
    assert "[result of add] 3" in spoken(server)[-1][-1]


async def gone(place: Place) -> None:
    async with asyncio.timeout(10):
        while processes(place):
            await asyncio.sleep(0.01)


async def test_native_tools(place: Place, server: Server, calculator: HTTPServer) -> None:
    (place.work / "note.txt").write_text("the word is apple")
    server.play(
        [
            Answer([ToolCall("toolu_1", "Read", {}, f'{{"file_path":"{place.work}/note.txt"}}'), USED]),
            Answer([called("toolu_2", "mcp__calc__add", 17, 25), USED]),
            Answer([ToolCall("toolu_3", "Bash", {}, '{"command":"touch made.txt","description":"x"}'), USED]),
            Answer(["Done.", USED]),
        ]
    )
    servers = {
        "calc": {"type": "http", "url": calculator.url},
        "lost": {"type": "http", "url": "http://127.0.0.1:9/mcp"},
    }
    options: dict[str, Any] = {"mcp_servers": servers, "allowed_tools": ("mcp__calc__*",), "builtin_tools": None}
    async with client(place, server, **options) as asked:
        stream = asked.stream("Do")
        events = [event async for event in stream]
        reply = await stream.reply()
    results = {event.id: event for event in events if isinstance(event, ToolResult)}
    assert "apple" in results["toolu_1"].text
    assert "42" in results["toolu_2"].text
    assert results["toolu_3"].is_error  # nobody was asked, and nothing may be changed
    assert not (place.work / "made.txt").exists()
    calls = [event for event in events if isinstance(event, ToolCall)]
    assert [(call.name, call.executed) for call in calls] == [("Read", True), ("mcp__calc__add", True), ("Bash", True)]
    assert reply.text == "Done."
    assert reply.steps == 4
    assert any("'lost'" in warning for event in events if isinstance(event, StreamStart) for warning in event.warnings)


@pytest.mark.parametrize("answer", [True, "not today"])
async def test_who_is_asked(place: Place, server: Server, answer: bool | str) -> None:
    asked_for: list[tuple[str, object]] = []

    async def decide(name: str, arguments: dict[str, object]) -> bool | str:
        asked_for.append((name, arguments["command"]))
        return answer

    server.play(
        [
            Answer([ToolCall("toolu_1", "Bash", {}, '{"command":"touch made.txt","description":"x"}'), USED]),
            Answer(["Done.", USED]),
        ]
    )
    async with client(place, server, can_use_tool=decide, builtin_tools=("Bash",)) as asked:
        events = [event async for event in asked.stream("Do")]
    assert asked_for == [("Bash", "touch made.txt")]
    (result,) = (event for event in events if isinstance(event, ToolResult))
    assert result.is_error is (answer is not True)
    assert (place.work / "made.txt").exists() is (answer is True)
    assert answer is True or "not today" in result.text


async def test_max_turns(place: Place, server: Server, calculator: HTTPServer) -> None:
    server.play(Answer([called("toolu_2", "mcp__calc__add", 17, 25), USED]))
    servers = {"calc": {"type": "http", "url": calculator.url}}
    async with client(place, server, mcp_servers=servers, allowed_tools=("mcp__calc__*",), max_turns=1) as asked:
        with pytest.raises(UnknownError) as caught:
            await asked.complete("Do")
    assert caught.value.code == "error_max_turns"


# ---- errors

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
    print(spoken(server)[-1])
    assert [text for text in spoken(server)[-1] if len(text) < 5] == ["A", "one", "B", "two", "C"]


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
