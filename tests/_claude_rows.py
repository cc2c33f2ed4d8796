"""Recordings of Claude Code 2.1.197: what each must become.

What stands in the table was read from the recordings by eye, and from the rules of the field: a failure is never an answer,
usage and cost come from the result, a call that was not allowed is a result that says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from _agent_recordings import BRIEFLY, HELLO, TRUNCATED, UNICODE, USING

ADD: tuple[str, dict[str, object]] = ("mcp__calc__add", {"a": 17, "b": 25})
SLEEP: tuple[str, dict[str, object]] = ("Bash", {"command": "sleep 120", "description": "sleep"})
ONE, TWO, FOUR = (2112, 42, 0.001641), (4224, 84, 0.003282), (8448, 168, 0.006564)
DENIED = (
    "Permission to use mcp__calc__add has been denied because Claude Code is running in don't ask mode. IMPORTANT: You *may* "
    "attempt to accomplish this action using other tools that might naturally be used to accomplish this goal, e.g. using "
    "head instead of cat. But you *should not* attempt to work arou"
)


class Fault(NamedTuple):
    """The error with which a turn ends."""

    name: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    reset_time: datetime | None = None
    retryable: bool = False
    says: str = ""


class Row(NamedTuple):
    """What one turn of a recording is. `usage`: input, output, cost. `reasoning`: of the last step. `session`: how its id
    begins; `turn`: how the name of its last message does."""

    text: str = HELLO
    reasoning: str = BRIEFLY
    steps: int = 1
    calls: tuple[tuple[str, dict[str, object]], ...] = ()
    results: tuple[tuple[str, bool], ...] = ()
    usage: tuple[int, int, float] | None = ONE
    finish: str | None = "stop"
    session: str = ""
    turn: str = ""
    warnings: tuple[str, ...] = ()
    retries: tuple[tuple[str, int | None], ...] = ()
    fault: Fault | None = None


def refused(says: str) -> Row:
    """It does not like its command line, or what it is told, and says nothing but why."""
    return failed(Fault("InvalidRequestError", says=says))


def failed(fault: Fault, *, retries: tuple[tuple[str, int | None], ...] = ()) -> Row:
    """Nothing of an answer came."""
    return Row("", "", 0, usage=None, finish=None, retries=retries, fault=fault)


def broken(text: str, fault: Fault, *, usage: tuple[int, int, float] | None = None, **more: Any) -> Row:
    """Something of an answer came."""
    return Row(text, usage=usage, finish=None, fault=fault, **more)


def told(text: str, session: str, turn: str) -> Row:
    return Row(text, session=session, turn=turn)


def called(
    says: str,
    result: str,
    session: str,
    turn: str = "",
    *,
    call: tuple[str, dict[str, object]] = ADD,
    bad: bool = False,
) -> Row:
    """A tool was called, and a second step says what it returned."""
    text = f"The tool returned {says}"
    return Row(text, steps=2, calls=(call,), results=((result, bad),), usage=TWO, session=session, turn=turn)


def asleep(fault: Fault, session: str, **more: Any) -> Row:
    """It broke off while a command was running."""
    return broken(USING, fault, calls=(SLEEP,), session=session, **more)


def limited(requests: int, last: int) -> str:
    return f"This request carried {requests} messages, {last} from the user."


INTERRUPTED = Fault("IncompleteStreamError", code="aborted_streaming", says="interrupted")
KILLED = Fault("IncompleteStreamError", retryable=True, says="signal 9")
TERMINATED = Fault("IncompleteStreamError", retryable=True, says="exit code 143")
CUT = Fault("IncompleteStreamError", code="server_error", retryable=True, says="Connection closed mid-response")
WORDS = "word0 word1 word2 word3 word4 "
MISSING = Fault("NotFoundError", code="error_during_execution", says="No conversation found with session ID")


def limit(request: str) -> Fault:
    return Fault("RateLimitError", 429, "rate_limit", request, None, True, "rate limit of 50 requests per minute")


ROWS: dict[str, tuple[Row, ...]] = {
    "bad_flag": (refused("unknown option '--no-such-flag'"),),
    "cachebreak_append_system": (Row(session="b5b8f275", turn="f4fc0b84"),),
    "concurrent_0": (Row(session="e9c49fe3", turn="16aaa22b"),),
    "concurrent_1": (Row(session="cc47b816", turn="73be01d8"),),
    "concurrent_2": (Row(session="5c8f8fa5", turn="5c0d6583"),),
    "concurrent_3": (Row(session="bbb8d9b0", turn="355f7063"),),
    "control_sdk_mcp": (called('[{"type": "text", "text": "42"}]', "42", "711ea549"),),
    "cut_stream": (broken("Hello, this is a scripted", CUT, session="ba90e560"),),
    "cut_stream_retries0": (broken("Hello, this is a scripted", CUT, session="fe9c0586"),),
    "empty_prompt": (refused("Input must be provided either through stdin or as a prompt argument"),),
    "err_400": (
        failed(
            Fault("InvalidRequestError", 400, "unknown", "req_emu_83962a71", says="messages: something is malformed")
        ),
    ),
    "err_401": (
        failed(
            Fault("AuthenticationError", 401, "authentication_failed", "req_emu_8bd8aa7f", says="Invalid API key"),
            retries=(("AuthenticationError", 401),),
        ),
    ),
    "err_401_defaultretries": (failed(KILLED, retries=(("AuthenticationError", 401),) * 7),),
    "err_403": (
        failed(Fault("PermissionDeniedError", 403, "authentication_failed", "req_emu_d3cca1a7", says="disabled")),
    ),
    "err_429_default_20s": (failed(KILLED, retries=(("RateLimitError", 429),) * 5),),
    "err_429_once_recovers": (Row(session="be0eedf4", turn="2b028d08", retries=(("RateLimitError", 429),)),),
    "err_429_retries0": (failed(limit("req_emu_56077b80")),),
    "err_429_retries1": (failed(limit(""), retries=(("RateLimitError", 429),)),),
    "err_500_retries1": (
        failed(
            Fault("ServerError", 500, "server_error", "req_emu_7e09911c", None, True, "Internal server error"),
            retries=(("ServerError", 500),),
        ),
    ),
    "err_529_default_45s": (failed(KILLED, retries=(("OverloadedError", 529),) * 7),),
    "err_529_retries1": (
        failed(
            Fault("OverloadedError", 529, "server_error", "req_emu_65de3358", None, True, "529 Overloaded"),
            retries=(("OverloadedError", 529),),
        ),
    ),
    "err_context": (
        failed(
            Fault("ContextLengthExceededError", 400, "invalid_request", "req_emu_9de08302", says="Prompt is too long")
        ),
    ),
    "err_in_stream": (
        broken(
            "partial",
            Fault("OverloadedError", None, "unknown", "req_emu_120", None, True, "Overloaded"),
            session="33b3ded9",
        ),
    ),
    "err_no_credentials": (failed(Fault("AuthenticationError", code="authentication_failed", says="Not logged in")),),
    "err_quota_billing": (
        failed(Fault("BillingError", 400, "billing_error", "req_emu_3ef78128", says="Credit balance is too low")),
    ),
    "err_refused_connection": (
        failed(
            Fault("ConnectionFailedError", None, "server_error", retryable=True, says="Unable to connect to API"),
            retries=(("ConnectionFailedError", None),),
        ),
    ),
    "err_unknown_model": (
        failed(Fault("NotFoundError", 404, "model_not_found", "req_emu_916d930c", says="no-such-model")),
    ),
    "json_err_401": (failed(Fault("AuthenticationError", 401, says="Invalid API key")),),
    "json_schema": (Row(steps=2, usage=TWO, session="d07faab5", turn="39212fa9"),),
    "kill_SIGINT_bash": (
        asleep(
            Fault("IncompleteStreamError", code="aborted_tools", says="interrupted"),
            "eff9e16d",
            usage=ONE,
            results=(("The user doesn't want to proceed", True),),
        ),
    ),
    "kill_SIGINT_streaming": (broken(WORDS, INTERRUPTED, session="f50746b1"),),
    "kill_SIGKILL_bash": (asleep(KILLED, "e5f5c7ee"),),
    "kill_SIGKILL_bash_group": (asleep(KILLED, "15012dd8"),),
    "kill_SIGTERM_bash": (asleep(TERMINATED, "374d663e", results=(("", True),)),),
    "kill_SIGTERM_bash_group": (
        called('"Exit code 137"', "Exit code 137", "65f7fd26", "5f7a938f", call=SLEEP, bad=True),
    ),
    "kill_SIGTERM_streaming": (broken(WORDS + "word5 word6 ", TERMINATED, session="de10ee30"),),
    "max_turns": (
        broken(
            USING,
            Fault("UnknownError", code="error_max_turns", says="Reached maximum number of turns (1)"),
            usage=ONE,
            calls=(ADD,),
            results=(('{"result":42}', False),),
            session="806db28a",
        ),
    ),
    "mcp_unreachable": (
        Row(
            session="e038b46e",
            turn="1526b9ab",
            warnings=("the MCP server 'calc' could not be reached: its tools are not there",),
        ),
    ),
    "no_session_persistence": (Row(session="947fbd74", turn="5c339442"),),
    "no_verbose": (refused("--output-format=stream-json requires --verbose"),),
    "oauth_401": (
        failed(
            Fault("AuthenticationError", 401, "authentication_failed", "req_emu_fc69756d", says="Not logged in"),
            retries=(("AuthenticationError", 401),),
        ),
    ),
    "oauth_text": (Row(session="d82d7f60", turn="bc8a4b21"),),
    "resume_1": (told(limited(1, 1), "11111111", "8c7ab4cf"),),
    "resume_2": (told(limited(3, 2), "11111111", "ec1bca6b"),),
    "resume_by_path": (told(limited(5, 3), "11111111", "f1ac5fb6"),),
    "resume_fork": (told(limited(5, 3), "3cc56a00", "c0784910"),),
    "resume_missing": (failed(MISSING),),
    "resume_new_home_copied_jsonl": (told(limited(5, 3), "11111111", "28e7c72d"),),
    "resume_otherdir": (failed(MISSING),),
    "session_id_reused": (refused("is already in use"),),
    "stdin_open_no_data": (Row(session="81f0c73c", turn="5a39f885"),),
    "stream_input_2turns": (
        told(limited(1, 1), "778f83d0", "99c80df6"),
        told(limited(3, 2), "778f83d0", "069761bd"),
    ),
    "stream_input_badjson": (refused("Error parsing streaming input line"),),
    "stream_input_interrupt": (
        broken(WORDS, INTERRUPTED, session="9e4d1f50"),
        told("".join(f"word{number} " for number in range(60)), "9e4d1f50", "5f37e595"),
    ),
    "stream_input_replay": (
        told(limited(1, 1), "9a2ae689", "28d5b21e"),
        told(limited(3, 2), "9a2ae689", "bcb405cf"),
    ),
    "sub_rate_limit_rejected": (
        failed(
            Fault(
                "RateLimitError",
                429,
                "rate_limit",
                "req_emu_ba9d4825",
                datetime(2026, 11, 21, 3, 53, 55, tzinfo=UTC),
                True,
                "You've hit your session limit",
            )
        ),
    ),
    "sub_rate_limit_warning": (Row(session="f6f3a4d6", turn="b82a3c98"),),
    "text": (Row(session="07bf7401", turn="a5c42979"),),
    "text_bare": (Row(session="57c9611c", turn="8d059621"),),
    "text_err_401": (failed(Fault("AuthenticationError", says="Invalid API key")),),
    "text_json": (Row(reasoning="", session="7dff40ad"),),
    "text_partial": (Row(session="69a1558b", turn="e389e2c4"),),
    "text_plain": (Row(reasoning="", usage=None),),
    "text_stdin_prompt": (Row(session="8fdba642", turn="ee778fb0"),),
    "tool_mcp": (called('"{\\"result\\":42}"', '{"result":42}', "6ff2dc37", "485d0d4a"),),
    "tool_mcp_bypass": (called('"{\\"result\\":42}"', '{"result":42}', "f10ba992", "8ce5e9f9"),),
    "tool_mcp_bypass_root_nosandbox": (refused("--dangerously-skip-permissions cannot be used with root"),),
    "tool_mcp_default_noallow": (
        called(
            '"Claude requested permissions to use mcp__calc__add, but you haven\'t granted it yet."',
            "but you haven't granted it yet",
            "ec35e0d9",
            bad=True,
        ),
    ),
    "tool_mcp_denied": (called(f'"{DENIED}', "has been denied", "f830ec51", bad=True),),
    "tool_mcp_fail": (
        called(
            '"Error executing tool fail"',
            "Error executing tool fail",
            "7a94d2a4",
            call=("mcp__calc__fail", {}),
            bad=True,
        ),
    ),
    "trunc_max_tokens": (
        broken(
            TRUNCATED,
            Fault("MaxOutputTokensError", code="max_output_tokens", says="32000 output token maximum"),
            usage=FOUR,
            steps=4,
            session="e7207756",
        ),
    ),
    "unicode": (told(UNICODE, "18491dba", "1d6a4639"),),
    # too long to be kept: composed in the same form
    "long_output": (Row("word " * 40_000, "", usage=ONE, session="aaaaaaaa", turn="cccccccc"),),
    "long_output_partial_slow_reader": (Row("word " * 40_000, "", session="aaaaaaaa", turn="cccccccc"),),
}

PLAIN: dict[str, Literal["json", "text"]] = {
    "text_json": "json",
    "json_err_401": "json",
    "text_plain": "text",
    "text_err_401": "text",
}
"""Recordings of the other forms of output."""
