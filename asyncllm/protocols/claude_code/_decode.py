"""The JSON lines of Claude Code as events: one turn of a session, from its `system/init` to its `result`.

The model's messages come as the raw events of the Messages API (`stream_event`), as whole blocks (`assistant`), or as both:
then the blocks say nothing new. Each message is a step. What sub-agents say is no part of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec.structs import replace

from ...events import (
    InvalidRequestError,
    LLMError,
    RawEvent,
    Retrying,
    Session,
    StreamError,
    StreamEvent,
    TextDelta,
    ToolProgress,
    ToolResult,
)
from .._finish import finish_reason
from .._json import to_json
from ..agents._exit import Exit
from ..agents._turn import mark
from ..agents._words import parse_line
from ._content import content_of
from ._control import Desk
from ._errors import ABORTED, FAILED, Trouble, exit_error, not_json, result_error, retry_error
from ._steps import Steps
from ._usage import amount, cost_of, usage_of

SYNTHETIC = "<synthetic>"
"""The model of messages that the program has written itself: its errors, and what its own commands print."""

_SPOKEN = ("stream_event", "assistant", "user", "tool_progress")
"""What sub-agents say, too."""

_LOST = {"failed": "could not be reached", "needs-auth": "wants to be signed in to"}


class StreamDecoder:
    """The state of one turn. Never raises for what the program says.

    Attributes:
        done: the end of the turn was said, or the process is gone.
        session: as far as it is known.
        parked: the turn stands still until our tools have answered (:meth:`answer`).
        leaf: the program's name of the last message of the turn.
        cost: in US dollars, of all turns of the process so far.
        rest: lines that belong to what comes after.
    """

    def __init__(
        self,
        session: Session,
        *,
        model: str = "",
        desk: Desk | None = None,
        warnings: tuple[str, ...] = (),
        cost: float = 0.0,
        raw: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.done = False
        self.session = session
        self.parked = False
        self.leaf = ""
        self.cost = cost
        self.rest: list[bytes] = []
        self.desk = desk or Desk()
        self._steps = Steps(model, self.desk, warnings, provider=session.backend)
        self._raw = raw
        self._clock = clock
        self._trouble = Trouble()
        self._streamed: set[str] = set()  # messages whose raw events were said
        self._known = False  # the session was named
        self._sense = False
        self._nonsense = b""  # the first line that was not JSON, until one is

    # ---- lines

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        waiting = [*self.rest, *lines]
        self.rest = []
        for at, line in enumerate(waiting):
            if self.done or self.parked:
                self.rest = waiting[at:]
                break
            if line.strip():
                self._line(line, events)
        return events

    def close(self, exit: Exit) -> list[StreamEvent]:
        """The process is gone. Its exit code says nothing where the end of the turn was said."""
        events = self.decode_lines(())
        if not self.done and exit.tail.strip() and isinstance(parse_line(exit.tail), dict):
            self._line(exit.tail, events)  # whole, but for its newline
            exit = replace(exit, tail=b"")
        if not self.done:
            if self._nonsense and not self._sense and not exit.stderr:
                self._fail(not_json(self._nonsense), events)
            else:
                self._fail(exit_error(exit, said=self._sense, retry=self._trouble.retry), events)
        return events

    def fail(self, error: LLMError) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        if not self.done:
            self._fail(error, events)
        return events

    def answer(self, results: Iterable[ToolResult]) -> None:
        """What our tools gave: the turn goes on, when `desk.take()` is written."""
        self.desk.answer(list(results))
        self.parked = False

    def _line(self, line: bytes, events: list[StreamEvent]) -> None:
        event = parse_line(line)
        if not isinstance(event, dict):
            self._nonsense = self._nonsense or line
            return
        self._sense = True
        self._event(event, events)
        if self.desk.waits and not self.done and not self._steps.speaking:
            self._steps.park(events)
            self.parked = True

    def _event(self, event: dict[str, Any], events: list[StreamEvent]) -> None:
        kind = event.get("type")
        if event.get("parent_tool_use_id") is not None and kind in _SPOKEN:
            self._unknown(event, events)
            return
        match kind:
            case "stream_event":
                self._raw_event(event, events)
            case "assistant":
                self._assistant(event, events)
            case "user":
                self._user(event, events)
            case "system":
                self._system(event, events)
            case "result":
                self._result(event, events)
            case "control_request":
                self.desk.asks(event)
            case "control_cancel_request":
                self.desk.withdrawn(event)
            case "control_response":
                self.desk.replied(event)
                if self.desk.refusal is not None:
                    self._fail(InvalidRequestError(f"Claude Code refuses to begin: {self.desk.refusal}"), events)
            case "rate_limit_event":
                limit = event.get("rate_limit_info")
                if isinstance(limit, dict):
                    self._trouble.limit = limit if limit.get("status") == "rejected" else None
            case "tool_progress":
                self._progress(event, events)
            case "keep_alive":
                pass
            case _:
                self._unknown(event, events)

    def _unknown(self, event: object, events: list[StreamEvent]) -> None:
        if self._raw:
            events.append(RawEvent(event))

    # ---- what the model says

    def _raw_event(self, event: Mapping[str, Any], events: list[StreamEvent]) -> None:
        inner = event.get("event")
        if not isinstance(inner, dict) or inner.get("type") == "error":  # the program says itself what it makes of it
            self._unknown(event, events)
            return
        message = inner.get("message") if inner.get("type") == "message_start" else None
        if isinstance(message, dict):
            self._streamed.add(str(message.get("id")))
            self._begin(message, events)
        self._steps.take(inner, events)
        self._named(events)

    def _assistant(self, event: Mapping[str, Any], events: list[StreamEvent]) -> None:
        message = event.get("message")
        if not isinstance(message, dict):
            return
        content = message.get("content")
        blocks = content if isinstance(content, list) else [{"type": "text", "text": content}]
        if event.get("error") or message.get("model") == SYNTHETIC:
            if event.get("error"):
                request = event.get("request_id")
                self._trouble.word = str(event["error"])
                self._trouble.text = _text_of(blocks)
                self._trouble.request_id = request if isinstance(request, str) else None
            return
        self._moved(event)
        id = str(message.get("id"))
        if id in self._streamed:
            return
        if self._steps.id != id or not self._steps.open:
            self._begin(message, events)
        for block in blocks:
            if isinstance(block, dict):
                self._steps.take_block(block, events)
        if isinstance(reason := message.get("stop_reason"), str):
            self._steps.raw = reason
        self._named(events)

    def _begin(self, message: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._trouble = Trouble(limit=self._trouble.limit)
        self._steps.begin(message.get("model"), message.get("id"), events)

    def _named(self, events: list[StreamEvent]) -> None:
        """The session is named as soon as there is a step that can hold it, for who reads no further."""
        if not self._known and self._steps.open and self.session.id:
            self._known = True
            events.append(replace(self.session, turn="", state=None))

    def _moved(self, event: Mapping[str, Any]) -> None:
        if isinstance(id := event.get("uuid"), str):
            self.leaf = id

    # ---- what its tools say

    def _user(self, event: Mapping[str, Any], events: list[StreamEvent]) -> None:
        message = event.get("message")
        content = message.get("content") if isinstance(message, dict) else None
        for block in content if isinstance(content, list) else ():
            if isinstance(block, dict) and block.get("type") == "tool_result":
                self._moved(event)
                given = block.get("tool_use_id")
                if isinstance(given, str):
                    self._steps.result(given, content_of(block.get("content")), block.get("is_error") is True, events)

    def _progress(self, event: Mapping[str, Any], events: list[StreamEvent]) -> None:
        id, name, seconds = event.get("tool_use_id"), event.get("tool_name"), amount(event.get("elapsed_time_seconds"))
        if isinstance(id, str) and isinstance(name, str) and seconds is not None:
            events.append(ToolProgress(id, name, seconds))

    # ---- what the program says

    def _system(self, event: Mapping[str, Any], events: list[StreamEvent]) -> None:
        match event.get("subtype"):
            case "init":
                self._init(event)
            case "api_retry":
                attempt, delay = event.get("attempt"), event.get("retry_delay_ms")
                seconds = (amount(delay) or 0.0) / 1000
                error = retry_error(event, self._clock())
                error.provider = self.session.backend
                self._trouble.retry = error.message
                events.append(Retrying(attempt if isinstance(attempt, int) else 1, seconds, error))
            case "status" | "thinking_tokens":
                pass
            case _:
                self._unknown(event, events)

    def _init(self, event: Mapping[str, Any]) -> None:
        id, cwd = event.get("session_id"), event.get("cwd")
        self.session = replace(
            self.session,
            id=id if isinstance(id, str) else self.session.id,
            cwd=cwd if isinstance(cwd, str) else self.session.cwd,
        )
        servers = event.get("mcp_servers")
        for server in servers if isinstance(servers, list) else ():
            if isinstance(server, dict) and (why := _LOST.get(str(server.get("status")))):
                self._steps.warn(f"the MCP server {server.get('name')!r} {why}: its tools are not there")

    # ---- the end

    def _result(self, result: dict[str, Any], events: list[StreamEvent]) -> None:
        origin = result.get("origin")
        if isinstance(origin, dict) and origin.get("kind") not in (None, "human"):
            self._unknown(result, events)  # of a turn that the program began itself
            return
        usage = usage_of(result, self.cost)
        cost = cost_of(result)
        self.cost = self.cost if cost is None else cost
        if isinstance(id := result.get("session_id"), str) and not self.session.id:
            self.session = replace(self.session, id=id)
        denials = result.get("permission_denials")
        for denial in denials if isinstance(denials, list) else ():
            if isinstance(denial, dict) and isinstance(call := denial.get("tool_use_id"), str):
                self._steps.denied(call, events)
        good = result.get("subtype") == "success" and result.get("is_error") is not True
        if not good or result.get("terminal_reason") in (*ABORTED, *FAILED):
            steps = self._steps
            error = result_error(result, self._trouble, self._clock(), text=steps.text, said=steps.speaking)
            if usage is not None and usage.total_tokens and steps.open:
                events.append(usage)
            self._fail(error, events)
            return
        self.done = True
        self._answer(result, events)
        self.session = replace(self.session, turn=self.leaf)
        events.append(TextDelta("", mark(self.session)))
        if usage is not None:
            events.append(usage)
        events.append(self.session)
        raw = result.get("stop_reason")
        raw = raw if isinstance(raw, str) and raw else self._steps.raw
        self._steps.end(_last_reason(raw, result), raw, events)

    def _answer(self, result: Mapping[str, Any], events: list[StreamEvent]) -> None:
        """What only the result says: the JSON that was asked for, or what one of the program's own commands printed."""
        structured, text = result.get("structured_output"), result.get("result")
        if structured is not None:
            text = to_json(structured) if not isinstance(structured, str) else structured
            self._steps.begin(self._steps.model, result.get("uuid"), events)
        elif self._steps.open and (self._steps.text or not text):
            return
        elif not self._steps.open:
            self._steps.begin(self._steps.model, result.get("uuid"), events)
        self._named(events)
        if isinstance(text, str) and text:
            events.append(TextDelta(text))

    def _fail(self, error: LLMError, events: list[StreamEvent]) -> None:
        self.done = True
        error.provider = error.provider or self.session.backend
        self._steps.abandon(events)
        events.append(StreamError(error))


def _last_reason(raw: str | None, result: Mapping[str, Any]) -> Any:
    """A result without an error is success, whatever the last message ended with: a tool that ends the turn, for example."""
    reason = finish_reason(raw)
    completed = result.get("terminal_reason") in (None, "completed")
    if reason in ("tool_calls", "other"):
        return "stop" if completed else "other"
    return reason


def _text_of(blocks: Iterable[object]) -> str:
    return "".join(str(block.get("text", "")) for block in blocks if isinstance(block, dict))
