"""Converse streams for tests: events as JSON, and the answer that they become."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from typing import Any

from _decoding import failure, merged, single_bytes
from _wirecase import WireCase

from asyncllm.events import Finish, LLMError, Reply, StreamEvent, fold
from asyncllm.protocols.bedrock import BedrockCodec
from asyncllm.transports import encode_event_stream

PROVIDER = "test"

Said = tuple[str, Any]
"""The name of an event and its payload; a string is sent as it is."""

START: Said = ("messageStart", {"role": "assistant"})
TAIL: Said = (
    "metadata",
    {"usage": {"inputTokens": 5, "outputTokens": 3, "totalTokens": 8}, "metrics": {"latencyMs": 1}},
)


def message_borders(body: bytes) -> list[int]:
    borders = [0]
    while borders[-1] + 4 <= len(body):
        borders.append(borders[-1] + struct.unpack_from(">I", body, borders[-1])[0])
    return [at for at in borders if at <= len(body)]


BEDROCK = WireCase("bedrock", lambda: BedrockCodec(PROVIDER), message_borders, suffix=".bin")


def start(index: Any, **kind: Any) -> Said:
    return "contentBlockStart", {"contentBlockIndex": index, "start": kind}


def delta(index: Any, **piece: Any) -> Said:
    return "contentBlockDelta", {"contentBlockIndex": index, "delta": piece}


def stop(index: Any) -> Said:
    return "contentBlockStop", {"contentBlockIndex": index}


def done(reason: str = "end_turn", **more: Any) -> Said:
    return "messageStop", {"stopReason": reason, **more}


def call(index: int, id: str, name: str, *pieces: str, **more: Any) -> list[Said]:
    """The block of one call, from its start to its stop."""
    begun = start(index, toolUse={"toolUseId": id, "name": name, **more})
    return [begun, *(delta(index, toolUse={"input": piece}) for piece in pieces), stop(index)]


def body_of(said: Sequence[Said]) -> bytes:
    return b"".join(
        encode_event_stream(data if isinstance(data, str) else json.dumps(data), event=event) for event, data in said
    )


def events_of(*said: Said, **options: Any) -> list[StreamEvent]:
    """The events of these, which must be the same byte by byte."""
    body = body_of(said)
    events = BEDROCK.decode(body, **options)
    assert merged(BEDROCK.decode_pieces(single_bytes(body), **options)) == merged(events)
    return events


def reply_of(*said: Said) -> Reply[object]:
    """What a stream that ends well adds up to."""
    events = events_of(*said)
    assert isinstance(events[-1], Finish), events[-1]
    return fold(events)


def error_of(*said: Said) -> LLMError:
    return failure(events_of(*said))
