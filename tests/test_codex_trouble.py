"""What Codex says when things go wrong, or other than they mostly do, message by message."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

import pytest
from _codex import NOW, warnings_of
from _codex_lines import BEGIN, END, THREAD, TURN, decoder, delta, ended, item, note, used

from asyncllm.events import (
    Finish,
    RateLimitError,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    ToolCall,
    ToolResult,
    UnknownError,
    Usage,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.codex._errors import from_words
from asyncllm.protocols.codex._exec_decode import ExecDecoder
from asyncllm.protocols.codex._turn_decode import COMPACTED

pytestmark = pytest.mark.req("seed-A10")

AGAIN = note(
    "error", willRetry=True, error={"message": "Reconnecting... 1/5", "additionalDetails": "Connection failed"}
)


def said(*lines: bytes) -> list[StreamEvent]:
    events = decoder().decode_lines([BEGIN, *lines])
    check_order(events)
    return events


# ---- texts


@pytest.mark.parametrize(
    "lines",
    [
        [item("agentMessage", text="Hello")],
        [delta("He"), item("agentMessage", text="Hello")],
        [delta("Hello"), item("agentMessage", text="Hello")],
    ],
)
def test_another_attempt_may_use_the_same_names(lines: list[bytes]) -> None:
    """What the broken one has said counts for nothing: neither lost nor said twice."""
    reply = fold(said(delta("Hel"), AGAIN, *lines, END))
    assert (reply.text, reply.steps) == ("Hello", 2)


def test_the_same_name_in_the_next_answer() -> None:
    ran = item("commandExecution", "c", command="ls", aggregatedOutput="x", exitCode=0, status="completed")
    reply = fold(
        said(
            item("agentMessage", text="I look."), ran, used(5, 5), delta("It"), item("agentMessage", text="It is."), END
        )
    )
    assert reply.text == "It is."


def test_a_retry_is_no_answer_and_no_error() -> None:
    events = said(AGAIN, AGAIN, delta("Hello"), END)
    assert [event.attempt for event in events if isinstance(event, Retrying)] == [1, 1]
    assert isinstance(events[-1], Finish)


# ---- ends


def test_a_turn_that_failed_without_a_word() -> None:
    """That is not a stream that was cut."""
    last = said(delta("x"), ended("failed"))[-1]
    assert isinstance(last, StreamError)
    assert type(last.error) is UnknownError


def test_the_error_before_the_end_counts() -> None:
    """The end of the turn need not say it again."""
    error = {"message": "You've hit your usage limit.", "codexErrorInfo": "usageLimitExceeded"}
    last = said(note("error", willRetry=False, error=error), ended("failed"))[-1]
    assert isinstance(last, StreamError)
    assert isinstance(last.error, RateLimitError)


def test_an_error_beside_a_turn_that_is_completed_is_told() -> None:
    events = said(note("error", willRetry=False, error={"message": "the hook failed"}), delta("Hello"), END)
    assert fold(events).text == "Hello"
    assert warnings_of(events) == ("the hook failed",)


@pytest.mark.parametrize("status", ["inProgress", "somethingNew", None, 7])
def test_no_other_end_is_a_stop(status: Any) -> None:
    last = said(delta("x"), ended(status))[-1]
    assert isinstance(last, StreamError)


def test_an_end_of_another_turn_is_not_the_end() -> None:
    """Neither of an earlier one, nor of a sub-agent's thread."""
    other = json.loads(END)
    other["params"]["threadId"] = "thread-of-a-sub-agent"
    earlier = END.replace(b"turn-1", b"turn-0")
    turn = decoder()
    turn.decode_lines([BEGIN, json.dumps(other).encode(), earlier])
    assert not turn.done
    assert isinstance(turn.close(Exit(0))[-1], StreamError)


# ---- tools


def call_of_ours(id: str) -> bytes:
    params = {"threadId": THREAD, "turnId": TURN, "callId": id, "tool": "add", "arguments": {}}
    return json.dumps({"method": "item/tool/call", "id": 7, "params": params}).encode()


def test_a_command_that_runs_while_the_turn_stands_still() -> None:
    """Its result comes later, once, and to the call that was told."""
    turn = decoder()
    command = {"command": "make", "aggregatedOutput": "made", "exitCode": 0, "status": "completed"}
    first = turn.decode_lines([BEGIN, item("commandExecution", "c1", done=False, command="make"), call_of_ours("c2")])
    turn.asked.clear()
    first += turn.park()
    check_order(first)
    then = turn.decode_lines(
        [item("commandExecution", "c1", **command), used(5, 5), item("agentMessage", text="ok"), END]
    )
    check_order(then)
    calls = [event.id for event in first + then if isinstance(event, ToolCall)]
    assert calls == ["c1", "c2"]
    assert [(event.id, event.text) for event in then if isinstance(event, ToolResult)] == [("c1", "made")]
    assert fold(then).text == "ok"


def test_what_sub_agents_came_to() -> None:
    states = {"t-2": {"status": "completed", "message": "It is 3."}, "t-3": {"status": "pendingInit", "message": None}}
    events = said(
        item("collabAgentToolCall", "c1", tool="wait", status="completed", agentsStates=states, prompt=None), END
    )
    results = [event for event in events if isinstance(event, ToolResult)]
    assert [(result.name, result.text) for result in results] == [
        ("agent_wait", "t-2 completed: It is 3.\nt-3 pending_init")
    ]


def raw(id: str) -> bytes:
    call = {"type": "function_call", "name": "exec_command", "arguments": "{}", "call_id": id}
    return note("rawResponseItem/completed", item=call)


def paid(tokens: int) -> bytes:
    return note("rawResponse/completed", usage={"inputTokens": tokens, "outputTokens": 1})


def ran(id: str) -> tuple[bytes, bytes]:
    """It begins, and it ends."""
    done = {"aggregatedOutput": "", "exitCode": 0, "status": "completed"}
    return item("commandExecution", id, done=False, command="ls"), item("commandExecution", id, command="ls", **done)


A, B = ran("a"), ran("b")


@pytest.mark.parametrize(
    ("lines", "steps"),
    [
        ([A[0], used(5, 5), A[1], B[0], used(9, 4), B[1]], [["a"], ["b"]]),
        ([A[0], B[0], used(5, 5), A[1], B[1]], [["a", "b"]]),
        ([raw("a"), raw("b"), A[0], used(5, 5), A[1], B[0], B[1]], [["a", "b"]]),
        ([raw("a"), A[0], used(5, 5), A[1], raw("b"), B[0], used(9, 4), B[1]], [["a"], ["b"]]),
        ([raw("a"), *A, used(5, 5), raw("b"), *B, used(9, 4)], [["a"], ["b"]]),
    ],
    ids=["one by one", "together", "one after another, told together", "one by one, told", "done before they are paid"],
)
def test_calls_stand_in_the_step_that_made_them(lines: list[bytes], steps: list[list[str]]) -> None:
    """A request of the model is a step, whether its usage is told before its tools are done, or after."""
    events = said(*lines, used(20, 10), item("agentMessage", text="ok"), END)
    found: list[list[str]] = []
    for event in events:
        if isinstance(event, StreamStart):
            found.append([])
        elif isinstance(event, ToolCall):
            found[-1].append(event.id)
    assert [step for step in found if step] == steps
    assert len([event for event in events if isinstance(event, ToolResult)]) == 2


def test_usage_stands_in_the_step_of_its_request() -> None:
    """As Codex tells it: the next request is answered, and its counts are there, before anything of it is told."""
    events = said(
        *(raw("a"), paid(5), *A, used(5, 5)),
        *(raw("b"), paid(7), *B, used(12, 7)),
        *(delta("ok"), item("agentMessage", text="ok"), paid(9), used(21, 9), END),
    )
    assert [event.input_tokens for event in events if isinstance(event, Usage)] == [5, 7, 9]
    assert [type(event) for event in events].count(StreamStart) == 3


def test_usage_without_a_step_of_its_own_is_not_lost() -> None:
    events = said(delta("ok"), used(5, 5), used(12, 7), END)
    assert [event.input_tokens for event in events if isinstance(event, Usage)] == [12]


# ---- the rest


def test_compaction_is_told_and_its_usage_counted() -> None:
    """Afterwards the counts are told again, with an estimate of what is left as those of the last request."""
    compacted = item("contextCompaction", "k")
    events = said(used(50, 50), compacted, note("thread/compacted"), used(50, 7), delta("Hello"), used(60, 10), END)
    assert warnings_of(events) == (COMPACTED,)
    reply = fold(events)
    assert reply.text == "Hello"
    assert reply.usage is not None
    assert reply.usage.input_tokens == 60


LIMITED = {"message": "You've hit your usage limit. Try again in 2 hours.", "codexErrorInfo": "usageLimitExceeded"}


@pytest.mark.parametrize(("now", "hours"), [(True, -1), (False, 2)], ids=["told in this turn", "told hours ago"])
def test_windows_that_are_over_say_nothing_of_a_limit(now: bool, hours: int) -> None:
    """What was told of them last is remembered from turn to turn; what is told now is believed, whatever our clock says."""
    old = {"primary": {"usedPercent": 100, "resetsAt": int(NOW.timestamp()) - 3600}}
    turn = decoder(limits={} if now else dict(old))
    lines = [note("account/rateLimits/updated", rateLimits={**old, "secondary": None})] if now else []
    last = turn.decode_lines([BEGIN, *lines, ended("failed", LIMITED)])[-1]
    assert isinstance(last, StreamError)
    assert isinstance(last.error, RateLimitError)
    assert last.error.reset_time == NOW + timedelta(hours=hours)


def test_clock_times_are_those_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Codex tells its user's time; we tell UTC."""
    try:
        with monkeypatch.context() as there:
            there.setenv("TZ", "America/New_York")
            time.tzset()
            error = from_words("You've hit your usage limit. Try again at 3:55 AM.", NOW)
    finally:
        time.tzset()
    assert isinstance(error, RateLimitError)
    assert error.reset_time is not None
    assert error.reset_time.isoformat() == "2026-11-21T08:55:00+00:00"


def run(*lines: dict[str, Any], exit: Exit) -> list[StreamEvent]:
    decoder = ExecDecoder(Session(backend="codex", id=""), model="m", before={}, clock=lambda: NOW)
    events = decoder.decode_lines([json.dumps(line).encode() for line in lines]) + decoder.close(exit)
    check_order(events)
    return events


MESSAGE = {"type": "item.completed", "item": {"id": "item_0", "type": "agent_message", "text": "Hello"}}


@pytest.mark.req("I4")
def test_exit_code_0_without_an_end_is_no_success() -> None:
    last = run({"type": "thread.started", "thread_id": "t"}, MESSAGE, exit=Exit(0))[-1]
    assert isinstance(last, StreamError)
    assert type(last.error).__name__ == "IncompleteStreamError"


@pytest.mark.req("I4")
def test_trouble_that_passes_is_not_the_end() -> None:
    events = run({"type": "error", "message": "something odd"}, MESSAGE, {"type": "turn.completed"}, exit=Exit(1))
    assert isinstance(events[-1], Finish)
    assert fold(events).text == "Hello"
    assert warnings_of(events) == ("something odd",)


@pytest.mark.req("I4")
def test_trouble_before_the_process_is_gone_is_why() -> None:
    last = run({"type": "error", "message": "Quota exceeded. Check your plan and billing details."}, exit=Exit(1))[-1]
    assert isinstance(last, StreamError)
    assert last.error.kind == "billing"


@pytest.mark.req("I4")
@pytest.mark.parametrize("error", ["Quota exceeded.", {"message": "Quota exceeded."}])
def test_why_a_run_failed(error: object) -> None:
    last = run({"type": "turn.failed", "error": error}, exit=Exit(1))[-1]
    assert isinstance(last, StreamError)
    assert last.error.kind == "billing"


def test_what_a_process_said_before_it_died_is_kept() -> None:
    turn = decoder()
    turn.decode_lines([BEGIN, delta("x")])
    last = turn.close(Exit(101, "thread 'main' panicked at core.rs:1"))[-1]
    assert isinstance(last, StreamError)
    assert "exit code 101" in last.error.message
    assert last.error.body == "thread 'main' panicked at core.rs:1"
