"""Recordings of opencode, and what each must come out as."""

from __future__ import annotations

import json
from typing import Any

from _agent_recordings import BRIEFLY, HELLO, TRUNCATED, UNICODE, USING, counted
from _agent_recordings import FOLDER as RECORDED

from asyncllm.events import (
    Finish,
    LLMError,
    RateLimitError,
    Retrying,
    StreamError,
    StreamEvent,
    ToolCall,
    ToolResult,
    check_order,
    fold,
)
from asyncllm.protocols.agents._exit import Exit

FOLDER = RECORDED / "opencode"
NAMES = sorted(path.stem for path in FOLDER.glob("*.cmd"))

ONE = (2112, 42, 2000, 10, 0.000396)
"""Usage of one step of the emulator: 112 of input beside 2000 of the cache, 32 of output beside 10 of reasoning."""
TWO = (4224, 84, 4000, 20, 0.000792)
ADD = ("calc_add", {"a": 17, "b": 25}, "42", False)
CUT = {"error": "IncompleteStreamError"}


def carried(items: int, own: int) -> str:
    return f"This request carried {items} items, {own} from the user."


def good(text: str = HELLO, **more: Any) -> dict[str, Any]:
    return {"text": text, "finish": ("stop", "stop"), "usage": ONE, "steps": 1, **more}


def tools(text: str, *calls: tuple[object, ...]) -> dict[str, Any]:
    return good(text, usage=TWO, steps=2, calls=list(calls))


LIMITED = {"retry_after": 2.0, "reset_time": "2026-11-21T03:01:18.493000+00:00"}
"""Two seconds after the line that says so."""

RUNS: dict[str, dict[str, Any]] = {
    "bad_flag": {"error": "UnknownError"},
    "concurrent_0": good(),
    "concurrent_1": good(),
    "concurrent_2": good(),
    "empty_prompt": {"error": "UnknownError"},
    "err_cut": {**CUT, "retries": 3, "steps": 1},
    "err_cut_300s": {"error": "ConnectionFailedError", "code": "ECONNRESET", "retries": 5, "steps": 1},
    "err_e400": {"error": "InvalidRequestError", "status": 400, "code": "invalid_value"},
    "err_e401": {"error": "AuthenticationError", "status": 401, "code": "invalid_api_key"},
    "err_e429": {"error": "RateLimitError", "status": 429, "code": "rate_limit_exceeded", **LIMITED},
    "err_e429once": good(),
    "err_e500": CUT,
    "err_e500_300s": {"error": "ServerError", "status": 500, "code": "server_error"},
    "err_e529": CUT,
    "err_e529_300s": {"error": "OverloadedError", "status": 529, "code": "overloaded"},
    "err_ectx": {"error": "ContextLengthExceededError", "code": "ContextOverflowError"},
    "err_err_stream": {**CUT, "retries": 3, "steps": 1},
    "err_err_stream_300s": {"error": "ServerError", "code": "server_error", "retries": 5, "steps": 1},
    "err_nomodel": {"error": "NotFoundError", "status": 404, "code": "model_not_found"},
    "err_quota": CUT,
    "err_quota_300s": {"error": "BillingError", "status": 429, "code": "insufficient_quota"},
    "err_refused_300s": {"error": "ConnectionFailedError"},
    "err_refused_connection": CUT,
    "err_trunc": good(TRUNCATED, finish=("length", "length")),
    "err_usage_limit": CUT,
    "kill_SIGINT_bash": {**CUT, "text": USING, "steps": 1},
    "kill_SIGINT_streaming": {**CUT, "steps": 1},
    "kill_SIGKILL_bash_group": {**CUT, "text": USING, "steps": 1},
    "kill_SIGTERM_bash": {**CUT, "text": USING, "steps": 1},
    "kill_SIGTERM_bash_group": {**CUT, "text": USING, "steps": 1},
    "kill_SIGTERM_streaming": {**CUT, "steps": 1},
    "long_output": {"composed": "whole", "finish": ("stop", "stop"), "usage": ONE, "steps": 1},
    "long_output_default": {**CUT, "composed": "plain", "steps": 1},
    "long_output_reader_50ms_0": {**CUT, "composed": "cut", "steps": 1},
    "long_output_reader_50ms_1": {"composed": "whole", "finish": ("stop", "stop"), "usage": ONE, "steps": 1},
    "long_output_reader_50ms_2": {"composed": "whole", "finish": ("stop", "stop"), "usage": ONE, "steps": 1},
    "long_output_slow_reader": {**CUT, "steps": 1},
    "mcp_unreachable": good(),
    "resume_1": good(carried(2, 1)),
    "resume_2": good(carried(4, 2)),
    "resume_fork": good(carried(6, 3)),
    "resume_missing": {"error": "UnknownError"},
    "resume_new_home_after_import": good(carried(8, 4)),
    "resume_otherdir": CUT,
    "run_attach_0": {**CUT, "steps": 1},
    "run_attach_1": {**CUT, "steps": 1},
    "run_attach_2": {**CUT, "steps": 1},
    "stdin_prompt": good(),
    "system_prompt_agent": tools('The tool returned "42"', ADD),
    "text": good(),
    "text_default_format": {"text": HELLO, "finish": ("other", None), "steps": 1},
    "text_pure_title": good(),
    "text_thinking": good(reasoning=BRIEFLY),
    "text_warm": good(),
    "tool_mcp": tools('The tool returned "42"', ADD),
    "tool_mcp_ask": good(
        USING,
        finish=("other", "tool-calls"),
        calls=[(*ADD[:2], "The user rejected permission to use this specific tool call.", True)],
    ),
    "tool_mcp_ask_auto": tools('The tool returned "42"', ADD),
    "tool_mcp_deny": tools(
        "The tool returned \"Model tried to call unavailable tool 'invalid'. Available tools: .\"",
        ("add", ADD[1], "Model tried to call unavailable tool 'invalid'. Available tools: .", True),
    ),
    "tool_mcp_fail": tools(
        'The tool returned "Error executing tool fail"', ("calc_fail", {}, "Error executing tool fail", True)
    ),
    "unicode": good(UNICODE),
    "unknown_model_cfg": {"error": "UnknownError", "code": "UnknownError"},
    "unknown_provider": {"error": "UnknownError", "code": "UnknownError"},
}

SERVED: dict[str, list[dict[str, Any]]] = {
    "serve_abort": [
        {
            "error": "IncompleteStreamError",
            "code": "MessageAbortedError",
            "text": "word0 word1 ",
            "reasoning": BRIEFLY,
            "steps": 1,
        }
    ],
    "serve_concurrent": [good(reasoning=BRIEFLY) for _ in range(3)],
    "serve_err_e401": [{"error": "AuthenticationError", "status": 401, "code": "invalid_api_key"}],
    "serve_err_e529_retry": [{**CUT, "retries": 3}],
    "serve_text_2turns": [good(carried(2, 1), reasoning=BRIEFLY), good(carried(4, 2), reasoning=BRIEFLY)],
    "serve_tool_mcp": [{**tools('The tool returned "42"', ADD), "reasoning": BRIEFLY}],
}
"""One row a turn, in the order of their sessions."""

OTHERS = ("export", "export_long_pipe", "import_new_home")
"""Recordings of something else than turns."""

LONG = " ".join(f"word{n}" for n in range(22_500))


def _long(name: str) -> bytes:
    """What the recording had, whose output was too large to be kept: the same events, and as many bytes."""
    part = {"messageID": "msg_1", "sessionID": "ses_1"}
    lines = [
        {"type": "step_start", "sessionID": "ses_1", "part": {**part, "id": "prt_1", "type": "step-start"}},
        {"type": "text", "sessionID": "ses_1", "part": {**part, "id": "prt_2", "type": "text", "text": LONG}},
        json.loads((FOLDER / "text.stdout").read_bytes().splitlines()[-1]) | {"sessionID": "ses_1"},
    ]
    lines[-1]["part"] |= part
    data = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    match RUNS[name]["composed"]:
        case "whole":
            return data
        case "cut":
            return data[:196_858]
        case _:
            return LONG.encode()[:131_072]


def output(name: str) -> bytes:
    path = FOLDER / f"{name}.stdout"
    return path.read_bytes() if path.exists() else _long(name)


def ended(name: str) -> tuple[int, str]:
    """The exit code, and standard error."""
    return int((FOLDER / f"{name}.exit").read_text()), (FOLDER / f"{name}.stderr").read_text()


def exit_of(name: str) -> Exit:
    code, stderr = ended(name)
    return Exit(code, stderr, output(name).rpartition(b"\n")[2])


def plain(name: str) -> bool:
    return "default" in name


def served(name: str) -> list[bytes]:
    """The events that the server has sent, as JSON."""
    lines = (FOLDER / f"{name}.sse").read_text().split("\n")
    return [line.partition(" ")[2].encode() for line in lines if line]


def sessions(name: str) -> list[str]:
    found = (json.loads(line)["properties"].get("sessionID") for line in served(name))
    return list(dict.fromkeys(id for id in found if id))


def row_of(events: list[StreamEvent]) -> dict[str, Any]:
    """What events come out as, in the form of the rows: what there is none of is left out."""
    check_order(events)
    reply = fold(events)
    row: dict[str, Any] = {}
    parts = [part for event in events if isinstance(part := event, ToolCall | ToolResult)]
    results = {part.id: part for part in parts if isinstance(part, ToolResult)}
    texts = "".join(part for part in (reply.text,))
    calls = [
        (part.name, part.arguments, results[part.id].text, results[part.id].is_error)
        for part in parts
        if isinstance(part, ToolCall) and part.executed
    ]
    if (usage := counted(reply)) is not None:
        cost = None if usage.cost is None else round(usage.cost, 9)
        row["usage"] = (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens, usage.reasoning_tokens, cost)
    last = events[-1]
    if isinstance(last, Finish):
        row["finish"] = (last.reason, last.raw)
    elif isinstance(last, StreamError):
        row |= error_row(last.error)
    retries = sum(isinstance(event, Retrying) for event in events)
    row |= {"text": texts, "reasoning": reply.reasoning, "steps": reply.steps, "calls": calls, "retries": retries}
    return {name: value for name, value in row.items() if value not in ("", [], 0, None)}


def error_row(error: LLMError) -> dict[str, Any]:
    row: dict[str, Any] = {
        "error": type(error).__name__,
        "status": error.status,
        "code": error.code,
        "retry_after": error.retry_after,
    }
    if isinstance(error, RateLimitError) and error.reset_time is not None:
        row["reset_time"] = error.reset_time.isoformat()
    return {name: value for name, value in row.items() if value is not None}


def expected(row: dict[str, Any]) -> dict[str, Any]:
    wanted = {name: value for name, value in row.items() if name != "composed"}
    match row.get("composed"):
        case "whole":
            wanted["text"] = LONG
        case "plain":
            wanted["text"] = LONG[:131_072]
    return wanted
