"""Events in, Reply out: the one accumulator. Linear in the number of events and characters."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from msgspec import Struct

from ._errors import InvalidOutputError
from ._messages import Audio, File, Image, Message, Part, ProviderState, Reasoning, Text, ToolCall, ToolResult
from ._session import Session
from ._stream import (
    Citation,
    Finish,
    FinishReason,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    Stopped,
    StopReason,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCallDelta,
    ToolProgress,
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

    Of a run with tools, `steps` is the number of answers of the model, `usage` that of all of them, `messages` has every
    turn and result, and the rest is of the last step. `stopped` says why it went no further though the model was not done;
    running `messages` goes on.

    `session` is where a coding agent keeps the conversation. Its own steps and tools are told like those of a run.
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
    steps: int = 0
    stopped: StopReason | None = None
    session: Session | None = None

    @property
    def complete(self) -> bool:
        """Whether the model came to the end of its (last) answer."""
        return self.finish_reason is not None


HEARD = 128
"""Events that may wait to be folded: they are larger than their text."""

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
        "_results",
        "_run",
        "_session",
        "_start",
        "_state",
        "_steps",
        "_stopped",
        "_usage",
        "_used",
        "heard",
    )

    def __init__(self) -> None:
        self.heard: list[StreamEvent] = []
        """Events that are not folded yet. Who cannot afford a call for each appends them here, and calls `settle` when there
        are more than HEARD."""
        self._done: list[Message] = []  # turns of steps that are over
        self._parts: list[Part] = []  # parts of this step that are over
        self._kind: type[TextDelta] | type[ReasoningDelta] | type[ToolResult] = TextDelta
        self._joined: list[str] = []  # the part under way: what was joined (once, so that the cost is linear) ...
        self._run: list[str] = []  # ... and the last deltas
        self._state: ProviderState | None = None
        self._refusal: list[str] | None = None  # rare things have their containers when they come
        self._half: dict[str, list[ToolCallDelta]] = {}  # calls begun and not yet said whole
        self._executed: set[str] | None = None  # calls of this step that the provider runs itself
        self._results: list[Part] | None = None  # of this turn's calls
        self._citations: list[Citation] | None = None
        self._usage: Usage | None = None
        self._used: Usage | None = None  # by the steps that are over
        self._finish: Finish | None = None
        self._start: StreamStart | None = None
        self._steps = 0
        self._stopped: StopReason | None = None
        self._session: Session | None = None

    @property
    def over(self) -> bool:
        """Whether the last event was the end of a step, or of a run."""
        self.settle()
        return self._finish is not None or self._stopped is not None

    def add(self, event: StreamEvent) -> None:
        self.extend((event,))

    def extend(self, events: Iterable[StreamEvent]) -> None:
        self.heard += events
        self.settle()

    def settle(self) -> None:
        """Fold what was heard."""
        heard = self.heard
        for event in heard:
            kind = event.__class__
            if kind is TextDelta:  # nearly all events are these
                if self._kind is not TextDelta:
                    self._end_part(TextDelta)
                self._run.append(event.text)  # type: ignore[union-attr]
                if event.state is not None:  # type: ignore[union-attr]
                    self._keep(event.state)  # type: ignore[union-attr,arg-type]
            else:
                self._add(event)
        heard.clear()
        if len(self._run) > RUN:
            self._joined.append("".join(self._run))
            self._run.clear()

    def _add(self, event: StreamEvent) -> None:
        match event:  # the frequent ones first: for a Struct each case that does not match costs as much as a call
            case TextDelta():
                raise AssertionError("unreachable")
            case ReasoningDelta(text=text, state=state):
                if self._kind is not ReasoningDelta:
                    self._end_part(ReasoningDelta)
                self._run.append(text)
                if state is not None:
                    self._keep(state)
            case ToolCallDelta():
                self._half.setdefault(event.id, []).append(event)
            case Usage():
                self._usage = event
            case Finish():
                self._finish = event
            case StreamStart():
                self._end_step()
                self._start, self._finish = event, None
                self._steps += 1
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
                self._end_part(ToolResult)
                self._results = self._results or []
                self._results.append(event)
            case RefusalDelta(text=text):
                self._refusal = self._refusal or []
                self._refusal.append(text)
            case Session():
                self._session = event
            case Stopped(reason=reason):
                self._stopped = reason
            case Retrying(error=InvalidOutputError()):  # the turn is taken back
                self._end_part(TextDelta)
                self._parts, self._finish = [], None
            case Retrying() | ToolProgress() | StreamError() | RawEvent():
                pass

    def reply(self, *, before: Sequence[Message] = ()) -> Reply[object]:
        """The Reply so far. `before` is the conversation that was sent."""
        self.settle()
        parts = [*self._parts, *self._open_part(), *(_cut(deltas) for deltas in self._half.values())]
        turn = _turn(parts)
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
            tool_calls=_waiting(parts, self._results or []),
            citations=list(self._citations or ()),
            usage=usage,
            finish_reason=self._finish.reason if self._finish else None,
            raw_finish_reason=self._finish.raw if self._finish else None,
            finish_details=self._finish.details if self._finish else None,
            message=turn,
            messages=[*before, *self._done, *([turn] if parts else []), *self._told()],
            model=start.model,
            id=start.id,
            backend=start.backend,
            warnings=start.warnings,
            steps=self._steps,
            stopped=self._stopped,
            session=self._session,
        )

    def _open_part(self) -> list[Part]:
        text = "".join([*self._joined, *self._run])
        if len(self._joined) + len(self._run) > 1:
            self._joined, self._run = [text], []
        if self._kind is ReasoningDelta and (text or self._state is not None):
            return [Reasoning(text, self._state)]
        return [Text(text, self._state)] if text or self._state is not None else []

    def _end_part(self, following: type[TextDelta] | type[ReasoningDelta] | type[ToolResult]) -> None:
        self._parts += self._open_part()
        self._joined, self._run, self._state, self._kind = [], [], None, following
        if self._results is not None and following is not ToolResult:
            self._end_turn()

    def _keep(self, state: ProviderState) -> None:
        self._state = state if self._state is None else merge_state(self._state, state)
        if state.closes:
            self._end_part(self._kind)

    def _end_turn(self) -> None:
        """Another turn begins: the one so far, and the results of its calls, become messages of the conversation."""
        self._done += [*([_turn(self._parts)] if self._parts else []), *self._told()]
        self._parts, self._results = [], None

    def _told(self) -> list[Message]:
        return [Message("tool", list(self._results))] if self._results else []

    def _end_step(self) -> None:
        self._end_part(TextDelta)
        self._end_turn()
        self._executed = self._citations = self._refusal = None
        if self._usage is not None:
            self._used = self._usage if self._used is None else self._used + self._usage
            self._usage = None


def _turn(parts: list[Part]) -> Message:
    """The assistant's message: plain text where it is nothing else."""
    if len(parts) == 1 and isinstance(only := parts[0], Text) and only.state is None:
        return Message("assistant", only.text)
    return Message("assistant", parts or "")


def _waiting(parts: list[Part], results: list[Part]) -> list[ToolCall]:
    """The calls that nobody has answered."""
    answered = {part.id for part in results if isinstance(part, ToolResult)}
    return [part for part in parts if isinstance(part, ToolCall) and not part.executed and part.id not in answered]


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
