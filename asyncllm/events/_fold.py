"""Events in, Reply out: the one accumulator. Linear in the number of events and characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from ._messages import Audio, File, Image, Message, Part, ProviderState, Reasoning, Text, ToolCall, ToolResult
from ._stream import (
    Citation,
    Finish,
    FinishReason,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCallDelta,
)
from ._usage import Usage

Output = TypeVar("Output")


class Reply(Struct, Generic[Output], frozen=True, kw_only=True):
    """What a stream said, all together.

    `finish_reason` is None when the stream did not come to its end; `raw_finish_reason` is the provider's word
    and `finish_details` what it said besides.
    `usage` is None when the provider reported none; for a stream that broke it is an estimate, and marked so.
    `tool_calls` are those that wait for their results; what the provider ran itself is among the parts of `message`, as are
    images and files. `message` is the assistant's turn, to be sent back as it is; `messages` is the conversation including it.
    """

    text: str = ""
    reasoning: str = ""
    refusal: str | None = None
    tool_calls: list[ToolCall] = []
    citations: list[Citation] = []
    usage: Usage | None = None
    finish_reason: FinishReason | None = None
    raw_finish_reason: str | None = None
    finish_details: Mapping[str, object] | None = None
    output: Output | None = None
    message: Message = Message("assistant", "")
    messages: list[Message] = []
    model: str = ""
    id: str = ""
    backend: str = ""
    warnings: tuple[str, ...] = ()

    @property
    def complete(self) -> bool:
        """Whether the stream came to its end."""
        return self.finish_reason is not None


RUN = 1024
"""Deltas that are kept apart: many small strings cost ten times their text."""

CHARACTERS_PER_TOKEN = 4
"""The rule of thumb behind estimated usage."""


class Fold:
    """Collects the events of a stream; :meth:`reply` may be asked at any time (seeds B8)."""

    __slots__ = (
        "_citations",
        "_done",
        "_executed",
        "_finish",
        "_half",
        "_joined",
        "_kind",
        "_parts",
        "_refusal",
        "_run",
        "_start",
        "_state",
        "_usage",
        "_used",
    )

    def __init__(self) -> None:
        self._done: list[Message] = []  # turns of steps that are over
        self._parts: list[Part] = []  # parts of this step that are over
        self._kind: type[TextDelta] | type[ReasoningDelta] = TextDelta
        self._joined: list[str] = []  # the part under way: what was joined (once, so that the cost is linear) ...
        self._run: list[str] = []  # ... and the last deltas
        self._state: ProviderState | None = None
        self._refusal: list[str] | None = None  # rare things have their containers when they come
        self._half: dict[str, list[ToolCallDelta]] = {}  # calls begun and not yet said whole
        self._executed: set[str] | None = None  # calls of this step that the provider runs itself
        self._citations: list[Citation] | None = None
        self._usage: Usage | None = None
        self._used: Usage | None = None  # by the steps that are over
        self._finish: Finish | None = None
        self._start: StreamStart | None = None

    def extend(self, events: Iterable[StreamEvent]) -> None:
        for event in events:
            kind = event.__class__
            if kind is TextDelta:  # nearly all events are these
                if self._kind is not TextDelta:
                    self._end_part(TextDelta)
                self._run.append(event.text)  # type: ignore[union-attr]
                if event.state is not None:  # type: ignore[union-attr]
                    self._keep(event.state)  # type: ignore[union-attr]
            else:
                self.add(event)
        if len(self._run) > RUN:
            self._joined.append("".join(self._run))
            self._run.clear()

    def add(self, event: StreamEvent) -> None:
        match event:
            case TextDelta():
                self.extend((event,))
            case ReasoningDelta(text=text, state=state):
                if self._kind is not ReasoningDelta:
                    self._end_part(ReasoningDelta)
                self._run.append(text)
                if state is not None:
                    self._keep(state)
            case ToolCallDelta():
                self._half.setdefault(event.id, []).append(event)
            case ToolCall():
                self._half.pop(event.id, None)
                self._end_part(TextDelta)
                self._parts.append(event)
                if event.executed:
                    self._executed = {*(self._executed or ()), event.id}
            case Image() | Audio() | File():
                self._end_part(TextDelta)
                self._parts.append(event)
            case ToolResult() if (
                event.id in (self._executed or ()) or event.state is not None
            ):  # the provider's own tool
                self._end_part(TextDelta)
                self._parts.append(event)
            case Citation():
                self._citations = self._citations or []
                self._citations.append(event)
            case ToolResult():
                self._end_step()
                if self._done and self._done[-1].role == "tool":
                    self._done[-1] = Message("tool", [*self._done[-1].parts, event])
                else:
                    self._done.append(Message("tool", [event]))
            case RefusalDelta(text=text):
                self._refusal = self._refusal or []
                self._refusal.append(text)
            case Usage():
                self._usage = event
            case Finish():
                self._finish = event
            case StreamStart():
                self._end_step()
                self._start, self._finish = event, None
            case Retrying() | StreamError() | RawEvent():
                pass

    def reply(self, *, before: Sequence[Message] = ()) -> Reply[object]:
        """The Reply so far. `before` is the conversation that was sent."""
        parts = [*self._parts, *self._open_part(), *(_cut(deltas) for deltas in self._half.values())]
        content: str | list[Part] = parts
        if len(parts) == 1 and isinstance(only := parts[0], Text) and only.state is None:
            content = only.text
        turn = Message("assistant", content or "")
        start = self._start or StreamStart("")
        usage = self._usage
        text = "".join(part.text for part in parts if isinstance(part, Text))
        reasoning = "".join(part.text for part in parts if isinstance(part, Reasoning))
        if usage is None and self._finish is None and parts:
            usage = Usage(output_tokens=-(-(len(text) + len(reasoning)) // CHARACTERS_PER_TOKEN), estimated=True)
        if self._used is not None:
            usage = self._used if usage is None else self._used + usage
        return Reply(
            text=text,
            reasoning=reasoning,
            refusal="".join(self._refusal) if self._refusal else None,
            tool_calls=[part for part in parts if isinstance(part, ToolCall) and not part.executed],
            citations=list(self._citations or ()),
            usage=usage,
            finish_reason=self._finish.reason if self._finish else None,
            raw_finish_reason=self._finish.raw if self._finish else None,
            finish_details=self._finish.details if self._finish else None,
            message=turn,
            messages=[*before, *self._done, *([turn] if turn.content else [])],
            model=start.model,
            id=start.id,
            backend=start.backend,
            warnings=start.warnings,
        )

    def _open_part(self) -> list[Part]:
        text = "".join([*self._joined, *self._run])
        if len(self._joined) + len(self._run) > 1:
            self._joined, self._run = [text], []
        if self._kind is ReasoningDelta and (text or self._state is not None):
            return [Reasoning(text, self._state)]
        return [Text(text, self._state)] if text or self._state is not None else []

    def _end_part(self, following: type[TextDelta] | type[ReasoningDelta]) -> None:
        self._parts += self._open_part()
        self._joined, self._run, self._state, self._kind = [], [], None, following

    def _keep(self, state: ProviderState) -> None:
        self._state = state if self._state is None else merge_state(self._state, state)
        if state.closes:
            self._end_part(self._kind)

    def _end_step(self) -> None:
        """A new step begins: the turn so far becomes a message of the conversation."""
        self._end_part(TextDelta)
        if self._parts:
            self._done.append(Message("assistant", self._parts))
            self._parts = []
        self._executed = self._citations = None
        if self._usage is not None:
            self._used = self._usage if self._used is None else self._used + self._usage
            self._usage = None


def _cut(deltas: list[ToolCallDelta]) -> ToolCall:
    """A call of which only fragments came."""
    raw = "".join(delta.arguments for delta in deltas)
    return ToolCall(deltas[-1].id, deltas[-1].name, None, raw, "the stream ended before the call was whole")


def merge_state(old: ProviderState, new: ProviderState) -> ProviderState:
    """Two pieces of one part's opaque state: lists go on, other values are replaced."""
    data = dict(old.data)
    for key, value in new.data.items():
        held = data.get(key)
        data[key] = [*held, *value] if isinstance(held, list) and isinstance(value, list) else value
    return ProviderState(new.provider, data, new.closes)


def fold(events: Iterable[StreamEvent]) -> Reply[object]:
    """The Reply that these events add up to."""
    folded = Fold()
    folded.extend(events)
    return folded.reply()
