"""Calls in Gemini streams: told apart, in pieces with their paths, cut, and never valid unless they are whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from _decoding import calls_of
from _gemini import GEMINI, STOP, body_of, call, chunk, events_of
from _wirecase import check_cuts, check_truncations
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import Finish, ToolCallDelta


@pytest.mark.req("G7", "B8", "D11")
def test_calls_without_ids_are_told_apart() -> None:
    """Several in one chunk, of one name: ids of ours, the same for the same bytes, and in no state."""
    events = events_of(chunk(call(args={"a": "é"}), call(args={"a": 2}), call("g")), STOP)
    calls = calls_of(events)
    assert [(one.name, one.raw_arguments) for one in calls] == [("f", '{"a":"é"}'), ("f", '{"a":2}'), ("g", "{}")]
    assert len({one.id for one in calls}) == 3
    assert all(one.id.startswith("call_") and one.state is None for one in calls)
    again = calls_of(events_of(chunk(call(args={"a": "é"}), call(args={"a": 2}), call("g")), STOP))
    assert [one.id for one in again] == [one.id for one in calls]
    assert events[-1] == Finish("tool_calls", "STOP")


def test_one_id_for_two_calls() -> None:
    """The second gets another, for its result must find it; what goes back is the one that was given."""
    first, second = calls_of(events_of(chunk(call(id="c"), call("g", id="c")), STOP))
    assert first.id == "c" != second.id
    assert second.state is not None
    assert second.state.data == {"id": "c"}


def pieces(*partial: Any, goes_on: bool = True, **more: Any) -> dict[str, Any]:
    body: dict[str, Any] = {**more, "partialArgs": list(partial)} if partial else dict(more)
    return {"functionCall": {**body, "willContinue": True} if goes_on else body}


def arg(path: str, **value: Any) -> dict[str, Any]:
    return {"jsonPath": path, **value}


STREAMED = [
    chunk({**pieces(name="f", id="c1"), "thoughtSignature": "c2ln"}),
    chunk(pieces(arg("$.city", stringValue="New ", willContinue=True))),
    chunk(pieces(arg("$.city", stringValue='"De\\lhi"', willContinue=True))),
    chunk(pieces(arg("$.city", stringValue=""), arg("$.days", numberValue=3), arg("$.deep.list[0]", boolValue=True))),
    chunk(pieces(arg("$.deep.list[1].x", nullValue="NULL_VALUE"), arg("$['a b']", nullValue=None))),
    chunk(pieces(goes_on=False)),
]
WHOLE = {"city": 'New "De\\lhi"', "days": 3, "deep": {"list": [True, {"x": None}]}, "a b": None}


@pytest.mark.req("G7")
def test_arguments_in_pieces_with_their_paths() -> None:
    """They become fragments of JSON that add up to the arguments; the empty piece ends the call."""
    events = events_of(*STREAMED, STOP)
    (one,) = calls_of(events)
    assert one.arguments == WHOLE
    deltas = [event for event in events if isinstance(event, ToolCallDelta)]
    assert "".join(delta.arguments for delta in deltas) == one.raw_arguments
    assert json.loads(one.raw_arguments) == WHOLE
    assert len(deltas) >= 5
    assert one.state is not None
    assert one.state.data == {"id": "c1", "thoughtSignature": "c2ln"}
    assert {(delta.index, delta.id, delta.name) for delta in deltas} == {(0, "c1", "f")}


@pytest.mark.req("G7", "B9")
def test_a_call_that_was_cut_is_never_valid(tmp_path: Path) -> None:
    """Wherever the bytes end; and a limit that came in its middle makes it invalid, too."""
    path = tmp_path / "partial.sse"
    path.write_bytes(body_of(*STREAMED, STOP))
    check_cuts(GEMINI, path)
    check_truncations(GEMINI, path)
    (cut,) = calls_of(events_of(*STREAMED[:3], chunk(finish="MAX_TOKENS")))
    assert cut.invalid
    assert cut.arguments is None
    (broken,) = calls_of(events_of(*STREAMED[:4], {"error": {"code": 503, "status": "UNAVAILABLE"}}))
    assert broken.invalid


def test_a_call_whose_end_was_left_out() -> None:
    """Another call, or the end of the answer, ends it, if no value was announced to go on."""
    first = chunk(pieces(arg("$.a", numberValue=1), name="f"))
    calls = calls_of(events_of(first, chunk(call("g", args={"b": 2})), STOP))
    assert [(one.name, one.arguments) for one in calls] == [("f", {"a": 1}), ("g", {"b": 2})]
    (only,) = calls_of(events_of(first, STOP))
    assert only.arguments == {"a": 1}
    (empty,) = calls_of(events_of(chunk(pieces(name="f")), chunk(pieces(goes_on=False)), STOP))
    assert (empty.arguments, empty.raw_arguments) == ({}, "{}")


def test_two_calls_in_pieces_after_each_other() -> None:
    """The end of one is not the end of the other."""
    two = [pieces(name="f"), pieces(arg("$.a", numberValue=1)), pieces(goes_on=False), pieces(name="f")]
    calls = calls_of(events_of(*map(chunk, [*two, pieces(arg("$.a", numberValue=2)), pieces(goes_on=False)]), STOP))
    assert [one.arguments for one in calls] == [{"a": 1}, {"a": 2}]
    assert len({one.id for one in calls}) == 2


def test_paths_that_go_back_still_add_up() -> None:
    """Out of the order of a document: the fragments stop, the arguments are whole."""
    back = [
        arg("$.a", numberValue=1),
        arg("$.b", numberValue=2),
        arg("$.a", numberValue=3),
        arg("$.c[0]", stringValue="x"),
    ]
    (one,) = calls_of(events_of(chunk(pieces(*back, name="f")), chunk(pieces(goes_on=False)), STOP))
    assert one.arguments == {"a": 3, "b": 2, "c": ["x"]}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3) | st.dictionaries(st.text(max_size=3), inner, min_size=1, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.req("G7")
@given(
    st.dictionaries(st.text(min_size=1, max_size=3), JSON, min_size=1, max_size=4), st.randoms(use_true_random=False)
)
def test_any_arguments_can_come_in_pieces(arguments: dict[str, Any], chance: Any) -> None:
    """Leaf by leaf, strings cut anywhere: the fragments are JSON, and it is the arguments."""
    said = [pieces(name="f")]
    for path, value in leaves("$", arguments):
        if isinstance(value, str):
            at = chance.randrange(len(value) + 1)
            said += [
                pieces(arg(path, stringValue=value[:at], willContinue=True)),
                pieces(arg(path, stringValue=value[at:])),
            ]
        else:
            kind = "nullValue" if value is None else "boolValue" if isinstance(value, bool) else "numberValue"
            said.append(pieces(arg(path, **{kind: "NULL_VALUE" if value is None else value})))
    events = GEMINI.decode(body_of(*map(chunk, [*said, pieces(goes_on=False)]), STOP))
    (one,) = calls_of(events)
    assert one.arguments == arguments
    fragments = "".join(event.arguments for event in events if isinstance(event, ToolCallDelta))
    assert json.loads(fragments) == arguments


def leaves(path: str, value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in value.items():
            quoted = key.replace("\\", "\\\\").replace("'", "\\'")
            yield from leaves(f"{path}['{quoted}']", inner)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from leaves(f"{path}[{at}]", inner)
    else:
        yield path, value
