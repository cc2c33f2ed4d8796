"""One session with an MCP server, in one task: it connects, and it disconnects.

The mcp package wants to be left by the task that entered it, and cancels that task when a connection breaks. So nobody's own
task does: callers ask through tasks of their own, and see the session end.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import copy
import logging
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, TypeVar

import anyio
import mcp
from mcp import types
from mcp.client.sse import sse_client
from mcp.client.stdio import get_default_environment
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.types.version import MODERN_PROTOCOL_VERSIONS

from .._version import __version__
from ..events import ConnectionFailedError, ConnectTimeout, LLMError, ProtocolError
from ..events._errors import unwrap
from ._mcp_callbacks import Elicit, Sample, elicitation, sampling
from ._mcp_content import content_of
from ._mcp_errors import Lost, spawn_error, start_error
from ._mcp_http import BODY_LIMIT, EXCHANGE, Exchange, SessionClient
from ._mcp_link import Link, Pipes
from ._mcp_stdio import LAST_WORDS, LEAVE, ServerProcess
from ._mcp_target import Target
from ._tool import Content, Report, ToolError

logger = logging.getLogger("asyncllm.mcp")

T = TypeVar("T")

TOOLS = 10_000
"""The most tools that a server may list."""

PAGES = 1_000
"""The most pages it may list them in."""

FAREWELL = 1.0
"""Seconds for calls that were cancelled to tell the server so."""

_OTHER_PROTOCOL = (types.UNSUPPORTED_PROTOCOL_VERSION, types.METHOD_NOT_FOUND)
"""What a server that knows nothing of the handshake says of it."""

CLOSING = 2 * LEAVE + 1.0
"""Seconds for a session to end by itself. Then its task is cancelled."""


class Session:
    """Begins to connect when it is made, and has to be closed in any case."""

    def __init__(self, target: Target, *, start_timeout: float, elicit: Elicit | None, sample: Sample | None) -> None:
        loop = asyncio.get_running_loop()
        self._target = target
        self._start_timeout = start_timeout
        self._elicit = elicit
        self._sample = sample
        self._http: SessionClient | None = None
        self._process: ServerProcess | None = None
        self._client: mcp.Client | None = None
        self._tools: list[types.Tool] = []
        self._stale = False
        self._expired = False
        self._error: LLMError | None = None
        self._ready: asyncio.Future[None] = loop.create_future()
        self._ended: asyncio.Future[None] = loop.create_future()
        self._stop = asyncio.Event()
        self._patient = self._hurried = False
        self._asking: set[asyncio.Task[Any]] = set()
        self._closing: asyncio.Task[None] | None = None
        self._owner = loop.create_task(self._own(), name=f"mcp {target.name}")
        self._owner.add_done_callback(self._finished)

    # ---- the owner's task

    async def _own(self) -> None:
        limit = asyncio.timeout(self._start_timeout)
        try:
            async with limit, contextlib.AsyncExitStack() as stack:
                client = await self._connect(stack)
                self._tools = await _list(client)
                limit.reschedule(None)
                self._client = client
                self._ready.set_result(None)
                await self._stop.wait()
                self._patient = True
        except Exception as error:  # noqa: BLE001 - typed where it is raised, to whoever asks
            if not self._ready.done():
                late = self._start_timeout if limit.expired() else None
                self._error = start_error(error, self._target, http=self._http, process=self._process, late=late)
                self._error.__cause__ = error
            else:
                logger.info("the session with the MCP server %s broke: %s", self._target.name, type(error).__name__)

    def _finished(self, owner: asyncio.Task[None]) -> None:
        """Also of an owner that was cancelled before it could begin."""
        self._lost()
        if not self._ready.done():
            if self._error is None:
                self._error = ConnectionFailedError(f"the MCP server {self._target.name} was closed while it connected")
            self._ready.set_result(None)

    async def _connect(self, stack: contextlib.AsyncExitStack) -> mcp.Client:
        """What a server asks back has no way in the protocol of 2026 unless the server was written for it, and a way for every
        server in the handshake before it. So who may be asked begins with that one."""
        target = self._target
        logger.debug("connecting to the MCP server %s (%s)", target.name, target)
        link = await self._linked(stack)
        asked = self._elicit is not None or self._sample is not None
        for mode in ("legacy", "auto") if asked else ("auto",):
            client = mcp.Client(
                link(),
                mode=mode,
                sampling_callback=None if self._sample is None else sampling(self._sample),
                elicitation_callback=None if self._elicit is None else elicitation(self._elicit),
                message_handler=self._heard,
                client_info=types.Implementation(name="asyncllm", version=__version__),
            )
            try:
                return await stack.enter_async_context(client)
            except Exception as error:
                leaf = unwrap(error)
                if mode == "auto" or not isinstance(leaf, MCPError) or leaf.code not in _OTHER_PROTOCOL:
                    raise
        raise AssertionError("unreachable")

    async def _linked(self, stack: contextlib.AsyncExitStack) -> Callable[[], Any]:
        """Opens what the streams of a session run over. The result makes them: what the mcp package calls a server."""
        target = self._target
        match target.transport:
            case "memory":
                return lambda: target.server
            case "stdio":
                process = self._process = await self._spawn()
                stack.push_async_callback(self._stop_process, process)
                return lambda: Link(Pipes(process), self._lost)
            case "http":
                http = self._http = SessionClient(target.headers)
                await stack.enter_async_context(http)
                return lambda: Link(
                    streamable_http_client(target.url, http_client=http, max_sse_event_size=BODY_LIMIT), self._lost
                )
            case "sse":

                def client(*_: object, **__: object) -> SessionClient:
                    self._http = SessionClient(target.headers, broken=self._lost)
                    return self._http

                return lambda: Link(sse_client(target.url, httpx_client_factory=client), self._lost)

    async def _spawn(self) -> ServerProcess:
        target = self._target
        try:
            env = {**get_default_environment(), **target.env}
            return await ServerProcess.start(target.command, env, target.cwd)
        except OSError as error:
            raise spawn_error(error, target) from error

    async def _stop_process(self, process: ServerProcess) -> None:
        try:
            if not self._ready.done():
                await process.exited(LAST_WORDS)  # where it ended: to tell why, its exit code is needed
        finally:  # also where it was cancelled just now
            # whoever waits for it to start has waited long enough
            await process.stop(LEAVE if self._patient and not self._hurried else 0)

    async def _heard(self, message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            self._stale = True

    def _lost(self) -> None:
        """There is no connection, any more or at all."""
        self._stop.set()
        if not self._ended.done():
            self._ended.set_result(None)

    # ---- what others ask of it

    @property
    def over(self) -> bool:
        """Whether it was lost, failed, or is being closed: another one is needed."""
        return self._expired or self._stop.is_set()

    @property
    def gone(self) -> bool:
        """Whether nothing of it is left."""
        return self._owner.done() and not self._asking

    async def ready(self) -> None:
        """Connected and listed. Raises the typed error of a start that failed, to everybody who waits for it."""
        await asyncio.wait([self._ready])
        if self._error is not None:
            raise copy.copy(self._error) from self._error.__cause__

    async def tools(self) -> Sequence[types.Tool]:
        """What the server lists; asked again where that may have changed. Raises typed errors, and :class:`Lost`."""
        assert self._client is not None
        if self._stale:
            self._stale = False
            limit = asyncio.timeout(self._start_timeout)
            try:
                async with limit:
                    self._tools = await self._ask(_list(self._client))
            except Lost:
                raise
            except Exception as error:
                self._stale = True
                if limit.expired():
                    who = f"the MCP server {self._target.name} ({self._target})"
                    raise ConnectTimeout(f"{who} did not list its tools within {self._start_timeout:g} s") from None
                raise start_error(error, self._target, http=self._http) from error
        # since 2026-07-28, servers tell of changes only those that keep a stream open for it; a question is simpler
        if self._client.protocol_version in MODERN_PROTOCOL_VERSIONS:
            self._stale = True
        return self._tools

    async def call(self, name: str, arguments: dict[str, object], report: Report) -> Content:
        """Raises :class:`ToolError` for what the server calls an error, and :class:`Lost`."""
        assert self._client is not None
        listening = True

        async def told(progress: float, total: float | None, message: str | None) -> None:
            if listening:
                report(progress, total, message or "")

        try:
            result = await self._ask(self._client.call_tool(name, arguments, progress_callback=told))
        except Lost:
            raise
        except MCPError as error:
            raise ToolError(self._target.hide(error.message) or "The server refused the call.") from None
        except Exception as error:
            # an answer that is not what was promised: by the protocol, or by the tool's own schema
            raise ToolError(self._target.hide(f"{type(error).__name__}: {error}"[:2000])) from error
        finally:
            listening = False
        content = content_of(result)
        if result.is_error:
            raise ToolError(content)
        return content

    async def _ask(self, question: Coroutine[Any, Any, T]) -> T:
        """In a task of its own, beside which the end of the session is seen, whatever the mcp package does about it."""
        exchange = Exchange()
        context = contextvars.copy_context()
        context.run(EXCHANGE.set, exchange)
        task = asyncio.get_running_loop().create_task(question, context=context)
        self._asking.add(task)
        task.add_done_callback(self._answered)
        try:
            both: list[asyncio.Future[Any]] = [task, self._ended]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                await asyncio.wait([task], timeout=LAST_WORDS)  # an answer that came before the end still counts
        finally:
            answered = task.done()
            task.cancel()
        if not answered or task.cancelled():
            raise Lost("the session ended")
        try:
            return task.result()
        except MCPError as error:
            closed = error.code == types.CONNECTION_CLOSED and (self._http is not None or self._ended.done())
            if not (closed or exchange.failed or exchange.not_done):
                raise
            why = self._target.hide(error.message)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            why = "the connection was closed"
        if exchange.not_done:
            self._expired = True
            self._leave_if_idle()
        raise Lost(why, not_done=exchange.not_done)

    def _answered(self, task: asyncio.Task[Any]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # seen: nobody may be left to be told
        self._leave_if_idle()

    def _leave_if_idle(self) -> None:
        """A session that the server has forgotten goes when nobody waits for an answer in it."""
        if self._expired and not self._asking:
            self._lost()

    def close(self) -> asyncio.Task[None]:
        """Begins to close. The task is done when nothing of the session is left; nobody may cancel it."""
        if self._closing is None:
            self._closing = asyncio.create_task(self._close())
        return self._closing

    def hurry(self) -> None:
        """Do not ask the server to go, but leave it, or kill it."""
        self._hurried = True
        self._owner.cancel()

    async def _close(self) -> None:
        if self._asking:
            await asyncio.wait(set(self._asking), timeout=FAREWELL)
        if not self._ready.done():
            self._owner.cancel()
        self._lost()
        await asyncio.wait([self._owner], timeout=CLOSING)
        for _ in range(10):
            if left := [task for task in (self._owner, *self._asking) if not task.done()]:
                for task in left:
                    task.cancel()
                await asyncio.wait(left, timeout=FAREWELL)
        if not self.gone:
            logger.warning("the session with the MCP server %s does not end", self._target.name)


async def _list(client: mcp.Client) -> list[types.Tool]:
    """All pages. A name that comes twice is the first of them."""
    tools: dict[str, types.Tool] = {}
    cursor: str | None = None
    for _ in range(PAGES):
        try:
            page = await client.list_tools(cursor=cursor)
        except MCPError as error:
            if error.code == types.METHOD_NOT_FOUND and client.server_capabilities.tools is None:
                return []
            raise
        for tool in page.tools:
            tools.setdefault(tool.name, tool)
        if len(tools) > TOOLS:
            raise ProtocolError(f"the server lists more than {TOOLS} tools")
        if not page.next_cursor:
            return list(tools.values())
        cursor = page.next_cursor
    raise ProtocolError(f"the server lists its tools in more than {PAGES} pages")
