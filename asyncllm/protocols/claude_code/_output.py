"""The other forms of output: one JSON object, or plain text."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Literal

from msgspec.structs import replace

from ...events import Finish, LLMError, Session, StreamError, StreamEvent, StreamStart, TextDelta
from .._json import to_json
from ..agents._exit import Exit
from ..agents._turn import mark
from ..agents._words import parse_line
from ._decode import StreamDecoder
from ._errors import plain_error


class OutputDecoder:
    """One turn whose answer comes whole, at the end of the process (`--output-format json` or `text`)."""

    def __init__(
        self,
        session: Session,
        form: Literal["json", "text"],
        *,
        model: str = "",
        warnings: tuple[str, ...] = (),
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.done = False
        self.session = session
        self._form = form
        self._model = model
        self._warnings = warnings
        self._clock = clock
        self._lines: list[bytes] = []

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        self._lines += lines
        return []

    def close(self, exit: Exit) -> list[StreamEvent]:
        """The process is gone: what it said is all that it says."""
        if self.done:
            return []
        self.done = True
        if self._form == "json":
            inner = StreamDecoder(self.session, model=self._model, warnings=self._warnings, clock=self._clock)
            lines = self._lines
            whole = parse_line(b"\n".join([*lines, exit.tail]))
            if isinstance(whole, list):  # who is verbose lists all that a stream would have said
                lines, exit = [to_json(line).encode() for line in whole], replace(exit, tail=b"")
            events = [*inner.decode_lines(lines), *inner.close(exit)]
            self.session = inner.session
            return events
        text = b"\n".join([*self._lines, exit.tail]).decode("utf-8", "replace").strip()
        if exit.code != 0 or not text:
            error = plain_error(text, exit, self._clock())
            error.provider = self.session.backend
            return [StreamError(error)]
        start = StreamStart(self._model, "", self.session.backend, self._warnings)
        named: list[StreamEvent] = [TextDelta("", mark(self.session)), self.session] if self.session.id else []
        return [start, TextDelta(text), *named, Finish("stop")]

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if self.done:
            return []
        self.done = True
        error.provider = error.provider or self.session.backend
        return [StreamError(error)]
