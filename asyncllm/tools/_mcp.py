"""MCP servers as tools: :class:`MCP`. The mcp package, which costs half a second, is imported when one is first connected."""

from __future__ import annotations

import asyncio
import fnmatch
import os
import threading
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..events import ConnectionFailedError, InvalidRequestError, LLMError
from ..protocols import Tool
from ._mcp_target import TransportName, target_of
from ._names import wire_names
from ._tasks import outlast
from ._tool import Content, Report, RunnableTool, ToolError

if TYPE_CHECKING:
    from mcp import types

    from ._mcp_callbacks import Elicit, Sample
    from ._mcp_session import Session


class MCP:
    """The tools of an MCP server, for `client.run(..., tools=[MCP("http://localhost:8000/weather/mcp")])`.

    It is connected when a run begins and left when the last run that uses it ends; a block keeps it open for longer:

        async with MCP("uvx mcp-server-time") as server:
            ...

    Any number of runs at once share one session; one event loop after another may use it, but not two at once. A session that
    broke is made anew for the next call. The call that it broke under is not repeated: the model is told that it may or may
    not have been carried out.

    Args:
        target: a URL (streamable HTTP, or SSE where the path ends in `/sse`); a command, as a text that is split as a shell
            would, or as a list of arguments, and that is run without a shell; or a server object of the mcp package.
        name: what the names of its tools begin with (`name__tool`); by default taken from the target.
        headers: sent with every request to a URL.
        include, exclude: names of tools, or patterns (`get_*`), as the server calls them.
        transport: "http", "sse" or "stdio", where it cannot be seen from the target.
        env: variables for a command, beside the few that are safe to inherit (PATH, HOME and the like).
        cwd: where a command is run.
        start_timeout: seconds to start, connect and list the tools.
        timeout: seconds for one call; None takes the run's limit.
        elicit: answers a server's questions to the user: an async function of the question and the JSON Schema of the answer,
            which returns the answer, or None to decline.
        sample: answers a server that asks for a model: an async function of messages and options that returns a text or a
            Reply, or a :class:`asyncllm.Client`. What a server may do with your model, it may do as often as it likes.

    Raises :class:`InvalidRequestError` for arguments that make no sense, and, when it is connected, typed errors: for example
    :class:`ConnectionFailedError`, :class:`ConnectTimeout`, :class:`AuthenticationError`, :class:`ProtocolError`.
    """

    def __init__(
        self,
        target: str | Sequence[str] | object,
        *,
        name: str | None = None,
        headers: Mapping[str, str] | None = None,
        include: str | Sequence[str] | None = None,
        exclude: str | Sequence[str] | None = None,
        transport: TransportName | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        start_timeout: float = 30.0,
        timeout: float | None = None,
        elicit: Elicit | None = None,
        sample: Sample | None = None,
    ) -> None:
        self._target = target_of(target, name=name, headers=headers, transport=transport, env=env, cwd=cwd)
        self._include = _patterns("include", include)
        self._exclude = _patterns("exclude", exclude)
        self._start_timeout = _seconds("start_timeout", start_timeout)
        self._timeout = None if timeout is None else _seconds("timeout", timeout)
        if elicit is not None and not callable(elicit):
            raise InvalidRequestError(f"elicit must be an async function, not {type(elicit).__name__}")
        if sample is not None and not callable(sample) and not hasattr(sample, "complete"):
            raise InvalidRequestError(f"sample must be an async function or a Client, not {type(sample).__name__}")
        self._elicit = elicit
        self._sample = sample
        self._users = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entering = threading.Lock()
        self._sessions: list[Session] = []
        """The last one is in use; those before it were lost, and end."""

    def __repr__(self) -> str:
        return f"MCP({self.name!r}, {str(self._target)!r})"

    @property
    def name(self) -> str:
        """What the names of its tools begin with."""
        return self._target.name

    @property
    def timeout(self) -> float | None:
        """Seconds for one call."""
        return self._timeout

    # ---- open and closed

    async def acquire(self) -> Sequence[RunnableTool]:
        """Connected until as many calls of :meth:`release`: its tools. Raises typed errors, and then nothing stays open."""
        self._enter()
        try:
            return self._runnable(await self._listed())
        except BaseException:
            await self.release()
            raise

    async def release(self) -> None:
        """The last one closes the session, and returns when nothing of it is left; at once where it is cancelled."""
        with self._entering:
            if self._users == 0:
                return
            if self._loop is not asyncio.get_running_loop():
                raise InvalidRequestError(f"{self!r} was opened in another event loop, and must be released there")
            self._users -= 1
            if self._users:
                return
            sessions, self._sessions = self._sessions, []
            self._loop = None
        closing = [session.close() for session in sessions]
        try:
            for task in closing:
                await asyncio.wait([task])
        except asyncio.CancelledError:
            for session in sessions:
                session.hurry()
            for task in closing:
                await outlast(task)
            raise

    async def __aenter__(self) -> Self:
        await self.acquire()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.release()

    def _enter(self) -> None:
        try:
            import mcp  # noqa: F401
        except ImportError as error:
            raise InvalidRequestError("MCP servers need the mcp package: pip install 'asyncllm[mcp]'") from error
        loop = asyncio.get_running_loop()
        with self._entering:
            if self._loop is not None and self._loop is not loop:
                if not self._loop.is_closed():
                    raise InvalidRequestError(f"{self!r} is in use in another event loop: make one for each loop")
                self._users = 0  # its tasks ended with their loop
                self._sessions = []
            self._loop = loop
            self._users += 1

    async def _session(self) -> Session:
        """The session, or a new one where it is lost. Raises the typed error of a server that cannot be reached."""
        from ._mcp_session import Session

        if not self._sessions or self._sessions[-1].over:
            self._sessions = [session for session in self._sessions if not session.gone]
            self._sessions.append(
                Session(self._target, start_timeout=self._start_timeout, elicit=self._elicit, sample=self._sample)
            )
        session = self._sessions[-1]
        await session.ready()
        return session

    # ---- its tools

    async def _listed(self) -> Sequence[types.Tool]:
        from ._mcp_errors import Lost

        try:
            return await (await self._session()).tools()
        except Lost:
            pass  # while it was asked again: so it is connected again
        try:
            return await (await self._session()).tools()
        except Lost as lost:
            raise ConnectionFailedError(f"the MCP server {self.name} ({self._target}) was lost: {lost}") from None

    def _runnable(self, listed: Sequence[types.Tool]) -> list[RunnableTool]:
        from ._mcp_content import spec_of

        names = [tool.name for tool in listed]
        wanted = set(names) if self._include is None else _chosen("include", self._include, names)
        wanted -= _chosen("exclude", self._exclude or (), names)
        wire = wire_names((self.name, name) for name in wanted)
        return [
            _MCPTool(self, tool.name, spec_of(tool, wire[self.name, tool.name]))
            for tool in listed
            if tool.name in wanted
        ]

    async def _call(self, name: str, arguments: dict[str, object], report: Report) -> Content:
        if self._loop is not asyncio.get_running_loop():
            raise InvalidRequestError(f"{self!r} is not open here: acquire() it first")
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                return await self._call_once(name, arguments, report)
        except TimeoutError:
            if not limit.expired():
                raise
            raise ToolError(f"The tool did not answer within {self._timeout:g} s, and was cancelled.") from None

    async def _call_once(self, name: str, arguments: dict[str, object], report: Report) -> Content:
        """Sent once; and once more where the server told that it has not taken it, as after its restart."""
        from ._mcp_errors import Lost

        why = ""
        for _ in range(2):
            try:
                session = await self._session()
            except LLMError as error:
                raise ToolError(f"The call was not made: {error.message}") from error
            try:
                return await session.call(name, arguments, report)
            except Lost as lost:
                why = str(lost)
                if not lost.not_done:
                    what = f"The MCP server {self.name} was lost during the call ({why})"
                    raise ToolError(f"{what}: it may or may not have been carried out.") from lost
        raise ToolError(f"The call was not made: the MCP server {self.name} cannot be reached ({why}).")


class _MCPTool:
    """One tool of a server. It outlives sessions: a call finds the one that is in use."""

    def __init__(self, server: MCP, name: str, spec: Tool) -> None:
        self._server = server
        self._name = name
        self._spec = spec

    def __repr__(self) -> str:
        return f"<tool {self._name!r} of {self._server!r}>"

    @property
    def spec(self) -> Tool:
        return self._spec

    @property
    def timeout(self) -> float | None:
        return self._server.timeout

    async def run(self, arguments: dict[str, object], report: Report) -> Content:
        return await self._server._call(self._name, arguments, report)


def _patterns(what: str, given: str | Sequence[str] | None) -> tuple[str, ...] | None:
    if given is None:
        return None
    patterns = (given,) if isinstance(given, str) else tuple(given)
    if not all(isinstance(pattern, str) for pattern in patterns):
        raise InvalidRequestError(f"{what} must be names or patterns of tools")
    return patterns


def _chosen(what: str, patterns: Sequence[str], names: Sequence[str]) -> set[str]:
    chosen: set[str] = set()
    for pattern in patterns:
        found = {name for name in names if name == pattern or fnmatch.fnmatchcase(name, pattern)}
        if not found:
            there = ", ".join(names[:50]) + (", ..." if len(names) > 50 else "")
            raise InvalidRequestError(f"{what}: no tool is called {pattern!r}; there are: {there or 'none at all'}")
        chosen |= found
    return chosen


def _seconds(what: str, given: object) -> float:
    if isinstance(given, bool) or not isinstance(given, int | float) or not given > 0:
        raise InvalidRequestError(f"{what} must be a positive number of seconds, not {given!r}")
    return float(given)
