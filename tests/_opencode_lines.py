"""What opencode's server says, made up: events as lines of JSON."""

from __future__ import annotations

import json
from typing import Any

from asyncllm.events import Finish, Session, StreamError, StreamEvent, TextDelta, check_order
from asyncllm.protocols.opencode._serve import ServeDecoder

ID = "ses_1"
OWN = "asyncllm1_"
"""Before the names of our tools."""
TOKENS = {"input": 3, "output": 2, "reasoning": 1, "cache": {"read": 4, "write": 5}}


def event(kind: str, **properties: Any) -> bytes:
    return json.dumps({"type": kind, "properties": {"sessionID": ID, **properties}}).encode()


def message(id: str, role: str, **more: Any) -> bytes:
    return event("message.updated", info={"id": id, "role": role, "providerID": "p", "modelID": "m", **more})


def part(kind: str, id: str, message: str = "msg_2", **more: Any) -> bytes:
    return event("message.part.updated", part={"id": id, "type": kind, "messageID": message, **more})


def delta(id: str, text: str) -> bytes:
    return event("message.part.delta", partID=id, messageID="msg_2", field="text", delta=text)


def status(kind: str, **more: Any) -> bytes:
    return event("session.status", status={"type": kind, **more})


def tool(name: str, status: str, id: str = "c1", **state: Any) -> bytes:
    return part("tool", f"prt_{id}", callID=id, tool=name, state={"status": status, **state})


def end(reason: str = "stop", id: str = "prt_9", message: str = "msg_2", *, cost: float | None = 0.5) -> bytes:
    """Of a step. `cost=None`: it says nothing of it."""
    used = {"tokens": TOKENS} if cost is None else {"tokens": TOKENS, "cost": cost}
    return part("step-finish", id, message, reason=reason, **used)


BEGIN = (message("msg_1", "user"), status("busy"), message("msg_2", "assistant"), part("step-start", "prt_0"))
NEXT = (message("msg_3", "assistant"), part("step-start", "prt_n", "msg_3"))
"""The step after the first."""
IDLE = event("session.idle")


def decoder(**more: Any) -> ServeDecoder:
    return ServeDecoder(Session(backend="opencode", id=ID, cwd="/w"), model="", **more)


def decoded(*lines: bytes, **more: Any) -> list[StreamEvent]:
    events = decoder(**more).decode_lines(lines)
    if events and isinstance(events[-1], Finish | StreamError):
        check_order(events)
    return events


def texts(events: list[StreamEvent]) -> list[str]:
    return [event.text for event in events if isinstance(event, TextDelta) and event.text]


def failure(events: list[StreamEvent]) -> Any:
    """The error with which they end."""
    last = events[-1]
    assert isinstance(last, StreamError)
    return last.error
