"""What the command line shows: answers, summaries and errors, harmless on a terminal."""

from __future__ import annotations

import io
import os
import sys
from pathlib import Path

import pytest
from _cli import Terminal, nothing_from_outside

from asyncllm import (
    AuthenticationError,
    BillingError,
    ConnectionFailedError,
    ContentBlockedError,
    ContextLengthExceededError,
    IncompleteStreamError,
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
)
from asyncllm.cli import _exits
from asyncllm.cli._render import TextView, summary
from asyncllm.cli._terminal import Screen, harmless


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    nothing_from_outside(monkeypatch, tmp_path)


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
    view.show([ToolCall("1", "rain", {"city": "Oslo"}), ToolCall("2", "rain", None, "{", "cut")])
    view.show([ToolResult("1", "rain", "wet"), ToolResult("2", "rain", "no", is_error=True)])
    view.show([Retrying(1, 0.25, LLMError("busy\x1b[31m"))])
    view.end(None)
    assert out.getvalue() == "a]0;x\tb\nc[red]\n"
    dim, off = "\x1b[2m", "\x1b[0m"
    assert err.getvalue() == (
        "warning: no seed\n"
        f"{dim}hm[2J{off}\n"
        f'{dim}tool call: rain(city="Oslo"){off}\n'
        f'{dim}tool call: rain("{{") is invalid: cut{off}\n'
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
