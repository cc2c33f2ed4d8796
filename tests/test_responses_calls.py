"""Calls of the Responses API: said whole and once, told apart, and never valid where they were cut."""

from __future__ import annotations

import json

import pytest
from _responses import CREATED, STORED, Event, added, delta, done, ended, events_of, fragments, function, reply_of, said

from asyncllm.events import Finish, fold


@pytest.mark.req("D3", "D6", "D9", "D11")
@pytest.mark.parametrize(
    "frames",
    [
        [
            added(0, function("")),
            delta("function_call_arguments", '{"a"'),
            delta("function_call_arguments", ":1}"),
            done(0, function('{"a":1}')),
        ],
        [added(0, function("")), done(0, function('{"a":1}'))],
        [added(0, function("")), delta("function_call_arguments", '{"a"'), done(0, function('{"a":1}'))],
        [
            added(0, function("")),
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'},
        ],
        [
            delta("function_call_arguments", '{"a"'),
            delta("function_call_arguments", ":1}"),
            done(0, function('{"a":1}')),
        ],
        [added(0, function("")), done(0, {**function(), "arguments": {"a": 1}})],
        [
            added(0, function("")),
            delta("function_call_arguments", '{"a":1}', item_id="x"),
            done(0, function("", id="y")),
        ],
        [done(0, function('{"a":1}'))],
        [
            added(0, function("")),
            delta("function_call_arguments", '{"a":1}\ud83d'),
            done(0, function('{"a":1}')),
        ],
    ],
    ids=[
        "deltas",
        "no deltas",
        "a delta is missing",
        "only arguments.done",
        "never announced",
        "arguments are an object",
        "the item has no arguments, and other ids",
        "only the item",
        "half a character that the item does not have",
    ],
)
def test_a_call_is_said_whole_and_once(frames: list[Event]) -> None:
    """The fragments add up to the arguments, and the call has the id that its result must have."""
    events = events_of(CREATED, *frames, ended())
    (call,) = fold(events).tool_calls
    assert (call.id, call.name, call.arguments, call.invalid) == ("call_1", "f", {"a": 1}, None)
    assert "".join(text for _, text in fragments(events)) == call.raw_arguments == '{"a":1}'
    assert {id for id, _ in fragments(events)} == {"call_1"}
    assert isinstance(events[-1], Finish)
    assert (events[-1].reason, events[-1].raw) == ("tool_calls", "completed")


@pytest.mark.req("D1", "D2", "seed-B6")
@pytest.mark.parametrize("place", ["by index", "by id", "all at place 0"])
def test_parallel_calls_are_told_apart(place: str) -> None:
    """By their places, by their ids where there are no places, or by their ids where all have the same place."""

    def at(index: int, frame: Event) -> Event:
        frame = {**frame, "output_index": 0 if place == "all at place 0" else index}
        if place == "by id":
            del frame["output_index"]
        if "delta" in frame and place != "by index":
            frame["item_id"] = f"fc_{index}"
        return frame

    a, b = function("", id="fc_0", call="a"), function("", id="fc_1", call="b")
    reply = said(
        at(0, added(0, a)),
        at(0, delta("function_call_arguments", '{"x"')),
        at(1, added(1, b)),
        at(1, delta("function_call_arguments", '{"y":')),
        at(0, delta("function_call_arguments", ":1}")),
        at(1, delta("function_call_arguments", "2}")),
        at(1, done(1, {**b, "arguments": '{"y":2}'})),
        at(0, done(0, {**a, "arguments": '{"x":1}'})),
    )
    assert [(call.id, call.arguments) for call in reply.tool_calls] == [("a", {"x": 1}), ("b", {"y": 2})]


@pytest.mark.req("D3")
def test_ids_of_calls_are_their_own() -> None:
    """A call without an id gets the item's; one without any, or with that of another call, gets a made one."""
    nameless = {"type": "function_call", "name": "f", "arguments": "{}"}
    frames = [done(0, function()), done(1, function(id="fc_2")), done(2, {**nameless, "id": "fc_3"}), done(3, nameless)]
    ids = [call.id for call in said(*frames).tool_calls]
    assert ids[::2] == ["call_1", "fc_3"]
    assert len(set(ids)) == 4
    assert ids == [call.id for call in said(*frames).tool_calls]  # the same bytes give the same ids


@pytest.mark.req("D12", "B9")
def test_calls_that_cannot_be_run_say_why() -> None:
    """Not JSON, no object, no name, cut by the limit (even if what there is could be read)."""
    for item, why in (
        (function("{"), "not valid JSON"),
        (function("[1]"), "not a JSON object"),
        ({**function(), "name": ""}, "no name"),
        ({**function(), "status": "incomplete"}, "output limit"),
        ({**function(""), "status": "incomplete"}, "output limit"),
    ):
        (call,) = said(done(0, item)).tool_calls
        assert call.arguments is None
        assert why in (call.invalid or "")


def test_a_call_that_the_limit_cut_is_invalid() -> None:
    """Also where the server does not say that its item is whole."""
    frames = [added(0, function("")), delta("function_call_arguments", '{"a":1}')]
    reply = reply_of(CREATED, *frames, ended("incomplete", incomplete_details={"reason": "max_output_tokens"}))
    assert reply.finish_reason == "length"
    assert "output limit" in (reply.tool_calls[0].invalid or "")
    assert said(*frames).tool_calls[0].arguments == {"a": 1}  # and without a limit it is whole


@pytest.mark.parametrize("streamed", [True, False])
def test_a_custom_tool_takes_free_text(streamed: bool) -> None:
    """Its text is the one field of an object, so that arguments are JSON everywhere, also in fragments."""
    item = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": 'select "é"\n'}
    pieces = [delta("custom_tool_call_input", text) for text in ("sel", 'ect "é"', "\n")] if streamed else []
    events = events_of(CREATED, added(0, {**item, "input": ""}), *pieces, done(0, item), ended())
    (call,) = fold(events).tool_calls
    assert call.arguments == {"input": 'select "é"\n'}
    assert json.loads(call.raw_arguments) == call.arguments
    assert "".join(text for _, text in fragments(events)) == call.raw_arguments
    assert call.state is not None
    assert call.state.data == {"item": {"type": "custom_tool_call"}}


def test_what_else_a_call_says_is_kept() -> None:
    """Its namespace and its caller go back with it."""
    call = said(done(0, function(namespace="n", caller={"type": "program", "caller_id": "p"}))).tool_calls[0]
    assert call.state is not None
    assert call.state.data == {"item": {"namespace": "n", "caller": {"type": "program", "caller_id": "p"}}}
    assert said(done(0, function())).tool_calls[0].state is None
    kept = said(done(0, function()), case=STORED).tool_calls[0].state
    assert kept is not None
    assert kept.data == {"item": {"id": "fc_1"}}
