"""Items of an answer to events: each character once, whichever of its events says it."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from ...events import (
    Citation,
    ProviderState,
    ReasoningDelta,
    RefusalDelta,
    StreamEvent,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    parse_call,
)
from .._json import to_json
from .._numbers import whole_number
from . import _builtin
from ._items import CALLS, Channel, Item, Items, Part
from ._wire import text_of, whole_characters

_FREE_TEXT = '{"input":"'
_NOT_KEPT = frozenset({"type", "call_id", "name", "arguments", "input", "status", "id"})
"""Fields of a call that are not needed to say it again, or that the ToolCall has."""


class Speaker:
    """What was said so far, and what an item adds to it.

    Attributes:
        length: characters of text in the step so far.
        pieces: where the text of the last text delta went; `plain` says whether more may go there without a closer look.
        stored: whether the server keeps the response, so that its items may be sent back by their ids.
        called: whether the model asked for a call that the caller has to answer.
    """

    def __init__(self, provider: str, *, stored: bool) -> None:
        self.items = Items()
        self.stored = stored
        self.seed = ""
        self.called = False
        self.length = 0
        self.pieces: list[str] = []
        self.plain = False
        self._provider = provider
        self._open: Item | None = None  # whose text or reasoning the current part of the reply is
        self._thought = False
        self._calls: list[Item] = []  # that were announced and not yet said whole, in order
        self._ready: dict[int, ToolCall] = {}  # whole, and waiting for those before them
        self._numbered = 0
        self._ids: set[str] = set()
        self._executed: dict[str, ToolCall] = {}  # by call id

    # ---- text, refusals, reasoning

    def text(self, item: Item, index: int, text: str, events: list[StreamEvent]) -> None:
        part = item.part("content", index, self.length)
        text = part.characters.feed(text)
        self.pieces, self.plain = part.pieces, not part.characters.half
        self._open = item
        self._add_text(part, text, events)

    def _add_text(self, part: Part, text: str, events: list[StreamEvent]) -> None:
        if text:
            part.pieces.append(text)
            self.length += len(text)
            events.append(TextDelta(text))

    def refusal(self, item: Item, index: int, text: str, events: list[StreamEvent]) -> None:
        part = item.part("refusal", index, self.length)
        if text := part.characters.feed(text):
            part.pieces.append(text)
            events.append(RefusalDelta(text))

    def thought(self, item: Item, channel: Channel, index: int, text: str, events: list[StreamEvent]) -> None:
        """Parts of a summary, and items, are apart by a blank line. Where an item has a summary and the raw thoughts, too,
        what comes second is said when it is whole, if it is something else."""
        item.channel = item.channel or channel
        part = item.part(channel, index, 0)
        if text := part.characters.feed(text):
            begins = not part.pieces
            part.pieces.append(text)
            if channel == item.channel:
                self._think(item, text, begins, events)

    def _think(self, item: Item, text: str, begins: bool, events: list[StreamEvent]) -> None:
        events.append(ReasoningDelta("\n\n" + text if begins and self._thought else text))
        self._thought = True
        self._open, self.plain = item, False

    def rest_of_part(self, item: Item, channel: Channel, index: int, whole: str, events: list[StreamEvent]) -> None:
        """A part is whole: what its deltas did not say is said now."""
        held = item.parts.get((channel, index))
        rest = _rest(held.text if held is not None else "", whole_characters(whole))
        if rest:
            if held is not None:
                held.characters.half = ""
            self._add(item, channel, index, rest, events)

    def _add(self, item: Item, channel: Channel, index: int, text: str, events: list[StreamEvent]) -> None:
        if item.type == "reasoning":
            self.thought(item, channel, index, text, events)
        elif channel == "refusal":
            self.refusal(item, index, text, events)
        else:
            self.text(item, index, text, events)

    def cite(self, item: Item, index: int, annotation: object, events: list[StreamEvent]) -> None:
        if isinstance(annotation, dict):
            item.cited += 1
            events.append(citation(annotation, item.part("content", index, self.length).base))

    # ---- calls

    def arguments(self, item: Item, text: str, events: list[StreamEvent]) -> None:
        """A call begins or goes on. Before its name is known nothing is said of it (D6)."""
        if item.done:
            return
        if item.number < 0:
            item.number = self._numbered
            self._numbered += 1
            self._calls.append(item)
        text = item.part("content", 0, 0).characters.feed(text)
        if text and item.type == "custom_tool_call":
            text = ("" if item.said else _FREE_TEXT) + to_json(text)[1:-1]
        if text:
            item.said.append(text)
        self._fragment(item, text, events)

    def _fragment(self, item: Item, text: str, events: list[StreamEvent]) -> None:
        if not item.name:
            return
        if not item.call_id:
            item.call_id = self._unique(_builtin.call_id_of(item.data))
            text = "".join(item.said)
        elif not text:
            return
        events.append(ToolCallDelta(item.number, item.call_id, item.name, text))

    def _unique(self, id: str) -> str:
        """A call's id, which is its own in the step; one is made up where the server gives none (D3)."""
        if not id or id in self._ids:
            id = f"call_{uuid.uuid5(uuid.NAMESPACE_OID, f'{self.seed}/{id}/{len(self._ids)}').hex[:24]}"
        self._ids.add(id)
        return id

    # ---- whole items

    def close(self, item: Item, data: dict[str, Any], events: list[StreamEvent], *, cut: bool = False) -> None:
        """An item is whole, with `data` as its last word; `cut`: the limit of the output was reached within it."""
        item.data = data if data else item.data
        self.plain = False
        self._flush_item(item, events)
        match item.type:
            case "message":
                self._message(item, events)
            case "reasoning":
                self._reasoning(item, events)
            case "function_call" | "custom_tool_call":
                self._call(item, cut or item.data.get("status") == "incomplete", events)
            case _ if item.data and not cut:
                self._other(item.data, events)
        item.done = True

    def _message(self, item: Item, events: list[StreamEvent]) -> None:
        base = min(
            (part.base for (channel, _), part in item.parts.items() if channel == "content"), default=self.length
        )
        for channel in ("content", "refusal"):
            if rest := _rest(item.heard(channel), item.whole(channel)):
                last = max((at for own, at in item.parts if own == channel), default=0)
                self._add(item, channel, last, rest, events)
        for at, annotation in list(item.annotations)[item.cited :]:
            events.append(citation(annotation, base + at))
            item.cited += 1
        meta = {name: item.data[name] for name in ("id", "phase") if item.data.get(name)}
        if not self.stored:
            meta.pop("id", None)
        if meta and self._open is item:
            events.append(TextDelta("", ProviderState(self._provider, {"item": meta}, closes=True)))
            self._open = None

    def _reasoning(self, item: Item, events: list[StreamEvent]) -> None:
        first = item.channel or ("summary" if item.whole("summary") else "content")
        second: Literal["summary", "content"] = "content" if first == "summary" else "summary"
        whole = item.whole(first)
        heard = item.heard(first)
        if rest := _rest(heard, whole):
            self._think(item, rest, not heard, events)
        other = item.whole(second) or item.heard(second)
        if other and other not in (whole, heard):
            self._think(item, other, True, events)
        if self.stored or item.data.get("encrypted_content") or item.data.get("content"):
            state = ProviderState(self._provider, {"item": item.data}, closes=True)
            self._carry(item, state, events)

    def _carry(self, item: Item | None, state: ProviderState, events: list[StreamEvent]) -> None:
        """State that is to be sent back rides on a part of reasoning of its own."""
        if self._open is not None and self._open is not item and self._open.type == "reasoning":
            events.append(ReasoningDelta("", ProviderState(self._provider, {}, closes=True)))
        events.append(ReasoningDelta("", state))
        self._open, self.plain = None, False

    def _call(self, item: Item, cut: bool, events: list[StreamEvent]) -> None:
        self.arguments(item, "", events)
        whole = item.arguments
        if rest := _rest("".join(item.said), whole):
            item.said.append(rest)
            self._fragment(item, rest, events)
        if not item.call_id:
            item.call_id = self._unique(_builtin.call_id_of(item.data))
        call = parse_call(item.call_id, item.name, whole, state=self._call_state(item))
        if cut and call.invalid is None:
            why = "the output limit was reached before the call was whole"
            call = ToolCall(call.id, call.name, None, whole, why, call.state)
        self._ready[item.number] = call
        while self._calls and (ready := self._ready.pop(self._calls[0].number, None)) is not None:
            del self._calls[0]
            events.append(ready)
            self.called = True
            self.apart()

    def _call_state(self, item: Item) -> ProviderState | None:
        kept = {name: value for name, value in item.data.items() if name not in _NOT_KEPT and value is not None}
        if item.type == "custom_tool_call":
            kept["type"] = item.type
        if self.stored and item.id:
            kept["id"] = item.id
        return ProviderState(self._provider, {"item": kept}) if kept else None

    def _other(self, data: dict[str, Any], events: list[StreamEvent]) -> None:
        """An item of a built-in tool, or one that is only kept: compaction, lists of tools, whatever will be invented."""
        kind = text_of(data.get("type"))
        if kind in _builtin.KNOWN:
            made = _builtin.events_of(data, self._unique(_builtin.call_id_of(data)), self._provider)
            events += made
            if isinstance(call := made[0], ToolCall):
                if call.executed:
                    self._executed[_builtin.call_id_of(data)] = call
                else:
                    self.called = True
        elif kind.endswith("_output") and (ran := self._executed.get(text_of(data.get("call_id")))) is not None:
            events.append(_builtin.output_of(data, ran, self._provider))
        elif kind:
            self._carry(None, ProviderState(self._provider, {"item": data}, closes=True), events)
        self.apart()

    def apart(self) -> None:
        """Something else was said: what text and reasoning follow are parts of their own."""
        self._open, self.plain = None, False

    # ---- how it ends

    def flush(self, events: list[StreamEvent]) -> None:
        for item in self.items.all:
            if not item.done:
                self._flush_item(item, events)

    def _flush_item(self, item: Item, events: list[StreamEvent]) -> None:
        """Halves of characters whose other half did not come, and will not, unless the whole item says better."""
        whole = any(item.data.get(name) for name in ("content", "summary", "arguments", "input"))
        for (channel, _), part in item.parts.items():
            if not part.characters.half or whole:
                part.characters.half = ""
                continue
            lost = part.characters.close()
            if item.type in CALLS:
                item.said.append(lost if item.type == "function_call" else to_json(lost)[1:-1])
                self._fragment(item, item.said[-1], events)
            elif item.type == "reasoning" and channel == item.channel:
                part.pieces.append(lost)
                self._think(item, lost, False, events)
            elif channel == "refusal":
                part.pieces.append(lost)
                events.append(RefusalDelta(lost))
            elif item.type == "message":
                self._add_text(part, lost, events)

    def abandon(self, why: str) -> list[ToolCall]:
        """The calls of a stream that broke, as far as they were announced: all invalid."""
        left, self._calls = self._calls, []
        return [
            ToolCall(
                item.call_id or self._unique(_builtin.call_id_of(item.data)),
                item.name,
                None,
                "".join(item.said),
                why,
            )
            for item in left
        ]


def _rest(said: str, whole: str) -> str:
    """What of the whole was not said; nothing where the two do not agree, for what was said cannot be taken back."""
    return whole[len(said) :] if whole.startswith(said) else ""


def citation(annotation: dict[str, Any], base: int) -> Citation:
    """A source, with its place in the text of the step. `index` of files is a place in their list, and not in the text."""
    start, end = whole_number(annotation.get("start_index")), whole_number(annotation.get("end_index"))
    return Citation(
        text_of(annotation.get("url")),
        text_of(annotation.get("title")) or text_of(annotation.get("filename")),
        None if start is None else base + start,
        None if end is None else base + end,
        raw=annotation,
    )
