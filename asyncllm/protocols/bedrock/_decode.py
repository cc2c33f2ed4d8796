"""Converse stream events to ours, and the whole body of a non-streamed answer through the same code.

Source: the model of the Bedrock runtime (ConverseStreamOutput, ConverseResponse). A frame's `event` says what it is; for the
exceptions and errors of the event stream it is `exception:NAME` or `error:CODE` (see ``transports/_eventstream.py``). Usage
comes after `messageStop`; with that the answer is whole, whatever becomes of the rest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ...events import Finish, RawEvent, StreamEvent, TextDelta, usage_from
from .._blocks import BlockDecoder
from .._classify import classify
from .._codec import FrameLike
from .._json import parse_json
from .._numbers import whole_number
from ._blocks import IMPLIED, STARTED, CallBlock, ReasoningBlock, TextBlock, Turn
from ._wire import decode_delta

_EVENTS = {
    "messageStart": frozenset({"role"}),
    "contentBlockStart": frozenset({"contentBlockIndex", "start"}),
    "contentBlockDelta": frozenset({"contentBlockIndex", "delta"}),
    "contentBlockStop": frozenset({"contentBlockIndex"}),
    "messageStop": frozenset({"stopReason", "additionalModelResponseFields"}),
    "metadata": frozenset({"usage", "trace"}),
}
"""The events, and the fields of each that are read."""

_BODY = frozenset({"output", "stopReason", "usage", "additionalModelResponseFields", "trace"})


class ConverseDecoder(BlockDecoder[Turn]):
    """The state of one answer. Never raises for what a server sends."""

    unfinished = "the stream ended without a messageStop"

    def __init__(self, *, model: str, provider: str, warnings: tuple[str, ...] = (), raw: bool = False) -> None:
        super().__init__(Turn(provider), model=model, provider=provider, warnings=warnings, raw=raw)

    # ---- frames

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        quick = not self._raw
        for frame in () if self.done else frames:
            if not (quick and frame.event == "contentBlockDelta" and self._plain_delta(frame.data, events)):
                self._frame(frame, events)
                if self.done:
                    break
        return events

    def _plain_delta(self, data: str, events: list[StreamEvent]) -> bool:
        """Say a delta that is one piece of the block under way, as nearly all are; False for any that needs a closer look."""
        try:
            said = decode_delta(data)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return False
        block, piece = self._blocks.get(said.contentBlockIndex), said.delta
        text, thought, call = piece.text, piece.reasoningContent, piece.toolUse
        if text is not None and thought is None and call is None and isinstance(block, TextBlock):
            if text.isascii() and not block.characters.half:
                if text:
                    self._turn.text += len(text)
                    events.append(TextDelta(text))
            else:
                block.say(text, events)
        elif thought is not None and text is None and call is None and isinstance(block, ReasoningBlock):
            block.say(thought.text, events)
        elif call is not None and text is None and thought is None and isinstance(block, CallBlock):
            block.say(call.input, events)
        else:
            return False
        return True

    def _frame(self, frame: FrameLike, events: list[StreamEvent], *, cut: bool = False) -> None:
        kind, colon, name = frame.event.partition(":")
        if colon and kind in ("exception", "error"):
            self._failed(name, frame.data, events)
        elif frame.event in _EVENTS or frame.event in ("message", "error", "unframed"):
            super()._frame(frame, events, cut=cut)
        elif self._raw:
            events.append(RawEvent({frame.event: _parsed(frame.data)}))

    def _event(self, data: dict[str, Any], text: str, frame: FrameLike, events: list[StreamEvent]) -> None:
        if self._raw and frame.event in _EVENTS:
            more = {name: value for name, value in data.items() if name not in _EVENTS[frame.event]}
            if more:
                events.append(RawEvent({frame.event: more}))  # padding and metrics, too (G4)
        match frame.event:
            case "contentBlockDelta":
                self._delta(data, events)
            case "contentBlockStart":
                self._block_start(data, events)
            case "contentBlockStop":
                self._begin(events)
                self._block_stop(whole_number(data.get("contentBlockIndex")), events)
            case "messageStart":
                self._begin(events)
            case "messageStop":
                self._message_stop(data, events)
            case "metadata":
                self._metadata(data, events)
            case "message" if isinstance(data.get("output"), Mapping):
                self._whole(data, events)
            case _ if frame.event == "error" or data.keys() & {"message", "Message", "error", "detail", "errors"}:
                self._error(self._classified(data, text), events)  # what a gateway says instead of a stream (C6)
            case _:
                self._unknown(data, events)

    # ---- the message

    def _begin(self, events: list[StreamEvent]) -> None:
        if not self._started:
            self._start(events)

    def _message_stop(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        if isinstance(reason := data.get("stopReason"), str) and reason and self._finish is None:
            self._said_finish(reason)
        self._read_details(data, "additionalModelResponseFields")

    def _metadata(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        if isinstance(usage := data.get("usage"), Mapping):
            self._count(usage_from(usage, input_excludes_cache=True), events)
        self._read_details(data, "trace")
        if self._finish is not None:
            self._end(events)

    def _whole(self, data: dict[str, Any], events: list[StreamEvent]) -> None:
        """The body of an answer that is not streamed."""
        self._begin(events)
        message = data["output"].get("message")
        content = message.get("content") if isinstance(message, Mapping) else None
        for at, block in enumerate(content if isinstance(content, list) else ()):
            self._whole_block(at, block if isinstance(block, Mapping) else {}, events)
        self._read_details(data, "additionalModelResponseFields", "trace")
        if isinstance(usage := data.get("usage"), Mapping):
            self._count(usage_from(usage, input_excludes_cache=True), events)
        if self._raw and (more := {name: value for name, value in data.items() if name not in _BODY}):
            events.append(RawEvent(more))
        reason = data.get("stopReason")
        self._said_finish(reason if isinstance(reason, str) else "")
        self._end(events)

    def _whole_block(self, at: int, block: Mapping[str, Any], events: list[StreamEvent]) -> None:
        for name, value in block.items():
            inner = value if isinstance(value, Mapping) else {}
            deltas: list[tuple[str, object]] = []
            match name:
                case "text" | "reasoningContent":
                    deltas = [(name, value)]
                case "toolUse":
                    self._block_start({"contentBlockIndex": at, "start": {name: value}}, events)
                case "toolResult" | "image":
                    start = {key: item for key, item in inner.items() if key not in ("content", "source")}
                    self._block_start({"contentBlockIndex": at, "start": {name: start}}, events)
                    deltas = [(name, inner.get("content") if name == "toolResult" else inner)]
                case "citationsContent":
                    texts, sources = inner.get("content"), inner.get("citations")
                    deltas = [("text", item.get("text")) for item in _objects(texts)]
                    deltas += [("citation", item) for item in _objects(sources)]
                case _:
                    self._unknown({name: value}, events)
            for member, piece in deltas:
                self._delta({"contentBlockIndex": at, "delta": {member: piece}}, events)
            self._block_stop(at, events)

    def _read_details(self, data: Mapping[str, Any], *names: str) -> None:
        self._details |= {name: value for name in names if (value := data.get(name)) is not None}

    # ---- blocks

    def _block_start(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        index, start = whole_number(data.get("contentBlockIndex")), data.get("start")
        name = next((name for name in STARTED if isinstance(start, dict) and isinstance(start.get(name), dict)), "")
        if index is None or not name or not isinstance(start, dict):
            self._unknown({"contentBlockStart": data}, events)
            return
        self._open(index, STARTED[name](start[name], self._turn), events)

    def _delta(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        index, delta = whole_number(data.get("contentBlockIndex")), data.get("delta")
        understood = index is not None and isinstance(delta, Mapping) and bool(delta)
        if index is not None and isinstance(delta, Mapping):
            for name, value in delta.items():
                kind, block = IMPLIED.get(name), self._blocks.get(index)
                if kind is not None and block.__class__ is not kind:
                    block = kind({}, self._turn)
                    self._open(index, block, events)
                understood = block is not None and block.delta(name, value, events) and understood
        if not understood:
            self._unknown({"contentBlockDelta": data}, events)

    # ---- how it ends

    def _failed(self, name: str, text: str, events: list[StreamEvent]) -> None:
        """An exception of the service, or an error of the event stream itself (C8)."""
        if self._finish is not None:
            self._end(events)
            return
        said = _parsed(text)
        fields: dict[str, Any] = {"code": name, "message": text}
        if isinstance(said, Mapping):
            words = [said.get("message") or said.get("Message"), said.get("originalMessage")]
            fields["message"] = ": ".join(word for word in words if isinstance(word, str) and word)
            fields["status"] = said.get("originalStatusCode")
        self._error(classify(fields, provider=self._provider, model=self._model, text=text), events)

    def _end(self, events: list[StreamEvent]) -> None:
        self._settle(events)
        reason = self._reason(self._finish)
        if self._turn.asked and reason in ("stop", "other"):
            reason = "tool_calls"
        events.append(Finish(reason, self._finish or None, self._details or None))
        self.done = True


def _parsed(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError:
        return text


def _objects(items: object) -> list[dict[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []
