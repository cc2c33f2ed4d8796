"""The events of one answer, for people (text) or for programs (one JSON object a line)."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Protocol

from ..events import (
    Audio,
    Citation,
    File,
    Image,
    LLMError,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Retrying,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
    event_to_json,
    has_content,
)
from ._terminal import Screen

_ENDINGS = {
    "length": "cut at the output limit (--max-tokens)",
    "content_filter": "stopped by the provider's content filter",
    "tool_calls": "the model wants its tool calls answered",
    "error": "the provider stopped with an error",
}


class View(Protocol):
    """Shows one answer: batches as they come, then `end`, whatever happened, with the Reply if it is whole."""

    def show(self, batch: Sequence[StreamEvent]) -> None: ...

    def fail(self, error: LLMError) -> None: ...

    def end(self, reply: Reply[object] | None) -> None: ...


class JSONView:
    """Every event as one line on stdout; a failure is the last of them."""

    def show(self, batch: Sequence[StreamEvent]) -> None:
        sys.stdout.buffer.write(b"".join(event_to_json(event) + b"\n" for event in batch))
        sys.stdout.buffer.flush()

    def fail(self, error: LLMError) -> None:
        self.show([StreamError(error)])

    def end(self, reply: Reply[object] | None) -> None:
        pass


class TextView:
    """The answer on stdout as it comes; reasoning, tool calls, retries and a summary on stderr."""

    def __init__(self, screen: Screen) -> None:
        self._screen = screen
        self._began = time.perf_counter()
        self._first: float | None = None

    def show(self, batch: Sequence[StreamEvent]) -> None:
        if self._first is None and has_content(batch):
            self._first = time.perf_counter()
        for event in batch:
            self._show(event)
        self._screen.flush()

    def _show(self, event: StreamEvent) -> None:
        screen = self._screen
        match event:
            case TextDelta(text=text) | RefusalDelta(text=text):
                screen.answer(text)
            case ReasoningDelta(text=text):
                screen.aside(text)
            case ToolCall(name=name, invalid=invalid):
                wrong = f" is invalid: {invalid}" if invalid else ""
                screen.note(f"tool call: {name}({event.raw_arguments or event.arguments}){wrong}")
            case ToolResult(name=name, is_error=is_error):
                screen.note(f"tool {'error' if is_error else 'result'}: {name}: {event.text}")
            case Image() | Audio() | File():
                kind = event.media_type if not isinstance(event, Audio) else event.format
                screen.note(f"{type(event).__name__.lower()}: {kind}, {len(event.data or b'')} bytes")
            case Citation(url=url, title=title):
                screen.note(f"source: {' '.join(filter(None, (title, url)))}")
            case Retrying(attempt=attempt, delay=delay, error=error):
                screen.note(f"{error}; retry {attempt} in {delay:.1f} s")
            case StreamStart(warnings=warnings):
                for warning in warnings:
                    screen.note(f"warning: {warning}", dim=False)
            case _:  # fragments of calls, usage and the finish are told whole, at their end
                pass

    def fail(self, error: LLMError) -> None:
        """The command says it, with what to do about it."""

    def end(self, reply: Reply[object] | None) -> None:
        self._screen.end_line()
        if reply is not None:
            self._screen.note(summary(reply, self._began, self._first, time.perf_counter()))


def summary(reply: Reply[object], began: float, first: float | None, ended: float) -> str:
    """Speed, usage, and the end if it was not the usual one. Times are those of one clock, in seconds."""
    facts: list[str] = []
    usage = reply.usage
    if first is not None:
        facts.append(f"first token {first - began:.2f} s")
        count, unit = (
            (usage.output_tokens, "tokens") if usage else (len(reply.text) + len(reply.reasoning), "characters")
        )
        if count and ended > first:
            facts.append(f"{count / (ended - first):.0f} {unit}/s")
    if usage is not None:
        facts.append(_usage(usage))
        if usage.cost is not None:
            facts.append(f"${usage.cost:.6f}".rstrip("0").rstrip("."))
    if reply.refusal is not None:
        facts.append("the model refused")
    if reply.finish_reason != "stop":
        facts.append(
            _ENDINGS.get(reply.finish_reason or "", f"finished: {reply.raw_finish_reason or reply.finish_reason}")
        )
    return " · ".join(facts)


def _usage(usage: Usage) -> str:
    inside = [(usage.cache_read_tokens, "cached"), (usage.cache_write_tokens, "written to the cache")]
    cached = ", ".join(f"{count} {what}" for count, what in inside if count)
    thought = f"{usage.reasoning_tokens} reasoning" if usage.reasoning_tokens else ""
    return (
        f"{usage.input_tokens} tokens in{f' ({cached})' if cached else ''}"
        f", {usage.output_tokens} out{f' ({thought})' if thought else ''}{', estimated' if usage.estimated else ''}"
    )
