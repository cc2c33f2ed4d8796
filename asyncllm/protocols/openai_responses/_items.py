"""Output items in the making, and which of them an event means."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

from ...events import CharacterJoiner
from .._json import to_json
from ._wire import object_of, objects, text_of, whole_characters

Channel = Literal["summary", "content", "refusal"]
CALLS = frozenset({"function_call", "custom_tool_call"})


class Part:
    """One part of an item: what was said of it, and where in the text of the step it began."""

    __slots__ = ("base", "characters", "pieces")

    def __init__(self, base: int) -> None:
        self.base = base
        self.characters = CharacterJoiner()
        self.pieces: list[str] = []

    @property
    def text(self) -> str:
        text = "".join(self.pieces)
        self.pieces[:] = [text] if text else []  # in place: the speaker holds the list
        return text


class Item:
    """One item of the output. `data` is the item as it was said last; the final one is in `response.output_item.done`."""

    __slots__ = ("call_id", "channel", "cited", "data", "done", "final", "matched", "number", "parts", "said", "type")

    def __init__(self, type: str, data: dict[str, Any]) -> None:
        self.type = type
        self.data = data
        self.done = False
        self.matched = False  # with an item of the whole response
        self.parts: dict[tuple[Channel, int], Part] = {}
        self.channel: Channel | None = None  # of reasoning: summary or content, whichever spoke first
        self.cited = 0  # annotations that were said
        # of calls
        self.number = -1
        self.call_id = ""  # as it was said; "" before that
        self.said: list[str] = []  # pieces of the arguments
        self.final = ""  # the arguments as `...arguments.done` had them

    @property
    def id(self) -> str:
        return text_of(self.data.get("id"))

    @property
    def name(self) -> str:
        return text_of(self.data.get("name"))

    def part(self, channel: Channel, index: int, base: int) -> Part:
        found = self.parts.get((channel, index))
        if found is None:
            found = self.parts[channel, index] = Part(base)
        return found

    def heard(self, channel: Channel) -> str:
        """What was said in one channel. Parts of reasoning are apart by a blank line, those of text by nothing."""
        between = "\n\n" if self.type == "reasoning" else ""
        return between.join(part.text for (own, _), part in self.parts.items() if own == channel)

    def whole(self, channel: Channel) -> str:
        """What the item itself says in one channel."""
        if self.type == "reasoning":
            return "\n\n".join(self._texts(channel, "text"))
        return "".join(self._texts("content", "refusal" if channel == "refusal" else "text"))

    def _texts(self, field: str, name: str) -> list[str]:
        found = (text_of(part.get(name)) for part in objects(self.data.get(field)))
        return [whole_characters(text) for text in found if text]

    @property
    def annotations(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """(where its part of the text begins in the item, the annotation), in order."""
        at = 0
        for part in objects(self.data.get("content")):
            for annotation in objects(part.get("annotations")):
                yield at, annotation
            at += len(whole_characters(text_of(part.get("text"))))

    @property
    def arguments(self) -> str:
        """The whole arguments of a call: the item's own are trusted over those of other events, and those over deltas. The
        free text of a custom tool is the one field of an object, so that arguments are JSON everywhere."""
        if self.type == "custom_tool_call":
            text = text_of(self.data.get("input")) or self.final
            return to_json({"input": whole_characters(text)}) if text or not self.said else "".join(self.said) + '"}'
        given = self.data.get("arguments")
        if given is not None and not isinstance(given, str):
            given = to_json(given)
        return whole_characters(given or self.final) or "".join(self.said)


class Items:
    """The items of one answer, in the order in which they began."""

    def __init__(self) -> None:
        self.all: list[Item] = []
        self._by_id: dict[str, Item] = {}
        self._by_index: dict[int, Item] = {}

    def add(self, type: str, data: dict[str, Any], id: str, index: int | None) -> Item:
        item = Item(type, data)
        self.all.append(item)
        if id:
            self._by_id[id] = item
        if index is not None:
            self._by_index[index] = item
        return item

    def find(self, types: Iterable[str], id: str, index: int | None) -> Item | None:
        """The item that an event means: by its id where that is known, else by its place (some servers give every event
        another id, some every item the same place), else the last that is not done."""
        if id and (item := self._by_id.get(id)) is not None:
            return item if item.type in types else None
        if index is not None:
            item = self._by_index.get(index)
            return item if item is not None and item.type in types else None
        if id:
            return None
        return next((item for item in reversed(self.all) if item.type in types and not item.done), None)

    def final(self, data: dict[str, Any], id: str, index: int | None) -> Item:
        """The item of which `data` is the last word; a new one, where nobody announced it."""
        kind = text_of(data.get("type"))
        item = self.find((kind,), id, index)
        if item is None or (item.done and (item.id != id or (not id and item.data != data))):
            item = self.add(kind, data, id, index)  # or it is another one in the same place
        return item

    def matched(self, output: object) -> list[tuple[Item | None, dict[str, Any]]]:
        """The items of a whole response, each with ours: by id, by call, or as the n-th of its type. None of ours is taken
        twice."""
        same: dict[str, list[Item]] = {}
        named: dict[tuple[str, str], Item] = {}
        for item in self.all:
            same.setdefault(item.type, []).append(item)
            for name in ("id", "call_id"):
                if key := text_of(item.data.get(name)):
                    named.setdefault((item.type, key), item)
        seen: dict[str, int] = {}
        pairs: list[tuple[Item | None, dict[str, Any]]] = []
        for data in objects(output):
            kind = text_of(data.get("type"))
            at = seen[kind] = seen.get(kind, -1) + 1
            candidates = [named.get((kind, text_of(data.get(name)))) for name in ("id", "call_id")]
            candidates += same.get(kind, [])[at : at + 1]
            ours = next((item for item in candidates if item is not None and not item.matched), None)
            if ours is not None:
                ours.matched = True
            pairs.append((ours, data))
        return pairs


def event_item(data: dict[str, Any]) -> dict[str, Any]:
    return object_of(data.get("item"))
