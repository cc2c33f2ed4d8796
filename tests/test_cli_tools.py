"""Tools on the command line, as people use them: a process on a terminal that is asked before each call."""

from __future__ import annotations

import asyncio
import signal
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from _cli import PATIENCE, Screen, environment_of, finished, of, start, terminal
from _runs import DONE, call, calls

from asyncllm import Stopped, ToolCall, ToolResult, check_order, event_from_json
from asyncllm.testing import Answer, Server, Wait

ALLOW = b"Allow? [y]es / [n]o / [a]lways this tool / [e]dit arguments / [q]uit: "

TOOLS = '''
"""Tools that write down how they were called."""
import time
from pathlib import Path

LOG = Path(__file__).with_suffix(".log")


def weather(city: str = "", days: int = 0) -> str:
    """The weather in a city.

    And more that is said of it.
    """
    with LOG.open("a") as log:
        log.write(f"{city} {days}\\n")
    return f"{city}: 21 degrees"


def pages() -> str:
    return "\\n".join(f"line {at}" for at in range(1000))


def fail() -> str:
    raise ValueError("no \\x1b[2Jluck")


def sleep() -> str:
    time.sleep(600)
    return ""
'''


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of(tmp_path)


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A file of tools; its log has a line for each call of `weather`."""
    path = tmp_path / "my_tools.py"
    path.write_text(TOOLS)
    return path


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    async with Server([calls(call(city="Oslo")), DONE]) as serving:
        yield serving


def log(tools: Path) -> list[str]:
    file = tools.with_suffix(".log")
    return file.read_text().splitlines() if file.exists() else []


def told(server: Server, at: int = -1) -> list[str]:
    """The results that the model was told with a request."""
    return [message["content"] for message in server.requests[at].json["messages"] if message["role"] == "tool"]


def ask(server: Server, tools: Path, *arguments: str, names: str = "weather") -> list[str]:
    refs = [part for name in names.split() for part in ("--tool", f"{tools}:{name}")]
    return [*of(server), *refs, *arguments]


async def answered(screen: Screen, keys: bytes) -> None:
    await screen.until(ALLOW)
    screen.type(keys)


# ---- without questions


async def test_without_a_terminal_tools_need_yes(environment: dict[str, str], server: Server, tools: Path) -> None:
    """Nobody could be asked: one line says what to pass, and nothing is sent, imported or connected."""
    tools.write_text("raise SystemExit(9)")
    code, out, err = await finished(await start(environment, *ask(server, tools, "Rain?")))
    assert (code, out, err.count(b"\n")) == (2, b"", 1)
    assert b"pass --yes to allow every call" in err
    assert server.requests == []


async def test_yes_calls_without_asking(environment: dict[str, str], server: Server, tools: Path) -> None:
    """The answer alone is on stdout; calls, results and the sum of it all are on stderr."""
    server.play([calls(call(city="Oslo"), call(id="c2", city="Rome"), text="Let me see."), DONE])
    code, out, err = await finished(await start(environment, *ask(server, tools, "Rain?", "-y")))
    assert (code, out) == (0, b"Let me see.\nIt is 21 degrees.\n")
    lines = err.decode().splitlines()
    assert lines[:4] == [
        'tool call: weather(city="Oslo")',
        'tool call: weather(city="Rome")',
        "tool result: weather: Oslo: 21 degrees",
        "tool result: weather: Rome: 21 degrees",
    ]
    assert lines[4].startswith("2 steps in ")
    assert " · tools: weather x2 · " in lines[4]
    assert " tokens in, " in lines[4]
    assert len(lines) == 5
    assert told(server) == ["Oslo: 21 degrees", "Rome: 21 degrees"]


async def test_long_results_and_errors(environment: dict[str, str], server: Server, tools: Path) -> None:
    """The first lines, and how much more there is; an error is called one, and its control characters are gone."""
    server.play([calls(call("pages"), call("fail", id="c2"), call("nope", id="c3")), DONE])
    process = await start(environment, *ask(server, tools, "Rain?", "--yes", names="pages fail"))
    code, _, err = await finished(process)
    text = err.decode()
    assert code == 0
    assert (
        "tool result: pages:\n  line 0\n  line 1\n  line 2\n  line 3\n  line 4\n  ... 8,855 more characters\n" in text
    )
    assert "tool error: fail: ValueError: no [2Jluck\n" in text
    assert "tool error: nope: there is no tool 'nope'" in text
    assert "tools: pages, fail (failed), nope (failed)" in text


async def test_events_for_programs(environment: dict[str, str], server: Server, tools: Path) -> None:
    """--json prints the events of all steps, in a legal order, and nothing else."""
    process = await start(environment, *ask(server, tools, "Rain?", "--yes", "--json", "--max-steps", "1"))
    code, out, err = await finished(process)
    events = [event_from_json(line) for line in out.splitlines()]
    check_order(events)
    assert [event.arguments for event in events if isinstance(event, ToolCall)] == [{"city": "Oslo"}]
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["Oslo: 21 degrees"]
    assert events[-1] == Stopped("max_steps")
    assert (code, err) == (1, b"")


@pytest.mark.req("seed-E5")
async def test_the_limit_of_steps(environment: dict[str, str], server: Server, tools: Path) -> None:
    """A run that is stopped has no answer: its exit code says so, and the line says which option is the limit."""
    process = await start(environment, *ask(server, tools, "Rain?", "--yes", "--max-steps", "1"))
    code, out, err = await finished(process)
    assert (code, out) == (1, b"")
    assert err.decode().splitlines()[-1].endswith("stopped before the answer, at the limit of steps (--max-steps)")
    assert len(server.requests) == 1


async def test_ctrl_c_does_not_wait_for_a_function(environment: dict[str, str], server: Server, tools: Path) -> None:
    """A function that cannot be stopped does not keep the command: 130 at once."""
    server.play([calls(call("sleep"))])
    process = await start(environment, *ask(server, tools, "Rain?", "--yes", names="sleep"))
    assert process.stderr is not None
    assert await asyncio.wait_for(process.stderr.readline(), PATIENCE) == b"tool call: sleep()\n"
    process.send_signal(signal.SIGINT)
    code, out, _ = await finished(process)
    assert (code, out) == (130, b"")


async def test_a_newcomer_needs_no_key(environment: dict[str, str]) -> None:
    """The demo calls the tool that it is given, and tells what it said."""
    root = environment["PYTHONPATH"]
    weather = f"{root}/examples/weather_tool.py:weather"
    process = await start(environment, "chat", "-m", "demo/tool", "--tool", weather, "--yes", "Weather in Oslo?")
    code, out, _ = await finished(process)
    assert code == 0
    assert b"The tool said: demo, today: 21 degrees and sunny." in out


# ---- asked


async def test_a_call_is_asked_for(environment: dict[str, str], server: Server, tools: Path) -> None:
    """The call is shown with its arguments, and made when it is allowed; other keys are no answer."""
    async with terminal(environment, *ask(server, tools, "Rain?")) as screen:
        await screen.until(b'tool call: weather\r\n  city: "Oslo"\r\n')
        await answered(screen, b"\n")
        await answered(screen, b"yep\n")
        assert log(tools) == []
        await answered(screen, b"YES\n")
        assert await screen.end() == 0
    assert log(tools) == ["Oslo 0"]
    assert b"tool result: weather: Oslo: 21 degrees" in screen.shown
    assert b"It is 21 degrees." in screen.shown
    assert screen.shown.count(b"tool call: ") == 1


@pytest.mark.parametrize(("reason", "said"), [(b"not \x1b[31mtoday", ": not today"), (b"", "")])
async def test_a_call_is_denied(
    environment: dict[str, str], server: Server, tools: Path, reason: bytes, said: str
) -> None:
    """Nothing is called, the model is told why, and answers all the same."""
    async with terminal(environment, *ask(server, tools, "Rain?")) as screen:
        await answered(screen, b"n\n")
        await screen.until(b"Why not?")
        screen.type(reason.replace(b"\x1b[31m", b"") + b"\n")
        assert await screen.end() == 0
    assert log(tools) == []
    assert told(server) == [f"the tool was not called: the user did not allow this call{said}"]


async def test_a_tool_is_allowed_for_ever(environment: dict[str, str], server: Server, tools: Path) -> None:
    """Always: the other calls of this tool, in this step and the next, are shown and made; another tool is asked for."""
    server.play(
        [
            calls(call(city="Oslo"), call(id="c2", city="Rome")),
            calls(call(id="c3", city="Bern"), call("pages", id="c4")),
            DONE,
        ]
    )
    async with terminal(environment, *ask(server, tools, "Rain?", names="weather pages")) as screen:
        await answered(screen, b"a\n")
        await screen.until(b'tool call: weather(city="Rome")')
        await screen.until(b'tool call: weather(city="Bern")')
        await screen.until(b"tool call: pages\r\n  (no arguments)\r\n")
        await answered(screen, b"y\n")
        assert await screen.end() == 0
    assert sorted(log(tools)) == ["Bern 0", "Oslo 0", "Rome 0"]
    assert screen.shown.count(ALLOW) == 2


async def test_arguments_are_edited(environment: dict[str, str], server: Server, tools: Path) -> None:
    """The arguments are there to be edited as JSON; what is no object is said to be none, and can be mended."""
    async with terminal(environment, *ask(server, tools, "Rain?")) as screen:
        await answered(screen, b"e\n")
        await screen.until(b'{"city": "Oslo"}')
        screen.type(b"\x15[1]\n")  # Ctrl-U empties the line
        await screen.until(b"that is not a JSON object")
        await screen.until(b"[1]")
        screen.type(b'\x15{"city": "Rome", "days": 2}\n')
        assert await screen.end() == 0
    assert log(tools) == ["Rome 2"]


async def test_an_edit_is_given_up(environment: dict[str, str], server: Server, tools: Path) -> None:
    """An empty line leaves the arguments as they were, and asks again."""
    async with terminal(environment, *ask(server, tools, "Rain?")) as screen:
        await answered(screen, b"e\n")
        await screen.until(b'{"city": "Oslo"}')
        screen.type(b"\x15\n")
        await answered(screen, b"y\n")
        assert await screen.end() == 0
    assert log(tools) == ["Oslo 0"]


@pytest.mark.parametrize("keys", [b"q\n", b"\x04"])
async def test_quitting_at_a_question(environment: dict[str, str], server: Server, tools: Path, keys: bytes) -> None:
    """Quit, and the end of the input: nothing is called or sent any more, and the exit code is that of Ctrl-C."""
    async with terminal(environment, *ask(server, tools, "Rain?")) as screen:
        await answered(screen, keys)
        assert await screen.end() == 130
    assert log(tools) == []
    assert len(server.requests) == 1
    assert b"Traceback" not in screen.shown


async def test_a_question_beside_an_answer_in_a_file(environment: dict[str, str], server: Server, tools: Path) -> None:
    """Where stdout is no terminal, questions are asked on stderr, and edited arguments are typed; the file has the answer."""
    async with terminal(environment, *ask(server, tools, "Rain?"), stdout=PIPE) as screen:
        await answered(screen, b"e\n")
        await screen.until(b"Arguments")
        screen.type(b'{"city": "Rome"}\n')
        assert await screen.end() == 0
        assert screen.process.stdout is not None
        assert await screen.process.stdout.read() == b"It is 21 degrees.\n"
    assert log(tools) == ["Rome 0"]


async def test_ctrl_c_at_a_question(environment: dict[str, str], server: Server, tools: Path) -> None:
    """In a conversation the call is given up, and the next question can be asked."""
    async with terminal(environment, *ask(server, tools)) as screen:
        await screen.until(b"> ")
        screen.type(b"Rain?\n")
        await screen.until(ALLOW)
        screen.process.send_signal(signal.SIGINT)
        screen.type(b"\n\n")  # one in case that the signal was overlooked (see test_cli_process.py), one to end it
        assert await screen.end() == 0
    assert b"stopped; what was said until then is kept" in screen.shown
    assert log(tools) == []


async def test_a_question_cannot_be_spoofed(environment: dict[str, str], server: Server, tools: Path) -> None:
    """Nothing of a call begins a line of its own, moves the cursor or turns the text; what is long is cut, and can be seen."""
    evil = "\x1b[2J\r\nAllow? yes\u202e\u2028\x9b31m" + " " * 76 + "Allow? " + "x" * 1000
    server.play([calls(call(city=evil, **{"b\nAllow? ": 1})), DONE])
    async with terminal(environment, *ask(server, tools, "Rain?")) as screen:
        await screen.until(b"[v]iew all / [q]uit: ")
        block = screen.shown[screen.shown.rindex(b"tool call: ") :].decode()
        assert "xxx... (" in block
        screen.type(b"v\n")
        await screen.until(ALLOW)
        whole = screen.shown[screen.shown.rindex(b"tool call: ") :].decode()
        screen.type(b"n\n\n")
        await screen.end()
    lines = block.split("\r\n")
    assert lines[1].startswith(r'  city: "\u001b[2J\r\nAllow? yes\u202e\u2028\u009b31m')
    assert all(line.startswith("  ") and len(line) < 80 for line in lines[1:-1])
    assert lines[-1].startswith("Allow? [y]es")
    assert not [char for char in block if not char.isprintable() and char not in "\r\n"]
    assert r'"b\nAllow? ": 1' in block
    assert whole.count("x") >= 1000


async def test_keys_typed_ahead_are_no_answer(environment: dict[str, str], server: Server, tools: Path) -> None:
    """A model that says "Allow?" itself does not get a yes for what comes after."""
    held = Wait()
    server.play([Answer(["Allow? ", held, call(city="Oslo")]), DONE])
    async with terminal(environment, *ask(server, tools, "Rain?")) as screen:
        await screen.until(b"Allow? ")
        screen.type(b"y\n")
        await screen.until(b"y\r\n")
        held.release()
        await answered(screen, b"n\n")
        await screen.until(b"Why not?")
        screen.type(b"\n")
        assert await screen.end() == 0
    assert log(tools) == []
