"""What the decoders of all wires share: the loop over frames, the beginning, and every way to end."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct

from ..events import (
    Finish,
    FinishReason,
    IncompleteStreamError,
    LLMError,
    ProtocolError,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCallAssembler,
    Usage,
)
from ..events._toolcalls import CUT
from ._classify import classify
from ._codec import Encoded, FrameLike
from ._finish import finish_reason
from ._json import parse_json

DONE = "[DONE]"
"""After the last frame, on some wires."""


class MessageFrame(Struct, frozen=True, gc=False):
    """A frame of which nothing is known but its data."""

    data: str
    event: str = "message"


def as_message(line: bytes) -> MessageFrame:
    return MessageFrame(line.decode("utf-8", "replace"))


class WireDecoder(ABC):
    """The state of one answer. Never raises for what a server sends.

    A wire says in `_event` what one JSON object of it means; it calls `_start` once, `_count` for usage, and ends with `_end`
    or `_error`. As soon as the model has said that it is done, `_finish` holds its word: a stream that is cut after that is
    whole.
    """

    what = "an event"
    """What a frame of this wire is called, in messages."""
    unfinished = "the stream ended before the model was done"
    """What a stream lacked that was cut between two frames."""

    def __init__(self, *, model: str, provider: str, warnings: tuple[str, ...] = (), raw: bool = False) -> None:
        self.done = False
        self._model = model
        self._provider = provider
        self._warnings = warnings
        self._raw = raw
        self._started = False
        self.ending = False
        self._finish: str | None = None
        self._calls = ToolCallAssembler()
        self._usage: Usage | None = None

    def _said_finish(self, word: str) -> None:
        """The model is done, and this is its word for it."""
        self._finish = word
        self.ending = True

    # ---- frames

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for frame in () if self.done else frames:
            self._frame(frame, events)
            if self.done:
                break
        return events

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        return self.decode(map(as_message, lines))

    def plain(self, line: bytes) -> TextDelta | None:  # a short cut, which most wires have not
        return None

    def close(self, rest: Iterable[FrameLike] = ()) -> list[StreamEvent]:
        """The bytes are over. Where the model has not said that it is done, the stream was cut (B1)."""
        events: list[StreamEvent] = []
        for frame in rest:
            if not self.done:
                self._frame(frame, events, cut=True)
        if not self.done:
            if self._finish is not None:
                self._end(events)
            else:
                self._cut(events)
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

    def resume(self) -> Encoded | None:
        """How the rest of a stream that broke can be had; on most wires it cannot."""
        return None

    def _frame(self, frame: FrameLike, events: list[StreamEvent], *, cut: bool = False) -> None:
        """One frame of any shape. `cut`: nothing ended it but the end of the bytes."""
        text = frame.data.strip()
        if not text or text[0] == ":":  # heartbeats, and comments in the wrong place (A8)
            return
        if text == DONE:
            self._terminator(events)
            return
        try:
            data = parse_json(text)
        except ValueError:
            self._not_json(text, frame.event, cut, events)
            return
        if isinstance(data, dict):
            self._event(data, text, frame, events)
        else:
            self._error(self._classified(data, text), events)

    @abstractmethod
    def _event(self, data: dict[str, Any], text: str, frame: FrameLike, events: list[StreamEvent]) -> None:
        """One JSON object; `text` is how it was written."""

    def _terminator(self, events: list[StreamEvent]) -> None:
        """`[DONE]`, which some servers add to wires that have no such thing: nothing follows."""
        if self._finish is None:
            self._cut(events)
        else:
            self._end(events)

    # ---- the beginning, usage, and how it ends

    def _start(self, events: list[StreamEvent], *, model: object = None, id: object = None) -> None:
        self._started = True
        identity = id if isinstance(id, str) else ""
        self._calls.seed = identity
        name = model if isinstance(model, str) and model else self._model
        events.append(StreamStart(name, identity, self._provider, self._warnings))

    def _count(self, usage: Usage | None, events: list[StreamEvent]) -> None:
        """A snapshot: the last one counts, nothing is ever summed (F1), and none never erases one."""
        if usage is not None and usage != self._usage:
            self._usage = usage
            events.append(usage)

    def _reason(self, raw: str | None) -> FinishReason:
        """What the model's last word means on this wire."""
        return finish_reason(raw)

    def _end(self, events: list[StreamEvent]) -> None:
        """The model is done: what was held back, the calls, and Finish."""
        self._flush(events)
        reason = self._reason(self._finish)
        calls = self._calls.finish(truncated=reason == "length")
        if calls and reason in ("stop", "other"):
            reason = "tool_calls"  # many servers say "stop" after tool calls (B8)
        events += calls
        events.append(Finish(reason, self._finish or None))
        self.done = True

    def _flush(self, events: list[StreamEvent]) -> None:  # noqa: B027  # most wires hold nothing back
        """Say what was held back: it comes before any end."""

    def _cut(self, events: list[StreamEvent], why: str = "") -> None:
        self._error(IncompleteStreamError(why or self.unfinished), events)

    def _error(self, error: LLMError, events: list[StreamEvent]) -> None:
        self._flush(events)
        error.provider = error.provider or self._provider
        error.model = error.model or self._model
        if self._started:
            events += self._abandoned()
        events.append(StreamError(error))
        self.done = True

    def _abandoned(self) -> Sequence[StreamEvent]:
        """The calls that the end of the stream has cut."""
        return self._calls.abandon(CUT)

    def _not_json(self, text: str, event: str, cut: bool, events: list[StreamEvent]) -> None:
        if event == "unframed":
            return
        if event == "error" and not (cut and text[0] == "{"):
            self._error(self._classified(text, text), events)
        elif cut and text[0] != "<":
            if self._finish is None:
                self._cut(events, f"the stream was cut in the middle of {self.what}")
        elif self._finish is None:
            found = "an HTML page" if text[:1] == "<" else f"{self.what} that is not JSON"
            self._error(ProtocolError(f"the server sent {found}: {text[:120]}", body=text), events)

    def _classified(self, body: object, text: str) -> LLMError:
        return classify(body, provider=self._provider, model=self._model, text=text)
