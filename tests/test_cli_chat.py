"""`asyncllm chat` in this process: what it asks for, prints and returns."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from _cli import Terminal, asked, chat, nothing_from_outside, run

from asyncllm import (
    Finish,
    InvalidRequestError,
    StreamStart,
    TextDelta,
    event_from_json,
)
from asyncllm.cli._chat import Chat, History, question_from
from asyncllm.cli._terminal import Screen
from asyncllm.testing import Answer, NoDone, NoFinish, ReceivedRequest, Server, SlowHeaders, Wait, serve_in_thread


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_from_outside(monkeypatch, tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_in_thread(Answer.text("Hello there", reasoning="Let me see.")) as serving:
        yield serving


# ---- chat


def test_the_answer_goes_to_stdout_and_the_rest_to_stderr(server: Server) -> None:
    """stdout holds the text and a line end; reasoning, speed and usage are on stderr."""
    result = chat(server, "Hi")
    assert (result.exit_code, result.stdout) == (0, "Hello there\n")
    assert result.stderr.startswith("Let me see.\nfirst token ")
    assert "1 tokens in, 5 out (3 reasoning)" in result.stderr


def test_options_become_the_request(server: Server) -> None:
    """Each option of the command is in the body that is sent."""
    options = ["--system", "Be brief", "--max-tokens", "7", "--temperature", "0.5", "--reasoning", "low"]
    assert chat(server, "Hi", *options, "--timeout", "9").exit_code == 0
    body = asked(server)
    assert [message["content"] for message in body["messages"]] == ["Be brief", "Hi"]
    assert (body["max_completion_tokens"], body["temperature"], body["reasoning_effort"]) == (7, 0.5, "low")


@pytest.mark.parametrize(
    ("prompt", "stdin", "question"),
    [
        (["Sum up:"], "a text\n", "Sum up:\n\na text"),
        ([], "a text\n", "a text"),
        (["-"], "é\n", "é"),
        (["Hi"], "", "Hi"),
        (["Hi"], " \n", "Hi"),
    ],
)
def test_prompt_and_stdin_are_joined(server: Server, prompt: list[str], stdin: str, question: str) -> None:
    """The question is the prompt, what is piped in, or both."""
    assert chat(server, *prompt, stdin=stdin).exit_code == 0
    assert asked(server)["messages"][-1]["content"] == question


@pytest.mark.parametrize("prompt", [[], ["-"], ["  "]])
def test_no_prompt_is_wrong_usage(server: Server, prompt: list[str]) -> None:
    """Nothing to ask is said at once, before any request."""
    result = chat(server, *prompt, stdin="")
    assert (result.exit_code, result.stdout, server.requests) == (2, "", [])
    assert "there is no prompt" in result.stderr


def test_a_closed_stdin_is_no_prompt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A program without any stdin can still ask, and is told if it does not."""
    monkeypatch.setattr(sys, "stdin", None)
    assert question_from("Hi") == "Hi"
    with pytest.raises(InvalidRequestError):
        question_from(None)


def test_a_terminal_without_a_prompt_is_a_conversation(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a terminal stdin is not read unless `-` asks for it."""
    monkeypatch.setattr(sys, "stdin", Terminal("unread"))
    assert question_from(None) is None
    assert question_from("Hi") == "Hi"


def test_json_lines_parse_back(server: Server) -> None:
    """With --json, stdout is one event a line, which event_from_json reads, and stderr is silent."""
    result = chat(server, "Hi", "--json")
    events = [event_from_json(line) for line in result.stdout.splitlines()]
    assert isinstance(events[0], StreamStart)
    assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "Hello there"
    assert isinstance(events[-1], Finish)
    assert result.stderr == ""


def test_json_says_the_error_too(server: Server) -> None:
    """A failed stream ends with its error as the last line; the exit code says it as well."""
    server.play(Answer.text("Half an", faults=[NoFinish(), NoDone()]))
    result = chat(server, "Hi", "--json")
    last = json.loads(result.stdout.splitlines()[-1])
    assert (last["type"], last["error"]["kind"], result.exit_code) == ("stream_error", "protocol", 6)


def test_a_broken_answer_keeps_its_text(server: Server) -> None:
    """What came before the break is printed; then one line says that it is not whole."""
    server.play(Answer.text("Half an", faults=[NoFinish(), NoDone()]))
    result = chat(server, "Hi")
    assert (result.exit_code, result.stdout) == (6, "Half an\n")
    assert result.stderr.startswith("error: ")
    assert result.stderr.endswith("what came is not the whole answer\n")


def test_retries_are_shown(server: Server) -> None:
    """A failed try is on stderr with its reason; the answer of the next is printed."""
    server.play([Answer.error(status=503, headers={"retry-after": "0"}), Answer.text("Now")])
    result = chat(server, "Hi")
    assert (result.exit_code, result.stdout) == (0, "Now\n")
    assert "HTTP 503" in result.stderr
    assert "retry 1 in 0.0 s" in result.stderr


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (400, 2, "scripted HTTP 400"),
        (404, 2, "`asyncllm models -m openai` lists what there is"),
        (401, 3, "check the key in OPENAI_API_KEY"),
        (403, 3, "scripted HTTP 403"),
        (402, 4, "waiting does not help"),
        (429, 4, "try again in 7 s"),
        (500, 5, "request req_1"),
    ],
)
def test_http_errors_are_one_line_and_a_code(server: Server, status: int, code: int, said: str) -> None:
    """Each kind of refusal has its exit code and one line with what to do and the request id; no trace."""
    headers = {"x-should-retry": "false", "x-request-id": "req_1"} | ({"retry-after": "7"} if status == 429 else {})
    server.play(Answer.error(status=status, headers=headers))
    result = chat(server, "Hi")
    assert (result.exit_code, result.stdout) == (code, "")
    assert result.stderr.startswith("error: openai/any: ")
    assert result.stderr.count("\n") == 1
    assert said in result.stderr
    assert "req_1" in result.stderr


def test_the_time_limit(server: Server) -> None:
    """--timeout ends a call that gets no answer, and is named in the line."""
    server.play(Answer.text("late", faults=[SlowHeaders(Wait())]))
    result = chat(server, "Hi", "--timeout", "0.05")
    assert result.exit_code == 5
    assert "--timeout gives it more time" in result.stderr


def test_debug_gives_the_trace() -> None:
    """--debug prints where an error comes from, and the line after it; the exit code stays."""
    result = run("--debug", "chat", "-m", "openai/any", "Hi")
    assert result.exit_code == 3
    assert result.stderr.startswith("Traceback ")
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_a_missing_key_names_its_variable() -> None:
    """Without a key nothing is sent, and the line says which variable to set."""
    result = run("chat", "-m", "openai/any", "Hi")
    assert result.exit_code == 3
    assert "set the environment variable OPENAI_API_KEY or pass --api-key" in result.stderr


def test_an_unknown_provider_gets_a_suggestion() -> None:
    """A misspelt provider is wrong usage, and the nearest name is offered."""
    result = run("chat", "-m", "opnai/gpt-5", "Hi")
    assert result.exit_code == 2
    assert "did you mean openai/gpt-5?" in result.stderr


@pytest.mark.parametrize("wrong", [["--temperature", "9"], ["--max-tokens", "0"], ["--reasoning", "some"], ["--nope"]])
def test_wrong_options_are_wrong_usage(server: Server, wrong: list[str]) -> None:
    """Options that make no sense end with 2, before any request."""
    assert chat(server, "Hi", *wrong).exit_code == 2
    assert server.requests == []


def test_a_cut_answer_is_said_to_be_cut() -> None:
    """An answer at the output limit says so plainly."""
    result = run("chat", "-m", "demo/echo", "--max-tokens", "2", "Hi")
    assert (result.exit_code, result.stdout) == (0, "This is\n")
    assert "cut at the output limit" in result.stderr


# ---- which model


def test_the_first_provider_with_a_key_is_asked(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without -m the environment chooses, in the order of the table; the choice and its reason are said, not the key."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("GROQ_API_KEY", "gsk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    result = run("chat", "Hi")
    assert (result.exit_code, asked(server)["model"]) == (0, "gpt-5-mini")
    assert result.stderr.startswith("openai/gpt-5-mini: OPENAI_API_KEY is set\n")
    assert "secret" not in result.output


def test_a_local_ollama_is_asked_where_no_key_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first model is taken from /api/tags."""

    def ollama(request: ReceivedRequest) -> Answer:
        if request.path == "/api/tags":
            return Answer.raw(b'{"models": [{"name": "gemma:2b"}]}', content_type="application/json")
        return Answer.text("Hello")

    with serve_in_thread(ollama, any_path=True) as server:
        monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
        result = run("chat", "Hi")
        assert (result.exit_code, asked(server)["model"]) == (0, "gemma:2b")
    assert result.stderr.startswith("ollama/gemma:2b: no key is set, and an Ollama answers")


@pytest.mark.parametrize("tags", [b"{}", b"[]", b'{"models": []}', b'{"models": [1]}', b'{"models": [{}]}', b"<html>"])
def test_the_demo_is_asked_where_nothing_else_is_there(tags: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key and no usable Ollama: the demo answers, and says that it is one."""
    with serve_in_thread(Answer.raw(tags), any_path=True) as server:
        monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
        result = run("chat", "Hi")
    assert (result.exit_code, result.stdout) == (0, "This is a demo, not a model. You said: Hi\n")
    assert result.stderr.startswith("demo/echo: no key is set")


def test_another_endpoint_is_asked_for_its_own_models(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """--base-url without -m takes the endpoint's first model, and sends it no key of anybody else."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    result = run("chat", "Hi", "--base-url", server.base_url)
    assert result.exit_code == 0
    assert result.stderr.startswith("openai-compatible/demo/echo: the first model at")
    assert all("authorization" not in request.headers for request in server.requests)


def test_an_endpoint_without_models_needs_a_name() -> None:
    """An empty list is no choice."""
    with serve_in_thread(Answer.raw(b'{"data": []}'), any_path=True) as server:
        result = run("chat", "Hi", "--base-url", server.base_url)
    assert result.exit_code == 2
    assert "name one with -m" in result.stderr


# ---- conversation


def test_a_conversation_keeps_its_history(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question carries what was said before; a failed one is told and left out; an empty line ends."""
    server.play([Answer.text("One"), Answer.error(status=400), Answer.text("Two")])
    lines = iter(["first", "bad", "second", ""])
    monkeypatch.setattr("builtins.input", lambda prompt="": next(lines))
    monkeypatch.setattr("asyncllm.cli._chat.question_from", lambda prompt: None)
    result = chat(server)
    assert (result.exit_code, result.stdout) == (0, "One\nTwo\n")
    assert [message["content"] for message in asked(server)["messages"]] == ["first", "One", "second"]
    assert "error: openai/any: scripted HTTP 400" in result.stderr


def test_the_prompt_sign_is_where_people_look(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sign goes through input() on a terminal, and to stderr where stdout is a file; Ctrl-D ends."""
    signs: list[str] = []

    def ended(prompt: str = "") -> str:
        signs.append(prompt)
        raise EOFError

    monkeypatch.setattr("builtins.input", ended)
    screen = Screen()
    for screen.asks_on_out in (True, False):
        Chat(None, None, screen, None, history=History()).converse(debug=False)  # type: ignore[arg-type]
    assert signs == ["> ", ""]
    assert capsys.readouterr() == ("", "\n> \n")
