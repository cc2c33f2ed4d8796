"""Servers that cannot be connected: one typed error in time, which names the server and tells no secret; nothing is left."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from _mcp import SERVERS, in_memory, nothing_left, opened, plain, processes, served
from _rawserver import STREAM_HEAD, RawConnection, answering, chunk, raw_server, response

from asyncllm import (
    AuthenticationError,
    ConnectionFailedError,
    ConnectTimeout,
    InvalidRequestError,
    LLMError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ServerError,
)
from asyncllm.tools._mcp import MCP

Script = Callable[[RawConnection], Awaitable[None]]
SECRET = "s3cr3t-of-the-user"


@pytest.fixture(autouse=True)
async def _everything_is_closed() -> AsyncIterator[None]:
    async with nothing_left():
        yield


async def failing(server: MCP, within: float = 5.0) -> LLMError:
    """The error of a start that must fail, soon, and leave no process."""
    children, began = processes(), time.monotonic()
    with pytest.raises(LLMError) as caught:
        await server.acquire()
    assert time.monotonic() - began < within
    assert processes() <= children
    assert server.name in str(caught.value)
    assert SECRET not in f"{caught.value!r} {caught.value.body}"
    return caught.value


@pytest.mark.req("seed-E1")
@pytest.mark.parametrize("kind", ["mcp", "sse"])
@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, AuthenticationError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, InvalidRequestError),
        (429, RateLimitError),
        (500, ServerError),
        (503, OverloadedError),
    ],
)
async def test_http_errors(kind: str, status: int, expected: type[LLMError]) -> None:
    """The status, which the mcp package does not tell, makes the class."""
    answer = response(
        b'{"error": "' + SECRET.encode() + b'"}', b"content-type: application/json", status=b"%d X" % status
    )
    async with raw_server(answering(answer)) as raw:
        server = MCP(f"{raw.url}/weather/{kind}?key={SECRET}", headers={"authorization": f"Bearer {SECRET}"})
        error = await failing(server)
        assert raw.requests[0].header("authorization") == f"Bearer {SECRET}"
    assert type(error) is expected
    assert error.status == status


@pytest.mark.parametrize("kind", ["mcp", "sse"])
async def test_nobody_listens(kind: str) -> None:
    """A refused connection is told as one."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    error = await failing(MCP(f"http://127.0.0.1:{port}/weather/{kind}"))
    assert type(error) is ConnectionFailedError
    assert "weather" in str(error)


async def silent(connection: RawConnection) -> None:
    await connection.request()


async def endless(connection: RawConnection) -> None:
    await connection.request()
    await connection.send(STREAM_HEAD)
    while True:
        await connection.send(chunk(b": still alive\n\n"))
        await asyncio.sleep(0.01)


async def hanging_up(connection: RawConnection) -> None:
    await connection.request()
    connection.close()


@pytest.mark.req("I8")
@pytest.mark.parametrize("kind", ["mcp", "sse"])
@pytest.mark.parametrize("script", [silent, endless])
async def test_a_server_that_never_answers(kind: str, script: Script) -> None:
    """Silence, and comments that keep a stream alive, are no answer: the start ends at its limit."""
    async with raw_server(script) as raw:
        error = await failing(MCP(f"{raw.url}/weather/{kind}", start_timeout=0.3), within=2)
    assert type(error) is ConnectTimeout
    assert "0.3 s" in str(error)


async def other_results(connection: RawConnection) -> None:
    while True:
        asked = json.loads((await connection.request()).body)
        answer = {"jsonrpc": "2.0", "id": asked.get("id"), "result": {"x": 1}}
        await connection.send(response(json.dumps(answer).encode(), b"content-type: application/json"))


GARBAGE = [
    answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    answering(response(b"<html>hello</html>", b"content-type: text/html")),
    answering(response(b"{not json", b"content-type: application/json")),
    answering(response(b"[1, 2, 3]", b"content-type: application/json")),
    other_results,
    answering(STREAM_HEAD + chunk(b"data: {not json\n\n")),
    answering(response(b"", status=b"202 Accepted")),
    answering(response(b"", b"location: https://example.com/mcp", status=b"307 X")),
]


@pytest.mark.parametrize("script", GARBAGE)
async def test_something_else_than_the_protocol(script: Script) -> None:
    """No HTTP, no JSON, no JSON-RPC, no MCP; a redirect to elsewhere, which headers must not follow."""
    async with raw_server(script) as raw:
        error = await failing(MCP(f"{raw.url}/weather/mcp", headers={"x-key": SECRET}))
    assert type(error) is ProtocolError


@pytest.mark.parametrize(
    "script", [answering(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"), answering(response(b"<p>", b"content-type: text/html"))]
)
async def test_something_else_than_an_event_stream(script: Script) -> None:
    """The same over SSE."""
    async with raw_server(script) as raw:
        assert type(await failing(MCP(f"{raw.url}/weather/sse"))) is ProtocolError


async def test_a_server_that_hangs_up() -> None:
    """A connection that is closed before an answer."""
    async with raw_server(hanging_up) as raw:
        assert type(await failing(MCP(f"{raw.url}/weather/mcp"))) is ConnectionFailedError


async def test_a_command_that_ends_at_once() -> None:
    """With its exit code, and its last words, in which a secret of its environment is masked."""
    error = await failing(plain("quit", name="db", env={"SECRET_TOKEN": SECRET}))
    assert type(error) is ConnectionFailedError
    assert "exit code 1" in str(error)
    assert "no database" in str(error)
    assert "the token is ***" in str(error)


@pytest.mark.parametrize(
    ("command", "said"), [("no-such-program --x", "not found"), ("/etc/hostname x", "cannot be started")]
)
async def test_a_command_that_cannot_be_run(command: str, said: str) -> None:
    """Not found, or not a program."""
    error = await failing(MCP(f"{command} {SECRET}"))
    assert type(error) is ConnectionFailedError
    assert said in str(error)


async def test_a_directory_that_is_not_there() -> None:
    """It is the cwd that is missing, not the command."""
    error = await failing(plain(cwd="/no/such/place"))
    assert type(error) is ConnectionFailedError
    assert "cwd" in str(error)


@pytest.mark.parametrize("how", ["slow", "slow deaf", "slow children"])
async def test_a_command_that_is_too_slow(how: str) -> None:
    """It is killed at the limit, whatever it ignores, and nobody waits for it."""
    error = await failing(plain(*how.split(), start_timeout=0.5), within=1.5)
    assert type(error) is ConnectTimeout


@pytest.mark.parametrize("how", ["garbage", "long"])
async def test_a_command_that_speaks_something_else(how: str) -> None:
    """Lines that are no messages, and a line without end."""
    error = await failing(plain(how))
    assert type(error) is ProtocolError


@pytest.mark.parametrize(("command", "said"), [("echo hello", "hello"), ("cat", "MCP")])
async def test_programs_that_are_no_servers(command: str, said: str) -> None:
    """One that prints and goes, and one that echoes."""
    error = await failing(MCP(command))
    assert type(error) is ProtocolError
    assert said in str(error)


@pytest.mark.parametrize("how", ["banner", "noisy"])
async def test_commands_that_are_only_chatty(how: str) -> None:
    """A banner before the protocol, and megabytes of standard error, keep nobody from anything."""
    async with opened(plain(how)) as tools:
        assert "echo" in tools


async def test_pages_without_end() -> None:
    """A listing has to come to its end."""
    assert type(await failing(plain("endless"))) is ProtocolError


async def test_a_server_in_memory_that_fails_to_start() -> None:
    """What its lifespan raises is why it cannot be reached."""
    from mcp.server.mcpserver import MCPServer

    @asynccontextmanager
    async def lifespan(server: Any) -> Any:
        raise RuntimeError("no database")
        yield

    error = await failing(MCP(MCPServer("weather", lifespan=lifespan)))
    assert type(error) is ConnectionFailedError
    assert "no database" in str(error)


async def test_everybody_who_waits_is_told() -> None:
    """Of a start that fails, all; and the next start is another."""
    server = plain("slow", start_timeout=0.4)
    began = time.monotonic()
    errors = await asyncio.gather(*(server.acquire() for _ in range(5)), return_exceptions=True)
    assert {type(error) for error in errors} == {ConnectTimeout}
    assert time.monotonic() - began < 1.5
    assert type(await failing(server)) is ConnectTimeout


async def test_cancelled_while_it_starts() -> None:
    """Whoever else waits goes on waiting; when the last one is cancelled, the process is gone at once."""
    server = plain("slow", "deaf")
    waiting = [asyncio.ensure_future(server.acquire()) for _ in range(2)]
    await asyncio.sleep(0)
    for task in waiting:
        task.cancel()
        began = time.monotonic()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert time.monotonic() - began < 0.5
        if task is waiting[0]:
            assert not waiting[1].done()


@pytest.mark.parametrize(
    ("target", "options"),
    [
        (None, {}),
        (7, {}),
        (b"command", {}),
        (object(), {}),
        ("", {}),
        ([], {}),
        (["", "x"], {}),
        (["x", 1], {}),
        ("'unclosed", {}),
        ("ftp://host/x", {}),
        ("http://", {}),
        ("http://host:99999/x", {}),
        ("http://host/x", {"transport": "stdio"}),
        ("http://host/x", {"transport": "ws"}),
        ("http://host/x", {"env": {"A": "b"}}),
        ("http://host/x", {"headers": {"a": "b\nc"}}),
        ("http://host/x", {"headers": {"a": 1}}),
        ("http://host/x", {"headers": "a: b"}),
        ("http://host/x", {"timeout": 0}),
        ("http://host/x", {"start_timeout": True}),
        ("http://host/x", {"name": ""}),
        ("http://host/x", {"include": [1]}),
        ("http://host/x", {"elicit": "yes"}),
        ("http://host/x", {"sample": 1}),
        ("command", {"transport": "http"}),
        ("command", {"headers": {"a": "b"}}),
        ("command", {"env": {"A": 1}}),
    ],
)
def test_what_makes_no_sense_is_told_at_once(target: object, options: dict[str, Any]) -> None:
    """Before anything is connected; never silently dropped."""
    with pytest.raises(InvalidRequestError):
        MCP(target, **options)


@pytest.mark.parametrize(
    ("target", "options", "transport"),
    [
        ("http://h/weather/mcp", {}, "http"),
        ("https://h/weather/sse", {}, "sse"),
        ("https://h/weather/sse/", {}, "sse"),
        ("https://h/weather/sse", {"transport": "http"}, "http"),
        ("https://h/weather", {"transport": "sse"}, "sse"),
        ("uvx weather", {}, "stdio"),
        (["uvx", "weather"], {"transport": "stdio"}, "stdio"),
        (in_memory()[0], {"name": "weather"}, "memory"),
    ],
)
def test_the_transport_is_seen_from_the_target(target: Any, options: dict[str, Any], transport: str) -> None:
    """A URL, its path, a command or an object."""
    server = MCP(target, **options)
    assert (server.name, server._target.transport) == ("weather", transport)


def test_no_secret_is_shown() -> None:
    """Not in a repr: no header, no query, no user, no argument, no variable."""
    servers = [
        MCP(f"http://me:{SECRET}@host/weather/mcp?key={SECRET}", headers={"authorization": SECRET}),
        MCP(["weather", "--key", SECRET], env={"KEY": SECRET}),
    ]
    for server in servers:
        assert SECRET not in repr(server)
        assert SECRET not in repr(server._target)
        assert "weather" in repr(server)


async def test_filters() -> None:
    """Names and patterns of the server's own names; one that matches nothing is told, with what there is."""
    for options, names in (
        ({"include": "echo"}, {"echo"}),
        ({"include": ["e*", "pid"], "exclude": ["env"]}, {"echo", "pid"}),
        ({"include": []}, set()),
    ):
        async with opened(plain(**options)) as tools:
            assert set(tools) == names
    for options in ({"include": ["no_*"]}, {"exclude": "plain__echo"}):
        with pytest.raises(InvalidRequestError, match="there are: echo, die"):
            await plain(**options).acquire()


async def test_without_the_mcp_package(monkeypatch: pytest.MonkeyPatch) -> None:
    """It says what to install."""
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(InvalidRequestError, match=r"pip install 'asyncllm\[mcp\]'"):
        await plain().acquire()


def test_two_loops_at_once() -> None:
    """The second is told, and the first does not notice."""
    server = plain()

    async def second() -> None:
        await server.acquire()

    async def first() -> None:
        async with opened(server) as tools:
            with pytest.raises(InvalidRequestError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, second())
            assert await tools["echo"].run({"text": "hi"}, lambda *_: None) == "hi"

    asyncio.run(first())


async def test_a_minimal_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command gets what is safe to inherit and what it is given; its terminal is not ours."""
    monkeypatch.setenv("OPENAI_API_KEY", SECRET)
    async with opened(plain(env={"CITY": "Oslo"})) as tools:
        env = json.loads(str(await tools["env"].run({}, lambda *_: None)))
    assert env["CITY"] == "Oslo"
    assert "PATH" in env
    assert SECRET not in env.values()


async def test_a_command_as_text() -> None:
    """Split as a shell would, and no shell."""
    async with opened(MCP(f"{sys.executable} -S '{SERVERS}/plain.py' '$(exit)'")) as tools:
        assert "echo" in tools


async def test_a_server_that_needs_a_header() -> None:
    """Headers reach a real server."""
    with served("mcp") as http:
        async with opened(MCP(http.url, headers={"x-who": "me"})) as tools:
            assert "add" in tools
