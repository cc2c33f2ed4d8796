"""Streams of the Responses API for tests: items and events as JSON, and what they become."""

from __future__ import annotations

import json
from typing import Any

from _decoding import failure, merged, single_bytes
from _wirecase import WireCase, sse_borders

from asyncllm.events import Finish, LLMError, Reply, StreamEvent, ToolCallDelta, fold
from asyncllm.protocols.openai_responses import ResponsesCodec, ResponsesQuirks

ME = "openai-responses"
RESPONSES = WireCase("openai_responses", lambda: ResponsesCodec(ME), sse_borders)
STORED = WireCase("openai_responses", lambda: ResponsesCodec(ME, ResponsesQuirks(store=True)), sse_borders)

Event = dict[str, Any]


def response(status: str = "in_progress", **more: Any) -> Event:
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-x", "output": [], **more}


CREATED = {"type": "response.created", "response": response()}


def ended(kind: str = "completed", **more: Any) -> Event:
    return {"type": f"response.{kind}", "response": response(**{"status": kind, **more})}


def added(index: int, item: Event) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Event) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def message(*texts: str, id: str = "msg_1", **more: Any) -> Event:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"id": id, "type": "message", "role": "assistant", "status": "completed", "content": content, **more}


def delta(kind: str, text: str, index: int = 0, **more: Any) -> Event:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": text, **more}


def function(arguments: str = "{}", id: str = "fc_1", call: str = "call_1", **more: Any) -> Event:
    given = {"id": id, "type": "function_call", "call_id": call, "name": "f", "arguments": arguments}
    return {**given, "status": "completed", **more}


def body_of(*frames: Event) -> bytes:
    numbered = [{**frame, "sequence_number": at} for at, frame in enumerate(frames)]
    return b"".join(f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode() for frame in numbered)


def events_of(*frames: Event, case: WireCase = RESPONSES, **options: Any) -> list[StreamEvent]:
    """The events of these, which must be the same byte by byte."""
    body = body_of(*frames)
    events = case.decode(body, **options)
    assert merged(case.decode_pieces(single_bytes(body), **options)) == merged(events)
    return events


def reply_of(*frames: Event, **options: Any) -> Reply[object]:
    events = events_of(*frames, **options)
    assert isinstance(events[-1], Finish), events[-1]
    return fold(events)


def said(*frames: Event, **options: Any) -> Reply[object]:
    """What frames add up to between a beginning and a good end."""
    return reply_of(CREATED, *frames, ended(), **options)


def error_of(*frames: Event) -> LLMError:
    return failure(events_of(*frames))


def fragments(events: list[StreamEvent]) -> list[tuple[str, str]]:
    return [(event.id, event.arguments) for event in events if isinstance(event, ToolCallDelta)]


def built_in(kind: str, **more: Any) -> Event:
    return {"id": "it_1", "type": kind, "status": "completed", **more}
