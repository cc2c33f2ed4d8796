"""Where output goes: the answer to stdout, everything about it to stderr; and what may reach a terminal.

What a model or a server says is not trusted. On a terminal, control characters can move the cursor, rewrite what was
shown, or fill the clipboard, so only newline and tab are let through. A file or a pipe gets the answer as it is.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import TextIO

from ._interrupts import heard

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


def no_terminal_to_ask_on() -> bool:
    """Whether nobody can be asked: a question needs keys to be answered with, and a place where it is seen."""
    return not (sys.stdin is not None and sys.stdin.isatty() and sys.stderr is not None and sys.stderr.isatty())


def forget_typed_ahead() -> None:
    """Keys that were pressed before the question was there are no answer to it."""
    with contextlib.suppress(ImportError, OSError, ValueError):  # no termios, or no terminal
        import termios

        with contextlib.suppress(termios.error):
            termios.tcflush(sys.stdin.fileno(), termios.TCIFLUSH)


def _line_editor() -> ModuleType | None:
    """What gives input() its line editing, from when it is imported."""
    try:
        import readline
    except ImportError:
        return None
    readline.set_auto_history(False)  # answers to other questions are none to repeat
    return readline


class Screen:
    """stdout for the answer, stderr for what is said about it, in the right order where both are one terminal."""

    def __init__(self, *, color: bool = True) -> None:
        self.out = sys.stdout
        self.err = sys.stderr
        self.asks_on_out = self.out.isatty()  # else questions are asked on stderr
        self._clean = self.out.isatty()
        self._dim = colors_on(self.err, color)
        self._in_place = self.err.isatty() and os.environ.get("TERM") != "dumb"
        self._status = 0  # columns of the line that is shown for the moment
        self._open: TextIO | None = None  # the stream that was left in the middle of a line

    @property
    def columns(self) -> int:
        """Of the terminal; 80 where there is none."""
        try:
            return os.get_terminal_size(self.err.fileno()).columns or 80
        except (OSError, ValueError):
            return 80

    def answer(self, text: str) -> None:
        self._write(self.out, text, harmless(text) if self._clean else text)

    def aside(self, text: str) -> None:
        """A piece of text beside the answer, dimmed."""
        text = harmless(text)
        self._write(self.err, text, self.dim(text))

    def note(self, line: str, *, dim: bool = True) -> None:
        """One whole line beside the answer."""
        self.notes([one_line(line)], dim=dim)

    def notes(self, lines: Sequence[str], *, dim: bool = True) -> None:
        """Whole lines beside the answer, with their spaces."""
        self.end_line()
        for given in lines:
            line = harmless(given.replace("\n", " "))
            self._write(self.err, line + "\n", (self.dim(line) if dim else line) + "\n")

    def status(self, text: str) -> None:
        """A line for the moment, which goes when anything else is shown. Only terminals have it."""
        if not self._in_place:
            return
        from rich.cells import cell_len, chop_cells

        self.end_line()
        line = next(iter(chop_cells(one_line(text), self.columns - 1)), "")
        self.err.write(self.dim(line))
        self.err.flush()
        self._status = cell_len(line)

    def ask(self, prompt: str, prefilled: str = "", *, remembered: bool = False) -> str:
        """A line from the terminal. Raises EOFError at its end.

        `prefilled` is there to be edited, where that can be done; what is `remembered` comes again with the arrow keys.
        """
        self.end_line()
        self.flush()
        readline = _line_editor() if prefilled or remembered else None
        if not self.asks_on_out:
            self.err.write(prompt)
            self.err.flush()
            prompt = ""
        if readline is not None:
            readline.set_startup_hook(lambda: readline.insert_text(prefilled))
        try:
            with heard():
                line = input(prompt)
        except KeyboardInterrupt:
            self.err.write("\n")
            raise
        finally:
            if readline is not None:
                readline.set_startup_hook()
        if readline is not None and remembered and line.strip():
            readline.add_history(line)
        return line

    def dim(self, text: str) -> str:
        return f"{_DIM}{text}{_RESET}" if self._dim and text else text

    def end_line(self) -> None:
        self._end_status()
        if self._open is not None:
            self._open.write("\n")
            self._open.flush()
            self._open = None

    def flush(self) -> None:
        self.out.flush()
        self.err.flush()

    def _end_status(self) -> None:
        if self._status:
            self.err.write(f"\r{' ' * self._status}\r")
            self.err.flush()
            self._status = 0

    def _write(self, stream: TextIO, text: str, shown: str) -> None:
        if not text:
            return
        self._end_status()
        if self._open is not None and self._open is not stream:
            self.end_line()
        stream.write(shown)
        self._open = None if text.endswith("\n") else stream
