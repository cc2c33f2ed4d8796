"""Gemini streams for tests: chunks as JSON, and the events that they become."""

from __future__ import annotations

import json
from typing import Any

from _decoding import merged, single_bytes
from _wirecase import WireCase, sse_borders

from asyncllm.events import StreamEvent
from asyncllm.protocols.gemini import GeminiCodec

GEMINI = WireCase("gemini", lambda: GeminiCodec("gemini"), sse_borders)


def chunk(*parts: Any, finish: str | None = None, **more: Any) -> dict[str, Any]:
    """A chunk with one candidate; a string is a text part. `more` goes into the candidate."""
    said = [{"text": part} if isinstance(part, str) else part for part in parts]
    candidate: dict[str, Any] = {"index": 0, **more}
    if said:
        candidate["content"] = {"role": "model", "parts": said}
    if finish is not None:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "gemini-w", "responseId": "r1"}


def body_of(*frames: Any) -> bytes:
    """As the API frames it; bytes stand as they are."""
    return b"".join(
        frame if isinstance(frame, bytes) else b"data: " + json.dumps(frame).encode() + b"\r\n\r\n" for frame in frames
    )


def events_of(*frames: Any, **options: Any) -> list[StreamEvent]:
    """The events, which must be the same byte by byte."""
    body = body_of(*frames)
    events = GEMINI.decode(body, **options)
    assert timeless(GEMINI.decode_pieces(single_bytes(body), **options)) == timeless(events)
    return events


def timeless(events: list[StreamEvent]) -> list[object]:
    """Without the time at which a limit ends, which is counted from now."""
    said = merged(events)
    for item in said:
        if isinstance(item, tuple) and isinstance(item[-1], dict):
            item[-1].pop("reset_time", None)
    return said


def call(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, **more}}


STOP = chunk(finish="STOP")
