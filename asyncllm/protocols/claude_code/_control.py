"""The control protocol between the lines of the stream: what is asked of the program, and what it asks of us.

It reaches our tools as an MCP server of ours without any connection: each MCP message is a `control_request` of its own, which
we answer with a `control_response`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from ...events import ToolCall, ToolResult
from .._json import to_json
from .._request import Tool
from ..agents._mcp import Asked, answered, respond
from ..agents._turn import results_for
from ..agents._words import parse_line

SERVER = "asyncllm"
PREFIX = f"mcp__{SERVER}__"
"""How the program calls our tools."""

NOBODY = "nobody is there to be asked: allow it with allowed_tools= or another permission_mode="


def line(message: Mapping[str, object]) -> bytes:
    return to_json(message).encode() + b"\n"


def ask(id: str, subtype: str, **fields: object) -> bytes:
    """A request of ours; the reply comes as a `control_response` with this id."""
    return line({"type": "control_request", "request_id": id, "request": {"subtype": subtype, **fields}})


BEGINNING = "initialize"
"""The id of the first request of ours."""


class Permission(Struct, frozen=True):
    """The program asks whether it may use a tool of its own."""

    request: str
    name: str
    arguments: dict[str, Any]
    call: str = ""


class _Pending(Struct, frozen=True):
    request: str
    asked: Asked


class Desk:
    """Where what the program asks is answered.

    Attributes:
        outbox: lines to be written to the program.
        permissions: what it wants to be allowed.
        replies: its answers to what we asked, by the id of the request; None where it refused.
        refusal: why it did not want to begin.
    """

    def __init__(self, tools: Sequence[Tool] = (), *, version: str = "") -> None:
        self.outbox: list[bytes] = []
        self.permissions: list[Permission] = []
        self.replies: dict[str, dict[str, Any] | None] = {}
        self.refusal: str | None = None
        self._tools = tuple(tools)
        self._version = version
        self._names = {PREFIX + spelled(tool.name): tool.name for tool in tools}
        self._pending: dict[str, _Pending] = {}  # calls of our tools that nobody has answered
        self._results: dict[str, ToolResult] = {}  # results of calls that it has not asked for yet
        self._said: dict[str, ToolCall] = {}

    def ours(self, name: str) -> str | None:
        """Our own name of the tool that the program calls so; None for its own tools."""
        return self._names.get(name, name.removeprefix(PREFIX) if self._tools and name.startswith(PREFIX) else None)

    # ---- what the program says

    def asks(self, event: Mapping[str, Any]) -> None:
        """One `control_request`."""
        id, request = event.get("request_id"), event.get("request")
        if not isinstance(id, str):
            return
        if not isinstance(request, dict):
            self._refuse(id, "there is no request")
            return
        match request.get("subtype"):
            case "mcp_message":
                self._mcp(id, request)
            case "can_use_tool":
                self._permission(id, request)
            case "hook_callback":
                self._reply(id, {})
            case subtype:
                self._refuse(id, f"{SERVER} does not know {subtype!r}")

    def withdrawn(self, event: Mapping[str, Any]) -> None:
        """One `control_cancel_request`: it waits no longer."""
        id = event.get("request_id")
        self._pending = {call: pending for call, pending in self._pending.items() if pending.request != id}
        self.permissions = [asked for asked in self.permissions if asked.request != id]

    def replied(self, event: Mapping[str, Any]) -> None:
        """One `control_response`."""
        response = event.get("response")
        if isinstance(response, dict) and isinstance(id := response.get("request_id"), str):
            given = response.get("response")
            good = response.get("subtype") == "success"
            if id != BEGINNING:
                self.replies[id] = (given if isinstance(given, dict) else {}) if good else None
            elif not good:
                self.refusal = str(response.get("error"))

    def _mcp(self, id: str, request: dict[str, Any]) -> None:
        message = request.get("message")
        if request.get("server_name") != SERVER or not isinstance(message, dict):
            self._refuse(id, f"there is no server {request.get('server_name')!r}")
            return
        found = respond(message, self._tools, name=SERVER, version=self._version)
        if not isinstance(found, Asked):
            nothing: dict[str, object] = {"jsonrpc": "2.0", "id": 0, "result": {}}
            self._reply(id, {"mcp_response": nothing if found is None else found})
            return
        call = found.call or self._claimed(found) or f"call_{id}"
        pending = _Pending(id, found)
        if (result := self._results.pop(call, None)) is not None:
            self._give(pending, result)
        else:
            self._pending[call] = pending

    def _claimed(self, asked: Asked) -> str | None:
        """The call that is meant where the program does not name it."""
        for id, call in self._said.items():
            if id not in self._pending and (call.name, call.arguments) == (asked.name, asked.arguments):
                return id
        return None

    def _permission(self, id: str, request: dict[str, Any]) -> None:
        name, given, call = request.get("tool_name"), request.get("input"), request.get("tool_use_id")
        asked = Permission(
            id,
            name if isinstance(name, str) else "",
            given if isinstance(given, dict) else {},
            call if isinstance(call, str) else "",
        )
        if self.ours(asked.name) is not None:
            self.decide(asked, allow=True)
        else:
            self.permissions.append(asked)

    # ---- what it is answered

    def decide(self, asked: Permission, *, allow: bool, why: str = NOBODY) -> None:
        """Whether it may use the tool."""
        if allow:
            self._reply(asked.request, {"behavior": "allow", "updatedInput": asked.arguments})
        else:
            self._reply(asked.request, {"behavior": "deny", "message": why})

    def say(self, call: ToolCall) -> None:
        """The call was said to the caller, who is to answer it."""
        self._said[call.id] = call

    def settle(self, call: str) -> ToolCall | None:
        """The program has a result of this call. The call, if it made that itself, because it did not let the call happen."""
        self._pending.pop(call, None)
        self._results.pop(call, None)
        return self._said.pop(call, None)

    @property
    def unsaid(self) -> list[ToolCall]:
        """Calls that it has asked for and nobody has been told of: of its sub-agents."""
        return [
            ToolCall(id, pending.asked.name, pending.asked.arguments, to_json(pending.asked.arguments))
            for id, pending in self._pending.items()
            if id not in self._said
        ]

    @property
    def waits(self) -> bool:
        """Whether it waits for a result of our tools."""
        return bool(self._pending)

    @property
    def waiting(self) -> tuple[str, ...]:
        """The calls that the caller was told of, and that have no result."""
        return tuple(self._said)

    def answer(self, results: Sequence[ToolResult]) -> None:
        """What our tools gave. Every call that the caller was told of is answered; some are asked for later."""
        for result in results_for({id: call.name for id, call in self._said.items()}, results):
            pending = self._pending.pop(result.id, None)
            if pending is not None:
                self._give(pending, result)
            else:
                self._results[result.id] = result
        self._said.clear()

    def _give(self, pending: _Pending, result: ToolResult) -> None:
        self._reply(pending.request, {"mcp_response": answered(pending.asked.id, result)})

    def _reply(self, id: str, response: Mapping[str, object]) -> None:
        inner = {"subtype": "success", "request_id": id, "response": response}
        self.outbox.append(line({"type": "control_response", "response": inner}))

    def _refuse(self, id: str, why: str) -> None:
        inner = {"subtype": "error", "request_id": id, "error": why}
        self.outbox.append(line({"type": "control_response", "response": inner}))

    def renew(self) -> None:
        """Another turn begins: nobody waits for what the one before it asked."""
        for pending in self._pending.values():
            self._refuse(pending.request, "the turn is over")
        for asked in self.permissions:
            self.decide(asked, allow=False, why="the turn is over")
        for left in (self._pending, self._results, self._said, self.permissions):
            left.clear()

    def take(self) -> bytes:
        """What is to be written now."""
        lines, self.outbox = self.outbox, []
        return b"".join(lines)


def overhear(desk: Desk, lines: Iterable[bytes]) -> None:
    """Of these lines only what is asked and replied: nobody wants to know the rest."""
    for raw in lines:
        event = parse_line(raw)
        match event.get("type") if isinstance(event, dict) else None:
            case "control_request":
                desk.asks(event)
            case "control_response":
                desk.replied(event)


def spelled(name: str) -> str:
    """A tool's name as the program spells it."""
    return "".join(letter if letter.isascii() and (letter.isalnum() or letter in "_-") else "_" for letter in name)
