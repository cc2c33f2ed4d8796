"""Turns of Claude Code in its own form, and what its decoder makes of them."""

from __future__ import annotations

from typing import Any, Literal

from _claude import NOW
from _claude_program import (
    begins,
    block,
    init,
    line,
    result,
    stops,
    text,
)

from asyncllm.events import (
    Session,
    StreamError,
    StreamEvent,
    check_order,
)
from asyncllm.protocols import Tool
from asyncllm.protocols.agents._exit import Exit
from asyncllm.protocols.claude_code import Desk, OutputDecoder, StreamDecoder

__all__ = ["NOW"]

TOOLS = [Tool("add", "Add", {"type": "object"})]
SAID = begins() + text("Hello.") + block({"type": "text", "text": "Hello."}) + stops()


def decoder(**options: Any) -> StreamDecoder:
    return StreamDecoder(Session(backend="claude-code", id=""), desk=Desk(TOOLS), clock=lambda: NOW, **options)


def said(*lines: bytes, **options: Any) -> list[StreamEvent]:
    """A turn's events."""
    found = decoder(**options)
    events = found.decode_lines(b"".join((init(), *lines)).split(b"\n"))
    assert found.done
    check_order(events)
    return events


def of(events: list[StreamEvent], kind: Any) -> list[Any]:
    return [event for event in events if isinstance(event, kind)]


def failure(*lines: bytes) -> Any:
    last = said(*lines)[-1]
    assert isinstance(last, StreamError)
    return last.error


def synthetic(words: str, word: str) -> bytes:
    message = {"id": "x", "role": "assistant", "model": "<synthetic>", "content": [{"type": "text", "text": words}]}
    return line("assistant", message=message, error=word, uuid="s-1")


def failed(words: str = "API Error", **fields: Any) -> bytes:
    return result(words, **{"is_error": True, "tokens": 0, "cost": 0, **fields})


def limit(status: str, **fields: Any) -> bytes:
    return line("rate_limit_event", rate_limit_info={"status": status, **fields})


def retry(status: int | None, word: str = "unknown") -> bytes:
    fields = {"attempt": 2, "retry_delay_ms": 1500, "error_status": status, "error": word}
    return line("system", subtype="api_retry", **fields)


def whole(form: Literal["json", "text"], output: bytes, exit: Exit) -> list[StreamEvent]:
    """What comes of an output that is said at once."""
    found = OutputDecoder(Session(backend="claude-code", id=""), form, clock=lambda: NOW)
    *lines, tail = output.split(b"\n")
    events = [*found.decode_lines(lines), *found.close(Exit(exit.code, exit.stderr, tail))]
    check_order(events)
    return events
