"""Lines of /api/chat to events, and the one object of an answer that is not streamed through the same code.

Sources: the API documentation of Ollama and the types of ollama-python 0.6. A line with `done: true` is the end; a stream
without one was cut.
"""

from __future__ import annotations

import base64
import binascii
import json
import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from ...events import (
    CharacterJoiner,
    FinishReason,
    Image,
    ProviderState,
    RawEvent,
    ReasoningDelta,
    ServerError,
    StreamEvent,
    TextDelta,
    ToolCallDelta,
    parse_call,
    usage_from,
)
from .._codec import FrameLike
from .._decoder import WireDecoder
from ._wire import COUNTS, LINE, MESSAGE, decode_line


class OllamaDecoder(WireDecoder):
    """The state of one answer. Never raises for what a server sends."""

    what = "a line"
    unfinished = "the stream ended before the model was done: no line said so"

    def __init__(self, *, model: str, provider: str, warnings: tuple[str, ...] = (), raw: bool = False) -> None:
        super().__init__(model=model, provider=provider, warnings=warnings, raw=raw)
        self._characters = CharacterJoiner()
        self._thought_characters = CharacterJoiner()
        self._quick = False  # whether text may go straight into events
        self._thinking = False  # the part under way is reasoning
        self._call_ids: set[str] = set()

    # ---- lines

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for frame in () if self.done else frames:
            if self._quick and frame.event == "message":
                try:
                    line = decode_line(frame.data)
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                    pass
                else:
                    said = line.message
                    if (
                        said is not None
                        and not line.done
                        and line.error is None
                        and not said.tool_calls
                        and not said.images
                    ):
                        if said.thinking:
                            self._thought(said.thinking, events)
                        if said.content:
                            self._thinking = False
                            events.append(TextDelta(said.content))
                        continue
            self._frame(frame, events)
            if self.done:
                break
        return events

    def _event(self, data: dict[str, Any], text: str, frame: FrameLike, events: list[StreamEvent]) -> None:
        message = data.get("message")
        done = data.get("done") is True
        failed = frame.event == "error" or _is_error(data)
        if self._raw and not failed and _is_news(data):
            events.append(RawEvent(data))
        if isinstance(message, dict) or (done and not failed):
            if not self._started:
                self._start(events, model=data.get("model"))
            self._message(message if isinstance(message, dict) else {}, events)
        if failed:
            self._error(self._classified(data, text), events)
        elif done:
            self._last(data, text, events)
        self._quick = self._started and not self._raw and not self._characters.half

    def _last(self, data: Mapping[str, Any], text: str, events: list[StreamEvent]) -> None:
        word = data.get("done_reason")
        self._said_finish(word if isinstance(word, str) else "")  # old servers gave no reason
        self._count(usage_from({name: data[name] for name in COUNTS if name in data}), events)
        if self._finish == "error":
            self._error(ServerError("the server ended the stream with done_reason 'error'", body=text), events)
        else:
            self._end(events)

    # ---- the parts of a message

    def _message(self, message: Mapping[str, Any], events: list[StreamEvent]) -> None:
        if isinstance(thought := message.get("thinking"), str) and thought:
            self._thought(thought, events)
        if isinstance(content := message.get("content"), str) and (content := self._characters.feed(content)):
            self._thinking = False
            events.append(TextDelta(content))
        for call in _objects(message.get("tool_calls")):
            self._call(call, events)
        images = message.get("images")
        for encoded in images if isinstance(images, list) else ():
            if (image := _image(encoded)) is not None:
                self._thinking = False
                events.append(image)

    def _thought(self, text: str, events: list[StreamEvent]) -> None:
        """Reasoning remembers where it came from: its own server gets it back (E3)."""
        if text := self._thought_characters.feed(text):
            state = None if self._thinking else ProviderState(self._provider, {"field": "thinking"})
            self._thinking = True
            events.append(ReasoningDelta(text, state))

    def _call(self, data: Mapping[str, Any], events: list[StreamEvent]) -> None:
        """Calls come whole, and each is complete by itself."""
        inner = data.get("function")
        function = inner if isinstance(inner, dict) else data
        name, arguments, id = function.get("name"), function.get("arguments"), data.get("id")
        name = name if isinstance(name, str) else ""
        if not isinstance(id, str) or not id or id in self._call_ids:
            id = f"call_{uuid.uuid4().hex[:24]}"
        raw = arguments if isinstance(arguments, str) else _dump({} if arguments is None else arguments)
        call = parse_call(id, name, _whole(raw))
        events += ToolCallDelta(len(self._call_ids), id, name, call.raw_arguments), call
        self._call_ids.add(id)
        self._thinking = False

    # ---- how it ends

    def _flush(self, events: list[StreamEvent]) -> None:
        if lost := self._thought_characters.close():
            events.append(ReasoningDelta(lost))
        if lost := self._characters.close():
            events.append(TextDelta(lost))

    def _reason(self, raw: str | None) -> FinishReason:
        reason = super()._reason(raw)
        return "tool_calls" if self._call_ids and reason in ("stop", "other") else reason  # the wire says "stop" (B8)


def _is_error(data: Mapping[str, Any]) -> bool:
    """`{"error": "text"}`, and what proxies send instead (C6)."""
    if data.get("error") or data.get("errors") or data.get("type") == "error" or data.get("success") is False:
        return True
    said = data.get("message")
    return "done" not in data and not isinstance(said, dict) and (said is not None or "detail" in data)


def _is_news(data: Mapping[str, Any]) -> bool:
    """Whether a line holds anything that is not understood."""
    message = data.get("message")
    if not isinstance(message, dict) and data.get("done") is not True:
        return True
    unknown = data.keys() - LINE
    return bool(unknown) or (isinstance(message, dict) and bool(message.keys() - MESSAGE))


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _dump(value: object) -> str:
    try:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    except RecursionError:
        return "(nested too deep)"


def _whole(text: str) -> str:
    """`text` with nothing that cannot be written."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


_MAGIC = {b"\x89PNG": "image/png", b"\xff\xd8": "image/jpeg", b"GIF8": "image/gif", b"RIFF": "image/webp"}


def _image(encoded: object) -> Image | None:
    """An image that the model made: base64 without a word of what it is."""
    if not isinstance(encoded, str) or not encoded:
        return None
    try:
        data = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError):
        return None
    return Image(data=data, media_type=media_type(data))


def media_type(data: bytes) -> str:
    return next((kind for magic, kind in _MAGIC.items() if data.startswith(magic)), "image/png")
