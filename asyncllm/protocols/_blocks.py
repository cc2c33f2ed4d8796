"""What wires share whose answers are content blocks, each from its start over its deltas to its end."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from typing import Any, Generic, TypeVar

from ..events import CharacterJoiner, LLMError, RawEvent, StreamEvent, ToolCall, ToolCallDelta
from ..events._toolcalls import CUT, EMPTY
from ._decoder import WireDecoder

Events = list[StreamEvent]


class BlockTurn:
    """What the blocks of one answer know of each other."""

    __slots__ = ("_ids", "asked", "executed", "provider", "seed", "text", "waiting")

    def __init__(self, provider: str) -> None:
        self.provider = provider
        self.seed = ""
        self.text = 0  # characters of text that were said
        self.asked = 0  # calls that somebody else must run
        self.executed: dict[str, str] = {}  # id -> name of calls that the provider runs
        self.waiting: CallBlock[Any] | None = None  # a whole call without arguments, until it is known why it has none
        self._ids: set[str] = set()

    def id(self, given: object) -> str:
        """The id of a call: a result must find it, so that one that is absent or taken is replaced."""
        id = given if isinstance(given, str) else ""
        if not id or id in self._ids:
            at = len(self._ids)
            unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.seed}/{at}") if self.seed else uuid.uuid4()
            id = f"call_{unique.hex[:24]}"
        self._ids.add(id)
        return id

    def settle(self, events: Events, *, empty: str | None = None) -> None:
        """Say the call that waits; `empty` says what is wrong with it."""
        call, self.waiting = self.waiting, None
        if call is not None:
            events.append(call.whole("", empty=empty))


Turn = TypeVar("Turn", bound=BlockTurn)


class Block(Generic[Turn]):
    """One block under way. `data` is what its start said of it."""

    __slots__ = ("data", "turn")

    def __init__(self, data: dict[str, Any], turn: Turn) -> None:
        self.data = data
        self.turn = turn

    def begin(self, events: Events) -> None:
        self.turn.settle(events)

    def delta(self, name: str, value: Any, events: Events, /) -> bool:
        """One delta, or one member of it; whether it was understood."""
        return False

    def end(self, events: Events) -> None: ...

    def abandon(self, events: Events) -> None:
        """The stream broke inside the block: nothing of it may be sent back as if it were whole."""


class CallBlock(Block[Turn], ABC):
    """A call: of a tool of the caller's, said in deltas, or of one that the provider runs itself, said whole."""

    __slots__ = ("characters", "executed", "fragments", "id", "index", "name")

    def open(self, name: object, id: object, events: Events, *, executed: bool) -> None:
        """Part of :meth:`begin`: who is called."""
        self.name = name if isinstance(name, str) else ""
        self.executed = executed
        self.id = self.turn.id(id)
        self.characters = CharacterJoiner()
        self.fragments: list[str] = []
        if executed:
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

    def end(self, events: Events) -> None:
        if not self.fragments and (given := self.data.get("input")):  # whole in its start, where there were no deltas
            self.say(given if isinstance(given, str) else self.written(given), events)
        if lost := self.characters.close():
            self.say(lost, events)
        raw = "".join(self.fragments)
        if raw.strip() or self.executed:
            events.append(self.whole(raw))
        else:
            self.turn.waiting = self

    def abandon(self, events: Events) -> None:
        if not self.executed:
            events.append(ToolCall(self.id, self.name, None, "".join(self.fragments), CUT))

    @staticmethod
    @abstractmethod
    def written(arguments: object) -> str:
        """Arguments that came as an object, as this wire's models write them."""

    @abstractmethod
    def whole(self, raw: str, *, empty: str | None = None) -> ToolCall:
        """The call with these arguments; `empty` says what is wrong where there are none."""


class BlockDecoder(WireDecoder, Generic[Turn]):
    """A decoder whose answer is blocks."""

    def __init__(self, turn: Turn, *, model: str, provider: str, warnings: tuple[str, ...], raw: bool) -> None:
        super().__init__(model=model, provider=provider, warnings=warnings, raw=raw)
        self._turn = turn
        self._blocks: dict[int, Block[Turn]] = {}  # those that have begun and not ended, by their index
        self._details: dict[str, object] = {}

    def _unknown(self, data: object, events: Events) -> None:
        if self._raw:
            events.append(RawEvent(data))

    def _open(self, index: int, block: Block[Turn], events: Events) -> None:
        self._end_blocks(events, beside=index)
        self._blocks[index] = block
        block.begin(events)

    def _end_blocks(self, events: Events, *, beside: int | None = None) -> None:
        """Blocks that nobody ended. While the answer goes on, only calls may stay open `beside` another block."""
        for index, block in list(self._blocks.items()):
            if beside is None or index == beside or not isinstance(block, CallBlock):
                self._block_stop(index, events)

    def _block_stop(self, index: int | None, events: Events) -> None:
        block = self._blocks.pop(index, None) if index is not None else None
        if block is not None:
            block.end(events)

    def _settle(self, events: Events) -> None:
        """The model is done: no block goes on, and why the last call has no arguments is known."""
        self._end_blocks(events)
        self._turn.settle(events, empty=EMPTY if self._reason(self._finish) == "length" else None)

    def _error(self, error: LLMError, events: Events) -> None:
        self._turn.settle(events, empty=CUT)
        for block in self._blocks.values():
            block.abandon(events)
        self._blocks.clear()
        super()._error(error, events)
