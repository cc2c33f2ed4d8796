"""The file in which Claude Code keeps a session: its name, and what is in it.

`<configuration>/projects/<folder of the work directory>/<id>.jsonl`: a line a message, each with its `uuid` and that of the
one before it. The last line decides where the conversation goes on.
"""

from __future__ import annotations

import msgspec

LONGEST = 200
"""Letters of a folder's name."""

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"


class _Line(msgspec.Struct):
    type: str = ""
    uuid: str = ""
    leafUuid: str | None = None
    isSidechain: bool = False


_decode = msgspec.json.Decoder(_Line).decode


def folder_of(cwd: str) -> str:
    """The name of the folder in `projects` for a work directory, an absolute path without links in it."""
    units = memoryview(cwd.encode("utf-16-le", "surrogatepass")).cast("H")
    name = "".join(chr(unit) if unit < 128 and chr(unit).isalnum() else "-" for unit in units)
    if len(name) <= LONGEST:
        return name
    number = 0
    for unit in units:
        number = (number * 31 + unit) & 0xFFFFFFFF
    number = abs(number - (1 << 32) if number >> 31 else number)
    digits = ""
    while number:
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return f"{name[:LONGEST]}-{digits or '0'}"


def file_name(id: str) -> str:
    return f"{id}.jsonl"


def leaf_of(state: bytes) -> str:
    """The message after which the conversation goes on; "" if there is none."""
    leaf, seen = "", set()
    for raw in state.split(b"\n"):
        line = _read(raw)
        if line is None:
            continue
        if line.type in ("user", "assistant") and not line.isSidechain:
            leaf = line.uuid
            seen.add(leaf)
        elif line.type == "last-prompt" and line.leafUuid in seen:
            leaf = line.leafUuid or ""
    return leaf


def covers(state: bytes, other: bytes) -> bool:
    """Whether every message of `other` is in `state`: nothing is lost where it takes its place."""
    return _messages(other) <= _messages(state)


def _messages(state: bytes) -> set[str]:
    lines = (_read(raw) for raw in state.split(b"\n"))
    return {line.uuid for line in lines if line is not None and line.uuid}


def until(state: bytes, turn: str) -> bytes | None:
    """The session as it was when `turn` was its last message; None if that is not in it."""
    name = f'"uuid":"{turn}"'.encode()
    at = state.find(name)
    while at >= 0:
        start, end = state.rfind(b"\n", 0, at) + 1, state.find(b"\n", at)
        end = len(state) if end < 0 else end
        line = _read(state[start:end])
        if line is not None and line.uuid == turn:
            return state[:end] + b"\n"
        at = state.find(name, end)
    return None


def _read(raw: bytes) -> _Line | None:
    try:
        return _decode(raw) if raw else None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
