"""Our tools as an MCP server (streamable HTTP) on loopback, for agents that call tools in no other way.

It is for programs that this process has started. Each session has a path, and a secret of its own that calls must carry.
"""

from __future__ import annotations

import asyncio
import gc
import hmac
import secrets
import socket
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Self

import msgspec
from msgspec import Struct

from ..._version import __version__
from ...events import ToolResult
from ...protocols import Tool
from ...protocols.agents._mcp import Asked, answered, respond
from ...protocols.agents._turn import UNANSWERED, results_for
from ._tool_server_http import Asking, HTTPConnection, LateReply, Reply

HOST = "127.0.0.1"
CONNECTION_LIMIT = 256
CALL_LIMIT = 1024
"""Calls of one session that wait at once."""


class Call(Struct, frozen=True):
    """A call that waits for its result. `id` is ours: MCP has none that the model knows."""

    id: str
    name: str
    arguments: dict[str, object]


class ToolServer:
    """Listens while it is entered, or from `start()` to `aclose()`. Not to be shared by event loops."""

    def __init__(self) -> None:
        self._sessions: dict[str, ToolSession] = {}
        self._live: set[HTTPConnection] = set()
        self._listener: asyncio.Server | None = None
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting = asyncio.Lock()
        self._names = 0
        self.port = 0

    async def start(self) -> Self:
        """Idempotent: sessions that begin at once may all ask for it."""
        loop = asyncio.get_running_loop()
        async with self._starting:
            if self._listener is None:
                self._loop, self._socket = loop, socket.create_server((HOST, 0))
                self.port = self._socket.getsockname()[1]
                make = lambda: HTTPConnection(self._handle, self._live)  # noqa: E731
                self._listener = await loop.create_server(make, sock=self._socket)
        return self

    async def aclose(self) -> None:
        """Calls that wait are not answered any more. Idempotent."""
        self.abort()
        await asyncio.gather(*(connection.gone for connection in self._live))

    def abort(self) -> None:
        """The same without awaiting."""
        listener, self._listener = self._listener, None
        if self._loop is not None and self._loop.is_closed():
            self._dispose()
        elif listener is not None:
            listener.close()
        for session in list(self._sessions.values()):
            session.remove()
        for connection in list(self._live):
            connection.abort()

    def _dispose(self) -> None:
        """`abort` when the loop is closed: transports cannot close any more, only be collected. They complain of that
        ("unclosed transport") whenever their cycles are found: so they are collected here."""
        if self._socket is not None:
            self._socket.close()
        for connection in self._live:
            connection.forget_transport()
        if self._live:
            self._live.clear()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ResourceWarning)
                gc.collect()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    def add(self, tools: Sequence[Tool]) -> ToolSession:
        """A server of these tools at an address of its own."""
        self._names += 1
        session = ToolSession(self, self._names, tuple(tools))
        self._sessions[session.path] = session
        return session

    def forget(self, session: ToolSession) -> None:
        self._sessions.pop(session.path, None)

    # ---- requests

    def _handle(self, asking: Asking) -> Reply | LateReply:
        here = {f"{name}:{self.port}" for name in (HOST, "localhost")}
        origin = asking.headers.get("origin")
        if asking.headers.get("host") not in here or (
            origin is not None and origin not in {f"http://{h}" for h in here}
        ):
            return Reply(403)  # a page of a browser that was led here
        session = self._sessions.get(asking.path)
        given = asking.headers.get("authorization", "").encode("latin-1", "replace")
        if not hmac.compare_digest(given, b"" if session is None else session.secret) or session is None:
            return Reply(401)
        if len(self._live) > CONNECTION_LIMIT:
            return Reply(503)
        if asking.method != "POST":
            return Reply(405, headers={"allow": "POST"})
        try:
            message = msgspec.json.decode(asking.body)
        except (msgspec.DecodeError, UnicodeError, RecursionError):
            message = None
        if not isinstance(message, dict):
            return Reply(400)
        return session.handle(message)


class ToolSession:
    """The tools of one session of an agent, and its calls of them.

    Attributes:
        url, headers: for the agent's configuration. The headers are secret.
        number: counts the sessions of the server, from 1.
        calls: those that wait, in the order in which they came.
    """

    def __init__(self, server: ToolServer, number: int, tools: tuple[Tool, ...]) -> None:
        self._server = server
        self.number = number
        self.tools = tools
        self.path = f"/mcp/{number}"
        self.url = f"http://{HOST}:{server.port}{self.path}"
        self._token = secrets.token_urlsafe(32)
        self.secret = f"Bearer {self._token}".encode()
        self.calls: dict[str, Call] = {}
        self._replies: dict[str, tuple[object, LateReply]] = {}  # by call: the request's id, and how it is answered
        self._known: list[tuple[str, bytes, ToolResult]] = []  # results whose calls have not come yet
        self._new: list[Call] = []
        self._news = asyncio.Event()

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token}"}

    def __repr__(self) -> str:
        """Without its secret."""
        return f"ToolSession({self.url}, {len(self.tools)} tools, {len(self.calls)} calls wait)"

    def handle(self, message: dict[str, object]) -> Reply | LateReply:
        if message.get("method") == "notifications/cancelled":
            self._cancelled(message.get("params"))
        answer = respond(message, self.tools, name="asyncllm", version=__version__)
        if answer is None:
            return Reply(202)
        if not isinstance(answer, Asked):
            return _json(answer)
        if (known := self._result_for(answer.name, answer.arguments)) is not None:
            return _json(answered(answer.id, known))
        if len(self.calls) >= CALL_LIMIT:
            return _json(answered(answer.id, ToolResult("", answer.name, "too many calls wait", is_error=True)))
        call = Call(f"call_{secrets.token_hex(8)}", answer.name, answer.arguments)
        late = LateReply(lambda: self._gone(call.id))
        self.calls[call.id] = call
        self._replies[call.id] = (answer.id, late)
        self._new.append(call)
        self._news.set()
        return late

    async def came(self) -> list[Call]:
        """The calls that have come since this was asked before, at least one."""
        while not self._new:
            self._news.clear()
            await self._news.wait()
        new, self._new = self._new, []
        return new

    def answer(self, id: str, result: ToolResult) -> None:
        """The result of the call `id` of this server; nothing happens if nobody waits for it any more."""
        call, waiting = self.calls.pop(id, None), self._replies.pop(id, None)
        if call is not None and waiting is not None:
            request, late = waiting
            late.send(msgspec.json.encode(answered(request, result)))

    def answer_all(self, waiting: Iterable[str], results: Iterable[ToolResult]) -> None:
        """The results that a turn has stood still for; a call that has none has failed."""
        for result in results_for(dict.fromkeys(waiting, ""), results):
            self.answer(result.id, result)

    def resolve(self, name: str, arguments: Mapping[str, object], result: ToolResult) -> None:
        """The result of a call that is known by what it asks for, whether it has come or will come."""
        wanted = _canonical(arguments)
        for call in self.calls.values():
            if call.name == name and _canonical(call.arguments) == wanted:
                self.answer(call.id, result)
                return
        self._known.append((name, wanted, result))

    def refuse(self, why: str = UNANSWERED) -> None:
        """Every call that waits has failed, and no result is known any more."""
        self._known.clear()
        for call in list(self.calls.values()):
            self.answer(call.id, ToolResult(call.id, call.name, why, is_error=True))

    def remove(self) -> None:
        """The agent may call no more."""
        self._server.forget(self)
        self.refuse()

    def _result_for(self, name: str, arguments: Mapping[str, object]) -> ToolResult | None:
        wanted = _canonical(arguments)
        for at, (known, given, result) in enumerate(self._known):
            if known == name and given == wanted:
                del self._known[at]
                return result
        return None

    def _gone(self, id: str) -> None:
        call = self.calls.pop(id, None)
        self._replies.pop(id, None)
        if call in self._new:
            self._new.remove(call)

    def _cancelled(self, params: object) -> None:
        request = params.get("requestId") if isinstance(params, dict) else None
        for id, (waiting, _) in list(self._replies.items()):
            if waiting == request and type(waiting) is type(request):
                self.answer(id, ToolResult(id, self.calls[id].name, "cancelled", is_error=True))


def _canonical(arguments: Mapping[str, object]) -> bytes:
    return msgspec.json.encode(arguments, order="deterministic")


def _json(message: dict[str, object]) -> Reply:
    return Reply(200, msgspec.json.encode(message), {"content-type": "application/json"})
