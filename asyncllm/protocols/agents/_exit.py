"""How a coding agent's process ended, for the codecs."""

from __future__ import annotations

from msgspec import Struct


class Exit(Struct, frozen=True):
    """`code`: its exit code; negative: the signal; None where it still runs, or was not asked. `stderr`: the end of what it
    wrote there. `tail`: bytes after its last whole line."""

    code: int | None = None
    stderr: str = ""
    tail: bytes = b""

    @property
    def words(self) -> str:
        """For messages: "exit code 1", "signal 9"."""
        if self.code is None:
            return "it still runs"
        return f"exit code {self.code}" if self.code >= 0 else f"signal {-self.code}"
