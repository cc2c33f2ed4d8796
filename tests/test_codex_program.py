"""Every recording of the Codex CLI through `Client(...)`: a program plays it, and is asked like the real one."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from _agents import alive, events_of
from _codex import APP, EXEC, LOST_MCP, Row, agrees, lines_of, told, turns_of
from _codex_player import noted, player

from asyncllm import Client
from asyncllm.events import (
    IncompleteStreamError,
    InvalidOutputError,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    RateLimitError,
    Session,
    StreamEvent,
    TextDelta,
    ToolResult,
)

ADD: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}


def add(a: int, b: int) -> int:
    """Add."""
    return a + b


def client(folder: Path, name: str, **options: Any) -> tuple[Client, Path]:
    program, log = player(folder, name)
    home = folder / "home"
    given = {"executable": str(program), "home": str(home), "cwd": str(folder), "retry": 0, "timeout": 20}
    return Client("codex/m", **{**given, **options}), log


def agrees_at_the_terminal(found: Row, expected: Row) -> None:
    """Reset times that are said without a day and a zone depend on the clock."""
    if expected.fault is not None and expected.fault.reset_time is not None:
        assert found.fault is not None
        assert found.fault.reset_time is not None
        found = found._replace(fault=found.fault._replace(reset_time=expected.fault.reset_time))
    agrees(found, expected)


@pytest.mark.req("seed-A10")
@pytest.mark.recordings("codex")
@pytest.mark.parametrize("name", EXEC)
async def test_exec(name: str, tmp_path: Path) -> None:
    row = EXEC[name]
    session = Session(backend="codex", id=row.thread, data={"usage": row.before}) if row.before else None
    asked, log = client(tmp_path, name, interface="exec")
    async with asked:
        found = await events_of(asked, "hi", session=session)
    agrees_at_the_terminal(without_lost(told(found)), without_lost(row))
    begun, said = noted(log)
    assert said["prompt"] == "hi"
    assert "hi" not in begun["argv"]
    assert not alive(begun["pid"])


def without_lost(row: Row) -> Row:
    """What is only said on standard error is waited for where MCP servers were asked for, and else it may come too late."""
    return row._replace(warnings=tuple(text for text in row.warnings if text != LOST_MCP))


@pytest.mark.req("seed-A10")
@pytest.mark.recordings("codex")
@pytest.mark.parametrize("name", APP)
async def test_app_server(name: str, tmp_path: Path) -> None:
    rows = APP[name]
    asked, log = client(tmp_path, name)
    turns = turns_of(lines_of(name)[0])
    several = len({thread for thread, _ in turns}) > 1
    async with asked:
        if name == "appserver_dynamic_tool":
            run = asked.run("add", tools=[add])
            found = [event async for event in run.as_events()]
            reply = run.partial
            assert reply.text == rows[0].text
            assert reply.steps == 2
            assert "42" in [
                part.text for message in reply.messages for part in message.parts if isinstance(part, ToolResult)
            ]
            assert reply.usage is not None
            assert reply.usage.output_tokens == 84
        elif name == "appserver_interrupt":
            await interrupted(asked, ["01a1fc0d-c1f2-7fc1-a149-9011db009365"])
            assert "turn/interrupt" in [message.get("method") for message in noted(log)]
        elif several:
            streams = [asked.stream("hi") for _ in rows]
            together = await asyncio.gather(*(collected(stream.as_events()) for stream in streams))
            for found in together:
                agrees(anywhere(told(found)), anywhere(rows[0]))
        else:
            session = Session(backend="codex", id=rows[0].thread) if rows[0].thread else None
            for row in rows:
                found = await events_of(asked, "hi", session=session)
                agrees_at_the_terminal(told(found), row)
                last = [event for event in found if isinstance(event, Session)]
                session = last[-1]
                assert session.id == turns[0][0]
    assert not alive(noted(log)[0]["pid"])


def anywhere(row: Row) -> Row:
    """What is told to all sessions is told to the first."""
    return row._replace(warnings=(), thread="")


async def collected(events: Any) -> list[StreamEvent]:
    return [event async for event in events]


async def interrupted(client: Client, turns: Sequence[str]) -> None:
    """Closing a stream stops the turn, by the protocol."""
    async with client.stream("hi") as stream:
        async for event in stream:
            if isinstance(event, TextDelta):
                break
    assert stream.partial.text == "word0 "
    assert stream.partial.session is not None
    assert stream.partial.session.turn == turns[0]


@pytest.mark.req("seed-A10")
async def test_no_prompt_and_no_secret_on_a_command_line(tmp_path: Path) -> None:
    """They go through standard input, the environment, and private files."""
    asked, log = client(
        tmp_path,
        "text",
        interface="exec",
        base_url="http://127.0.0.1:9/v1",
        api_key="sk-secret-of-a-test-1234",
        extra_headers={"x-team": "secret-team"},
        mcp_servers={
            "calc": {"url": "http://x/mcp", "http_headers": {"authorization": "secret-mcp"}, "env": {"A": "secret-a"}}
        },
    )
    async with asked:
        await asked.complete("the secret question", system="the secret system")
    begun, said = noted(log)
    assert not [word for word in begun["argv"] if "secret" in word]
    assert said["prompt"] == "the secret question"
    env = begun["env"]
    assert env["ASYNCLLM_CODEX_KEY"] == "sk-secret-of-a-test-1234"
    assert {env["ASYNCLLM_CODEX_HEADER_0"], env["ASYNCLLM_MCP_0"], env["A"]} == {
        "secret-team",
        "secret-mcp",
        "secret-a",
    }
    assert "secret" not in repr(asked)


@pytest.mark.req("seed-A10")
async def test_the_options_of_exec(tmp_path: Path) -> None:
    """Each is an override of this run; what the user has configured is not touched."""
    home = tmp_path / "home" / ".codex"
    home.mkdir(parents=True)
    (home / "config.toml").write_text('model = "mine"\n')
    asked, log = client(
        tmp_path,
        "text",
        interface="exec",
        sandbox="workspace-write",
        approval="on-request",
        profile="mine",
        config={"tools": {"x": True}, "history.persistence": "none"},
        auto_compact_limit=1000,
        ephemeral=True,
        model_provider="emu",
        service_tier="flex",
        web_search="disabled",
        add_dirs=(str(tmp_path),),
        extra_args=("--enable", "thing"),
        env={"EMU_API_KEY": "k"},
    )
    async with asked:
        reply = await asked.complete("hi", reasoning="high", max_tokens=5, temperature=0.5)
    assert "codex knows no max_tokens: left out" in reply.warnings
    assert "codex knows no temperature: left out" in reply.warnings
    argv = noted(log)[0]["argv"]
    assert argv[:5] == ["exec", "--profile", "mine", "--json", "--skip-git-repo-check"]
    assert argv[-1] == "-"
    assert {"--ephemeral", "--enable", "thing"} <= {*argv}
    assert argv[argv.index("--model") + 1] == "m"
    overrides = {argv[at + 1] for at, word in enumerate(argv) if word == "-c"}
    assert overrides >= {
        'sandbox_mode="workspace-write"',
        'approval_policy="on-request"',
        "tools.x=true",
        'history.persistence="none"',
        "model_auto_compact_token_limit=1000",
        'model_provider="emu"',
        "model_providers.emu.request_max_retries=0",
        "model_providers.emu.stream_max_retries=0",
        'service_tier="flex"',
        'web_search="disabled"',
        f'sandbox_workspace_write.writable_roots=["{tmp_path}"]',
        'model_reasoning_effort="high"',
        "features.unbounded_connection_retries=false",
    }
    assert (home / "config.toml").read_text() == 'model = "mine"\n'


@pytest.mark.req("seed-A10")
async def test_the_options_of_the_app_server(tmp_path: Path) -> None:
    home = tmp_path / "home" / ".codex"
    home.mkdir(parents=True)
    (home / "mine.config.toml").write_text('model_verbosity = "low"\n[tools]\nx = true\n')
    asked, log = client(
        tmp_path,
        "appserver_text",
        bypass=True,
        profile="mine",
        base_url="http://127.0.0.1:9/v1",
        api_key="sk-secret",
        append_system="be brief",
        builtin_tools=False,
        ephemeral=True,
        mcp_servers={"calc": {"url": "http://x/mcp"}},
        extra_headers={"x-team": "a"},
    )
    async with asked:
        with pytest.raises(InvalidOutputError):
            await asked.complete("hi", system="SYS", reasoning=4096, output=dict)
    calls = {
        message["method"]: message["params"] for message in noted(log)[1:] if "id" in message and "method" in message
    }
    start = calls["thread/start"]
    assert (start["sandbox"], start["approvalPolicy"], start["ephemeral"]) == ("danger-full-access", "never", True)
    assert (start["baseInstructions"], start["developerInstructions"]) == ("SYS", "be brief")
    assert start["modelProvider"] == "asyncllm"
    config = start["config"]
    assert config["model_verbosity"] == "low"
    assert config["tools.x"] is True
    assert config["features.shell_tool"] is False
    assert config["mcp_servers.calc.default_tools_approval_mode"] == "approve"
    assert config["model_providers.asyncllm.env_key"] == "ASYNCLLM_CODEX_KEY"
    assert config["model_providers.asyncllm.stream_max_retries"] == 0
    assert calls["turn/start"]["effort"] == "low"
    assert "JSON Schema" in calls["turn/start"]["input"][-1]["text"]  # `dict` has no strict form
    assert "sk-secret" not in str(noted(log)[0]["argv"]) + str(start)


@pytest.mark.req("seed-A10")
async def test_by_default_it_may_change_nothing(tmp_path: Path) -> None:
    asked, log = client(tmp_path, "appserver_text")
    async with asked:
        await asked.complete("hi")
    start = next(message["params"] for message in noted(log)[1:] if message.get("method") == "thread/start")
    assert (start["sandbox"], start["approvalPolicy"]) == ("read-only", "never")


@pytest.mark.req("seed-A10")
async def test_isolated_reads_nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "mine"))
    monkeypatch.setenv("CODEX_API_KEY", "sk-mine")
    program, log = player(tmp_path, "text")
    async with Client("codex/m", executable=str(program), cwd=str(tmp_path), isolated=True, interface="exec") as asked:
        await asked.complete("hi")
        env = noted(log)[0]["env"]
        home = Path(env["CODEX_HOME"])
        assert home.parent == Path(env["HOME"])
        assert stat.S_IMODE(home.parent.stat().st_mode) == 0o700
        assert "sk-mine" not in env.values()
        assert "mine" not in env["CODEX_HOME"]
    assert not home.parent.exists()


async def test_a_missing_program_says_how_to_install_it(tmp_path: Path) -> None:
    async with Client("codex", executable=str(tmp_path / "nothing"), home=str(tmp_path)) as asked:
        with pytest.raises(NotFoundError, match="npm install"):
            await asked.complete("hi")


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sandbox": "none"}, "sandbox"),
        ({"approval": "on-failure"}, "approval"),
        ({"interface": "mcp"}, "interface"),
        ({"token_provider": lambda: "x"}, "token provider"),
        ({"model_provider": "x", "api_key": "y"}, "model_provider"),
        ({"interface": "exec", "append_system": "x"}, "append_system"),
        ({"bypass": True, "sandbox": "workspace-write"}, "bypass"),
        ({"no_such": 1}, "no_such"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        Client("codex", **options)


@pytest.mark.parametrize(
    ("options", "call", "words"),
    [
        ({}, {"stop": ["x"]}, "stop"),
        ({}, {"extra_body": {"a": 1}}, "extra_body"),
        ({}, {"tools": [add], "tool_choice": "required"}, "tool_choice"),
        ({"interface": "exec"}, {"tools": [add]}, "tools"),
        ({"profile": "nobody"}, {}, "profile"),
    ],
)
async def test_requests_that_cannot_be(
    options: dict[str, Any], call: dict[str, Any], words: str, tmp_path: Path
) -> None:
    asked, _ = client(tmp_path, "appserver_text", **options)
    async with asked:
        with pytest.raises(InvalidRequestError, match=words):
            await asked.complete("hi", **call)


async def test_a_rate_limit_has_an_absolute_time(tmp_path: Path) -> None:
    """The window that is used up says so to the second; the message only to the minute, in nobody's zone."""
    asked, _ = client(tmp_path, "appserver_err_usage_limit")
    async with asked:
        with pytest.raises(RateLimitError) as caught:
            await asked.complete("hi")
    assert caught.value.reset_time is not None
    assert caught.value.reset_time.timestamp() == 1795233720
    assert caught.value.provider == "codex"


@pytest.mark.req("I2")
async def test_the_server_is_gone_and_another_one_goes_on(tmp_path: Path) -> None:
    """A turn that breaks with its process says so; the next turn starts a new process, and the session is resumed there."""
    asked, log = client(tmp_path, "appserver_sigterm_midturn")
    async with asked:
        with pytest.raises(IncompleteStreamError) as caught:
            await asked.complete("hi")
        partial = caught.value.partial
        assert partial is not None
        assert partial.text == "word0 "
        player(tmp_path, "appserver_resume")
        session = Session(backend="codex", id="01a1fc0d-aef3-70e1-a6d4-703be42132aa")
        reply = await asked.complete("three", session=session)
        assert reply.text.startswith("This request carried 10 items")
    first = noted(log)[0]["pid"]
    second = noted(tmp_path / "appserver_resume.log")[0]["pid"]
    assert first != second
    assert not alive(first)
    assert not alive(second)


async def test_it_says_nothing(tmp_path: Path) -> None:
    """A program that starts and is silent is given up, and ended."""
    program = tmp_path / "codex"
    program.write_text("#!/bin/sh\nexec sleep 60\n")
    program.chmod(0o700)
    for interface in ("app-server", "exec"):
        options = {"home": str(tmp_path), "start_timeout": 0.2, "interface": interface, "retry": 0}
        async with Client("codex", executable=str(program), **options) as asked:
            with pytest.raises(LLMError) as caught:
                await asked.complete("hi")
            assert type(caught.value).__name__ == "ConnectTimeout"
            assert "start_timeout" in caught.value.message


async def test_200_kilobytes(tmp_path: Path) -> None:
    """An answer of any size is whole: here it is in one line."""
    long = "0123456789" * 20_000
    program = tmp_path / "codex"
    item = '{"type":"item.completed","item":{"id":"item_0","type":"agent_message","text":"%s"}}'
    said = ['{"type":"thread.started","thread_id":"t"}', item % long, '{"type":"turn.completed","usage":{}}']
    (tmp_path / "said").write_text("\n".join(said) + "\n")
    program.write_text(f"#!/bin/sh\ncat > {tmp_path}/prompt\ncat {tmp_path}/said\n")
    program.chmod(0o700)
    asked = "x" * 300_000
    async with Client("codex", executable=str(program), home=str(tmp_path), interface="exec") as client:
        reply = await client.complete(asked)
    assert reply.text == long
    assert (tmp_path / "prompt").read_text() == asked


@pytest.mark.req("seed-A10")
async def test_a_lost_mcp_server_is_told(tmp_path: Path) -> None:
    asked, _ = client(
        tmp_path, "mcp_unreachable", interface="exec", mcp_servers={"calc": {"url": "http://127.0.0.1:9/mcp"}}
    )
    async with asked:
        found = await events_of(asked, "hi")
    assert LOST_MCP in told(found).warnings


async def test_messages_lead_back_to_the_session(tmp_path: Path) -> None:
    """A conversation that is sent back as it is goes on in its session, without any Session given."""
    asked, log = client(tmp_path, "appserver_text_2turns")
    async with asked:
        first = await asked.complete("one")
        second = await asked.complete([*first.messages, Message("user", "two")])
    assert second.text == APP["appserver_text_2turns"][1].text
    turns = [message["params"] for message in noted(log)[1:] if message.get("method") == "turn/start"]
    assert [said(turn["input"]) for turn in turns] == ["one", "two"]
    assert len({turn["threadId"] for turn in turns}) == 1


def said(parts: Sequence[dict[str, Any]]) -> str:
    return "".join(part["text"] for part in parts)
