"""A turn of opencode as steps: it says where one ends. Each Finish is held back until it is known whether it is the last."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from ...events import (
    Finish,
    FinishReason,
    Image,
    IncompleteStreamError,
    LLMError,
    RawEvent,
    ReasoningDelta,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
    Usage,
)
from ...events._usage import number
from .._finish import finish_reason
from .._json import to_json
from ..agents._turn import mark

REJECTED = "The user rejected permission to use this specific tool call."
"""What opencode says of a call that was denied; without further words the turn ends there."""


class Steps:
    """Collects the events of one turn, in a legal order; :meth:`take` hands them over.

    Attributes:
        session: where the turn can be gone on from; its last value is said at the end.
        model: of the steps that begin from now on.
    """

    def __init__(self, session: Session, *, model: str, warnings: tuple[str, ...] = ()) -> None:
        self.session = session
        self.model = model
        self.text: list[str] = []  # of the step under way
        self._warnings = warnings
        self._events: list[StreamEvent] = []
        self._begun = False
        self._open = False
        self._content = False  # whether the step under way has said anything
        self._held: Finish | None = None  # of the step under way, which is over
        self._usage: Usage | None = None
        self._calls: set[str] = set()  # all of the turn, by their parts: models use the ids of calls again
        self._done: set[str] = set()

    def take(self) -> list[StreamEvent]:
        events, self._events = self._events, []
        return events

    @property
    def open(self) -> bool:
        """Whether a step is under way that opencode has not ended."""
        return self._open and self._held is None

    @property
    def over(self) -> bool:
        """Whether the last step was ended."""
        return self._held is not None

    # ---- what is said

    def begin(self, id: str) -> None:
        """A step of the message `id`; nothing happens if one is under way."""
        if self.open:
            return
        self._release()
        warnings, self._warnings = self._warnings, ()
        if id:
            self.session = replace(self.session, turn=id)
        self._events.append(StreamStart(self.model, id, self.session.backend, warnings))
        if not self._begun and self.session.id:
            self._events.append(replace(self.session, turn=""))
        self._begun = self._open = True
        self._content = False
        self.text = []

    def say(self, text: str) -> None:
        if text:
            self._content = True
            self.text.append(text)
            self._events.append(TextDelta(text))

    def think(self, text: str) -> None:
        if text:
            self._content = True
            self._events.append(ReasoningDelta(text))

    def knows(self, part: str) -> bool:
        """Whether this call was said."""
        return part in self._calls

    def call(self, part: str, id: str, name: str, arguments: object, *, executed: bool = True) -> None:
        """A call, once."""
        if part not in self._calls:
            self._content = True
            self._calls.add(part)
            given = arguments if isinstance(arguments, dict) else {}
            self._events.append(ToolCall(id, name, given, to_json(given), executed=executed))

    def result(self, part: str, id: str, name: str, state: Mapping[str, Any]) -> None:
        """The result of a call, once; it may come after the end of its step."""
        if part in self._calls and part not in self._done:
            self._done.add(part)
            self._events.append(ToolResult(id, name, content_of(state), state.get("status") != "completed"))

    def raw(self, event: object) -> None:
        self._events.append(RawEvent(event))

    # ---- ends

    def end(self, part: Mapping[str, Any]) -> None:
        """A step-finish. Of a step that was parked, it is only what the request has cost."""
        usage = usage_of(part)
        if usage is not None:
            self._usage = usage if self._usage is None else self._usage + usage
        if self.open:
            raw = part.get("reason")
            raw = raw if isinstance(raw, str) else None
            reason = finish_reason(raw.replace("-", "_")) if raw else "other"
            self._held = Finish("other" if reason == "error" else reason, raw)

    def retrying(self, attempt: int, delay: float, error: LLMError) -> None:
        """The model is asked again. What its broken answer has said was not the answer: another step begins."""
        if self.open and self._content:
            self._close(Finish("error"))
        else:
            self._release()
        self._events.append(Retrying(attempt, delay, error))

    def park(self) -> None:
        """The turn stands still until our tools have answered. What it has cost is not known yet."""
        if self.session.id:  # else it has not said yet where it is
            self._events += (TextDelta("", mark(self.session)), self.session)
        self._close(Finish("tool_calls"))

    def answer(self, text: str) -> None:
        """An answer of which nothing else may be part: in a step of its own, if this one has said something."""
        if self.text:
            self._held = self._held or Finish("tool_calls")
            self.begin(self.session.turn)
        elif not self._open:
            self.begin(self.session.turn)
        self.say(text)

    def finish(self) -> None:
        """The turn is over: after a step that opencode has ended."""
        held = self._held
        if held is None:
            what = "in the middle of an answer" if self._open else "without an answer"
            self.fail(IncompleteStreamError(f"opencode ended the turn {what}"))
            return
        reason: FinishReason = "other" if held.reason == "tool_calls" else held.reason
        self._count()
        self._events += (TextDelta("", mark(self.session)), self.session, Finish(reason, held.raw))
        self._open, self._held = False, None

    def answered(self) -> None:
        """The answer that was asked for as JSON is there: whatever the last step was ended with."""
        self._held = Finish("stop", self._held.raw if self._held is not None else None)

    def fail(self, error: LLMError) -> None:
        if self.open:
            self._count()
        else:
            self._release()
        self._events.append(StreamError(error))
        self._open, self._held = False, None

    def _release(self) -> None:
        """The step before, which was not the last one."""
        if self._held is not None:
            self._close(self._held)

    def _close(self, finish: Finish) -> None:
        self._count()
        self._events.append(finish)
        self._open, self._held = False, None

    def _count(self) -> None:
        if self._usage is not None:
            self._events.append(self._usage)
            self._usage = None


def usage_of(part: Mapping[str, Any]) -> Usage | None:
    """Of a step: opencode's input is without what came from the cache, its output without reasoning."""
    tokens, cost = part.get("tokens"), part.get("cost")
    if not isinstance(tokens, Mapping):
        return None
    cache = tokens.get("cache")
    cache = cache if isinstance(cache, Mapping) else {}
    given, made, thought = (number(tokens.get(name)) or 0 for name in ("input", "output", "reasoning"))
    read, write = (number(cache.get(name)) or 0 for name in ("read", "write"))
    known = isinstance(cost, int | float) and not isinstance(cost, bool) and cost > 0  # 0: a model without a price
    return Usage(
        input_tokens=given + read + write,
        output_tokens=made + thought,
        cache_read_tokens=read,
        cache_write_tokens=write,
        reasoning_tokens=thought,
        cost=float(cost) if known else None,  # type: ignore[arg-type]
        raw={"tokens": dict(tokens), "cost": cost},
    )


def content_of(state: Mapping[str, Any]) -> str | list[Text | Image]:
    """What a tool has answered."""
    if state.get("status") != "completed":
        error = state.get("error")
        return error if isinstance(error, str) else "the tool failed"
    output, attached = state.get("output"), state.get("attachments")
    text = output if isinstance(output, str) else msgspec.json.encode(output).decode()
    images = [image for item in attached if (image := _image(item))] if isinstance(attached, list) else []
    return [Text(text), *images] if images else text


def _image(attached: object) -> Image | None:
    if not isinstance(attached, Mapping):
        return None
    mime, url = attached.get("mime"), attached.get("url")
    if isinstance(mime, str) and mime.startswith("image/") and isinstance(url, str):
        return Image(url=url, media_type=mime)
    return None
