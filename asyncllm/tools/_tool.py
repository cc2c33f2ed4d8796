"""What the tool loop asks of a tool, whatever is behind it: a Python function, an MCP server, something of the user's own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

from ..events import Image, Text
from ..protocols import Tool

Content = str | list[Text | Image]
"""What a model is told about a call: text, or a list of texts and images."""

Report = Callable[[float, float | None, str], None]
"""How a running tool tells of its progress: how far, of how much (None: unknown), and a message ("" for none)."""


class ToolError(Exception):
    """Raised by a tool to tell the model, in these words, what went wrong. The loop goes on."""

    def __init__(self, content: Content) -> None:
        self.content = content
        super().__init__(
            content if isinstance(content, str) else "".join(p.text for p in content if isinstance(p, Text))
        )


@runtime_checkable
class RunnableTool(Protocol):
    """A tool that the loop can run."""

    @property
    def spec(self) -> Tool:
        """What the model is told of it."""
        ...

    @property
    def timeout(self) -> float | None:
        """Seconds for one call; None takes the limit of the run."""
        ...

    async def run(self, arguments: dict[str, object], report: Report) -> Content:
        """Do it. Raise :class:`ToolError` for a failure in words of your own; any other exception is told to the model, too.

        May be cancelled, and may be called again before it has returned.
        """
        ...


@runtime_checkable
class Toolset(Protocol):
    """Tools that must be reached before they can be listed: an MCP server."""

    async def acquire(self) -> Sequence[RunnableTool]:
        """Be connected, until as many calls of :meth:`release`, and say what there is. Raises a typed error if that fails."""
        ...

    async def release(self) -> None: ...
