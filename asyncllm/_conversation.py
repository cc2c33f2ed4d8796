"""A conversation that a chat application keeps: what was said, what to forget of it, and its file."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, overload

import msgspec

from ._input import messages_from
from ._repair import repaired
from .events import (
    Audio,
    File,
    Image,
    Input,
    InvalidRequestError,
    Message,
    Part,
    Reasoning,
    Reply,
    Session,
    Text,
    ToolCall,
    ToolResult,
)
from .events._fold import CHARACTERS_PER_TOKEN

VERSION = 1
"""Of the JSON form. Readers refuse a newer one."""

MEDIUM_TOKENS = 1000
"""What an image, a sound or a document is counted as; the providers' own numbers go from 85 to several thousand."""


class Conversation(Sequence[Message]):
    """The messages of a chat, to be given to any call as they are.

        conversation = Conversation(system="Be brief.")
        conversation.append("Why is the sky blue?")
        conversation.append(await client.complete(conversation))
        conversation.trim(max_tokens=50_000)
        conversation.save("chat.json")

    Args:
        messages: what was said so far: whatever a call takes. It is kept as it is until something is appended.
        system: a system message that comes first.

    It is a sequence of :class:`Message`. What is appended is mended where providers would refuse it (see :meth:`append`), so
    that the next call works whatever happened to the last one. It is nobody's but yours: no call changes it.
    """

    __slots__ = ("_messages", "_settled", "session")

    def __init__(self, messages: Input = (), *, system: str | None = None) -> None:
        self._messages: list[Message] = [] if system is None else [Message("system", system)]
        if isinstance(messages, Message | str) or len(messages):
            self._messages += messages_from(messages)
        self._settled = 0  # what is before this was mended, and nothing that is appended has to do with it
        self.session: Session | None = None
        """Of the reply that was appended last: where a coding agent keeps the conversation, to go on with it elsewhere."""

    # ---- the sequence

    @overload
    def __getitem__(self, at: int) -> Message: ...
    @overload
    def __getitem__(self, at: slice) -> list[Message]: ...
    def __getitem__(self, at: int | slice) -> Message | list[Message]:
        return self._messages[at]

    def __len__(self) -> int:
        return len(self._messages)

    def __eq__(self, other: object) -> bool:
        return self._messages == other._messages if isinstance(other, Conversation) else NotImplemented

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {len(self)} messages>"  # what they say is private

    # ---- what is said

    def append(self, said: str | Message | Reply[Any] | ToolResult) -> None:
        """Add a question, a message, the result of a call, or a reply: what it added to this conversation, which is the
        answer, and of a run also the calls and results before it.

        What providers refuse is mended: calls that were not answered before something else is said are answered with an error,
        a late result is moved to its call, and a turn without content is left out. The calls of an answer that was interrupted
        (the `.partial` of an error or of a stream, one that was cut) will not be made, and are answered with an error at once.
        Those of a whole one wait: append their ToolResults, or give the conversation to :meth:`asyncllm.Client.run`.

        Raises :class:`InvalidRequestError` for anything else, and for a blank question.
        """
        interrupted = False
        match said:
            case str():
                if not said.strip():
                    raise InvalidRequestError("there is nothing to append: the text is blank")
                new = [Message("user", said)]
            case Message():
                new = [said]
            case ToolResult():
                new = [Message("tool", [said])]
            case Reply():
                new = self._added_by(said)
                interrupted = said.finish_reason in (None, "length", "content_filter", "error")
            case _:
                raise InvalidRequestError(
                    f"expected a text, a Message, a Reply or a ToolResult to append, not {type(said).__name__}"
                )
        recent = [*self._messages[self._settled :], *new]
        called = {part.id for message in recent for part in message.parts if isinstance(part, ToolCall)}
        if any(isinstance(part, ToolResult) and part.id not in called for message in new for part in message.parts):
            self._settled = 0  # a result that comes late: its call may be anywhere
        self._mend(new, interrupted=interrupted)
        if isinstance(said, Reply) and said.session is not None:
            self.session = said.session

    def _added_by(self, reply: Reply[Any]) -> list[Message]:
        """What `reply.messages` has beyond this conversation. It may have been asked with another form of it, a trimmed one
        say: then what follows our last message, or else the last question and its answer."""
        messages, mine = reply.messages, self._messages
        if not messages:
            return [reply.message]
        if messages[: len(mine)] == mine:
            return messages[len(mine) :]
        last = mine[-1]
        for at in reversed(range(len(messages))):
            if messages[at] is last or messages[at] == last:
                return messages[at + 1 :]
        asked = [at for at, message in enumerate(messages) if message.role == "user"]
        if not asked:
            return [reply.message]
        return messages[asked[-1] + (last.role in ("user", "tool")) :]

    def _mend(self, new: Iterable[Message] = (), *, interrupted: bool = False) -> None:
        """Only what is not settled is looked at, so that a long chat costs its length."""
        self._messages[self._settled :] = repaired([*self._messages[self._settled :], *new], interrupted=interrupted)[0]
        at = len(self._messages)
        while at > self._settled and self._messages[at - 1].role == "tool":
            at -= 1
        if at > self._settled and self._messages[at - 1].role == "assistant":
            at -= 1
        else:
            at = len(self._messages)
        self._settled = at

    def fork(self) -> Conversation:
        """A copy that goes its own way. The messages themselves are shared: they never change."""
        copy = Conversation()
        copy._messages, copy._settled, copy.session = self._messages.copy(), self._settled, self.session
        return copy

    def trim(
        self,
        max_tokens: int | None = None,
        max_turns: int | None = None,
        count: Callable[[Message], int] | None = None,
    ) -> list[Message]:
        """Forget the oldest turns, until the rest is at most `max_tokens` and at most `max_turns`; returns what was dropped.

        A turn is a question (a user's message, or several in a row) with all that follows it, so that calls stay with their
        results and what is left begins with a question: an answer before the first question is dropped, too. System messages
        are kept, and counted. So is the last turn, however long it is.

        Tokens are estimated: a quarter of the characters, and 1,000 for an image, a sound or a document. `count` gives another
        number for a message. What providers refuse is mended first, as by :meth:`append`. A coding agent's own session has
        all of it still.
        """
        for name, most in (("max_tokens", max_tokens), ("max_turns", max_turns)):
            if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 1):
                raise InvalidRequestError(f"{name} must be a whole number of at least 1, not {most!r}")
        if max_tokens is None and max_turns is None:
            raise InvalidRequestError("trim needs max_tokens, max_turns or both")
        self._settled = 0
        self._mend()
        starts = _starts(self._messages)
        keep = starts[0] if starts else len(self._messages)
        if starts and max_turns is not None:
            keep = starts[-max_turns] if max_turns < len(starts) else keep
        if starts and max_tokens is not None:
            sizes = [(count or _estimate)(message) for message in self._messages]
            total = sum(size for at, size in enumerate(sizes) if at >= keep or self._messages[at].role == "system")
            for start, following in pairwise(starts):
                if total <= max_tokens:
                    break
                if start >= keep:
                    turn = range(start, following)
                    total -= sum(sizes[at] for at in turn if self._messages[at].role != "system")
                    keep = following
        forgotten = self._messages[:keep]
        self._messages[:keep] = [message for message in forgotten if message.role == "system"]
        self._settled = 0
        return [message for message in forgotten if message.role != "system"]

    # ---- its file

    def to_json(self) -> bytes:
        """The whole of it as a JSON object: bytes as base64, and what providers want back verbatim, so that it goes on with
        them where it was. Raises :class:`InvalidRequestError` where a message made by hand holds what JSON cannot."""
        session = {} if self.session is None else {"session": msgspec.to_builtins(self.session)}
        try:
            messages = msgspec.to_builtins(self._messages)
            data = {"asyncllm": "conversation", "version": VERSION, "messages": messages, **session}
            text = json.dumps(data, ensure_ascii=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidRequestError(
                f"the arguments of a call, or what a provider wants back, are not JSON: {error}"
            ) from None
        try:
            return text.encode()
        except UnicodeEncodeError:  # half a character, which models do say
            return json.dumps(data).encode()

    @classmethod
    def from_json(cls, data: bytes | str) -> Conversation:
        """Raises :class:`InvalidRequestError` for anything but what :meth:`to_json` wrote, and for what a newer one wrote."""
        conversation = cls()
        conversation._messages, conversation.session = _read(data)
        return conversation

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write :meth:`to_json` to a file that only you can read (0600). It is there whole or not at all: what was there is
        replaced at the end. Blocks: in an event loop, call it in a thread. Raises ``OSError``."""
        target = Path(path)
        data = self.to_json()
        file, temporary = tempfile.mkstemp(dir=target.parent, prefix=".asyncllm-", suffix=".tmp")
        try:
            with os.fdopen(file, "wb") as out:
                out.write(data)
                out.flush()
                os.fsync(out.fileno())
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Conversation:
        """Read what :meth:`save` wrote. Blocks. Raises ``OSError``, or what :meth:`from_json` raises, with the file's name."""
        data = Path(path).read_bytes()
        try:
            return cls.from_json(data)
        except InvalidRequestError as error:
            raise InvalidRequestError(f"{os.fspath(path)}: {error.message}") from None


def _read(data: bytes | str) -> tuple[list[Message], Session | None]:
    try:
        found = json.loads(data)
    except (TypeError, ValueError, RecursionError):
        raise InvalidRequestError("this is not a saved conversation: it is not JSON") from None
    if not isinstance(found, dict) or found.get("asyncllm") != "conversation":
        raise InvalidRequestError("this is not a saved conversation of asyncllm")
    version = found.get("version")
    if isinstance(version, int) and version > VERSION:
        raise InvalidRequestError(
            f"this conversation was saved by a newer asyncllm: its version is {version}, and {VERSION} is what is known here"
        )
    if isinstance(version, bool) or version != VERSION:
        raise InvalidRequestError("this saved conversation has no version that is known here")
    try:
        messages = msgspec.convert(found.get("messages"), list[Message])
        return messages, msgspec.convert(found.get("session"), Session | None)
    except (msgspec.ValidationError, RecursionError) as error:
        raise InvalidRequestError(f"this saved conversation is damaged: {error}") from None


def _starts(messages: Sequence[Message]) -> list[int]:
    """Where turns begin: at a user's message that follows no other one."""
    starts: list[int] = []
    before = None
    for at, message in enumerate(messages):
        if message.role == "user" and before != "user":
            starts.append(at)
        if message.role != "system":
            before = message.role
    return starts


def _estimate(message: Message) -> int:
    media = sum(_media(part) for part in message.parts)
    characters = sum(_characters(part) for part in message.parts)
    return media * MEDIUM_TOKENS + -(-characters // CHARACTERS_PER_TOKEN)


def _media(part: Part) -> int:
    if isinstance(part, ToolResult) and not isinstance(part.content, str):
        return sum(map(_media, part.content))
    return isinstance(part, Image | Audio | File)


def _characters(part: Part) -> int:
    match part:
        case Text(text=text) | Reasoning(text=text):
            return len(text)
        case ToolCall():
            return len(part.name) + len(part.raw_arguments or json.dumps(part.arguments, default=repr))
        case ToolResult(content=str() as text):
            return len(text)
        case ToolResult(content=list() as parts):
            return sum(map(_characters, parts))
    return 0
