"""The embedded server: HTTP/1.1 on loopback, speaking every wire (see ``_wires``) from a script.

It is there for tests, demos and examples, and is started and closed within a millisecond. It is not a gateway: nothing
is checked beyond what a real server would complain about at once.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections import deque
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

import httptools

from ..events import InvalidRequestError, LLMError, NotFoundError, ServerError
from ..protocols import Request
from ._faults import Frame, Hold, Plan
from ._script import Answer, Playbook, ReceivedRequest, Script, plan_response
from ._waits import Signal
from ._wires import wire_of


class Connections:
    """What became of the connections that clients opened."""

    def __init__(self) -> None:
        self.opened = 0
        self.closed_at: list[float] = []
        """The loop's time at which each was seen to be gone, in order."""

    @property
    def closed(self) -> int:
        return len(self.closed_at)

    @property
    def open(self) -> int:
        return self.opened - self.closed

    def __repr__(self) -> str:
        return f"Connections(opened={self.opened}, open={self.open}, closed={self.closed})"


class Server:
    """A server on the running loop; `async with`, or `start()` and `aclose()`.

    Args:
        script: what it answers; None for the demo models (see :data:`asyncllm.testing.DEMO_MODELS`).
        host, port: where it listens; port 0 is any free one.
        ssl_context: makes it HTTPS.
        any_path: give every request to the script, whatever its method, path and body (for recordings of other wires).

    Attributes:
        requests: every request that came, in order.
        connections: counts of them.
    """

    def __init__(
        self,
        script: Script | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: ssl.SSLContext | None = None,
        any_path: bool = False,
    ) -> None:
        self.requests: list[ReceivedRequest] = []
        self.connections = Connections()
        self._host = host
        self._port = port
        self._ssl = ssl_context
        self._any_path = any_path
        self._listener: asyncio.Server | None = None
        self._live: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._watchers: list[tuple[Callable[[], bool], Signal]] = []
        self.play(script)

    def play(self, script: Script | None) -> None:
        """Answer from this script from now on, from its beginning."""
        if script is None:
            from ._demo import demo_answer

            script = demo_answer
        self._playbook = Playbook(script)

    @property
    def base_url(self) -> str:
        """For clients: `http://127.0.0.1:PORT/v1`."""
        if not self._port:
            raise RuntimeError("the server has no address before start()")
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._ssl else 'http'}://{host}:{self._port}/v1"

    async def start(self) -> Server:
        """Listen. Raises OSError if the port is taken, RuntimeError if it listens already."""
        if self._listener is not None:
            raise RuntimeError("the server runs already")
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: _Connection(self), self._host, self._port, ssl=self._ssl, backlog=1024
        )
        self._port = self._listener.sockets[0].getsockname()[1]
        return self

    async def aclose(self) -> None:
        """Stop listening and drop every connection. Nothing of the server runs after this. Idempotent."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        listener.close()
        for connection in list(self._live):
            connection.abort()
        await self.wait_closed(self.connections.opened)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def __aenter__(self) -> Server:
        return await self.start()

    async def __aexit__(self, *exc: object) -> None:
        await self.aclose()

    async def wait_closed(self, n: int = 1) -> float:
        """Wait until `n` connections are gone; returns the server's loop time at which the n-th was seen to be."""
        await self._until(lambda: self.connections.closed >= n)
        return self.connections.closed_at[n - 1] if n else 0.0

    async def wait_requests(self, n: int = 1) -> ReceivedRequest:
        """Wait until `n` requests came; returns the n-th."""
        await self._until(lambda: len(self.requests) >= n)
        return self.requests[n - 1]

    async def _until(self, holds: Callable[[], bool]) -> None:
        signal = Signal()
        watcher = (holds, signal)
        self._watchers.append(watcher)
        try:
            while not holds():
                await signal.wait()
        finally:
            self._watchers.remove(watcher)

    def _changed(self) -> None:
        for holds, signal in list(self._watchers):
            if holds():
                signal.set()

    # ---- what connections report

    def _opened(self, connection: _Connection) -> None:
        self._live.add(connection)
        self.connections.opened += 1
        if self._listener is None:  # accepted while the server closed
            connection.abort()

    def _closed(self, connection: _Connection) -> None:
        self._live.discard(connection)
        self.connections.closed_at.append(asyncio.get_running_loop().time())
        self._changed()

    def _received(self, request: ReceivedRequest) -> None:
        self.requests.append(request)
        self._changed()

    def _spawn(self, connection: _Connection) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(connection.serve())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _plan(self, request: ReceivedRequest) -> Plan:
        """The response to any request. A script may raise an LLMError as its answer; other errors become a 500."""
        asked = _NOTHING
        try:
            answer = None if self._any_path else _route(request)
            if answer is None and not self._any_path:
                asked = request.asked
            return plan_response(answer or await self._playbook.answer(request), request, asked)
        except LLMError as error:
            return plan_response(Answer.error(error), request, asked)
        except Exception as error:  # noqa: BLE001  # a test's own code: the client must see its failure
            message = f"the script of the test server failed: {type(error).__name__}: {error}"
            return plan_response(Answer.error(ServerError(message, retryable=False)), request, asked)


_NOTHING = Request(model="", messages=())


def _route(request: ReceivedRequest) -> Answer | None:
    """The answer that needs no script; None for a request of a wire."""
    path = request.path.partition("?")[0].rstrip("/")
    if wire_of(path) is not None:
        method, answer = "POST", None
    elif path.endswith("/health"):
        method, answer = "GET", _json({"status": "ok"})
    elif path.endswith("/models"):
        from ._demo import DEMO_MODELS

        models = [{"id": name, "object": "model", "created": 0, "owned_by": "asyncllm"} for name in DEMO_MODELS]
        method, answer = "GET", _json({"object": "list", "data": models})
    else:
        message = f"Invalid URL ({request.method} {request.path})"
        return Answer.error(NotFoundError(message, status=404, code="unknown_url"))
    if request.method != method:
        error = InvalidRequestError(f"Not allowed to {request.method} on {path} (HINT: {method} is)", status=405)
        return Answer.error(error, headers={"allow": method})
    return answer


def _json(value: object) -> Answer:
    return Answer.raw(json.dumps(value).encode(), content_type="application/json")


class _Connection(asyncio.Protocol):
    """One connection: requests in, in the order in which they came; one response at a time out."""

    _transport: asyncio.Transport

    def __init__(self, server: Server) -> None:
        self._server = server
        self._parser = httptools.HttpRequestParser(self)
        self._waiting: deque[ReceivedRequest] = deque()
        self._task: asyncio.Task[None] | None = None
        self._serving = False  # told apart from the task: an eager one may be over before it is here
        self._full: asyncio.Future[None] | None = None  # while the client does not read what was written
        self._begin()

    # ---- asyncio

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not a subclass
        self._server._opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._transport.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
            self._transport.close()

    def eof_received(self) -> None:
        self.abort()  # a client that stops sending is gone; nothing more is owed to it

    def connection_lost(self, exc: Exception | None) -> None:
        if self._task is not None:
            self._task.cancel()
        self._server._closed(self)

    def pause_writing(self) -> None:
        self._full = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        full, self._full = self._full, None
        if full is not None and not full.done():
            full.set_result(None)

    def abort(self) -> None:
        self._transport.abort()

    # ---- httptools

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body += body

    def on_message_complete(self) -> None:
        body = bytes(self._body)
        request = ReceivedRequest(
            self._parser.get_method().decode(),
            self._url.decode("latin-1"),
            self._headers,
            body,
            _parsed(body),
            self._parser.should_keep_alive(),
        )
        self._server._received(request)
        self._waiting.append(request)
        if not self._serving:
            self._serving = True
            self._task = self._server._spawn(self)

    # ---- answering

    async def serve(self) -> None:
        while self._waiting:
            request = self._waiting.popleft()
            await self._send(await self._server._plan(request), request)
        self._serving = False

    async def _send(self, plan: Plan, request: ReceivedRequest) -> None:
        out = _Writes(self, plan)
        if plan.before_head is not None:
            await plan.before_head.wait()
        if plan.headers is not None:
            await out.write(_head(plan, request.keep_alive))
        for step in plan.steps:
            if isinstance(step, Frame):
                await out.write(_framed(step.data, plan))
            else:
                await out.flush()
                await self._hold(step, out, plan)
        if plan.end == "truncated":
            await out.write(b'400\r\ndata: {"choices"')
        elif plan.end == "complete" and plan.chunked:
            await out.write(b"0\r\n\r\n")
        await out.flush()
        if plan.end == "reset":
            await self._reset()
        elif plan.end != "complete" or not request.keep_alive:
            self._transport.close()

    async def _hold(self, hold: Hold, out: _Writes, plan: Plan) -> None:
        if hold.comment_every is None:
            await hold.until.wait()
            return
        until = asyncio.ensure_future(hold.until.wait())
        try:
            while not (await asyncio.wait([until], timeout=hold.comment_every))[0]:
                await out.write(_framed(plan.comment("keep-alive"), plan))
                await out.flush()
        finally:
            until.cancel()

    async def _reset(self) -> None:
        for _ in range(3):  # what was sent gets read first, by a client on this loop
            await asyncio.sleep(0)
        sock: socket.socket = self._transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    async def push(self, data: bytes) -> None:
        """Write, and wait while the client is behind."""
        if self._full is not None:
            await self._full
        self._transport.write(data)


class _Writes:
    """Bytes in, writes of the planned sizes out."""

    def __init__(self, connection: _Connection, plan: Plan) -> None:
        self._connection = connection
        self._sizes = plan.sizes
        self._size = next(plan.sizes) if plan.sizes is not None else 0
        self._held = b""

    async def write(self, data: bytes) -> None:
        if self._sizes is None:
            await self._connection.push(data)
            return
        data = self._held + data
        at = 0
        while len(data) - at >= self._size:
            await self._connection.push(data[at : at + self._size])
            await asyncio.sleep(0)  # the client, if it is on this loop, sees the border
            await asyncio.sleep(0)
            at += self._size
            self._size = next(self._sizes)
        self._held = data[at:]

    async def flush(self) -> None:
        if self._held:
            await self._connection.push(self._held)
            self._held = b""


def _head(plan: Plan, keep_alive: bool) -> bytes:
    headers = {"server": "asyncllm.testing", **(plan.headers or {})}
    if plan.chunked:
        headers["transfer-encoding"] = "chunked"
    else:
        size = sum(len(step.data) for step in plan.steps if isinstance(step, Frame))
        headers.setdefault("content-length", str(size + plan.lost))
    if not keep_alive:
        headers["connection"] = "close"
    try:
        phrase = HTTPStatus(plan.status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {plan.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _framed(data: bytes, plan: Plan) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if plan.chunked and data else data


def _parsed(body: bytes) -> Any:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return None
