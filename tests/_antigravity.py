"""The composed streams of `agy`: what is in the files, and how a decoder reads them, cut in any way."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from asyncllm.events import (
    Fold,
    LLMError,
    OrderChecker,
    Reply,
    Session,
    StreamError,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolResult,
)
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.antigravity import StreamDecoder, TextDecoder

FOLDER = Path(__file__).parent / "fixtures" / "agents" / "antigravity"
EXPECTED: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text())
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CONVERSATION = "5f0c8f2e-6f4e-4c4b-9d5a-2b1f7f3a9c11"


class Scenario(msgspec.Struct, frozen=True):
    name: str
    stdout: bytes
    stderr: str
    code: int

    @property
    def expected(self) -> dict[str, Any]:
        return EXPECTED[self.name]

    def decoder(self) -> StreamDecoder | TextDecoder:
        resumed = self.expected.get("resumed")
        if self.expected["interface"] == "text":
            return TextDecoder(model="m", resumed=resumed is not None)
        session = Session(
            backend="antigravity", id="" if resumed is None else CONVERSATION, cwd="/work-dir", data=resumed or {}
        )
        return StreamDecoder(
            model="m", session=session, resumed=resumed is not None, schema=bool(self.expected.get("schema")), now=NOW
        )


def scenario(name: str) -> Scenario:
    def read(kind: str) -> bytes:
        return (FOLDER / f"{name}.{kind}").read_bytes()

    return Scenario(name, read("stdout"), read("stderr").decode(), int(read("exit")))


def decoded(
    found: Scenario, pieces: Iterable[bytes], *, code: int | None = None, stderr: str | None = None
) -> list[StreamEvent]:
    """The events of the pieces, split at newlines as they come, and of the end. Their order is checked, and that of their
    batches: a Finish is the last of a batch only where it is the last of all."""
    decoder, checker = found.decoder(), OrderChecker()
    events: list[StreamEvent] = []

    def take(batch: list[StreamEvent]) -> None:
        for event in batch:
            checker.add(event)
        events.extend(batch)
        assert not batch or decoder.done or type(batch[-1]).__name__ != "Finish"

    rest = b""
    for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        take(decoder.decode_lines(lines))
    exit = Exit(found.code if code is None else code, found.stderr if stderr is None else stderr, rest)
    take(decoder.close(exit))
    checker.close()
    assert decoder.done
    assert decoder.close(exit) == []
    assert decoder.decode_lines([b"{}"]) == []
    return events


def whole(found: Scenario) -> list[StreamEvent]:
    return decoded(found, [found.stdout])


def joined(events: Iterable[StreamEvent]) -> list[Any]:
    """Events, with what comes in pieces put together, and times and errors in a form that can be compared."""
    out: list[Any] = []
    for event in events:
        if isinstance(event, TextDelta) and event.state is None:
            if out and isinstance(out[-1], str):
                out[-1] += event.text
            else:
                out.append(event.text)
        elif isinstance(event, StreamError):
            out.append({**event.error.to_dict(), "reset_time": None, "retry_after": None})
        else:
            out.append(event)
    return out


def reply_of(events: Iterable[StreamEvent]) -> tuple[Reply[object], LLMError | None]:
    fold, error = Fold(), None
    for event in events:
        if isinstance(event, StreamError):
            error = event.error
        else:
            fold.add(event)
    return fold.reply(), error


def said_calls(events: Iterable[StreamEvent]) -> list[Any]:
    return [[event.name, event.arguments] for event in events if isinstance(event, ToolCall)]


def said_results(events: Iterable[StreamEvent]) -> list[ToolResult]:
    return [event for event in events if isinstance(event, ToolResult)]
