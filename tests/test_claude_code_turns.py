"""What Claude Code may say of a turn besides what was recorded, line by line."""

from __future__ import annotations

import base64

import pytest
from _claude_program import (
    SESSION,
    asks,
    begins,
    block,
    calls,
    given,
    init,
    line,
    replies,
    result,
    sse,
    stops,
    text,
    wants,
)
from _claude_turns import SAID, decoder, failed, failure, of, said, synthetic

from asyncllm.events import (
    Image,
    Session,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolProgress,
    ToolResult,
    Usage,
    check_order,
    fold,
)

pytestmark = [pytest.mark.req("seed-A9")]


# ---- the end


@pytest.mark.parametrize(
    ("stop", "terminal", "reason"),
    [
        ("end_turn", "completed", "stop"),
        ("stop_sequence", None, "stop"),
        ("max_tokens", "completed", "length"),
        ("refusal", "completed", "content_filter"),
        ("tool_use", "completed", "stop"),
        ("tool_use", "hook_stopped", "other"),
        (None, "background_requested", "other"),
        (None, "completed", "stop"),
    ],
)
def test_why_it_ended(stop: str | None, terminal: str | None, reason: str) -> None:
    message = begins() + text("Hello.") + (stops(stop) if stop else sse("message_stop"))
    events = said(message, result("Hello.", stop_reason=stop, terminal_reason=terminal))
    assert (fold(events).finish_reason, fold(events).text) == (reason, "Hello.")


def test_what_only_the_result_says() -> None:
    """What a command of the program's own printed; and the JSON that was asked for."""
    assert fold(said(result("Cost: 3 cents"))).text == "Cost: 3 cents"
    assert fold(said(SAID, result("x", structured_output={"a": [1]}))).text == '{"a":[1]}'
    assert fold(said(SAID, result("something else"))).text == "Hello."


def test_usage_is_of_the_turn() -> None:
    """Cost is that of all turns of the process; a failed turn has usage, too."""
    first = decoder()
    first.decode_lines([init(), *SAID.split(b"\n"), result(cost=0.5)])
    second = decoder(cost=first.cost)
    (used,) = of(second.decode_lines([init(), *SAID.split(b"\n"), result(cost=0.75, tokens=20)]), Usage)
    assert (used.input_tokens, used.output_tokens, used.cost) == (80, 7, 0.25)
    third = decoder(cost=second.cost)
    (used,) = of(third.decode_lines([init(), *SAID.split(b"\n"), failed("x", tokens=5, cost=0.8)]), Usage)
    assert (used.input_tokens, used.cost) == (65, pytest.approx(0.05))


def test_a_turn_that_it_began_itself_is_not_ours() -> None:
    other = result("of a task", origin={"kind": "task-notification"}, cost=0.1)
    events = said(other, SAID, result("Hello.", origin={"kind": "human"}, cost=0.5))
    (used,) = of(events, Usage)
    assert (fold(events).text, used.cost) == ("Hello.", 0.5)


# ---- tools


def test_a_call_that_was_denied_only_in_the_result() -> None:
    call = begins() + calls("t1", "Bash", {"command": "ls"}) + calls("t2", "Read", {}, 1) + stops("tool_use")
    denials = [{"tool_name": "Bash", "tool_use_id": "t1"}, {"tool_name": "Read", "tool_use_id": "t2"}, {}, None]
    events = said(call, given("t2", "told already", is_error=True), result(permission_denials=denials))
    results = {event.id: (event.text, event.is_error) for event in of(events, ToolResult)}
    assert results == {"t1": ("the permission to use Bash was denied", True), "t2": ("told already", True)}


def test_a_call_of_ours_that_makes_no_sense() -> None:
    """Nobody is asked to answer it: the program does, and that is said."""
    bad = begins() + calls("t1", "mcp__asyncllm__add", '{"a') + stops("tool_use")
    events = said(
        bad, given("t1", "InputValidationError", is_error=True), begins("msg_2"), text("Sorry."), stops(), result()
    )
    (call,) = of(events, ToolCall)
    assert (call.name, bool(call.invalid)) == ("add", True)
    (found,) = of(events, ToolResult)
    assert (found.id, found.name, found.is_error) == ("t1", "add", True)


@pytest.mark.parametrize("name", ["Read", "mcp__asyncllm__add"])
@pytest.mark.parametrize("arguments", ['{"a": 1}', '{"a'])
def test_a_result_before_the_model_has_ended_its_call(name: str, arguments: str) -> None:
    """What is not allowed, or not there, is told as soon as the call is whole: before the API's event says so."""
    call = calls("t1", name, arguments)
    at = call.index(b"\n", call.index(b"input_json_delta")) + 1
    early = block({"type": "tool_use", "id": "t1", "name": name, "input": {"a": 1}}) + given("t1", "no", is_error=True)
    events = said(
        begins(), call[:at], early, call[at:], stops("tool_use"), begins("msg_2"), text("x"), stops(), result()
    )
    assert [event.id for event in of(events, ToolCall)] == ["t1"]
    assert [(event.id, event.is_error) for event in of(events, ToolResult)] == [("t1", True)]


def test_a_cut_that_whole_blocks_do_not_show() -> None:
    """The words say that it was an answer that broke."""
    thought = block({"type": "thinking", "thinking": "Hm.", "signature": "x"})
    error = failure(thought, synthetic("API Error: Connection closed mid-response.", "server_error"), failed())
    assert type(error).__name__ == "IncompleteStreamError"


def test_a_result_while_the_model_speaks_again() -> None:
    events = said(
        begins(),
        calls("t1", "Read", {}),
        stops("tool_use"),
        begins("msg_2"),
        given("t1", "late"),
        text("x"),
        stops(),
        result(),
    )
    assert [(event.id, event.text) for event in of(events, ToolResult)] == [("t1", "late")]


def test_images_of_tools() -> None:
    data = base64.b64encode(b"png").decode()
    content = [
        {"type": "text", "text": "a picture"},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": data}},
    ]
    call = begins() + calls("t1", "Read", {}) + stops("tool_use")
    (found,) = of(said(call, given("t1", content), begins("msg_2"), text("x"), stops(), result()), ToolResult)
    assert isinstance(found.content, list)
    assert [part.data for part in found.content if isinstance(part, Image)] == [b"png"]


def test_what_sub_agents_say_is_no_part_of_the_answer() -> None:
    inside = begins("sub") + text("secret thoughts") + calls("s1", "Read", {}, 1) + stops("tool_use")
    inside += block({"type": "text", "text": "secret thoughts"}, "sub") + given("s1", "x")
    inside += line("tool_progress", tool_use_id="s1", tool_name="Read", elapsed_time_seconds=3)
    inside = inside.replace(b'"parent_tool_use_id": null', b'"parent_tool_use_id": "t1"')
    call = begins() + calls("t1", "Task", {"prompt": "go"}) + stops("tool_use")
    outside = line("tool_progress", tool_use_id="t1", tool_name="Task", elapsed_time_seconds=4)
    events = said(call, inside, outside, given("t1", "done"), begins("msg_2"), text("Hello."), stops(), result())
    reply = fold(events)
    assert (reply.text, reply.steps) == ("Hello.", 2)
    assert [call.id for call in of(events, ToolCall)] == ["t1"]
    assert [event.id for event in of(events, ToolProgress)] == ["t1"]


def test_a_sub_agent_calls_our_tool() -> None:
    """Nobody has been told of the call, so it is said in the step that waits for it."""
    found = decoder()
    call = begins() + calls("t1", "Task", {"prompt": "go"}) + stops("tool_use")
    events = found.decode_lines((init() + call + wants("m1", "s1", a=1, b=2)).split(b"\n"))
    assert found.parked
    assert [(call.id, call.name, call.executed) for call in of(events, ToolCall)] == [
        ("t1", "Task", True),
        ("s1", "add", False),
    ]
    found.answer([ToolResult("s1", "add", "3")])
    assert b'"3"' in found.desk.take()
    events += found.decode_lines((given("t1", "done") + begins("msg_2") + text("x") + stops() + result()).split(b"\n"))
    check_order(events)
    assert [event.id for event in of(events, ToolResult)] == ["t1"]


def test_a_call_that_is_not_wanted_any_more() -> None:
    found = decoder()
    found.decode_lines((init() + begins() + calls("t1", "mcp__asyncllm__add", {"a": 1})).split(b"\n"))
    found.decode_lines([wants("m1", "t1", a=1), line("control_cancel_request", request_id="m1")])
    events = found.decode_lines([*stops("tool_use").split(b"\n"), given("t1", "cancelled", is_error=True), result()])
    assert found.done
    assert [event.id for event in of(events, ToolResult)] == ["t1"]


def test_requests_that_are_none() -> None:
    """Each that has an id is answered: the program waits for it."""
    found = decoder()
    found.decode_lines(
        [
            init(),
            line("control_request", request_id="c1"),
            line("control_request", request={"subtype": "x"}),
            asks("c2", "y"),
        ]
    )
    assert found.desk.take().count(b'"subtype":"error"') == 2
    found.decode_lines([replies("nobody asked"), line("control_response"), line("control_cancel_request")])
    assert not found.done


# ---- what it does besides


def test_compaction() -> None:
    """In the middle of a turn: it goes on."""
    compacted = line("system", subtype="status", status="compacting")
    compacted += line("system", subtype="compact_boundary", compact_metadata={"trigger": "auto", "pre_tokens": 9})
    compacted += line("user", message={"role": "user", "content": "This session is being continued"}, isSynthetic=True)
    call = begins() + calls("t1", "Read", {}) + stops("tool_use") + given("t1", "x")
    events = said(call, compacted, begins("msg_2"), text("Hello."), stops(), result("Hello."))
    assert (fold(events).text, fold(events).steps) == ("Hello.", 2)


def test_lost_servers() -> None:
    states = [{"name": name, "status": name} for name in ("connected", "pending", "failed", "needs-auth")]
    head = init(mcp_servers=[*states, None, "x"])
    (start,) = of(said(head, SAID, result()), StreamStart)
    assert len(start.warnings) == 2
    assert "'failed' could not be reached" in start.warnings[0]
    assert "'needs-auth' wants to be signed in" in start.warnings[1]


def test_whole_blocks_say_nothing_twice() -> None:
    """With and without the events of the API; one message of each kind in one turn."""
    whole = block({"type": "text", "text": "Again."}, "msg_2") + block(
        {"type": "tool_use", "id": "t1", "name": "Read", "input": {"x": 1}}, "msg_2"
    )
    events = said(
        SAID, whole, given("t1", "y"), block({"type": "text", "text": "End."}, "msg_3", "a-3"), result("End.")
    )
    assert "".join(event.text for event in of(events, TextDelta)) == "Hello.Again.End."
    assert (fold(events).text, fold(events).steps) == ("End.", 3)
    assert [call.arguments for call in of(events, ToolCall)] == [{"x": 1}]
    session = of(events, Session)[-1]
    assert (session.id, session.turn) == (SESSION, "a-3")
