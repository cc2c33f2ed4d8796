"""Quirks of chat servers, group F: where usage stands, and that it is never summed, erased or invented."""

from __future__ import annotations

from typing import Any

import pytest
from _decoding import decode, events_of, reply_of
from _replay import DONE, ROLE, STOP, chunk_of, sse, text

from asyncllm.events import Usage, fold


def counts(given: int = 5, made: int = 2, **more: Any) -> dict[str, Any]:
    return {"prompt_tokens": given, "completion_tokens": made, "total_tokens": given + made, **more}


def usage_of(*frames: Any) -> Usage:
    usage = reply_of(*frames).usage
    assert usage is not None
    assert not usage.estimated
    return usage


def numbers(usage: Usage) -> tuple[int, int]:
    return usage.input_tokens, usage.output_tokens


@pytest.mark.req("F1")
def test_cumulative_usage_is_a_snapshot() -> None:
    """Usage on every chunk: the last one counts, and equal ones are said once."""
    chunks = [chunk_of({"content": str(made)}, usage=counts(5, made)) for made in (1, 2, 2, 3)]
    events = events_of(ROLE, *chunks, STOP, DONE)
    assert [event.output_tokens for event in events if isinstance(event, Usage)] == [1, 2, 3]
    assert numbers(usage_of(ROLE, *chunks, STOP, DONE)) == (5, 3)


@pytest.mark.req("F2")
def test_usage_in_x_groq() -> None:
    """Groq's own place."""
    end = chunk_of({}, "stop", x_groq={"id": "r", "usage": counts(6, 1)})
    assert numbers(usage_of(ROLE, text("a"), end, DONE)) == (6, 1)


@pytest.mark.req("F3")
@pytest.mark.parametrize("last", [{"choices": []}, {"choices": [], "usage": None}, {"choices": [], "usage": {}}])
def test_usage_before_an_empty_chunk(last: dict[str, Any]) -> None:
    """An empty chunk after it erases nothing."""
    assert numbers(usage_of(ROLE, STOP, {"choices": [], "usage": counts()}, last, DONE)) == (5, 2)


@pytest.mark.req("F4", "F5")
@pytest.mark.parametrize(
    "choice",
    [
        {"index": 0, "delta": {}, "finish_reason": "stop"},
        {"index": 0, "finish_reason": "stop"},
        {"index": 0, "delta": {"content": ""}, "finish_reason": None},
        {"index": 0, "delta": None, "finish_reason": None},
        {"index": 0},
    ],
)
def test_usage_in_the_choice(choice: dict[str, Any]) -> None:
    """Moonshot's and MiniMax's place, with a delta or without, in the last chunk or before it."""
    chunk = {"choices": [{**choice, "usage": counts(4, 1, cached_tokens=3)}]}
    usage = usage_of(ROLE, text("a"), chunk, STOP, DONE)
    assert numbers(usage) == (4, 1)
    assert usage.cache_read_tokens == 3


@pytest.mark.req("F8")
def test_reasoning_tokens_inside_or_outside_the_output() -> None:
    """Output includes reasoning on every provider: the total tells whether it has to be added."""
    details = {"completion_tokens_details": {"reasoning_tokens": 100}}
    inside = {"prompt_tokens": 10, "completion_tokens": 120, "total_tokens": 130, **details}
    outside = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 130, **details}
    for raw in (inside, outside):
        usage = usage_of(ROLE, STOP, {"choices": [], "usage": raw}, DONE)
        assert numbers(usage) == (10, 120)
        assert (usage.reasoning_tokens, usage.total_tokens) == (100, 130)
        assert usage.raw == raw


@pytest.mark.req("F9")
def test_a_stream_that_broke_has_an_estimate() -> None:
    """Cut before its usage chunk: an estimate, marked so, and never 0 in silence."""
    usage = fold(decode(sse(ROLE, text("x" * 41)))).usage
    assert usage == Usage(output_tokens=11, estimated=True)


@pytest.mark.req("F9")
def test_a_whole_stream_without_usage_has_none() -> None:
    """The server said nothing: neither 0 nor a guess."""
    assert reply_of(ROLE, text("a"), STOP, DONE).usage is None


@pytest.mark.req("F11")
def test_cost_is_kept() -> None:
    """OpenRouter says what it cost."""
    usage = usage_of(ROLE, STOP, {"choices": [], "usage": counts(cost=0.0125)}, DONE)
    assert usage.cost == 0.0125


@pytest.mark.req("seed-B2")
@pytest.mark.parametrize("odd", [[], "x", 1, True, {"prompt_tokens": None}, {"total": 1}])
def test_usage_that_says_nothing_is_nothing(odd: Any) -> None:
    """Other types and unknown names make no usage, and no error."""
    assert reply_of(ROLE, text("a"), chunk_of({}, "stop", usage=odd), DONE).usage is None


@pytest.mark.req("F7", "seed-B2")
def test_numbers_of_all_types_are_read() -> None:
    """Strings, floats and bools do not break it."""
    raw = {"prompt_tokens": "5", "completion_tokens": 2.0, "total_tokens": True}
    assert numbers(usage_of(ROLE, STOP, {"choices": [], "usage": raw}, DONE)) == (5, 2)


@pytest.mark.req("G1", "F3")
def test_a_usage_chunk_before_any_choice_starts_the_step() -> None:
    """Usage is part of a step: its StreamStart comes first."""
    events = events_of({"id": "x", "model": "m2", "choices": [], "usage": counts()}, text("a"), STOP, DONE)
    assert [type(event).__name__ for event in events] == ["StreamStart", "Usage", "TextDelta", "Finish"]
