"""What `agy` is started with: its command line, its prompt, its settings."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Literal

from msgspec import Struct

from ...events import InvalidRequestError, Text
from .._history import schema_prompt
from .._json import to_json
from .._request import ReasoningEffort, Request
from ..agents._turn import GONE, Turn

ARGUMENT_LIMIT = 120 * 1024
"""Bytes of one argument: Linux takes 128 KiB."""

Interface = Literal["print", "stdin", "text"]

EFFORTS: dict[ReasoningEffort, str] = {
    "minimal": "low",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "max",
    "max": "max",
}


class Command(Struct, frozen=True, kw_only=True):
    """How it is driven. `print`: the prompt is the value of -p, and events come back; `stdin`: events both ways; `text`: the
    answer and nothing else, which every version can."""

    interface: Interface = "print"
    model: str = ""
    conversation: str = ""
    add_dirs: tuple[str, ...] = ()
    sandbox: bool = True
    mode: str | None = None
    skip_permissions: bool = False
    effort: str | None = None
    schema: str | None = None
    timeout: float | None = None
    extra: tuple[str, ...] = ()


def arguments(command: Command, prompt: str) -> list[str]:
    """The command line after the program. The prompt comes last: -p takes whatever follows it."""
    given: list[str] = []
    for flag, value in (
        ("--model", command.model),
        ("--conversation", command.conversation),
        ("--mode", command.mode),
        ("--effort", command.effort),
        ("--json-schema", command.schema if command.interface != "text" else None),
    ):
        if value:
            given += [flag, value]
    for directory in command.add_dirs:
        given += ["--add-dir", directory]
    if command.skip_permissions:
        given.append("--dangerously-skip-permissions")
    elif command.sandbox:
        given.append("--sandbox")
    if command.interface != "stdin" and command.timeout is not None:
        given += ["--print-timeout", f"{max(1, round(command.timeout))}s"]
    if command.interface != "text":
        given += ["--output-format", "stream-json"]
    if command.interface == "stdin":
        return [*given, "--input-format", "stream-json", *command.extra]
    return [*given, *command.extra, "-p", prompt]


def user_line(prompt: str) -> bytes:
    """What the user says, for `--input-format stream-json`."""
    content = [{"type": "text", "text": prompt}]
    return to_json({"event": "user", "message": {"role": "user", "content": content}}).encode() + b"\n"


def plain_prompt(turn: Turn, *, told: str = "", interface: Interface = "print") -> tuple[str, tuple[str, ...]]:
    """All that is said to the agent, as one text, and warnings. `told` is :func:`system_key` of the instructions that the
    conversation has had already: there is no other place for them."""
    pieces: list[str] = []
    warnings: list[str] = []
    if turn.system and system_key(turn.system) != told:
        pieces.append(f"Instructions for this conversation:\n{turn.system}")
    if turn.results:
        warnings.append(GONE)
        pieces += [f"[result of {result.name}] {result.text}" for result in turn.results]
    for part in turn.parts:
        if not isinstance(part, Text):
            raise InvalidRequestError(f"antigravity takes only text in a prompt, and no {type(part).__name__.lower()}")
        pieces.append(part.text)
    if turn.request.output is not None and interface == "text":
        pieces.append(schema_prompt(turn.request.output))
    prompt = "\n\n".join(pieces)
    if not prompt.strip():
        raise InvalidRequestError("antigravity: the prompt is empty")
    if "\0" in prompt and interface != "stdin":
        raise InvalidRequestError(
            "antigravity: the prompt has a NUL, which no command line takes: interface='stdin' does"
        )
    return prompt, tuple(warnings)


def too_long(prompt: str) -> bool:
    """Whether it does not fit in an argument."""
    return len(prompt.encode("utf-8", "replace")) > ARGUMENT_LIMIT


def system_key(system: str | None) -> str:
    """A name for instructions, to be kept instead of them."""
    return hashlib.sha256(system.encode("utf-8", "replace")).hexdigest()[:16] if system else ""


def effort_of(request: Request) -> tuple[str | None, tuple[str, ...]]:
    """`--effort`, and what has to be said about it."""
    wanted = request.reasoning
    if wanted is None:
        return None, ()
    if isinstance(wanted, int) or wanted == "none":
        return None, (f"antigravity knows no reasoning={wanted!r}: left out",)
    effort = EFFORTS[wanted]
    return effort, () if effort == wanted else (f"antigravity knows no reasoning={wanted!r}: {effort!r} instead",)


def settings_file(
    *, key: bool, servers: Sequence[str] = (), own: Mapping[str, object] | None = None
) -> dict[str, object]:
    """settings.json of a HOME that is ours: which provider, and that the servers it was given may be used. `key`: it is to
    use an API key (GEMINI_API_KEY alone says nothing to it)."""
    found: dict[str, object] = {"modelProvider": "gemini"} if key else {}
    if servers:
        found["permissions"] = {"allow": [f"mcp({name}/*)" for name in servers]}
    return {**found, **(own or {})}


def schema_of(request: Request) -> str | None:
    return None if request.output is None else json.dumps(request.output.schema)
