"""The lines of `codex exec --json` before 0.44 (`{"id": ..., "msg": {"type": ...}}`), as those of later versions.

Source: openai/codex, `protocol.rs` and the JSON output of its `exec` from 2025-07-17 to 2025-09-30. Deltas and
`session_configured` are in its protocol, and in no line of its `exec`; `task_complete` is in those of the first week alone.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from ...events import IncompleteStreamError, LLMError, RawEvent
from ._steps import Steps
from ._usage import counts_of, usage_of

Line = dict[str, Any]

_RETRYING = re.compile(r"^(?:stream error: )?(.*); retrying (\d+/\d+)\b", re.DOTALL)


class OldLines:
    """What the later lines do not have (deltas, and the usage of each request) goes straight into `steps`.

    `before`: the counts of the thread before this turn, where they are known.
    """

    def __init__(self, steps: Steps, *, before: Mapping[str, int] | None, raw: bool) -> None:
        self._steps = steps
        self._totals = None if before is None else dict(before)
        self._raw = raw
        self._said: dict[str, str] = {}  # by deltas, and by no whole text yet
        self._begun: dict[str, Line] = {}  # the items of calls
        self._trouble = False

    def read(self, event: Line) -> Iterator[Line | LLMError]:
        """A line as lines of today, or as the error with which the turn ends."""
        msg: Line = event["msg"]
        match msg.get("type"):
            case "session_configured":
                yield {"type": "thread.started", "thread_id": msg.get("session_id")}
            case "task_started":
                yield {"type": "turn.started"}
            case "agent_message_delta" | "agent_reasoning_delta" | "agent_reasoning_raw_content_delta" as kind:
                self._delta(kind.removesuffix("_delta"), msg.get("delta"))
            case "agent_reasoning_section_break":
                if self._said.get("agent_reasoning"):
                    self._delta("agent_reasoning", "\n\n")
            case "agent_message":
                yield _completed({"type": "agent_message", "text": self._rest("agent_message", msg.get("message"))})
            case "agent_reasoning" | "agent_reasoning_raw_content" as kind:
                yield _completed({"type": "reasoning", "text": self._rest(kind, msg.get("text"))})
            case "exec_command_begin" | "mcp_tool_call_begin" | "patch_apply_begin":
                self._begun[str(msg.get("call_id"))] = item = _begun(msg)
                yield {"type": "item.started", "item": item}
            case "exec_command_end" | "mcp_tool_call_end" | "patch_apply_end":
                yield _completed((self._begun.pop(str(msg.get("call_id")), None) or _begun(msg)) | _ended(msg))
            case "web_search_end":  # its begin does not say for what
                yield _completed({"type": "web_search", "id": msg.get("call_id"), "query": msg.get("query")})
            case "token_count":
                self._used(msg)
            case "stream_error":
                self._said.clear()
                yield {"type": "error", "message": _again(str(msg.get("message", "")))}
            case "error":
                trouble = {"type": "error", "message": msg.get("message", "")}
                self._trouble = self._trouble or event.get("id") != ""
                yield trouble if event.get("id") != "" else _completed(trouble)  # "": of the start, as of an MCP server
            case "task_complete":
                failed = self._trouble and not isinstance(msg.get("last_agent_message"), str)
                yield {"type": "turn.failed"} if failed else {"type": "turn.completed", "usage": self._totals}
            case "turn_aborted":
                code = reason if isinstance(reason := msg.get("reason"), str) else None
                yield IncompleteStreamError(f"the turn was {code or 'aborted'}", code=code)
            case _:
                if self._raw:
                    self._steps.raw(RawEvent(event))

    def _delta(self, kind: str, delta: object) -> None:
        if isinstance(delta, str):
            self._said[kind] = self._said.get(kind, "") + delta
            (self._steps.say if kind == "agent_message" else self._steps.think)(delta)

    def _rest(self, kind: str, whole: object) -> str:
        """What the deltas have not said of a whole text. One that goes on otherwise is another one."""
        said, text = self._said.pop(kind, ""), whole if isinstance(whole, str) else ""
        if said.startswith(text):  # they were ahead: reasoning becomes whole part by part
            self._said[kind] = said[len(text) :].lstrip("\n")
            return ""
        return text.removeprefix(said)

    def _used(self, msg: Line) -> None:
        """Of one request, and of the thread (until 2025-09-06 only the former). Limits come with counts that were told."""
        info = msg.get("info", msg)
        if not isinstance(info, Mapping):
            return
        total, last = counts_of(info.get("total_token_usage")), counts_of(info.get("last_token_usage", msg))
        before = self._totals
        if total is None and last is not None and before is not None:
            total = {name: before.get(name, 0) + last.get(name, 0) for name in before | last}
        if (total or last) is None or (total is not None and total == before):
            return
        self._totals = total
        self._steps.used(usage_of(last or {}))
        self._steps.request_is_over()


def _completed(item: Line) -> Line:
    return {"type": "item.completed", "item": item}


def _begun(msg: Line) -> Line:
    """The item of a call; also of one whose end alone was told."""
    kind, item = str(msg.get("type")), {"id": msg.get("call_id")}
    if kind.startswith("exec_command"):
        line = shlex.join(map(str, told)) if isinstance(told := msg.get("command", ""), list) else told
        return item | {"type": "command_execution", "command": line}
    if kind.startswith("mcp_tool_call"):
        made = told if isinstance(told := msg.get("invocation"), dict) else msg  # nothing around them at first
        return item | {"type": "mcp_tool_call"} | {name: made.get(name) for name in ("server", "tool", "arguments")}
    changes = told.items() if isinstance(told := msg.get("changes"), dict) else ()
    return item | {"type": "file_change", "changes": [_change(path, change) for path, change in changes]}


def _change(path: str, change: object) -> Line:
    """`{"update": {"unified_diff": ...}}`; that a file is deleted was only a word at first."""
    kind, inner = next(iter(change.items()), ("", None)) if isinstance(change, dict) else (change, None)
    return {"path": path, "kind": kind, "diff": inner.get("unified_diff") if isinstance(inner, dict) else None}


def _ended(msg: Line) -> Line:
    if "exit_code" in msg:
        both = "".join(text for name in ("stdout", "stderr") if isinstance(text := msg.get(name), str))
        return {"aggregated_output": msg.get("aggregated_output") or both, "exit_code": msg["exit_code"]}
    result = msg.get("result")
    if not isinstance(result, dict):
        return {"status": "completed" if msg.get("success") else "failed"}
    if "Err" in result:
        return {"error": {"message": str(result["Err"])}}
    bad = isinstance(told := result.get("Ok"), dict) and bool(told.get("isError", told.get("is_error")))
    return {"result": told, "status": "failed" if bad else "completed"}


def _again(words: str) -> str:
    """As later versions say that they try again."""
    found = _RETRYING.match(words)
    return f"Reconnecting... {found[2]} ({found[1]})" if found is not None else f"Reconnecting... ({words})"
