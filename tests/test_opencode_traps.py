"""What goes wrong with opencode in ways that no recording has: each of these was, or could have been, lost or said twice."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from _opencode import output
from _opencode_lines import (
    BEGIN,
    IDLE,
    NEXT,
    OWN,
    decoded,
    decoder,
    delta,
    end,
    event,
    failure,
    message,
    part,
    status,
    texts,
    tool,
)

from asyncllm.backends.agents._opencode_events import route
from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    ProtocolError,
    RateLimitError,
    Retrying,
    Session,
    StreamError,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.opencode import _serve
from asyncllm.protocols.opencode._config import READ_ONLY, Access, denied, last_word, session_rules
from asyncllm.protocols.opencode._errors import error_of, exit_error
from asyncllm.protocols.opencode._run import RunDecoder
from asyncllm.protocols.opencode._state import check_id, read_messages, read_rules

pytestmark = pytest.mark.req("seed-A11")

NOW = datetime(2026, 11, 21, 3, 0, tzinfo=UTC)


# ---- errors that are lost


def test_an_error_that_only_the_message_has() -> None:
    """Of a model that gives no JSON, the session says nothing: its answer must not pass for one."""
    error = {"name": "StructuredOutputError", "data": {"message": "Model did not produce structured output"}}
    lines = [part("text", "prt_1", text="Five."), end(), message("msg_2", "assistant", error=error), IDLE]
    assert type(failure(decoded(*BEGIN, *lines, structured=True))).__name__ == "InvalidOutputError"


def test_an_error_between_the_question_and_the_work() -> None:
    error = event("session.error", error={"name": "ProviderAuthError", "data": {"message": "no key"}})
    assert type(failure(decoded(BEGIN[0], error))).__name__ == "AuthenticationError"


def test_the_error_of_the_session_is_the_first_one() -> None:
    first = event("session.error", error={"name": "APIError", "data": {"message": "x", "statusCode": 401}})
    aborted = message("msg_2", "assistant", error={"name": "MessageAbortedError", "data": {}})
    assert type(failure(decoded(*BEGIN, first, aborted, IDLE))).__name__ == "AuthenticationError"


def test_an_error_of_another_session_is_not_ours() -> None:
    child = {"sessionID": "ses_child", "error": {"name": "UnknownError", "data": {"message": "child"}}}
    nobody = {"error": {"name": "UnknownError", "data": {"message": "a plugin"}}}
    lines = [json.dumps({"type": "session.error", "properties": given}).encode() for given in (child, nobody)]
    assert isinstance(decoded(*BEGIN, *lines, part("text", "prt_1", text="Hi"), end(), IDLE)[-1], Finish)


def test_a_run_that_fails_after_its_answer() -> None:
    for exit, kind in ((Exit(1, "Error: disk full"), "UnknownError"), (Exit(0), None), (Exit(-15), None)):
        run = RunDecoder(None, model="m")
        last = (run.decode_lines(output("text").split(b"\n")) + run.close(exit))[-1]
        found = type(last.error).__name__ if isinstance(last, StreamError) else None
        assert found == kind, exit


def test_a_step_without_an_end_is_no_answer() -> None:
    for reason, wanted in (
        ("stop", "stop"),
        ("length", "length"),
        ("unknown", "other"),
        ("content-filter", "content_filter"),
    ):
        last = decoded(*BEGIN, part("text", "prt_1", text="Hi"), end(reason), IDLE)[-1]
        assert isinstance(last, Finish)
        assert last.reason == wanted
    assert isinstance(failure(decoded(*BEGIN, part("text", "prt_1", text="Hi"), IDLE)), IncompleteStreamError)
    late = decoded(*BEGIN, end(), part("step-start", "prt_2"), part("text", "prt_3", text="and"), IDLE)
    assert isinstance(failure(late), IncompleteStreamError)


@pytest.mark.parametrize(
    "words", ["Error: 429 rate limit exceeded", "401 unauthorized", "context window", "overloaded"]
)
def test_standard_error_is_quoted_and_not_interpreted(words: str) -> None:
    error = failure(RunDecoder(None, model="m").close(Exit(1, f"\x1b[91m{words}\x1b[0m")))
    assert type(error).__name__ == "UnknownError"
    assert words in error.message
    quiet = RunDecoder(None, model="m")
    assert isinstance((quiet.decode_lines(output("text").split(b"\n")) + quiet.close(Exit(0, words)))[-1], Finish)


# ---- usage


def test_steps_are_counted_once_and_those_of_others_not() -> None:
    child = json.loads(end(id="prt_child"))
    child["properties"]["sessionID"] = "ses_child"
    other = json.loads(end(id="prt_other", reason="stop"))
    other["properties"]["part"]["messageID"] = "msg_00"  # of an earlier turn
    again = [end("tool-calls"), end("tool-calls"), json.dumps(child).encode(), json.dumps(other).encode()]
    rest = [*NEXT, end("stop", "prt_b", "msg_3", cost=0.25), IDLE]
    events = decoded(*BEGIN, tool("ls", "completed", input={}, output=""), *again, *rest)
    assert [event.cost for event in events if isinstance(event, Usage)] == [0.5, 0.25]
    usage = fold(events).usage
    assert usage is not None
    assert (usage.input_tokens, usage.cost) == (24, 0.75)


def test_what_a_broken_answer_cost_is_counted() -> None:
    error = event("session.error", error={"name": "UnknownError", "data": {"message": "?"}})
    events = decoded(*BEGIN, part("text", "prt_1", text="H"), end("error"), error, IDLE)
    assert [event.input_tokens for event in events if isinstance(event, Usage)] == [12]
    assert isinstance(events[-1], StreamError)


# ---- texts


def test_a_character_cut_in_two_deltas() -> None:
    high, low = (b'{"type":"message.part.delta","properties":{"sessionID":"ses_1","partID":"prt_1","messageID":"msg_2",'
                 b'"field":"text","delta":"%s"}}' % half for half in (b"a\\ud83d", b"\\ude00b"))  # fmt: skip
    whole = part("text", "prt_1", text="a\U0001f600b!")
    events = decoded(*BEGIN, part("text", "prt_1", text=""), high, low, whole, end(), IDLE)
    assert texts(events) == ["a", "\U0001f600b", "!"]
    lost = decoded(*BEGIN, part("text", "prt_1", text=""), high, part("text", "prt_1", text="a\U0001f600"), end(), IDLE)
    assert texts(lost) == ["a", "\U0001f600"]
    assert route(high) == route(low) is not None, "they find their session"
    "".join(texts(decoded(*BEGIN, part("text", "prt_1", text="").replace(b'""', b'"x\\ud83d"'), end(), IDLE))).encode()


def test_a_whole_that_is_shorter_than_its_deltas() -> None:
    """opencode takes spaces off the end."""
    lines = [part("text", "prt_1", text=""), delta("prt_1", "Hi \n"), part("text", "prt_1", text="Hi"), end(), IDLE]
    assert texts(decoded(*BEGIN, *lines)) == ["Hi \n"]


def test_a_large_part() -> None:
    text = "é\u2028" * 3_000_000
    assert texts(decoded(*BEGIN, part("text", "prt_1", text=text), end(), IDLE)) == [text]


def test_json_that_is_too_deep() -> None:
    deep = b'{"type":"message.updated","properties":{"sessionID":"ses_1","info":' + b"[" * 5000 + b"]" * 5000 + b"}}"
    assert route(deep) is None
    assert isinstance(decoded(*BEGIN, deep, end(), IDLE)[-1], Finish)


# ---- tools


def test_a_call_of_ours_that_failed_before_it_came() -> None:
    events = decoded(*BEGIN, tool(f"{OWN}x", "error", input={}, error="no such tool"), end("tool-calls"), own=OWN)
    events += [Finish("other")]
    [call] = [event for event in events if isinstance(event, ToolCall)]
    [result] = [event for event in events if isinstance(event, ToolResult)]
    assert (call.name, call.executed, result.text, result.is_error) == ("x", True, "no such tool", True)


def test_a_call_of_ours_that_failed_before_it_was_parked() -> None:
    turn = decoder(own=OWN)
    events = turn.decode_lines([*BEGIN, tool(f"{OWN}x", "running", input={})])
    events += turn.decode_lines([tool(f"{OWN}x", "error", input={}, error="cancelled")])
    assert turn.calls == {}
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["cancelled"]


def test_a_result_that_comes_while_the_turn_stands_still() -> None:
    turn = decoder(own=OWN)
    first = turn.decode_lines(
        [*BEGIN, tool("read", "running", "r", input={}), tool(f"{OWN}add", "running", "a", input={})]
    )
    check_order([*first, *turn.park()])
    rest = turn.decode_lines([tool("read", "completed", "r", input={}, output="file")])
    assert [type(event).__name__ for event in rest] == ["ToolResult"], "its call was said"
    rest += turn.decode_lines([tool(f"{OWN}add", "completed", "a", input={}, output="2"), end("tool-calls")])
    rest += turn.decode_lines(NEXT)
    rest += turn.decode_lines([end("stop", "prt_f", "msg_3", cost=None), IDLE])
    check_order(rest)
    assert [event.id for event in rest if isinstance(event, ToolResult)] == ["r"]
    assert not [event for event in rest if isinstance(event, ToolCall)]


def test_ids_of_calls_that_are_used_again() -> None:
    again = json.loads(tool("ls", "completed", "c1", input={"n": 2}, output="two"))
    again["properties"]["part"] |= {"id": "prt_other", "messageID": "msg_3"}
    lines = [tool("ls", "completed", "c1", input={"n": 1}, output="one"), end("tool-calls")]
    lines += [*NEXT, json.dumps(again).encode()]
    events = decoded(*BEGIN, *lines, end("stop", "prt_b", "msg_3", cost=None), IDLE)
    assert [event.text for event in events if isinstance(event, ToolResult)] == ["one", "two"]


def test_a_parked_turn_that_does_not_know_where_it_is() -> None:
    run = RunDecoder(None, model="m", own=OWN)
    events = run.call("call_1", "add", {}) + run.park()
    check_order(events)
    assert not [event for event in events if isinstance(event, Session)]
    assert not [event for event in events if isinstance(event, TextDelta)]


# ---- retries and limits


def test_a_retry_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_serve.time, "time", NOW.timestamp)
    until = int(NOW.timestamp() * 1000) + 3_600_000
    limit = {"message": "Free usage exceeded", "next": until, "action": {"reason": "account_rate_limit"}}
    lines = [tool("ls", "completed", input={}, output=""), end("tool-calls"), message("msg_3", "assistant")]
    lines += [status("retry", attempt=1, **limit), part("step-start", "prt_a", "msg_3")]
    events = decoded(*BEGIN, *lines, end("stop", "prt_b", "msg_3", cost=None), IDLE)
    [retrying] = [event for event in events if isinstance(event, Retrying)]
    assert isinstance(retrying.error, RateLimitError)
    assert (retrying.delay, retrying.error.retry_after) == (3600, 3600)
    assert retrying.error.reset_time == datetime(2026, 11, 21, 4, 0, tzinfo=UTC)
    assert len([event for event in events if isinstance(event, StreamStart)]) == 2


@pytest.mark.parametrize(
    ("data", "reset"),
    [
        ({"statusCode": 429, "responseHeaders": {"retry-after": "60"}}, datetime(2026, 11, 21, 3, 1, tzinfo=UTC)),
        ({"statusCode": 429, "message": "limit: resets 3:53am (UTC)"}, datetime(2026, 11, 21, 3, 53, tzinfo=UTC)),
        (
            {"statusCode": 429, "responseBody": '{"error":{"message":"Rate limit. Try again in 2h18m58s"}}'},
            datetime(2026, 11, 21, 5, 18, 58, tzinfo=UTC),
        ),
        ({"statusCode": 429, "message": "slow down"}, None),
    ],
)
def test_when_a_limit_ends(data: dict[str, Any], reset: datetime | None) -> None:
    error = error_of({"name": "APIError", "data": {"message": "", **data}}, now=NOW.timestamp())
    assert isinstance(error, RateLimitError)
    assert error.reset_time == reset
    assert error.retry_after == (None if reset is None else (reset - NOW).total_seconds())


# ---- secrets


def test_secrets_are_not_said() -> None:
    secret = "sk-abcdefghijklmnopqrstuvwxyz0123"
    errors = [exit_error(Exit(1, f"key {secret}"), said=True), exit_error(Exit(0, "", secret.encode()), said=False)]
    for name in ("ProviderAuthError", "SomethingNew", "APIError"):
        errors.append(error_of({"name": name, "data": {"message": f"bad {secret}"}}))
    assert not [error for error in errors if secret in str(error)]
    assert secret not in repr(Access("p", "m", "http://x", secret, {"authorization": secret}))


# ---- sessions and rules


def test_what_a_server_may_say_of_messages() -> None:
    assert read_messages(b'[{"info":{"id":"msg_1"},"parts":[]}]') == ["msg_1"]
    for data in (b"", b"{}", b"[{}]", b"null", b"[" * 5000):
        with pytest.raises(ProtocolError):
            read_messages(data)


def test_ids() -> None:
    assert check_id("ses_e03eeb021ffe3YzFTD9RpLYNY4")
    for id in ("", "-x", "../x", "a/b", "a b", "ses_1\n", "x" * 300):
        with pytest.raises(InvalidRequestError):
            check_id(id)


def test_the_last_word() -> None:
    outside = {"*": "deny", "/x": "allow"}
    rules = {"*": "deny", "bash": "deny", "read": {"*": "allow", "*.env": "deny"}, "external_directory": outside}
    assert last_word(rules) == {"bash": "deny", "read": rules["read"], "external_directory": {"/x": "allow"}}
    assert last_word({"*": "allow"}) == {"*": "allow"}
    assert denied(rules) == {"bash": "deny"}
    said = [(rule["permission"], rule["pattern"], rule["action"]) for rule in session_rules(0, rules)]
    assert said[:3] == [("bash", "*", "deny"), ("read", "*", "allow"), ("read", "*.env", "deny")]
    assert said[-2:] == [("asyncllm*", "*", "deny"), ("StructuredOutput", "*", "allow")]


def test_rules_of_a_session_do_not_add_up() -> None:
    """opencode appends what it is told. What was allowed once must not be allowed for ever, nor the list grow each time."""
    first = session_rules(0, READ_ONLY)
    assert session_rules(0, READ_ONLY, first) == []
    tools = session_rules(2, READ_ONLY, first)
    assert [rule["permission"] for rule in tools] == ["asyncllm*", "StructuredOutput", "asyncllm2_*"]
    assert session_rules(0, READ_ONLY, [*first, *tools]) == first[-2:]
    opened = [*first, *session_rules(0, {"*": "allow"}, first)]
    closed = session_rules(0, READ_ONLY, opened)
    assert closed[0] == {"permission": "*", "pattern": "*", "action": "deny"}
    assert closed[1:] == first
    assert session_rules(0, READ_ONLY, [*opened, *closed]) == []
    foreign = [{"permission": "*", "pattern": "*", "action": "allow"}]
    assert session_rules(0, READ_ONLY, foreign)[0]["action"] == "deny"
    given = json.dumps({"id": "ses_1", "permission": foreign}).encode()
    assert read_rules(given) == foreign
    assert read_rules(b'{"id":"ses_1"}') == read_rules(b'{"permission":[3]}') == read_rules(b"") == []
