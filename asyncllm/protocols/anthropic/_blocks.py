"""The content blocks of an answer, each from its start over its deltas to its end.

A block becomes one part of the reply, in its place among the others, with the state that makes it what it was when it is sent
back: thinking with its signature, text with its citations, and whole what this library has no part for.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...events import (
    CharacterJoiner,
    File,
    ProviderState,
    ReasoningDelta,
    TextDelta,
    ToolCall,
    ToolResult,
    parse_call,
)
from .. import _blocks
from .._blocks import BlockTurn, Events
from ._readable import citation_from, is_failure, readable


class Turn(BlockTurn):
    __slots__ = ("open", "thought")

    def __init__(self, provider: str) -> None:
        super().__init__(provider)
        self.thought = 0  # characters of thinking
        self.open: type[Block] | None = None  # the kind of block whose part more text would go on with

    def state(self, *, closes: bool = True, **data: object) -> ProviderState:
        return ProviderState(self.provider, data, closes)

    def separate(self, kind: type[Block], events: Events) -> None:
        """A block of this kind begins: what is open of the same kind is another part."""
        if self.open is kind:
            ending = TextDelta if kind is TextBlock else ReasoningDelta
            events.append(ending("", self.state()))
        self.open = None


Block = _blocks.Block[Turn]


class TextBlock(Block):
    __slots__ = ("characters", "citations", "start")

    def begin(self, events: Events) -> None:
        super().begin(events)
        self.turn.separate(TextBlock, events)
        self.start = self.turn.text
        self.characters = CharacterJoiner()
        given = self.data.get("citations")
        self.citations = [item for item in given if isinstance(item, dict)] if isinstance(given, list) else []
        if isinstance(text := self.data.get("text"), str):
            self.say(text, events)

    def say(self, text: str, events: Events) -> None:
        if text := self.characters.feed(text):
            self.turn.text += len(text)
            events.append(TextDelta(text))

    def delta(self, kind: str, delta: Mapping[str, Any], events: Events) -> bool:
        if kind == "text_delta" and isinstance(text := delta.get("text"), str):
            self.say(text, events)
        elif kind == "citations_delta" and isinstance(citation := delta.get("citation"), dict):
            self.citations.append(citation)
        else:
            return False
        return True

    def end(self, events: Events) -> None:
        self.abandon(events)
        if self.citations:
            events.append(TextDelta("", self.turn.state(citations=self.citations)))
        elif self.turn.text > self.start:
            self.turn.open = TextBlock

    def abandon(self, events: Events) -> None:
        if lost := self.characters.close():
            self.say(lost, events)
        events += [citation_from(item, self.start, self.turn.text) for item in self.citations]


class ThinkingBlock(Block):
    __slots__ = ("characters", "signature", "start")

    def begin(self, events: Events) -> None:
        super().begin(events)
        self.turn.separate(ThinkingBlock, events)
        self.start = self.turn.thought
        self.characters = CharacterJoiner()
        signature = self.data.get("signature")
        self.signature = signature if isinstance(signature, str) else ""
        if isinstance(text := self.data.get("thinking"), str):
            self.say(text, events)

    def say(self, text: str, events: Events) -> None:
        if text := self.characters.feed(text):
            self.turn.thought += len(text)
            events.append(ReasoningDelta(text))

    def delta(self, kind: str, delta: Mapping[str, Any], events: Events) -> bool:
        if kind == "thinking_delta" and isinstance(text := delta.get("thinking"), str):
            self.say(text, events)
        elif kind == "signature_delta" and isinstance(signature := delta.get("signature"), str):
            self.signature = signature
        else:
            return False
        return True

    def end(self, events: Events) -> None:
        self.abandon(events)
        if self.signature:
            events.append(ReasoningDelta("", self.turn.state(signature=self.signature)))
        elif self.turn.thought > self.start:
            self.turn.open = ThinkingBlock

    def abandon(self, events: Events) -> None:
        if lost := self.characters.close():
            self.say(lost, events)


class CallBlock(_blocks.CallBlock[Turn]):
    __slots__ = ()

    def begin(self, events: Events) -> None:
        super().begin(events)
        self.turn.open = None
        executed = self.data.get("type") != "tool_use"
        self.open(self.data.get("name"), self.data.get("id"), events, executed=executed)

    def delta(self, kind: str, delta: Mapping[str, Any], events: Events) -> bool:
        if kind == "input_json_delta" and isinstance(text := delta.get("partial_json"), str):
            self.say(text, events)
            return True
        return False

    @staticmethod
    def written(arguments: object) -> str:
        return json.dumps(arguments, ensure_ascii=False, separators=(",", ":"))

    def whole(self, raw: str, *, empty: str | None = None) -> ToolCall:
        call = parse_call(self.id, self.name, raw, empty=empty)
        if not self.executed:
            more = {name: value for name in KEPT_OF_CALLS if (value := self.data.get(name)) is not None}
            state = self.turn.state(closes=False, **more) if more else None
            return ToolCall(call.id, call.name, call.arguments, raw, call.invalid, state)
        self.turn.executed[self.id] = self.name
        state = None if call.invalid else self.turn.state(closes=False, block={**self.data, "input": call.arguments})
        return ToolCall(call.id, call.name, call.arguments, raw, call.invalid, state, executed=True)


KEPT_OF_CALLS = ("caller", "toolset_name")
"""Fields of a tool_use block beside its id, name and input, that go back with it."""


class ResultBlock(Block):
    """What a tool of the provider's own gave: it comes whole."""

    __slots__ = ()

    def end(self, events: Events) -> None:
        given, kind = self.data.get("tool_use_id"), self.data["type"]
        id = given if isinstance(given, str) else ""
        name = self.turn.executed.get(id) or kind.removesuffix("_tool_result")
        content = self.data.get("content")
        failed = self.data.get("is_error") is True or is_failure(content)
        state = self.turn.state(closes=False, block=self.data)
        self.turn.open = None
        events.append(ToolResult(id, name, readable(content), failed, state))


class FileBlock(Block):
    """A file that the model made in its container."""

    __slots__ = ()

    def end(self, events: Events) -> None:
        id = self.data.get("file_id")
        self.turn.open = None
        if isinstance(id, str) and id:
            state = self.turn.state(closes=False, block=self.data)
            events.append(File(file_id=id, media_type="application/octet-stream", state=state))


class KeptBlock(Block):
    """A block that says nothing to the reader and must go back as it came: redacted thinking, a compaction, one that nobody
    knew when this was written. It rides on a Reasoning part without text, which other providers are never sent."""

    __slots__ = ("_whole",)

    def begin(self, events: Events) -> None:
        super().begin(events)
        self.turn.separate(ThinkingBlock, events)
        self._whole = True

    def delta(self, kind: str, delta: Mapping[str, Any], events: Events) -> bool:
        if kind != "compaction_delta":
            self._whole = False  # it would go back without what is not understood
            return False
        self.data = {**self.data, **{name: value for name, value in delta.items() if name != "type" and value}}
        return True

    def end(self, events: Events) -> None:
        if self._whole:
            events.append(ReasoningDelta("", self.turn.state(block=self.data)))


KNOWN: dict[str, type[Block]] = {
    "text": TextBlock,
    "thinking": ThinkingBlock,
    "tool_use": CallBlock,
    "server_tool_use": CallBlock,
    "mcp_tool_use": CallBlock,
    "container_upload": FileBlock,
    "redacted_thinking": KeptBlock,
    "compaction": KeptBlock,
    "fallback": KeptBlock,
    "mcp_tool_listing": KeptBlock,
}


def block_class(kind: str) -> type[Block] | None:
    """The class of a block of this type; None for a type that is not known."""
    return KNOWN.get(kind) or (ResultBlock if kind.endswith("_tool_result") else None)
