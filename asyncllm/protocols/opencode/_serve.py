"""The events of `opencode serve` (`GET /event`) to ours: one turn of one session."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from ...events import CharacterJoiner, LLMError, Session, StreamEvent
from .._json import to_json
from .._numbers import whole_number
from ..agents._exit import Exit
from ._config import STRUCTURED
from ._errors import error_of, exit_error, retry_error
from ._lines import read_line
from ._steps import Steps


class OwnCall(Struct, frozen=True):
    """A call of one of our tools."""

    id: str
    name: str
    arguments: dict[str, object]


class _Said:
    """A part, and how many of its characters were said."""

    __slots__ = ("characters", "kind", "length")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.length = 0
        self.characters = CharacterJoiner()


class ServeDecoder:
    """The state of one turn. Never raises for what opencode says.

    What was said before the turn, and late, is told apart by the ids of messages, which ascend: the turn begins with the
    user's message. It ends when the session is idle after it was busy.

    Attributes:
        done: whether the turn is over. If it `gave_up`, opencode does not know that yet, and has to be told.
        user: the id of the user's message, once it is known: what a failed turn is undone with.
        messages: the ids of the answers of this turn.
        calls: our calls that run and have not been parked, by part.
        forming: the parts that are calls whose arguments are not whole.
        retries: how often opencode may try again by itself; None: as often as it likes.
    """

    def __init__(
        self,
        session: Session,
        *,
        model: str,
        after: str = "",
        own: str = "",
        retries: int | None = None,
        warnings: tuple[str, ...] = (),
        raw: bool = False,
        structured: bool = False,
    ) -> None:
        """`after`: the last message before the turn; `own`: what the names of our tools begin with; `structured`: whether
        the answer is asked for as JSON."""
        self.done = self.gave_up = False
        self.user = ""
        self.messages: list[str] = []
        self.calls: dict[str, OwnCall] = {}
        self.forming: set[str] = set()
        self.retries = retries
        self._steps = Steps(session, model=model, warnings=warnings)
        self._id = session.id
        self._after = after
        self._own = own
        self._raw = raw
        self._structured = structured
        self._busy = False
        self._error: LLMError | None = None
        self._summaries: set[str] = set()
        self._parts: dict[str, _Said] = {}  # by id
        self._parked: set[str] = set()

    @property
    def session(self) -> Session:
        return self._steps.session

    # ---- lines

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        """Events as JSON, one a line."""
        for line in lines:
            if self.done:
                break
            event = read_line(line)
            if event is not None:  # the stream of events says how it ends; a line of it that is none is no end
                self._event(event)
        return self._steps.take()

    def close(self, exit: Exit) -> list[StreamEvent]:
        """The process ended."""
        if not self.done:
            self._fail(self._error or exit_error(exit, said=True))
        return self._steps.take()

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if not self.done:
            self._fail(error)
        return self._steps.take()

    def park(self) -> list[StreamEvent]:
        """Our calls wait for their results, which are told in another request."""
        self._parked.update(self.calls)
        self.calls = {}
        self._steps.park()
        return self._steps.take()

    def _fail(self, error: LLMError) -> None:
        self.done = True
        self._steps.fail(error)

    # ---- events

    def _event(self, event: dict[str, Any]) -> None:
        kind, given = event.get("type"), event.get("properties")
        if not isinstance(given, dict) or given.get("sessionID") != self._id:
            return
        match kind:
            case "message.part.delta":
                self._delta(given)
            case "message.part.updated":
                part = given.get("part")
                if isinstance(part, dict) and part.get("messageID") in self.messages:
                    self._part(part)
            case "message.updated":
                info = given.get("info")
                if isinstance(info, dict):
                    self._message(info)
            case "session.status":
                status = given.get("status")
                if isinstance(status, dict) and self.user:
                    self._status(status)
            case "session.idle":
                self._idle()
            case "session.error":
                self._session_error(given.get("error"))
            case _:
                if self._raw and kind not in _KNOWN:
                    self._steps.raw(event)

    def _message(self, info: Mapping[str, Any]) -> None:
        id, role = info.get("id"), info.get("role")
        if not isinstance(id, str) or id <= self._after:
            return
        if role == "user":
            self.user = self.user or id
            return
        if role != "assistant" or not self.user or id < self.user:
            return
        if info.get("summary") is True:  # it shortens its history: nothing that was asked for
            self._summaries.add(id)
            return
        if id not in self.messages:
            self.messages.append(id)
            provider, model = info.get("providerID"), info.get("modelID")
            if isinstance(provider, str) and isinstance(model, str):
                self._steps.model = f"{provider}/{model}"
        if isinstance(error := info.get("error"), dict) and self._error is None:
            self._error = error_of(error, text="".join(self._steps.text))  # of some, no session.error tells
        if self._structured and (answer := info.get("structured")) is not None:
            self._structured = False
            self._steps.answer(to_json(answer))
            self._steps.answered()

    def _status(self, status: Mapping[str, Any]) -> None:
        match status.get("type"):
            case "busy":
                self._busy = True
            case "idle":
                self._idle()
            case "retry":
                self._busy = True
                self._retry(status)

    def _retry(self, status: Mapping[str, Any]) -> None:
        attempt, at = whole_number(status.get("attempt")) or 1, whole_number(status.get("next"))
        now = time.time()
        delay = 0.0 if at is None else max(0.0, round(at / 1000 - now, 3))
        error = retry_error(status, delay, now)
        if self.retries is not None and attempt > self.retries:
            self.gave_up = True
            self._fail(error)
        else:
            self._steps.retrying(attempt, delay, error)

    def _session_error(self, given: object) -> None:
        error = error_of(given, text="".join(self._steps.text))
        if self.user and self._busy:
            self._error = error  # the end comes when the session is idle: it may mend this by a shorter history
        else:
            self._fail(error)  # before the turn has begun: nothing more comes

    def _idle(self) -> None:
        if not self._busy or self.done:
            return  # of an earlier turn
        if self._error is not None:
            self._fail(self._error)
        else:
            self.done = True
            self._steps.finish()

    # ---- parts

    def _part(self, part: Mapping[str, Any]) -> None:
        id, kind, message = part.get("id"), part.get("type"), str(part.get("messageID"))
        if not isinstance(id, str):
            return
        if kind in ("text", "reasoning"):
            self._whole(id, kind, message, part.get("text"))
        elif kind == "step-start":
            if id not in self._parts:
                self._parts[id] = _Said(kind)
                self._steps.begin(message)
        elif kind == "step-finish":
            if id not in self._parts:
                self._parts[id] = _Said(kind)
                self._error = None
                self._steps.end(part)
        elif kind == "tool":
            self._tool(id, message, part)
        elif self._raw and kind not in _PARTS:
            self._steps.raw(dict(part))

    def _whole(self, id: str, kind: str, message: str, text: object) -> None:
        """The part as it is now: what deltas have not said of it."""
        said = self._parts.setdefault(id, _Said(kind))
        if isinstance(text, str) and len(text) > said.length:
            said.characters.half = ""  # it is in there
            self._say(kind, message, text[said.length :])
            said.length = len(text)

    def _delta(self, given: Mapping[str, Any]) -> None:
        id, piece = given.get("partID"), given.get("delta")
        said = self._parts.get(id) if isinstance(id, str) else None
        if said is None or not isinstance(piece, str) or given.get("field") != "text":
            return  # of a part that is not known yet: it is said when it is
        piece = said.characters.feed(piece)
        said.length += len(piece)
        if piece:
            self._say(said.kind, str(given.get("messageID")), piece)

    def _say(self, kind: str, message: str, text: str) -> None:
        self._steps.begin(message)
        if kind == "text":
            self._steps.say(text)
        else:
            self._steps.think(text)

    def _tool(self, part: str, message: str, given: Mapping[str, Any]) -> None:
        id, name, state = given.get("callID"), given.get("tool"), given.get("state")
        if not isinstance(id, str) or not isinstance(name, str) or not isinstance(state, dict):
            return
        status = state.get("status")
        if status == "pending":
            self.forming.add(part)
            return
        self.forming.discard(part)
        if name == STRUCTURED and self._structured:
            return
        ours = bool(self._own) and name.startswith(self._own)
        name = name.removeprefix(self._own) if ours else name
        ended = status in ("completed", "error")
        if not self._steps.knows(part):
            self._steps.begin(message)
            ours = ours and not ended  # it ended before it got to us: a call of an unknown tool, for example
            self._steps.call(part, id, name, state.get("input"), executed=not ours)
            if ours:
                arguments = state.get("input")
                self.calls[part] = OwnCall(id, name, arguments if isinstance(arguments, dict) else {})
        if ended and part not in self._parked:  # of those that were, we have given the result
            self.calls.pop(part, None)
            self._steps.result(part, id, name, state)


_KNOWN = frozenset(
    {
        "permission.asked",
        "question.asked",
        "session.created",
        "session.updated",
        "session.diff",
        "session.compacted",
        "permission.replied",
        "message.removed",
    }
    | {
        "message.part.removed",
        "question.replied",
        "question.rejected",
        "todo.updated",
        "session.deleted",
        "file.edited",
    }
)
_PARTS = frozenset({"snapshot", "patch", "retry", "compaction", "agent", "subtask"})
