"""Where output goes: the answer to stdout, everything about it to stderr; and what may reach a terminal.

What a model or a server says is not trusted. On a terminal, control characters can move the cursor, rewrite what was
shown, or fill the clipboard, so only newline and tab are let through. A file or a pipe gets the answer as it is.
"""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

_CONTROLS = {code: None for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}
_DIM, _RESET = "\x1b[2m", "\x1b[0m"


def harmless(text: str) -> str:
    """`text` without control characters other than newline and tab: what is left of an escape sequence is just letters."""
    return text.translate(_CONTROLS)


def one_line(text: str) -> str:
    return harmless(" ".join(text.split()))


def tolerate_any_text() -> None:
    """A character that the terminal's encoding lacks is shown as "?" instead of ending the program."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def colors_on(stream: TextIO, wanted: bool = True) -> bool:
    return wanted and stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


class Screen:
    """stdout for the answer, stderr for what is said about it, in the right order where both are one terminal."""

    def __init__(self, *, color: bool = True) -> None:
        self.out = sys.stdout
        self.err = sys.stderr
        self._clean = self.out.isatty()
        self._dim = colors_on(self.err, color)
        self._open: TextIO | None = None  # the stream that was left in the middle of a line

    def answer(self, text: str) -> None:
        self._write(self.out, text, harmless(text) if self._clean else text)

    def aside(self, text: str) -> None:
        """A piece of text beside the answer, dimmed."""
        text = harmless(text)
        self._write(self.err, text, self.dim(text))

    def note(self, line: str, *, dim: bool = True) -> None:
        """One whole line beside the answer."""
        line = one_line(line)
        self.end_line()
        self._write(self.err, line + "\n", (self.dim(line) if dim else line) + "\n")

    def dim(self, text: str) -> str:
        return f"{_DIM}{text}{_RESET}" if self._dim and text else text

    def end_line(self) -> None:
        if self._open is not None:
            self._open.write("\n")
            self._open.flush()
            self._open = None

    def flush(self) -> None:
        self.out.flush()
        self.err.flush()

    def _write(self, stream: TextIO, text: str, shown: str) -> None:
        if not text:
            return
        if self._open is not None and self._open is not stream:
            self.end_line()
        stream.write(shown)
        self._open = None if text.endswith("\n") else stream
