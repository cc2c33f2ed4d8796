"""A history that every provider takes, whatever happened to it: each call with its result, and no empty turns (D15, B9).

Providers refuse a call without a result, a result without its call, two results of one call, and turns that say nothing. How
turns alternate, which ids are legal and what of another provider is left out, the request encoders see to.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import is_

from msgspec.structs import replace

from .events import Message, Part, Reasoning, Role, Text, ToolCall, ToolResult

INTERRUPTED = "the call was interrupted: there is no result"
"""What the model is told of a call that nobody answered. A real result that comes later takes its place."""


def repaired(messages: Sequence[Message], *, interrupted: bool = False) -> tuple[tuple[Message, ...], tuple[str, ...]]:
    """The history as every provider takes it, and in words what was changed: nothing, if it was good.

    - Messages that say nothing are dropped.
    - The results of a turn stand right after it, in the order of its calls. Those that stand elsewhere are moved.
    - A call without a result is answered with an error, if a message follows. At the end of the history its result may still
      come, and it is left as it is; `interrupted` says that none will come.
    - A result without its call becomes text of the user's. So does a second result of one call, unless it says the same again.
    - Parts that a message of their role cannot hold get a message of their own.
    - A call without an id gets one, and so does the second of two calls of a turn with the same id.

    What a provider ran itself (calls with `executed`, and results beside them) is left alone. Results find their calls by id,
    or by name where they have no id, in the nearest turn before them. Repairing twice changes nothing more. Linear in the
    number of parts.
    """
    history = _History()
    for at, message in enumerate(messages):
        history.add(message, f"messages[{at}]")
    return tuple(history.messages(interrupted)), tuple(history.notes)


def unanswered(messages: Sequence[Message]) -> list[ToolCall]:
    """The calls at the end of the history that wait for their results; some results of their turn may already be there."""
    if not messages or _is_plain(messages[-1]):
        return []
    answered: set[str] = set()
    for message in reversed(repaired(messages)[0]):
        if message.role != "tool":
            return [call for call in _calls(message) if call.id not in answered]
        answered |= {part.id for part in message.parts if isinstance(part, ToolResult)}
    return []


class _Turn:
    """A message that is no result, with what follows it: the results of its calls, and what has no place of its own."""

    __slots__ = ("answers", "calls", "executed", "given", "message", "strays", "where")

    def __init__(self, message: Message | None, where: str) -> None:
        self.message = message
        self.where = where
        self.calls: list[ToolCall] = [] if message is None else _calls(message)
        self.answers: dict[int, ToolResult] = {}  # by the place of the call among `calls`
        self.executed: dict[str, list[ToolResult]] = {}  # results of the provider's own calls that stood elsewhere
        self.given: list[Message] = []  # the messages of results that stood right after it
        self.strays: list[Part] = []


class _History:
    def __init__(self) -> None:
        self.notes: list[str] = []
        self._turns = [_Turn(None, "")]  # the first one is what stands before any turn
        self._latest: dict[str, tuple[_Turn, list[int]]] = {}  # id -> the nearest turn that has it, and where
        self._caller: _Turn | None = None  # the last turn with calls
        self._executed: dict[str, _Turn] = {}  # calls that a provider ran and whose result is not beside them
        self._heard: dict[str, ToolResult] = {}  # the last result that was taken for an id
        self._renamed: dict[str, int] = {}

    def add(self, message: Message, where: str) -> None:
        if _is_plain(message):  # most are
            self._turns.append(_Turn(message, where))
            return
        if _says_nothing(message):
            self.notes.append(f"{where}: an empty {message.role} message was dropped")
            return
        apart = list(_apart(message))
        if len(apart) > 1 or apart[0].role != message.role:
            self.notes.append(f"{where}: a {message.role} message cannot hold all that was in it: it was taken apart")
        elif apart[0] is not message:
            self.notes.append(f"{where}: results of the provider's own tools were put after their calls")
        for piece in apart:
            if _says_nothing(piece):
                continue
            if piece.role == "tool":
                self._hear(piece, where)
            else:
                self._say(piece, where)

    # ---- turns and their calls

    def _say(self, message: Message, where: str) -> None:
        turn = _Turn(message, where)
        self._turns.append(turn)
        if message.role != "assistant":
            return
        for id in _executed(message):
            self._executed[id] = turn
        for part in message.parts:
            if isinstance(part, ToolResult):
                self._executed.pop(part.id, None)
                self._heard[part.id] = part
        self._caller = turn if turn.calls else self._caller
        places: dict[str, list[int]] = {}
        for at, call in enumerate(turn.calls):
            places.setdefault(call.id, []).append(at)
        for id, found in places.items():
            self._latest[id] = turn, found
        if len(places) < len(turn.calls) or "" in places:
            self._tell_apart(turn, places)

    def _tell_apart(self, turn: _Turn, places: dict[str, list[int]]) -> None:
        """Ids that are there twice in one turn: the first keeps it. (Their results come under the old one.)"""
        for id, found in places.items():
            for at in found[1 if id else 0 :]:
                new = id
                while new in places or new in self._latest:
                    self._renamed[id] = self._renamed.get(id, 1 if id else 0) + 1
                    new = f"{id or 'call'}_{self._renamed[id]}"
                self._latest[new] = turn, [at]
                why = f"another call has the id {_short(id)}" if id else "a call has no id"
                self.notes.append(f"{turn.where}: {why}: it is {_short(new)} now")
                turn.calls[at] = replace(turn.calls[at], id=new)
        calls = iter(turn.calls)
        assert turn.message is not None
        parts = [next(calls) if _is_ours(part) else part for part in turn.message.parts]
        turn.message = replace(turn.message, content=parts)

    # ---- results

    def _hear(self, message: Message, where: str) -> None:
        turn = self._turns[-1]
        turn.given.append(message)
        for part in message.parts:
            if isinstance(part, ToolResult):
                self._take(part, turn, where)
            elif not isinstance(part, Text) or part.text.strip():
                turn.strays.append(part)
                self.notes.append(f"{where}: a tool message holds results: the user says its {_kind(part)} now")

    def _take(self, result: ToolResult, here: _Turn, where: str) -> None:
        what = f"the result {_short(result.id)} of {_short(result.name)}"
        turn, places = self._latest.get(result.id, (here, []))
        if not places and result.id in ("", result.name):  # all that is known of it is its name
            turn = self._caller or here
            places = [at for at, call in enumerate(turn.calls) if call.name == result.name]
        waiting = [at for at in places if at not in turn.answers]
        late = [at for at in places if _is_interruption(turn.answers.get(at))]
        if waiting or (late and not _is_interruption(result)):
            same = (at for at in waiting if turn.calls[at].name == result.name)
            at = next(same, waiting[0]) if waiting else late[0]
            id = turn.calls[at].id
            self._heard[result.id] = result
            turn.answers[at] = result if result.id == id else replace(result, id=id)
            if turn is not here or not waiting:
                self.notes.append(f"{where}: {what} was moved to its call")
        elif (home := self._executed.pop(result.id, None)) is not None:
            home.executed[result.id] = [result]
            self._heard[result.id] = result
            self.notes.append(f"{where}: {what} was moved to its call, which the provider ran")
        elif (first := self._heard.get(result.id)) is not None and _same(first, result):
            self.notes.append(f"{where}: {what} was there before, and was dropped")
        else:
            again = result.id in self._heard
            here.strays += _as_text(result, again=again)
            why = "is not the first of its call" if again else "has no call before it"
            self.notes.append(f"{where}: {what} {why}: the user says it now")

    # ---- the whole again

    def messages(self, interrupted: bool) -> Iterator[Message]:
        for turn in self._turns:
            waits = not interrupted and turn is self._turns[-1] and len(turn.answers) < len(turn.calls)
            results = list(self._results(turn, waits))
            strays = [Message("user", _content(turn.strays))] if turn.strays else []
            if waits:  # said after the calls, they would be the message that ends the wait for results
                yield from strays
            if turn.message is not None:
                if turn.executed:
                    turn.message = replace(turn.message, content=_beside(turn.message.parts, turn.executed))
                yield turn.message
            given = [part for message in turn.given for part in message.parts]
            if len(given) == len(results) and all(map(is_, given, results)):
                yield from turn.given
            elif results:
                if sorted(map(id, given)) == sorted(map(id, results)):
                    self.notes.append(f"{turn.where}: the results of its calls were put in the order of the calls")
                yield Message("tool", list(results))
            if not waits:
                yield from strays

    def _results(self, turn: _Turn, waits: bool) -> Iterator[ToolResult]:
        for at, call in enumerate(turn.calls):
            if (answer := turn.answers.get(at)) is not None:
                yield answer
            elif not waits:
                why = INTERRUPTED if call.invalid is None else f"the call was not made: {call.invalid}"
                what = f"the call {_short(call.id)} of {_short(call.name)}"
                self.notes.append(f"{turn.where}: {what} has no result: it is answered with an error")
                yield ToolResult(call.id, call.name, why, is_error=True)


# ---- messages and their parts


def _is_plain(message: Message) -> bool:
    """Text, and nothing to do with calls."""
    return isinstance(message.content, str) and message.role != "tool" and bool(message.content.strip())


def _says_nothing(message: Message) -> bool:
    """No parts, or only blank text that no provider wants back: refused in every role."""
    return all(
        isinstance(part, Text) and not part.text.strip() and (part.state is None or message.role != "assistant")
        for part in message.parts
    )


def _is_ours(part: Part) -> bool:
    return isinstance(part, ToolCall) and not part.executed


def _calls(message: Message) -> list[ToolCall]:
    """The calls that somebody on our side answers."""
    return [part for part in message.parts if isinstance(part, ToolCall) and not part.executed]


def _executed(message: Message) -> set[str]:
    return {part.id for part in message.parts if isinstance(part, ToolCall) and part.executed}


def _apart(message: Message) -> Iterator[Message]:
    """The message as messages that hold only what their role can; what the model did before a result was done before it."""
    executed = _executed(message) if message.role == "assistant" else set()

    def role_of(part: Part) -> Role:
        match part:
            case ToolCall() | Reasoning():
                return "assistant"
            case ToolResult():
                theirs = message.role == "assistant" and (part.state is not None or part.id in executed)
                return "assistant" if theirs else "tool"
            case Text():
                return message.role
            case _:
                return "user" if message.role == "system" else message.role

    parts = message.parts
    if all(role_of(part) == message.role for part in parts) and not _before_their_calls(message, executed):
        yield message
        return
    if message.role != "assistant":  # results come first in the user's turn, on every wire
        parts = sorted(parts, key=lambda part: not isinstance(part, ToolResult))
    elif executed:  # nothing comes between a call that the provider ran and its result
        theirs: dict[str, list[ToolResult]] = {}
        for part in parts:
            if isinstance(part, ToolResult) and part.id in executed:
                theirs.setdefault(part.id, []).append(part)
        parts = _beside([part for part in parts if not (isinstance(part, ToolResult) and part.id in executed)], theirs)
    for role, group in groupby(parts, role_of):
        yield Message(role, _content(list(group)), message.name if role == message.role else None)


def _before_their_calls(message: Message, executed: set[str]) -> bool:
    """Whether a result stands before the call it belongs to, which the provider ran."""
    to_come = set(executed)
    for part in message.parts if executed else ():
        if isinstance(part, ToolCall) and part.executed:
            to_come.discard(part.id)
        elif isinstance(part, ToolResult) and part.state is None and part.id in to_come:
            return True
    return False


def _beside(parts: Sequence[Part], results: dict[str, list[ToolResult]]) -> list[Part]:
    """With the results of the provider's own calls right after them."""
    return [
        said
        for part in parts
        for said in (part, *(results.pop(part.id, ()) if isinstance(part, ToolCall) and part.executed else ()))
    ]


def _content(parts: list[Part]) -> str | list[Part]:
    only = parts[0] if len(parts) == 1 else None
    return only.text if isinstance(only, Text) and only.state is None else parts


def _as_text(result: ToolResult, *, again: bool) -> list[Part]:
    kind = "error" if result.is_error else "result"
    label = f"[{'Another' if again else 'The'} {kind} of {result.name or result.id or 'a tool'}]\n"
    if isinstance(result.content, str):
        return [Text(label + result.content)]
    return [Text(label), *result.content]


def _same(first: ToolResult, second: ToolResult) -> bool:
    return first.content == second.content and first.is_error == second.is_error


def _is_interruption(result: ToolResult | None) -> bool:
    return result is not None and result.is_error and result.content == INTERRUPTED


def _kind(part: Part) -> str:
    return type(part).__name__


def _short(text: str) -> str:
    """Ids and names are the model's words: of any length, and quoted."""
    return repr(text if len(text) <= 64 else text[:61] + "...")
