"""Answers of the Messages wire as the API writes them, and what our decoder makes of them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from _decoding import failure, merged, single_bytes
from _wirecase import WireCase, sse_borders

from asyncllm.events import Finish, LLMError, Message, Reply, StreamEvent, fold
from asyncllm.protocols import Encoded, Request
from asyncllm.protocols.anthropic import MessagesCodec, MessagesQuirks

PROVIDER = "anthropic"
CASE = WireCase("anthropic", lambda: MessagesCodec(PROVIDER), sse_borders)
STOP = {"type": "message_stop"}
PING = {"type": "ping"}

Data = dict[str, Any]


def begun(**usage: int) -> Data:
    """The first event of an answer."""
    counts = {"input_tokens": 10, "output_tokens": 1, **usage}
    return {"type": "message_start", "message": {"id": "msg_1", "type": "message", "model": "claude", "usage": counts}}


def block(index: int, kind: str, *deltas: Data, stop: bool = True, **fields: Any) -> list[Data]:
    """A block from its start to its end."""
    start = {"type": "content_block_start", "index": index, "content_block": {"type": kind, **fields}}
    said = [{"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas]
    return [start, *said, *([{"type": "content_block_stop", "index": index}] if stop else [])]


def text_block(index: int, *texts: str, **fields: Any) -> list[Data]:
    return block(index, "text", *({"type": "text_delta", "text": text} for text in texts), text="", **fields)


def thinking_block(index: int, *texts: str, signature: str = "", **fields: Any) -> list[Data]:
    deltas = [{"type": "thinking_delta", "thinking": text} for text in texts]
    signed = [{"type": "signature_delta", "signature": signature}] if signature else []
    return block(index, "thinking", *deltas, *signed, thinking="", signature="", **fields)


def call_block(index: int, id: str, name: str, *pieces: str, kind: str = "tool_use", **fields: Any) -> list[Data]:
    deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]
    return block(index, kind, *deltas, **{"id": id, "name": name, "input": {}, **fields})


def ended(reason: str | None = "end_turn", usage: Data | None = None, **delta: Any) -> list[Data]:
    """The last two events of an answer."""
    delta = {"stop_reason": reason, "stop_sequence": None, **delta}
    return [{"type": "message_delta", "delta": delta, "usage": usage or {"output_tokens": 5}}, STOP]


def wire(*events: Data | Sequence[Data] | str, names: bool = True) -> bytes:
    """Events as they are sent; a string is sent as it is. `names`: whether each has its `event:` line."""
    out: list[str] = []
    for item in events:
        for event in [item] if isinstance(item, dict | str) else item:
            if isinstance(event, str):
                out.append(event)
            else:
                name = f"event: {event.get('type')}\n" if names else ""
                out.append(f"{name}data: {json.dumps(event, ensure_ascii=False)}\n\n")
    return "".join(out).encode()


def events_of(*events: Data | Sequence[Data] | str, raw: bool = False, names: bool = True) -> list[StreamEvent]:
    """What they become, which must be the same byte by byte."""
    body = wire(*events, names=names)
    found = CASE.decode(body, raw=raw)
    assert merged(CASE.decode_pieces(single_bytes(body), raw=raw)) == merged(found)
    return found


def reply_of(*events: Data | Sequence[Data] | str, **options: Any) -> Reply[object]:
    """What an answer that ends well adds up to."""
    found = events_of(*events, **options)
    assert isinstance(found[-1], Finish), found[-1]
    return fold(found)


def error_of(*events: Data | Sequence[Data] | str, **options: Any) -> LLMError:
    return failure(events_of(*events, **options))


def encoded(
    *messages: Message, quirks: MessagesQuirks | None = None, provider: str = PROVIDER, **fields: Any
) -> Encoded:
    given = messages or (Message("user", "Hi"),)
    return MessagesCodec(provider, quirks).encode(Request(model="m", messages=given, **fields))


def body(*messages: Message, **fields: Any) -> Data:
    data: Data = json.loads(encoded(*messages, **fields).body)
    return data


def sent_back(reply: Reply[object], provider: str = PROVIDER) -> list[Data]:
    """The blocks of the assistant's turn in the next request."""
    turns = body(Message("user", "Hi"), reply.message, Message("user", "go on"), provider=provider)["messages"]
    content = turns[1]["content"] if len(turns) == 3 else []
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
