"""The command line as people run it: a process of its own, over loopback, with pipes, signals and a terminal."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from asyncio.subprocess import PIPE
from pathlib import Path

import pytest
from _cli import PATIENCE, environment_of, finished, of, start, terminal

from asyncllm import Finish, TextDelta, event_from_json
from asyncllm.testing import Answer, Server, Stall, Wait


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    return environment_of(tmp_path)


def chat(server: Server, *arguments: str) -> list[str]:
    return [*of(server), *arguments]


async def test_text_is_written_as_it_comes(environment: dict[str, str]) -> None:
    """The first words can be read from the pipe while the server holds the others back."""
    held = Wait()
    async with Server(Answer(["Hello", held, " there"])) as server:
        process = await start(environment, *chat(server, "Hi"))
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readexactly(5), PATIENCE) == b"Hello"
        held.release()
        code, out, err = await finished(process)
    assert (code, out) == (0, b" there\n")
    assert b"\x1b" not in err  # no colours where there is no terminal


async def test_stdin_is_the_prompt(environment: dict[str, str]) -> None:
    """What is piped in is asked, after the prompt of the command."""
    async with Server(Answer.text("ok")) as server:
        process = await start(environment, *chat(server, "Sum up:"), stdin=PIPE)
        code, out, _ = await finished(process, "fünf\n".encode())
        assert (code, out) == (0, b"ok\n")
        assert server.requests[0].json["messages"][-1]["content"] == "Sum up:\n\nfünf"


async def test_json_lines_for_programs(environment: dict[str, str]) -> None:
    """Every line of stdout is an event; they add up to the answer."""
    async with Server(Answer.text("Hello there")) as server:
        code, out, err = await finished(await start(environment, *chat(server, "--json", "Hi")))
    events = [event_from_json(line) for line in out.splitlines()]
    assert (code, err) == (0, b"")
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello there"
    assert isinstance(events[-1], Finish)


async def test_ctrl_c_while_the_server_stalls(environment: dict[str, str]) -> None:
    """130, no trace, the text so far is there, and the connection is closed."""
    async with Server(Answer.text("Half an answer", faults=[Stall(after=2)])) as server:
        process = await start(environment, *chat(server, "Hi"))
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readexactly(7), PATIENCE) == b"Half an"
        process.send_signal(signal.SIGINT)
        code, out, err = await finished(process)
        await asyncio.wait_for(server.wait_closed(1), PATIENCE)
    assert (code, out, err) == (130, b"\n", b"")


async def test_a_reader_that_leaves_is_no_error(environment: dict[str, str]) -> None:
    """`| head` ends the command without a word."""
    held = Wait()
    async with Server(Answer(["Hello", held, " there"])) as server:
        reading, writing = os.pipe()
        process = await start(environment, *chat(server, "Hi"), stdout=writing)
        os.close(writing)
        assert await asyncio.wait_for(asyncio.to_thread(os.read, reading, 5), PATIENCE) == b"Hello"
        os.close(reading)
        held.release()
        code, _, err = await finished(process)
        await asyncio.wait_for(server.wait_closed(1), PATIENCE)
    assert (code, err) == (1, b"")


async def test_text_that_the_encoding_lacks(environment: dict[str, str]) -> None:
    """An old terminal shows "?" for a character that it does not know; the command goes on."""
    async with Server(Answer.text("rain 🌧 today")) as server:
        environment |= {"PYTHONIOENCODING": "ascii"}
        code, out, _ = await finished(await start(environment, *chat(server, "Hi")))
    assert (code, out) == (0, b"rain ? today\n")


@pytest.mark.parametrize(
    ("model", "code", "said"),
    [
        ("openai/any", 3, b"error: openai: no key for openai: set the environment variable OPENAI_API_KEY or pass"),
        ("opnai/any", 2, b"did you mean openai/any?"),
        ("any", 2, b"write it as provider/model"),
    ],
)
async def test_what_is_wrong_is_one_line(environment: dict[str, str], model: str, code: int, said: bytes) -> None:
    """A missing key and a wrong model: one line with the fix, no trace, and the exit code."""
    ended, out, err = await finished(await start(environment, "chat", "-m", model, "Hi"))
    assert (ended, out, err.count(b"\n")) == (code, b"", 1)
    assert said in err


async def test_without_the_extra(environment: dict[str, str]) -> None:
    """Where typer is not installed, one line says what is missing."""
    program = "import sys; sys.modules['typer'] = None; from asyncllm.cli import main; main()"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment, stdout=PIPE, stderr=PIPE
    )
    code, out, err = await finished(process)
    assert (code, out) == (2, b"")
    assert err.decode().splitlines() == ["the command line needs the extra: pip install 'asyncllm[cli]'"]


async def test_the_library_does_not_import_the_command_line(environment: dict[str, str]) -> None:
    """Programs that stream pay nothing for typer and rich."""
    program = "import sys, asyncllm; asyncllm.Client; assert not {'typer', 'rich'} & set(sys.modules)"
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, env=environment, stderr=PIPE)
    assert (await finished(process))[::2] == (0, b"")


async def test_serve_and_ask_it(environment: dict[str, str]) -> None:
    """`serve` says where it is; `chat` finds its models there; Ctrl-C ends it."""
    serving = await start(environment, "serve", "--port", "0")
    assert serving.stdout is not None
    base_url = (await asyncio.wait_for(serving.stdout.readline(), PATIENCE)).decode().strip()
    code, out, _ = await finished(await start(environment, "chat", "--base-url", base_url, "Hi"))
    assert (code, out) == (0, b"This is a demo, not a model. You said: Hi\n")
    serving.send_signal(signal.SIGINT)
    code, _, err = await finished(serving)
    assert (code, err) == (0, b"")


# ---- on a terminal


async def test_escape_sequences_of_a_model_do_nothing(environment: dict[str, str]) -> None:
    """The only escape codes that reach the terminal are our own, for dimmed lines."""
    evil = "\x1b[2Jgone\x1b]52;c;c2VjcmV0\x07\x9b31m[bold]plain[/bold]\rx"
    async with (
        Server(Answer.text(evil, reasoning="\x1b[31mred")) as server,
        terminal(environment, *chat(server, "Hi")) as screen,
    ):
        assert await screen.end() == 0
    shown = screen.shown
    assert b"[2Jgone]52;c;c2VjcmV031m[bold]plain[/bold]x\r\n" in shown
    assert b"\x1b[2m[31mred\x1b[0m\r\n" in shown
    ours = shown.replace(b"\x1b[2m", b"").replace(b"\x1b[0m", b"").replace(b"\r\n", b"")
    assert not {*range(0x20)} & {*ours}
    assert "\x9b" not in ours.decode()


async def test_no_colour_means_none(environment: dict[str, str]) -> None:
    """--no-color leaves no escape code on the terminal."""
    async with (
        Server(Answer.text("plain", reasoning="thought")) as server,
        terminal(environment, *chat(server, "Hi", "--no-color")) as screen,
    ):
        assert await screen.end() == 0
    assert b"\x1b" not in screen.shown


async def test_a_conversation_on_a_terminal(environment: dict[str, str]) -> None:
    """Questions are read one after another with all that was said before; Ctrl-D ends."""
    async with (
        Server([Answer.text("First answer"), Answer.text("Second answer")]) as server,
        terminal(environment, *chat(server)) as screen,
    ):
        await screen.until(b"> ")
        screen.type(b"one\n")
        await screen.until(b"First answer")
        await screen.until(b"> ")
        screen.type(b"two\n")
        await screen.until(b"Second answer")
        await screen.until(b"> ")
        screen.type(b"\x04")
        assert await screen.end() == 0
        said = [message["content"] for message in server.requests[1].json["messages"]]
    assert said == ["one", "First answer", "two"]


async def test_ctrl_c_at_the_prompt(environment: dict[str, str]) -> None:
    """Stopping while nothing is asked is 130 and no trace either."""
    async with Server() as server, terminal(environment, *chat(server)) as screen:
        await screen.until(b"> ")
        screen.process.send_signal(signal.SIGINT)
        screen.type(
            b"\n"
        )  # CPython overlooks a signal between showing the sign and waiting for keys, until the next line
        assert await screen.end() == 130
    assert b"Traceback" not in screen.shown


async def test_providers_on_a_terminal(environment: dict[str, str]) -> None:
    """The table fits the terminal and has colours there."""
    async with terminal(environment | {"OPENAI_API_KEY": "sk-secret"}, "providers") as screen:
        assert await screen.end() == 0
    assert b"\x1b[" in screen.shown
    assert b"secret" not in screen.shown
