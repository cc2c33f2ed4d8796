"""Where JSON objects are in a model's text: alone, in a markdown fence, or among prose. One pass, in pieces of any size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

import msgspec

_OUTSIDE = re.compile(r'`{3}|`{1,2}\Z|\{\s*(?:(?=["}])|\Z)')
"""A fence; what may become one; an object: a brace, and its first key or its end. Prose uses braces for other things, too."""

_INSIDE = re.compile(r'\\.|\\\Z|["{}\[\]]', re.DOTALL)


class Chunk(NamedTuple):
    """A piece of one object. `first` and `last` say that the object begins and ends with it."""

    text: str
    first: bool
    last: bool
    fenced: bool


class ObjectScanner:
    """Finds the outermost objects of a text that comes in pieces. Knows strings and brackets, and no more of JSON."""

    __slots__ = ("_carry", "_depth", "_fenced", "in_string")

    def __init__(self) -> None:
        self._carry = ""  # what cannot be judged before more has come
        self._depth = 0
        self._fenced = False
        self.in_string = False

    def feed(self, piece: str) -> Iterator[Chunk]:
        """What of `piece` (and of what was held back before) belongs to objects."""
        text, self._carry, at = self._carry + piece, "", 0
        while at < len(text):
            first = not self._depth
            if first:
                begin = self._next_object(text, at)
                if begin is None:
                    return
                at = begin
                self._depth = 1
            end = self._rest_of_object(text, at + first)
            if first or end > at:
                yield Chunk(text[at:end], first, not self._depth, self._fenced)
            at = len(text) if self._carry else end

    def _next_object(self, text: str, at: int) -> int | None:
        for found in _OUTSIDE.finditer(text, at):
            if found[0][0] == "{":
                if found.end() < len(text):
                    return found.start()
                self._carry = "{"  # without the space after it, which may have no end
            elif len(found[0]) == 3:
                self._fenced = not self._fenced
            else:
                self._carry = found[0]
        return None

    def _rest_of_object(self, text: str, at: int) -> int:
        """Where the object, or what there is of it, ends."""
        in_string = self.in_string
        for found in _INSIDE.finditer(text, at):
            mark = found[0]
            if mark == "\\":
                self._carry = mark
                self.in_string = in_string
                return found.start()
            if mark == '"':
                in_string = not in_string
            elif not in_string and len(mark) == 1:
                self._depth += 1 if mark in "{[" else -1
                if not self._depth:
                    self.in_string = False
                    return found.end()
        self.in_string = in_string
        return len(text)


def only_json(text: str) -> str | None:
    """The JSON in a text that is more than that: what is in its one fence, else its one object, or the one that is fenced.
    None if it is not clear which is meant."""
    parts = text.split("```")
    if len(parts) == 3:
        language, _, inner = parts[1].partition("\n")
        for content in (parts[1], inner if language.strip().isalnum() else ""):
            if _is_json(content):
                return content
    found = [chunk for chunk in ObjectScanner().feed(text) if chunk.first and chunk.last and _is_json(chunk.text)]
    wanted = [chunk for chunk in found if chunk.fenced] or found
    return wanted[0].text if len(wanted) == 1 else None


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except (ValueError, RecursionError):
        return False
    return True
