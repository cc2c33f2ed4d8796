"""Splitting `<think>…</think>` off a text that comes in pieces (quirk E8)."""

from __future__ import annotations

_OPEN, _CLOSE = "<think>", "</think>"


class ThinkSplitter:
    """Text in, (text, thought) out. The tag counts only at the start of the answer; a tag cut by a border is waited for."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._held = ""
        self._state: str = "start"  # start -> opened -> thought -> after -> text

    def feed(self, piece: str) -> tuple[str, str]:
        if self._state == "text":
            return piece, ""
        held, self._held = self._held + piece, ""
        thought = ""
        if self._state == "start":
            begun = held.lstrip()
            if not begun or (len(begun) < len(_OPEN) and _OPEN.startswith(begun)):
                self._held = held
                return "", ""
            if not begun.startswith(_OPEN):
                self._state = "text"
                return held, ""
            self._state, held = "opened", begun[len(_OPEN) :]
        if self._state == "opened":
            held = held.lstrip("\n")
            if not held:
                return "", ""
            self._state = "thought"
        if self._state == "thought":
            thought, closed, held = held.partition(_CLOSE)
            if not closed:
                keep = _overlap(thought)
                self._held = thought[len(thought) - keep :]
                return "", thought[: len(thought) - keep]
            self._state = "after"
            thought = thought.removesuffix("\n")
        text = held.lstrip("\n")  # blank lines between the thought and the answer belong to neither
        if text:
            self._state = "text"
        return text, thought

    def close(self) -> tuple[str, str]:
        """What was held back when the stream ended: a started tag is text, an open thought is thought."""
        held, self._held = self._held, ""
        return ("", held) if self._state == "thought" else (held, "")


def _overlap(text: str) -> int:
    """How many characters at the end of `text` may begin the closing tag (with the line break before it)."""
    for length in range(min(len(text), len(_CLOSE)), 0, -1):
        if text.endswith(("\n" + _CLOSE)[:length]) or text.endswith(_CLOSE[:length]):
            return length
    return 0
