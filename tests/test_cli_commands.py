"""The commands of the command line, in this process: what they ask for, print and return."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from asyncllm import (
    AuthenticationError,
    BillingError,
    ConnectionFailedError,
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    NotFoundError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ReasoningDelta,
    Reply,
    Retrying,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolResult,
    TotalTimeout,
    Usage,
    event_from_json,
)
from asyncllm import cli as cli_package
from asyncllm.cli import _doctor, _exits, _local, _models
from asyncllm.cli._app import app
from asyncllm.cli._chat import conversation, question_from
from asyncllm.cli._render import TextView, summary
from asyncllm.cli._terminal import Screen, harmless
from asyncllm.testing import Answer, NoDone, NoFinish, ReceivedRequest, Server, SlowHeaders, Wait, serve_in_thread


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def closed_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No home, no colours from the environment, and no Ollama."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("OLLAMA_BASE_URL", f"http://127.0.0.1:{closed_port()}/v1")


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, arguments, input=stdin, prog_name="asyncllm")


def chat(server: Server, *arguments: str, stdin: str | None = None) -> Result:
    return run("chat", "-m", "openai/any", "--base-url", server.base_url, "--api-key", "k", *arguments, stdin=stdin)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_in_thread(Answer.text("Hello there", reasoning="Let me see.")) as serving:
        yield serving


def asked(server: Server) -> Any:
    return server.requests[-1].json


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
    for on_stdout in (True, False):
        conversation(None, None, None, debug=False, prompt_on_stdout=on_stdout)  # type: ignore[arg-type]
    assert signs == ["> ", ""]
    assert capsys.readouterr() == ("", "\n> \n")


# ---- rendering


def test_what_reaches_a_terminal_is_harmless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Control characters of a model are dropped; ours, for dimming, are there; a line is ended before another begins."""
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    view = TextView(Screen())
    view.show(
        [
            StreamStart("m", warnings=("no \x1bseed",)),
            ReasoningDelta("hm\x1b[2J"),
            TextDelta("a\x1b]0;x\x07\tb\r\n\x9bc[red]"),
        ]
    )
    view.show([ToolCall("1", "rain\x1b", {"city": "Oslo"}), ToolCall("2", "rain", None, "{", "cut")])
    view.show([ToolResult("1", "rain", "wet"), ToolResult("2", "rain", "no", is_error=True)])
    view.show([Retrying(1, 0.25, LLMError("busy\x1b[31m"))])
    view.end(None)
    assert out.getvalue() == "a]0;x\tb\nc[red]\n"
    dim, off = "\x1b[2m", "\x1b[0m"
    assert err.getvalue() == (
        "warning: no seed\n"
        f"{dim}hm[2J{off}\n"
        f"{dim}tool call: rain({{'city': 'Oslo'}}){off}\n"
        f"{dim}tool call: rain({{) is invalid: cut{off}\n"
        f"{dim}tool result: rain: wet{off}\n"
        f"{dim}tool error: rain: no{off}\n"
        f"{dim}busy[31m; retry 1 in 0.2 s{off}\n"
    )


@pytest.mark.parametrize(("variable", "value"), [("NO_COLOR", "1"), ("TERM", "dumb"), ("", "")])
def test_colours_can_be_turned_off(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_COLOR, a dumb terminal and --no-color: no escape code is ours either."""
    if variable:
        monkeypatch.setenv(variable, value)
    err = Terminal()
    monkeypatch.setattr(sys, "stderr", err)
    Screen(color=bool(variable)).note("a note")
    assert err.getvalue() == "a note\n"


def test_a_file_gets_the_answer_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where stdout is no terminal, nothing is taken from the text and nothing is added but its line end."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    screen = Screen()
    screen.answer("\x1b[1mbold")
    screen.answer("")
    screen.end_line()
    screen.end_line()
    assert out.getvalue() == "\x1b[1mbold\n"


def test_every_control_character_is_dropped() -> None:
    """C0, DEL and C1 are gone but for newline and tab; everything else stays."""
    controls = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0)]))
    assert harmless(f"é{controls}🌧") == "é\t\n🌧"


def test_the_summary() -> None:
    """Speed, usage with its parts, cost, and every unusual end in plain words."""
    usage = Usage(
        input_tokens=9, output_tokens=20, cache_read_tokens=4, cache_write_tokens=1, reasoning_tokens=5, cost=0.00125
    )
    reply: Reply[object] = Reply(text="x" * 20, usage=usage, finish_reason="stop")
    assert summary(reply, 1.0, 1.5, 2.5) == (
        "first token 0.50 s · 20 tokens/s · 9 tokens in (4 cached, 1 written to the cache), 20 out (5 reasoning) · $0.00125"
    )
    assert summary(Reply(text="abcd", finish_reason="stop"), 0, 1, 3) == "first token 1.00 s · 2 characters/s"
    assert (
        summary(Reply(finish_reason="stop", usage=Usage(cost=0.0)), 0, 1, 1)
        == "first token 1.00 s · 0 tokens in, 0 out · $0"
    )
    ends = [("length", "cut at"), ("content_filter", "filter"), ("tool_calls", "tool calls"), ("error", "error")]
    for reason, words in ends:
        assert words in summary(Reply(finish_reason=reason), 0, None, 1)  # type: ignore[arg-type]
    assert (
        summary(Reply(finish_reason="other", raw_finish_reason="eos?", refusal="no"), 0, None, 1)
        == "the model refused · finished: eos?"
    )


# ---- errors


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (ContextLengthExceededError("too long", status=400), 2, "too long (HTTP 400); shorten the input, or"),
        (NotFoundError("nothing there"), 2, "nothing there"),
        (AuthenticationError("refused", status=401, provider="vertex-maas"), 3, "vertex-maas: refused (HTTP 401)"),
        (PermissionDeniedError("not you", status=403), 3, "not you (HTTP 403)"),
        (BillingError("empty", status=402), 4, "needs credit"),
        (RateLimitError("slower"), 4, "slower"),
        (ConnectionFailedError("refused", provider="ollama"), 5, "is ollama running? --base-url says where"),
        (ConnectionFailedError("refused", provider="openai"), 5, "`asyncllm doctor` checks network settings"),
        (ConnectionFailedError("cannot listen"), 5, "cannot listen"),
        (TotalTimeout("too long"), 5, "--timeout gives it more time"),
        (ProtocolError("two\nlines\x1b[2J"), 6, "two lines[2J"),
        (IncompleteStreamError("cut"), 6, "not the whole answer"),
        (ContentBlockedError("no"), 1, "no"),
    ],
)
def test_errors_say_what_to_do(error: LLMError, code: int, said: str) -> None:
    """Every kind has its exit code; the line is one line, harmless, and ends with advice where there is any."""
    assert _exits.exit_code(error) == code
    line = _exits.error_line(error)
    assert said in line
    assert line.isprintable()


def test_a_reader_that_went_away_is_no_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A broken pipe ends the command in silence, and what Python flushes at its end goes nowhere."""
    import typer

    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        with pytest.raises(typer.Exit) as ended, _exits.reported(debug=False):
            raise BrokenPipeError
        assert os.fstat(out.fileno()).st_rdev == os.stat(os.devnull).st_rdev
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == ""


# ---- models


def test_models_are_listed_with_the_providers_key(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """GET {base_url}/models with the key in the provider's header; the names can be given to -m."""
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k1")
    monkeypatch.setenv("OPENAI_API_KEY", "k2")
    result = run("models", "-m", "azure/x", "--base-url", server.base_url + "?api-version=1")
    assert (result.exit_code, result.stdout.splitlines()[0]) == (0, "azure/demo/echo")
    assert (server.requests[-1].path, server.requests[-1].headers["api-key"]) == ("/v1/models?api-version=1", "k1")
    assert run("models", "-m", "openai", "--base-url", server.base_url).exit_code == 0
    assert server.requests[-1].headers["authorization"] == "Bearer k2"


def test_models_of_whom_chat_would_ask(server: Server) -> None:
    """Without -m: the endpoint of --base-url, else what `chat` would choose, here the demo."""
    assert run("models", "--base-url", server.base_url).stdout.splitlines()[0] == "openai-compatible/demo/echo"
    result = run("models")
    assert (result.exit_code, result.stdout.splitlines()[:2]) == (0, ["demo/echo", "demo/story"])


def test_the_demo_has_no_other_endpoint(server: Server) -> None:
    """A base URL for the demo is not silently ignored."""
    result = run("models", "-m", "demo", "--base-url", server.base_url)
    assert result.exit_code == 2
    assert server.requests == []


def test_failures_of_the_list_are_errors_like_others(server: Server) -> None:
    """A refusal, an answer of another form, and no answer: line and exit code."""
    with serve_in_thread([Answer.error(status=401), Answer.raw(b"<html>")], any_path=True) as other:
        codes = [run("models", "-m", "ollama", "--base-url", other.base_url).exit_code for _ in range(2)]
    assert codes == [3, 6]
    gone = run("models", "-m", "ollama", "--base-url", f"http://127.0.0.1:{closed_port()}/v1")
    assert gone.exit_code == 5
    assert "is ollama running?" in gone.stderr


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"data": [{"id": "a"}, {"id": 1}, 2]}', ["a"]),
        (b'[{"id": "a"}]', ["a"]),
        (b'{"models": [{"name": "a"}]}', ["a"]),
        (b'{"data": {}}', None),
        (b'"a"', None),
        (b"{", None),
    ],
)
def test_lists_of_models_come_in_three_forms(body: bytes, names: list[str] | None) -> None:
    """OpenAI's, a bare list, and `models` with names; anything else is not a list of models."""
    assert _models.names_in(body) == names


# ---- providers


def test_providers_never_show_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """The table and the JSON say which variable is set, and nothing of what is in it."""
    monkeypatch.setenv("HF_TOKEN", "hf-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://user:secret@proxy")
    table, listed = run("providers"), run("providers", "--json")
    assert table.exit_code == listed.exit_code == 0
    assert "secret" not in table.output + listed.output
    assert "\x1b" not in table.stdout
    lines = {line.split()[0]: line for line in table.stdout.splitlines()}
    assert "found" in lines["huggingface"]
    assert "missing" in lines["groq"]
    assert "not needed" in lines["ollama"]
    rows = {row["name"]: row for row in json.loads(listed.stdout)}
    assert rows["huggingface"]["found"] == "HF_TOKEN"
    assert rows["openai"]["base_url"] == "from OPENAI_BASE_URL"
    assert rows["demo"]["key_needed"] is False


# ---- doctor


def test_doctor_finds_a_healthy_machine(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every line is ok or a warning, keys by name only; the demo and the named model answered; exit code 0."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
    result = run("doctor", "-m", "openai/any")
    assert result.exit_code == 0
    assert {line.split()[0] for line in result.stdout.splitlines()} <= {"ok", "warn"}
    for said in (
        "keys: OPENAI_API_KEY",
        "demo/echo answers: first token",
        "openai/any answers",
        "TLS trust store loads",
    ):
        assert said in result.stdout
    assert "secret" not in result.output


def test_doctor_tells_what_is_wrong_and_what_to_do() -> None:
    """A model that cannot be asked fails the examination, with the fix in its line."""
    result = run("doctor", "-m", "groq/any")
    assert result.exit_code == 1
    assert "fail  groq/any -> groq: no key for groq: set the environment variable GROQ_API_KEY" in result.stdout
    assert "warn  keys: none in the environment -> set one" in result.stdout


def test_doctor_sees_local_servers(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that answers at a local row's address is named."""
    monkeypatch.setenv("OLLAMA_BASE_URL", server.base_url)
    assert "local servers: ollama" in run("doctor").stdout


async def test_a_slow_server_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Probes give up after their patience."""
    monkeypatch.setattr(_local, "PATIENCE", 0.01)
    async with Server(Answer.text("late", faults=[SlowHeaders(Wait())]), any_path=True) as server:
        assert await _local.answered(server.base_url) is None


def lines(checks: Any) -> list[str]:
    return [check.line(color=False) for check in checks]


def test_single_findings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Missing packages, odd keys, proxies, a broken trust store and few file descriptors: each a line with its fix."""
    import resource

    monkeypatch.setattr(_doctor, "_version", lambda name: None)
    assert any(line.startswith("fail  not installed: httpx2") for line in lines(_doctor.versions()))
    assert lines(_doctor.extras()) == [
        "ok    extras: none; others, where needed: pip install 'asyncllm[openai,bedrock,google,mcp,web,cli,ray,otel,uvloop]'"
    ]
    monkeypatch.setattr(_doctor, "_version", lambda name: "1")
    assert "others" not in lines(_doctor.extras())[0]
    monkeypatch.setenv("OPENAI_API_KEY", '"sk-secret"')
    assert "warn  OPENAI_API_KEY holds quotes" in lines(_doctor.keys())[1]
    monkeypatch.setenv("HTTPS_PROXY", "http://user:secret@proxy")
    assert lines(_doctor.proxies())[0].startswith("warn  proxies: ")
    assert "secret" not in "".join(lines([*_doctor.keys(), *_doctor.proxies()]))
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
    assert lines(_doctor.tls())[0].startswith("fail  TLS trust store")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (256, 4096))
    assert lines(_doctor.file_limit()) == [
        "warn  file descriptors: 256, and every open stream needs one -> ulimit -n 65536"
    ]
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, 4096))
    assert lines(_doctor.file_limit()) == ["ok    file descriptors: not limited"]
    monkeypatch.setattr(sys, "platform", "win32")
    assert lines(_doctor.file_limit()) == ["ok    file descriptors: not limited here"]


async def test_the_loop_without_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvloop is mentioned where it is installed, and only there."""
    monkeypatch.setattr(_doctor, "_version", lambda name: None)
    assert "uvloop" not in lines(_doctor.event_loop())[0]


def test_levels_are_coloured_on_a_terminal() -> None:
    """Only the level has a colour; what is said is harmless."""
    assert _doctor.Check("fail", "a\x1b", "b\nc").line(color=True) == "\x1b[31mfail\x1b[0m  a -> b c"


# ---- serve, and the frame of it all


def test_serve_says_when_its_port_is_taken(server: Server) -> None:
    """A port in use is one line and an exit code."""
    result = run("serve", "--port", server.base_url.split(":")[2].split("/")[0])
    assert result.exit_code == 5
    assert "take another --port" in result.stderr


def test_serve_hands_over_to_the_test_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command is the embedded server's own main function with a port."""
    given: list[Any] = []
    monkeypatch.setattr("asyncllm.testing.__main__.main", given.append)
    assert run("serve", "--port", "0").exit_code == 0
    assert given == [["--port", "0"]]


def test_version_and_help() -> None:
    """--version needs no command; the help of chat documents the exit codes."""
    from asyncllm import __version__

    version = run("--version")
    assert (version.exit_code, version.stdout) == (0, f"asyncllm {__version__}\n")
    assert run().exit_code == 2
    shown = run("chat", "--help").stdout
    assert "Better: the environment variable." in shown
    assert "130  stopped with Ctrl-C" in shown


def test_main_runs_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The function behind the script `asyncllm` reads sys.argv and ends with SystemExit."""
    monkeypatch.setattr(sys, "argv", ["asyncllm", "--version"])
    with pytest.raises(SystemExit) as ended:
        cli_package.main()
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("asyncllm ")


def test_main_without_the_extra(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without typer or rich one line says what to install."""
    monkeypatch.setattr(cli_package, "find_spec", lambda name: None)
    with pytest.raises(SystemExit) as ended:
        cli_package.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "the command line needs the extra: pip install 'asyncllm[cli]'\n"


def test_output_that_cannot_be_reconfigured_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streams that somebody replaced are used as they are."""
    from asyncllm.cli._terminal import tolerate_any_text

    monkeypatch.setattr(sys, "stdout", io.StringIO())
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    tolerate_any_text()
