"""Events of the Messages wire to ours, and the whole body of a non-streamed answer through the same code.

Source: the Anthropic API reference (streaming messages) and the types of its SDK. Event, block and delta types that are not
known are skipped: the API reserves the right to add them. What an event is, its JSON says (`type`): gateways drop the names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ...events import Finish, StreamEvent, TextDelta, usage_from
from ...events._fold import CHARACTERS_PER_TOKEN
from .._blocks import BlockDecoder
from .._codec import FrameLike
from .._numbers import whole_number
from ._blocks import CallBlock, KeptBlock, TextBlock, ThinkingBlock, Turn, block_class
from ._wire import TextPiece, ThinkingPiece, decode_delta

_QUICK = frozenset({"message", "content_block_delta"})
"""The names of frames that may be deltas; "message" is a frame without a name."""

_IMPLIED = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "tool_use"}
"""The block that a delta belongs to whose block was not begun."""

_NOT_ENDED = frozenset({"pause_turn", "compaction"})
"""Reasons to stop that ask for the turn to be sent back, whatever calls are in it."""

_DETAILS = ("stop_sequence", "stop_details", "container")

_MESSAGE = frozenset(
    {"id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "stop_details", "usage"}
)
_EVENT = frozenset({"type", "message", "delta", "usage"})
_DELTA = frozenset({"stop_reason", *_DETAILS})


class MessagesDecoder(BlockDecoder[Turn]):
    """The state of one answer. Never raises for what a server sends."""

    unfinished = "the stream ended without a stop_reason"

    def __init__(self, *, model: str, provider: str, warnings: tuple[str, ...] = (), raw: bool = False) -> None:
        super().__init__(Turn(provider), model=model, provider=provider, warnings=warnings, raw=raw)
        self._counts: dict[str, Any] = {}  # the usage so far: what is absent later is kept
        self._counted = False

    # ---- frames

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        blocks, turn, quick = self._blocks, self._turn, not self._raw
        for frame in () if self.done else frames:
            if quick and frame.event in _QUICK:
                try:
                    said = decode_delta(frame.data)
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                    pass
                else:
                    block, piece = blocks.get(said.index), said.delta
                    if isinstance(piece, TextPiece):
                        if isinstance(block, TextBlock):
                            text = piece.text
                            if not text.isascii() or block.characters.half:
                                block.say(text, events)
                            elif text:
                                turn.text += len(text)
                                events.append(TextDelta(text))
                            continue
                    elif isinstance(piece, ThinkingPiece):
                        if isinstance(block, ThinkingBlock):
                            block.say(piece.thinking, events)
                            continue
                    elif isinstance(block, CallBlock):
                        block.say(piece.partial_json, events)
                        continue
            self._frame(frame, events)
            if self.done:
                break
        return events

    def _event(self, data: dict[str, Any], text: str, frame: FrameLike, events: list[StreamEvent]) -> None:
        kind = data.get("type")
        if not isinstance(kind, str):
            kind = frame.event
        if kind == "error" or frame.event == "error" or data.get("error"):
            self._error(self._classified(data, text), events)
            return
        match kind:
            case "content_block_delta":
                self._delta(data, events)
            case "content_block_start":
                self._block_start(data, events)
            case "content_block_stop":
                self._block_stop(whole_number(data.get("index")), events)
            case "message_start":
                self._message_start(data, events)
            case "message_delta":
                self._message_delta(data, events)
            case "message_stop":
                self._terminator(events)
            case "message" if "content" in data or "role" in data:
                self._whole(data, events)
            case "message" if "message" in data or "detail" in data:  # an error without the usual wrapper (C6)
                self._error(self._classified(data, text), events)
            case "ping":
                pass
            case _:
                self._unknown(data, events)

    # ---- the message

    def _begin(self, events: list[StreamEvent], *, model: object = None, id: object = None) -> None:
        if not self._started:
            self._start(events, model=model, id=id)
            self._turn.seed = id if isinstance(id, str) else ""

    def _message_start(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        message = data.get("message")
        message = message if isinstance(message, Mapping) else {}
        self._begin(events, model=message.get("model"), id=message.get("id"))
        self._read_usage(message.get("usage"))
        self._read_details(message)
        if not _known(message, _MESSAGE | _DELTA):
            self._unknown(data, events)
        self._contents(message.get("content"), events)

    def _message_delta(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        delta = data.get("delta")
        delta = delta if isinstance(delta, Mapping) else {}
        if isinstance(reason := delta.get("stop_reason"), str) and reason and self._finish is None:
            self._said_finish(reason)
        self._read_details(delta)
        if self._finish is not None:
            self._settle(events)
        if self._read_usage(data.get("usage")):
            self._say_usage(events)
        if not (_known(data, _EVENT) and _known(delta, _DELTA)):
            self._unknown(data, events)

    def _whole(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        """The body of an answer that is not streamed."""
        self._begin(events, model=data.get("model"), id=data.get("id"))
        self._contents(data.get("content"), events)
        self._read_details(data)
        if self._read_usage(data.get("usage")):
            self._say_usage(events)
        if not _known(data, _MESSAGE | _DELTA):
            self._unknown(data, events)
        if isinstance(reason := data.get("stop_reason"), str) and reason:
            self._said_finish(reason)
        self._terminator(events)

    def _contents(self, content: object, events: list[StreamEvent]) -> None:
        for at, item in enumerate(content if isinstance(content, list) else ()):
            self._block_start({"index": at, "content_block": item}, events)
            self._block_stop(at, events)

    def _read_details(self, data: Mapping[str, Any]) -> None:
        self._details |= {name: value for name in _DETAILS if (value := data.get(name)) is not None}

    # ---- blocks

    def _block_start(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        index, block = whole_number(data.get("index")), data.get("content_block")
        kind = block.get("type") if isinstance(block, dict) else None
        if index is None or not isinstance(kind, str) or not isinstance(block, dict):
            self._unknown(dict(data), events)
            return
        known = block_class(kind)
        if known is None:
            self._unknown(dict(data), events)
        self._open(index, (known or KeptBlock)(block, self._turn), events)

    def _delta(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        index, delta = whole_number(data.get("index")), data.get("delta")
        kind = delta.get("type") if isinstance(delta, Mapping) else None
        if index is None or not isinstance(kind, str) or not isinstance(delta, Mapping):
            self._unknown(data, events)
            return
        if index not in self._blocks and kind in _IMPLIED:
            self._block_start({"index": index, "content_block": {"type": _IMPLIED[kind]}}, events)
        block = self._blocks.get(index)
        if block is None or not block.delta(kind, delta, events):
            self._unknown(data, events)

    # ---- usage

    def _read_usage(self, given: object) -> bool:
        """Counts are cumulative, never summed (F1); what is absent or null keeps its value (F6)."""
        if not isinstance(given, Mapping):
            return False
        self._counts |= {name: value for name, value in given.items() if value is not None}
        return True

    def _say_usage(self, events: list[StreamEvent]) -> None:
        usage = usage_from(self._counts, input_excludes_cache=True)
        self._counted = self._counted or usage is not None
        self._count(usage, events)

    def _flush(self, events: list[StreamEvent]) -> None:
        """The final counts did not come (F9): the input is known since the start, the output is estimated."""
        usage = None if self._counted else usage_from(self._counts, input_excludes_cache=True)
        if usage is not None:
            made = -(-(self._turn.text + self._turn.thought) // CHARACTERS_PER_TOKEN)
            most = max(made, usage.output_tokens)
            self._count(msgspec.structs.replace(usage, output_tokens=most, estimated=True), events)

    # ---- how it ends

    def _end(self, events: list[StreamEvent]) -> None:
        self._settle(events)
        reason = self._reason(self._finish)
        if self._turn.asked and (reason == "stop" or (reason == "other" and self._finish not in _NOT_ENDED)):
            reason = "tool_calls"
        self._flush(events)
        events.append(Finish(reason, self._finish or None, self._details or None))
        self.done = True


def _known(data: Mapping[str, Any], names: frozenset[str]) -> bool:
    return all(name in names or value is None for name, value in data.items())
