"""The tools of one run: what the model is told of them, and what runs when it calls one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType

import msgspec

from ..events import InvalidRequestError
from ..events._errors import unwrap
from ..protocols import Tool
from ..protocols.openai_chat import tool_from_dict
from ._names import unique_name
from ._tasks import outlast
from ._tool import Content, Report, RunnableTool, Toolset

ToolLike = Callable[..., object] | RunnableTool | Toolset | Tool | Mapping[str, object]
"""What `tools=` may hold: a Python function, an :class:`asyncllm.MCP` server, or anything that satisfies their protocols; and
schemas (:class:`asyncllm.Tool`, OpenAI-style dicts) of tools that only the caller can execute."""


_closing: set[asyncio.Task[None]] = set()
"""Tasks that close what was dropped: the loop alone would not keep them."""


def tool_from(given: object, where: str) -> RunnableTool | Toolset | Tool:
    """One of `tools`, whatever form it was given in. Raises :class:`InvalidRequestError` for what is no tool."""
    if isinstance(given, Tool):
        return given
    if isinstance(given, Mapping):
        return tool_from_dict(given, where)
    if not isinstance(given, type | FunctionType) and isinstance(given, Toolset | RunnableTool):
        return given  # protocols are dear to ask for, and nearly all tools are functions
    if callable(given) and not isinstance(given, type):
        from ._function import FunctionTool

        return FunctionTool(given)
    name = given.__name__ if isinstance(given, type) else type(given).__name__
    raise InvalidRequestError(f"{where} must be a function, an MCP server, a Tool or an OpenAI-style dict, not {name}")


def specs_of(tools: Sequence[object] | None) -> tuple[Tool, ...]:
    """What the model is told of tools that nobody runs for it: those of a single call. Servers cannot be listed there."""
    specs: list[Tool] = []
    for at, given in enumerate(_sequence(tools)):
        tool = tool_from(given, f"tools[{at}]")
        if isinstance(tool, Toolset):
            raise InvalidRequestError(
                f"tools[{at}]: {tool!r} has to be connected and asked for its tools: use client.run() or client.prompt()"
            )
        specs.append(tool if isinstance(tool, Tool) else tool.spec)
    return tuple(specs)


def _sequence(tools: object) -> Sequence[object]:
    if tools is None:
        return ()
    if not isinstance(tools, Sequence) or isinstance(tools, str | bytes):
        raise InvalidRequestError(f"tools must be a list of tools, not {type(tools).__name__}")
    return tools


class Kept:
    """Servers that stay connected from one run to the next, until :meth:`close`; those of one event loop."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sets: list[Toolset] = []

    async def keep(self, tools: Toolset) -> None:
        """For one that is connected already."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._sets = loop, []  # those of a loop that is gone went with it
        if tools not in self._sets:
            self._sets.append(tools)  # before it waits: another run may be about to keep it, too
            try:
                await tools.acquire()
            except BaseException:
                self._sets = [one for one in self._sets if one is not tools]
                raise

    async def close(self) -> None:
        """Idempotent."""
        if self._loop is asyncio.get_running_loop():
            kept, self._sets = self._sets, []
            await _release(kept)


class Toolbox:
    """Made for one run: :meth:`open` connects to the servers among the tools, :meth:`close` lets go of them."""

    def __init__(self, tools: Sequence[object] | None, kept: Kept | None = None) -> None:
        self._kept = kept
        self._own: dict[int, RunnableTool | Tool] = {}  # by their places in the list, so are the sets
        self._sets: dict[int, Toolset] = {}
        for at, given in enumerate(_sequence(tools)):
            tool = tool_from(given, f"tools[{at}]")
            if not isinstance(tool, Tool) and isinstance(tool, Toolset):  # dear to ask: once
                self._sets[at] = tool
            else:
                self._own[at] = tool
        self._acquired: list[Toolset] = []
        self._runnable: dict[str, RunnableTool] = {}
        self.specs: tuple[Tool, ...] = ()
        names = self._own_names()
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise InvalidRequestError(f"two tools have the name {twice[0]!r}")

    async def open(self) -> None:
        """Raises the typed error of the server that cannot be reached; nothing stays open then."""
        found: dict[int, Sequence[RunnableTool]] = {}

        async def acquire(at: int, tools: Toolset) -> None:
            found[at] = await tools.acquire()
            self._acquired.append(tools)
            if self._kept is not None:
                await self._kept.keep(tools)

        try:
            async with asyncio.TaskGroup() as group:
                for at, tools in self._sets.items():
                    group.create_task(acquire(at, tools))
        except BaseExceptionGroup as errors:
            await self.close()
            raise unwrap(errors) from None
        except BaseException:
            await self.close()
            raise
        self._list(found)

    def _list(self, found: Mapping[int, Sequence[RunnableTool]]) -> None:
        taken = set(self._own_names())
        specs: list[Tool] = []
        for at in range(len(self._own) + len(self._sets)):
            given = self._own.get(at)
            if isinstance(given, Tool):
                specs.append(given)
                continue
            tools = [given] if given is not None else [_distinct(tool, taken, at) for tool in found[at]]
            self._runnable |= {tool.spec.name: tool for tool in tools}
            specs += [tool.spec for tool in tools]
        self.specs = tuple(specs)

    def _own_names(self) -> list[str]:
        """Those of functions and schemas: they are the user's, and a server's make room."""
        return [tool.name if isinstance(tool, Tool) else tool.spec.name for tool in self._own.values()]

    def get(self, name: str) -> RunnableTool | None:
        """What runs when the model calls `name`; None where nothing here does."""
        return self._runnable.get(name)

    def knows(self, name: str) -> bool:
        """Whether the model was told of `name`; what it knows and cannot run is the caller's to execute."""
        return any(spec.name == name for spec in self.specs)

    def close_soon(self) -> None:
        """:meth:`close` for where nobody can await it."""
        if self._acquired:
            with contextlib.suppress(RuntimeError):  # the loop is gone, and what ran in it
                task = asyncio.get_running_loop().create_task(self.close())
                _closing.add(task)
                task.add_done_callback(_closing.discard)

    async def close(self) -> None:
        """Idempotent. Every server is let go of, also when one of them makes trouble."""
        acquired, self._acquired = self._acquired, []
        await _release(acquired)


async def _release(tools: Sequence[Toolset]) -> None:
    """All at once. Cancelled, they are cancelled too, which makes them hurry; but each has begun by then (`gather` would
    cancel some before they did anything), and is over when this returns."""
    releasing = [asyncio.create_task(_let_go(one)) for one in tools]
    if not releasing:
        return
    try:
        await asyncio.wait(releasing)
    except asyncio.CancelledError:
        for task in releasing:
            task.cancel()
        for task in releasing:
            await outlast(task)
        raise


async def _let_go(tools: Toolset) -> None:
    with contextlib.suppress(Exception):  # it makes trouble: the others are let go of all the same
        await tools.release()


def _distinct(tool: RunnableTool, taken: set[str], at: int) -> RunnableTool:
    """A server's tool under a name that is not taken, which is taken then."""
    name = unique_name(tool.spec.name, taken, f"{at}/{tool.spec.name}")
    taken.add(name)
    return tool if name == tool.spec.name else _Renamed(tool, name)


class _Renamed:
    """A server's tool under another name: its own was taken."""

    def __init__(self, tool: RunnableTool, name: str) -> None:
        self._tool = tool
        self.spec = msgspec.structs.replace(tool.spec, name=name)
        self.timeout = tool.timeout

    async def run(self, arguments: dict[str, object], report: Report) -> Content:
        return await self._tool.run(arguments, report)
