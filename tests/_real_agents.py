"""The real programs, against servers of ours on loopback: with a scrubbed environment, a HOME of their own and dummy keys.

Opt-in: ASYNCLLM_AGENTS is a folder with the binaries `claude`, `codex` and `opencode`; `make test-agents` installs them.

    pytestmark = needs("claude")

    async def test_text(place: Place, server: Server) -> None:
        server.play(Answer.text("Hello there"))
        async with Client("claude-code/any", **place.options("claude", server)) as client: ...
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from _mcp import HTTPServer, served

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
