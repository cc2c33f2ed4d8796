"""Arguments of a call that come in pieces with their paths (`partialArgs`), as JSON text that grows, and as one object.

Source: the Vertex AI reference (FunctionCall.partialArgs): each piece has a JSON path (RFC 9535) such as `$.a.b[0]` and a
string, number, boolean or null; a string may go on in the next piece of the same path (`willContinue`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ._wire import pick

_STEP = re.compile(r"""\.([^.\[\]'"]+)|\[(\d{1,6})\]|\[(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)")\]""")
_VALUES = ("stringValue", "numberValue", "boolValue")
_NULL = {"nullValue", "null_value"}

Path = tuple[str | int, ...]


class PartialArguments:
    """:meth:`add` gives the JSON text that a piece adds, as long as pieces come in the order of a document; :meth:`close`
    the end of it. A path that goes back is taken, too: the text then stops, and :attr:`text` is made from the object."""

    __slots__ = ("_leaves", "_open", "_ordered", "_seen", "_string", "_text", "whole")

    def __init__(self) -> None:
        self._leaves: list[tuple[Path, list[Any]]] = []
        self._open: list[str | int] = []  # the steps to the value that was written last
        self._string = False  # that value is a string, whose end is not written: the next piece may go on with it
        self._seen: set[Path] = set()  # everything that was begun, which an object can hold once
        self._ordered = True
        self._text: list[str] = []
        self.whole = True
        """The last piece did not say that its value goes on."""

    def add(self, pieces: Iterable[Mapping[str, Any]]) -> str:
        said = len(self._text)
        for piece in pieces:
            path = _path(pick(piece, "jsonPath"))
            value = next((value for name in _VALUES if (value := pick(piece, name)) is not None), None)
            if path is None or (value is None and not piece.keys() & _NULL):
                continue
            self._add(path, value)
            self.whole = pick(piece, "willContinue") is not True
        return "".join(self._text[said:])

    def close(self) -> str:
        """What is missing of the text."""
        if not self._ordered:
            return ""
        rest = ('"' if self._string else "") + self._close_down_to(0) if self._open else "{}"
        self._text.append(rest)
        self._open, self._string = [], False
        return rest

    @property
    def text(self) -> str:
        """All arguments as JSON, after :meth:`close`."""
        if self._ordered:
            return "".join(self._text)
        return json.dumps(self._value(), separators=(",", ":"), ensure_ascii=False)

    # ---- text

    def _add(self, path: Path, value: Any) -> None:
        if self._string and isinstance(value, str) and self._leaves[-1][0] == path:
            self._leaves[-1][1].append(value)
            if self._ordered:
                self._text.append(_dump(value)[1:-1])
        else:
            self._leaves.append((path, [value]))
            self._write(path, value)
            self._string = isinstance(value, str)

    def _write(self, path: Path, value: Any) -> None:
        common = 0
        while common < min(len(path), len(self._open)) and path[common] == self._open[common]:
            common += 1
        if not self._ordered or not self._may_follow(path, common):
            self._ordered = False
            return
        said = ('"' if self._string else "") + (self._close_down_to(common + 1) if self._open else "")
        for depth in range(common, len(path)):
            step = path[depth]
            begun = depth == common and bool(self._open)
            said += "," if begun else "{" if isinstance(step, str) else "["
            said += f"{_dump(step)}:" if isinstance(step, str) else ""
            self._seen.add(path[: depth + 1])
        said += _dump(value)[:-1] if isinstance(value, str) else _dump(value)
        self._open = list(path)
        self._text.append(said)

    def _may_follow(self, path: Path, common: int) -> bool:
        """Whether a document can say this after what was said: a new member of something that is still open."""
        if common == len(path) or (self._open and common == len(self._open)):
            return False
        if path[: common + 1] in self._seen:
            return False
        step = path[common]
        if self._open:
            held = self._open[common]
            if isinstance(step, int):
                if not isinstance(held, int) or step != held + 1:
                    return False
            elif isinstance(held, int):
                return False
        elif isinstance(step, int):
            return False  # arguments are an object
        return all(step == 0 for step in path[common + 1 :] if isinstance(step, int))

    def _close_down_to(self, depth: int) -> str:
        """The ends of the containers that are open below `depth` steps."""
        return "".join("}" if isinstance(step, str) else "]" for step in reversed(self._open[depth:]))

    # ---- the object, where the order of the pieces is not that of a document

    def _value(self) -> dict[str, Any]:
        root: dict[str, Any] = {}
        for path, pieces in self._leaves:
            value = "".join(pieces) if isinstance(pieces[0], str) else pieces[-1]
            _put(root, path, value)
        return root


def _put(root: dict[str, Any], path: Path, value: Any) -> None:
    node: Any = root
    for step, following in zip(path, [*path[1:], None], strict=True):
        inner: Any = value if following is None else {} if isinstance(following, str) else []
        if isinstance(node, list):
            if not isinstance(step, int) or step > len(node):
                return  # a hole: there is nothing to put into it
            if step == len(node):
                node.append(inner)
            elif following is None:
                node[step] = inner
            node = node[step]
        elif isinstance(node, dict):
            if following is None or not isinstance(node.get(str(step)), dict | list):
                node[str(step)] = inner
            node = node[str(step)]
        else:
            return


def _path(text: object) -> Path | None:
    """The steps of a JSON path; None for one that names no place in an object."""
    if not isinstance(text, str) or not text.startswith("$"):
        return None
    steps: list[str | int] = []
    at = 1
    while at < len(text):
        found = _STEP.match(text, at)
        if found is None:
            return None
        name, index, single, double = found.groups()
        if index is not None:
            steps.append(int(index))
        else:
            quoted = single if single is not None else double
            steps.append(name if name is not None else re.sub(r"\\(.)", r"\1", quoted))
        at = found.end()
    return tuple(steps) if steps and isinstance(steps[0], str) and len(steps) <= 64 else None


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
