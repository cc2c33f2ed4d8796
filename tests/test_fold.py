"""The fold of events into a Reply: the order of parts, many steps, what is left of a broken stream, and its cost."""

from __future__ import annotations

import pytest
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Finish,
    Fold,
    InvalidOutputError,
    Message,
    ProviderState,
    RawEvent,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Retrying,
    ServerError,
    Stopped,
    StreamError,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolProgress,
    ToolResult,
    Usage,
    fold,
)
from asyncllm.events._fold import RUN

START = StreamStart("m", "id", "b", ("careful",))
CALL = ToolCall("c", "f", {"a": 1}, '{"a":1}')
STOP = Finish("stop", "eos")


def test_a_plain_answer() -> None:
    """Text is the message, whole; the facts of the start and of the finish are there."""
    reply = fold([START, TextDelta("a"), TextDelta("b"), Usage(input_tokens=1), Usage(input_tokens=2), STOP])
    assert reply == Reply(
        text="ab",
        usage=Usage(input_tokens=2),
        finish_reason="stop",
        raw_finish_reason="eos",
        message=Message("assistant", "ab"),
        messages=[Message("assistant", "ab")],
        model="m",
        id="id",
        backend="b",
        warnings=("careful",),
        steps=1,
    )
    assert reply.complete


def test_nothing_is_an_empty_reply() -> None:
    """No events, and a start alone: no text, no usage, no end, and no message to send back."""
    assert fold([]) == Reply()
    reply = fold([START])
    assert (reply.text, reply.usage, reply.complete, reply.messages) == ("", None, False, [])


def test_parts_keep_their_order() -> None:
    """Reasoning, text and calls in the order in which they came; each run of deltas is one part."""
    events = [
        START,
        ReasoningDelta("a"),
        ReasoningDelta("b"),
        TextDelta("c"),
        TextDelta("d"),
        ReasoningDelta("e"),
        CALL,
        TextDelta("f"),
        STOP,
    ]
    reply = fold(events)
    assert reply.message.content == [Reasoning("ab"), Text("cd"), Reasoning("e"), CALL, Text("f")]
    assert (reply.text, reply.reasoning, reply.tool_calls) == ("cdf", "abe", [CALL])


@pytest.mark.req("E2", "E3")
def test_state_rides_on_its_part() -> None:
    """Lists go on, other values are replaced; a new part begins without the state of the one before."""
    first = ProviderState("p", {"field": "x", "details": [1]})
    second = ProviderState("p", {"field": "y", "details": [2], "signature": "s"})
    events = [START, ReasoningDelta("a", first), ReasoningDelta("", second), TextDelta("t"), ReasoningDelta("b"), STOP]
    merged = ProviderState("p", {"field": "y", "details": [1, 2], "signature": "s"})
    assert fold(events).message.parts == [Reasoning("a", merged), Text("t"), Reasoning("b")]
    assert first.data["details"] == [1]


def test_a_refusal_is_not_text() -> None:
    """It has its own field, and None where there is none."""
    reply = fold([START, RefusalDelta("No"), RefusalDelta("."), STOP])
    assert (reply.refusal, reply.text) == ("No.", "")
    assert fold([START, STOP]).refusal is None


@pytest.mark.req("seed-B1")
def test_several_steps() -> None:
    """Each step's turn and its results are messages; usage is added; text and calls are those of the last step."""
    events: list[StreamEvent] = [
        START,
        TextDelta("so "),
        CALL,
        ToolCall("d", "g", {}),
        Usage(input_tokens=1, output_tokens=1),
        Usage(input_tokens=10, output_tokens=1),
        Finish("tool_calls"),
        ToolResult("c", "f", "1"),
        ToolResult("d", "g", "2"),
        StreamStart("m2"),
        TextDelta("done"),
        Usage(input_tokens=20, output_tokens=2),
        STOP,
    ]
    question = Message("user", "q")
    folded = Fold()
    folded.extend(events)
    reply = folded.reply(before=[question])
    assert reply.messages == [
        question,
        Message("assistant", [Text("so "), CALL, ToolCall("d", "g", {})]),
        Message("tool", [ToolResult("c", "f", "1"), ToolResult("d", "g", "2")]),
        Message("assistant", "done"),
    ]
    assert (reply.text, reply.tool_calls, reply.model) == ("done", [], "m2")
    assert reply.usage == Usage(input_tokens=30, output_tokens=3)
    assert reply.finish_reason == "stop"


def test_a_step_under_way_has_no_finish() -> None:
    """The finish of the step before is not that of this one; what was used so far is known."""
    events: list[StreamEvent] = [
        START,
        CALL,
        Usage(input_tokens=5),
        Finish("tool_calls"),
        ToolResult("c", "f", "1"),
        START,
    ]
    reply = fold(events)
    assert (reply.finish_reason, reply.complete, reply.usage) == (None, False, Usage(input_tokens=5))
    assert reply.message == Message("assistant", "")


@pytest.mark.req("B9", "C1")
def test_a_broken_call_is_there_and_invalid() -> None:
    """Fragments of a call that never became whole are a call that cannot be run."""
    events = [START, TextDelta("a"), ToolCallDelta(0, "c", "f", '{"a"'), ToolCallDelta(0, "c", "f", ":")]
    (call,) = fold(events).tool_calls
    assert (call.id, call.name, call.arguments, call.raw_arguments) == ("c", "f", None, '{"a":')
    assert call.invalid
    assert fold([*events, ToolCall("c", "f", {}, "{}"), STOP]).tool_calls == [ToolCall("c", "f", {}, "{}")]


@pytest.mark.req("F9")
def test_an_estimate_only_where_nobody_said() -> None:
    """A broken stream without usage has an estimate of its output; one with usage, or with an end, has none."""
    assert fold([START, TextDelta("12345"), ReasoningDelta("678")]).usage == Usage(output_tokens=2, estimated=True)
    assert fold([START, TextDelta("1"), Usage(input_tokens=3)]).usage == Usage(input_tokens=3)
    assert fold([START, TextDelta("1"), STOP]).usage is None
    before: list[StreamEvent] = [START, CALL, Usage(input_tokens=5), Finish("tool_calls"), ToolResult("c", "f", "1")]
    broken = fold([*before, START, TextDelta("12345678")]).usage
    assert broken == Usage(input_tokens=5, output_tokens=2, estimated=True)


def test_other_events_change_nothing() -> None:
    """Retries, errors and raw events are no part of a reply."""
    noise: list[StreamEvent] = [Retrying(1, 0.1, ServerError("x")), RawEvent({"a": 1})]
    events: list[StreamEvent] = [START, TextDelta("a")]
    assert fold([*noise, *events, *noise, StreamError(ServerError("x"))]) == fold(events)


deltas = st.one_of(
    st.builds(TextDelta, st.text(max_size=3)),
    st.builds(ReasoningDelta, st.text(max_size=3)),
    st.just(CALL),
    st.builds(RefusalDelta, st.text(max_size=3)),
)


@PLENTY
@pytest.mark.req("seed-B8")
@given(st.lists(deltas, max_size=20), st.lists(st.integers(0, 20), max_size=4))
def test_a_snapshot_at_any_time(events: list[StreamEvent], peeks: list[int]) -> None:
    """Asking on the way changes nothing, and gives what the events so far fold to; batches do not matter."""
    folded = Fold()
    for at, event in enumerate(events):
        if at in peeks:
            assert folded.reply() == fold(events[:at])
        folded.extend([event]) if at % 2 else folded.add(event)
    assert folded.reply() == fold(events)
    text = "".join(event.text for event in events if isinstance(event, TextDelta))
    assert folded.reply().text == text


@pytest.mark.req("seed-B8", "H17")
@pytest.mark.parametrize("kind", [TextDelta, ReasoningDelta])
def test_the_fold_is_linear(kind: type[TextDelta] | type[ReasoningDelta]) -> None:
    """200 000 deltas in batches: few entries are held, and nothing that was joined is joined again until it is asked for."""
    folded = Fold()
    batch: list[StreamEvent] = [kind("word ")] * 50
    for _ in range(4000):
        folded.extend(batch)
        assert len(folded._run) <= RUN + len(batch)
    assert len(folded._joined) <= 200_000 // RUN
    assert max(map(len, folded._joined)) <= (RUN + len(batch)) * len("word ")
    reply = folded.reply()
    assert reply.text + reply.reasoning == "word " * 200_000
    (held,) = folded._joined
    folded.reply()
    assert folded._joined[0] is held


RESULT = ToolResult("c", "f", "1")


@pytest.mark.req("seed-E6")
def test_a_run_of_two_steps() -> None:
    """The last step is what the reply says; the turns and results of all are its messages; usage and steps are summed."""
    first = [
        START,
        TextDelta("so"),
        CALL,
        Usage(input_tokens=1),
        Finish("tool_calls"),
        ToolProgress("c", "f", 1),
        RESULT,
    ]
    reply = fold([*first, START, TextDelta("done"), Usage(input_tokens=2), STOP])
    assert (reply.text, reply.tool_calls, reply.steps, reply.usage) == ("done", [], 2, Usage(input_tokens=3))
    assert reply.messages == [
        Message("assistant", [Text("so"), CALL]),
        Message("tool", [RESULT]),
        Message("assistant", "done"),
    ]


@pytest.mark.req("seed-E5")
def test_a_run_that_stopped() -> None:
    """The last answer stays the reply's, with the calls that nobody has answered."""
    other = ToolCall("d", "g", {})
    events: list[StreamEvent] = [
        START,
        TextDelta("so"),
        CALL,
        other,
        Finish("tool_calls"),
        RESULT,
        Stopped("needs_results"),
    ]
    reply = fold(events)
    assert (reply.text, reply.tool_calls, reply.stopped, reply.complete) == ("so", [other], "needs_results", True)
    assert reply.message == Message("assistant", [Text("so"), CALL, other])
    assert reply.messages == [reply.message, Message("tool", [RESULT])]
    done = fold([START, CALL, Finish("tool_calls"), RESULT, Stopped("max_steps")])
    assert (done.tool_calls, done.stopped) == ([], "max_steps")


def test_results_before_the_first_step() -> None:
    """A run that begins with what its conversation left open: the results are the first message."""
    reply = fold([RESULT, START, TextDelta("done"), STOP])
    assert reply.messages == [Message("tool", [RESULT]), Message("assistant", "done")]
    assert fold([RESULT, Stopped("max_steps")]).messages == [Message("tool", [RESULT])]


def test_results_in_the_middle_of_a_step() -> None:
    """An agent that runs its tools itself: what it says after a result is another turn, of the same step."""
    reply = fold(
        [START, TextDelta("a"), CALL, RESULT, ToolResult("d", "f", "2"), ReasoningDelta("b"), TextDelta("c"), STOP]
    )
    assert reply.messages == [
        Message("assistant", [Text("a"), CALL]),
        Message("tool", [RESULT, ToolResult("d", "f", "2")]),
        Message("assistant", [Reasoning("b"), Text("c")]),
    ]
    assert (reply.text, reply.steps) == ("c", 1)


@pytest.mark.req("seed-B10")
def test_an_answer_that_is_taken_back() -> None:
    """What was not the output asked for is in no message; its tokens were used all the same."""
    wrong = Retrying(1, 0.0, InvalidOutputError("not a City"))
    events: list[StreamEvent] = [START, TextDelta("Oslo"), Usage(output_tokens=1), STOP, wrong]
    assert (fold(events).text, fold(events).complete) == ("", False)
    reply = fold([*events, START, TextDelta("{}"), Usage(output_tokens=2), STOP])
    assert (reply.text, reply.messages, reply.usage) == ("{}", [Message("assistant", "{}")], Usage(output_tokens=3))
