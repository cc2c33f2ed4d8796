"""Characters that a server cut in half between two deltas (its strings are UTF-16, and ours must be writable)."""

from __future__ import annotations


class CharacterJoiner:
    """Makes the text of one channel whole: a half waits for its other one, and becomes U+FFFD where that never comes."""

    __slots__ = ("half",)

    def __init__(self) -> None:
        self.half = ""

    def feed(self, text: str) -> str:
        if not self.half and text.isascii():
            return text
        text, self.half = self.half + text, ""
        if "\ud800" <= text[-1:] <= "\udbff":
            text, self.half = text[:-1], text[-1]
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def close(self) -> str:
        """What is left of a half whose other one did not come."""
        half, self.half = self.half, ""
        return "\ufffd" if half else ""
