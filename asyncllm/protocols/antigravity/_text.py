"""The plain text of `agy -p`: the answer and nothing else, which is all that old versions can say."""

from __future__ import annotations

from collections.abc import Iterable

from ...events import Finish, LLMError, Session, StreamError, StreamEvent, StreamStart, TextDelta
from ..agents._exit import Exit
from ..agents._turn import mark
from ._errors import error_of, said_timeout, unfinished


class TextDecoder:
    """One turn. There is no usage, no tool and no conversation to be seen; success is exit code 0 and some text."""

    def __init__(
        self, *, model: str, warnings: tuple[str, ...] = (), session: Session | None = None, resumed: bool = False
    ):
        self.done = False
        self.ending = False
        self._model = model
        self._warnings = warnings
        self._session = session
        self._resumed = resumed
        self._said = False
        self._blank = b""

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        return [] if self.done else self._say(b"".join(line + b"\n" for line in lines))

    def _say(self, data: bytes) -> list[StreamEvent]:
        """Line ends at its edges are the program's, not the model's."""
        data = self._blank + data
        kept = data.rstrip()
        if not self._said:
            kept = kept.lstrip()
        if not kept:
            self._blank = data
            return []
        self._blank = data[len(data.rstrip()) :]
        events: list[StreamEvent] = [] if self._said else [self._start()]
        self._said = True
        return [*events, TextDelta(kept.decode("utf-8", "replace"))]

    def _start(self) -> StreamStart:
        return StreamStart(self._model, backend="antigravity", warnings=self._warnings)

    def close(self, exit: Exit) -> list[StreamEvent]:
        if self.done:
            return []
        events = self._say(exit.tail) if exit.tail else []
        self.done = True
        error: LLMError | None = said_timeout(exit)
        if error is None and exit.code:
            error = error_of(exit) if exit.code > 0 else unfinished(exit, spoke=self._said)
        if error is None and not self._said:
            error = unfinished(exit, spoke=False)
        if error is not None:
            return [*events, *self._failed(error)]
        if self._session is not None:
            events += [TextDelta("", mark(self._session)), self._session]
        return [*events, Finish("stop")]

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if self.done:
            return []
        self.done = True
        return self._failed(error)

    def _failed(self, error: LLMError) -> list[StreamEvent]:
        if self._resumed:
            error.retryable = False
        return [StreamError(error)]
