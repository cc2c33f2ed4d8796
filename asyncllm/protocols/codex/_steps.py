"""A turn of Codex as steps: where one answer of the model ends and the next begins, which Codex does not say.

A new step begins when the model speaks again after its tools are done, after the usage of its request was told, or after a
whole message of it: the last message is the answer.
"""

from __future__ import annotations

from typing import Literal

from msgspec.structs import replace

from ...events import (
    Finish,
    FinishReason,
    Image,
    LLMError,
    RawEvent,
    ReasoningDelta,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)
from ..agents._turn import mark
from ..agents._words import clipped

Output = Literal["text", "reasoning", "call"]


class Steps:
    """Collects the events of one turn, in a legal order; :meth:`take` hands them over.

    Attributes:
        model: of the steps that begin from now on.
        session: where the turn can be gone on from; its last value is said at the end.
    """

    def __init__(self, session: Session, *, model: str, warnings: tuple[str, ...] = ()) -> None:
        self.model = model
        self.session = session
        self._warnings = list(warnings)
        self._told = set(warnings)
        self._events: list[StreamEvent] = []
        self._begun = False  # the first step
        self._open = False
        self._answered = False  # the request of this step is answered
        self._over = False  # and what it called is done
        self._more: set[str] = set()  # calls that it made, and that were not begun yet
        self._whole = False  # a message of this step is whole
        self._running: set[str] = set()  # calls of this step that are not done
        self._calls: set[str] = set()
        self._own: set[str] = set()  # those of them that Codex runs itself
        self._owed: set[str] = set()  # its own calls of earlier steps, whose results are still to come
        self._attempted = False  # something was said since the last try
        self._usage: Usage | None = None  # of this step, or of the first one
        self._later: Usage | None = None  # of the next step, whose request is answered before anything of it is told
        self._text: list[str] = []
        self.retries = 0

    def take(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events

    @property
    def text(self) -> str:
        """What the step under way has said."""
        return "".join(self._text)

    def warn(self, text: str) -> None:
        """Said at the beginning of the next step. What was said already is not said again."""
        text = clipped(text)
        if text and text not in self._told:
            self._told.add(text)
            self._warnings.append(text)

    # ---- what the model says

    def begin(self) -> None:
        """The first step: where the session is, is known from now on."""
        if not self._begun:
            self._start()

    def raw(self, event: RawEvent) -> None:
        self._events.append(event)

    def say(self, text: str) -> None:
        if text:
            self._output("text")
            self._text.append(text)
            self._events.append(TextDelta(text))

    def message_is_whole(self) -> None:
        self._whole = self._whole or bool(self._text)

    def think(self, text: str) -> None:
        if text:
            self._output("reasoning")
            self._events.append(ReasoningDelta(text))

    def show(self, image: Image) -> None:
        self._output("call")
        self._events.append(image)

    def call(self, call: ToolCall) -> None:
        """A call; one that was said in this step, or is still running since an earlier one, is not said again."""
        if call.id in self._owed or (call.id in self._calls and self._open and not self._over):
            return
        self._output("call")
        self._calls.add(call.id)
        self._running.add(call.id)
        self._more.discard(call.id)
        if call.executed:
            self._own.add(call.id)
        self._events.append(call)

    def made(self, id: str) -> None:
        """The model has made a call; Codex may begin it when others of the same answer are done."""
        if id not in self._calls or not self._open:
            self._more.add(id)

    def result(self, result: ToolResult) -> None:
        if result.id in self._owed:
            self._owed.discard(result.id)
            self._events.append(result)
        elif result.id in self._running:
            self._running.discard(result.id)
            self._events.append(result)
            self._attempted = bool(self._running)  # what fails next is the next request
            self._over = self._answered and not self._running and not self._more

    def _output(self, kind: Output) -> None:
        self._attempted = True
        if self._open:
            done = bool(self._calls) and not self._running
            if self._over or (kind != "call" and done) or (kind == "text" and self._whole):
                self._close("tool_calls" if self._calls else "other")
        if not self._open:
            self._start()

    # ---- what a request cost, and its end

    def used(self, usage: Usage | None) -> None:
        """The usage of one request: of this step, or of the next one where this one is over."""
        if self._over:
            self._later = _sum(self._later, usage)
        else:
            self._usage = _sum(self._usage, usage)

    def request_is_over(self) -> None:
        self._answered = self._open
        self._over = self._open and not self._running and not self._more
        self._attempted = self._attempted and not self._over

    def retrying(self, error: LLMError, attempt: int | None) -> None:
        """Codex tries again. What its last try has said was not the answer: a new step begins."""
        self.retries = attempt if attempt is not None else self.retries + 1
        if self._open and self._attempted:
            self._close("error")
        self._attempted = False
        self._more.clear()
        self._events.append(Retrying(self.retries, 0.0, error))

    # ---- the ends

    def park(self) -> None:
        """The turn stands still until our tools have answered."""
        if not self._open:
            self._start()
        self._events += (TextDelta("", mark(self.session)), self.session)
        self._close("tool_calls")

    def finish(self, reason: FinishReason, raw: str) -> None:
        if not self._open:
            self._start()
        self._all_counts()
        late = {"warnings": list(self._warnings)} if self._warnings else None
        self._count()
        self._events += (TextDelta("", mark(self.session)), self.session, Finish(reason, raw, late))
        self._open = False

    def fail(self, error: LLMError) -> None:
        if self._open:
            self._all_counts()
            self._count()
        self._events.append(StreamError(error))
        self._open = False

    def _start(self) -> None:
        warnings, self._warnings = tuple(self._warnings), []
        self._events.append(StreamStart(self.model, self.session.turn, self.session.backend, warnings))
        if not self._begun:
            self._events.append(self.session)
        self._begun = self._open = True
        self._answered = self._over = self._whole = False
        self._calls, self._own, self._text = set(), set(), []
        self._all_counts()

    def _close(self, reason: FinishReason) -> None:
        self._count()
        self._events.append(Finish(reason))
        self._open = False
        self._owed |= self._running & self._own
        self._running.clear()

    def _all_counts(self) -> None:
        self._usage, self._later = _sum(self._usage, self._later), None

    def _count(self) -> None:
        if self._usage is not None:
            self._events.append(self._usage)
            self._usage = None


def _sum(one: Usage | None, other: Usage | None) -> Usage | None:
    if one is None or other is None:
        return one or other
    return replace(one + other, raw=None)
