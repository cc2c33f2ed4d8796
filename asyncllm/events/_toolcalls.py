"""Reassembling tool calls from fragments, as providers really send them (quirks D1-D14, seeds B4-B6).

What decides whether a fragment goes on with a call or begins another: the name and the completeness of the arguments held,
not the id alone. Some servers send all calls at index 0, some a new id with every fragment (D2 against D10).
"""

from __future__ import annotations

import re
import uuid

import msgspec

from ._characters import CharacterJoiner
from ._messages import ProviderState, ToolCall
from ._stream import ToolCallDelta

CUT = "the stream broke before the call was whole"
EMPTY = "the output limit was reached before any argument"
"""What makes a call invalid besides its JSON."""

_STRUCTURE = re.compile(r'["{}\[\]]')
_IN_STRING = re.compile(r'["\\]')


class _JSONScan:
    """Whether the text fed so far is a whole JSON object or array: linear over any fragmentation."""

    __slots__ = ("_depth", "_in_string", "_skip", "complete")

    def __init__(self) -> None:
        self._depth = 0
        self._in_string = False
        self._skip = False  # the next character is escaped
        self.complete = False

    def feed(self, text: str) -> None:
        at, end = 0, len(text)
        while at < end:
            if self._skip:
                self._skip = False
                at += 1
                continue
            found = (_IN_STRING if self._in_string else _STRUCTURE).search(text, at)
            if found is None:
                return
            at, char = found.end(), found[0]
            if char == "\\":
                self._skip = True
            elif char == '"':
                self._in_string = not self._in_string
            elif char in "{[":
                self._depth += 1
            else:
                self._depth -= 1
                self.complete = self.complete or self._depth <= 0


class _Call:
    """One call in the making."""

    __slots__ = ("characters", "fragments", "given_id", "id", "index", "name", "said", "scan", "state")

    def __init__(self, index: int, given_id: str, id: str, name: str) -> None:
        self.index = index
        self.given_id = given_id
        self.id = id
        self.name = name
        self.fragments: list[str] = []
        self.said = False  # a delta named it; what came before the name waits until then (D6)
        self.characters = CharacterJoiner()
        self.scan = _JSONScan()
        self.state: ProviderState | None = None


def parse_call(
    id: str, name: str, raw: str, *, state: ProviderState | None = None, empty: str | None = None
) -> ToolCall:
    """A ToolCall from its raw arguments: "" is a tool without parameters (D11), unless `empty` says what is wrong."""
    arguments: dict[str, object] | None = None
    invalid: str | None = None
    if not name:
        invalid = "the call has no name"
    elif not raw.strip():
        arguments, invalid = (None, empty) if empty else ({}, None)
    else:
        try:
            value = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeEncodeError) as error:
            invalid = f"the arguments are not valid JSON: {error}"
        else:
            if isinstance(value, dict):
                arguments = value
            else:
                invalid = f"the arguments are not a JSON object but {type(value).__name__}"
    return ToolCall(id, name, arguments, raw, invalid, state)


class ToolCallAssembler:
    """Fragments in, :class:`ToolCallDelta` s out; :meth:`finish` gives the whole calls.

    A call that comes without an id gets one (D3), made from `seed` (the id of the answer) so that the same bytes give the
    same events; without a seed it is random.
    """

    __slots__ = ("_by_id", "_by_index", "_by_position", "_calls", "seed")

    def __init__(self, seed: str = "") -> None:
        self.seed = seed
        self._calls: list[_Call] = []
        self._by_index: dict[int, _Call] = {}
        self._by_id: dict[str, _Call] = {}
        self._by_position: dict[int, _Call] = {}

    def __bool__(self) -> bool:
        return bool(self._calls)

    def add(
        self,
        arguments: str,
        *,
        index: int | None = None,
        id: str = "",
        name: str = "",
        position: int = 0,
        state: ProviderState | None = None,
    ) -> ToolCallDelta | None:
        """Take one fragment; "" and None stand for what is absent. `position` is its place among the fragments of one chunk.

        None is returned while the call's name is not known: what came is said when it is.
        """
        call = None if index is None else self._by_index.get(index)
        # the common fragment goes straight on: nothing but arguments for a known index whose object is still open
        if call is None or id or name or call.scan.complete:
            call = self._place(arguments, index, id, name, position)
        if state is not None:
            call.state = (
                state if call.state is None else ProviderState(state.provider, {**call.state.data, **state.data})
            )
        if call.characters.half or not arguments.isascii():
            arguments = call.characters.feed(arguments)
        if arguments:
            call.fragments.append(arguments)
            call.scan.feed(arguments)
        if not call.name:
            return None
        if not call.said:
            call.said = True
            arguments = "".join(call.fragments)
        elif not arguments and not name:
            return None
        return ToolCallDelta(call.index, call.id, call.name, arguments)

    def finish(self, *, truncated: bool = False) -> list[ToolCall]:
        """The calls, in the order in which they began. `truncated`: the output limit may have cut the last one."""
        if not self._calls:
            return []
        calls, last = self._calls, len(self._calls) - 1
        self._calls, self._by_index, self._by_id, self._by_position = [], {}, {}, {}
        return [
            parse_call(
                call.id,
                call.name,
                "".join(call.fragments),
                state=call.state,
                empty=EMPTY if truncated and at == last else None,
            )
            for at, call in enumerate(calls)
        ]

    def abandon(self, why: str) -> list[ToolCall]:
        """The calls of a stream that broke: all invalid, for nobody knows whether they were whole."""
        return [ToolCall(call.id, call.name, None, call.raw_arguments, why, call.state) for call in self.finish()]

    def _place(self, arguments: str, index: int | None, id: str, name: str, position: int) -> _Call:
        call = self._candidate(index, id, name, position)
        if call is None or _begins_another(call, arguments, id, name):
            at, name = len(self._calls), name or (call.name if call is not None and call.scan.complete else "")
            # one id for two calls: the second gets another, for its result must find it
            call = _Call(at, id, id if id and id not in self._by_id else self._new_id(at), name)
            self._calls.append(call)
        elif name != call.name:
            call.name += name  # it comes late (D5, D6) or in pieces
        if not call.given_id and id:
            call.given_id = id
            call.id = call.id if call.said else id
        if id:
            self._by_id[id] = call
        if index is not None:
            self._by_index[index] = call
        self._by_position[position] = call
        return call

    def _new_id(self, index: int) -> str:
        unique = uuid.uuid5(uuid.NAMESPACE_OID, f"{self.seed}/{index}") if self.seed else uuid.uuid4()
        return f"call_{unique.hex[:24]}"

    def _candidate(self, index: int | None, id: str, name: str, position: int) -> _Call | None:
        """The call that this fragment would go on with, if it does."""
        held = (
            self._by_position.get(position, self._calls[-1] if self._calls else None)
            if index is None
            else self._by_index.get(index)
        )
        if not id or (held is not None and held.given_id == id):
            return held
        known = self._by_id.get(id)
        if known is None or (index is not None and held is None and name):
            return held  # a new id; or one id for two calls, told apart by index and name
        return known


def _begins_another(held: _Call, arguments: str, id: str, name: str) -> bool:
    """Whether a fragment that came to the place of `held` belongs to a new call."""
    whole = held.scan.complete
    if id and id != held.given_id and (held.given_id or whole):
        return bool(name) or whole  # D2; without a name, and with the JSON still open, it is D10
    if name and held.name and name != held.name:
        return bool(held.fragments)  # before any argument it is a name in pieces
    return whole and bool(arguments.strip())  # `{..}{..}` is two calls (D13); a repeated name says nothing (D4)
