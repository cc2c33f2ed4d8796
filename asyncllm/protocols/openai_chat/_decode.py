"""Chat completion chunks to events, and the whole body of a non-streamed answer through the same code.

Sources: the OpenAI API reference (chat completion chunk object), and the deviations of real servers, by their quirk
numbers (A7-G3). Chunks of the common shape take the fast path: one msgspec decode into the few fields that are read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ...events import (
    CharacterJoiner,
    Finish,
    FinishReason,
    IncompleteStreamError,
    LLMError,
    ProtocolError,
    ProviderState,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    ServerError,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCallAssembler,
    Usage,
    usage_from,
)
from .._classify import classify
from .._codec import FrameLike
from ._quirks import ChatQuirks
from ._raw import unknown_parts
from ._think import ThinkSplitter
from ._wire import Choice, Chunk, Delta, ToolCallPiece, decode_fast, lenient_chunk, parse_json, typed_chunk

_WORDS: dict[FinishReason, str] = {
    "stop": "stop eos eos_token end_turn stop_sequence end complete completed finished stop_token",
    "length": "length max_tokens model_length max_output_tokens max_completion_tokens max_length",
    "tool_calls": "tool_calls tool_use function_call tool_call",
    "content_filter": "content_filter content_filtered sensitive safety recitation prohibited_content blocklist refusal spii",
    "error": "error network_error insufficient_system_resource abort aborted cancelled timeout malformed_function_call",
}
FINISH: dict[str, FinishReason] = {word: reason for reason, words in _WORDS.items() for word in words.split()}
"""What providers say, in lower case, and what it means (B6). Anything else is "other"; the raw word is kept."""


class ChatDecoder:
    """The state of one answer. Never raises for what a server sends."""

    def __init__(
        self, *, model: str, provider: str, quirks: ChatQuirks, warnings: tuple[str, ...] = (), raw: bool = False
    ) -> None:
        self.done = False
        self._model = model
        self._provider = provider
        self._quirks = quirks
        self._warnings = warnings
        self._raw = raw
        self._started = False
        self._finish: str | None = None
        self._calls = ToolCallAssembler()
        self._usage: Usage | None = None
        self._reasoning_field = ""
        self._think = ThinkSplitter() if quirks.think_tags else None
        self._said = "" if quirks.cumulative_text else None
        self._characters = CharacterJoiner()
        self._thought_characters = CharacterJoiner()
        self._refusal_characters = CharacterJoiner()
        # whether text may go straight into events
        self._plain = not (quirks.think_tags or quirks.cumulative_text)

    @property
    def ending(self) -> bool:
        return self._finish is not None

    # ---- frames

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        quick = self._started and not self._raw
        for frame in () if self.done else frames:
            if quick and frame.event == "message":
                try:
                    chunk = decode_fast(frame.data)
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                    pass
                else:
                    choices = chunk.choices
                    if (
                        choices
                        and chunk.error is None
                        and chunk.usage is None
                        and chunk.x_groq is None
                        and len(choices) == 1
                    ):
                        choice = choices[0]
                        delta = choice.delta
                        if (
                            delta is not None
                            and choice.finish_reason is None
                            and choice.index == 0
                            and choice.error is None
                            and choice.usage is None
                        ):
                            text = delta.content
                            if (
                                text
                                and self._plain
                                and delta.tool_calls is None
                                and delta.reasoning_content is None
                                and delta.reasoning is None
                                and delta.reasoning_details is None
                                and delta.refusal is None
                                and delta.function_call is None
                            ):
                                events.append(TextDelta(text))
                            else:
                                self._delta(delta, events)
                            continue
            self._frame(frame, events)
            if self.done:
                break
            quick = self._started and not self._raw
        return events

    def close(self, rest: Iterable[FrameLike] = ()) -> list[StreamEvent]:
        """The bytes are over. Without a finish_reason or `[DONE]` before that, the stream was cut (B1)."""
        events: list[StreamEvent] = []
        for frame in rest:
            if not self.done:
                self._frame(frame, events, cut=True)
        if not self.done:
            if self._finish is not None:
                self._end(events)
            else:
                self._cut("the stream ended without a finish_reason or [DONE]", events)
        return events

    def fail(self, error: LLMError) -> list[StreamEvent]:
        """The transport failed: an error, unless the model had already said that it was done."""
        events: list[StreamEvent] = []
        if not self.done:
            if self._finish is not None:
                self._end(events)
            else:
                self._error(error, events)
        return events

    # ---- one frame of any shape

    def _frame(self, frame: FrameLike, events: list[StreamEvent], *, cut: bool = False) -> None:
        text = frame.data.strip()
        if not text or text[0] == ":":  # heartbeats, and comments in the wrong place (A8)
            return
        if text == "[DONE]":
            self._terminator(events)
            return
        if frame.event == "message" and not self._raw and (chunk := typed_chunk(text)) is not None:
            self._chunk(chunk, {}, text, events)
            return
        try:
            data = parse_json(text)
        except ValueError:
            self._not_json(text, frame.event, cut, events)
            return
        if frame.event == "error" or not isinstance(data, dict):
            self._error(self._classified(data, text), events)
            return
        if self._raw and (unknown := unknown_parts(data)) is not None:
            events.append(RawEvent(unknown))
        chunk = lenient_chunk(data)
        if not chunk.choices and self._is_error(data):
            self._error(self._classified(data, text), events)
            return
        self._chunk(chunk, data, text, events)

    def _chunk(self, chunk: Chunk, data: Mapping[str, Any], text: str, events: list[StreamEvent]) -> None:
        choices = chunk.choices or ()
        groq = chunk.x_groq if isinstance(chunk.x_groq, Mapping) else {}
        usage = chunk.usage or groq.get("usage")
        if not self._started and (choices or usage):
            self._start(chunk, events)
        ours: Choice | None = None
        for choice in choices:
            # one answer is followed, the first; others (n > 1) are there as raw events
            if not choice.index:
                ours = choice
                if choice.delta is not None:
                    self._delta(choice.delta, events)
                if choice.finish_reason and self._finish is None:
                    self._finish = choice.finish_reason
                if choice.usage:
                    self._count(choice.usage, events)
        if isinstance(usage, Mapping):
            self._count(usage, events)
        error = chunk.error or groq.get("error") or (ours.error if ours is not None else None)
        if error:
            self._error(self._classified(error, text), events)
        elif ours is not None and ours.finish_reason == "error":
            self._error(ServerError("the provider ended the stream with finish_reason 'error'", body=text), events)
        elif data.get("object") == "chat.completion" and ours is not None:
            self._end(events)  # a whole body: nothing can follow

    def _start(self, chunk: Chunk, events: list[StreamEvent]) -> None:
        self._started = True
        model = chunk.model if isinstance(chunk.model, str) and chunk.model else self._model
        identity = chunk.id if isinstance(chunk.id, str) else ""
        self._calls.seed = identity
        events.append(StreamStart(model, identity, self._provider, self._warnings))

    # ---- the parts of a delta

    def _delta(self, delta: Delta, events: list[StreamEvent]) -> None:
        if delta.reasoning_content or delta.reasoning or delta.reasoning_details:
            self._reason(delta, events)
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

    def _reason(self, delta: Delta, events: list[StreamEvent]) -> None:
        """One channel, each character once, whichever of its names it comes under (E1, E2)."""
        text = delta.reasoning_content or delta.reasoning or ""
        data: dict[str, object] = {}
        if text and not self._reasoning_field:
            self._reasoning_field = data["field"] = "reasoning_content" if delta.reasoning_content else "reasoning"
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

    def _count(self, raw: Mapping[str, Any], events: list[StreamEvent]) -> None:
        """A usage snapshot: the last one counts, nothing is ever summed (F1), and a null never erases one."""
        usage = usage_from(raw, output_excludes_reasoning=_reasoning_is_extra(raw))
        if usage is not None and usage != self._usage:
            self._usage = usage
            events.append(usage)

    # ---- how it ends

    def _terminator(self, events: list[StreamEvent]) -> None:
        if self._finish is None and (self._quirks.done_needs_finish or not self._started):
            self._cut("the stream said [DONE] without a finish_reason", events)
        else:
            self._end(events)

    def _end(self, events: list[StreamEvent]) -> None:
        """The model is done: what was held back, the calls, and Finish."""
        self._flush(events)
        raw = self._finish
        reason = FINISH.get(raw.lower(), "other") if raw else "other"
        calls = self._calls.finish(truncated=reason == "length")
        if calls and reason in ("stop", "other"):
            reason = "tool_calls"  # many servers say "stop" after tool calls (B8)
        events += calls
        events.append(Finish(reason, raw))
        self.done = True

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

    def _cut(self, why: str, events: list[StreamEvent]) -> None:
        self._error(IncompleteStreamError(why), events)

    def _error(self, error: LLMError, events: list[StreamEvent]) -> None:
        self._flush(events)
        error.provider = error.provider or self._provider
        error.model = error.model or self._model
        if self._started:
            events += self._calls.abandon("the stream broke before the call was whole")
        events.append(StreamError(error))
        self.done = True

    def _not_json(self, text: str, event: str, cut: bool, events: list[StreamEvent]) -> None:
        if event == "unframed":
            return
        if event == "error":
            self._error(self._classified(text, text), events)
        elif cut and text[0] != "<":
            if self._finish is None:
                self._cut("the stream was cut in the middle of an event", events)
        elif self._finish is None:
            what = "an HTML page" if text[:1] == "<" else "an event that is not JSON"
            self._error(ProtocolError(f"the server sent {what}: {text[:120]}", body=text), events)

    def _classified(self, body: object, text: str) -> LLMError:
        return classify(body, provider=self._provider, model=self._model, text=text)

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


def _reasoning_is_extra(raw: Mapping[str, Any]) -> bool:
    """Whether reasoning tokens stand beside completion_tokens instead of inside (xAI, F8): the total tells."""
    details = raw.get("completion_tokens_details")
    reasoning = details.get("reasoning_tokens") if isinstance(details, Mapping) else None
    match raw.get("total_tokens"), raw.get("prompt_tokens"), raw.get("completion_tokens"), reasoning:
        case int(total), int(given), int(made), int(thought):
            return thought > 0 and total == given + made + thought
    return False
