"""One `codex app-server`: its process, the requests that wait for it, and the threads that it speaks of."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Self

from ..._version import __version__
from ...events import (
    ConnectionFailedError,
    ConnectTimeout,
    LLMError,
    LLMTimeoutError,
    ProtocolError,
    StreamEvent,
)
from ...protocols.agents._exit import Exit
from ...protocols.codex._errors import exit_error
from ...protocols.codex._requests import initialize
from ...protocols.codex._rpc import (
    Ask,
    Note,
    Response,
    notification,
    read_line,
    refuse,
    request,
)
from ...protocols.codex._turn_decode import TurnDecoder
from ...transports._process import Process
from ...transports._process_backlog import Backlog
from ._program import start_program

UNREAD = 4 * 1024 * 1024
"""Bytes of one thread that nobody has read that are kept in memory; more is kept in a private file."""

LAST_WORDS = 1.0
"""Seconds between the end of its output and that of the process."""


started = functools.partial(start_program, "codex")


class Inbox:
    """What the server says of one thread, and of them all, as lines. One task reads it."""

    def __init__(self) -> None:
        self._backlog = Backlog(UNREAD, spill=True, changed=self._wake)
        self._news = asyncio.Event()
        self._ended = False

    def add(self, line: bytes) -> None:
        self._backlog.add(line)
        self._news.set()

    def _wake(self) -> None:
        self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    async def lines(self) -> list[bytes]:
        """The next lines; none when the server is gone. Cancelled, it has taken none."""
        while True:
            lines = await self._backlog.take()
            if lines:
                return lines
            if self._ended and not self._backlog.busy:
                return []
            self._news.clear()
            await self._news.wait()


class AppServer:
    """Made by :meth:`start`; closed by whoever made it. It belongs to one event loop.

    Attributes:
        limits: the last rate limits that it has told, by name.
    """

    def __init__(self, process: Process) -> None:
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._waiting: dict[object, asyncio.Future[dict[str, Any]]] = {}
        self._threads: dict[str, Inbox] = {}
        self._news: list[bytes] = []  # what was told to all before there was a thread
        self._unclaimed: dict[str, list[bytes]] = {}  # of threads that are being made
        self._making = 0
        self._posted: set[asyncio.Task[None]] = set()
        self._ended = False
        self._failure: LLMError | None = None
        self._tail = b""
        self.limits: dict[str, Any] = {}
        self._reader = self._loop.create_task(self._read(), name="codex app-server")

    @classmethod
    async def start(cls, command: Sequence[str], *, env: Mapping[str, str], cwd: str, timeout: float) -> Self:
        """Raises LLMError for what cannot be run, or does not speak."""
        process = await started(command, env=env, cwd=cwd)
        server = cls(process)
        try:
            await server.call("initialize", initialize(__version__), timeout)
            await server.send(notification("initialized"))
        except BaseException as error:
            await server.aclose()
            if isinstance(error, ConnectionFailedError) and (server.exit.code or 0) > 0:
                raise exit_error(server.exit, datetime.now(UTC), said=False) from None  # it says what is wrong
            raise
        return server

    @property
    def gone(self) -> bool:
        return self._ended

    @property
    def exit(self) -> Exit:
        """How it ended."""
        return Exit(self._process.returncode, self._process.stderr, self._tail)

    def last_words(self, decoder: TurnDecoder) -> list[StreamEvent]:
        """What its end means to a turn."""
        if self._failure is None:
            return decoder.close(self.exit)
        return decoder.fail(type(self._failure)(f"codex app-server: {self._failure.message}"))

    # ---- requests

    async def call(self, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        """Its answer. Raises LLMError: what it refuses, :class:`ConnectTimeout` for silence."""
        self._next += 1
        id = self._next
        answer: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        if self._ended:
            raise self._gone(method)
        self._waiting[id] = answer
        try:
            await self.send(request(id, method, params))
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            words = f"codex did not answer {method} within {timeout:g} s (start_timeout=)"
            if method in ("initialize", "thread/start", "thread/resume", "thread/fork"):
                raise ConnectTimeout(words) from None
            raise LLMTimeoutError(words) from None
        finally:
            self._waiting.pop(id, None)

    async def open(self, method: str, params: dict[str, Any], timeout: float) -> tuple[dict[str, Any], Inbox]:
        """A thread by `thread/start`, `thread/resume` or `thread/fork`, and what is said of it from its beginning."""
        self._making += 1
        try:
            result = await self.call(method, params, timeout)
            thread = result.get("thread")
            id = thread.get("id") if isinstance(thread, dict) else None
            if not isinstance(id, str) or not id:  # nothing could ever be heard of it
                raise ProtocolError(f"codex answered {method} without a thread")
            inbox = Inbox()
            for line in (*self._news, *self._unclaimed.pop(id, ())):
                inbox.add(line)
            self._news.clear()
            if self._ended:
                inbox.end()
            self._threads[id] = inbox
            return result, inbox
        finally:
            self._making -= 1
            if not self._making:
                self._unclaimed.clear()

    async def send(self, data: bytes) -> None:
        try:
            await self._process.write(data)
        except (BrokenPipeError, ConnectionResetError):
            raise self._gone("a request") from None

    def post(self, data: bytes) -> None:
        """The same without awaiting, from any thread, and in vain where its loop is gone."""
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._post, data)

    def _post(self, data: bytes) -> None:
        if not self._ended:
            task = self._loop.create_task(self._send_quietly(data))
            self._posted.add(task)
            task.add_done_callback(self._posted.discard)

    async def _send_quietly(self, data: bytes) -> None:
        with contextlib.suppress(LLMError, OSError):
            await self.send(data)

    def next_id(self) -> int:
        """For a request whose answer nobody waits for."""
        self._next += 1
        return self._next

    def leave(self, thread: str, inbox: Inbox) -> None:
        """Nobody listens to this thread any more."""
        if self._threads.get(thread) is inbox:
            del self._threads[thread]

    def _gone(self, what: str) -> LLMError:
        if self._failure is not None:
            return ConnectionFailedError(f"codex app-server was ended: {self._failure.message}")
        said = self._process.stderr.rpartition("\n")[2]
        words = f"codex app-server is gone ({self.exit.words}) before {what} was answered"
        return ConnectionFailedError(f"{words}: {said}" if said else words)

    # ---- what it says

    async def _read(self) -> None:
        try:
            while lines := await self._process.lines():
                for line in lines:
                    self._line(line)
            await self._process.exited_within(LAST_WORDS)  # how it ended is worth a moment
        except LLMError as error:  # a line without an end
            self._failure = error
            self._process.kill()
        finally:
            self._tail = self._process.tail
            self._ended = True
            for inbox in self._threads.values():
                inbox.end()
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(self._gone("a request"))

    def _line(self, line: bytes) -> None:
        message = read_line(line)
        match message:
            case Response(id=id, result=result, error=error):
                answer = self._waiting.pop(id, None)
                if answer is not None and not answer.done():
                    if error is not None:
                        answer.set_exception(error)
                    else:
                        answer.set_result(result)
            case Note(thread="") if not self._threads:
                self._news.append(line)
                del self._news[:-100]
            case Note(thread=""):
                for inbox in self._threads.values():
                    inbox.add(line)
            case Note(thread=thread) | Ask(thread=thread) if thread in self._threads:
                self._threads[thread].add(line)
            case Note(thread=thread) if self._making:
                self._unclaimed.setdefault(thread, []).append(line)
            case Ask() as ask:  # of a thread that nobody listens to, or of none
                self.post(refuse(ask))
            case _:
                pass

    # ---- the end

    async def aclose(self) -> None:
        """End the process and its tree. Idempotent."""
        try:
            await self._process.stop()
        finally:
            self._process.kill()
            self._reader.cancel()
            for task in self._posted:
                task.cancel()
            await asyncio.gather(self._reader, *self._posted, return_exceptions=True)

    def abort(self) -> None:
        """The same without awaiting: its loop may be gone."""
        self._process.kill()
