"""`codex exec --json` as it was before 0.44: `{"id": ..., "msg": {"type": ...}}`.

No recording of these versions was to be had. The streams are composed, after what the sources of openai/codex from 2025-07-17
to 2025-09-30 write.
"""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from _codex import NOW, warnings_of
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    BillingError,
    Finish,
    IncompleteStreamError,
    LLMError,
    RawEvent,
    ReasoningDelta,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.codex._exec_decode import ExecDecoder

pytestmark = pytest.mark.req("seed-A10")

CONFIG = {"workdir": "/w", "model": "gpt-5", "provider": "openai", "approval": "never", "sandbox": "read-only"}
PROMPT = {"prompt": "What is in a.txt?"}
THREAD = "67e55044-10b1-426f-9247-bb680e5fe0c8"


def old(kind: str, /, *, id: Any = "1", **fields: Any) -> dict[str, Any]:
    return {"id": id, "msg": {"type": kind, **fields}}


def counts(input: int, output: int, cached: int = 0, reasoning: int = 0) -> dict[str, int]:
    return {
        "input_tokens": input,
        "cached_input_tokens": cached,
        "output_tokens": output,
        "reasoning_output_tokens": reasoning,
        "total_tokens": input + output,
    }


def used(total: dict[str, int], last: dict[str, int]) -> dict[str, Any]:
    info = {"total_token_usage": total, "last_token_usage": last, "model_context_window": 272000}
    return old("token_count", info=info, rate_limits={"primary": {"used_percent": 3.0, "resets_in_seconds": 600}})


START = [CONFIG, PROMPT, old("session_configured", id="", session_id=THREAD, model="gpt-5"), old("task_started")]
COMMAND = [
    old("exec_command_begin", call_id="c1", command=["bash", "-lc", "cat a.txt"], cwd="/w", parsed_cmd=[]),
    old("exec_command_output_delta", call_id="c1", stream="stdout", chunk="ZnJlZQ=="),
    old("exec_command_end", call_id="c1", stdout="free\n", stderr="", aggregated_output="free\n", exit_code=0),
]
END = old("task_complete", last_agent_message="It says: free.")
RUN = [
    *START,
    old("agent_reasoning", text="**Looking**"),
    old("agent_reasoning_section_break"),
    old("agent_message", message="I look."),
    *COMMAND,
    used(counts(100, 10, 50, 5), counts(100, 10, 50, 5)),
    old("token_count", info=None, rate_limits=None),
    old("agent_message_delta", delta="It says:"),
    old("agent_message_delta", delta=" free"),
    old("agent_message", message="It says: free."),
    used(counts(250, 17, 150, 5), counts(150, 7, 100, 0)),
    used(counts(250, 17, 150, 5), counts(150, 7, 100, 0)),
    END,
]
"""A whole run: a command, and the answer."""


def decoder(**options: Any) -> ExecDecoder:
    given = {"before": {}, **options}
    return ExecDecoder(Session(backend="codex", id=""), model="m", clock=lambda: NOW, **given)


def encoded(lines: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(line).encode() for line in lines]


def run(*lines: dict[str, Any], exit: Exit = Exit(0), **options: Any) -> list[StreamEvent]:  # noqa: B008
    read = decoder(**options)
    events = read.decode_lines(encoded(list(lines))) + read.close(exit)
    check_order(events)
    return events


def error_of(events: list[StreamEvent]) -> LLMError:
    assert isinstance(events[-1], StreamError)
    assert not [event for event in events if isinstance(event, Finish) and event.reason == "stop"]
    return events[-1].error


def calls_of(events: list[StreamEvent]) -> list[tuple[str, dict[str, object] | None, str, bool]]:
    """Name, arguments, result, and whether it failed."""
    results = {event.id: event for event in events if isinstance(event, ToolResult)}
    return [
        (call.name, call.arguments, results[call.id].text, results[call.id].is_error)
        for call in events
        if isinstance(call, ToolCall) and call.executed
    ]


# ---- whole, in pieces, and cut


@pytest.mark.req("I4")
def test_a_whole_run() -> None:
    events = run(*RUN)
    reply = fold(events)
    assert (reply.text, reply.finish_reason, reply.steps) == ("It says: free.", "stop", 2)
    assert [event.text for event in events if isinstance(event, ReasoningDelta)] == ["**Looking**"]
    assert calls_of(events) == [("command_execution", {"command": "bash -lc 'cat a.txt'"}, "free\n", False)]
    assert reply.session is not None
    assert reply.session.id == THREAD
    assert warnings_of(events) == ()


@pytest.mark.req("I4")
def test_deltas_are_said_once() -> None:
    texts = [event.text for event in run(*RUN) if isinstance(event, TextDelta) and event.text]
    assert texts == ["I look.", "It says:", " free", "."]


@pytest.mark.req("I4")
def test_byte_by_byte() -> None:
    read, events, held = decoder(), list[StreamEvent](), b""
    for byte in b"\n".join(encoded(RUN)) + b"\n":
        *lines, held = (held + bytes([byte])).split(b"\n")
        events += read.decode_lines(lines)
    assert events + read.close(Exit(0)) == run(*RUN)


@pytest.mark.req("I4")
@given(cuts=st.lists(st.integers(0, len(RUN)), max_size=6))
def test_however_the_lines_come(cuts: list[int]) -> None:
    read, events = decoder(), list[StreamEvent]()
    ends = sorted({0, len(RUN), *cuts})
    for start, end in itertools.pairwise(ends):
        events += read.decode_lines(encoded(RUN[start:end]))
    assert events + read.close(Exit(0)) == run(*RUN)


@pytest.mark.req("I4")
@pytest.mark.parametrize("exit", [Exit(0), Exit(-15), Exit(1, "killed")], ids=["0", "SIGTERM", "1"])
@pytest.mark.parametrize("end", range(1, len(RUN)))
def test_cut_after_any_line(end: int, exit: Exit) -> None:
    """Without `task_complete` it is no answer, whatever the exit code says."""
    assert type(error_of(run(*RUN[:end], exit=exit))).__name__ == "IncompleteStreamError"


@pytest.mark.req("I4")
def test_cut_inside_of_any_line() -> None:
    data = b"\n".join(encoded(RUN))
    for end in range(len(encoded(RUN)[0]) + 1, len(data), 7):
        *lines, tail = data[:end].split(b"\n")
        read = decoder()
        error = error_of(read.decode_lines(lines) + read.close(Exit(0, "", tail)))
        assert isinstance(error, IncompleteStreamError)


@pytest.mark.req("I4")
def test_what_comes_after_the_end_is_not_heard() -> None:
    assert run(*RUN, old("error", message="Failed to shutdown rollout recorder"), exit=Exit(1)) == run(*RUN)


# ---- texts


@pytest.mark.req("I4")
@pytest.mark.parametrize("kind", ["agent_reasoning", "agent_reasoning_raw_content"])
def test_reasoning_in_pieces_is_said_once(kind: str) -> None:
    """The deltas of all its parts may come before the first part is whole."""
    events = run(
        *START,
        *(old(f"{kind}_delta", delta=text) for text in ("One", ".")),
        old("agent_reasoning_section_break"),
        old(f"{kind}_delta", delta="Two"),
        old(kind, text="One."),
        old(kind, text="Two."),
        old("agent_message", message="ok"),
        END,
    )
    assert fold(events).reasoning == ("One.\n\nTwo." if kind == "agent_reasoning" else "One.Two.")


@pytest.mark.req("I4")
def test_a_text_that_its_deltas_did_not_begin_is_another_one() -> None:
    events = run(*START, old("agent_message_delta", delta="Hel"), old("agent_message", message="World"), END)
    assert fold(events).text.endswith("World")


# ---- usage


@pytest.mark.req("I4")
@pytest.mark.req("F12")
def test_usage_is_that_of_each_request_once() -> None:
    events = run(*RUN)
    told = [(event.input_tokens, event.output_tokens) for event in events if isinstance(event, Usage)]
    assert told == [(100, 10), (150, 7)]
    usage = fold(events).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cache_read_tokens, usage.reasoning_tokens) == (250, 150, 5)


@pytest.mark.req("I4")
@pytest.mark.req("F12")
@pytest.mark.parametrize("before", [{"input_tokens": 1000, "output_tokens": 100}, None], ids=["known", "unknown"])
def test_usage_of_a_thread_that_goes_on(before: dict[str, int] | None) -> None:
    """Each request is told by itself: the turn's usage is known even where the counts before are not."""
    read = decoder(before=before)
    again = {"total_token_usage": before, "last_token_usage": {"input_tokens": 900}} if before else None
    line = used(counts(1100, 110), counts(100, 10))
    usage = fold(read.decode_lines(encoded([*START, old("token_count", info=again), line, END]))).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (100, 10)
    assert read.totals is not None
    assert read.totals["input_tokens"] == 1100


@pytest.mark.req("I4")
@pytest.mark.req("F12")
@pytest.mark.parametrize(("before", "total"), [({}, 250), ({"input_tokens": 1000}, 1250), (None, None)])
def test_counts_without_totals(before: dict[str, int] | None, total: int | None) -> None:
    """Until September 2025: those of one request, and nothing else."""
    read = decoder(before=before)
    lines = [
        *START,
        *COMMAND,
        old("token_count", **counts(100, 10)),
        old("agent_message", message="ok"),
        old("token_count", **counts(150, 7)),
        END,
    ]
    events = read.decode_lines(encoded(lines))
    assert [event.input_tokens for event in events if isinstance(event, Usage)] == [100, 150]
    assert (read.totals and read.totals["input_tokens"]) == total


@pytest.mark.req("I4")
@pytest.mark.parametrize("info", [{}, [], "no", {"total_token_usage": None}, {"last_token_usage": {}}])
def test_counts_that_are_none(info: object) -> None:
    events = run(*START, old("token_count", info=info), old("agent_message", message="ok"), END)
    assert not [event for event in events if isinstance(event, Usage)]


# ---- tools

INVOKED = {"server": "calc", "tool": "add", "arguments": {"a": 17, "b": 25}}


@pytest.mark.req("I4")
@pytest.mark.parametrize(
    ("begin", "end", "expected"),
    [
        (
            old("exec_command_begin", call_id="c", command=["ls", "a b"], cwd="/w"),
            old("exec_command_end", call_id="c", stdout="one\n", stderr="two\n", exit_code=2),
            ("command_execution", {"command": "ls 'a b'"}, "one\ntwo\n", True),
        ),
        (
            old("exec_command_begin", call_id="c", command=["true"], cwd="/w"),
            old("exec_command_end", call_id="c", stdout="", stderr="", exit_code=127),
            ("command_execution", {"command": "true"}, "exit code 127", True),
        ),
        (
            old("mcp_tool_call_begin", call_id="c", invocation=INVOKED),
            old("mcp_tool_call_end", call_id="c", result={"Ok": {"content": [{"type": "text", "text": "42"}]}}),
            ("mcp__calc__add", {"a": 17, "b": 25}, "42", False),
        ),
        (
            old("mcp_tool_call_begin", call_id="c", **INVOKED),
            old("mcp_tool_call_end", call_id="c", result={"Err": "it did not start"}),
            ("mcp__calc__add", {"a": 17, "b": 25}, "it did not start", True),
        ),
        (
            old("mcp_tool_call_begin", call_id="c", invocation={**INVOKED, "arguments": None}),
            old("mcp_tool_call_end", call_id="c", result={"Ok": {"content": [{"text": "no"}], "isError": True}}),
            ("mcp__calc__add", {}, "no", True),
        ),
        (
            old(
                "patch_apply_begin",
                call_id="c",
                auto_approved=True,
                changes={
                    "/w/a": {"add": {"content": "x"}},
                    "/w/b": {"update": {"unified_diff": "@@", "move_path": None}},
                },
            ),
            old("patch_apply_end", call_id="c", stdout="Success.", stderr="", success=True),
            (
                "file_change",
                {"changes": [{"path": "/w/a", "kind": "add"}, {"path": "/w/b", "kind": "update", "diff": "@@"}]},
                "add /w/a\nupdate /w/b",
                False,
            ),
        ),
        (
            old("patch_apply_begin", call_id="c", auto_approved=False, changes={"/w/a": "delete"}),
            old("patch_apply_end", call_id="c", stdout="", stderr="no such file", success=False),
            ("file_change", {"changes": [{"path": "/w/a", "kind": "delete"}]}, "delete /w/a", True),
        ),
        (
            old("web_search_begin", call_id="c"),
            old("web_search_end", call_id="c", query="weather in Bern"),
            ("web_search", {"query": "weather in Bern"}, "", False),
        ),
    ],
    ids=["command", "no output", "mcp", "mcp err", "mcp failed", "patch", "patch failed", "search"],
)
def test_calls(begin: dict[str, Any], end: dict[str, Any], expected: tuple[str, dict[str, object], str, bool]) -> None:
    events = run(*START, begin, end, old("agent_message", message="ok"), END)
    assert calls_of(events) == [expected]
    assert (fold(events).text, fold(events).steps) == ("ok", 2)


@pytest.mark.req("I4")
def test_a_call_whose_begin_was_not_told() -> None:
    end = old("mcp_tool_call_end", call_id="c", invocation=INVOKED, result={"Ok": {"content": []}})
    assert calls_of(run(*START, end, END)) == [("mcp__calc__add", {"a": 17, "b": 25}, "", False)]


# ---- trouble


def trying(number: int) -> dict[str, Any]:
    words = "stream error: exceeded retry limit, last status: 429 Too Many Requests"
    return old("stream_error", message=f"{words}; retrying {number}/5 in 187.4ms…")


@pytest.mark.req("I4")
def test_it_tries_again() -> None:
    """What the broken attempt has said is not the answer."""
    broken = old("agent_message_delta", delta="It s")
    events = run(*START, broken, trying(1), trying(2), *RUN[-6:])
    tries = [(event.attempt, event.error.kind) for event in events if isinstance(event, Retrying)]
    assert tries == [(1, "rate_limit"), (2, "rate_limit")]
    assert (fold(events).text, fold(events).finish_reason) == ("It says: free.", "stop")


@pytest.mark.req("I4")
@pytest.mark.parametrize("message", ["the stream broke", "Reconnecting... 1/5", ""])
def test_other_words_for_another_try(message: str) -> None:
    events = run(*START, old("stream_error", message=message), old("agent_message", message="ok"), END)
    assert len([event for event in events if isinstance(event, Retrying)]) == 1
    assert fold(events).text == "ok"


QUOTA = old("error", message="Quota exceeded. Check your plan and billing details.")


@pytest.mark.req("I4")
@pytest.mark.parametrize("rest", [[old("task_complete", last_agent_message=None)], []], ids=["told", "not told"])
@pytest.mark.parametrize("exit", [Exit(0), Exit(1)], ids=["0", "1"])
def test_an_error_after_which_nothing_is_said(rest: list[dict[str, Any]], exit: Exit) -> None:
    """These versions complete a task that failed, and may exit with 0: there is no last message."""
    error = error_of(run(*START, trying(1), QUOTA, *rest, exit=exit))
    assert isinstance(error, BillingError)


@pytest.mark.req("I4")
def test_an_error_that_passes_is_a_warning() -> None:
    """Such as one of compaction: the task goes on, and has a last message."""
    events = run(*START, QUOTA, old("agent_message", message="ok"), END, exit=Exit(1))
    assert (fold(events).text, fold(events).finish_reason) == ("ok", "stop")
    assert warnings_of(events) == (QUOTA["msg"]["message"],)


@pytest.mark.req("I4")
@pytest.mark.parametrize("last", ["ok", None])
def test_an_error_of_the_start_is_not_of_the_turn(last: str | None) -> None:
    """It has no task's id."""
    words = "MCP client for `calc` failed to start: No such file or directory (os error 2)"
    lost = old("error", id="", message=words)
    done = old("task_complete", last_agent_message=last)
    events = run(CONFIG, PROMPT, lost, *START[2:], old("agent_message", message="ok"), done, exit=Exit(1))
    assert (fold(events).text, warnings_of(events)) == ("ok", (words,))


@pytest.mark.req("I4")
@pytest.mark.parametrize("reason", ["interrupted", "replaced", None, 7])
def test_a_turn_that_was_aborted(reason: Any) -> None:
    error = error_of(run(*START, old("agent_message", message="I look."), old("turn_aborted", reason=reason)))
    assert isinstance(error, IncompleteStreamError)
    assert error.code == (reason if isinstance(reason, str) else None)


# ---- what is not known


@pytest.mark.req("I4")
@pytest.mark.parametrize("raw", [False, True])
def test_other_lines_are_left_out_or_raw(raw: bool) -> None:
    others = [
        old("background_event", message="compacting"),
        old("turn_diff", unified_diff="@@"),
        old("something_new", message="?"),
        {"id": "1", "msg": {}},
        {"id": "1", "msg": {"type": ["odd"]}},
    ]
    events = run(*START, *others, old("agent_message", message="ok"), END, raw=raw)
    told = [event.data for event in events if isinstance(event, RawEvent)]
    assert told == ([CONFIG, PROMPT, *others] if raw else [])
    assert (fold(events).text, warnings_of(events)) == ("ok", ())


KINDS = sorted(
    {line["msg"]["type"] for line in RUN[2:]} | {"mcp_tool_call_end", "patch_apply_begin", "patch_apply_end"}
)
FIELDS = ["message", "text", "delta", "call_id", "command", "changes", "result", "invocation", "info", "session_id"]
ODD: st.SearchStrategy[Any] = st.none() | st.integers() | st.text(max_size=3) | st.lists(st.integers(), max_size=2)
ODD |= st.dictionaries(st.sampled_from(["Ok", "Err", "last_token_usage", "server"]), ODD, max_size=2)


@pytest.mark.req("I4")
@given(
    st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), ODD, max_size=4)), max_size=6)
)
def test_fields_of_any_kind_never_raise(lines: list[tuple[str, dict[str, Any]]]) -> None:
    run(*(old(kind, **fields) for kind, fields in lines))
