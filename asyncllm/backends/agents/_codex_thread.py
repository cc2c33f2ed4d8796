"""A thread of the app-server as a channel: its turns, one after another."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from ...events import (
    ConnectionFailedError,
    LLMError,
    Message,
    Session,
    StreamError,
    StreamEvent,
    Text,
    has_content,
)
from ...protocols.agents._turn import GONE, Turn, results_for, told
from ...protocols.codex._requests import (
    Setup,
    fork_params,
    left_out,
    resume_params,
    start_params,
    tool_response,
    turn_params,
)
from ...protocols.codex._rpc import answer, refuse, request
from ...protocols.codex._turn_decode import ToolAsk, TurnDecoder
from ._agent import Channel
from ._codex_batches import batches_of
from ._codex_files import place_of, read_rollout, restore

if TYPE_CHECKING:
    from ._codex import CodexBackend
    from ._codex_server import AppServer, Inbox

QUIET = 0.1
"""Seconds without a word after which a turn that waits for our tools is taken to have asked for all of them."""

INTERRUPT = 2.0
"""Seconds within which an interrupted turn ends."""

REVERT = 5.0
"""Seconds within which a failed turn is taken back."""


class ThreadChannel(Channel):
    """Made by :meth:`attached`."""

    def __init__(self, backend: CodexBackend, server: AppServer, setup: Setup, key: object) -> None:
        self.key = key
        self._backend = backend
        self._server = server
        self._setup = setup
        self._inbox: Inbox
        self._session: Session
        self._model = ""
        self._path = ""
        self._totals: dict[str, int] = {}
        self._rest: list[bytes] = []  # what came after the end of the last turn
        self._decoder: TurnDecoder | None = None
        self._asked: list[ToolAsk] = []
        self._ready: list[list[StreamEvent]] = []
        self._content = False  # of the turn under way
        self._closed = False

    @classmethod
    async def attached(
        cls, backend: CodexBackend, server: AppServer, setup: Setup, key: object, turn: Turn
    ) -> ThreadChannel:
        """The thread of a turn: a new one, or that of its session, resumed or forked."""
        channel = cls(backend, server, setup, key)
        await channel._attach(turn.session, turn.request.model)
        return channel

    async def _attach(self, session: Session | None, model: str) -> None:
        if session is None:
            await self._open("thread/start", start_params(self._setup, model))
            return
        if not self._setup.ephemeral:
            session = await self._restored(session)
        if session.fork:  # there is no file
            await self._open("thread/fork", fork_params(self._setup, model, session.id, session.turn))
            return
        result = await self._open("thread/resume", resume_params(self._setup, model, session.id))
        page = result.get("initialTurnsPage")
        turns = page.get("data") if isinstance(page, dict) else None
        last = str(turns[0].get("id", "")) if isinstance(turns, list) and turns else ""
        if session.turn and last and session.turn != last:  # it has gone on since, or its last turn has failed
            self._leave()
            copy = await self._restored(session.forked())
            if copy.fork:
                await self._open("thread/fork", fork_params(self._setup, model, copy.id, copy.turn))
            else:
                await self._open("thread/resume", resume_params(self._setup, model, copy.id))
            self.turn_id = copy.turn
        else:
            self.turn_id = last or session.turn

    async def _restored(self, session: Session) -> Session:
        through = session.turn if session.fork else ""
        home, tools = self._backend.codex_home, self._setup.tools
        return await asyncio.to_thread(restore, home, session, tools, copy=session.fork, through=through)

    async def _open(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        timeout = self._backend.options.start_timeout
        result, self._inbox = await self._server.open(method, params, timeout)
        thread = result.get("thread")
        described: dict[str, Any] = thread if isinstance(thread, dict) else {}
        self.session_id = str(described.get("id", ""))
        self._path = str(described.get("path") or "")
        self._model = str(result.get("model") or "")
        data = {"file": place_of(self._path)} if self._path else {}
        self._session = Session(backend="codex", id=self.session_id, cwd=self._setup.cwd, data=data)
        return result

    # ---- a turn

    async def say(self, turn: Turn) -> None:
        if self._asked and not self._server.gone and await self._answered(turn):
            return
        parts, warnings = list(turn.parts), [*turn.warnings, *left_out(turn)]
        if self._server.gone:
            session = replace(self._session, turn=self.turn_id)
            self._server = await self._backend.server()
            await self._attach(session, turn.request.model)
        if turn.results:
            parts.insert(0, Text(told([Message("tool", list(turn.results))], more=bool(parts))))
            warnings.append(GONE)
        self._asked, self.waiting = [], ()
        self._content = self.reusable = False
        self._decoder = decoder = TurnDecoder(
            self._session,
            model=turn.request.model or self._model,
            tools=[tool.name for tool in self._setup.tools],
            warnings=tuple(warnings),
            limits=self._server.limits,
            raw=turn.request.raw,
        )
        decoder.totals = self._totals
        rest, self._rest = self._rest, []
        self._give(decoder.decode_lines(rest))
        begun = await self._call(
            "turn/start", turn_params(turn, self.session_id, parts), self._backend.options.start_timeout
        )
        inner = begun.get("turn")
        if isinstance(inner, dict) and isinstance(id := inner.get("id"), str):
            decoder.begin(id)

    async def _answered(self, turn: Turn) -> bool:
        """The turn that stands still goes on. False where its server turns out to be gone."""
        asked, self._asked, self.waiting = self._asked, [], ()
        results = results_for({ask.call.id: ask.call.name for ask in asked}, turn.results)
        try:
            for ask, result in zip(asked, results, strict=True):
                await self._server.send(answer(ask.id, tool_response(result)))
        except ConnectionFailedError:
            await self._server.aclose()
            return False
        return True

    async def _call(self, method: str, params: dict[str, Any], timeout: float) -> dict[str, Any]:
        return await self._server.call(method, params, timeout)

    async def next(self) -> list[StreamEvent]:
        decoder = self._decoder
        assert decoder is not None
        while not self._ready:
            lines = await self._some(decoder)
            if lines is None:
                self._asked, decoder.asked = decoder.asked, []
                self.waiting = tuple(ask.call.id for ask in self._asked)
                events = decoder.park()
            elif lines:
                events = decoder.decode_lines(lines)
            else:
                events = self._server.last_words(decoder)
            for refused in decoder.refused:
                await self._server.send(refuse(refused))
            decoder.refused.clear()
            if decoder.done:
                events = await self._over(decoder, events)
            self._give(events)
        return self._ready.pop(0)

    async def _some(self, decoder: TurnDecoder) -> list[bytes] | None:
        """The next lines; None where the turn stands still for our tools."""
        if not decoder.asked:
            return await self._inbox.lines()
        if decoder.settled:
            return None
        try:
            async with asyncio.timeout(QUIET):
                return await self._inbox.lines()
        except TimeoutError:
            return None

    def _give(self, events: list[StreamEvent]) -> None:
        self._ready += batches_of(events, content=self._content)
        self._content = self._content or has_content(events)

    async def _over(self, decoder: TurnDecoder, events: list[StreamEvent]) -> list[StreamEvent]:
        """The turn is over: the state of the session is read, or what failed is taken back."""
        self._totals, self._rest = decoder.totals, decoder.rest
        before, self.turn_id = self.turn_id, decoder.turn or self.turn_id
        self.reusable = not decoder.failed and not self._server.gone
        if not decoder.failed:
            return [await self._with_state(event) if isinstance(event, Session) else event for event in events]
        error = next((event.error for event in events if isinstance(event, StreamError)), None)
        if before and error is not None and not await self._reverted(decoder.turn) and self._setup.ephemeral:
            error.retryable = False  # what was said would be said twice
        elif before and error is not None:
            self.turn_id = before
        return events

    async def _with_state(self, session: Session) -> Session:
        if not self._backend.options.portable or self._setup.ephemeral or not session.turn or not self._path:
            return session
        if not self._decoder or session.turn != self._decoder.turn or not self._decoder.done:
            return session
        return replace(session, state=await asyncio.to_thread(read_rollout, Path(self._path)))

    async def _reverted(self, turn: str) -> bool:
        """Take the failed turn back. Where that fails, the next turn goes on from a fork of the turn before it."""
        if not turn or self._server.gone:
            return False
        params = {"threadId": self.session_id, "beforeTurnId": turn}
        try:
            await self._call("thread/revert", params, REVERT)
        except LLMError:
            return False
        return True

    # ---- its ends

    async def interrupt(self) -> bool:
        decoder = self._decoder
        if decoder is None or decoder.done or self._server.gone or not decoder.turn:
            return False
        self._asked, self.waiting = [], ()
        with contextlib.suppress(TimeoutError, LLMError):
            async with asyncio.timeout(INTERRUPT):
                params = {"threadId": self.session_id, "turnId": decoder.turn}
                await self._call("turn/interrupt", params, INTERRUPT)
                while not decoder.done and (lines := await self._inbox.lines()):
                    decoder.decode_lines(lines)
                self.turn_id = decoder.turn
                self._totals = decoder.totals
                self.reusable = decoder.done
        return self.reusable and not self._server.gone

    async def aclose(self) -> None:
        if self._closed:
            return
        self._closed = True
        decoder = self._decoder
        if decoder is not None and not decoder.done:
            with contextlib.suppress(LLMError, OSError):
                await self.interrupt()
        self._leave()

    def abort(self) -> None:
        if self._closed:
            return
        self._closed = True
        decoder = self._decoder
        if decoder is not None and not decoder.done and decoder.turn:
            params = {"threadId": self.session_id, "turnId": decoder.turn}
            self._server.post(request(self._server.next_id(), "turn/interrupt", params))
        self._leave()

    def _leave(self) -> None:
        self._server.leave(self.session_id, self._inbox)
        if not self._server.gone:
            params = {"threadId": self.session_id}
            self._server.post(request(self._server.next_id(), "thread/unsubscribe", params))
