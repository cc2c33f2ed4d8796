"""The JSON lines of `codex exec --json`, as events: whole items, and errors that are only sentences.

The lines of versions before 0.44 are read by `_exec_old.py`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from ...events import LLMError, RawEvent, Session, StreamEvent, ToolCall, UnknownError
from ..agents._exit import Exit
from ..agents._words import parse_line
from ._errors import RECONNECTING, exit_error, from_words, not_json
from ._exec_old import OldLines
from ._items import call_of, image_of, kind_of, result_of
from ._steps import Steps
from ._usage import counts_of, since, usage_of

LOST = "rmcp::transport::worker: worker quit with fatal"
_ADDRESS = re.compile(r"worker quit with fatal.{0,300}?url \((\S+?)\)")


class ExecDecoder:
    """The state of one run of the program, which is one turn. Never raises for what it says.

    Its usage is cumulative over the thread (F12): `before` are the counts of the turns before this one; None where the thread
    is gone on with and nobody knows them.

    Attributes:
        done: the end of the turn was said, or the process is gone.
        thread: its id, once it is known.
        totals: the counts of the whole thread, once they are known.
    """

    def __init__(
        self,
        session: Session,
        *,
        model: str,
        before: Mapping[str, int] | None = None,
        warnings: tuple[str, ...] = (),
        raw: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.done = False
        self.thread = session.id
        self.totals: dict[str, int] | None = None
        self._steps = Steps(session, model=model, warnings=warnings)
        self._before = before
        self._raw = raw
        self._clock = clock
        self._calls: dict[str, ToolCall] = {}
        self._old: OldLines | None = None  # what reads a version that speaks the schema before 0.44
        self._trouble: str | None = None
        self._sense = False

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        for line in lines:
            if self.done:
                break
            if not line.strip():
                continue
            event = parse_line(line)
            if isinstance(event, dict):
                self._sense = True
                self._event(event)
            elif not self._sense:
                self._fail(not_json(line))
        return self._steps.take()

    def hear(self, stderr: str) -> None:
        """What it has written to its standard error: only there it says that an MCP server is lost."""
        if LOST in stderr and not self.done:
            where = _ADDRESS.search(stderr)
            self._steps.warn(f"an MCP server is not there{f': {where[1]}' if where else ''}")

    def close(self, exit: Exit) -> list[StreamEvent]:
        """The process is gone. Its exit code says nothing where the end of the turn was said."""
        if not self.done:
            if self._trouble is not None and not exit.tail.strip():
                self._fail(from_words(self._trouble, self._clock(), text=self._steps.text))
            else:
                self._fail(exit_error(exit, self._clock(), said=self._sense))
        return self._steps.take()

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if not self.done:
            self._fail(error)
        return self._steps.take()

    def _fail(self, error: LLMError) -> None:
        self.done = True
        self._steps.fail(error)

    def _event(self, event: dict[str, Any]) -> None:
        item = event.get("item")
        match event.get("type"):
            case "thread.started":
                if isinstance(id := event.get("thread_id"), str) and id:
                    self.thread = id
                    self._steps.session = replace(self._steps.session, id=id)
            case "turn.started":
                self._steps.begin()
            case "item.started" | "item.updated" if isinstance(item, dict):
                if (call := call_of(item)) is not None and call.id not in self._calls:
                    self._calls[call.id] = call
                    self._steps.call(call)
            case "item.completed" if isinstance(item, dict):
                self._completed(item)
            case "turn.completed":
                self._completes(event.get("usage"))
            case "turn.failed":
                error = event.get("error")
                words = error.get("message") if isinstance(error, Mapping) else error
                words = words if isinstance(words, str) else self._trouble or ""
                failure = from_words(words, self._clock(), text=self._steps.text)
                self._fail(failure if words else UnknownError("the turn failed, and codex does not say why"))
            case "error":
                self._troubled(str(event.get("message", "")))
            case None if isinstance(event.get("msg"), dict):
                self._old = self._old or OldLines(self._steps, before=self._before, raw=self._raw)
                for line in self._old.read(event):
                    self._fail(line) if isinstance(line, LLMError) else self._event(line)
            case _:
                if self._raw:
                    self._steps.raw(RawEvent(event))

    def _completed(self, item: dict[str, Any]) -> None:
        text = item.get("text")
        match kind_of(item):
            case "agent_message":
                self._steps.say(text if isinstance(text, str) else "")
                self._steps.message_is_whole()
            case "reasoning":
                self._steps.think(text if isinstance(text, str) else "")
            case "error":  # only a warning: a failure is the turn's
                self._steps.warn(str(item.get("message", "")))
            case "image_generation" if (image := image_of(item)) is not None:
                self._steps.show(image)
            case _:
                call = self._calls.pop(str(item.get("id")), None) or call_of(item)
                if call is not None:
                    self._steps.call(call)
                    self._steps.result(result_of(item, call))

    def _completes(self, usage: object) -> None:
        self.done = True
        if self._trouble is not None:  # it passed
            self._steps.warn(self._trouble)
        total = counts_of(usage)
        if total is not None:
            self.totals = total
            if self._before is not None and self._old is None:  # that one has told it, request by request
                self._steps.used(usage_of(since(total, self._before)))
            session = self._steps.session
            self._steps.session = replace(session, data={**session.data, "usage": total})
        self._steps.finish("stop", "completed")

    def _troubled(self, words: str) -> None:
        """Trouble that may pass: only the end of the turn says that it did not."""
        again = RECONNECTING.match(words)
        if again is None:
            self._trouble = words
            return
        error = from_words(again[2] or words, self._clock())
        self._steps.retrying(error, int(again[1]) if again[1] else None)
