"""Recordings of the Codex CLI: what each must become, and what came of it.

What stands in the table was read from the recordings by eye, and from the rules of the field: a failure is never an answer,
usage is that of the turn, a call that was not allowed is a result that says so.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, NamedTuple

from _agent_recordings import BRIEFLY, HELLO, NOW, TRUNCATED, UNICODE, USING, counted
from _agent_recordings import FOLDER as RECORDED

from asyncllm.events import (
    Finish,
    LLMError,
    Reply,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    ToolCall,
    ToolResult,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.codex._exec_decode import ExecDecoder
from asyncllm.protocols.codex._rpc import Note, read_line
from asyncllm.protocols.codex._turn_decode import TurnDecoder

__all__ = ["NOW"]

FOLDER = RECORDED / "codex"
META = (
    "Model metadata for `gpt-5.2-codex` not found. Defaulting to fallback metadata; this can degrade performance and cause "
    "issues."
)
BWRAP = (
    "Codex could not find bubblewrap on PATH. Install bubblewrap with your OS package manager. See the sandbox prerequisites: "
    "https://developers.openai.com/codex/concepts/sandboxing#prerequisites. Codex will use the bundled bubblewrap in the "
    "meantime."
)


class Fault(NamedTuple):
    """The error with which a turn ends."""

    name: str
    status: int | None = None
    code: str | None = None
    request_id: str | None = None
    reset_time: datetime | None = None
    says: str = ""


class Row(NamedTuple):
    """What one turn of a recording is. `usage`: input, output, cache reads, reasoning. `reasoning`: of the last step."""

    text: str = HELLO
    reasoning: str = BRIEFLY
    steps: int = 1
    calls: tuple[tuple[str, dict[str, object], bool], ...] = ()
    results: tuple[tuple[str, bool], ...] = ()
    usage: tuple[int, int, int, int] | None = (2112, 42, 2000, 10)
    finish: str | None = "stop"
    warnings: tuple[str, ...] = (META,)
    retries: tuple[str, ...] = ()
    fault: Fault | None = None
    thread: str = ""
    before: dict[str, int] | None = None
    """The counts of the turns before, for a thread that is gone on with."""


def failed(fault: Fault, *, text: str = "", reasoning: str = "", **more: Any) -> Row:
    return Row(text=text, reasoning=reasoning, usage=None, finish=None, fault=fault, **more)


def at(hour: int, minute: int) -> datetime:
    return datetime(2026, 11, 21, hour, minute, tzinfo=UTC)


DOUBLE = (4224, 84, 4000, 20)
ADDED: dict[str, object] = {"a": 17, "b": 25}
CUT = Fault("IncompleteStreamError", says="stream disconnected before completion")
DEMAND = Fault("ServerError", says="experiencing high demand")
FULL = Fault("ContextLengthExceededError", says="ran out of room")
WORD = {"text": "word0 ", "reasoning": BRIEFLY}
FIRST = (BWRAP, META)
BASH = {
    "text": USING,
    "reasoning": BRIEFLY,
    "calls": (("command_execution", {"command": "/bin/bash -lc 'sleep 120'"}, True),),
}
SETTING = (
    "Codex is ignoring 1 unrecognized configuration setting. Check for typos or deprecated settings.\n"
    "  session-flags: `{}` is ignored."
)
LOST_MCP = "an MCP server is not there: http://127.0.0.1:9/mcp"


def gone(how: str) -> Fault:
    return Fault("IncompleteStreamError", says=f"codex ended before its turn was over ({how})")


def called(
    text: str, result: str, *, tool: str = "add", arguments: dict[str, object] = ADDED, bad: bool = False
) -> Row:
    return Row(
        text=text,
        steps=2,
        calls=((f"mcp__calc__{tool}", arguments, True),),
        results=((result, bad),),
        usage=DOUBLE,
    )


EXEC: dict[str, Row] = {
    "bad_flag": failed(Fault("InvalidRequestError", says="unexpected argument '--no-such-flag'"), steps=0, warnings=()),
    "base_instructions": Row(warnings=(SETTING.format("base_instructions"), META)),
    **{f"concurrent_{n}": Row() for n in range(6)},
    "cut_default": failed(CUT, reasoning=BRIEFLY, steps=6, retries=("IncompleteStreamError",) * 5),
    "ephemeral": Row(),
    "err_429_default": failed(Fault("RateLimitError", 429, None, "req_emu_e0f54366"), retries=("RateLimitError",) * 5),
    "err_429_once": Row(retries=("RateLimitError",)),
    "err_500_default": failed(DEMAND, retries=("ServerError",) * 5),
    "err_cut_retries1": failed(CUT, reasoning=BRIEFLY, steps=2, retries=("IncompleteStreamError",)),
    "err_e400_retries1": failed(Fault("InvalidRequestError", 400, "invalid_value", says="something is malformed")),
    "err_e401_retries1": failed(
        Fault("AuthenticationError", 401, None, "req_emu_9dec3d8a", says="Incorrect API key"),
        retries=("AuthenticationError",),
    ),
    "err_e429_retries1": failed(Fault("RateLimitError", 429, None, "req_emu_8c036d62"), retries=("RateLimitError",)),
    "err_e500_retries1": failed(DEMAND, retries=("ServerError",)),
    "err_e503_retries1": failed(Fault("OverloadedError", says="at capacity")),
    "err_e529_retries1": failed(Fault("OverloadedError", 529, None, "req_emu_43a34563"), retries=("OverloadedError",)),
    "err_ectx_retries1": failed(FULL),
    "err_err_ctx_stream_retries1": failed(FULL),
    "err_err_stream_retries1": failed(Fault("ServerError", says="The server had an error"), retries=("ServerError",)),
    "err_quota_retries1": failed(Fault("BillingError", says="Quota exceeded")),
    "err_refused_connection": failed(gone("signal 9"), retries=("ConnectionFailedError",) * 4),
    "err_refused_connection_bounded": failed(
        Fault("ConnectionFailedError", says="Connection failed"), retries=("ConnectionFailedError",)
    ),
    "err_trunc_retries1": failed(
        Fault("MaxOutputTokensError", says="max_output_tokens"),
        text=TRUNCATED,
        reasoning=BRIEFLY,
    ),
    "err_unknown_model": failed(
        Fault("NotFoundError", says="`no-such-model`"), warnings=(META.replace("gpt-5.2-codex", "no-such-model"),)
    ),
    "err_usage_limit_retries1": failed(Fault("RateLimitError", reset_time=at(3, 55), says="hit your usage limit")),
    **{f"kill_SIGINT_{what}": failed(gone("exit code 1"), **BASH) for what in ("bash", "bash_group")},
    **{f"kill_SIGKILL_{what}": failed(gone("signal 9"), **BASH) for what in ("bash", "bash_group")},
    **{f"kill_SIGTERM_{what}": failed(gone("signal 15"), **BASH) for what in ("bash", "bash_group")},
    "kill_SIGINT_streaming": failed(gone("exit code 1"), reasoning=BRIEFLY),
    "kill_SIGTERM_streaming": failed(gone("signal 15"), reasoning=BRIEFLY),
    "kill_SIGTERM_mcp_tool": failed(
        gone("signal 15"),
        text=USING,
        reasoning=BRIEFLY,
        calls=(("mcp__calc__slow", {"seconds": 30}, True),),
    ),
    "mcp_unreachable": Row(warnings=(LOST_MCP, META)),
    "mcp_unreachable_required": failed(
        Fault("ConnectionFailedError", says="required MCP servers"), steps=0, warnings=()
    ),
    "model_instructions_file": Row(),
    "no_key": failed(Fault("AuthenticationError", says="EMU_API_KEY")),
    "no_skip_git": failed(Fault("InvalidRequestError", says="Not inside a trusted directory"), steps=0, warnings=()),
    "openai_base_url_cfg": Row(
        retries=("NotFoundError",) * 4,
        warnings=(
            META,
            "Falling back from WebSockets to HTTPS transport. unexpected status 404 Not Found: not emulated, "
            "url: ws://127.0.0.1:8901/s/text/v1/responses",
        ),
    ),
    "openai_base_url_env": failed(gone("signal 9"), retries=("ConnectionFailedError",) * 4),
    "output_last": Row(),
    "output_schema": Row(),
    "plain": failed(Fault("ProtocolError", says="not JSON"), steps=0, warnings=()),
    "rate_limit_headers_ok": Row(),
    "resume_1": Row(
        text="This request carried 4 items, 2 from the user.", thread="01a1fc05-d768-74b3-984b-d90d0f15032f"
    ),
    "resume_2": Row(
        text="This request carried 7 items, 3 from the user.",
        thread="01a1fc05-d768-74b3-984b-d90d0f15032f",
        before={"input_tokens": 2112, "cached_input_tokens": 2000, "output_tokens": 42, "reasoning_output_tokens": 10},
    ),
    "resume_otherdir": Row(
        text="This request carried 11 items, 5 from the user.",
        thread="01a1fc05-d768-74b3-984b-d90d0f15032f",
        before={"input_tokens": 4224, "cached_input_tokens": 4000, "output_tokens": 84, "reasoning_output_tokens": 20},
    ),
    "resume_new_home_copied_rollout": Row(
        text="This request carried 16 items, 7 from the user.",
        thread="01a1fc05-d768-74b3-984b-d90d0f15032f",
        before={"input_tokens": 6336, "cached_input_tokens": 6000, "output_tokens": 126, "reasoning_output_tokens": 30},
    ),
    "resume_missing": failed(Fault("NotFoundError", says="no rollout found"), steps=0, warnings=()),
    "stdin_prompt": Row(),
    "text": Row(),
    "text_lean_no_builtin_tools": Row(warnings=(SETTING.format("tools.view_image"), META)),
    "tool_mcp": called('The tool returned "Wall time: 0.0066 seconds\\nOutput:\\n{\\"result\\":42}"', "42"),
    "tool_mcp_approved": called('The tool returned "Wall time: 0.0044 seconds\\nOutput:\\n{\\"result\\":42}"', "42"),
    "tool_mcp_fail": called(
        'The tool returned [{"type": "input_text", "text": "Wall time: 0.0059 seconds\\nOutput:"}, '
        '{"type": "input_text", "text": "Error executing tool fail"}]',
        "Error executing tool fail",
        tool="fail",
        arguments={},
        bad=True,
    ),
    "tool_mcp_readonly_default": called(
        'The tool returned [{"type": "input_text", "text": "Wall time: 0.0030 seconds\\nOutput:"}, '
        '{"type": "input_text", "text": "MCP tool call requires approval, but approval policy is never"}]',
        "MCP tool call requires approval, but approval policy is never",
        bad=True,
    ),
    "unicode": Row(text=UNICODE),
    "wire_api_chat": failed(Fault("InvalidRequestError", says="no longer supported"), steps=0, warnings=()),
}
"""One row for each recording of `codex exec`."""


def typed(name: str, code: str, **more: Any) -> list[Row]:
    return [failed(Fault(name, code=code, **more), warnings=FIRST)]


def mcp(seconds: str) -> Row:
    row = called(f'The tool returned "Wall time: {seconds} seconds\\nOutput:\\n{{\\"result\\":42}}"', "42")
    return row._replace(warnings=FIRST)


APP: dict[str, list[Row]] = {
    "appserver_concurrent_threads": [
        Row(warnings=FIRST, thread="01a1fc0d-c953-7101-b5b2-fd2f3bc306b1"),
        Row(warnings=FIRST, thread="01a1fc0d-c974-7f53-bff3-c27164e38eab"),
        Row(warnings=FIRST, thread="01a1fc0d-c985-7461-bcf2-43301d66dec7"),
    ],
    "appserver_dynamic_tool": [
        Row(
            text='The tool returned "42"',
            steps=2,
            calls=(("add", ADDED, False),),
            usage=DOUBLE,
            warnings=FIRST,
        )
    ],
    "appserver_err_cut": [failed(CUT, text="Hello, this is a scripted", reasoning=BRIEFLY, warnings=FIRST)],
    "appserver_err_e401": typed(
        "AuthenticationError", "httpConnectionFailed", status=401, request_id="req_emu_2af200f1"
    ),
    "appserver_err_e429": typed(
        "RateLimitError", "responseTooManyFailedAttempts", status=429, request_id="req_emu_031cf1e7"
    ),
    "appserver_err_e503": typed("OverloadedError", "serverOverloaded"),
    "appserver_err_ectx": typed("ContextLengthExceededError", "contextWindowExceeded"),
    "appserver_err_nomodel": typed("NotFoundError", "modelNotFound"),
    "appserver_err_quota": typed("BillingError", "usageLimitExceeded"),
    "appserver_err_trunc": [
        failed(
            Fault("MaxOutputTokensError", says="max_output_tokens"),
            text=TRUNCATED,
            reasoning=BRIEFLY,
            warnings=FIRST,
        )
    ],
    "appserver_err_usage_limit": typed("RateLimitError", "usageLimitExceeded", reset_time=at(4, 2)),
    "appserver_interrupt": [
        failed(Fault("IncompleteStreamError", code="interrupted", says="interrupted"), warnings=FIRST, **WORD)
    ],
    "appserver_no_tools_lean": [Row(warnings=(SETTING.format("tools.view_image"), BWRAP, META))],
    "appserver_rate_limit_headers": [Row(warnings=FIRST)],
    "appserver_resume": [
        Row(
            text="This request carried 10 items, 4 from the user.",
            thread="01a1fc0d-aef3-70e1-a6d4-703be42132aa",
            warnings=(
                BWRAP,
                "Full-history hydration is deprecated for paginated threads; use `excludeTurns: true`, then page with "
                "`thread/turns/list` and `thread/items/list`.",
                META,
            ),
        )
    ],
    "appserver_sigterm_midturn": [failed(gone("exit code 0"), warnings=FIRST, **WORD)],
    "appserver_text": [Row(warnings=FIRST), Row()],
    "appserver_text_2turns": [
        Row(text="This request carried 4 items, 2 from the user.", warnings=FIRST),
        Row(text="This request carried 7 items, 3 from the user."),
    ],
    "appserver_tool_mcp": [mcp("0.0101")],
    "appserver_tool_mcp_per_thread_config": [mcp("0.0055")],
}
"""The turns of each recording of the app-server, in the order in which they were begun."""


# ---- recordings


def lines_of(name: str) -> tuple[list[bytes], bytes]:
    *lines, tail = (FOLDER / f"{name}.stdout").read_bytes().split(b"\n")
    return lines, tail


def exit_of(name: str) -> Exit:
    code = int((FOLDER / f"{name}.exit").read_text().split()[0])
    return Exit(code, (FOLDER / f"{name}.stderr").read_text(), lines_of(name)[1])


def exec_decoder(row: Row) -> ExecDecoder:
    session = Session(backend="codex", id=row.thread if row.before else "", cwd="/w")
    return ExecDecoder(session, model="m", before=row.before or {}, clock=lambda: NOW)


def turn_decoder(thread: str) -> TurnDecoder:
    session = Session(backend="codex", id=thread, cwd="/w")
    return TurnDecoder(session, model="m", tools=("add",), clock=lambda: NOW)


def turns_of(lines: list[bytes]) -> list[tuple[str, list[bytes]]]:
    """The thread of each turn, and the lines from which on it is said."""
    found: list[tuple[str, list[bytes]]] = []
    since: dict[str, int] = {}
    order: list[str] = []
    for number, line in enumerate(lines):
        match read_line(line):
            case Note(method="thread/started", thread=thread):
                order.append(thread)
            case Note(method="turn/started", thread=thread):
                found.append((thread, lines[since.get(thread, 0) :]))
            case Note(method="turn/completed", thread=thread):
                since[thread] = number + 1
    return sorted(found, key=lambda turn: order.index(turn[0]) if turn[0] in order else 0)


def fed(decoder: TurnDecoder | ExecDecoder, batches: list[list[bytes]]) -> list[StreamEvent]:
    """The events of these lines; a turn that waits for our tools stands still at once."""
    events: list[StreamEvent] = []
    for lines in batches:
        for line in lines if isinstance(decoder, TurnDecoder) else [None]:
            events += decoder.decode_lines([line] if line is not None else lines)
            if isinstance(decoder, TurnDecoder) and decoder.asked:
                decoder.asked.clear()
                events += decoder.park()
    return events


# ---- what came of it


def told(events: list[StreamEvent]) -> Row:
    """A turn's events as a row of the table."""
    check_order(events)
    reply = fold(events)
    parts = [part for message in reply.messages for part in message.parts]
    calls = tuple((part.name, part.arguments or {}, part.executed) for part in parts if isinstance(part, ToolCall))
    results = tuple((part.text, part.is_error) for part in parts if isinstance(part, ToolResult))
    errors = [event.error for event in events if isinstance(event, StreamError)]
    return row_of(
        reply,
        calls=calls,
        results=results,
        warnings=warnings_of(events),
        retries=tuple(type(event.error).__name__ for event in events if isinstance(event, Retrying)),
        error=errors[0] if errors else None,
    )


def warnings_of(events: list[StreamEvent]) -> tuple[str, ...]:
    said = [text for event in events if isinstance(event, StreamStart) for text in event.warnings]
    for event in events:
        if isinstance(event, Finish) and event.details:
            late = event.details["warnings"]
            assert isinstance(late, list)
            said += late
    return tuple(said)


def row_of(reply: Reply[object], *, error: LLMError | None = None, **rest: Any) -> Row:
    usage = counted(reply)
    return Row(
        text=reply.text,
        reasoning=reply.reasoning,
        steps=reply.steps,
        usage=usage and (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.reasoning_tokens),
        finish=reply.finish_reason if error is None else None,
        fault=error
        and Fault(
            type(error).__name__,
            error.status,
            error.code,
            error.request_id,
            getattr(error, "reset_time", None),
            error.message,
        ),
        **rest,
    )


def agrees(found: Row, expected: Row) -> None:
    """Raises AssertionError, with the difference."""
    said, says = found.fault, expected.fault
    if said is not None and says is not None:
        assert says.says in said.says
        found = found._replace(fault=said._replace(says=says.says))
    assert found == expected._replace(thread="", before=None)
