"""The commands beside `chat`, in this process: what they ask for, print and return."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from _cli import closed_port, nothing_from_outside, run

from asyncllm import cli as cli_package
from asyncllm.cli import _doctor, _local, _models
from asyncllm.testing import Answer, Server, SlowHeaders, Wait, serve_in_thread


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_from_outside(monkeypatch, tmp_path)


@pytest.fixture
def server() -> Iterator[Server]:
    with serve_in_thread(Answer.text("Hello there", reasoning="Let me see.")) as serving:
        yield serving


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
