"""`opencode serve`: one process for all sessions of a client, its HTTP API, and its stream of events."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import re
import secrets
import signal
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, Self
from urllib.parse import quote

import httpx2
import msgspec

from ...events import ConnectionFailedError, ConnectTimeout, IncompleteStreamError, LLMError, UnknownError
from ...protocols.agents._exit import Exit
from ...protocols.opencode._errors import NAME, exit_error, http_error
from ...transports import FastTransport, SSEFramer, origin_of
from ...transports._process import Process
from .._carrier import Answer
from ._opencode_events import Inbox, route
from ._program import start_program

LISTENING = re.compile(rb"listening on (http://[\w.:\[\]]+)")
USER = "opencode"
CALL_TIMEOUT = 60.0
"""Seconds for an answer of its API: it starts MCP servers and reads projects before some of them."""

DENIED = "This is denied: nobody is there to be asked. Go on without it."
"""What a model is told that wants to do what its permissions leave to a user."""

MAX_EVENT = 64 * 1024 * 1024


class OpencodeServer:
    """The process. It belongs to the loop that started it.

    Attributes:
        dead: why it is of no more use; None while it is.
    """

    def __init__(self, process: Process, url: str, password: str) -> None:
        self._process = process
        self._http = FastTransport(trust_env=False)
        self._url = httpx2.URL(url)
        token = base64.b64encode(f"{USER}:{password}".encode())
        self._headers = [
            (b"host", self._url.netloc),
            (b"authorization", b"Basic " + token),
            (b"content-type", b"application/json"),
        ]
        self._loop = asyncio.get_running_loop()
        self._inboxes: dict[str, Inbox] = {}
        self._readers: dict[str, asyncio.Future[None]] = {}  # by directory: done when its events come
        self._tasks: set[asyncio.Task[None]] = set()
        self._streams: set[Answer] = set()
        self.dead: LLMError | None = None

    @classmethod
    async def start(
        cls, command: Sequence[str], *, env: Mapping[str, str], cwd: str, patience: float, extra: Sequence[str] = ()
    ) -> Self:
        """Returns when it listens. Raises LLMError."""
        password = secrets.token_urlsafe(32)
        arguments = [*command, "serve", "--hostname", "127.0.0.1", "--port", "0", *extra]
        process = await start_program(NAME, arguments, env={**env, "OPENCODE_SERVER_PASSWORD": password}, cwd=cwd)
        try:
            async with asyncio.timeout(patience):
                url = await _listening(process)
        except TimeoutError:
            await process.stop()
            why = f"opencode did not listen within {patience:g} s (raise start_timeout= if that is its pace)"
            raise ConnectTimeout(why) from None
        except BaseException:
            await process.stop(0)
            raise
        server = cls(process, url, password)
        server.spawn(server._watch())
        return server

    @property
    def gone(self) -> bool:
        """Whether it is of no more use."""
        return self.dead is not None or self._process.returncode is not None

    @property
    def here(self) -> bool:
        """Whether its loop is the one that runs."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Something to be done that nobody waits for; it ends with the server."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _watch(self) -> None:
        """Until the process is gone. What it writes is of no interest: it is drained."""
        while await self._process.lines():
            pass
        code = await self._process.wait()
        error = exit_error(Exit(code, self._process.stderr), said=True)
        self._broken(UnknownError(error.message, retryable=True) if code > 0 else error)

    def _broken(self, error: LLMError) -> None:
        if self.dead is None:
            self.dead = error
            for inbox in self._inboxes.values():
                inbox.break_off(_copy(error))
            for opened in self._readers.values():
                if not opened.done():
                    opened.set_exception(_copy(error))
                    opened.exception()  # it may be that nobody waits

    # ---- the API

    async def call(self, method: str, path: str, body: object = None, *, directory: str = "") -> bytes:
        """The body of the answer. Raises LLMError."""
        if self.dead is not None:
            raise _copy(self.dead)
        try:
            answer = await self._send(method, _target(path, directory), body, CALL_TIMEOUT)
            data = await _all(answer)
        except httpx2.TransportError as error:
            raise ConnectionFailedError(f"opencode did not answer: {str(error) or type(error).__name__}") from error
        if not 200 <= answer.status < 300:
            raise http_error(answer.status, data)
        return data

    async def _send(self, method: str, target: str, body: object, read: float | None) -> Answer:
        content = b"" if body is None else msgspec.json.encode(body)
        limits = {"connect": 10.0, "read": read, "write": CALL_TIMEOUT}
        stream = await self._http.send(
            origin_of(self._url), method.encode(), target.encode(), self._headers, content, timeouts=limits
        )
        return Answer(stream)

    # ---- events

    def subscribe(self, session: str, inbox: Inbox) -> None:
        self._inboxes[session] = inbox
        if self.dead is not None:
            inbox.break_off(_copy(self.dead))

    def unsubscribe(self, session: str, inbox: Inbox) -> None:
        if self._inboxes.get(session) is inbox:
            del self._inboxes[session]

    async def listen(self, directory: str) -> None:
        """Returns when the events of what happens in a directory are read."""
        opened = self._readers.get(directory)
        if opened is None:
            opened = self._readers[directory] = asyncio.get_running_loop().create_future()
            self.spawn(self._read_events(directory, opened))
        try:
            async with asyncio.timeout(CALL_TIMEOUT):
                await asyncio.shield(opened)
        except TimeoutError:
            raise ConnectTimeout(f"the events of opencode did not begin within {CALL_TIMEOUT:g} s") from None

    async def _read_events(self, directory: str, opened: asyncio.Future[None]) -> None:
        framer = SSEFramer(max_frame_bytes=MAX_EVENT)
        why = "the events of opencode ended in the middle of a turn"
        try:
            answer = await self._send("GET", _target("/event", directory), None, None)
            self._streams.add(answer)
            if answer.status != 200:
                self._broken(http_error(answer.status, await answer.error_body()))
                return
            while True:
                data = await answer.read()
                for found in framer.read(data):
                    line = found if isinstance(found, bytes) else found.data.encode("utf-8", "replace")
                    self._event(line, directory)
                    if not opened.done():
                        opened.set_result(None)
        except StopAsyncIteration:
            self._broken(IncompleteStreamError(why))
        except httpx2.TransportError as error:
            self._broken(IncompleteStreamError(f"{why}: {str(error) or type(error).__name__}"))
        except LLMError as error:
            self._broken(error)

    def _event(self, line: bytes, directory: str) -> None:
        event = route(line)
        if event is None:
            return
        if event.type in ("permission.asked", "question.asked") and event.properties.id:
            self.spawn(self._deny(event.type, event.properties.id, directory))
        elif (inbox := self._inboxes.get(event.session)) is not None:
            inbox.add(line)

    async def _deny(self, kind: str, id: str, directory: str) -> None:
        """Nobody is there to be asked, in whatever session it is, those of its own agents included. Each directory has its
        own questions."""
        with contextlib.suppress(LLMError):
            if kind == "permission.asked":
                body = {"reply": "reject", "message": DENIED}
                await self.call("POST", f"/permission/{quote(id, safe='')}/reply", body, directory=directory)
            else:
                await self.call("POST", f"/question/{quote(id, safe='')}/reject", {}, directory=directory)

    # ---- the end

    async def aclose(self) -> None:
        """End the process and all that it has started. Idempotent."""
        self._broken(IncompleteStreamError("opencode was ended", retryable=False))
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for answer in self._streams:
            answer.abort()
        self._streams.clear()
        try:
            await self._process.stop(first=signal.SIGTERM)
        finally:
            await self._http.aclose()

    def abort(self) -> None:
        """The same without awaiting; its loop may be gone."""
        self.dead = self.dead or IncompleteStreamError("opencode was ended", retryable=False)
        self._process.kill()
        with contextlib.suppress(RuntimeError):  # the loop is closed
            for task in list(self._tasks):
                task.cancel()
            for answer in self._streams:
                answer.abort()


async def _listening(process: Process) -> str:
    while lines := await process.lines():
        for line in lines:
            if (found := LISTENING.search(line)) is not None:
                return found[1].decode()
    code = await process.wait()
    raise exit_error(Exit(code, process.stderr, process.tail), said=True)


async def _all(answer: Answer) -> bytes:
    pieces: list[bytes] = []
    try:
        while True:
            pieces.append(await answer.read())
    except StopAsyncIteration:
        await answer.finish()
    except BaseException:
        answer.abort()
        raise
    return b"".join(pieces)


def _target(path: str, directory: str) -> str:
    return f"{path}?directory={quote(directory, safe='')}" if directory else path


def _copy(error: LLMError) -> LLMError:
    """Each turn raises an error of its own."""
    made, arguments = error.__reduce__()
    copied: LLMError = made(*arguments)
    return copied
