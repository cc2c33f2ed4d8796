"""What Claude Code is started with: its command line, its environment, and files that nobody else can read."""

from __future__ import annotations

import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from _agents import alive, events_of, played
from _claude_program import TOOL, Stage, answer, init, once, result, turn

from asyncllm import Client
from asyncllm.events import (
    Image,
    InvalidRequestError,
    LLMError,
    Message,
    StreamStart,
    Text,
)

pytestmark = [played, pytest.mark.req("seed-A9")]

SECRET = "sk-ant-api-secret-of-a-test-1234"


async def test_by_default_it_may_change_nothing(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turn("Hello."))
    async with stage.client() as client:
        reply = await client.complete("Hi")
    assert reply.text == "Hello."
    (run,) = stage.fake.runs
    assert run.argv == [
        *("--print", "--output-format", "stream-json", "--verbose", "--include-partial-messages"),
        *("--input-format", "stream-json", "--permission-prompt-tool", "stdio"),
        *("--model", "m", "--permission-mode", "dontAsk"),
    ]
    assert run.cwd == str(stage.work)
    assert run.told[0]["request"] == {"subtype": "initialize", "hooks": None}
    assert not alive(run.pid)


async def test_without_a_model_it_uses_its_own(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turn("Hello."))
    where: dict[str, Any] = {"executable": str(stage.fake.path), "cwd": str(stage.work), "home": str(stage.home)}
    async with Client("claude-code", **where) as client:
        await client.complete("Hi")
    assert "--model" not in stage.fake.runs[0].argv


async def test_the_environment_is_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What it needs, and nothing else that is set here."""
    monkeypatch.setenv("OPENAI_API_KEY", "of another")
    monkeypatch.setenv("CLAUDE_CODE_MAX_RETRIES", "9")
    monkeypatch.setenv("CLAUDE_CONFIG_DIR", "/nowhere")
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nowhere")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-mine")
    stage = Stage(tmp_path, turn("Hello."))
    async with stage.client(env={"MINE": "yes"}) as client:
        await client.complete("Hi", max_tokens=77)
    env = stage.fake.runs[0].env
    assert env["HOME"] == str(stage.home)
    assert env["ANTHROPIC_API_KEY"] == "sk-mine"
    assert env["MINE"] == "yes"
    assert env["CLAUDE_CODE_MAX_RETRIES"] == "0"
    assert env["CLAUDE_CODE_MAX_OUTPUT_TOKENS"] == "77"
    assert {"DISABLE_TELEMETRY", "DISABLE_AUTOUPDATER", "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK"} <= set(env)
    assert not {"OPENAI_API_KEY", "CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME"} & set(env)


async def test_every_option(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turn("Hello.", structured_output={"name": "Ulm"}))
    more = tmp_path / "more"
    options: dict[str, Any] = {
        "permission_mode": "plan",
        "allowed_tools": ("Read", "Bash(git *)"),
        "disallowed_tools": ("WebFetch",),
        "builtin_tools": ("Read", "Bash"),
        "add_dirs": (str(more),),
        "max_turns": 3,
        "max_budget_usd": 0.5,
        "fallback_model": "n",
        "betas": ("b-1", "b-2"),
        "setting_sources": ("project",),
        "strict_mcp": True,
        "persist": False,
        "agents": {"helper": {"description": "d", "prompt": "p"}},
        "extra_args": ("--debug", "api"),
        "retries": 4,
    }
    async with stage.client(**options) as client:
        reply = await client.complete("Hi", reasoning="high", output={"type": "object"})
    assert reply.output == {"name": "Ulm"}
    argv = stage.fake.runs[0].argv
    for name, value in {
        "--permission-mode": "plan",
        "--tools": "Read,Bash",
        "--add-dir": str(more),
        "--max-turns": "3",
        "--max-budget-usd": "0.5",
        "--fallback-model": "n",
        "--setting-sources": "project",
        "--effort": "high",
        "--debug": "api",
    }.items():
        assert stage.argument(name) == value
    assert {"--allowedTools=Read,Bash(git *)", "--disallowedTools=WebFetch", "--betas=b-1,b-2"} <= set(argv)
    assert {"--strict-mcp-config", "--no-session-persistence"} <= set(argv)
    assert json.loads(stage.argument("--json-schema"))["type"] == "object"
    assert argv[-2:] == ["--debug", "api"]
    assert stage.fake.runs[0].env["CLAUDE_CODE_MAX_RETRIES"] == "4"
    assert stage.fake.runs[0].told[0]["request"]["agents"] == {"helper": {"description": "d", "prompt": "p"}}


@pytest.mark.parametrize(("append", "flag"), [(False, "--system-prompt-file"), (True, "--append-system-prompt-file")])
async def test_private_files_hold_what_is_long_or_secret(
    tmp_path: Path, append: bool, flag: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The system prompt, MCP servers with their headers, and settings: readable by nobody else, and gone at the end."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    stage = Stage(tmp_path, turn("Hello."))
    servers = {"calc": {"type": "http", "url": "http://x/mcp", "headers": {"authorization": SECRET}}}
    options = {"mcp_servers": servers, "settings": {"apiKeyHelper": SECRET}, "append_system": append}
    old = os.umask(0)
    try:
        async with stage.client(**options) as client, client.stream("the question", system="the system") as stream:
            files = {name: Path(stage.argument(name)) for name in (flag, "--mcp-config", "--settings")}
            assert files[flag].read_text() == "the system"
            assert json.loads(files["--mcp-config"].read_text()) == {"mcpServers": servers}
            assert json.loads(files["--settings"].read_text()) == {"apiKeyHelper": SECRET}
            for file in files.values():
                assert stat.S_IMODE(file.stat().st_mode) == 0o600
                assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
            await stream.reply()
    finally:
        os.umask(old)
    assert not any(file.parent.exists() for file in files.values())
    line = " ".join(stage.fake.runs[0].argv)
    assert not [word for word in (SECRET, "the question", "the system") if word in line]
    assert stage.said() == ["the question"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"api_key": SECRET}, "ANTHROPIC_API_KEY"),
        ({"api_key": "sk-ant-oat-secret-of-a-test-1234"}, "CLAUDE_CODE_OAUTH_TOKEN"),
        ({"token_provider": lambda: "gateway-secret-of-a-test-1234"}, "ANTHROPIC_AUTH_TOKEN"),
    ],
)
async def test_keys(
    tmp_path: Path,
    given: dict[str, Any],
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """They go through the environment alone: not on a command line, in a repr, in an error or in the log."""
    caplog.set_level(logging.DEBUG)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-mine")
    secret = given.get("api_key") or given["token_provider"]()
    script = once(init(), result(f"API Error: the key {secret} is bad", is_error=True, api_error_status=401), code=1)
    stage = Stage(tmp_path, script)
    headers = {"x-team": "secret-team"}
    options = {**given, "base_url": "http://127.0.0.1:9/v1/", "extra_headers": headers}
    async with stage.client(interface="print", **options) as client:
        shown = repr(client)
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi", extra_headers={"x-call": "1"}, extra_body={"a": 1})
    (run,) = stage.fake.runs
    assert run.env[name] == secret
    assert sum(key in run.env for key in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN")) == 1
    assert run.env["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    assert run.env["ANTHROPIC_CUSTOM_HEADERS"] == "x-team: secret-team\nx-call: 1"
    assert json.loads(run.env["CLAUDE_CODE_EXTRA_BODY"]) == {"a": 1}
    said = [*run.argv, shown, caplog.text]
    if secret.startswith("sk-"):  # what nobody could take for a key is what the program says
        said += [str(caught.value), repr(caught.value)]
    assert not [words for words in said if "secret" in words]


async def test_isolated_reads_nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another HOME, which is gone with the client; no settings, no servers, no keys but those that are given."""
    poisoned = tmp_path / "poisoned"
    (poisoned / ".claude").mkdir(parents=True)
    (poisoned / ".claude" / "settings.json").write_text('{"apiKeyHelper": "touch poison"}')
    before = [*poisoned.rglob("*")]
    monkeypatch.setenv("HOME", str(poisoned))
    for name in ("CLAUDE_CONFIG_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(poisoned / ".claude"))
    for name in ("ANTHROPIC_API_KEY", "CLAUDE_CODE_OAUTH_TOKEN", "AWS_PROFILE"):
        monkeypatch.setenv(name, "poison")
    stage = Stage(tmp_path, turn("Hello."))
    async with stage.client(isolated=True, home=None) as client:
        await client.complete("Hi")
        env = stage.fake.runs[0].env
        home = Path(env["HOME"])
        assert stat.S_IMODE(home.stat().st_mode) == 0o700
        assert home != poisoned
    assert not [name for name, value in env.items() if "poison" in value and name not in ("PATH", "TMPDIR")]
    assert stage.argument("--setting-sources") == ""
    assert "--strict-mcp-config" in stage.fake.runs[0].argv
    assert not home.exists()
    assert [*poisoned.rglob("*")] == before


@pytest.mark.parametrize("interface", ["print", "json", "text"])
async def test_the_prompt_of_the_other_interfaces(tmp_path: Path, interface: str) -> None:
    said = {"print": answer("Hello."), "json": result("Hello."), "text": b"Hello.\n"}[interface]
    stage = Stage(tmp_path, once(said))
    prompt = "long " * 60_000
    async with stage.client(interface=interface) as client:
        reply = await client.complete(prompt)
        with pytest.raises(InvalidRequestError, match="interface='stream-json'"):
            await client.complete(Message("user", [Text("What?"), Image(url="http://x/a.png")]))
        with pytest.raises(InvalidRequestError, match="interface='stream-json'"):
            await client.complete("Hi", tools=[TOOL])
    assert reply.text == "Hello."
    assert stage.fake.runs[0].stdin == [prompt]
    assert ("--session-id" in stage.fake.runs[0].argv) == (interface == "text")
    if interface == "text":
        assert reply.session is not None
        assert reply.session.id == stage.argument("--session-id")


async def test_what_it_adapts_is_said(tmp_path: Path) -> None:
    stage = Stage(tmp_path, turn("Hello."))
    async with stage.client() as client:
        events = await events_of(client, temperature=0.5, seed=1)
    (start,) = (event for event in events if isinstance(event, StreamStart))
    assert start.warnings == (
        "claude-code knows no temperature: left out",
        "claude-code knows no seed: left out",
    )


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"permission_mode": "yolo"}, "permission_mode"),
        ({"interface": "serve"}, "interface"),
        ({"mcp_servers": {"asyncllm": {}}}, "your Python tools"),
        ({"interface": "print", "can_use_tool": print}, "can_use_tool"),
        ({"interface": "text", "agents": {"a": {}}}, "agents"),
        ({"isolated": True, "home": "/tmp"}, "home"),
        ({"cwd": "/no/such/folder"}, "cwd"),
        ({"colour": 1}, "colour"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        Client("claude-code/m", **options)


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"stop": ["x"]}, "stop"),
        ({"tools": [TOOL], "tool_choice": "required"}, "tool_choice"),
    ],
)
async def test_requests_that_cannot_be(tmp_path: Path, asked: dict[str, Any], words: str) -> None:
    """Nor in a session that is alive."""
    again: dict[str, Any] = {"tools": [TOOL], **asked}
    stage = Stage(tmp_path, turn("Hello."))
    async with stage.client() as client:
        with pytest.raises(InvalidRequestError, match=words):
            await client.complete("Hi", **asked)
        assert stage.fake.runs == []
        first = await client.complete("Hi", tools=[TOOL])
        with pytest.raises(InvalidRequestError, match=words):
            await client.complete([*first.messages, Message("user", "More")], **again)
    assert len(stage.fake.runs) == 1
