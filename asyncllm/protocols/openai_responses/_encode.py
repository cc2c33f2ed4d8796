"""Events to the events of the Responses API, or to one whole response: the decoder read backwards.

Source: the OpenAI API reference (Responses, streaming events), openai-python 3.52, which reads strictly: every delta
belongs to a part of an item that was announced, ids do not change, and the last response holds all of the output.
"""

from __future__ import annotations

import base64
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

from ...events import (
    Audio,
    Citation,
    File,
    Finish,
    Image,
    ProviderState,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from .._json import parse_json, to_json
from .._server_side import WireFrame
from ..openai_chat._encode import error_text
from ._wire import object_of

_REASONS = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Of an incomplete response, by our finish reason."""

NOTHING: Mapping[str, object] = {}


class _Open:
    """An item that is not done, with its place in the output."""

    __slots__ = ("arguments", "index", "item", "parts", "text_from")

    def __init__(self, index: int, item: dict[str, Any]) -> None:
        self.index = index
        self.item = item
        self.parts: list[tuple[dict[str, Any], list[str]]] = []  # of content or summary, with the pieces of their text
        self.arguments: list[str] = []
        self.text_from = 0  # characters of text in the step before it


class ResponsesEncoder:
    """The events of one answer to its events on the wire. `model` and `id` stand until a StreamStart names others; `echo` are
    fields of the request that every response repeats."""

    def __init__(
        self, *, model: str, id: str | None = None, created: int | None = None, echo: Mapping[str, object] = NOTHING
    ) -> None:
        self.done = False
        """Finish or StreamError is out: nothing may follow, and what does is ignored."""
        self.output: list[dict[str, Any] | None] = []
        self._model = model
        self._id = id or f"resp_{uuid.uuid4().hex[:24]}"
        self._created = int(time.time()) if created is None else created
        self._echo = echo
        self._number = 0
        self._begun = False
        self._usage: Usage | None = None
        self._open: _Open | None = None  # a message or reasoning
        self._calls: dict[str, _Open] = {}
        self._finished_calls: set[str] = set()
        self._length = 0
        self._thought = False

    def encode(self, event: StreamEvent) -> list[WireFrame]:
        """The events that say `event`."""
        if self.done:
            return []
        frames: list[WireFrame] = []
        match event:
            case StreamStart(model=model, id=id):
                if not self._begun:
                    self._model, self._id = model or self._model, id or self._id
                self._begin(frames)
            case TextDelta(text=text, state=state):
                self._text(text, "output_text", frames)
                self._state(state, "message", frames)
            case RefusalDelta(text=text):
                self._text(text, "refusal", frames)
            case ReasoningDelta(text=text, state=state):
                self._reasoning(text, state, frames)
            case Citation():
                self._citation(event, frames)
            case ToolCallDelta(id=id, name=name, arguments=arguments):
                self._fragment(id, name, arguments, frames)
            case ToolCall():
                self._call(event, frames)
            case ToolResult(state=state) if item := _item(state):
                self._whole(item, frames)
            case Image(state=state) if item := _item(state):
                self._whole({**item, "result": base64.b64encode(event.data or b"").decode()}, frames)
            case Audio(data=data):
                self._say(frames, "response.audio.delta", delta=base64.b64encode(data).decode())
                self._say(frames, "response.audio.done")
            case Usage():
                self._usage = event  # a snapshot: the last one is said, in the end
            case Finish():
                self._finish(event, frames)
            case StreamError(error=error):
                self._begin(frames)
                self.done = True
                body = parse_json(error_text(error))
                frames.append(self._frame("error", error=body["error"]))
            case ToolResult() | Image() | File() | Retrying() | RawEvent():
                pass
        return frames

    # ---- frames

    def _frame(self, type: str, kind: Any = "chunk", **fields: object) -> WireFrame:
        data = to_json({"type": type, "sequence_number": self._number, **fields})
        self._number += 1
        return WireFrame(data, event=type, kind=kind)

    def _say(self, frames: list[WireFrame], type: str, **fields: object) -> None:
        self._begin(frames)
        frames.append(self._frame(type, **fields))

    def _begin(self, frames: list[WireFrame]) -> None:
        if not self._begun:
            self._begun = True
            frames += [
                self._frame(f"response.{name}", response=self._response("in_progress"))
                for name in ("created", "in_progress")
            ]

    def _response(self, status: str, **more: object) -> dict[str, object]:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "background": False,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "max_output_tokens": None,
            "model": self._model,
            "output": [item for item in self.output if item is not None],
            "parallel_tool_calls": True,
            "previous_response_id": None,
            "reasoning": {"effort": None, "summary": None},
            "text": {"format": {"type": "text"}},
            "tool_choice": "auto",
            "tools": [],
            "truncation": "disabled",
            "usage": None,
            "metadata": {},
            **self._echo,
            **more,
        }

    # ---- items

    def _new(self, item: dict[str, Any], frames: list[WireFrame]) -> _Open:
        opened = _Open(len(self.output), item)
        self.output.append(None)
        opened.text_from = self._length
        self._say(frames, "response.output_item.added", output_index=opened.index, item=item)
        return opened

    def _done(self, opened: _Open, item: dict[str, Any], frames: list[WireFrame]) -> None:
        self.output[opened.index] = item
        self._say(frames, "response.output_item.done", output_index=opened.index, item=item)

    def _name(self, prefix: str) -> str:
        """Ids of items follow from that of the response and their place."""
        return f"{prefix}_{self._id.removeprefix('resp_')}_{len(self.output)}"

    def _whole(self, item: dict[str, Any], frames: list[WireFrame]) -> None:
        """An item that is only said, never told."""
        self._close(frames)
        self._done(self._new({**item, "status": "in_progress"} if "status" in item else item, frames), item, frames)

    def _speaker(self, kind: str, frames: list[WireFrame]) -> _Open:
        """The message, or the reasoning, that is open."""
        if self._open is None or self._open.item["type"] != kind:
            self._close(frames)
            item: dict[str, Any] = {"id": self._name("rs"), "type": kind, "summary": []}
            if kind == "message":
                item = {"id": self._name("msg"), "type": kind, "status": "in_progress", "role": "assistant"}
                item["content"] = []
            self._open = self._new(item, frames)
        return self._open

    def _text(self, text: str, kind: str, frames: list[WireFrame]) -> None:
        if not text:
            return
        opened = self._speaker("message", frames)
        if not opened.parts or opened.parts[-1][0]["type"] != kind:
            self._end_part(opened, frames)
            part: dict[str, Any] = {"type": kind, "refusal": ""}
            if kind == "output_text":
                part = {"type": kind, "annotations": [], "logprobs": [], "text": ""}
            opened.parts.append((part, []))
            self._say(frames, "response.content_part.added", **_where(opened), part=part)
        opened.parts[-1][1].append(text)
        if kind == "output_text":
            self._length += len(text)
            self._say(frames, "response.output_text.delta", **_where(opened), delta=text, logprobs=[])
        else:
            self._say(frames, "response.refusal.delta", **_where(opened), delta=text)

    def _end_part(self, opened: _Open, frames: list[WireFrame]) -> None:
        """The last part of a message is whole."""
        if not opened.parts:
            return
        part, pieces = opened.parts[-1]
        name = "text" if part["type"] == "output_text" else "refusal"
        opened.parts[-1] = part, ["".join(pieces)]
        part = opened.parts[-1][0]
        text = opened.parts[-1][1][0]
        more: dict[str, object] = {"logprobs": []} if name == "text" else {}
        self._say(frames, f"response.{part['type']}.done", **_where(opened), **{name: text}, **more)
        self._say(frames, "response.content_part.done", **_where(opened), part={**part, name: text})

    def _reasoning(self, text: str, state: ProviderState | None, frames: list[WireFrame]) -> None:
        item = _item(state)
        if item.get("type", "reasoning") != "reasoning":
            self._whole(item, frames)  # what rides on reasoning, without being it
            return
        if text:
            opened = self._speaker("reasoning", frames)
            where = {"item_id": opened.item["id"], "output_index": opened.index, "summary_index": 0}
            if not opened.parts:
                if self._thought:
                    text = text.removeprefix("\n\n")  # whoever reads it puts it there again
                part = {"type": "summary_text", "text": ""}
                opened.parts.append((part, []))
                self._say(frames, "response.reasoning_summary_part.added", **where, part=part)
            opened.parts[-1][1].append(text)
            self._thought = True
            self._say(frames, "response.reasoning_summary_text.delta", **where, delta=text)
        elif item:
            self._speaker("reasoning", frames)
        self._state(state, "reasoning", frames)

    def _state(self, state: ProviderState | None, kind: str, frames: list[WireFrame]) -> None:
        """What a provider said beside the text of an item, which may end it."""
        if state is None or self._open is None or self._open.item["type"] != kind:
            return
        self._open.item |= _item(state)
        if state.closes:
            self._close(frames)

    def _close(self, frames: list[WireFrame]) -> None:
        """The message or the reasoning that is open is whole."""
        opened, self._open = self._open, None
        if opened is None:
            return
        item = opened.item
        if item["type"] == "message":
            self._end_part(opened, frames)
            content = [
                {**part, "text" if part["type"] == "output_text" else "refusal": "".join(pieces)}
                for part, pieces in opened.parts
            ]
            self._done(opened, {**item, "status": "completed", "content": content}, frames)
            return
        for part, pieces in opened.parts:
            text = "".join(pieces)
            where = {"item_id": item["id"], "output_index": opened.index, "summary_index": 0}
            self._say(frames, "response.reasoning_summary_text.done", **where, text=text)
            self._say(frames, "response.reasoning_summary_part.done", **where, part={**part, "text": text})
        if opened.parts and not item["summary"] and not item.get("content"):
            item = {**item, "summary": [{"type": "summary_text", "text": "".join(opened.parts[0][1])}]}
        self._done(opened, item, frames)

    def _citation(self, event: Citation, frames: list[WireFrame]) -> None:
        opened = self._open
        if opened is None or not opened.parts or opened.parts[-1][0]["type"] != "output_text":
            return
        annotation = dict(event.raw) if event.raw is not None and "type" in event.raw else _annotation(event, opened)
        part = opened.parts[-1][0]
        at = len(part["annotations"])
        opened.parts[-1] = {**part, "annotations": [*part["annotations"], annotation]}, opened.parts[-1][1]
        self._say(
            frames,
            "response.output_text.annotation.added",
            **_where(opened),
            annotation_index=at,
            annotation=annotation,
        )

    # ---- calls

    def _fragment(self, id: str, name: str, arguments: str, frames: list[WireFrame]) -> _Open:
        opened = self._calls.get(id)
        if opened is None:
            self._close(frames)
            item = {"id": self._name("fc"), "type": "function_call", "status": "in_progress", "call_id": id}
            opened = self._calls[id] = self._new({**item, "name": name, "arguments": ""}, frames)
        opened.item["name"] = name
        if arguments:
            opened.arguments.append(arguments)
            where = {"item_id": opened.item["id"], "output_index": opened.index}
            self._say(frames, "response.function_call_arguments.delta", **where, delta=arguments)
        return opened

    def _call(self, call: ToolCall, frames: list[WireFrame]) -> None:
        """A whole call: an item of its provider's own where there is one, else a function call."""
        item = _item(call.state)
        if item.get("type") and item["type"] not in ("function_call", "custom_tool_call"):
            self._whole(item, frames)
            return
        if call.executed:
            return
        if item.get("type") == "custom_tool_call" and call.id not in self._calls:
            text = (call.arguments or {}).get("input", call.raw_arguments)
            self._whole({"id": self._name("ctc"), "call_id": call.id, "name": call.name, "input": text, **item}, frames)
            return
        sent = self._calls.get(call.id)
        if sent is None or not sent.arguments:
            raw = call.raw_arguments or ("" if call.arguments is None else to_json(call.arguments))
            sent = self._fragment(call.id, call.name, raw, frames)
        self._end_call(call.id, sent, frames, {name: value for name, value in item.items() if name != "type"})

    def _end_call(self, id: str, opened: _Open, frames: list[WireFrame], more: Mapping[str, object] = NOTHING) -> None:
        if id in self._finished_calls:
            return
        self._finished_calls.add(id)
        item = opened.item
        arguments = "".join(opened.arguments)
        where = {"item_id": item["id"], "output_index": opened.index}
        self._say(frames, "response.function_call_arguments.done", **where, name=item["name"], arguments=arguments)
        self._done(opened, {**item, "status": "completed", "arguments": arguments, **more}, frames)

    # ---- how it ends

    def _finish(self, event: Finish, frames: list[WireFrame]) -> None:
        self._begin(frames)
        self._close(frames)
        for id, opened in self._calls.items():
            self._end_call(id, opened, frames)
        self.done = True
        usage = None if self._usage is None else usage_object(self._usage)
        if event.reason in ("stop", "tool_calls"):
            response = self._response("completed", usage=usage, completed_at=self._created)
            frames.append(self._frame("response.completed", "finish", response=response))
            return
        reason = _REASONS.get(event.reason, event.raw or event.reason)
        details = {"reason": event.raw if event.raw not in (None, event.reason) else reason}
        response = self._response("incomplete", usage=usage, incomplete_details=details)
        frames.append(self._frame("response.incomplete", "finish", response=response))


def _where(opened: _Open) -> dict[str, object]:
    """The place of the last part of a message."""
    return {
        "item_id": opened.item["id"],
        "output_index": opened.index,
        "content_index": max(0, len(opened.parts) - 1),
    }


def _item(state: ProviderState | None) -> dict[str, Any]:
    return object_of(state.data.get("item")) if state is not None else {}


def _annotation(event: Citation, opened: _Open) -> dict[str, object]:
    start, end = (None if at is None else max(0, at - opened.text_from) for at in (event.start, event.end))
    place = {"start_index": start or 0, "end_index": end or 0}
    return {"type": "url_citation", "url": event.url, "title": event.title, **place}


def usage_object(usage: Usage) -> dict[str, object]:
    """The `usage` of the wire. `estimated: true` is ours, and marks counts that no model reported."""
    shape: dict[str, object] = {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }
    if usage.cost is not None:
        shape["cost"] = usage.cost
    return shape | {"estimated": True} if usage.estimated else shape


def response_body(events: Iterable[StreamEvent], *, model: str, id: str | None = None) -> bytes:
    """The body of an answer that is not streamed. Raises the error of a StreamError among the events."""
    encoder = ResponsesEncoder(model=model, id=id)
    last: Mapping[str, Any] = {}
    for event in events:
        if isinstance(event, StreamError):
            raise event.error
        for frame in encoder.encode(event):
            if frame.kind == "finish":
                last = parse_json(frame.data)["response"]
    return to_json(last).encode()
