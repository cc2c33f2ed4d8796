"""What a process is made of, on every system: the child itself with its pipes, and the owner who is told what it does."""

from __future__ import annotations

import asyncio
from typing import Protocol


class Owner(Protocol):
    """Is told in its loop."""

    def started(self, child: Child) -> None:
        """First of all."""

    def output(self, data: bytes) -> None: ...

    def output_ended(self) -> None:
        """Once."""

    def errors(self, data: bytes) -> None: ...

    def exited(self) -> None:
        """What it had written to standard error before is here, and to standard output unless that is not being read."""


class Child(Protocol):
    """Runs from the moment that it is made."""

    pid: int
    room: asyncio.Event
    """Set while writers need not wait."""

    @property
    def returncode(self) -> int | None: ...

    @property
    def deaf(self) -> bool:
        """Whether it will not read what it was sent."""
        ...

    def write(self, data: bytes) -> None:
        """Now, or when it is read. Raises BrokenPipeError when it never will be."""

    def close_in(self) -> None:
        """When all is written."""

    def reading(self, on: bool) -> None:
        """Whether its output is read. While it is not, a full pipe makes the child wait."""

    def end_output(self) -> None:
        """What is in the pipe is read, and then no more."""

    def look(self) -> None:
        """Remember what it has started: at the latest before it is told to end."""

    def left(self) -> bool:
        """Whether something of what was killed still lives."""
        ...

    def signal(self, number: int) -> None:
        """To the child alone."""

    def signal_group(self, number: int) -> bool:
        """To the child and those that have stayed with it. False when nobody is left."""
        ...

    def kill(self) -> None:
        """With all that it has started, at once. From any thread."""

    def close(self) -> None:
        """All pipes, whatever is in them. From any thread."""
