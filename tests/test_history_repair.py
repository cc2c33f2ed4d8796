"""Any history becomes one that every provider takes: calls have their results, nothing is empty, and nothing is lost."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from _histories import MANY, any_history, every_wires_history, faults_of, good_histories, keeps
from hypothesis import example, given

from asyncllm._input import messages_from
from asyncllm._repair import INTERRUPTED, repaired, unanswered
from asyncllm.events import Image, Message, Part, ProviderState, Reasoning, Text, ToolCall, ToolResult
from asyncllm.protocols import Codec, Request, Tool
from asyncllm.testing._wires import WIRES, wire

each_wire = pytest.mark.parametrize("name", WIRES)

HI = Message("user", "Hi")
MORE = Message("user", "And Rome?")
WEATHER = Tool("look", "Look.", {"type": "object", "properties": {}})


def call(id: str, name: str = "look", **fields: Any) -> ToolCall:
    return ToolCall(id, name, {"of": id}, "", **fields)


def result(id: str, text: str | None = None, name: str = "look", **fields: Any) -> ToolResult:
    return ToolResult(id, name, f"result of {id}" if text is None else text, **fields)


def turn(*parts: Part) -> Message:
    return Message("assistant", list(parts))


def told(*results: Part) -> Message:
    return Message("tool", list(results))


def error(id: str, text: str = INTERRUPTED) -> ToolResult:
    return result(id, text, is_error=True)


# ---- for all histories


@pytest.mark.req("D15", "seed-B9")
@MANY
@given(any_history)
@example([Message("tool", "text")])
@example([turn(call("a"), call("a")), told(result("a"), result("a", "second"))])
@example([turn(call("a"), call("b")), told(result("a"), result("c"))])
@example([turn(call("a"), result("a"), Text("so")), HI])
def test_every_history_becomes_one_that_nobody_refuses(history: list[Message]) -> None:
    """Each call is answered once right after its turn (at the end it may wait), no result is without its call, nothing is
    empty, nothing that was said is gone, and a second repair changes nothing."""
    mended, notes = repaired(history)
    assert not list(faults_of(mended))
    assert not keeps(history, mended)
    assert bool(notes) == (list(mended) != history)
    assert repaired(mended) == (mended, ())


@MANY
@given(any_history)
def test_where_nothing_more_will_come_no_call_waits(history: list[Message]) -> None:
    """`interrupted` answers the calls at the end, too."""
    mended, _ = repaired(history, interrupted=True)
    assert not list(faults_of([*mended, HI]))
    assert unanswered(mended) == []


@MANY
@given(any_history)
def test_the_calls_at_the_end_wait_for_their_results(history: list[Message]) -> None:
    """With a result for each call that waits, the history is good, and no other call is ever answered with an error."""
    mended, _ = repaired(history)
    waiting = unanswered(history)
    whole, notes = repaired([*mended, told(*[result(call.id) for call in waiting]), HI] if waiting else [*mended, HI])
    assert not list(faults_of(whole))
    assert not [note for note in notes if "error" in note]


@MANY
@given(good_histories())
def test_a_good_history_comes_back_as_it_was(history: list[Message]) -> None:
    """The same messages, without a note; ids may come again in other turns, results in several messages."""
    mended, notes = repaired(history)
    assert all(after is before for after, before in zip(mended, history, strict=True))
    assert notes == ()
    assert unanswered(history) == []


def test_a_long_history_costs_its_length() -> None:
    """Ten thousand interrupted calls of one id, and a turn of a thousand calls: no pair is looked for in all there is."""
    history = [message for _ in range(10_000) for message in (HI, turn(call("a")))]
    history += [turn(*[call(str(at)) for at in range(1000)]), told(*[result(str(at)) for at in reversed(range(1000))])]
    mended, notes = repaired(history)
    assert len(mended) == 30_002
    assert len(notes) == 10_001


# ---- rule by rule


@pytest.mark.req("seed-B9")
def test_messages_that_say_nothing_are_dropped() -> None:
    """No parts, or nothing but blanks; what a provider wants back is no ghost."""
    kept = turn(Text("", ProviderState("gemini", {"thoughtSignature": "x"})))
    ghosts = [Message("assistant", ""), Message("user", " \n"), Message("tool", []), turn(Text(""))]
    mended, notes = repaired([HI, *ghosts, kept, Message("system", "")])
    assert mended == (HI, kept)
    assert [note.split(":")[0] for note in notes] == [f"messages[{at}]" for at in (1, 2, 3, 4, 6)]


@pytest.mark.req("D15")
@pytest.mark.parametrize("after", [MORE, turn(Text("Well.")), Message("system", "Be brief.")])
def test_a_call_in_the_middle_is_answered_with_an_error(after: Message) -> None:
    """Beside the results that are there, in the order of the calls."""
    calls = turn(Text("I look."), call("a"), call("b"), call("c"))
    mended, notes = repaired([HI, calls, told(result("b")), after])
    assert mended == (HI, calls, told(error("a"), result("b"), error("c")), after)
    assert len(notes) == 2
    assert all("has no result" in note for note in notes)


@pytest.mark.req("D15")
def test_a_call_that_was_cut_is_answered_with_the_reason() -> None:
    """The model is told why it was not made."""
    cut = ToolCall("a", "look", None, '{"of', "the stream ended before the call was whole")
    mended, _ = repaired([HI, turn(cut), MORE])
    assert mended[2] == told(error("a", "the call was not made: the stream ended before the call was whole"))
    assert repaired([HI, turn(cut)]) == ((HI, turn(cut)), ())
    assert unanswered([HI, turn(cut)]) == [cut]


@pytest.mark.req("D15")
def test_calls_at_the_end_are_left_to_be_run() -> None:
    """All of them, or those that have no result yet; a result without a call does not end their wait."""
    calls = turn(call("a"), call("b"))
    assert repaired([HI, calls]) == ((HI, calls), ())
    assert repaired([HI, calls, told(result("b"))]) == ((HI, calls, told(result("b"))), ())
    assert unanswered([HI, calls, told(result("b"))]) == [call("a")]
    assert unanswered([HI, calls, Message("user", [result("b")])]) == [call("a")]
    mended, _ = repaired([HI, calls, told(result("b"), result("x", "lost"))])
    assert mended == (HI, Message("user", "[The result of look]\nlost"), calls, told(result("b")))
    assert unanswered(mended) == [call("a")]
    assert unanswered([HI, calls, MORE]) == unanswered([HI]) == unanswered([]) == []


@pytest.mark.req("D15")
def test_results_are_moved_to_their_calls() -> None:
    """From behind a question, from a user's turn, from the model's own turn, and into the order of the calls."""
    calls = turn(call("a"), call("b"))
    whole = (HI, calls, told(result("a"), result("b")), MORE)
    for history in (
        [HI, calls, MORE, told(result("a"), result("b"))],
        [HI, calls, told(result("b"), result("a")), MORE],
        [HI, calls, told(result("b")), told(result("a")), MORE],
        [HI, calls, told(result("b")), MORE, told(result("a"))],
        [HI, calls, Message("user", [result("a"), Text("And Rome?"), result("b")])],
        [HI, turn(call("a"), call("b"), result("b"), result("a")), MORE],
    ):
        mended, notes = repaired(history)
        assert mended == whole
        assert notes


def test_what_the_model_said_after_a_result_stays_after_it() -> None:
    """A turn that holds its results is taken apart where they stand."""
    mended, _ = repaired([HI, turn(Text("I look."), call("a"), result("a"), Text("It rains."))])
    assert mended == (HI, turn(Text("I look."), call("a")), told(result("a")), Message("assistant", "It rains."))


@pytest.mark.req("D15")
def test_a_result_without_its_call_becomes_text() -> None:
    """With the name of its tool, its images, and that it was an error."""
    image = Image(data=b"png")
    history = [
        told(result("x", "21 degrees", "weather")),
        HI,
        turn(call("a")),
        told(result("a"), ToolResult("y", "camera", [Text("a street"), image], is_error=True)),
        Message("assistant", "Well."),
    ]
    mended, notes = repaired(history)
    said = Message("user", [Text("[The error of camera]\n"), Text("a street"), image])
    assert mended == (
        Message("user", "[The result of weather]\n21 degrees"),
        HI,
        turn(call("a")),
        told(result("a")),
        said,
        Message("assistant", "Well."),
    )
    assert len(notes) == 2


def test_of_two_results_the_first_one_counts() -> None:
    """One that says the same is dropped, another one becomes text."""
    calls = turn(call("a"))
    mended, _ = repaired([HI, calls, told(result("a"), result("a"), result("a", "no, this")), MORE])
    assert mended == (HI, calls, told(result("a")), Message("user", "[Another result of look]\nno, this"), MORE)


def test_a_result_that_comes_late_takes_the_place_of_the_interruption() -> None:
    """What was said to have no result has one after all."""
    interrupted, _ = repaired([HI, turn(call("a"), call("b")), MORE])
    assert interrupted[2] == told(error("a"), error("b"))
    mended, notes = repaired([*interrupted, told(result("b"))])
    assert mended == (HI, turn(call("a"), call("b")), told(error("a"), result("b")), MORE)
    assert len(notes) == 1


@pytest.mark.req("D15")
def test_ids_that_come_again_are_paired_by_turn() -> None:
    """The result belongs to the nearest turn before it, and the interrupted one gets its own."""
    first, second = turn(Text("one"), call("a")), turn(Text("two"), call("a"))
    mended, _ = repaired([HI, first, MORE, second, told(result("a"))])
    assert mended == (HI, first, told(error("a")), MORE, second, told(result("a")))


def test_two_calls_of_a_turn_with_one_id_get_two() -> None:
    """Results go to them by name, else in their order."""
    mended, notes = repaired(
        [HI, turn(call("a", "look"), call("a", "find")), told(result("a", "x", "find"), result("a", "y", "look")), MORE]
    )
    again = ToolCall("a_2", "find", {"of": "a"}, "")
    assert mended[1:3] == (turn(call("a"), again), told(result("a", "y"), result("a_2", "x", "find")))
    assert any("'a_2'" in note for note in notes)
    mended, _ = repaired([HI, turn(call("a_2")), told(result("a_2")), turn(call("a"), call("a"))])
    assert [part.id for part in unanswered(mended)] == ["a", "a_3"]


def test_a_call_without_an_id_gets_one() -> None:
    """Its result is found by the name of the tool, which is all that some servers say."""
    given = [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": name, "arguments": {}}} for name in ("look", "find")],
        },
        {"role": "tool", "name": "find", "content": "found"},
        {"role": "tool", "name": "look", "content": "seen"},
        {"role": "user", "content": "And Rome?"},
    ]
    mended, _ = repaired(messages_from(given))
    asked = turn(ToolCall("call_1", "look", {}, "{}"), ToolCall("call_2", "find", {}, "{}"))
    assert mended == (HI, asked, told(result("call_1", "seen"), result("call_2", "found", "find")), MORE)
    mended, _ = repaired([HI, turn(ToolCall("", "look", {}, "{}")), told(result("", "seen", "another"))])
    assert mended[1:] == (turn(ToolCall("call_1", "look", {}, "{}")), told(result("call_1", "seen", "another")))


def test_what_a_provider_ran_itself_is_left_alone() -> None:
    """Calls without results, and results without calls; a result of its tool that stands elsewhere goes back to it."""
    state = ProviderState("anthropic", {"block": {"type": "web_search_tool_result"}})
    search = call("s", "search", executed=True)
    theirs = turn(search, result("s"), result("t", state=state), Text("Found."))
    assert repaired([HI, theirs, turn(call("u", executed=True)), MORE])[1] == ()
    mended, _ = repaired([HI, turn(search, Text("Found.")), told(result("s")), MORE])
    assert mended == (HI, turn(search, result("s"), Text("Found.")), MORE)
    mended, _ = repaired([HI, turn(search, result("s")), told(result("s"), result("s", "more"))])
    assert mended == (HI, turn(search, result("s")), Message("user", "[Another result of look]\nmore"))
    mended, notes = repaired([HI, turn(result("s"), Text("Found."), search), MORE])
    assert mended == (HI, turn(Text("Found."), search, result("s")), MORE)
    assert len(notes) == 1
    mended, _ = repaired([HI, turn(call("a"), search, result("a"), result("s"), Text("Found.")), MORE])
    assert mended == (HI, turn(call("a"), search, result("s")), told(result("a")), Message("assistant", "Found."), MORE)


def test_parts_in_the_wrong_role_get_their_own_message() -> None:
    """What only a model says, and what a system message cannot show; the name of who spoke stays."""
    image = Image(data=b"png")
    mended, _ = repaired(
        [Message("system", [Text("Be brief."), image]), Message("user", [Text("Hi"), Reasoning("hm")], "Ann"), MORE]
    )
    assert mended == (
        Message("system", "Be brief."),
        Message("user", [image]),
        Message("user", "Hi", "Ann"),
        turn(Reasoning("hm")),
        MORE,
    )


def test_notes_are_short_whatever_the_model_said() -> None:
    """Ids and names of any length and any characters are quoted and cut."""
    _, notes = repaired([HI, turn(ToolCall("i" * 9000, "n\x1b[2J" * 9000, {})), MORE])
    assert len(notes[0]) < 250
    assert notes[0].isprintable()


# ---- on every wire


def encode(name: str, history: list[Message]) -> tuple[Request, Any]:
    """What a server of the wire reads, and the body."""
    module = import_module(f"asyncllm.protocols.{name}")
    codec: Codec = module.CODEC(name, module.QUIRKS())
    sent = codec.encode(Request(model="m", messages=tuple(history), tools=(WEATHER,)))
    body = msgspec.json.decode(sent.body)
    return wire(name).read(sent.path.partition("?")[0], body), body


def count(messages: Any, kind: type) -> int:
    return sum(isinstance(part, kind) for message in messages for part in message.parts)


@pytest.mark.req("D15", "seed-B9")
@each_wire
@MANY
@given(every_wires_history)
def test_every_repaired_history_can_be_said(name: str, history: list[Message]) -> None:
    """Each wire encodes it, and on none has a call no result or a result no call: their numbers are equal, turn by turn."""
    mended, _ = repaired([HI, *history], interrupted=True)
    heard, _ = encode(name, [*mended, MORE])
    ours = [part for message in mended for part in message.parts if isinstance(part, ToolCall) and not part.executed]
    calls = results = 0
    for message in heard.messages:
        open_calls = calls - results
        mine = [part for part in message.parts if isinstance(part, ToolCall) and not part.executed]
        told = [part for part in message.parts if isinstance(part, ToolResult) and message.role == "tool"]
        assert len(told) <= open_calls
        assert not open_calls or message.role in ("tool", "assistant")
        calls, results = calls + len(mine), results + len(told)
    assert calls == results == len(ours)


@pytest.mark.req("D15")
@MANY
@given(every_wires_history)
def test_gemini_has_as_many_responses_as_calls(history: list[Message]) -> None:
    """In the content right after the calls."""
    mended, _ = repaired([HI, *history], interrupted=True)
    contents = encode("gemini", [*mended, MORE])[1]["contents"]
    for content, following in pairwise(contents):
        asked = [part["functionCall"]["name"] for part in content["parts"] if "functionCall" in part]
        given = [part["functionResponse"]["name"] for part in following["parts"] if "functionResponse" in part]
        assert asked == given


@each_wire
def test_a_broken_history_is_refused_or_wrong_before_it_is_repaired(name: str) -> None:
    """The encoders do not do this work: a call without a result goes out without one."""
    heard, _ = encode(name, [HI, turn(call("a")), MORE])
    assert count(heard.messages, ToolCall) == 1
    assert count(heard.messages, ToolResult) == 0
