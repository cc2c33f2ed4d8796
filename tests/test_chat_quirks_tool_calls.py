"""Quirks of chat servers, group D: tool calls in pieces, as they really come."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from _decoding import PLENTY, calls_of, decode, events_of, merged
from _replay import DONE, ROLE, STOP, chunk_of, sse, text
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import Finish, ToolCall, ToolCallAssembler, ToolCallDelta, parse_call

END = chunk_of({}, "tool_calls")
UNSAID = object()


def piece(arguments: Any = UNSAID, name: Any = UNSAID, **more: Any) -> dict[str, Any]:
    """A fragment of a call with only what is given."""
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not UNSAID}
    return {**more, "function": function}


def calling(*chunks: list[dict[str, Any]]) -> list[ToolCall]:
    """The calls of a stream whose chunks hold these fragments; deltas and calls must agree."""
    events = events_of(ROLE, *(chunk_of({"tool_calls": fragments}) for fragments in chunks), END, DONE)
    assert isinstance(events[-1], Finish)
    calls = calls_of(events)
    said: dict[str, str] = {}
    for event in events:
        if isinstance(event, ToolCallDelta):
            said[event.id] = said.get(event.id, "") + event.arguments
    assert said == {call.id: call.raw_arguments for call in calls}
    return calls


def brief(calls: list[ToolCall]) -> list[tuple[str, str, object]]:
    return [(call.id, call.name, call.arguments) for call in calls]


@pytest.mark.req("D1")
def test_no_index_and_ids_that_differ_are_two_calls() -> None:
    """The id tells them apart, in one chunk and in two."""
    first, second = piece('{"a":1}', "f", id="c1"), piece("{}", "g", id="c2")
    want = [("c1", "f", {"a": 1}), ("c2", "g", {})]
    assert brief(calling([first], [second])) == want
    assert brief(calling([first, second])) == want


@pytest.mark.req("D1")
def test_no_index_and_fragments_without_id_go_on_with_the_last_call() -> None:
    """A fragment without index or id belongs to the call before it, or to its place in the chunk."""
    assert brief(calling([piece('{"a"', "f", id="c1")], [piece(":1}")])) == [("c1", "f", {"a": 1})]
    chunks = ([piece("", "f", id="c1"), piece("", "g", id="c2")], [piece("{}"), piece('{"b":2}')])
    assert brief(calling(*chunks)) == [("c1", "f", {}), ("c2", "g", {"b": 2})]


@pytest.mark.req("D1")
def test_no_index_and_ids_on_every_fragment() -> None:
    """An id seen before leads back to its call, also when the calls are interleaved."""
    chunks = (
        [piece('{"a"', "f", id="c1")],
        [piece('{"b"', "g", id="c2")],
        [piece(":1}", id="c1")],
        [piece(":2}", id="c2")],
    )
    assert brief(calling(*chunks)) == [("c1", "f", {"a": 1}), ("c2", "g", {"b": 2})]


@pytest.mark.req("D2", "seed-B6")
def test_one_index_for_all_with_new_ids_is_several_calls() -> None:
    """Index 0 for all: a new id with a name begins a new call."""
    chunks = (
        [piece('{"x":1}', "f", index=0, id="c1")],
        [piece('{"y":2}', "g", index=0, id="c2")],
        [piece("", "h", index=0, id="c3")],
        [piece('{"z":3}', index=0)],
    )
    assert brief(calling(*chunks)) == [("c1", "f", {"x": 1}), ("c2", "g", {"y": 2}), ("c3", "h", {"z": 3})]


@pytest.mark.req("D2", "seed-B6")
def test_the_id_decides_where_the_index_cannot() -> None:
    """Index 0 for all, and fragments of two calls in turn, each with its id."""
    chunks = (
        [piece('{"a"', "f", index=0, id="c1")],
        [piece('{"b"', "g", index=0, id="c2")],
        [piece(":1}", index=0, id="c1")],
        [piece(":2}", index=0, id="c2")],
    )
    assert brief(calling(*chunks)) == [("c1", "f", {"a": 1}), ("c2", "g", {"b": 2})]


@pytest.mark.req("D3")
def test_a_call_without_an_id_gets_a_stable_one() -> None:
    """Made from the id of the answer and its place: the same bytes give the same ids."""
    chunks = [piece('{"a":1}', "f", index=0)], [piece("{}", "g", index=1)]
    first, second = calling(*chunks)
    assert first.id != second.id
    assert first.id.startswith("call_")
    assert [call.id for call in calling(*chunks)] == [first.id, second.id]


@pytest.mark.req("D3")
def test_a_call_without_any_id_is_random_where_the_answer_has_none() -> None:
    """Two answers without an id must not give two calls with one id: a conversation may hold both."""
    chunk = {"choices": [{"index": 0, "delta": {"tool_calls": [piece("{}", "f", index=0)]}, "finish_reason": "stop"}]}
    first, second = (calls_of(decode(sse(chunk, DONE)))[0].id for _ in range(2))
    assert first != second


@pytest.mark.req("D3", "D7")
def test_an_id_that_comes_late_does_not_change_what_was_said() -> None:
    """A delta has named the call: an id after it would make two of one call."""
    (call,) = calling([piece('{"a"', "f", index=0)], [piece(":1}", index=0, id="late")])
    assert call.id.startswith("call_")
    assert call.arguments == {"a": 1}


@pytest.mark.req("D3", "D6")
def test_an_id_before_the_name_is_taken() -> None:
    """Nothing was said yet: the id that came late is the call's."""
    (call,) = calling([piece('{"a"', index=0)], [piece(":1}", index=0, id="c1")], [piece("", "f", index=0)])
    assert brief([call]) == [("c1", "f", {"a": 1})]


@pytest.mark.req("D3")
def test_one_id_for_two_calls_is_made_two() -> None:
    """The results of the two must find their calls."""
    first, second = calling([piece("{}", "f", index=0, id="same")], [piece('{"b":1}', "g", index=1, id="same")])
    assert (first.id, first.name, second.name) == ("same", "f", "g")
    assert second.id != "same"


@pytest.mark.req("D4")
def test_a_name_repeated_is_one_name() -> None:
    """The full name in each delta is said once, with the id or without."""
    for more in ({}, {"id": "c1"}):
        chunks = [[piece(part, "read", index=0, **{"id": "c1", **more})] for part in ("", '{"a"', ":1}")]
        assert brief(calling(*chunks)) == [("c1", "read", {"a": 1})]


@pytest.mark.req("D4", "D8")
def test_the_same_tool_called_twice_is_two_calls() -> None:
    """A repeated name with a new id, at a new index or at the same, is another call."""
    for index in (0, 1):
        chunks = ([piece('{"a":1}', "read", index=0, id="c1")], [piece('{"a":2}', "read", index=index, id="c2")])
        assert brief(calling(*chunks)) == [("c1", "read", {"a": 1}), ("c2", "read", {"a": 2})]


@pytest.mark.req("D5")
@pytest.mark.parametrize("empty", ["", None])
def test_an_empty_name_is_none(empty: str | None) -> None:
    """Before the real name, and after it."""
    chunks = (
        [piece("", empty, index=0, id="c1")],
        [piece('{"a"', "f", index=0)],
        [piece(":1}", empty, index=0)],
    )
    assert brief(calling(*chunks)) == [("c1", "f", {"a": 1})]


@pytest.mark.req("D6")
def test_arguments_before_the_name_wait_for_it() -> None:
    """The first delta is said when the name is known, with all that came before."""
    chunks = [piece('{"a"', index=0, id="c1")], [piece(":", index=0)], [piece("1", "f", index=0)], [piece("}", index=0)]
    events = events_of(ROLE, *(chunk_of({"tool_calls": fragments}) for fragments in chunks), END, DONE)
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert deltas == [ToolCallDelta(0, "c1", "f", '{"a":1'), ToolCallDelta(0, "c1", "f", "}")]
    assert brief(calls_of(events)) == [("c1", "f", {"a": 1})]


@pytest.mark.req("D6")
def test_a_call_that_never_gets_a_name_is_invalid() -> None:
    """It is not dropped: the model must be told."""
    events = events_of(ROLE, chunk_of({"tool_calls": [piece('{"a":1}', index=0, id="c1")]}), END, DONE)
    (call,) = calls_of(events)
    assert (call.id, call.name, call.arguments, call.invalid) == ("c1", "", None, "the call has no name")


@pytest.mark.req("D7")
def test_nulls_on_a_continuation_are_ignored() -> None:
    """`id`, `name` and `type` null say nothing."""
    chunks = [piece('{"a"', "f", index=0, id="c1", type="function")], [piece(":1}", None, index=0, id=None, type=None)]
    assert brief(calling(*chunks)) == [("c1", "f", {"a": 1})]


@pytest.mark.req("D8", "B10")
def test_whole_calls_in_one_delta_are_all_kept() -> None:
    """Name and arguments together, several calls in one delta, beside text."""
    fragments = [piece('{"a":1}', "f", index=0, id="c1"), piece('{"b":2}', "g", index=1, id="c2")]
    assert brief(calling(fragments)) == [("c1", "f", {"a": 1}), ("c2", "g", {"b": 2})]
    events = events_of(chunk_of({"role": "assistant", "content": "so", "tool_calls": fragments}, "tool_calls"))
    assert len(calls_of(events)) == 2


@pytest.mark.req("D9", "seed-B5")
@pytest.mark.parametrize("arguments", [{"a": {"b": [1, "é"]}}, {}])
def test_arguments_as_an_object(arguments: dict[str, Any]) -> None:
    """They are written as JSON once, and read back."""
    (call,) = calling([piece(arguments, "f", index=0, id="c1")])
    assert call.arguments == arguments
    assert json.loads(call.raw_arguments) == arguments


@pytest.mark.req("D10")
def test_a_new_id_on_every_fragment_is_one_call() -> None:
    """Same index, no name, and the JSON still open: it goes on, under the first id."""
    chunks = [piece('{"a"', "f", index=0, id="c1")], [piece(":", index=0, id="c2")], [piece("1}", index=0, id="c3")]
    assert brief(calling(*chunks)) == [("c1", "f", {"a": 1})]


@pytest.mark.req("D11", "seed-B5")
@pytest.mark.parametrize("arguments", ["", None, "  ", UNSAID])
def test_no_arguments_are_an_empty_object(arguments: Any) -> None:
    """A tool without parameters is called with ""."""
    (call,) = calling([piece(arguments, "f", index=0, id="c1")])
    assert (call.arguments, call.invalid) == ({}, None)


@pytest.mark.req("D12", "seed-B5")
@pytest.mark.parametrize("arguments", ['{"keywords": Dave}', "[1]", '"text"', "1", "null", '{"a":1', '{"a":"\\ud800"}'])
def test_arguments_that_are_no_object_are_invalid(arguments: str) -> None:
    """The call says why, keeps what was sent, and the stream goes on to its end."""
    events = events_of(ROLE, chunk_of({"tool_calls": [piece(arguments, "f", index=0, id="c1")]}), text("so"), END, DONE)
    (call,) = calls_of(events)
    assert call.arguments is None
    assert call.invalid
    assert call.invalid.startswith("the arguments are not")
    assert call.raw_arguments == arguments
    assert events[-1] == Finish("tool_calls", "tool_calls")


@pytest.mark.req("A3", "D8")
def test_a_character_cut_between_fragments_is_whole() -> None:
    """Servers with UTF-16 strings cut an emoji in two: the halves are joined, and one alone becomes U+FFFD."""
    halves = ['{"a":"x\ud83d', '\ude00y"}']
    frames = [json.dumps(chunk_of({"tool_calls": [piece(half, "f", index=0, id="c1")]})) for half in halves]
    (call,) = calls_of(events_of(ROLE, *(f"data: {frame}\n\n" for frame in frames), END, DONE))
    assert call.arguments == {"a": "x😀y"}
    lone = json.dumps(chunk_of({"tool_calls": [piece('{"a":"\ud83d"}', "f", index=0, id="c1")]}))
    (call,) = calls_of(events_of(ROLE, f"data: {lone}\n\n", END, DONE))
    assert call.arguments == {"a": "\ufffd"}


@pytest.mark.req("D13")
@pytest.mark.parametrize("glued", [False, True], ids=["two fragments", "one fragment"])
def test_a_second_object_is_never_merged(glued: bool) -> None:
    """`{..}{..}` at one index is a second call of the same tool, or an invalid one; never a merged call."""
    if glued:
        (call,) = calling([piece('{"a":1}{"b":2}', "f", index=0, id="c1")])
        assert call.arguments is None
        assert call.invalid
    else:
        first, second = calling([piece('{"a":1}', "f", index=0, id="c1")], [piece('{"b":2}', index=0)])
        assert brief([first]) == [("c1", "f", {"a": 1})]
        assert (second.name, second.arguments) == ("f", {"b": 2})
        assert second.id != first.id


@pytest.mark.req("D13")
def test_blanks_after_an_object_begin_no_call() -> None:
    """White space after the arguments belongs to them."""
    (call,) = calling([piece('{"a":1}', "f", index=0, id="c1")], [piece(" \n", index=0)], [piece("", index=0)])
    assert call.arguments == {"a": 1}


@pytest.mark.req("D14")
@pytest.mark.parametrize("none", [[], None])
def test_no_calls_are_no_events(none: object) -> None:
    """An empty list or null beside the content is no call, and the finish stays "stop"."""
    events = events_of(ROLE, chunk_of({"content": "a", "tool_calls": none}), STOP, DONE)
    assert not any(isinstance(event, ToolCall | ToolCallDelta) for event in events)
    assert events[-1] == Finish("stop", "stop")


@pytest.mark.req("D14")
@pytest.mark.parametrize("odd", [[None], ["x"], [{}], "x", 1, {"0": 1}, [{"function": "f"}], [{"index": "x"}]])
def test_odd_tool_calls_never_raise(odd: object) -> None:
    """What is no call at all harms nothing: the text is there, and the order legal."""
    events = events_of(ROLE, chunk_of({"content": "a", "tool_calls": odd}), STOP, DONE)
    assert isinstance(events[-1], Finish)


@pytest.mark.req("G3")
@pytest.mark.parametrize(("index", "id"), [("0", 7), (0.0, "7"), (False, "7")])
def test_numbers_of_another_type(index: object, id: object) -> None:
    """An index as a string or a float, an id as a number."""
    chunks = [{**piece('{"a"', "f"), "index": index, "id": id}], [{**piece(":1}"), "index": index}]
    assert brief(calling(*chunks)) == [("7", "f", {"a": 1})]


def test_flat_fragments_and_a_single_object() -> None:
    """Name and arguments beside the id instead of under `function`, and a call that is not in a list."""
    flat = {"index": 0, "id": "c1", "name": "f", "arguments": {"a": 1}}
    assert brief(calling([flat])) == [("c1", "f", {"a": 1})]
    events = events_of(ROLE, chunk_of({"tool_calls": flat}), END, DONE)
    assert brief(calls_of(events)) == [("c1", "f", {"a": 1})]


@pytest.mark.req("seed-B4")
def test_a_legacy_function_call_is_a_call() -> None:
    """`function_call` in pieces; and where a server says the call in both ways, it is one."""
    chunks = [
        chunk_of({"function_call": value}) for value in ({"name": "f", "arguments": ""}, {"arguments": '{"a":1}'})
    ]
    events = events_of(ROLE, *chunks, chunk_of({}, "function_call"), DONE)
    assert [(call.name, call.arguments) for call in calls_of(events)] == [("f", {"a": 1})]
    assert events[-1] == Finish("tool_calls", "function_call")
    both = {"tool_calls": [piece("{}", "f", index=0, id="c1")], "function_call": {"name": "f", "arguments": "{}"}}
    assert brief(calls_of(events_of(ROLE, chunk_of(both), END, DONE))) == [("c1", "f", {})]


# ---- the assembler by itself

json_objects = st.dictionaries(
    st.text(max_size=6),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**40), 2**40) | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
).map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "replace").decode())


def cut(raw: str, at: list[int]) -> list[str]:
    places = sorted({0, len(raw), *(place % (len(raw) + 1) for place in at)})
    return [raw[start:end] for start, end in pairwise(places)]


cuts = st.lists(st.integers(0, 1 << 16), max_size=12)


@PLENTY
@pytest.mark.req("D8", "D13")
@given(json_objects, cuts, st.booleans())
def test_arguments_cut_anywhere_are_the_same_call(raw: str, at: list[int], indexed: bool) -> None:
    """Where a server cuts the JSON of a call makes no difference to the call."""
    assembler = ToolCallAssembler("seed")
    index = 0 if indexed else None
    assembler.add("", index=index, id="c1", name="f")
    said = [assembler.add(fragment, index=index) for fragment in cut(raw, at)]
    assert "".join(delta.arguments for delta in said if delta is not None) == raw
    assert assembler.finish() == [parse_call("c1", "f", raw)]


@PLENTY
@pytest.mark.req("D1", "D8")
@given(
    st.lists(st.tuples(json_objects, cuts), min_size=2, max_size=4), st.randoms(use_true_random=False), st.booleans()
)
def test_interleaved_calls_are_told_apart(given: list[tuple[str, list[int]]], random: Any, by_id: bool) -> None:
    """Fragments of several calls in any interleaving, told apart by index or by id alone."""
    assembler = ToolCallAssembler("seed")
    queues = [[(at, fragment) for fragment in ["", *cut(raw, places)]] for at, (raw, places) in enumerate(given)]
    for at in range(len(queues)):
        queues[at].pop(0)
        assembler.add("", index=None if by_id else at, id=f"c{at}", name=f"f{at}")
    while any(queues):
        at, fragment = random.choice([queue for queue in queues if queue]).pop(0)
        assembler.add(fragment, index=None if by_id else at, id=f"c{at}" if by_id else "")
    assert assembler.finish() == [parse_call(f"c{at}", f"f{at}", raw) for at, (raw, _) in enumerate(given)]


fragments = st.builds(
    dict,
    arguments=st.sampled_from(["", "{", "}", '{"a":1}', '"', "\\", "[", "]", " ", "x"]),
    index=st.sampled_from([None, 0, 1]),
    id=st.sampled_from(["", "c1", "c2"]),
    name=st.sampled_from(["", "f", "g", "fg"]),
    position=st.integers(0, 1),
)


@PLENTY
@given(st.lists(fragments, max_size=12), st.booleans())
def test_no_fragments_break_the_assembler(given: list[dict[str, Any]], truncated: bool) -> None:
    """Whatever comes: ids are unique, deltas add up to the calls that have a name, and nothing of the text is lost."""
    assembler = ToolCallAssembler("seed")
    said: dict[str, str] = {}
    for fragment in given:
        delta = assembler.add(**fragment)
        if delta is not None:
            said[delta.id] = said.get(delta.id, "") + delta.arguments
    assert bool(assembler) == bool(given)
    calls = assembler.finish(truncated=truncated)
    assert len({call.id for call in calls}) == len(calls)
    assert {call.id: call.raw_arguments for call in calls if call.name} == said
    assert len("".join(call.raw_arguments for call in calls)) == sum(len(fragment["arguments"]) for fragment in given)
    assert all((call.arguments is None) == (call.invalid is not None) for call in calls)
    assert assembler.finish() == []


def test_long_arguments_are_joined_once() -> None:
    """A thousand fragments cost a thousand searches: nothing held is scanned or joined again."""
    assembler = ToolCallAssembler()
    assembler.add('{"a":"', index=0, id="c", name="f")
    for _ in range(1000):
        assembler.add("x" * 100, index=0)
    (held,) = assembler._calls
    assert len(held.fragments) == 1001
    assert held.scan.complete is False
    assembler.add('"}', index=0)
    assert held.scan.complete
    (call,) = assembler.finish()
    assert call.arguments == {"a": "x" * 100_000}


def test_merged_compares_random_ids_by_order() -> None:
    """The comparison used here sees a swap of two calls."""
    first, second = ToolCall("call_a", "f", {}), ToolCall("call_b", "g", {})
    assert merged([first, second]) != merged([second, first])
