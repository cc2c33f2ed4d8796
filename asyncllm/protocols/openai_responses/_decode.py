"""Events of the Responses API to ours, and the whole response of a call that was not streamed through the same code.

Sources: the OpenAI API reference (Responses, streaming events), openai-python 3.52, and what other servers of this wire
send (llama.cpp, vLLM, transformers, the ChatGPT backend): no places of items, no names of events, `[DONE]`, empty outputs.
A text delta of the common shape takes the fast path: one msgspec decode into the few fields that are read.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ...events import (
    Audio,
    Finish,
    IncompleteStreamError,
    RawEvent,
    StreamEvent,
    TextDelta,
    usage_from,
)
from ...events._toolcalls import CUT
from .._codec import Encoded, FrameLike
from .._decoder import WireDecoder
from .._numbers import whole_number
from ._items import CALLS, Item, event_item
from ._say import Speaker
from ._wire import BEGINNING, PROGRESS, TERMINAL, TEXT, Delta, decode_delta, object_of, text_of, unknown_parts

_ITEM_OF: dict[str, tuple[str, ...]] = {
    "response.output_text.": ("message",),
    "response.audio.transcript.": ("message",),
    "response.refusal.": ("message",),
    "response.reasoning_summary_": ("reasoning",),
    "response.reasoning_text.": ("reasoning",),
    "response.content_part.": ("message", "reasoning"),
    "response.function_call_arguments.": ("function_call",),
    "response.custom_tool_call_input.": ("custom_tool_call",),
}
"""The beginning of an event's name, and the types of items that it is about."""


class ResponsesDecoder(WireDecoder):
    """The state of one answer. Never raises for what a server sends.

    `stored` and `background` are what the request asked for; the response itself knows better. `id` is that of a response
    which is continued.
    """

    unfinished = "the stream ended before the response was completed"

    def __init__(
        self,
        *,
        model: str,
        provider: str,
        warnings: tuple[str, ...] = (),
        raw: bool = False,
        stored: bool = False,
        background: bool = False,
        id: str = "",
    ) -> None:
        super().__init__(model=model, provider=provider, warnings=warnings, raw=raw)
        self._id = id
        self._background = background
        self._sequence: int | None = None  # the last event that was understood
        self._seen: int | None = None  # after a resumption: events up to this one were there before
        self._audio: list[bytes] = []
        self._say = Speaker(provider, stored=stored)
        self._place: tuple[str | None, int | None, int | None] | None = None  # of the last text delta

    # ---- resumption

    def resume(self) -> Encoded | None:
        """How the rest of a broken stream can be had, if it can: a background response goes on without its reader (H18)."""
        if self.done or not self._background or not self._id or self._sequence is None:
            return None
        self._seen = self._sequence
        return retrieval(self._id, self._sequence)

    # ---- frames

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        quick = self._started and not self._raw and self._seen is None
        say = self._say
        for frame in () if self.done else frames:
            if quick:
                try:
                    piece = decode_delta(frame.data)
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                    pass
                else:
                    text = piece.delta
                    if text is not None:
                        if (
                            piece.type == TEXT
                            and (piece.item_id, piece.output_index, piece.content_index) == self._place
                            and text.isascii()
                            and say.plain
                        ):
                            if text:
                                say.pieces.append(text)
                                say.length += len(text)
                                events.append(TextDelta(text))
                            self._sequence = piece.sequence_number
                            continue
                        if self._delta(piece, events):
                            self._sequence = piece.sequence_number
                            continue
            self._frame(frame, events)
            if self.done:
                break
            quick = self._started and not self._raw and self._seen is None
        return events

    def _event(self, data: dict[str, Any], text: str, frame: FrameLike, events: list[StreamEvent]) -> None:
        kind = data.get("type")
        if not isinstance(kind, str):
            kind = "" if frame.event in ("message", "unframed") else frame.event
        if kind == "error" or frame.event == "error" or (not kind and _is_error(data)):
            self._error(self._classified(data, text), events)
            return
        number = whole_number(data.get("sequence_number"))
        if number is not None:
            if self._seen is not None and number <= self._seen:
                return
            self._seen, self._sequence = None, number
        if not kind and data.get("object") == "response":
            self._end_with(data, text, events)
        elif kind in TERMINAL:
            self._end_with(object_of(data.get("response")), text, events, kind)
        elif kind in BEGINNING:
            self._begin(object_of(data.get("response")), events)
        elif not self._body(kind, data, events) and self._raw:
            events.append(RawEvent(data))
        elif self._raw and (unknown := unknown_parts(data)) is not None:
            events.append(RawEvent(unknown))

    def _begin(self, response: dict[str, Any], events: list[StreamEvent]) -> None:
        self._id = text_of(response.get("id")) or self._id
        if isinstance(background := response.get("background"), bool):
            self._background = background
        if isinstance(stored := response.get("store"), bool):
            self._say.stored = stored
        if not self._started:
            self._say.seed = self._id
            self._start(events, model=response.get("model"), id=self._id)

    # ---- the body

    def _body(self, kind: str, data: dict[str, Any], events: list[StreamEvent]) -> bool:
        """Anything between the beginning and the end; False for what is not understood."""
        if kind in PROGRESS:
            return True
        if kind == "response.output_item.added":
            if item := event_item(data):
                self._begin_anyhow(events)
                self._added(item, whole_number(data.get("output_index")), events)
        elif kind == "response.output_item.done":
            if item := event_item(data):
                self._begin_anyhow(events)
                index, id = whole_number(data.get("output_index")), text_of(item.get("id"))
                ours = self._say.items.final(item, id, index)
                if not ours.done:  # it may be said twice
                    self._say.close(ours, item, events)
        elif kind == "response.output_text.annotation.added":
            message = self._item(("message",), data)
            self._begin_anyhow(events)
            self._say.cite(message, whole_number(data.get("content_index")) or 0, data.get("annotation"), events)
        elif kind.startswith("response.audio."):
            return self._sound(kind, data, events)
        elif kind.endswith(".delta"):
            return isinstance(data.get("delta"), str) and self._delta(_delta_of(kind, data), events)
        elif kind.endswith(".done"):
            return self._said(kind, data, events)
        else:
            return False
        return True

    def _delta(self, piece: Delta, events: list[StreamEvent]) -> bool:
        """A string that goes on with something; False if it is not known with what."""
        say, text = self._say, piece.delta or ""
        match piece.type:
            case "response.output_text.delta" | "response.audio.transcript.delta":
                self._begin_anyhow(events)
                item = self._item(("message",), piece)
                say.text(item, piece.content_index or 0, text, events)
                self._place = (piece.item_id, piece.output_index, piece.content_index)
            case "response.refusal.delta":
                self._begin_anyhow(events)
                say.refusal(self._item(("message",), piece), piece.content_index or 0, text, events)
            case "response.reasoning_summary_text.delta":
                self._begin_anyhow(events)
                item = self._item(("reasoning",), piece)
                say.thought(item, "summary", piece.summary_index or 0, text, events)
            case "response.reasoning_text.delta":
                self._begin_anyhow(events)
                item = self._item(("reasoning",), piece)
                say.thought(item, "content", piece.content_index or 0, text, events)
            case "response.function_call_arguments.delta":
                self._begin_anyhow(events)
                say.arguments(self._item(("function_call",), piece), text, events)
            case "response.custom_tool_call_input.delta":
                self._begin_anyhow(events)
                say.arguments(self._item(("custom_tool_call",), piece), text, events)
            case _:
                return False
        return True

    def _said(self, kind: str, data: dict[str, Any], events: list[StreamEvent]) -> bool:
        """The whole of something that was said in deltas, or was not."""
        types = next((types for prefix, types in _ITEM_OF.items() if kind.startswith(prefix)), None)
        if types is None:
            return False
        part = object_of(data.get("part"))
        if part:
            types = ("reasoning",) if part.get("type") in ("reasoning_text", "summary_text") else ("message",)
        self._begin_anyhow(events)
        item = self._item(types, data)
        if item.type in CALLS:
            item.final = text_of(data.get("arguments")) or text_of(data.get("input"))
            if not item.name and (name := text_of(data.get("name"))):
                item.data = {**item.data, "name": name}
            return True
        at = whole_number(data.get("content_index")) or whole_number(data.get("summary_index")) or 0
        text, refusal = part.get("text", data.get("text")), part.get("refusal", data.get("refusal"))
        if item.type == "reasoning":
            channel: Any = "summary" if "summary" in kind else "content"
            self._say.rest_of_part(item, channel, at, text_of(text), events)
        elif isinstance(refusal, str):
            self._say.rest_of_part(item, "refusal", at, refusal, events)
        else:
            self._say.rest_of_part(item, "content", at, text_of(text), events)
        return True

    def _added(self, data: dict[str, Any], index: int | None, events: list[StreamEvent]) -> None:
        id, kind = text_of(data.get("id")), text_of(data.get("type"))
        known = self._say.items.find((kind,), id, index) if id else None
        if known is not None and (known.id == id or not known.data) and not known.done:
            known.data = data
        else:
            known = self._say.items.add(kind, data, id, index)
        if known.type in CALLS:
            self._say.arguments(known, "", events)

    def _item(self, types: tuple[str, ...], event: Delta | dict[str, Any]) -> Item:
        """The item that an event is about; one that nobody announced begins here."""
        if isinstance(event, Delta):
            id, index = event.item_id or "", event.output_index
        else:
            id, index = text_of(event.get("item_id")), whole_number(event.get("output_index"))
        return self._say.items.find(types, id, index) or self._say.items.add(types[0], {}, id, index)

    def _begin_anyhow(self, events: list[StreamEvent]) -> None:
        if not self._started:
            self._begin({}, events)

    def _sound(self, kind: str, data: dict[str, Any], events: list[StreamEvent]) -> bool:
        """Sound comes in pieces and is one event; its transcript is the text."""
        if kind.startswith("response.audio.transcript."):
            return isinstance(data.get("delta"), str) and self._delta(_delta_of(kind, data), events)
        if kind == "response.audio.delta":
            try:
                self._audio.append(base64.b64decode(text_of(data.get("delta")), validate=True))
            except (binascii.Error, ValueError):
                return False
        elif kind == "response.audio.done" and self._audio:
            self._begin_anyhow(events)
            events.append(Audio(b"".join(self._audio)))
            self._audio = []
            self._say.apart()
        return True

    # ---- how it ends

    def _end_with(
        self, response: dict[str, Any], text: str, events: list[StreamEvent], kind: str = "response.completed"
    ) -> None:
        """The response as it is in the end. Some servers say `response.completed` whatever its status is."""
        self._begin(response, events)
        status = text_of(response.get("status")) or kind.removeprefix("response.")
        if isinstance(usage := response.get("usage"), dict):
            self._count(usage_from(usage), events)
        details = object_of(response.get("incomplete_details"))
        if kind == "response.incomplete" or (details.get("reason") and status != "failed"):
            status = "incomplete"
        if status == "failed" or kind == "response.failed" or response.get("error"):
            self._error(self._classified({"error": response.get("error") or {}}, text), events)
        elif status in ("cancelled", "queued", "in_progress"):
            what = "was cancelled" if status == "cancelled" else f"is not done: its status is {status}"
            self._error(IncompleteStreamError(f"the response {what}", code=status, retryable=False), events)
        else:
            cut = status == "incomplete"
            self._said_finish((text_of(details.get("reason")) or status) if cut else status)
            for ours, data in self._say.items.matched(response.get("output")):
                item = ours or self._say.items.add(text_of(data.get("type")), data, text_of(data.get("id")), None)
                if not item.done:
                    self._say.close(item, data, events, cut=cut and ours is not None)
            self._end(events)

    def _end(self, events: list[StreamEvent]) -> None:
        cut = self._finish != "completed"
        for item in self._say.items.all:
            if not item.done:
                self._say.close(item, item.data, events, cut=cut)
        self._flush(events)
        reason = self._reason(self._finish)
        if self._say.called and reason in ("stop", "other"):
            reason = "tool_calls"  # the status stays "completed" when tools are called
        events.append(Finish(reason, self._finish or None))
        self.done = True

    def _flush(self, events: list[StreamEvent]) -> None:
        self._say.flush(events)

    def _abandoned(self) -> Sequence[StreamEvent]:
        return self._say.abandon(CUT)


def retrieval(id: str, after: int | None = None) -> Encoded:
    """The stream of a stored response, from its beginning or after one of its events."""
    place = "" if after is None else f"&starting_after={after}"
    return Encoded(f"/responses/{_in_path(id)}?stream=true{place}", b"", method="GET")


def _in_path(id: str) -> str:
    """An id as one segment of a path (RFC 3986)."""
    return "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"-_" else f"%{byte:02X}"
        for byte in id.encode("utf-8", "replace")
    )


def _delta_of(kind: str, data: dict[str, Any]) -> Delta:
    return Delta(
        type=kind,
        delta=data["delta"],
        item_id=text_of(data.get("item_id")) or None,
        output_index=whole_number(data.get("output_index")),
        content_index=whole_number(data.get("content_index")),
        summary_index=whole_number(data.get("summary_index")),
    )


def _is_error(data: dict[str, Any]) -> bool:
    """An object that is no event: is it an error body (C6)?"""
    if data.get("object") == "response":
        return False
    return bool(data.get("error") or data.get("errors") or "detail" in data or "message" in data)
