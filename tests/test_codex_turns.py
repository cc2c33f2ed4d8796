"""What the app-server may say of a turn besides what was recorded, message by message."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from _codex import NOW, turn_decoder, warnings_of
from _codex_lines import BEGIN, END, THREAD, TURN, counts, decoder, delta, item, note, used
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    BillingError,
    Finish,
    Image,
    IncompleteStreamError,
    LLMError,
    RateLimitError,
    RawEvent,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.codex._errors import error_of, from_words
from asyncllm.protocols.codex._exec_decode import ExecDecoder
from asyncllm.protocols.codex._requests import tool_response
from asyncllm.protocols.codex._rpc import Ask, Response, answer, read_line, refuse, request


def called(tool: str, id: str, **arguments: Any) -> bytes:
    params = {"threadId": THREAD, "turnId": TURN, "callId": id, "tool": tool, "arguments": arguments}
    return json.dumps({"method": "item/tool/call", "id": f"rpc-{id}", "params": params}).encode()


def said(*lines: bytes, **options: Any) -> list[StreamEvent]:
    events = decoder(**options).decode_lines([BEGIN, *lines, END])
    check_order(events)
    return events


def test_whole_items_say_only_what_deltas_have_not() -> None:
    events = said(delta("Hel"), delta("lo"), item("agentMessage", text="Hello there"))
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["Hel", "lo", " there", ""]


def test_reasoning_in_parts() -> None:
    piece = {"itemId": "r1", "summaryIndex": 0}
    events = said(
        note("item/reasoning/summaryTextDelta", **piece, delta="one"),
        note("item/reasoning/summaryPartAdded", itemId="r1", summaryIndex=1),
        note("item/reasoning/summaryTextDelta", itemId="r1", summaryIndex=1, delta="two"),
        item("reasoning", "r1", summary=["one", "two"], content=[]),
    )
    assert fold(events).reasoning == "one\n\ntwo"


def test_the_last_message_is_the_answer() -> None:
    """What the model says on its way is a step of its own."""
    reply = fold(said(item("agentMessage", "a", text="Let me look."), item("agentMessage", "b", text="It is 3.")))
    assert (reply.text, reply.steps) == ("It is 3.", 2)


@pytest.mark.req("F12")
def test_usage_is_counted_once() -> None:
    """It is told again with other rate limits, and twice where the words of the API are told, too."""
    raw = note("rawResponse/completed", usage=counts(5))
    for lines in (
        [used(15, 5), used(15, 5)],
        [raw, used(15, 5)],
        [note("rawResponse/completed", usage=None), used(15, 5)],
    ):
        events = said(item("agentMessage", text="x"), *lines)
        usage = fold(events).usage
        assert usage is not None
        assert usage.input_tokens == 5
    both = fold(said(delta("a"), raw, used(5, 5), delta("b", "i2"), raw, used(10, 5))).usage
    assert both is not None
    assert both.input_tokens == 10


def test_the_usage_of_each_step_stands_in_it() -> None:
    events = said(
        item("commandExecution", "c", command="ls", aggregatedOutput="x", exitCode=0, status="completed"),
        used(5, 5),
        item("agentMessage", text="done"),
        used(12, 7),
    )
    assert [event.input_tokens for event in events if isinstance(event, Usage)] == [5, 7]
    assert [event.reason for event in events if isinstance(event, Finish)] == ["tool_calls", "stop"]


def test_what_a_broken_attempt_said_is_not_the_answer() -> None:
    again = note(
        "error", willRetry=True, error={"message": "Reconnecting... 2/5", "additionalDetails": "Connection failed: x"}
    )
    events = said(delta("Hel"), again, delta("Hello", "i2"))
    reply = fold(events)
    assert (reply.text, reply.steps) == ("Hello", 2)
    retry = next(event for event in events if isinstance(event, Retrying))
    assert (retry.attempt, retry.error.kind) == (2, "connection")
    assert not isinstance(events[-1], Retrying)


def test_a_request_that_fails_after_tools_leaves_their_step() -> None:
    again = note("error", willRetry=True, error={"message": "Reconnecting... 1/5"})
    ran = item("commandExecution", "c", command="ls", aggregatedOutput="x", exitCode=0, status="completed")
    events = said(ran, used(5, 5), again, item("agentMessage", text="done"))
    assert [event.reason for event in events if isinstance(event, Finish)] == ["tool_calls", "stop"]


def test_late_warnings_are_told_with_the_end() -> None:
    lost = note("mcpServer/startupStatus/updated", name="calc", status="failed", error="no")
    events = said(item("agentMessage", text="x"), lost)
    assert warnings_of(events) == ("the MCP server 'calc' is not there: no",)
    assert isinstance(events[-1], Finish)
    assert events[-1].details


def test_tools_of_its_own() -> None:
    done = "completed"
    image = {"content": [{"type": "image", "data": "AAAA"}]}
    events = said(
        item("commandExecution", "c1", command="ls", aggregatedOutput="", exitCode=2, status="failed"),
        item("commandExecution", "c2", command="rm", status="declined"),
        item("fileChange", "c3", changes=[{"path": "a", "kind": {"type": "add"}, "diff": "+x"}], status=done),
        item("webSearch", "c4", query="why", results=None),
        item(
            "mcpToolCall",
            "c5",
            server="s",
            tool="t",
            arguments={},
            status=done,
            result=image,
        ),
        item("imageGeneration", "c6", status=done, result="AAAA"),
        item("imageGeneration", "c7", status=done, result="not base64"),
        item("collabAgentToolCall", "c8", tool="spawnAgent", prompt="go", status=done),
        item("somethingNew", "c9"),
    )
    results = [event for event in events if isinstance(event, ToolResult)]
    assert [(result.name, result.is_error) for result in results] == [
        ("command_execution", True),
        ("command_execution", True),
        ("file_change", False),
        ("web_search", False),
        ("mcp__s__t", False),
        ("agent_spawn_agent", False),
    ]
    assert results[0].text == "exit code 2"
    assert "denied" in results[1].text
    assert results[2].text == "add a"
    assert isinstance(results[4].content, list)
    assert [event.data for event in events if isinstance(event, Image)] == [b"\0\0\0"]


def test_calls_that_were_refused_at_once() -> None:
    """There are no items of them, only the words of the API."""
    call = {"type": "function_call", "name": "exec_command", "arguments": '{"cmd":"rm"}', "call_id": "c1"}
    out = {"type": "function_call_output", "call_id": "c1", "output": "approval policy is Never; reject command"}
    events = said(note("rawResponseItem/completed", item=call), note("rawResponseItem/completed", item=out))
    made = [event for event in events if isinstance(event, ToolCall | ToolResult)]
    assert [(event.id, event.name) for event in made] == [("c1", "exec_command")] * 2
    assert isinstance(made[1], ToolResult)
    assert made[1].is_error


# ---- our tools


def test_a_turn_stands_still_for_our_tools() -> None:
    turn = decoder()
    fc = {"type": "function_call", "name": "add", "arguments": "{}", "call_id": "c1"}
    events = turn.decode_lines([BEGIN, note("rawResponseItem/completed", item=fc), called("add", "c1", a=1)])
    assert not turn.settled  # more of this answer may follow
    events += turn.decode_lines([note("rawResponse/completed", usage=counts(5))])
    assert turn.settled
    assert [(ask.id, ask.call.arguments) for ask in turn.asked] == [("rpc-c1", {"a": 1})]
    turn.asked.clear()
    events += turn.park()
    events += turn.decode_lines(
        [item("dynamicToolCall", "c1", tool="add"), used(5, 5), item("agentMessage", text="2"), END]
    )
    check_order(events)
    reply = fold(events)
    assert (reply.text, reply.steps, reply.usage and reply.usage.input_tokens) == ("2", 2, 5)
    assert [event.reason for event in events if isinstance(event, Finish)] == ["tool_calls", "stop"]


def test_calls_that_nobody_can_answer_are_refused() -> None:
    turn = decoder()
    turn.decode_lines([BEGIN, called("multiply", "c1"), called("add", "c2")])
    assert [ask.params["tool"] for ask in turn.refused] == ["multiply"]
    assert [ask.call.name for ask in turn.asked] == ["add"]


def test_results_as_codex_takes_them() -> None:
    picture = ToolResult("c", "add", [Text("x"), Image(data=b"\0\0\0")], is_error=True)
    assert tool_response(picture) == {
        "contentItems": [
            {"type": "inputText", "text": "x"},
            {"type": "inputImage", "imageUrl": "data:image/png;base64,AAAA"},
        ],
        "success": False,
    }
    assert tool_response(None)["success"] is False


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("item/commandExecution/requestApproval", {"decision": "decline"}),
        ("item/fileChange/requestApproval", {"decision": "decline"}),
        ("item/permissions/requestApproval", {"permissions": {}, "scope": "turn"}),
        ("mcpServer/elicitation/request", {"action": "decline", "content": None, "_meta": None}),
        ("item/tool/requestUserInput", {"answers": {}}),
    ],
)
def test_what_it_asks_for_is_denied(method: str, expected: dict[str, Any]) -> None:
    """Nobody is there to allow it; unanswered it would wait for ever."""
    told = json.loads(refuse(Ask(THREAD, 7, method, {})))
    assert told == {"id": 7, "result": expected}


def test_requests_that_nobody_knows_are_answered() -> None:
    assert json.loads(refuse(Ask("", 7, "attestation/generate", {})))["error"]["code"] == -32601
    assert "denied" in str(json.loads(refuse(Ask("", 7, "execCommandApproval", {}))))


def test_lines_of_the_protocol() -> None:
    assert json.loads(request(1, "x", {"a": "\u2028"})) == {"method": "x", "id": 1, "params": {"a": "\u2028"}}
    assert request(1, "x", {"a": "\u2028\n"}).count(b"\n") == 1
    assert answer(1, {}) == b'{"id":1,"result":{}}\n'
    failed = read_line(b'{"id":1,"error":{"code":-32600,"message":"no rollout found for x"}}')
    assert isinstance(failed, Response)
    assert failed.error is not None
    assert failed.error.kind == "not_found"
    assert read_line(b"not json") is None
    assert read_line(b"[1]") is None


# ---- errors


@pytest.mark.parametrize(
    ("info", "kind"),
    [
        ("contextWindowExceeded", "context_length"),
        ("usageLimitExceeded", "rate_limit"),
        ("rateLimitExceeded", "rate_limit"),
        ("serverOverloaded", "overloaded"),
        ("modelNotFound", "not_found"),
        ("cyberPolicy", "content_blocked"),
        ("unauthorized", "authentication"),
        ("internalServerError", "server_error"),
        ("badRequest", "invalid_request"),
        ("sessionBudgetExceeded", "billing"),
        ("tooManyDenials", "permission"),
        ({"httpConnectionFailed": {"httpStatusCode": 503}}, "overloaded"),
        ({"httpConnectionFailed": {"httpStatusCode": None}}, "connection"),
        ({"responseStreamConnectionFailed": {"httpStatusCode": 401}}, "authentication"),
        ({"responseStreamDisconnected": {"httpStatusCode": None}}, "protocol"),
        ({"responseTooManyFailedAttempts": {"httpStatusCode": 429}}, "rate_limit"),
        ("sandboxError", "unknown"),
        ("somethingNew", "unknown"),
        (None, "unknown"),
        ({"odd": 1}, "unknown"),
    ],
)
def test_kinds_of_errors(info: object, kind: str) -> None:
    error = error_of({"message": "It went wrong.", "codexErrorInfo": info}, {}, NOW)
    assert error.kind == kind


def test_a_used_up_window_says_when_it_ends() -> None:
    limits = {
        "primary": {"usedPercent": 100, "resetsAt": 1795233720},
        "secondary": {"usedPercent": 40, "resetsAt": 1795530120},
    }
    error = error_of({"message": "You've hit your usage limit.", "codexErrorInfo": "usageLimitExceeded"}, limits, NOW)
    assert isinstance(error, RateLimitError)
    assert error.reset_time == datetime(2026, 11, 21, 4, 2, tzinfo=UTC)
    assert error.retry_after == 3720


@pytest.mark.parametrize("apostrophe", ["'", "’"])
def test_reset_times_in_words(apostrophe: str) -> None:
    error = from_words(f"You{apostrophe}ve hit your usage limit. Try again in 5 days 3 hours.", NOW)
    assert isinstance(error, RateLimitError)
    assert error.reset_time == datetime(2026, 11, 26, 6, 0, tzinfo=UTC)
    assert isinstance(from_words("Quota exceeded. Check your plan and billing details.", NOW), BillingError)


def test_an_empty_message() -> None:
    assert "without a message" in from_words("", NOW).message


# ---- whatever comes


def test_unknown_messages_are_kept_for_those_who_want_them() -> None:
    odd = note("item/somethingNew", x=1)
    assert [event for event in said(odd) if isinstance(event, RawEvent)] == []
    assert [type(event) for event in said(odd, raw=True)].count(RawEvent) == 1


def test_other_turns_and_threads_are_not_this_one() -> None:
    other = json.dumps(
        {"method": "item/agentMessage/delta", "params": {"threadId": "x", "turnId": TURN, "delta": "no"}}
    )
    older = note("item/agentMessage/delta", delta="no").replace(TURN.encode(), b"turn-0")
    assert fold(said(other.encode(), older, delta("yes"))).text == "yes"


def test_what_comes_after_the_end_is_the_next_turn_s() -> None:
    turn = decoder()
    turn.decode_lines([BEGIN, END, note("warning", message="w")])
    assert len(turn.rest) == 1


def test_an_interrupted_turn_is_not_whole() -> None:
    events = decoder().decode_lines([BEGIN, delta("x"), END.replace(b'"completed"', b'"interrupted"')])
    assert isinstance(events[-1], StreamError)
    assert isinstance(events[-1].error, IncompleteStreamError)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "type", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
METHODS = [
    *(
        "turn/started",
        "turn/completed",
        "item/started",
        "item/completed",
        "item/agentMessage/delta",
        "error",
        "warning",
    ),
    *("thread/tokenUsage/updated", "rawResponse/completed", "rawResponseItem/completed", "account/rateLimits/updated"),
    *("item/tool/call", "mcpServer/startupStatus/updated", "model/rerouted", "item/reasoning/summaryPartAdded"),
]
FIELDS = ["item", "turn", "delta", "error", "tokenUsage", "usage", "rateLimits", "message", "itemId", "tool", "callId"]


@given(st.lists(st.tuples(st.sampled_from(METHODS), st.dictionaries(st.sampled_from(FIELDS), JSON)), max_size=8))
def test_no_message_makes_it_raise(messages: list[tuple[str, dict[str, Any]]]) -> None:
    turn = decoder(raw=True)
    events = turn.decode_lines([BEGIN, *(note(method, **params) for method, params in messages)])
    events += turn.close(Exit(1, "boom"))
    check_order(events)


KINDS = ["thread.started", "turn.started", "item.started", "item.completed", "turn.completed", "turn.failed", "error"]
ITEMS = ["agent_message", "reasoning", "mcp_tool_call", "command_execution", "file_change", "web_search", "error"]


@given(
    st.lists(
        st.tuples(
            st.sampled_from(KINDS),
            st.sampled_from(ITEMS),
            st.dictionaries(st.sampled_from(["id", "text", "usage", "result", "arguments", "changes", "error"]), JSON),
        ),
        max_size=8,
    )
)
def test_no_line_of_exec_makes_it_raise(lines: list[tuple[str, str, dict[str, Any]]]) -> None:
    run = ExecDecoder(Session(backend="codex", id=""), model="m", before={}, raw=True, clock=lambda: NOW)
    said = [
        json.dumps({"type": kind, "item": {**fields, "type": what}, **fields}).encode() for kind, what, fields in lines
    ]
    events = run.decode_lines(said) + run.close(Exit(0))
    check_order(events)
    assert isinstance(events[-1], Finish | StreamError)


def test_a_decoder_of_a_recording_says_errors_of_the_tree() -> None:
    events = turn_decoder("x").close(Exit(-9))
    last = events[-1]
    assert isinstance(last, StreamError)
    assert isinstance(last.error, LLMError)
