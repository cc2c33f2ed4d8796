"""The command line with coding agents: a conversation on a terminal, its options, and what is installed."""

from __future__ import annotations

import json
import re
import signal
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from _antigravity import CONVERSATION
from _antigravity_program import Fake
from _cli import environment_of, finished, nothing_from_outside, run, start, terminal
from _mcp import LINUX

from asyncllm import InvalidRequestError
from asyncllm.cli import _agents
from asyncllm.cli._agents import backend_options, version_of

pytestmark = pytest.mark.skipif(not LINUX, reason="the fake programs are POSIX scripts")

WORDS = "Hello there, this is a test."


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    nothing_from_outside(monkeypatch, tmp_path)
    return Fake(tmp_path)


def chat(fake: Fake, play: str = "text", do: str = "", *arguments: str) -> list[str]:
    """`asyncllm chat` with the fake program."""
    given = fake.options(play, do)
    options = [f"{name}={json.dumps(given[name])}" for name in ("executable", "env")]
    pairs = [word for option in options for word in ("--option", option)]
    return ["chat", "-m", "antigravity", "--cwd", str(fake.work), *pairs, *arguments]


def conversations(fake: Fake) -> list[str | None]:
    """The conversation that each start goes on with."""
    return [
        begun["argv"][begun["argv"].index("--conversation") + 1] if "--conversation" in begun["argv"] else None
        for begun in fake.starts
    ]


def prompts(fake: Fake) -> list[str]:
    return [begun["argv"][-1] for begun in fake.starts]


async def test_its_own_tools_are_shown(fake: Fake) -> None:
    """The answer on stdout; what the agent did, on stderr."""
    process = await start(environment_of(fake.folder), *chat(fake, "tool", "", "Look."))
    code, out, err = await finished(process)
    assert (code, out.decode()) == (0, "I look.\nIt is 42.\n")
    assert 'tool call: view_file(AbsolutePath="/work-dir/a.txt")' in err.decode()
    assert "tool result: view_file: 42" in err.decode()
    assert "2 steps" in err.decode()
    assert fake.starts[0]["cwd"] == str(fake.work)


async def test_what_it_was_not_allowed_to_do(fake: Fake) -> None:
    """An answer of nothing says why."""
    code, out, err = await finished(await start(environment_of(fake.folder), *chat(fake, "denied", "", "Write.")))
    assert (code, out) == (0, b"")
    assert "tool error: command: denied" in err.decode()


async def test_failures_are_one_line(fake: Fake) -> None:
    """With the exit code of their kind, and what to do."""
    code, out, err = await finished(await start(environment_of(fake.folder), *chat(fake, "quota", "", "Hi")))
    assert (code, out) == (4, b"")
    assert re.fullmatch(r"error: antigravity: .*Resets in 2h18m58s.*try again in 83\d\d s\n", err.decode())
    code, _, err = await finished(
        await start(environment_of(fake.folder), "chat", "-m", "agy", "-o", "executable=/no", "Hi")
    )
    assert code == 2
    assert b"antigravity.google" in err
    assert b"asyncllm models" not in err


async def test_a_conversation_on_a_terminal(fake: Fake) -> None:
    """It goes on in the agent's own session."""
    async with terminal(environment_of(fake.folder), *chat(fake)) as screen:
        for question in (b"Remember 42.\r", b"What was it?\r"):
            await screen.until(b"> ")
            screen.type(question)
            await screen.until(WORDS.encode())
        await screen.until(b"> ")
        screen.type(b"\x04")
        assert await screen.end() == 0
    assert conversations(fake) == [None, CONVERSATION]
    assert prompts(fake) == ["Remember 42.", "What was it?"]


@pytest.mark.parametrize("stopped", [1, 2])
async def test_ctrl_c_stops_a_turn_and_the_session_goes_on(fake: Fake, stopped: int) -> None:
    """The program is told, and the next question goes to the same conversation, which has heard what was said till then."""
    questions = [b"One.", b"Two.", b"Three."]
    async with terminal(environment_of(fake.folder), *chat(fake, "text", f"hold_{stopped}")) as screen:
        for at, question in enumerate(questions, start=1):
            await screen.until(b"> ")
            screen.type(question + b"\r")
            if at == stopped:
                await screen.until(b"Hello ")
                screen.process.send_signal(signal.SIGINT)
                await screen.until(b"stopped; what was said until then is kept")
            else:
                await screen.until(WORDS.encode())
        await screen.until(b"> ")
        screen.type(b"/quit\r")
        assert await screen.end() == 0
    assert sum("signal" in fact for fact in fake.facts) == 1
    assert conversations(fake) == [None, CONVERSATION, CONVERSATION]
    assert prompts(fake) == ["One.", "Two.", "Three."]


async def test_a_saved_conversation_goes_on(fake: Fake) -> None:
    """/save keeps where the agent has it, and --history goes on there, in another process."""
    file = fake.folder / "saved.json"
    async with terminal(environment_of(fake.folder), *chat(fake)) as screen:
        await screen.until(b"> ")
        screen.type(b"One.\r")
        await screen.until(b"> ")
        screen.type(f"/save {file}\r".encode())
        await screen.until(b"saved to")
        await screen.until(b"> ")
        screen.type(b"\x04")
        assert await screen.end() == 0
    saved = json.loads(file.read_bytes())
    assert (saved["session"]["backend"], saved["session"]["id"]) == ("antigravity", CONVERSATION)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = chat(fake, "text", "", "--history", str(file), "Two.")
    code, out, _ = await finished(await start(environment_of(fake.folder), *again))
    assert (code, out.decode()) == (0, f"{WORDS}\n")
    assert conversations(fake) == [None, CONVERSATION]
    assert prompts(fake)[1] == "Two."


async def test_clearing_begins_another_session(fake: Fake) -> None:
    """/clear forgets the agent's session, too."""
    async with terminal(environment_of(fake.folder), *chat(fake)) as screen:
        for line in (b"One.\r", b"/clear\r", b"Two.\r", b"/quit\r"):
            await screen.until(b"> ")
            screen.type(line)
        assert await screen.end() == 0
    assert conversations(fake) == [None, None]
    assert prompts(fake) == ["One.", "Two."]


async def test_events_for_programs(fake: Fake) -> None:
    """--json has the session."""
    code, out, _ = await finished(await start(environment_of(fake.folder), *chat(fake, "text", "", "--json", "Hi")))
    events = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert [event["type"] for event in events][-2:] == ["session", "finish"]
    assert events[-2]["id"] == CONVERSATION


async def test_isolated(fake: Fake) -> None:
    """A HOME of its own, which is gone afterwards."""
    code, _, _ = await finished(await start(environment_of(fake.folder), *chat(fake, "text", "", "--isolated", "Hi")))
    assert code == 0
    home = Path(fake.starts[0]["env"]["HOME"])
    assert home != fake.folder
    assert not home.exists()


# ---- options


def test_options_of_backends(tmp_path: Path) -> None:
    """JSON where it is JSON, else text."""
    given = ["mode=plan", "idle-processes=2", 'add_dirs=["/a"]', "a=b=c", 'text="1"', "empty=", "yes=true"]
    assert backend_options(given, cwd=tmp_path, isolated=True) == {
        "mode": "plan",
        "idle_processes": 2,
        "add_dirs": ["/a"],
        "a": "b=c",
        "text": "1",
        "empty": "",
        "yes": True,
        "cwd": str(tmp_path),
        "isolated": True,
    }
    assert backend_options([]) == {}


@pytest.mark.parametrize("text", ["mode", "=x", "two words=1", "api_key=k", "model=m"])
def test_options_that_are_none(text: str) -> None:
    """Said with what to write."""
    with pytest.raises(InvalidRequestError, match="--option"):
        backend_options([text])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["-m", "antigravity", "--cwd", "/no/such/place"], "no such directory"),
        (["-m", "antigravity", "--option", "colour=red"], "it knows the options add_dirs, cwd, env"),
        (["-m", "antigravity", "--option", "mode=fast"], "mode"),
        (["-m", "openai/any", "--api-key", "k", "--isolated"], "isolated"),
    ],
)
def test_options_that_do_not_fit(fake: Fake, arguments: list[str], said: str) -> None:
    """The exit code of wrong usage, and what would be right."""
    result = run("chat", *arguments, "Hi")
    assert result.exit_code == 2
    assert said in result.stderr


# ---- what is installed


def program(folder: Path, name: str, body: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!{sys.executable} -S\nimport json, os, sys, time\n{body}\n")
    path.chmod(0o700)
    return path


async def test_versions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One question, in an empty HOME, with nothing of our environment."""
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-secret")
    log = tmp_path / "log"
    body = (
        f"open({str(log)!r}, 'w').write(json.dumps([sys.argv[1:], dict(os.environ)])); print('1.2.3 (Claude)\\nmore')"
    )
    assert await version_of(str(program(tmp_path / "bin", "claude", body))) == "1.2.3 (Claude)"
    argv, env = json.loads(log.read_text())
    assert argv == ["--version"]
    assert "ANTHROPIC_API_KEY" not in env
    assert not Path(env["HOME"]).exists()
    silent = program(tmp_path / "bin", "silent", "sys.exit(0)")
    failing = program(tmp_path / "bin", "failing", "print('1'); sys.exit(3)")
    broken = tmp_path / "bin" / "broken"
    broken.write_bytes(b"\x7fELF no program")
    broken.chmod(0o700)
    unended = program(tmp_path / "bin", "unended", "sys.stdout.write('4.5'); sys.stdout.flush()")
    found = [await version_of(str(path)) for path in (silent, failing, broken, unended)]
    assert found == [None, None, None, "4.5"]
    monkeypatch.setattr(_agents, "PATIENCE", 0.3)
    assert await version_of(str(program(tmp_path / "bin", "hanging", "time.sleep(600)"))) is None


def test_doctor_and_providers_see_them(fake: Fake, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where it is, or how it is installed."""
    folder = tmp_path / "bin"
    there = program(folder, "claude", "print('2.1.197 (Claude Code)')")
    program(folder, "codex", "sys.exit(1)")
    monkeypatch.setenv("PATH", str(folder))
    shown = run("doctor").stdout
    assert f"ok    claude-code: 2.1.197 (Claude Code), {there}\n" in shown
    assert "warn  codex: " in shown
    assert "opencode (npm install -g opencode-ai), antigravity (https://antigravity.google" in shown
    rows: dict[str, Any] = {row["name"]: row for row in json.loads(run("providers", "--json").stdout)}
    assert (rows["claude-code"]["program"], rows["claude-code"]["installed"]) == ("claude", str(there))
    assert rows["opencode"]["installed"] is None
    assert rows["openai"]["program"] is None
    table = run("providers").stdout
    assert "needs opencode: npm install -g opencode-ai" in table
    assert str(there) in table
    for name in ("claude", "codex"):
        (folder / name).unlink()
    assert "claude-code (npm install" in run("doctor").stdout
