"""The lines of `opencode run` to ours: with `--format json` whole parts, without it the answer as plain text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec.structs import replace

from ...events import Finish, LLMError, ServerError, Session, StreamError, StreamEvent, StreamStart, TextDelta
from .._numbers import whole_number
from ..agents._exit import Exit
from ._errors import NAME, error_of, exit_error
from ._lines import read_line
from ._steps import REJECTED, Steps


class RunDecoder:
    """The state of one run. Never raises for what opencode says.

    There is no last line: a run is over when the process is. It is whole when its last step was ended and is followed by
    nothing: neither by an error nor by the answer to tools that were run.
    """

    def __init__(
        self,
        session: Session | None,
        *,
        model: str,
        own: str = "",
        retries: int | None = None,
        warnings: tuple[str, ...] = (),
        raw: bool = False,
        cwd: str = "",
    ) -> None:
        self.done = self.gave_up = False
        self._steps = Steps(session or Session(backend=NAME, id="", cwd=cwd), model=model, warnings=warnings)
        self._own = own
        self._raw = raw
        self._allowed = retries
        self._retries = 0
        self._said = False
        self._odd = b""  # the first line that was no JSON
        self._stopped = False  # a denied call ends the turn
        self._waits = False  # for the answer of the model to what its tools have said
        self._error: LLMError | None = None

    @property
    def session(self) -> Session:
        return self._steps.session

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        for line in lines:
            if self.done or not line.strip():
                continue
            event = read_line(line)
            if event is not None and isinstance(event.get("type"), str):
                self._said = True
                self._event(event)
            elif not self._odd:
                self._odd = line
        return self._steps.take()

    def close(self, exit: Exit) -> list[StreamEvent]:
        """The process ended."""
        if not self.done:
            self.done = True
            if self._error is not None:
                self._steps.fail(self._error)
            elif self._steps.over and not self._waits and not exit.tail.strip() and not (exit.code or 0) > 0:
                self._steps.finish()
            else:
                ended = exit if self._said or not self._odd else replace(exit, tail=self._odd)
                self._steps.fail(exit_error(ended, said=self._said))
        return self._steps.take()

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if not self.done:
            self.done = True
            self._steps.fail(error)
        return self._steps.take()

    def call(self, id: str, name: str, arguments: dict[str, object]) -> list[StreamEvent]:
        """A call of one of our tools, which waits: opencode says it only when it has its result."""
        self._steps.begin(self.session.turn)
        self._steps.call(id, id, name, arguments, executed=False)
        return self._steps.take()

    def park(self) -> list[StreamEvent]:
        self._steps.park()
        return self._steps.take()

    # ---- lines

    def _event(self, event: dict[str, Any]) -> None:
        kind, part = event.get("type"), event.get("part")
        part = part if isinstance(part, dict) else {}
        id = event.get("sessionID")
        if isinstance(id, str) and not self.session.id:
            self._steps.session = replace(self.session, id=id)
        message = part.get("messageID")
        message = message if isinstance(message, str) else self.session.turn
        match kind:
            case "step_start":
                self._step_start(message)
            case "text" | "reasoning":
                self._steps.begin(message)
                text = part.get("text")
                if isinstance(text, str):
                    (self._steps.say if kind == "text" else self._steps.think)(text)
            case "tool_use":
                self._tool(part, message)
            case "step_finish":
                self._error = None
                self._steps.end(part)
                self._waits = part.get("reason") == "tool-calls" and not self._stopped
            case "error":
                at = whole_number(event.get("timestamp"))
                self._error = error_of(
                    event.get("error"), text="".join(self._steps.text), now=None if at is None else at / 1000
                )
            case _:
                if self._raw:
                    self._steps.raw(event)

    def _step_start(self, message: str) -> None:
        self._waits = self._stopped = False
        if self._steps.open and message == self.session.turn:  # the step before was not ended
            self._retries += 1
            error = ServerError("the answer of the model broke off: opencode asks again, and does not say why")
            if self._allowed is not None and self._retries > self._allowed:
                self.done = self.gave_up = True
                self._steps.fail(error)
                return
            self._steps.retrying(self._retries, 0.0, error)
        self._steps.begin(message)

    def _tool(self, part: Mapping[str, Any], message: str) -> None:
        id, name, state = part.get("callID"), part.get("tool"), part.get("state")
        if not isinstance(id, str) or not isinstance(name, str) or not isinstance(state, dict):
            return
        if self._own and name.startswith(self._own):
            return  # it was said when it was called
        self._steps.begin(message)
        key = f"{part.get('id')} {message} {id}"
        self._steps.call(key, id, name, state.get("input"))
        self._steps.result(key, id, name, state)
        self._stopped = self._stopped or state.get("error") == REJECTED


class PlainDecoder:
    """`opencode run` without `--format`: its output is the answer, and nothing says whether it is whole but its exit code.

    That exit code is 0, too, where output was lost on the way: this form is for versions that have no other.
    """

    def __init__(self, session: Session | None, *, model: str, warnings: tuple[str, ...] = (), cwd: str = "") -> None:
        self.done = False
        self.session = session or Session(backend=NAME, id="", cwd=cwd)
        self._model = model
        self._warnings = (
            *warnings,
            "plain text: neither usage, nor tools, nor a session, nor whether the answer is whole",
        )
        self._lines: list[bytes] = []
        self._started = False

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for line in () if self.done else lines:
            if not self._started:
                self._started = True
                events.append(StreamStart(self._model, "", NAME, self._warnings))
                events.append(TextDelta(line.decode("utf-8", "replace")))
            else:
                events.append(TextDelta("\n" + line.decode("utf-8", "replace")))
        return events

    def close(self, exit: Exit) -> list[StreamEvent]:
        events = self.decode_lines([exit.tail] if exit.tail else [])
        if self.done:
            return []
        self.done = True
        if exit.code == 0 and self._started and not exit.tail:  # the last line is a whole one
            return [*events, Finish("other")]
        return [*events, StreamError(exit_error(exit if exit.code == 0 else replace(exit, tail=b""), said=True))]

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if self.done:
            return []
        self.done = True
        return [StreamError(error)]
