"""The real programs, against servers of ours on loopback: with a scrubbed environment, a HOME of their own and dummy keys.

Opt-in: ASYNCLLM_AGENTS is a folder with the binaries `claude`, `codex` and `opencode`; `make test-agents` installs them.

    pytestmark = needs("claude")

    async def test_text(place: Place, server: Server) -> None:
        server.play(Answer.text("Hello there"))
        async with Client("claude-code/any", **place.options("claude", server)) as client: ...
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import struct
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _mcp import HTTPServer, served

from asyncllm import Client, Message, Reply, StreamStart, TextDelta, ToolCall, Usage
from asyncllm.protocols import Request
from asyncllm.testing import Answer, ReceivedRequest, Server

FOLDER = os.environ.get("ASYNCLLM_AGENTS", "")
PROGRAMS = ("claude", "codex", "opencode")
KEY = "sk-dummy-of-a-test"
MODEL = "emu-1"
"""Of the provider "emu", which `place.options` makes known to codex and opencode."""

QUIET = {
    "claude": {
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
        "DISABLE_TELEMETRY": "1",
        "DISABLE_ERROR_REPORTING": "1",
        "IS_SANDBOX": "1",
    },
    "codex": {},
    "opencode": {
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        "OPENCODE_DISABLE_SHARE": "1",
    },
}
"""No program may call home from a test."""


def program(name: str) -> str | None:
    return shutil.which(name, path=os.path.abspath(FOLDER)) if FOLDER else None


def needs(name: str) -> Any:
    """Skips, and says so, what needs a program that is not there."""
    return pytest.mark.skipif(
        program(name) is None,
        reason=f"ASYNCLLM_AGENTS names no folder with {name} (make test-agents): the real program was not met",
    )


class Place:
    """A HOME and a work directory that nobody used before; :meth:`another` is another machine."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "home"
        self.work = root / "work"
        for folder in (self.home, self.work):
            folder.mkdir(parents=True)

    def another(self, name: str = "elsewhere") -> Place:
        return Place(self.root / name)

    def environment(self, agent: str, server: Server | str) -> dict[str, str]:
        """The variables that point an agent to the server."""
        env = {"HOME": str(self.home), **QUIET[agent]}
        base = server if isinstance(server, str) else server.base_url
        if agent == "claude":
            env |= {"ANTHROPIC_BASE_URL": base.removesuffix("/v1"), "ANTHROPIC_API_KEY": KEY}
        elif agent == "codex":
            self._codex(base)
            env |= {"EMU_API_KEY": KEY, "CODEX_HOME": str(self.home / ".codex")}
        else:
            self._opencode(base)
        return env

    def options(self, agent: str, server: Server | str, **more: Any) -> dict[str, Any]:
        """Options for Client(...); `more` wins, its `env` is added. A `server` may be an address, where nobody listens."""
        env = self.environment(agent, server) | more.pop("env", {})
        return {
            "executable": program(agent),
            "home": None if more.get("isolated") else str(self.home),
            "cwd": str(self.work),
            "env": env if not more.get("isolated") else {name: env[name] for name in env if name != "HOME"},
            "retry": 0,
            "timeout": 60,
            **more,
        }

    def _codex(self, base: str) -> None:
        folder = self.home / ".codex"
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / "config.toml").write_text(
            f"""model = "{MODEL}"
model_provider = "emu"
check_for_update_on_startup = false
[model_providers.emu]
name = "Emu"
base_url = "{base}"
env_key = "EMU_API_KEY"
wire_api = "responses"
[analytics]
enabled = false
"""
        )

    def _opencode(self, base: str) -> None:
        folder = self.home / ".config" / "opencode"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "opencode.json").write_text(json.dumps(opencode_config(base)))

    def files(self) -> list[Path]:
        """What the program left in its HOME and its work directory."""
        return sorted(path for path in self.root.rglob("*") if path.is_file())


def opencode_config(base: str) -> dict[str, Any]:
    """One provider, "emu", with the model MODEL; nothing that is fetched from elsewhere."""
    model = {
        "name": "Emu 1",
        "limit": {"context": 200000, "output": 8192},
        "tool_call": True,
        "reasoning": True,
        "attachment": True,
        "modalities": {"input": ["text", "image"], "output": ["text"]},
        "cost": {"input": 1, "output": 2, "cache_read": 0.1, "cache_write": 1.25},
    }
    return {
        "$schema": "https://opencode.ai/config.json",
        "autoupdate": False,
        "share": "disabled",
        "enabled_providers": ["emu"],
        "provider": {
            "emu": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Emu",
                "options": {"baseURL": base, "apiKey": KEY},
                "models": {MODEL: model},
            }
        },
    }


# ---- what the server was asked


def asked(request: ReceivedRequest) -> Request | None:
    """What a request asks of a model; None for the others (a program looks around, too)."""
    path = request.path.partition("?")[0]
    return request.asked if path.endswith(("/messages", "/responses", "/chat/completions")) else None


def side(request: ReceivedRequest) -> bool:
    """Whether it is one of the program's own questions: a title for the session, for example."""
    said = json.dumps(request.json)
    return any(
        word in said
        for word in ("title generator", "generate a title", "Generate a title", "Please write a 5-10 word title")
    )


def script(*answers: Answer, aside: Answer | None = None) -> Callable[[ReceivedRequest], Answer]:
    """The answers one after another, the last again and again; the program's own questions get `aside`, and count not."""
    left = list(answers)

    def answer(request: ReceivedRequest) -> Answer:
        if side(request):
            return aside or Answer.text("A title")
        return left.pop(0) if len(left) > 1 else left[0]

    return answer


def turns(server: Server) -> list[Request]:
    """What models were asked, without the program's own questions."""
    return [found for request in server.requests if not side(request) and (found := asked(request)) is not None]


# ---- what they are given


def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


def called(id: str, name: str, a: int, b: int) -> ToolCall:
    """A model's call of it."""
    return ToolCall(id, name, {"a": a, "b": b}, f'{{"a":{a},"b":{b}}}')


def png() -> bytes:
    """A red square of 8 by 8 points."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = (b"\0" + b"\xff\0\0" * 8) * 8
    head = struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)
    parts = (b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


# ---- what becomes of it


async def greets(client: Client, server: Server, used: Usage) -> tuple[Reply[Any], int]:
    """A first answer, as a stream: what it is, and in how many pieces it came."""
    server.play(Answer(["Hello there, this is a test.", used]))
    async with client.stream("Hi") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    pieces = [event.text for event in events if isinstance(event, TextDelta) and event.text]
    assert "".join(pieces) == reply.text == "Hello there, this is a test."
    assert isinstance(events[0], StreamStart)
    assert reply.usage is not None
    counts = reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cache_read_tokens
    assert counts == (used.input_tokens, used.output_tokens, used.cache_read_tokens)
    assert reply.session is not None
    assert reply.session.state is not None
    return reply, len(pieces)


async def three_turns(client: Client, server: Server, used: Usage) -> list[Reply[Any]]:
    """A, B and C, answered with one, two and three, in one session: by the messages and by the session."""
    server.play([Answer([word, used]) for word in ("one", "two", "three")])
    first = await client.complete("A")
    second = await client.complete([*first.messages, Message("user", "B")])
    third = await client.complete("C", session=second.session)
    assert len({reply.session.id for reply in (first, second, third) if reply.session}) == 1
    return [first, second, third]


def processes(place: Place, *, running: str = "") -> list[int]:
    """Those that have this HOME, and this word on their command line."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            ours = f"HOME={place.home}".encode() in (folder / "environ").read_bytes().split(b"\0")
            if ours and (not running or running.encode() in (folder / "cmdline").read_bytes().split(b"\0")):
                found.append(int(folder.name))
    return sorted(found)


# ---- fixtures: import them by name, or all of them, into the test's module


def scrubbed(home: Path) -> dict[str, str]:
    """All that is left of this machine's environment."""
    node = os.path.dirname(shutil.which("node") or "/usr/bin/node")
    path = os.pathsep.join([os.path.abspath(FOLDER), node, "/usr/local/bin", "/usr/bin", "/bin"])
    return {"PATH": path, "HOME": str(home), "LANG": "C.UTF-8", "TZ": "UTC"}


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A machine on which nobody has been; nothing of this one's environment is left."""
    kept = {name: os.environ[name] for name in ("PYTEST_CURRENT_TEST", "COVERAGE_PROCESS_START") if name in os.environ}
    made = Place(tmp_path / "machine")
    environment = scrubbed(made.home)
    for name in list(os.environ):
        monkeypatch.delenv(name)
    for name, value in {**kept, **environment}.items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """Speaks all wires, from a script; tell it what to say with `server.play(...)`."""
    async with Server(Answer.text("Hello there, this is a test.")) as running:
        yield running


@pytest.fixture
def calculator() -> Iterator[HTTPServer]:
    """An MCP server of ours over HTTP, in a thread: `add` and more (see mcp_servers/everyday.py)."""
    with served() as running:
        yield running
