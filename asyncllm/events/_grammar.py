"""The order in which events may come, as a table, and a checker for it.

    stream   := (results step)* (step | results stopped) (stream_error)?
    results  := (tool_progress | tool_result | retrying)*
    step     := stream_start body* finish
    body     := text | reasoning | refusal | tool_call_delta | tool_call | tool_result | tool_progress | image | audio | file
              | citation | usage | session | retrying

Results come first where a run begins by answering the calls with which its conversation ends. A raw event may stand anywhere
before the end; a stream error ends the stream wherever it stands. A stream without a Finish, a Stopped or a StreamError at
its end is not a stream: it was cut, and somebody must have said so.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from ._errors import ProtocolError
from ._messages import Audio, File, Image, ToolCall, ToolResult
from ._session import Session
from ._stream import (
    Citation,
    Finish,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    Stopped,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCallDelta,
    ToolProgress,
)
from ._usage import Usage

State = Literal["idle", "step", "finished", "stopped", "failed"]

_BODY = (
    TextDelta,
    ReasoningDelta,
    RefusalDelta,
    ToolCallDelta,
    ToolCall,
    ToolResult,
    ToolProgress,
    Image,
    Audio,
    File,
    Citation,
    Usage,
    Session,
    Retrying,
    RawEvent,
)

_BETWEEN = (ToolResult, ToolProgress, Retrying, RawEvent)

ORDER: dict[State, dict[type, State]] = {
    "idle": {**dict.fromkeys(_BETWEEN, "idle"), StreamStart: "step", Stopped: "stopped", StreamError: "failed"},
    "step": {**dict.fromkeys(_BODY, "step"), Finish: "finished", StreamError: "failed"},
    "finished": {**dict.fromkeys(_BETWEEN, "finished"), StreamStart: "step", Stopped: "stopped", StreamError: "failed"},
    "stopped": {},
    "failed": {},
}
"""state -> event -> next state. What is not in the table is not legal."""


class OrderChecker:
    """Checks events one by one: :meth:`add` raises :class:`ProtocolError` at the first that may not stand there."""

    __slots__ = ("_calls", "state")

    def __init__(self) -> None:
        self.state: State = "idle"
        self._calls: set[str] = set()

    def add(self, event: StreamEvent) -> None:
        following = ORDER[self.state].get(type(event))
        if following is None:
            raise ProtocolError(f"{type(event).__name__} may not stand where the stream is {self.state!r}")
        if isinstance(event, StreamStart):
            self._calls.clear()
        elif isinstance(event, ToolCall):
            if event.id in self._calls:
                raise ProtocolError(f"tool call {event.id!r} is said twice in one step")
            self._calls.add(event.id)
        self.state = following

    def close(self) -> None:
        """The stream is over: raises unless its end was said."""
        if self.state not in ("finished", "stopped", "failed"):
            raise ProtocolError(f"the stream ended while {self.state!r}: neither Finish nor Stopped nor StreamError")


def check_order(events: Iterable[StreamEvent]) -> None:
    """Raise :class:`ProtocolError` if these are not the events of one whole stream, in a legal order."""
    checker = OrderChecker()
    for event in events:
        checker.add(event)
    checker.close()
