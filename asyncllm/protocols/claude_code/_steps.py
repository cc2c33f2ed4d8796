"""The steps of a turn: each is a message of the model, decoded like an answer of the Messages API."""

from __future__ import annotations

from typing import Any

from ...events import (
    Finish,
    FinishReason,
    Image,
    IncompleteStreamError,
    Retrying,
    StreamError,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    UnknownError,
    Usage,
)
from .._decoder import MessageFrame
from .._finish import finish_reason
from ..anthropic._decode import MessagesDecoder
from ._control import Desk

_FRAME = MessageFrame("")


class _Message(MessagesDecoder):
    """One message, in the events of the API or in whole blocks."""

    blocks = 0

    def take(self, event: dict[str, Any]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        if not self.done:
            self._event(event, "", _FRAME, events)
        return events

    def take_block(self, block: dict[str, Any]) -> list[StreamEvent]:
        events = self.take({"type": "content_block_start", "index": self.blocks, "content_block": block})
        events += self.take({"type": "content_block_stop", "index": self.blocks})
        self.blocks += 1
        self._turn.settle(events)  # a call without arguments: nothing more is said of it
        return events


class Steps:
    """The message under way, and what the turn has said so far.

    Attributes:
        open: a step has begun and not ended.
        id, model: of the last message.
        raw: why it ended, in the model's word.
    """

    def __init__(self, model: str, desk: Desk, warnings: tuple[str, ...], *, provider: str) -> None:
        self.open = False
        self.id = ""
        self.model = model
        self.raw: str | None = None
        self._desk = desk
        self._provider = provider
        self._warnings = warnings
        self._message: _Message | None = None
        self._text: list[str] = []
        self._called = False  # a tool, in this step
        self._ids: set[str] = set()  # of the calls of this step
        self._indices: dict[str, int] = {}  # of the calls of our tools, in this step
        self._open_calls: dict[str, ToolCall] = {}  # that the program answers itself, and has not yet
        self._unsaid: dict[str, ToolCall] = {}  # calls that make no sense, of which nobody was told
        self._early: dict[str, tuple[str | list[Text | Image], bool]] = {}  # results of calls that are being said
        self._broken = 0

    def warn(self, warning: str) -> None:
        """To be told with the next step."""
        if warning not in self._warnings:
            self._warnings = (*self._warnings, warning)

    @property
    def text(self) -> str:
        """Of the last message."""
        return "".join(self._text)

    @property
    def speaking(self) -> bool:
        """Whether the model is in the middle of a message. (Where messages come in whole blocks, nobody knows.)"""
        return self._message is not None and not self._message.done and not self._message.blocks

    # ---- a message

    def begin(self, model: object, id: object, events: list[StreamEvent]) -> None:
        """A step begins; the one before it is over."""
        if self.open:
            broken = self._broke_off()
            self._cut(events)
            reason = "error" if broken else "tool_calls" if self._called else finish_reason(self.raw)
            self.end(reason, self.raw, events)
            if broken:
                self._broken += 1
                error = IncompleteStreamError("the answer broke off, and is asked for again", provider=self._provider)
                events.append(Retrying(self._broken, 0.0, error))
        self.open = True
        self.id = id if isinstance(id, str) else ""
        self.model = model if isinstance(model, str) and model else self.model
        self.raw, self._called, self._indices, self._text = None, False, {}, []
        self._ids = set()
        self._message = _Message(model=self.model, provider=self._provider)
        warnings, self._warnings = self._warnings, ()
        events.append(StreamStart(self.model, self.id, self._provider, warnings))

    def take(self, event: dict[str, Any], events: list[StreamEvent]) -> None:
        """An event of the API."""
        if self._message is not None and self.open:
            self._say(self._message.take(event), events)

    def take_block(self, block: dict[str, Any], events: list[StreamEvent]) -> None:
        """A whole block of the message."""
        if self._message is not None:
            self._say(self._message.take_block(block), events)

    def end(self, reason: FinishReason, raw: str | None, events: list[StreamEvent]) -> None:
        self.open = False
        self._message = None
        events.append(Finish(reason, raw))

    def abandon(self, events: list[StreamEvent]) -> None:
        """The turn failed."""
        self._cut(events)
        self.open = False

    def _cut(self, events: list[StreamEvent]) -> None:
        """What the model did not say to its end."""
        if self._message is not None and self.speaking:
            self._say(self._message.fail(UnknownError()), events)

    def _say(self, said: list[StreamEvent], events: list[StreamEvent]) -> None:
        for event in said:
            match event:
                case (
                    StreamStart() | StreamError() | Usage()
                ):  # the step has begun; its end, and the usage, come otherwise
                    pass
                case Finish(raw=raw):
                    self.raw = raw
                case ToolCallDelta():
                    if (name := self._desk.ours(event.name)) is not None:
                        index = self._indices.setdefault(event.id, len(self._indices))
                        events.append(ToolCallDelta(index, event.id, name, event.arguments))
                case ToolCall():
                    self._call(event, events)
                case TextDelta(text=text):
                    self._text.append(text)
                    events.append(event)
                case _:
                    events.append(event)

    def _broke_off(self) -> bool:
        """Whether the message has no end, and nothing was done about it. (Of whole blocks nobody knows.)"""
        message = self._message
        return message is not None and not message.blocks and self.raw is None and not self._called

    # ---- tools

    def _call(self, call: ToolCall, events: list[StreamEvent]) -> None:
        """A call of a tool of the API's, of the program's, or of ours."""
        if call.id in self._ids:
            return
        if not call.executed:
            name = self._desk.ours(call.name)
            native = name is None
            call = ToolCall(call.id, name or call.name, call.arguments, call.raw_arguments, call.invalid, None, native)
            if native and call.invalid:
                self._unsaid[call.id] = call  # it is not run, and if the answer was cut, nobody says so
                self._take_early(call.id, events)
                return
            if native or call.invalid:
                self._open_calls[call.id] = call
            else:
                self._desk.say(call)
            self._called = True
        self._ids.add(call.id)
        events.append(call)
        self._take_early(call.id, events)

    def _take_early(self, id: str, events: list[StreamEvent]) -> None:
        if (early := self._early.pop(id, None)) is not None:
            self.result(id, *early, events)

    def result(self, id: str, content: str | list[Text | Image], failed: bool, events: list[StreamEvent]) -> None:
        """The program has a result of a call. It is said if it is the program that made it. What it does not allow, it says
        as soon as the call is whole, before the model's message says so."""
        if (call := self._unsaid.pop(id, None)) is not None:
            if not self.open or id in self._ids:
                return
            events.append(call)
            self._ids.add(id)
            self._called = True
        call = call or self._open_calls.pop(id, None) or self._desk.settle(id)
        if call is not None:
            events.append(ToolResult(call.id, call.name, content, failed))
        elif self.speaking:
            self._early[id] = (content, failed)

    def denied(self, id: str, events: list[StreamEvent]) -> None:
        """The program says at the end that it did not allow a call. Mostly there was a result that said so."""
        if (call := self._open_calls.get(id)) is not None:
            self.result(id, f"the permission to use {call.name} was denied", True, events)

    def park(self, events: list[StreamEvent]) -> None:
        """The turn stands still until our tools have answered."""
        for call in self._desk.unsaid:
            if not self.open or call.id in self._ids:
                self.begin(self.model, "", events)
            self._desk.say(call)
            self._ids.add(call.id)
            events.append(call)
        if not self.open:  # it asks again for what it was told
            self.begin(self.model, "", events)
        self.end("tool_calls", self.raw, events)
