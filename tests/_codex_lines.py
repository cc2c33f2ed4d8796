"""Messages of the app-server about one turn, as tests compose them."""

from __future__ import annotations

import json
from typing import Any

from _codex import NOW

from asyncllm.events import Session
from asyncllm.protocols.codex._turn_decode import TurnDecoder

THREAD, TURN = "thread-1", "turn-1"


def note(method: str, **params: Any) -> bytes:
    return json.dumps({"method": method, "params": {"threadId": THREAD, "turnId": TURN, **params}}).encode()


def item(kind: str, id: str = "i1", *, done: bool = True, **fields: Any) -> bytes:
    return note("item/completed" if done else "item/started", item={"type": kind, "id": id, **fields})


def delta(text: str, id: str = "i1") -> bytes:
    return note("item/agentMessage/delta", itemId=id, delta=text)


def used(total: int, last: int) -> bytes:
    return note("thread/tokenUsage/updated", tokenUsage={"total": counts(total), "last": counts(last)})


def counts(tokens: int) -> dict[str, int]:
    return {"totalTokens": 2 * tokens, "inputTokens": tokens, "outputTokens": tokens}


def ended(status: str, error: object = None) -> bytes:
    return note("turn/completed", turn={"id": TURN, "status": status, "error": error})


BEGIN = note("turn/started", turn={"id": TURN})
END = ended("completed")


def decoder(**options: Any) -> TurnDecoder:
    session = Session(backend="codex", id=THREAD, cwd="/w")
    return TurnDecoder(session, model="m", tools=("add",), clock=lambda: NOW, **options)
