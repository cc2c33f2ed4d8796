"""The content blocks of an answer, each from its start over its deltas to its end.

A block becomes one part of the reply, in its place among the others, with the state that makes it what it was when it is sent
back. Text and reasoning have no start on this wire (G5): their first delta begins them.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Mapping
from typing import Any

from ...events import (
    CharacterJoiner,
    Citation,
    Image,
    ProviderState,
    ReasoningDelta,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    parse_call,
)
from .._json import to_json

Events = list[StreamEvent]

CUT = "the stream broke before the call was whole"
EMPTY = "the output limit was reached before any argument"


class Turn:
    """What the blocks of one answer know of each other."""

    __slots__ = ("_ids", "asked", "executed", "provider", "text", "unsigned", "waiting")

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.text = 0  # characters of text that were said
        self.asked = 0  # calls that somebody else must run
        self.executed: dict[str, str] = {}  # id -> name of calls that the provider runs
        self.waiting: CallBlock | None = None  # a whole call without arguments, until it is known why it has none
        self.unsigned = (
            False  # the last part is reasoning that no state has ended: more of it would be one part with it
        )
        self._ids: set[str] = set()

    def state(self, data: Mapping[str, object], *, closes: bool = False) -> ProviderState:
        return ProviderState(self.provider, data, closes)

    def id(self, given: object) -> str:
        """The id of a call: a result must find it, so that one that is absent or taken is replaced."""
        id = given if isinstance(given, str) else ""
        if not id or id in self._ids:
            id = f"call_{uuid.uuid4().hex[:24]}"
        self._ids.add(id)
        return id

    def settle(self, events: Events, *, empty: str | None = None) -> None:
        """Say the call that waits; `empty` says what is wrong with it."""
        call, self.waiting = self.waiting, None
        if call is not None:
            events.append(call.whole("", empty=empty))


class Block:
    """One block under way. `start` is what its contentBlockStart said of it."""

    __slots__ = ("start", "turn")

    def __init__(self, start: Mapping[str, Any], turn: Turn) -> None:
        self.start = start
        self.turn = turn

    def begin(self, events: Events) -> None:
        self.turn.settle(events)
        self.turn.unsigned = False

    def delta(self, name: str, value: object, events: Events) -> bool:
        """One member of a delta; whether it was understood."""
        return False

    def end(self, events: Events) -> None: ...

    def abandon(self, events: Events) -> None:
        """The stream broke inside the block: nothing of it may be sent back as if it were whole."""


class TextBlock(Block):
    __slots__ = ("characters", "citations", "since")

    def begin(self, events: Events) -> None:
        super().begin(events)
        self.since = self.turn.text
        self.characters = CharacterJoiner()
        self.citations: list[dict[str, Any]] = []

    def say(self, text: str, events: Events) -> None:
        if text := self.characters.feed(text):
            self.turn.text += len(text)
            events.append(TextDelta(text))

    def delta(self, name: str, value: object, events: Events) -> bool:
        if name == "text" and isinstance(value, str):
            self.say(value, events)
        elif name == "citation" and isinstance(value, dict):
            self.citations.append(value)
        else:
            return False
        return True

    def end(self, events: Events) -> None:
        if lost := self.characters.close():
            self.say(lost, events)
        events += [_citation(item, self.since, self.turn.text) for item in self.citations]

    abandon = end


def _citation(raw: dict[str, Any], start: int, end: int) -> Citation:
    """A source of the text between two offsets, which are those of its block."""
    sources, location = raw.get("sourceContent"), raw.get("location")
    quote = "".join(
        text
        for item in (sources if isinstance(sources, list) else ())
        if isinstance(item, Mapping) and isinstance(text := item.get("text"), str)
    )
    web = location.get("web") if isinstance(location, Mapping) else None
    url = web.get("url") if isinstance(web, Mapping) else raw.get("source")
    title = raw.get("title")
    return Citation(
        url if isinstance(url, str) else "", title if isinstance(title, str) else "", start, end, quote, raw
    )


class ReasoningBlock(Block):
    """Reasoning, with the signature under which it may be sent back, or sealed (`redactedContent`)."""

    __slots__ = ("characters", "sealed", "signature")

    def begin(self, events: Events) -> None:
        if self.turn.unsigned:
            events.append(ReasoningDelta("", self.turn.state({}, closes=True)))
        super().begin(events)
        self.characters = CharacterJoiner()
        self.signature = ""
        self.sealed: list[str] = []

    def say(self, text: str, events: Events) -> None:
        if text := self.characters.feed(text):
            events.append(ReasoningDelta(text))

    def delta(self, name: str, value: object, events: Events) -> bool:
        if name != "reasoningContent" or not isinstance(value, Mapping):
            return False
        understood = False
        for key, piece in value.items():
            if key == "reasoningText":  # the form of a whole block
                self.delta(name, piece, events)
            elif key == "text" and isinstance(piece, str):
                self.say(piece, events)
            elif key == "signature" and isinstance(piece, str):
                self.signature += piece
            elif key == "redactedContent" and isinstance(piece, str):
                self.sealed.append(piece)
            else:
                continue
            understood = True
        return understood

    def end(self, events: Events) -> None:
        self.abandon(events)
        data: dict[str, object] = {}
        if self.signature:
            data["signature"] = self.signature
        if self.sealed:
            data["redactedContent"] = _joined(self.sealed)
        if data:
            events.append(ReasoningDelta("", self.turn.state(data, closes=True)))
        else:
            self.turn.unsigned = True

    def abandon(self, events: Events) -> None:
        if lost := self.characters.close():
            self.say(lost, events)


def _joined(pieces: list[str]) -> str:
    """Base64 in pieces, as one."""
    if len(pieces) == 1:
        return pieces[0]
    return base64.b64encode(b"".join(map(_decoded, pieces))).decode()


def _decoded(piece: str) -> bytes:
    try:
        return base64.b64decode(piece)
    except (binascii.Error, ValueError):
        return b""


class CallBlock(Block):
    """A call: of a tool of the caller's, said in deltas, or of one that the provider runs itself, said whole."""

    __slots__ = ("characters", "executed", "fragments", "id", "index", "name")

    def begin(self, events: Events) -> None:
        super().begin(events)
        name = self.start.get("name")
        self.name = name if isinstance(name, str) else ""
        self.executed = self.start.get("type") == "server_tool_use"
        self.id = self.turn.id(self.start.get("toolUseId"))
        self.characters = CharacterJoiner()
        self.fragments: list[str] = []
        if self.executed:
            self.turn.executed[self.id] = self.name
            return
        self.index = self.turn.asked
        self.turn.asked += 1
        if self.name:
            events.append(ToolCallDelta(self.index, self.id, self.name, ""))

    def say(self, text: str, events: Events) -> None:
        if text := self.characters.feed(text):
            self.fragments.append(text)
            if self.name and not self.executed:
                events.append(ToolCallDelta(self.index, self.id, self.name, text))

    def delta(self, name: str, value: object, events: Events) -> bool:
        if name != "toolUse" or not isinstance(value, Mapping) or (given := value.get("input")) is None:
            return False
        self.say(given if isinstance(given, str) else to_json(given), events)
        return True

    def end(self, events: Events) -> None:
        if not self.fragments and (given := self.start.get("input")):  # whole in its start, where there were no deltas
            self.say(given if isinstance(given, str) else to_json(given), events)
        if lost := self.characters.close():
            self.fragments.append(lost)
        raw = "".join(self.fragments)
        if raw.strip() or self.executed:
            events.append(self.whole(raw))
        else:
            self.turn.waiting = self

    def whole(self, raw: str, *, empty: str | None = None) -> ToolCall:
        call = parse_call(self.id, self.name, raw, empty=empty)
        kind = self.start.get("type")
        state = self.turn.state({"type": kind}) if isinstance(kind, str) else None
        return ToolCall(call.id, call.name, call.arguments, raw, call.invalid, state, executed=self.executed)

    def abandon(self, events: Events) -> None:
        if not self.executed:
            events.append(ToolCall(self.id, self.name, None, "".join(self.fragments), CUT))


class ResultBlock(Block):
    """What a tool of the provider's own gave."""

    __slots__ = ("items",)

    def begin(self, events: Events) -> None:
        super().begin(events)
        self.items: list[Any] = []

    def delta(self, name: str, value: object, events: Events) -> bool:
        if name != "toolResult" or not isinstance(value, list | Mapping):
            return False
        self.items += value if isinstance(value, list) else [value]
        return True

    def end(self, events: Events) -> None:
        given = self.start.get("toolUseId")
        id = given if isinstance(given, str) else ""
        failed = self.start.get("status") == "error"
        state = self.turn.state({"toolResult": {**self.start, "content": self.items}})
        events.append(ToolResult(id, self.turn.executed.get(id, ""), readable(self.items), failed, state))


def readable(items: list[Any]) -> str:
    """The content of a result as text: its texts, and its JSON as it stands."""
    found: list[str] = []
    for item in items:
        if isinstance(item, Mapping):
            if isinstance(text := item.get("text"), str):
                found.append(text)
            elif "json" in item:
                found.append(to_json(item["json"]))
    return "\n".join(found)


class ImageBlock(Block):
    """An image that the model made; its bytes may come in pieces."""

    __slots__ = ("pieces",)

    def begin(self, events: Events) -> None:
        super().begin(events)
        self.pieces: list[bytes] = []

    def delta(self, name: str, value: object, events: Events) -> bool:
        source = value.get("source") if name == "image" and isinstance(value, Mapping) else None
        piece = source.get("bytes") if isinstance(source, Mapping) else None
        if isinstance(piece, str):
            self.pieces.append(_decoded(piece))
        return isinstance(piece, str)

    def end(self, events: Events) -> None:
        if self.pieces:
            format = self.start.get("format")
            media = f"image/{format}" if isinstance(format, str) and format else "image/png"
            events.append(
                Image(data=b"".join(self.pieces), media_type=media, state=self.turn.state({"format": format}))
            )


STARTED: dict[str, type[Block]] = {"toolUse": CallBlock, "toolResult": ResultBlock, "image": ImageBlock}
"""The blocks that a contentBlockStart begins, by the member of its `start`."""

IMPLIED: dict[str, type[Block]] = {
    "text": TextBlock,
    "citation": TextBlock,
    "reasoningContent": ReasoningBlock,
    "toolUse": CallBlock,
    "image": ImageBlock,
}
"""The block that a member of a delta belongs to, and begins where nothing has."""
