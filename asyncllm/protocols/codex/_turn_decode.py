"""What the app-server says of one turn, as events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from ...events import IncompleteStreamError, LLMError, RawEvent, Session, StreamEvent, ToolCall, UnknownError
from .._json import to_json
from ..agents._exit import Exit
from ._errors import RECONNECTING, error_of, exit_error, not_json, still
from ._items import call_of, image_of, kind_of, raw_call, raw_result, result_of
from ._rpc import Ask, Incoming, Note, read_line
from ._steps import Steps
from ._usage import counts_of, usage_of

COMPACTED = "codex has compacted the conversation: the model was told a summary of what was said before"


class ToolAsk(Struct, frozen=True):
    """A call of a tool of ours: request `id` waits for its result."""

    id: object
    call: ToolCall


class TurnDecoder:
    """The state of one turn of a thread. Never raises for what the server sends.

    Attributes:
        done: its end was said.
        failed: it ended, and the thread holds a turn that is not whole.
        turn: its id, once it is known.
        asked: the calls of our tools that wait for their results.
        refused: what is asked besides, and nobody can allow.
        rest: lines that came with the end, and are the next turn's.
        totals: the counts of the whole thread so far.
        limits: the last rate limits that were told; shared by the turns of a server.
    """

    def __init__(
        self,
        session: Session,
        *,
        model: str,
        tools: Iterable[str] = (),
        warnings: tuple[str, ...] = (),
        limits: dict[str, Any] | None = None,
        raw: bool = False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.done = self.failed = False
        self.turn = ""
        self.asked: list[ToolAsk] = []
        self.refused: list[Ask] = []
        self.rest: list[bytes] = []
        self.totals: dict[str, int] = {}
        self.limits = {} if limits is None else limits
        self._limits: dict[str, Any] = {}  # those of them that were told in this turn
        self._thread = session.id
        self._steps = Steps(session, model=model, warnings=warnings)
        self._tools = frozenset(tools)
        self._raw = raw
        self._clock = clock
        self._said: dict[tuple[str, str], int] = {}  # characters of an item that its deltas have said
        self._calls: dict[str, ToolCall] = {}
        self._expected: set[str] = set()  # calls of ours that the model has made, and that were not asked yet
        self._answered = False  # the model's request is over, and its tools are not
        self._counted = False  # its usage was told before the server summed it up
        self._unseen: dict[str, ToolCall] = {}  # calls of the model of which no item tells
        self._items: set[str] = set()
        self._error: Mapping[str, Any] | None = None
        self._sense = False

    # ---- lines and messages

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for line in lines:
            if self.done:
                self.rest.append(line)
                continue
            if not line.strip():
                continue
            message = read_line(line)
            if message is not None:
                events += self.decode((message,))
            elif not self._sense:
                events += self.fail(not_json(line))
        return events

    def decode(self, messages: Iterable[Incoming]) -> list[StreamEvent]:
        for message in messages:
            self._sense = True
            if self.done or not isinstance(message, Note | Ask) or message.thread not in ("", self._thread):
                continue
            if isinstance(message, Ask):
                self._ask(message)
            else:
                self._note(message)
        return self._steps.take()

    def close(self, exit: Exit) -> list[StreamEvent]:
        """The server is gone."""
        return [] if self.done else self.fail(exit_error(exit, self._clock(), said=self._sense))

    def fail(self, error: LLMError) -> list[StreamEvent]:
        if not self.done:
            self.done = self.failed = True
            self._steps.fail(error)
        return self._steps.take()

    # ---- parked

    @property
    def settled(self) -> bool:
        """Whether all calls of ours that the model has made in this step have been asked. Where the server does not tell
        (it does for threads that were begun for our tools), one can only wait for a moment: more may follow."""
        return self._answered and not self._expected

    def park(self) -> list[StreamEvent]:
        """The turn stands still: the step ends."""
        self._steps.park()
        return self._steps.take()

    # ---- the messages

    def _ask(self, ask: Ask) -> None:
        tool, call, given = ask.params.get("tool"), ask.params.get("callId"), ask.params.get("arguments")
        ours = ask.method == "item/tool/call" and tool in self._tools
        now = not self.turn or ask.params.get("turnId", self.turn) == self.turn
        if not (ours and now and isinstance(tool, str) and isinstance(call, str)):
            self.refused.append(ask)
            return
        if isinstance(given, dict):
            made = ToolCall(call, tool, given, to_json(given))
        else:
            made = ToolCall(call, tool, None, to_json(given), "the arguments are no object")
        self._expected.discard(call)
        self._steps.call(made)
        self.asked.append(ToolAsk(ask.id, made))

    def _note(self, note: Note) -> None:
        params, method = note.params, note.method
        if method == "account/rateLimits/updated":
            if isinstance(limits := params.get("rateLimits"), dict):
                self._limits.update({name: value for name, value in limits.items() if value is not None})
                self.limits.update(self._limits)
            return
        if method in ("warning", "guardianWarning"):
            self._steps.warn(str(params.get("message", "")))
            return
        if method in ("configWarning", "deprecationNotice"):
            self._steps.warn(str(params.get("summary", "")))
            return
        if method == "mcpServer/startupStatus/updated":
            if params.get("status") == "failed":
                why = params.get("error") or "it did not start"
                self._steps.warn(f"the MCP server {params.get('name', '')!r} is not there: {why}")
            return
        turn = params.get("turnId")
        if turn is None and isinstance(inner := params.get("turn"), dict):
            turn = inner.get("id")
        if method == "turn/started" and not self.turn and isinstance(turn, str):
            self.begin(turn)
        if turn != self.turn or not self.turn:
            if method == "thread/tokenUsage/updated":
                self.totals = _totals(params) or self.totals
            elif self._raw and turn is None:
                self._steps.raw(RawEvent({"method": method, "params": params}))
            return
        self._of_turn(method, params)

    def begin(self, turn: str) -> None:
        """The turn has this name."""
        self.turn = turn
        self._steps.session = replace(self._steps.session, turn=turn)

    def _of_turn(self, method: str, params: dict[str, Any]) -> None:
        item = params.get("item")
        match method:
            case "item/agentMessage/delta":
                self._delta(params, "text", self._steps.say)
            case "item/reasoning/summaryTextDelta":
                self._delta(params, "summary", self._steps.think)
            case "item/reasoning/textDelta":
                self._delta(params, "content", self._steps.think)
            case "item/reasoning/summaryPartAdded":
                if params.get("summaryIndex") and (key := (str(params.get("itemId")), "summary")) in self._said:
                    self._steps.think("\n\n")
                    self._said[key] += 2
            case "item/started" if isinstance(item, dict):
                self._steps.begin()
                if (call := call_of(item)) is not None:
                    self._calls[call.id] = call
                    self._items.add(call.id)
                    self._steps.call(call)
            case "item/completed" if isinstance(item, dict):
                self._completed(item)
            case "thread/tokenUsage/updated":
                self._used(params)
            case "rawResponse/completed":
                usage = usage_of(counts_of(params.get("usage")) or {})
                self._steps.used(usage)
                self._answered, self._counted = True, usage is not None
            case "rawResponseItem/completed" if isinstance(item, dict):
                self._raw_item(item)
            case "thread/compacted":
                self._steps.warn(COMPACTED)
            case "model/rerouted":
                self._steps.model = str(params.get("toModel") or self._steps.model)
                self._steps.warn(f"{params.get('fromModel', 'the model')} was asked, {self._steps.model} answers")
            case "error":
                self._failed(params)
            case "turn/completed":
                self._ended(params.get("turn"))
            case "turn/started":
                pass
            case _:
                if self._raw:
                    self._steps.raw(RawEvent({"method": method, "params": params}))

    def _raw_item(self, item: dict[str, Any]) -> None:
        """What the model said, and what it was answered, in the words of the Responses API. Of calls that were refused at
        once there are no items: they are told from here."""
        id, name = item.get("call_id"), item.get("name")
        if not isinstance(id, str):
            return
        if isinstance(name, str) and name in self._tools:
            self._expected.add(id)
            self._steps.made(id)
        elif item.get("type") in ("function_call", "custom_tool_call"):
            self._steps.made(id)
            self._unseen[id] = raw_call(item, id)
        elif (call := self._unseen.pop(id, None)) is not None and id not in self._items:
            self._steps.call(call)
            self._steps.result(raw_result(item, call))

    def _delta(self, params: dict[str, Any], kind: str, say: Callable[[str], None]) -> None:
        delta = params.get("delta")
        if isinstance(delta, str):
            key = (str(params.get("itemId")), kind)
            self._said[key] = self._said.get(key, 0) + len(delta)
            say(delta)

    def _completed(self, item: dict[str, Any]) -> None:
        """A whole item: it says only what its deltas have not."""
        id = str(item.get("id", ""))
        match kind_of(item):
            case "agent_message":
                self._rest(id, "text", item.get("text"), self._steps.say)
                self._steps.message_is_whole()
            case "reasoning":
                for kind in ("summary", "content"):
                    listed = item.get(kind)
                    if isinstance(listed, list):
                        whole = "\n\n".join(part for part in listed if isinstance(part, str))
                        self._rest(id, kind, whole, self._steps.think)
            case "image_generation" if (image := image_of(item)) is not None:
                self._steps.show(image)
            case "context_compaction":
                self._steps.warn(COMPACTED)
            case _:
                call = self._calls.pop(id, None) or call_of(item)
                if call is not None:
                    self._items.add(call.id)
                    self._steps.call(call)
                    self._steps.result(result_of(item, call))

    def _rest(self, id: str, kind: str, whole: object, say: Callable[[str], None]) -> None:
        said = self._said.pop((id, kind), 0)
        if isinstance(whole, str) and len(whole) > said:
            say(whole[said:])

    def _used(self, params: dict[str, Any]) -> None:
        totals = _totals(params)
        if totals is None or totals == self.totals:
            return  # told again, with other rate limits
        self.totals = totals
        self._answered = False
        if self._counted:
            self._counted = False
        else:
            usage = params.get("tokenUsage")
            counts = counts_of(usage.get("last")) if isinstance(usage, Mapping) else None
            self._steps.used(usage_of(counts) if counts else None)
        self._expected.clear()
        self._steps.request_is_over()

    def _failed(self, params: dict[str, Any]) -> None:
        error = params.get("error")
        if not isinstance(error, dict):
            return
        if not params.get("willRetry"):
            self._error = error  # the end of the turn follows
            return
        attempt = RECONNECTING.match(str(error.get("message", "")))
        number = int(attempt[1]) if attempt is not None and attempt[1] else None
        self._steps.retrying(self._error_of(error), number)
        self._expected.clear()
        self._said.clear()  # the next attempt may give its items the same names

    def _error_of(self, error: Mapping[str, Any], *, text: str = "") -> LLMError:
        now = self._clock()
        return error_of(error, {**still(self.limits, now), **self._limits}, now, text=text)

    def _ended(self, turn: object) -> None:
        status, error = (turn.get("status"), turn.get("error")) if isinstance(turn, dict) else (None, None)
        if status == "completed" and error is None:
            self.done = True
            if self._error is not None:  # of something beside the turn
                self._steps.warn(str(self._error.get("message", "")))
            totals = {"usage": self.totals} if self.totals else {}
            session = self._steps.session
            self._steps.session = replace(session, data={**session.data, **totals})
            self._steps.finish("stop", "completed")
        elif isinstance(error, dict) or self._error is not None:
            told = error if isinstance(error, dict) else self._error or {}
            self.fail_with(self._error_of(told, text=self._steps.text))
        elif status == "failed":
            self.fail_with(UnknownError("the turn failed, and codex does not say why"))
        else:
            words = "the turn was interrupted" if status == "interrupted" else f"the turn ended as {status!r}"
            self.fail_with(IncompleteStreamError(words, code=status if isinstance(status, str) else None))

    def fail_with(self, error: LLMError) -> None:
        self.done = self.failed = True
        self._steps.fail(error)


def _totals(params: dict[str, Any]) -> dict[str, int] | None:
    usage = params.get("tokenUsage")
    return counts_of(usage.get("total")) if isinstance(usage, Mapping) else None
