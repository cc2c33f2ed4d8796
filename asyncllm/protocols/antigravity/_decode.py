"""The stream-json of `agy`: one JSON object a line, named by its `event`.

    {"event":"init","conversation_id":"…","init":{"cwd":"…","tools":[…],"model":"…"}}
    {"event":"step_update","step_update":{"step_index":2,"state":"ACTIVE","step_type":"agent_response","text_delta":"…"}}
    {"event":"step_update","step_update":{"step_index":3,"state":"DONE","step_type":"tool","tool_info":{"name":"…",…}}}
    {"event":"result","result":{"status":"SUCCESS","response":"…","usage":{…},"denied_actions":[…]}}

The documentation shows the fields beside `event`, the program wrote them into an object of that name: both are read. A step of
`agy` is a call of a tool or an answer of the model; here, a step is an answer with the calls that follow it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from ...events import (
    Finish,
    IncompleteStreamError,
    LLMError,
    RawEvent,
    Session,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolResult,
)
from .._json import to_json
from ..agents._exit import Exit
from ..agents._turn import mark
from ..agents._words import parse_line
from ._errors import error_of, said_timeout, unfinished
from ._usage import Counts

SERVER = "asyncllm"
"""The name of the MCP server of our tools."""

STRANGE_KEPT = 500
OVER = ("DONE", "ERROR", "CANCELED", "CANCELLED", "FAILED")
"""States in which a step is done."""

_KNOWN = ("user_input", "system_message", "checkpoint", "subagent")


class StreamDecoder:
    """One turn. Never raises for what the agent sends.

    The result does not end it: :meth:`close` does, or :meth:`finish` where the process lives on. What the process says at its
    end (a limit that passed, an exit code) tells whether the result is one.

    Attributes:
        ending: there was a result: what follows is the end of the process.
        session: where the conversation is, as far as it is known.
    """

    def __init__(
        self,
        *,
        model: str,
        session: Session,
        resumed: bool = False,
        warnings: tuple[str, ...] = (),
        schema: bool = False,
        tools: frozenset[str] = frozenset(),
        raw: bool = False,
        now: datetime | None = None,
    ) -> None:
        self.done = False
        self.session = session
        self._model = model
        self._resumed = resumed
        self._warnings = warnings
        self._schema = schema
        self._tools = tools
        self._raw = raw
        self._now = now
        self._counts = Counts(session.data, fresh=not resumed)
        self._result: Mapping[str, Any] | None = None
        self._spoke = False
        self._strange = ""
        self._open = False  # a step
        self._called: dict[object, ToolCall] = {}  # in this step, by agy's index
        self._answers: set[object] = set()  # indexes of the answer that this step is
        self._resulted: set[object] = set()
        self._held: list[str] = []  # the answer's text, where it may have to be replaced by an object
        self._said: list[str] = []  # in this turn
        self._before = 0  # how much of that in earlier steps
        self._failed_tools = 0

    @property
    def ending(self) -> bool:
        return self._result is not None

    # ---- lines

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for line in lines:
            if line.strip() and not self.done:
                self._line(line, events)
        return events

    def _line(self, line: bytes, events: list[StreamEvent]) -> None:
        data = parse_line(line)
        event = data.get("event") if isinstance(data, dict) else None
        if not isinstance(data, dict) or not isinstance(event, str):
            self._strange = self._strange or line[:STRANGE_KEPT].decode("utf-8", "replace")
            return
        self._spoke = True
        inner = data.get(event)
        body: Mapping[str, Any] = {**data, **inner} if isinstance(inner, dict) else data
        self._find(body, events)
        if self._result is not None:
            return  # a second one tells of the stream's end, not of the turn's
        if event == "init":
            self._init(body, events)
        elif event == "step_update":
            self._step(data, body, events)
        elif event == "result":
            self._result = body
        elif self._raw:
            self._unknown(data, events)

    def _find(self, body: Mapping[str, Any], events: list[StreamEvent]) -> None:
        """The conversation's name: it is said in every event, and is empty where there is none."""
        id = body.get("conversation_id")
        if isinstance(id, str) and id and id != self.session.id:
            self.session = replace(self.session, id=id)
            if self._open:
                events.append(self.session)

    def _unknown(self, data: object, events: list[StreamEvent]) -> None:
        if self._raw:
            self._begin(events)
            events.append(RawEvent(data))

    # ---- steps

    def _init(self, body: Mapping[str, Any], events: list[StreamEvent]) -> None:
        model = body.get("model")
        if isinstance(model, str) and model:
            self._model = model
        self._begin(events)

    def _begin(self, events: list[StreamEvent]) -> None:
        if not self._open:
            self._open = True
            events.append(StreamStart(self._model, self.session.id, "antigravity", self._warnings))
            self._warnings = ()
            if self.session.id:
                events.append(self.session)

    def _step(self, data: Mapping[str, Any], body: Mapping[str, Any], events: list[StreamEvent]) -> None:
        kind, index = body.get("step_type"), body.get("step_index")
        index = index if isinstance(index, int | str) else None
        info = body.get("tool_info")
        if kind == "agent_response":
            self._answer(index, body, events)
        elif kind == "tool" or (isinstance(info, Mapping) and kind not in _KNOWN):
            self._tool(index, body, info if isinstance(info, Mapping) else {}, events)
        elif kind not in _KNOWN:
            self._unknown(data, events)
        self._counts.step(index, body.get("usage"))

    def _answer(self, index: object, body: Mapping[str, Any], events: list[StreamEvent]) -> None:
        self._begin(events)
        if self._called and index not in self._answers:
            self._next_step(events)
        self._answers.add(index)
        text = body.get("text_delta")
        if isinstance(text, str) and text:
            self._said.append(text)
            if self._schema:
                self._held.append(text)
            else:
                events.append(TextDelta(text))

    def _next_step(self, events: list[StreamEvent]) -> None:
        self._release(events)
        self._settle(events)
        events.append(Finish("tool_calls"))
        self._new_step()
        self._begin(events)

    def _new_step(self) -> None:
        self._before = len(self._said)
        self._called.clear()
        self._answers.clear()
        self._resulted.clear()
        self._open = False

    def _release(self, events: list[StreamEvent]) -> None:
        if self._held:
            events.append(TextDelta("".join(self._held)))
            self._held.clear()

    def _settle(self, events: list[StreamEvent]) -> None:
        """Calls that were said to begin and never to end."""
        for index, call in self._called.items():
            if index not in self._resulted:
                self._resulted.add(index)
                events.append(ToolResult(call.id, call.name, "its result was not told", is_error=True))

    # ---- tools of the agent

    def _tool(self, index: object, body: Mapping[str, Any], info: Mapping[str, Any], events: list[StreamEvent]) -> None:
        name = next((str(found) for found in (info.get("name"), body.get("tool_name")) if found), "tool")
        parameters = info.get("parameters")
        over = str(body.get("state", "")).upper() in OVER
        if self._ours(name, parameters):
            return  # the call comes to our own server
        if index not in self._called:
            if parameters is None and not over:
                return
            self._begin(events)
            self._release(events)
            whole = parameters if isinstance(parameters, dict) else {}
            raw = to_json(parameters) if parameters is not None else "{}"
            self._called[index] = call = ToolCall(f"step_{index}", name, whole, raw, executed=True)
            events.append(call)
        if over and index not in self._resulted:
            self._resulted.add(index)
            call = self._called[index]
            content, failed = _outcome(info, body)
            self._failed_tools += failed
            events.append(ToolResult(call.id, call.name, content, is_error=failed))

    def _ours(self, name: str, parameters: object) -> bool:
        if not self._tools:
            return False
        server = isinstance(parameters, Mapping) and SERVER in parameters.values()
        return server or any(name.endswith(tool) and SERVER in name for tool in self._tools)

    # ---- the end

    def park(self, calls: list[ToolCall]) -> list[StreamEvent]:
        """Tools of ours are called: the turn stands still, and goes on in another step."""
        events: list[StreamEvent] = []
        self._begin(events)
        self._release(events)
        self._settle(events)
        events += calls
        if self.session.id:
            events += [TextDelta("", mark(self.session)), self.session]
        events.append(Finish("tool_calls"))
        self._new_step()
        return events

    def finish(self) -> list[StreamEvent]:
        """The turn is over, and the process lives on."""
        return self._end(Exit())

    def close(self, exit: Exit) -> list[StreamEvent]:
        """The process ended. (`code` None: we ended it, after its result.)"""
        if self.done:
            return []
        events = self.decode_lines([exit.tail]) if exit.tail else []
        if self._result is None:
            error = unfinished(exit, spoke=self._spoke, strange=self._strange)
            return [*events, *self.fail(error)]
        return [*events, *self._end(exit)]

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if self.done:
            return []
        self.done = True
        if self._resumed:
            error.retryable = False  # what failed stays in the conversation: it would be said twice
        events: list[StreamEvent] = []
        if self._open:
            self._release(events)
        return [*events, StreamError(error)]

    def _end(self, exit: Exit) -> list[StreamEvent]:
        result = self._result or {}
        status = str(result.get("status", "")).upper()
        said = _text_of(result.get("error"))
        if status in ("CANCELED", "CANCELLED", "INTERRUPTED") or (status == "ERROR" and said == "interrupted"):
            return self.fail(IncompleteStreamError("agy was interrupted", code=status))
        if status != "SUCCESS" or said:
            message = said or (str(result.get("response") or "") if status == "ERROR" else "")
            return self.fail(
                error_of(exit, message or f"agy ended with the status {status or 'nothing'}", now=self._now)
            )
        if exit.code:
            return self.fail(error_of(exit, now=self._now))
        if self._counts.nothing(result.get("usage")) and (timeout := said_timeout(exit)) is not None:
            return self.fail(timeout)
        return self._success(result)

    def _success(self, result: Mapping[str, Any]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        denied = [action for action in _list(result.get("denied_actions")) if action]
        self._begin(events)
        self._last_words(result, events)
        self._settle(events)
        self._denied(denied, events)
        if usage := self._counts.turn(result.get("usage")):
            events.append(usage)
        self.session = replace(self.session, data={**self.session.data, **self._counts.kept})
        spoke = any(isinstance(event, TextDelta) for event in events) or bool(self._said)
        details = {"denied_actions": denied} if denied else None
        if self.session.id:
            events += [TextDelta("", mark(self.session)), self.session]
        events.append(Finish("stop" if spoke or not denied else "other", "SUCCESS", details))
        self.done = True
        return events

    def _last_words(self, result: Mapping[str, Any], events: list[StreamEvent]) -> None:
        """The object that was asked for, and what the deltas did not say: all of it, or an end that was lost."""
        structured = result.get("structured_output")
        if self._schema and structured is not None:
            self._held.clear()
            events.append(TextDelta(to_json(structured)))
            return
        self._release(events)
        rest = _unsaid(_text_of(result.get("response")), "".join(self._said), "".join(self._said[self._before :]))
        if rest:
            if self._called:
                self._next_step(events)
            events.append(TextDelta(rest))

    def _denied(self, denied: list[object], events: list[StreamEvent]) -> None:
        """Each tool that it was not allowed to use, unless its step has said so."""
        for at, action in enumerate(denied[self._failed_tools :]):
            names = action if isinstance(action, Mapping) else {"action": action}
            name = str(names.get("action") or names.get("display_name") or "tool")
            id = f"denied_{at}"
            events.append(ToolCall(id, name, {}, "{}", executed=True))
            events.append(ToolResult(id, name, f"denied: agy was not allowed to do this ({name})", is_error=True))


def _outcome(info: Mapping[str, Any], body: Mapping[str, Any]) -> tuple[str, bool]:
    """What a tool answered, and whether it failed."""
    error = info.get("error") or body.get("error")
    if error:
        return _text_of(error) or to_json(error), True
    failed = str(body.get("state", "")).upper() != "DONE"
    output = next((found for name in ("output", "result") if (found := info.get(name)) is not None), "")
    return output if isinstance(output, str) else to_json(output), failed


def _unsaid(response: str, said: str, in_this_step: str) -> str:
    """`response` is what all steps have said, or what the last one has."""
    if not response.strip() or said.strip().endswith(response.strip()):
        return ""
    for begun in (said, in_this_step):
        if response.startswith(begun):
            return response[len(begun) :]
    return ""


def _text_of(value: object) -> str:
    if isinstance(value, Mapping):
        return next((found for name in ("message", "short_error") if isinstance(found := value.get(name), str)), "")
    return value if isinstance(value, str) else ""


def _list(value: object) -> list[object]:
    return value if isinstance(value, list) else []
