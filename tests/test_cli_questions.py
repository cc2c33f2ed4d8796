"""Questions and Ctrl-C in this process: what each answer does, and where KeyboardInterrupt is raised."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from _cli import asked, chat, nothing_from_outside
from _runs import DONE, call, calls
from typer.testing import Result

from asyncllm.cli._background import Background
from asyncllm.cli._interrupts import heard, listening
from asyncllm.testing import Answer, Server, serve_in_thread

TOOL = "def weather(city: str) -> str:\n    return f'{city}: 21 degrees'\n"


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_from_outside(monkeypatch, tmp_path)
    (tmp_path / "own.py").write_text(TOOL)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_in_thread([calls(call(city="Oslo")), DONE]) as serving:
        yield serving


@pytest.fixture
def answer(server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Result]:
    """Runs a chat whose questions are answered with these lines: all of them are asked for."""
    lines: list[str] = []

    def read(prompt: str = "") -> str:
        if not lines:
            raise EOFError
        return lines.pop(0)

    def chatting(*given: str, prompt: str = "Rain?") -> Result:
        lines[:] = given
        monkeypatch.setattr("asyncllm.cli._chat.question_from", lambda _: prompt or None)
        result = chat(server, "--tool", f"{tmp_path}/own.py:weather")
        assert lines == []
        return result

    monkeypatch.setattr("builtins.input", read)
    monkeypatch.setattr("asyncllm.cli._approve.no_terminal_to_ask_on", lambda: False)
    return chatting


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        (["y"], "Oslo: 21 degrees"),
        ([" Yes "], "Oslo: 21 degrees"),
        (["", "perhaps", "always"], "Oslo: 21 degrees"),
        (["n", ""], "the tool was not called: the user did not allow this call"),
        (["no", " too\x1b[2J  far "], "the tool was not called: the user did not allow this call: too[2J far"),
        (["e", "", "y"], "Oslo: 21 degrees"),
        (["edit", "[]", "{", '{"city": "Rome"}'], "Rome: 21 degrees"),
        (["v", "y"], "Oslo: 21 degrees"),
    ],
)
def test_answers(server: Server, answer: Callable[..., Result], lines: list[str], told: str) -> None:
    """The model is told what the call gave, or why it was not made; nothing but an answer is taken for one."""
    result = answer(*lines)
    assert (result.exit_code, result.stdout) == (0, "It is 21 degrees.\n")
    assert asked(server)["messages"][-1]["content"] == told
    assert 'tool call: weather\n  city: "Oslo"\nAllow? [y]es / [n]o' in result.stderr


@pytest.mark.parametrize("lines", [["q"], []])
def test_the_end_of_it(server: Server, answer: Callable[..., Result], lines: list[str]) -> None:
    """Quit, and the end of the input, are Ctrl-C: nothing more is sent."""
    assert answer(*lines).exit_code == 130
    assert len(server.requests) == 1


def test_always(server: Server, answer: Callable[..., Result]) -> None:
    """The next calls of the tool are shown and not asked for; one that there is not is shown, too."""
    server.play([calls(call(city="Oslo"), call(id="c2", city="Rome"), call("snow", id="c3")), DONE])
    result = answer("a")
    assert result.exit_code == 0
    assert 'tool call: weather(city="Rome")\n' in result.stderr
    assert "tool call: snow()\ntool error: snow: there is no tool 'snow'" in result.stderr


def test_a_conversation_and_its_commands(server: Server, answer: Callable[..., Result], tmp_path: Path) -> None:
    """Commands are answered and are no questions; quitting at a question only ends that answer."""
    server.play([calls(call(city="Oslo"), text="I look."), Answer.text("One"), Answer.text("Two")])
    file = tmp_path / "saved.json"
    commands = ["/help", "/tools", "/what", "/save", f"/save {file}", "/save /nowhere/at/all", "/clear"]
    result = answer("Rain?", "q", "Well?", *commands, "Again?", "/quit", prompt="")
    assert (result.exit_code, result.stdout) == (0, "I look.\nOne\nTwo\n")
    for shown in (
        "stopped; what was said",
        "/tools   ",
        "> weather\n",
        "no /what",
        "where to?",
        "saved to",
        "error: the",
    ):
        assert shown in result.stderr
    assert [message["content"] for message in asked(server)["messages"]] == ["Again?"]
    assert file.exists()


# ---- Ctrl-C


def test_ctrl_c_is_heard_where_something_waits() -> None:
    """Not before, but then at once; the second time in any case; and as ever when the block is left."""
    with listening():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), heard():
            pytest.fail("it was not heard")
        with heard():
            pass
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt), heard():
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    with listening(), heard():
        pass
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_hear_none() -> None:
    """There Python has no signals: nothing is installed, and nothing breaks."""
    seen: list[object] = []

    def work() -> None:
        with listening(), heard():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.default_int_handler]


@pytest.mark.skipif(sys.platform == "win32", reason="no signals between threads")
def test_what_is_under_way_ends_before_the_interrupt() -> None:
    """Ctrl-C while the loop works: it is cancelled, has cleaned up, and only then KeyboardInterrupt is raised."""
    steps: list[str] = []

    async def work() -> None:
        steps.append("began")
        try:
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            steps.append("ended")

    with listening(), contextlib.closing(Background()) as background:
        with pytest.raises(KeyboardInterrupt):
            background.run(work)
        assert steps == ["began", "ended"]
