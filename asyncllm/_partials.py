"""The object so far: what `stream.partials` gives while an answer in JSON arrives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, cast

from ._objects import ObjectScanner
from .events import Finish, InvalidRequestError, LLMError, StreamEvent, StreamStart, TextDelta

if TYPE_CHECKING:
    from ._stream import Stream

SMALL = 1024
"""Bytes up to which an answer is parsed at every wakeup."""

GROWTH = 16
"""A longer one is parsed when a 16th has been added to what was parsed last: all parses together read a multiple of it."""


class GrowingObject:
    """The text of the step under way, and its JSON object so far.

    A number is shown when the character after it is there, for it might have gone on; `true`, `false` and `null` when they
    are whole; a string as far as it is known, never with half an escape. So what was shown stays: strings and lists grow,
    objects gain keys. (But where a key comes twice, the last one counts.)
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._scanner = ObjectScanner()
        self._json = bytearray()
        self._holds = self._fenced = self._whole = False
        self._taking = False  # whether what the scanner finds now is the object that is held
        self._parsed = 0
        self._due = False  # whether the end of something makes it time to parse
        self._shown: dict[str, object] | None = None

    def extend(self, events: Iterable[StreamEvent]) -> None:
        for event in events:
            if isinstance(event, TextDelta):
                self.feed(event.text)
            elif isinstance(event, StreamStart):
                self._begin()
            elif isinstance(event, Finish):
                self._due = True

    def feed(self, text: str) -> None:
        for chunk in self._scanner.feed(text):
            if chunk.first:  # the first object counts, but one in a fence counts more
                self._taking = not self._holds or (chunk.fenced and not self._fenced)
                if self._taking:
                    self._json.clear()
                    self._holds, self._fenced, self._parsed = True, chunk.fenced, 0
            if self._taking:
                self._json += chunk.text.encode("utf-8", "replace")
                self._whole = chunk.last
                self._due |= chunk.last

    def take(self, *, all: bool = False) -> dict[str, object] | None:
        """The object so far if it changed since the last time, and if enough was added (or `all` of it is wanted)."""
        size = len(self._json)
        if not self._holds or size == self._parsed:
            return None
        if size > SMALL and (size - self._parsed) * GROWTH < self._parsed and not (self._due or all):
            return None
        from jiter import from_json

        data = self._json
        if not self._whole and not self._scanner.in_string and data[-1] in b"0123456789.+-":
            data = data.rstrip(b"0123456789.+-eE")
        self._parsed, self._due = size, False
        try:
            value = from_json(bytes(data), partial_mode="trailing-strings", cache_mode="keys", allow_inf_nan=False)
        except ValueError:  # it only looked like JSON, or goes deeper than jiter follows
            self._holds = self._taking = False
            return None
        if value == self._shown:
            return None
        self._shown = value
        return cast("dict[str, object]", value)


def require_partials(asked: object) -> None:
    """Raises InvalidRequestError where there is no object to be shown, or nothing to read a part of it with."""
    if asked is None:
        raise InvalidRequestError("partials are those of an answer in JSON: ask for it with output=")
    try:
        import jiter  # noqa: F401
    except ImportError:
        raise InvalidRequestError("partials need jiter: pip install 'asyncllm[partials]'") from None


class PartialsView:
    """The objects so far of a stream that may already have been read in part."""

    __slots__ = ("_batches", "_begun", "_object", "_over", "_stream")

    def __init__(self, stream: Stream[Any]) -> None:
        self._stream = stream
        self._batches = stream.batches()
        self._object = GrowingObject()
        self._begun = self._over = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> dict[str, object]:
        stream = self._stream
        if not self._begun:
            self._begun = True
            self._object.feed(stream.partial.text)  # pending events are in it
            stream._pending = iter(())
        while True:
            value = self._object.take(all=self._over)
            if value is not None:
                return value
            if self._over:
                if stream.error is not None:
                    raise stream.error
                raise StopAsyncIteration
            try:
                self._object.extend(await anext(self._batches))
            except (StopAsyncIteration, LLMError):
                self._over = True
