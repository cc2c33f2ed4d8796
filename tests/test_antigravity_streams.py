"""Antigravity's stream-json and plain text, from composed streams: what each becomes, and that cuts change nothing."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from _antigravity import (
    EXPECTED,
    FOLDER,
    NOW,
    Scenario,
    decoded,
    joined,
    reply_of,
    said_calls,
    said_results,
    scenario,
    whole,
)
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    LLMTimeoutError,
    ProtocolError,
    RateLimitError,
    RawEvent,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    Usage,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.antigravity import StreamDecoder, TextDecoder

pytestmark = pytest.mark.req("seed-A12")

each = pytest.mark.parametrize("name", EXPECTED)


def test_every_stream_has_its_row() -> None:
    """And no row is without its files."""
    for kind in ("stdout", "stderr", "exit"):
        assert {path.stem for path in FOLDER.glob(f"*.{kind}")} == set(EXPECTED)


@pytest.mark.req("I6")
@each
def test_what_it_becomes(name: str) -> None:
    """Text, calls, results, usage, session, finish and error of each stream."""
    found = scenario(name)
    expected, events = found.expected, whole(found)
    reply, error = reply_of(events)
    assert said_calls(events) == expected["calls"]
    results = said_results(events)
    assert len(results) == len(expected["results"])
    for result, (text, failed) in zip(results, expected["results"], strict=True):
        assert (text in result.text, result.is_error) == (True, failed)
    assert sum(isinstance(event, StreamStart) for event in events) == expected["steps"]
    if expected["error"] is None:
        assert error is None
        assert reply.text == expected["text"]
        assert isinstance(events[-1], Finish)
        assert (events[-1].reason, events[-1].details is not None) == (
            expected["finish"],
            expected.get("details", False),
        )
        assert _counts(reply.usage) == expected["usage"]
        _check_session(expected, reply.session, events)
    else:
        assert type(error).__name__ == expected["error"]
        assert error is not None
        assert (error.status, error.code) == (expected.get("status"), expected.get("code") or _of_status(error.code))
        assert reply.text == expected.get("partial", "")
        assert reply.finish_reason is None
        for field in ("retryable", "message"):
            if field in expected:
                assert getattr(error, field) == expected[field]
        if "reset_in" in expected:
            _check_reset(found, error, expected["reset_in"])
        if expected["session"]:
            assert reply.session is not None
    if "model" in expected:
        assert reply.model == expected["model"]


def _of_status(code: str | None) -> str | None:
    """The word of a result's status is a code, too."""
    return code if code in ("ERROR", "CANCELED") else None


def _counts(usage: Usage | None) -> list[int] | None:
    if usage is None:
        return None
    return [usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.reasoning_tokens]


def _check_session(expected: dict[str, Any], session: Session | None, events: list[StreamEvent]) -> None:
    if expected["session"] is None:
        assert session is None
        return
    assert session is not None
    assert (session.backend, session.id, session.cwd) == ("antigravity", expected["session"], "/work-dir")
    marks = [event.state for event in events if isinstance(event, TextDelta) and event.state is not None]
    assert [(mark.provider, mark.data["session"]) for mark in marks] == [("antigravity", expected["session"])]
    assert isinstance(events[-2], Session)


def _check_reset(found: Scenario, error: Any, seconds: float) -> None:
    assert isinstance(error, RateLimitError)
    assert error.reset_time is not None
    assert error.retry_after is not None
    if found.expected["interface"] == "stream" and "result" in found.stdout.decode():
        assert error.reset_time == NOW + timedelta(seconds=seconds)
    assert error.retry_after == pytest.approx(seconds, abs=1)


@each
def test_byte_by_byte(name: str) -> None:
    """The same events, however the bytes come."""
    found = scenario(name)
    pieces = [found.stdout[at : at + 1] for at in range(len(found.stdout))]
    assert joined(decoded(found, pieces)) == joined(whole(found))


@given(st.sampled_from(sorted(EXPECTED)), st.integers(0, 2**32))
def test_random_cuts(name: str, seed: int) -> None:
    """The same, cut anywhere."""
    found, dice = scenario(name), random.Random(seed)
    cuts = sorted(dice.randrange(len(found.stdout) + 1) for _ in range(dice.randrange(12)))
    borders = [0, *cuts, len(found.stdout)]
    pieces = [found.stdout[a:b] for a, b in pairwise(borders)]
    assert joined(decoded(found, pieces)) == joined(whole(found))


@each
def test_truncated_after_every_line(name: str) -> None:
    """A process that stops there with exit code 0 has not answered: an error, never a Finish."""
    found = scenario(name)
    lines = found.stdout.splitlines(keepends=True)
    lasts = [at for at, line in enumerate(lines) if b'"event":"result"' in line]
    for count in range(lasts[0] if lasts else 0):
        events = decoded(found, lines[:count], code=0, stderr="")
        assert isinstance(events[-1], StreamError)
        spoke = any(b'"event"' in line for line in lines[:count])
        assert isinstance(events[-1].error, IncompleteStreamError if spoke else ProtocolError)
        assert not any(isinstance(event, Finish) and event.reason != "tool_calls" for event in events)


@pytest.mark.parametrize("name", [name for name in EXPECTED if EXPECTED[name]["interface"] == "stream"])
def test_truncated_in_every_line(name: str) -> None:
    """The same in the middle of a line."""
    found = scenario(name)
    for at in range(0, found.stdout.find(b'{"event":"result"'), 7):
        events = decoded(found, [found.stdout[:at]], code=0, stderr="")
        assert isinstance(events[-1], StreamError)


def new_decoder(**options: Any) -> StreamDecoder:
    return StreamDecoder(model="m", session=Session(backend="antigravity", id="", cwd="/work-dir"), **options)


def test_unknown_events_are_shown_to_who_wants_them() -> None:
    """raw=True."""
    decoder = new_decoder(raw=True)
    events = decoder.decode_lines(
        [b'{"event":"heartbeat","at":1}', b'{"event":"step_update","step_update":{"step_type":"x"}}']
    )
    assert [event.data for event in events if isinstance(event, RawEvent)] == [
        {"event": "heartbeat", "at": 1},
        {"event": "step_update", "step_update": {"step_type": "x"}},
    ]
    assert not new_decoder().decode_lines([b'{"event":"heartbeat","at":1}'])


def test_a_process_that_lives_on() -> None:
    """Its result is the end of the turn."""
    found = scenario("text")
    decoder = new_decoder()
    events = decoder.decode_lines(found.stdout.splitlines())
    assert decoder.ending
    assert not decoder.done
    events += decoder.finish()
    assert joined(events) == joined(whole(found))


def test_the_limit_is_told_in_a_line_of_its_own() -> None:
    """An answer that speaks of a print timeout is an answer, and a turn that has counts is whole."""
    found = scenario("timeout")
    talk = scenario("text")
    assert isinstance(decoded(talk, [talk.stdout], stderr=found.stderr)[-1], Finish)
    assert isinstance(decoded(found, [found.stdout], stderr="")[-1], Finish)
    error = decoded(found, [found.stdout])[-1]
    assert isinstance(error, StreamError)
    assert isinstance(error.error, LLMTimeoutError)
    assert "5s" in error.error.message


@pytest.mark.req("I6")
def test_a_result_that_is_never_told() -> None:
    """The call has one all the same: nothing waits for ever in the conversation."""
    tool = {"name": "run_command", "parameters": {"CommandLine": "sleep"}}
    lines = [
        {"event": "step_update", "step_index": 1, "step_type": "tool", "state": "ACTIVE", "tool_info": tool},
        {"event": "result", "conversation_id": "late", "status": "SUCCESS", "response": "Started."},
    ]
    decoder = new_decoder()
    events = decoder.decode_lines(map(msgspec.json.encode, lines)) + decoder.finish()
    (result,) = said_results(events)
    assert (result.name, result.is_error) == ("run_command", True)
    reply, _ = reply_of(events)
    assert (reply.text, reply.steps) == ("Started.", 2)
    assert reply.session is not None
    assert reply.session.id == "late"


def test_plain_text_fails_from_outside_and_goes_on() -> None:
    """With a conversation it is marked, and what fails in one is not said again."""
    session = Session(backend="antigravity", id="c")
    decoder = TextDecoder(model="m", session=session, resumed=True)
    events = decoder.decode_lines([b"Yes."]) + decoder.close(Exit(0))
    assert reply_of(events)[0].session == session
    assert decoder.fail(IncompleteStreamError("x")) == []
    (failed,) = TextDecoder(model="m", resumed=True).fail(IncompleteStreamError("x"))
    assert isinstance(failed, StreamError)
    assert not failed.error.retryable


def test_failing_from_outside() -> None:
    """The backend's own errors: once."""
    decoder = new_decoder()
    assert isinstance(decoder.fail(IncompleteStreamError("x"))[-1], StreamError)
    assert decoder.fail(IncompleteStreamError("x")) == []
    assert decoder.close(Exit(0)) == []


NAMES = [
    "event",
    "step_update",
    "result",
    "init",
    "error",
    "step_type",
    "step_index",
    "state",
    "tool_info",
    "text_delta",
    "usage",
    "status",
    "response",
    "denied_actions",
    "name",
    "parameters",
    "output",
    "input_tokens",
    "conversation_id",
    "structured_output",
]
WORDS = ["init", "result", "step_update", "agent_response", "tool", "SUCCESS", "ERROR", "DONE", "ACTIVE"]
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=3)
    | st.sampled_from(WORDS)
)
ANY = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)


@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ANY, min_size=1, max_size=5), max_size=5))
def test_any_json(objects: list[dict[str, Any]]) -> None:
    """Nothing that it sends raises, and what comes out is a legal stream."""
    lines = [msgspec.json.encode({**data, "event": data.get("event", "step_update")}) + b"\n" for data in objects]
    decoded(scenario("text"), lines, code=0, stderr="")
