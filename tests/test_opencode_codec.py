"""What opencode is told, and what it says that no recording has."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _opencode_lines import (
    BEGIN,
    IDLE,
    NEXT,
    OWN,
    TOKENS,
    decoded,
    decoder,
    delta,
    end,
    event,
    message,
    part,
    status,
    texts,
    tool,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import (
    Finish,
    LLMError,
    RawEvent,
    Retrying,
    StreamError,
    StreamStart,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.opencode import _serve
from asyncllm.protocols.opencode._errors import error_of, http_error, retry_error
from asyncllm.protocols.opencode._run import PlainDecoder, RunDecoder

pytestmark = pytest.mark.req("seed-A11")

# ---- serve


def test_usage_has_one_meaning() -> None:
    events = decoded(*BEGIN, end(), IDLE)
    [usage] = [event for event in events if isinstance(event, Usage)]
    assert (usage.input_tokens, usage.output_tokens, usage.reasoning_tokens) == (12, 3, 1)
    assert (usage.cache_read_tokens, usage.cache_write_tokens, usage.cost) == (4, 5, 0.5)


def test_what_was_said_before_the_turn_is_not_said_again() -> None:
    old = (message("msg_0", "user"), message("msg_01", "assistant"), part("text", "prt_o", "msg_01", text="old"))
    late = (IDLE, status("idle"), event("session.error", error={"name": "MessageAbortedError", "data": {}}))
    events = decoder(after="msg_02").decode_lines([*old, status("idle"), IDLE])
    assert events == []
    ahead = decoder(after="msg_02")
    assert ahead.decode_lines([*late[:2]]) == []
    assert not ahead.done


def test_an_error_before_the_turn_has_begun_ends_it() -> None:
    events = decoded(event("session.error", error={"name": "UnknownError", "data": {"message": "no such agent"}}))
    assert isinstance(events[-1], StreamError)


def test_deltas_of_a_part_that_comes_late_are_said_with_it() -> None:
    events = decoded(*BEGIN, delta("prt_1", "He"), part("text", "prt_1", text="Hel"), delta("prt_1", "lo"), end(), IDLE)
    assert texts(events) == ["Hel", "lo"]


def test_a_whole_part_fills_what_deltas_did_not_say() -> None:
    lines = [part("text", "prt_1", text=""), delta("prt_1", "Hel"), part("text", "prt_1", text="Hello")]
    events = decoded(*BEGIN, *lines, end(), IDLE)
    assert texts(events) == ["Hel", "lo"]


def test_summaries_and_other_sessions_are_not_the_answer() -> None:
    other = json.dumps({"type": "session.idle", "properties": {"sessionID": "ses_2"}}).encode()
    lines = [message("msg_3", "assistant", summary=True), part("text", "prt_5", "msg_3", text="So far..."), other]
    events = decoded(*BEGIN, *lines, part("text", "prt_1", text="Hi"), end(), IDLE)
    assert fold(events).text == "Hi"


def test_an_overflow_that_a_shorter_history_mends() -> None:
    failed = event("session.error", error={"name": "ContextOverflowError", "data": {"message": "too long"}})
    events = decoded(*BEGIN, failed, part("step-start", "prt_s"), part("text", "prt_1", text="Hi"), end(), IDLE)
    assert isinstance(events[-1], Finish)
    events = decoded(*BEGIN, failed, IDLE)
    assert isinstance(events[-1], StreamError)


def test_our_calls_park_the_turn() -> None:
    turn = decoder(own=OWN)
    events = turn.decode_lines([*BEGIN, tool(f"{OWN}add", "pending"), tool(f"{OWN}add", "running", input={"a": 1})])
    assert [e for e in events if isinstance(e, ToolCall)] == [ToolCall("c1", "add", {"a": 1}, '{"a":1}')]
    assert (turn.calls["prt_c1"].arguments, turn.forming) == ({"a": 1}, set())
    parked = turn.park()
    assert isinstance(parked[-1], Finish)
    assert parked[-1].reason == "tool_calls"
    done = [tool(f"{OWN}add", "completed", input={"a": 1}, output="2"), end("tool-calls")]
    rest = turn.decode_lines([*done, *NEXT])
    rest += turn.decode_lines([part("text", "prt_t", "msg_3", text="It is 2"), end(id="prt_z"), IDLE])
    rest = turn.decode_lines([]) + rest
    check_order(events + parked)
    check_order(rest)
    assert not any(isinstance(e, ToolResult) for e in rest)
    reply = fold(rest)
    assert reply.text == "It is 2"
    assert reply.usage is not None
    assert reply.usage.input_tokens in (12, 24)


def test_the_cost_of_a_parked_step_is_said_with_the_next() -> None:
    turn = decoder(own=OWN)
    turn.decode_lines([*BEGIN, tool(f"{OWN}add", "running", input={})])
    turn.park()
    lines = [tool(f"{OWN}add", "completed", output=""), end("tool-calls"), *NEXT]
    usage = fold(turn.decode_lines([*lines, end("stop", "prt_z", "msg_3", cost=None), IDLE])).usage
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (24, 6)


def test_a_call_of_ours_that_comes_while_another_is_answered() -> None:
    turn = decoder(own=OWN)
    turn.decode_lines([*BEGIN, tool(f"{OWN}add", "running", "c1", input={})])
    first = turn.park()
    second = turn.decode_lines([tool(f"{OWN}add", "running", "c2", input={"a": 2})])
    assert isinstance(second[0], StreamStart)
    assert set(turn.calls) == {"prt_c2"}
    check_order([*second, *turn.park()])
    assert isinstance(first[-1], Finish)


def test_json_answers_stand_alone() -> None:
    lines = [part("text", "prt_1", text="So: "), tool("StructuredOutput", "running", input={"x": 1}), end("tool-calls")]
    answer = message("msg_2", "assistant", structured={"x": 1})
    events = decoded(*BEGIN, *lines, answer, answer, IDLE, structured=True)
    reply = fold(events)
    assert (reply.text, reply.finish_reason, reply.steps) == ('{"x":1}', "stop", 2)
    assert reply.tool_calls == []
    alone = fold(decoded(*BEGIN, end("tool-calls"), answer, IDLE, structured=True))
    assert (alone.text, alone.finish_reason, alone.steps) == ('{"x":1}', "stop", 1)


def test_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_serve.time, "time", lambda: 100.0)
    again = status("retry", attempt=1, message="Provider is overloaded", next=102_500)
    turn = decoder(retries=0)
    [error] = turn.decode_lines([*BEGIN[:3], again])
    assert isinstance(error, StreamError)
    assert (type(error.error).__name__, error.error.retry_after, turn.gave_up) == ("OverloadedError", 2.5, True)
    events = decoded(
        *BEGIN, again, part("step-start", "prt_x"), part("text", "prt_1", text="Hi"), end(), IDLE, retries=2
    )
    [retrying] = [e for e in events if isinstance(e, Retrying)]
    assert (retrying.attempt, retrying.delay) == (1, 2.5)
    broken = decoded(
        *BEGIN,
        part("text", "prt_1", text="H"),
        again,
        part("step-start", "prt_x"),
        part("text", "prt_2", text="Hi"),
        end(),
        IDLE,
        retries=2,
    )
    assert [e.reason for e in broken if isinstance(e, Finish)] == ["error", "stop"]
    assert fold(broken).text == "Hi"


def test_a_turn_that_ends_without_an_answer() -> None:
    for lines in (BEGIN, BEGIN[:3], (*BEGIN, part("text", "prt_1", text="H"))):
        last = decoded(*lines, IDLE)[-1]
        assert isinstance(last, StreamError)


def test_what_is_unknown_is_raw() -> None:
    lines = [event("something.new", x=1), part("hologram", "prt_h"), event("session.diff")]
    assert not any(isinstance(e, RawEvent) for e in decoded(*BEGIN, *lines))
    raw = [e for e in decoded(*BEGIN, *lines, raw=True) if isinstance(e, RawEvent)]
    assert len(raw) == 2


def test_images_of_tools() -> None:
    attached = [{"mime": "image/png", "url": "data:image/png;base64,eA=="}, {"mime": "text/plain", "url": "x"}, 3]
    lines = [tool("shot", "running", input={}), tool("shot", "completed", output="see", attachments=attached)]
    [result] = [e for e in decoded(*BEGIN, *lines, end(), IDLE) if isinstance(e, ToolResult)]
    assert [type(p).__name__ for p in result.content] == ["Text", "Image"]


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
KINDS = [
    "message.part.updated",
    "message.part.delta",
    "message.updated",
    "session.status",
    "session.error",
    "session.idle",
]
FIELDS = ["part", "info", "status", "error", "partID", "field", "delta"]


@given(
    lines=st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(FIELDS), anything)), max_size=8)
)
@settings(max_examples=150, deadline=None)
def test_nothing_that_opencode_says_raises(lines: list[tuple[str, dict[str, Any]]]) -> None:
    turn = decoder(raw=True, structured=True)
    events = turn.decode_lines([*BEGIN, *(event(kind, **given) for kind, given in lines)])
    events += turn.close(Exit(1))
    check_order(events)


@given(lines=st.lists(st.dictionaries(st.sampled_from(["type", "part", "error", "sessionID"]), anything), max_size=8))
@settings(max_examples=100, deadline=None)
def test_no_line_of_a_run_raises(lines: list[dict[str, Any]]) -> None:
    run = RunDecoder(None, model="m", raw=True)
    kinds = ["step_start", "text", "tool_use", "step_finish", "error", "new"]
    given = [json.dumps({**line, "type": kinds[at % 6]}).encode() for at, line in enumerate(lines)]
    check_order(run.decode_lines(given) + run.close(Exit(0)))


# ---- run


def test_a_run_that_says_no_json() -> None:
    run = RunDecoder(None, model="m")
    events = run.decode_lines([b"<html>"]) + run.close(Exit(0))
    assert "not JSON" in str(events[-1].error)  # type: ignore[union-attr]


def test_a_line_that_is_no_json_between_others_is_passed_over() -> None:
    line = json.dumps({"type": "text", "sessionID": "s", "part": {"text": "Hi", "messageID": "m1"}}).encode()
    stop = {"type": "step_finish", "sessionID": "s", "part": {"reason": "stop", "tokens": TOKENS, "messageID": "m1"}}
    run = RunDecoder(None, model="m")
    events = run.decode_lines([b"warning: x", line, b"", json.dumps(stop).encode()]) + run.close(Exit(0))
    assert fold(events).text == "Hi"
    assert isinstance(events[-1], Finish)


def test_a_run_is_given_up_where_its_model_breaks_off() -> None:
    start = json.dumps({"type": "step_start", "sessionID": "s", "part": {"messageID": "m1"}}).encode()
    run = RunDecoder(None, model="m", retries=0)
    events = run.decode_lines([start, start])
    assert isinstance(events[-1], StreamError)
    assert run.gave_up


def test_calls_of_ours_in_a_run() -> None:
    run = RunDecoder(None, model="m", own=OWN)
    used = {"callID": "x", "tool": f"{OWN}add", "state": {"status": "completed", "input": {}, "output": "3"}}
    start = {"type": "step_start", "sessionID": "s", "part": {"messageID": "m1"}}
    events = run.decode_lines([json.dumps(start).encode()]) + run.call("call_1", "add", {"a": 1}) + run.park()
    check_order(events)
    line = {"type": "tool_use", "sessionID": "s", "part": {**used, "messageID": "m1"}}
    assert run.decode_lines([json.dumps(line).encode()]) == []


def test_plain_text() -> None:
    plain = PlainDecoder(None, model="m")
    events = plain.decode_lines([b"one", b"two"])
    events += plain.close(Exit(0))
    check_order(events)
    assert fold(events).text == "one\ntwo"
    assert events[-1] == Finish("other")
    assert PlainDecoder(None, model="m").close(Exit(0))[-1].__class__ is StreamError
    failed = PlainDecoder(None, model="m")
    assert isinstance((failed.decode_lines([b"Hm"]) + failed.close(Exit(1, "why")))[-1], StreamError)


# ---- errors


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("ProviderAuthError", {"providerID": "x", "message": "no key"}, "AuthenticationError"),
        ("MessageOutputLengthError", {}, "MaxOutputTokensError"),
        ("MessageAbortedError", {"message": "Aborted"}, "IncompleteStreamError"),
        ("StructuredOutputError", {"message": "no", "retries": 2}, "InvalidOutputError"),
        ("ContentFilterError", {"message": "no"}, "ContentBlockedError"),
        ("NotFoundError", {"message": "no"}, "NotFoundError"),
        ("UnknownError", {"message": "Model not found: a/b."}, "NotFoundError"),
        ("UnknownError", {"message": '{"message":"busy","type":"overloaded_error"}'}, "OverloadedError"),
        ("UnknownError", {"message": "{half"}, "UnknownError"),
        ("SomethingNew", {"message": "?"}, "UnknownError"),
        ("APIError", {"message": "?", "isRetryable": False}, "UnknownError"),
        ("APIError", {"message": "x", "isRetryable": True, "statusCode": 503}, "OverloadedError"),
        ("APIError", {"message": "x", "statusCode": 403}, "PermissionDeniedError"),
    ],
)
def test_errors(name: str, data: dict[str, Any], kind: str) -> None:
    assert type(error_of({"name": name, "data": data})).__name__ == kind


def test_nonsense_is_an_error_too() -> None:
    for given_ in (None, 3, {}, {"name": 3}, {"name": "APIError", "data": []}, {"data": {"message": 4}}):
        assert isinstance(error_of(given_), LLMError)


def test_reasons_of_retries() -> None:
    limited = retry_error({"message": "x", "action": {"reason": "account_rate_limit"}}, 3600, 1000.0)
    assert (type(limited).__name__, limited.retry_after) == ("RateLimitError", 3600)
    assert type(retry_error({"message": "Too Many Requests"}, 1, 1000.0)).__name__ == "RateLimitError"
    assert type(retry_error({"message": "Rate limit reached for gpt-5"}, 1, 1000.0)).__name__ == "RateLimitError"
    assert type(retry_error({"message": "what?"}, 1, 1000.0)).__name__ == "ServerError"
    assert type(retry_error({}, 1, 1000.0)).__name__ == "ServerError"
    wrong = retry_error({"message": "invalid api key"}, 1, 1000.0)
    assert wrong.retryable


def test_answers_of_its_server() -> None:
    missing = http_error(404, b'{"name":"NotFoundError","data":{"message":"Session not found"}}')
    assert (type(missing).__name__, missing.status) == ("NotFoundError", 404)
    assert type(http_error(400, b'{"_tag":"BadRequest","message":"x"}')).__name__ == "InvalidRequestError"
    assert type(http_error(401, b"")).__name__ == "AuthenticationError"
