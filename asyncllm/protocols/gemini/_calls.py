"""Calls as this wire says them, whole or in pieces, and the tools that Google runs itself."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from typing import Any

from ...events import ProviderState, ToolCall, ToolCallDelta, ToolResult, parse_call
from ._partial_args import PartialArguments
from ._wire import pick, pick_object, pick_objects, pick_text

CODE = "code_execution"
"""What the code sandbox is called as a tool."""


class CallReader:
    """Function calls of one answer. A call without an id gets one, made from the answer's id and its place; only ids that
    the server gave are in the call's state, and go back."""

    __slots__ = ("_count", "_ids", "_pending", "_provider", "seed")

    def __init__(self, provider: str) -> None:
        self.seed = ""
        self._provider = provider
        self._ids: set[str] = set()
        self._count = 0
        self._pending: _Pending | None = None

    def read(self, data: Mapping[str, Any], state: dict[str, object]) -> list[ToolCallDelta | ToolCall]:
        """One functionCall. `state` is what its part has beside it."""
        said: list[ToolCallDelta | ToolCall] = []
        name, pieces = pick_text(data, "name"), pick_objects(data, "partialArgs")
        goes_on = pick(data, "willContinue") is True
        args = pick(data, "args")
        pending = self._pending
        if pending is not None and name and (name != pending.name or args is not None or not (pieces or goes_on)):
            said += self.close()  # its end was left out
            pending = None
        if pending is None and (pieces or goes_on):
            given = pick_text(data, "id")
            pending = self._pending = _Pending(self._count, self._identity(given, state), name)
            said.append(ToolCallDelta(pending.index, pending.id, name, ""))
        if pending is None:
            given = pick_text(data, "id")
            identity = self._identity(given, state)
            if name or args:
                said.append(
                    parse_call(identity, name, dump(args if args is not None else {}), state=self._state(state))
                )
            return said
        pending.state |= state
        if text := pending.arguments.add(pieces):
            said.append(ToolCallDelta(pending.index, pending.id, pending.name, text))
        return said if goes_on else said + self.close()

    def close(self, broken: str = "") -> list[ToolCallDelta | ToolCall]:
        """The end of a call in pieces; `broken` says why it came too early."""
        pending, self._pending = self._pending, None
        if pending is None:
            return []
        rest = "" if broken else pending.arguments.close()
        said: list[ToolCallDelta | ToolCall] = []
        if rest:
            said.append(ToolCallDelta(pending.index, pending.id, pending.name, rest))
        state, text = self._state(pending.state), pending.arguments.text
        if broken:
            return [ToolCall(pending.id, pending.name, None, text, broken, state)]
        return [*said, parse_call(pending.id, pending.name, text, state=state)]

    @property
    def open(self) -> bool:
        """A call has begun whose end was not said."""
        return self._pending is not None

    @property
    def cut(self) -> bool:
        """A value of a call was announced to go on."""
        return self._pending is not None and not self._pending.arguments.whole

    def __bool__(self) -> bool:
        """Whether there are calls that wait for results."""
        return bool(self._count)

    def _identity(self, given: str, state: dict[str, object]) -> str:
        self._count += 1
        if given:
            state["id"] = given
        return self.unique(given)

    def unique(self, given: str) -> str:
        """The id that was given, or one of ours where there is none or it was used before."""
        identity = given
        if not given or given in self._ids:
            seed = f"{self.seed}/{len(self._ids)}"
            unique = uuid.uuid5(uuid.NAMESPACE_OID, seed) if self.seed else uuid.uuid4()
            identity = f"call_{unique.hex[:24]}"
        self._ids.add(identity)
        return identity

    def _state(self, data: dict[str, object]) -> ProviderState | None:
        return ProviderState(self._provider, data) if data else None


class _Pending:
    """A call whose arguments come in pieces."""

    __slots__ = ("arguments", "id", "index", "name", "state")

    def __init__(self, count: int, id: str, name: str) -> None:
        self.index = count
        self.id = id
        self.name = name
        self.arguments = PartialArguments()
        self.state: dict[str, object] = {}


class ExecutedReader:
    """Code execution and the other tools of the server's own. The part itself is the state: it goes back as it came."""

    __slots__ = ("_calls", "_open", "_provider")

    def __init__(self, provider: str, calls: CallReader) -> None:
        self._provider = provider
        self._calls = calls
        self._open: list[tuple[str, str, str]] = []  # calls without results: the id given, ours, the name

    def read(self, part: Mapping[str, Any], state: dict[str, object]) -> ToolCall | ToolResult | None:
        """The event of such a part; None for what is none, or a result of nothing."""
        if (code := pick_object(part, "executableCode")) is not None:
            arguments = {name: code[name] for name in ("language", "code") if isinstance(code.get(name), str)}
            return self._call(CODE, code, arguments, {"executableCode": code, **state})
        if (call := pick_object(part, "toolCall")) is not None:
            return self._call(_tool_name(call), call, pick_object(call, "args") or {}, {"toolCall": call, **state})
        if (result := pick_object(part, "codeExecutionResult")) is not None:
            failed = pick_text(result, "outcome") not in ("", "OUTCOME_OK", "OUTCOME_UNSPECIFIED")
            said = pick_text(result, "output")
            return self._result(CODE, result, said, failed, {"codeExecutionResult": result, **state})
        if (answer := pick_object(part, "toolResponse")) is not None:
            said = dump(pick_object(answer, "response") or {})
            return self._result(_tool_name(answer), answer, said, False, {"toolResponse": answer, **state})
        return None

    def _call(
        self, name: str, data: Mapping[str, Any], arguments: dict[str, Any], state: dict[str, object]
    ) -> ToolCall:
        given = pick_text(data, "id")
        identity = self._calls.unique(given)
        self._open.append((given, identity, name))
        raw = dump(arguments)
        call = parse_call(identity, name, raw, state=ProviderState(self._provider, state))
        return ToolCall(call.id, call.name, call.arguments, raw, call.invalid, call.state, executed=True)

    def _result(
        self, name: str, data: Mapping[str, Any], content: str, failed: bool, state: dict[str, object]
    ) -> ToolResult | None:
        given = pick_text(data, "id")
        matches = [at for at, (id, _, of) in enumerate(self._open) if (id == given if given else of == name)]
        matches = matches or [at for at, (_, _, of) in enumerate(self._open) if of == name]
        if not matches:
            return None
        _, identity, name = self._open.pop(matches[0])
        return ToolResult(identity, name, content, failed, ProviderState(self._provider, state))


def _tool_name(data: Mapping[str, Any]) -> str:
    return pick_text(data, "toolType").lower() or "tool"


def dump(value: object) -> str:
    """Compact JSON that can be written: half characters become U+FFFD. "" for what is nested too deep."""
    try:
        text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except (RecursionError, ValueError):
        return ""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
