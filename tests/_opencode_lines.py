"""What opencode's server says, made up: events as lines of JSON."""

from __future__ import annotations

import json
from typing import Any

from asyncllm.events import Finish, Session, StreamError, StreamEvent, check_order
from asyncllm.protocols.opencode._serve import ServeDecoder

ID = "ses_1"
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


def end(reason: str = "stop", id: str = "prt_9") -> bytes:
    return part("step-finish", id, reason=reason, tokens=TOKENS, cost=0.5)


BEGIN = (message("msg_1", "user"), status("busy"), message("msg_2", "assistant"), part("step-start", "prt_0"))
IDLE = event("session.idle")


def decoder(**more: Any) -> ServeDecoder:
    return ServeDecoder(Session(backend="opencode", id=ID, cwd="/w"), model="", **more)


def decoded(*lines: bytes, **more: Any) -> list[StreamEvent]:
    events = decoder(**more).decode_lines(lines)
    if events and isinstance(events[-1], Finish | StreamError):
        check_order(events)
    return events
