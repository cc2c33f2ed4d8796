"""The events of one answer, for people (text) or for programs (one JSON object a line)."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Protocol

import msgspec

from ..events import (
    Audio,
    Citation,
    File,
    Image,
    InvalidOutputError,
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
    ToolProgress,
    ToolResult,
    Usage,
    event_to_json,
    has_content,
)
from ._approve import Approver
from ._describe import call_line, name_of, progress_line, result_lines
from ._terminal import Screen

_ENDINGS = {
    "length": "cut at the output limit (--max-tokens)",
    "content_filter": "stopped by the provider's content filter",
    "tool_calls": "the model wants its tool calls answered",
    "error": "the provider stopped with an error",
}

_STOPS = {"max_steps": "stopped before the answer, at the limit of steps (--max-steps)"}


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
    """The answer on stdout as it comes; reasoning, tools, retries and a summary on stderr."""

    def __init__(self, screen: Screen, approver: Approver | None = None) -> None:
        self._screen = screen
        self._approver = approver
        self._unasked: dict[str, ToolCall] = {}
        """Calls that were not shown yet: the approver shows them when it asks."""
        self._began = time.perf_counter()
        self._first: float | None = None
        self._tools = Tools()

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
                self._say(text)
            case ReasoningDelta(text=text):
                screen.aside(text)
            case ToolCall():
                self._call(event)
            case ToolProgress():
                screen.status(progress_line(event))
            case ToolResult():
                self._result(event)
            case Image() | Audio() | File():
                kind = event.media_type if not isinstance(event, Audio) else event.format
                screen.note(f"{type(event).__name__.lower()}: {kind}, {len(event.data or b'')} bytes")
            case Citation(url=url, title=title):
                screen.note(f"source: {' '.join(filter(None, (title, url)))}")
            case Retrying(error=InvalidOutputError() as error):
                screen.note(f"{error}; the model is asked to mend it")
            case Retrying(attempt=attempt, delay=delay, error=error):
                screen.note(f"{error}; retry {attempt} in {delay:.1f} s")
            case StreamStart(warnings=warnings):
                for warning in warnings:
                    screen.note(f"warning: {warning}", dim=False)
            case _:  # fragments of calls, usage, and how it ends are told whole, at the end
                pass

    def _say(self, text: str) -> None:
        self._screen.answer(text)

    def _call(self, call: ToolCall) -> None:
        if self._approver is None or call.executed or call.invalid:
            self._screen.note(call_line(call))
        else:
            self._unasked[call.id] = call

    def _result(self, result: ToolResult) -> None:
        call = self._unasked.pop(result.id, None)
        if call is not None and self._approver is not None:
            if result.id not in self._approver.shown:  # there is no such tool: nobody was asked
                self._screen.note(call_line(call))
            self._approver.shown.discard(result.id)
        self._tools.add(result)
        self._screen.notes(list(result_lines(result)))

    def fail(self, error: LLMError) -> None:
        """The command says it, with what to do about it."""

    def end(self, reply: Reply[object] | None) -> None:
        self._screen.end_line()
        if reply is not None:
            self._screen.note(summary(reply, self._began, self._first, time.perf_counter(), self._tools))


class OutputView(TextView):
    """For `--schema`: the answer once it is known to fit. Text that belongs to no answer is shown beside it."""

    def __init__(self, screen: Screen, approver: Approver | None = None) -> None:
        super().__init__(screen, approver)
        self._said: list[str] = []
        self._length = 0

    def _say(self, text: str) -> None:
        self._said.append(text)
        self._length += len(text)
        self._screen.status(f"answering: {self._length:,} characters")

    def _show(self, event: StreamEvent) -> None:
        if isinstance(event, ToolCall | Retrying):
            self._aside()
        super()._show(event)

    def _aside(self) -> None:
        text = "".join(self._said)
        self._forget()
        self._screen.aside(text)
        self._screen.end_line()

    def _forget(self) -> None:
        self._said.clear()
        self._length = 0

    def fail(self, error: LLMError) -> None:
        self._aside()

    def end(self, reply: Reply[object] | None) -> None:
        if reply is not None and reply.stopped is None:
            text = msgspec.json.encode(reply.output)
            if self._screen.out.isatty():
                text = msgspec.json.format(text)
            self._screen.answer(text.decode("utf-8", "replace") + "\n")
        else:
            self._aside()
        super().end(reply)


class Tools:
    """Which tools a run has used, and how often."""

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()

    def add(self, result: ToolResult) -> None:
        self._used[result.name] += 1
        self._failed[result.name] += result.is_error

    def __str__(self) -> str:
        return ", ".join(self._times(name, count) for name, count in self._used.items())

    def _times(self, name: str, count: int) -> str:
        failed = self._failed[name]
        often = f" x{count}" if count > 1 else ""
        if not failed:
            return f"{name_of(name)}{often}"
        return f"{name_of(name)}{often} ({failed if count > 1 else ''}{' ' if count > 1 else ''}failed)"


def summary(reply: Reply[object], began: float, first: float | None, ended: float, tools: Tools | None = None) -> str:
    """Speed, usage, and the end if it was not the usual one. Times are those of one clock, in seconds.

    Of several steps: how many, the tools they used, and how long it all took instead of the speed.
    """
    facts: list[str] = []
    usage = reply.usage
    used = str(tools or "")
    several = reply.steps > 1 or bool(used)
    if several:
        facts.append(f"{reply.steps} step{'s' if reply.steps != 1 else ''} in {ended - began:.1f} s")
        if used:
            facts.append(f"tools: {used}")
    if first is not None:
        facts.append(f"first token {first - began:.2f} s")
        count, unit = (
            (usage.output_tokens, "tokens") if usage else (len(reply.text) + len(reply.reasoning), "characters")
        )
        if count and ended > first and not several:
            facts.append(f"{count / (ended - first):.0f} {unit}/s")
    if usage is not None:
        facts.append(_usage(usage))
        if usage.cost is not None:
            facts.append(f"${usage.cost:.6f}".rstrip("0").rstrip("."))
    if reply.refusal is not None:
        facts.append("the model refused")
    if reply.stopped is not None:
        facts.append(_STOPS.get(reply.stopped, f"stopped: {reply.stopped}"))
    elif reply.finish_reason != "stop":
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
