"""GenerateContentResponse chunks to events, and the whole body of an answer that was not streamed through the same code.

Sources: the Gemini API and Vertex AI references (generateContent), the google-genai SDK's types, and the deviations of real
servers by their quirk numbers. There is no terminator: the end is the end of the bytes after a finishReason.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import msgspec

from ...events import (
    Audio,
    CharacterJoiner,
    ContentBlockedError,
    File,
    Finish,
    Image,
    ProviderState,
    RawEvent,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
)
from ...events._toolcalls import CUT
from .._codec import FrameLike
from .._decoder import DONE, WireDecoder
from .._json import parse_json
from .._numbers import whole_number
from ._calls import CallReader, ExecutedReader
from ._citations import CitationCollector
from ._raw import is_known
from ._usage import usage_of
from ._wire import NO_RAW, decode_fast, pick, pick_object, pick_objects, pick_text

_UNSAID = frozenset({"FINISH_REASON_UNSPECIFIED"})
_UNBLOCKED = frozenset({"", "BLOCK_REASON_UNSPECIFIED", "BLOCKED_REASON_UNSPECIFIED"})


class GeminiDecoder(WireDecoder):
    """The state of one answer. Never raises for what a server sends."""

    what = "a chunk"
    unfinished = "the stream ended without a finishReason"

    def __init__(self, *, model: str, provider: str, warnings: tuple[str, ...] = (), raw: bool = False) -> None:
        super().__init__(model=model, provider=provider, warnings=warnings, raw=raw)
        self._reader = CallReader(provider)
        self._executed = ExecutedReader(provider, self._reader)
        self._sources = CitationCollector()
        self._texts: list[str] = []  # the text of the step, which citations point into
        self._characters = CharacterJoiner()
        self._thought_characters = CharacterJoiner()
        self._open: Literal["", "text", "thought"] = ""  # the part without a signature that text may still be added to
        self._answered = False  # something that a caller wants was said: text, a call, media
        self._counts: object = NO_RAW  # the last usageMetadata, which is read when the answer ends
        self._unspecified = ""
        self._details: dict[str, object] = {}
        self._quick = False

    # ---- frames

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for frame in () if self.done else frames:
            if self._quick and frame.event == "message":
                try:
                    chunk = decode_fast(frame.data)
                except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
                    pass
                else:
                    candidates = chunk.candidates
                    if len(candidates) == 1 and candidates[0].index == 0:
                        for part in candidates[0].content.parts:
                            if text := part.text:
                                if part.thought:
                                    self._open = "thought"
                                    events.append(ReasoningDelta(text))
                                else:
                                    self._open = "text"
                                    self._answered = True
                                    self._texts.append(text)
                                    events.append(TextDelta(text))
                        if chunk.usageMetadata is not NO_RAW:
                            self._counts = chunk.usageMetadata
                        continue
            self._frame(frame, events)
            if self.done:
                break
            # the short way is open where nothing is held back or has to be looked at
            self._quick = (
                self._started
                and not self._raw
                and self._finish is None
                and not self._unspecified
                and not self._reader.open
                and not (self._characters.half or self._thought_characters.half)
            )
        return events

    def _frame(self, frame: FrameLike, events: list[StreamEvent], *, cut: bool = False) -> None:
        """Without `alt=sse` the answer is one array of chunks; so are errors."""
        text = frame.data.strip()
        if text[:1] == "[" and text != DONE:
            try:
                items = parse_json(text)
            except ValueError:
                items = None
            if isinstance(items, list) and items and all(isinstance(item, dict) for item in items):
                for item in items:
                    if not self.done:
                        self._event(item, text, frame, events)
                return
        super()._frame(frame, events, cut=cut)

    # ---- one chunk of any shape

    def _event(self, data: dict[str, Any], text: str, frame: FrameLike, events: list[StreamEvent]) -> None:
        candidates = pick_objects(data, "candidates")
        if data.get("error") or (frame.event == "error" and not candidates):
            self._error(self._classified(data, text), events)
            return
        feedback, usage = pick_object(data, "promptFeedback"), pick_object(data, "usageMetadata")
        known = bool(candidates or feedback or usage)
        if not known and isinstance(data.get("message"), str):
            self._error(self._classified(data, text), events)  # an error without its wrapper (C6)
            return
        if known and not self._started:
            self._start(events, model=pick(data, "modelVersion"), id=pick(data, "responseId"))
            self._reader.seed = self._calls.seed
        if self._raw and not is_known(data):
            events.append(RawEvent(data))
        if usage is not None:
            self._counts = usage
        for candidate in candidates:
            if not whole_number(pick(candidate, "index")):  # the first is followed; the others are there as raw events
                self._candidate(candidate, events)
        reason = pick_text(feedback, "blockReason") if feedback is not None else ""
        if reason not in _UNBLOCKED and not candidates:
            why = pick_text(feedback or {}, "blockReasonMessage") or f"the prompt was blocked: {reason}"
            self._error(ContentBlockedError(why, block_reason=reason, code=reason, body=text), events)

    def _candidate(self, candidate: Mapping[str, Any], events: list[StreamEvent]) -> None:
        content = pick_object(candidate, "content") or {}
        said = len(events)
        for part in pick_objects(content, "parts"):
            self._part(part, events)
        self._sources.add(candidate)
        if len(events) > said:
            self.ending = False  # content after a finishReason: this server says one with every chunk
            self._unspecified = ""
        if word := pick_text(candidate, "finishReason"):
            if word in _UNSAID:
                self._unspecified = word
            elif self._finish is None:
                self._said_finish(word)
            for name in ("finishMessage", "safetyRatings"):
                if value := pick(candidate, name):
                    self._details[name] = value

    # ---- parts

    def _part(self, part: dict[str, Any], events: list[StreamEvent]) -> None:
        signature = pick(part, "thoughtSignature")
        state: dict[str, object] = {"thoughtSignature": signature} if isinstance(signature, str) and signature else {}
        text = part.get("text")
        if isinstance(text, str):
            self._text(text, part.get("thought") is True, state, events)
        elif (call := pick_object(part, "functionCall")) is not None:
            self._end_text(events)
            events += self._reader.read(call, state)
            self._answered = True
        elif (media := pick_object(part, "inlineData") or pick_object(part, "fileData")) is not None:
            self._end_text(events)
            if (made := self._media(media, part, state)) is not None:
                self._answered = True
                events.append(made)
        elif (event := self._executed.read(part, state)) is not None:
            self._end_text(events)
            events.append(event)

    def _text(self, text: str, thought: bool, state: dict[str, object], events: list[StreamEvent]) -> None:
        """A part with a signature is a part of its own: one before it without a signature ends there."""
        kind: Literal["text", "thought"] = "thought" if thought else "text"
        if self._open != kind:
            self._end_text(events)
        delta: type[TextDelta | ReasoningDelta] = ReasoningDelta if thought else TextDelta
        characters = self._thought_characters if thought else self._characters
        if state:
            text = characters.feed(text) + characters.close()
            if self._open:
                events.append(delta("", ProviderState(self._provider, {}, closes=True)))
            self._open = ""
            events.append(delta(text, ProviderState(self._provider, state, closes=True)))
        elif text := characters.feed(text):
            self._open = kind
            events.append(delta(text))
        if text and not thought:
            self._answered = True
            self._texts.append(text)

    def _end_text(self, events: list[StreamEvent]) -> None:
        """Something else follows: half a character is lost, and nothing is added to the part before."""
        for characters, delta in ((self._thought_characters, ReasoningDelta), (self._characters, TextDelta)):
            if lost := characters.close():
                events.append(delta(lost))
                if delta is TextDelta:
                    self._texts.append(lost)
        self._open = ""

    def _media(
        self, media: Mapping[str, Any], part: Mapping[str, Any], state: dict[str, object]
    ) -> Image | Audio | File | None:
        kind, uri = pick_text(media, "mimeType"), pick_text(media, "fileUri")
        if part.get("thought") is True:  # a draft on the way to an image
            state = {"thought": True, **state}
        own = ProviderState(self._provider, state) if state else None
        if uri:
            if kind.startswith("image/"):
                return Image(url=uri, media_type=kind, state=own)
            return File(file_id=uri, media_type=kind or "application/octet-stream", state=own)
        try:
            data = base64.b64decode(_standard(pick_text(media, "data")), validate=True)
        except (binascii.Error, ValueError):
            return None
        if kind.startswith("image/"):
            return Image(data=data, media_type=kind, state=own)
        if kind.startswith("audio/"):
            return Audio(data, kind.removeprefix("audio/"), own)
        return File(data=data, media_type=kind or "application/octet-stream", state=own)

    # ---- how it ends

    def _end(self, events: list[StreamEvent]) -> None:
        word = self._finish or ""
        reason = self._reason(word)
        if reason == "content_filter" and not self._answered:
            # blocked before a word of the answer: an empty success would be a lie
            said = self._details.get("finishMessage")
            why = said if isinstance(said, str) else f"the answer was blocked: {word}"
            self._error(ContentBlockedError(why, block_reason=word, code=word), events)
            return
        self._flush(events)
        if self._reader.cut or (self._reader.open and reason not in ("stop", "other")):
            events += self._reader.close("the answer ended before the arguments were whole")
        else:
            events += self._reader.close()
        if self._reader and reason in ("stop", "other"):
            reason = "tool_calls"  # the word for calls is STOP (B8)
        events.append(Finish(reason, word or None, self._details or None))
        self.done = True

    def close(self, rest: Iterable[FrameLike] = ()) -> list[StreamEvent]:
        events: list[StreamEvent] = []
        for frame in rest:
            if not self.done:
                self._frame(frame, events, cut=True)
        if self._finish is None and self._unspecified:
            self._said_finish(self._unspecified)  # the last word, and a word about the end
        return events + super().close()

    def _abandoned(self) -> Sequence[StreamEvent]:
        return self._reader.close(CUT)

    def _flush(self, events: list[StreamEvent]) -> None:
        self._end_text(events)
        events += self._sources.close(self._texts)
        counts, self._counts = self._counts, NO_RAW
        if isinstance(counts, msgspec.Raw):
            try:
                counts = parse_json(bytes(counts).decode("utf-8", "replace")) if counts is not NO_RAW else None
            except ValueError:
                counts = None
        if isinstance(counts, dict) and self._started:
            self._count(usage_of(counts), events)


def _standard(data: str) -> str:
    """Base64 in the letters of URLs, and without its padding, is taken, too."""
    data = data.replace("-", "+").replace("_", "/").replace("\n", "").rstrip("=")
    return data + "=" * (-len(data) % 4)
