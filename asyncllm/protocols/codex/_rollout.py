"""The file in which Codex keeps a thread (its rollout): JSON lines, of which the first describes the thread.

A thread that was forked, or whose last turn was taken back, is a file that goes on from so many bytes of another one. Source:
files that codex 0.169.0 wrote. What is changed here is a copy, never the file itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from .._json import to_json
from .._request import Tool
from ..agents._words import parse_line
from ._requests import dynamic_tool
from ._usage import counts_of

_ORDINAL = re.compile(rb'^(\{"timestamp":"[^"]{1,40}","ordinal":)\d+')

_SCANNED = 1024 * 1024
"""Bytes of the end of a file among which the last counts are looked for."""


def totals_in(data: bytes) -> dict[str, int] | None:
    """The counts of the whole thread that were written last."""
    for line in reversed(data[-_SCANNED:].split(b"\n")):
        if b'"token_count"' in line:
            payload = _object(line).get("payload")
            info = payload.get("info") if isinstance(payload, dict) else None
            counts = counts_of(info.get("total_token_usage")) if isinstance(info, dict) else None
            if counts is not None:
                return counts
    return None


def last_turn(data: bytes) -> str:
    """The turn that was begun last."""
    for line in reversed(data.split(b"\n")):
        if b'"task_started"' in line:
            payload = _object(line).get("payload")
            if isinstance(payload, dict) and isinstance(turn := payload.get("turn_id"), str):
                return turn
    return ""


def tools_in(data: bytes) -> list[object]:
    """The tools that the thread was begun with."""
    payload = _object(data.partition(b"\n")[0]).get("payload")
    tools = payload.get("dynamic_tools") if isinstance(payload, dict) else None
    return list(tools) if isinstance(tools, list) else []


def same_tools(data: bytes, tools: Sequence[Tool]) -> bool:
    return msgspec.json.encode(tools_in(data)) == msgspec.json.encode([dynamic_tool(tool) for tool in tools])


def base_of(data: bytes) -> tuple[str, int] | None:
    """What this file goes on from: the id with which the name of the other file ends, and how many bytes of it."""
    payload = _object(data.partition(b"\n")[0]).get("payload")
    base = payload.get("history_base") if isinstance(payload, dict) else None
    if not isinstance(base, dict):
        return None
    id, end = base.get("thread_id"), base.get("end_byte_offset")
    return (id, end) if isinstance(id, str) and isinstance(end, int) else None


def joined(base: bytes, end: int, data: bytes) -> bytes:
    """The file and what it goes on from as one, which may go on from another in its turn."""
    _, _, rest = data.partition(b"\n")
    id, former = _id(data), _id(base)
    first, _, before = base[:end].partition(b"\n")
    if id and former and id != former:
        before = before.replace(former.encode(), id.encode())
        described = _object(first)  # what it goes on from keeps its name
        described["payload"] |= {"id": id, "session_id": id}
        first = to_json(described).encode()
    lines = (first + b"\n" + before + rest).split(b"\n")
    return b"\n".join(_ORDINAL.sub(rb"\g<1>%d" % at, line) for at, line in enumerate(lines))


def _id(data: bytes) -> str:
    payload = _object(data.partition(b"\n")[0]).get("payload")
    id = payload.get("id") if isinstance(payload, dict) else None
    return id if isinstance(id, str) else ""


def has_turn(data: bytes, turn: str) -> bool:
    return not turn or turn.encode() in data


def copied(data: bytes, id: str, new: str, *, tools: Sequence[Tool] | None = None, through: str = "") -> bytes:
    """The same conversation as another thread. `tools`: those that it is to have. `through`: the last turn that it keeps."""
    lines = data.split(b"\n")
    if through:
        lines = _through(lines, through)
    if tools is not None and (first := _object(lines[0])) and isinstance(payload := first.get("payload"), dict):
        payload["dynamic_tools"] = [dynamic_tool(tool) for tool in tools]
        lines[0] = to_json(first).encode()
    return b"\n".join(lines).replace(id.encode(), new.encode())


def _through(lines: list[bytes], turn: str) -> list[bytes]:
    for at, line in enumerate(lines):
        if turn.encode() in line and (b'"task_complete"' in line or b'"turn_aborted"' in line):
            return [*lines[: at + 1], b""]
    return lines


def _object(line: bytes) -> dict[str, Any]:
    value = parse_line(line)
    return value if isinstance(value, dict) else {}
