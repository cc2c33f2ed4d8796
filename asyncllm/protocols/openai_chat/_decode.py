"""Chat completion chunks to events, and the whole body of a non-streamed answer through the same code.

Sources: the OpenAI API reference (chat completion chunk object), and the deviations of real servers, by their quirk
numbers (A7-G3). Chunks of the common shape take the fast path: one msgspec decode into the few fields that are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...events import (
    CharacterJoiner,
    ProviderState,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ServerError,
    StreamEvent,
    TextDelta,
    Usage,
    usage_from,
)
from .._codec import FrameLike
from .._decoder import DONE, MessageFrame, WireDecoder, as_message
from ._quirks import ChatQuirks
from ._raw import unknown_parts
from ._think import ThinkSplitter
from ._wire import (
    UNREADABLE,
    Choice,
    Chunk,
    Delta,
    FirstChunk,
    ToolCallPiece,
    decode_plain,
    delta_or_chunk,
    lenient_chunk,
    typed_chunk,
    usage_alone,
)


class ChatDecoder(WireDecoder):
    """The state of one answer. Never raises for what a server sends."""

    unfinished = "the stream ended without a finish_reason or [DONE]"

    def __init__(
        self, *, model: str, provider: str, quirks: ChatQuirks, warnings: tuple[str, ...] = (), raw: bool = False
    ) -> None:
        super().__init__(model=model, provider=provider, warnings=warnings, raw=raw)
        self._quirks = quirks
        self._reasoning_field = ""
        self._think = ThinkSplitter() if quirks.think_tags else None
        self._said = "" if quirks.cumulative_text else None
        self._characters = CharacterJoiner()
        self._thought_characters = CharacterJoiner()
        self._refusal_characters = CharacterJoiner()
        self._plain = not (quirks.think_tags or quirks.cumulative_text)  # whether text may go straight into events
        self._speaking = False  # whether the next chunk is likely to be text and nothing else ...
        self._mixed = False  # ... which it never is where a server says other things beside each text

    # ---- frames

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for frame in frames:
            if frame.event == "message":
                events += self.decode_lines((frame.data,))
            elif not self.done:
                self._frame(frame, events)
        return events

    def decode_lines(self, lines: Iterable[bytes | str]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for line in () if self.done else lines:
            if mixed := self._speaking:
                try:
                    text = decode_plain(line).choices[0].delta.content
                except UNREADABLE:
                    self._speaking = False
                else:
                    if text:
                        events.append(TextDelta(text))
                    continue
            chunk: Chunk | None = None
            if self.ending:
                chunk = None if self._raw else usage_alone(line)
            elif self._started and not self._raw:
                delta = delta_or_chunk(line)
                if isinstance(delta, Delta):
                    self._delta(delta, events)
                    if delta.content:
                        self._mixed = self._mixed or mixed
                        self._speaking = self._plain and not self._mixed
                    continue
                chunk = delta
            if chunk is None:
                self._frame(MessageFrame(line) if isinstance(line, str) else as_message(line), events)
            else:
                self._chunk(chunk, {}, line if isinstance(line, str) else line.decode(), events)
            if self.done:
                break
        return events

    def plain(self, line: bytes) -> TextDelta | None:
        if self._speaking:
            try:
                text = decode_plain(line).choices[0].delta.content
            except UNREADABLE:
                return None
            if text:
                return TextDelta(text)
        return None

    # ---- one frame of any shape

    def _frame(self, frame: FrameLike, events: list[StreamEvent], *, cut: bool = False) -> None:
        chunk: Chunk | None = None
        if frame.event == "message" and not self._raw and frame.data != DONE:
            chunk = typed_chunk(frame.data)
        if chunk is None:
            super()._frame(frame, events, cut=cut)
        else:
            self._chunk(chunk, {}, frame.data, events)

    def _event(self, data: dict[str, Any], text: str, frame: FrameLike, events: list[StreamEvent]) -> None:
        chunk = lenient_chunk(data)
        if frame.event == "error" or (not chunk.choices and self._is_error(data)):
            self._error(self._classified(data, text), events)
            return
        if self._raw and (unknown := unknown_parts(data)) is not None:
            events.append(RawEvent(unknown))
        self._chunk(chunk, data, text, events)

    def _chunk(self, chunk: Chunk, data: Mapping[str, Any], text: str, events: list[StreamEvent]) -> None:
        choices = chunk.choices or ()
        groq = chunk.x_groq if isinstance(chunk.x_groq, dict) else {}
        usage = chunk.usage or groq.get("usage")
        if not self._started and (choices or usage):
            assert isinstance(chunk, FirstChunk)
            self._start(events, model=chunk.model, id=chunk.id)
        ours: Choice | None = None
        for choice in choices:
            # one answer is followed, the first; others (n > 1) are there as raw events
            if not choice.index:
                ours = choice
                if choice.delta is not None:
                    self._delta(choice.delta, events)
                if choice.finish_reason and self._finish is None:
                    self._said_finish(choice.finish_reason)
                if choice.usage:
                    self._count(_usage(choice.usage), events)
        if isinstance(usage, dict):
            self._count(_usage(usage), events)
        error = chunk.error or groq.get("error") or (ours.error if ours is not None else None)
        if error:
            self._error(self._classified(error, text), events)
        elif ours is not None and ours.finish_reason == "error":
            self._error(ServerError("the provider ended the stream with finish_reason 'error'", body=text), events)
        elif data.get("object") == "chat.completion" and ours is not None:
            self._end(events)  # a whole body: nothing can follow

    # ---- the parts of a delta

    def _delta(self, delta: Delta, events: list[StreamEvent]) -> None:
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details or delta.thinking:
            self._thought(delta, events)
        if delta.content:
            self._text(delta.content, events)
        if delta.refusal:
            events.append(RefusalDelta(self._refusal_characters.feed(delta.refusal)))
        if delta.tool_calls:
            for position, piece in enumerate(delta.tool_calls):
                self._piece(piece, position, events)
        elif (legacy := delta.function_call) is not None:  # some servers say a call in both ways at once
            said = self._calls.add(legacy.arguments or "", index=0, name=legacy.name or "")
            if said is not None:
                events.append(said)

    def _text(self, text: str, events: list[StreamEvent]) -> None:
        if self._said is not None:
            text, self._said = text.removeprefix(self._said), text
        if self._characters.half or not text.isascii():
            text = self._characters.feed(text)
            self._plain = not (self._characters.half or self._think is not None or self._said is not None)
        if self._think is not None:
            text, thought = self._think.feed(text)
            if thought:
                events.append(ReasoningDelta(thought))
        if text:
            events.append(TextDelta(text))

    def _thought(self, delta: Delta, events: list[StreamEvent]) -> None:
        """One channel, each character once, whichever of its names it comes under (E1, E2)."""
        text = delta.reasoning_content or delta.reasoning or delta.thinking or ""
        data: dict[str, object] = {}
        if text and not self._reasoning_field:
            fields = ("reasoning_content", "reasoning")
            self._reasoning_field = data["field"] = next((name for name in fields if getattr(delta, name)), "content")
        if details := delta.reasoning_details:
            data["reasoning_details"] = details
            if not text:
                text = "".join(
                    part for item in details if isinstance(part := item.get("text", item.get("summary")), str)
                )
        if text or data:
            text = self._thought_characters.feed(text)
            if text or data:
                events.append(ReasoningDelta(text, ProviderState(self._provider, data) if data else None))

    def _piece(self, piece: ToolCallPiece, position: int, events: list[StreamEvent]) -> None:
        function = piece.function or piece
        said = self._calls.add(
            function.arguments or "",
            index=piece.index,
            id=piece.id or "",
            name=function.name or "",
            position=position,
            state=ProviderState(self._provider, {"extra_content": piece.extra_content})
            if piece.extra_content
            else None,
        )
        if said is not None:
            events.append(said)

    # ---- how it ends

    def _terminator(self, events: list[StreamEvent]) -> None:
        if self._finish is None and (self._quirks.done_needs_finish or not self._started):
            self._cut(events, "the stream said [DONE] without a finish_reason")
        else:
            self._end(events)

    def _flush(self, events: list[StreamEvent]) -> None:
        if lost := self._thought_characters.close():
            events.append(ReasoningDelta(lost))
        if lost := self._refusal_characters.close():
            events.append(RefusalDelta(lost))
        if lost := self._characters.close():
            self._text(lost, events)
        if self._think is not None:
            text, thought = self._think.close()
            if thought:
                events.append(ReasoningDelta(thought))
            if text:
                events.append(TextDelta(text))

    @staticmethod
    def _is_error(data: Mapping[str, Any]) -> bool:
        """An object without choices: is it an error without the usual wrapper (C6)?"""
        if data.get("error") or data.get("errors") or data.get("object") == "error" or data.get("type") == "error":
            return True
        if data.get("success") is False or "detail" in data:
            return True
        base = data.get("base_resp")
        if isinstance(base, Mapping) and base.get("status_code"):
            return True
        return "message" in data and not data.get("usage") and "choices" not in data


def _usage(raw: Mapping[str, Any]) -> Usage | None:
    return usage_from(raw, output_excludes_reasoning=_reasoning_is_extra(raw))


def _reasoning_is_extra(raw: Mapping[str, Any]) -> bool:
    """Whether reasoning tokens stand beside completion_tokens instead of inside (xAI, F8): the total tells."""
    details = raw.get("completion_tokens_details")
    reasoning = details.get("reasoning_tokens") if isinstance(details, dict) else None
    match raw.get("total_tokens"), raw.get("prompt_tokens"), raw.get("completion_tokens"), reasoning:
        case int(total), int(given), int(made), int(thought):
            return thought > 0 and total == given + made + thought
    return False
