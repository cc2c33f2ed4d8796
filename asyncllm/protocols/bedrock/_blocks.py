"""The content blocks of an answer, each from its start over its deltas to its end.

A block becomes one part of the reply, in its place among the others, with the state that makes it what it was when it is sent
back. Text and reasoning have no start on this wire (G5): their first delta begins them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from ...events import (
    CharacterJoiner,
    Citation,
    Image,
    ProviderState,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolResult,
    parse_call,
)
from .. import _blocks
from .._blocks import BlockTurn, Events
from .._json import to_json


class Turn(BlockTurn):
    __slots__ = ("unsigned",)

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        # the last part is reasoning that no state has ended: more of it would be one part with it
        self.unsigned = False

    def state(self, data: Mapping[str, object], *, closes: bool = False) -> ProviderState:
        return ProviderState(self.provider, data, closes)

    def settle(self, events: Events, *, empty: str | None = None) -> None:
        super().settle(events, empty=empty)
        self.unsigned = False


Block = _blocks.Block[Turn]


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


class CallBlock(_blocks.CallBlock[Turn]):
    __slots__ = ()

    def begin(self, events: Events) -> None:
        super().begin(events)
        executed = self.data.get("type") == "server_tool_use"
        self.open(self.data.get("name"), self.data.get("toolUseId"), events, executed=executed)
        if executed:
            self.turn.executed[self.id] = self.name

    def delta(self, name: str, value: object, events: Events) -> bool:
        if name != "toolUse" or not isinstance(value, Mapping) or (given := value.get("input")) is None:
            return False
        self.say(given if isinstance(given, str) else to_json(given), events)
        return True

    @staticmethod
    def written(arguments: object) -> str:
        return to_json(arguments)

    def whole(self, raw: str, *, empty: str | None = None) -> ToolCall:
        call = parse_call(self.id, self.name, raw, empty=empty)
        kind = self.data.get("type")
        state = self.turn.state({"type": kind}) if isinstance(kind, str) else None
        return ToolCall(call.id, call.name, call.arguments, raw, call.invalid, state, executed=self.executed)


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
        given = self.data.get("toolUseId")
        id = given if isinstance(given, str) else ""
        failed = self.data.get("status") == "error"
        state = self.turn.state({"toolResult": {**self.data, "content": self.items}})
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
            format = self.data.get("format")
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
