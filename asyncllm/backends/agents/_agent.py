"""A coding agent as a backend: sessions that are alive, turns of them, and the stream of one turn.

An agent runs its own tools. Tools of ours it calls, too: then its turn stands still (it is *parked*), and the stream ends like
that of any model that asks for results. The next request, which brings them, lets the turn go on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import tempfile
import weakref
from abc import ABC, abstractmethod
from typing import Self

from msgspec.structs import replace

from ...events import Finish, InvalidRequestError, LLMError, StreamError, StreamEvent, UnknownError
from ...protocols import Request
from ...protocols.agents._turn import Turn, check_choice, results_turn, turn_of
from .._backend import EventSource
from ._options import AgentOptions

logger = logging.getLogger("asyncllm.agents")

PARKED = 64
"""Turns that may stand still at once, for results of our tools."""


class Channel(ABC):
    """One session of an agent that is alive: what it is told, and what it says."""

    key: object = None
    """What it was started with. A turn that needs another key needs another channel."""
    session_id: str = ""
    turn_id: str = ""
    """The agent's name of the last turn, if it has such names: a request that goes on from another needs a fork."""
    waiting: tuple[str, ...] = ()
    """When a turn has ended with calls of our tools: their ids. The turn goes on when it is told their results."""
    reusable: bool = False
    """Whether another turn of this session may follow, now that the last one is over."""

    @abstractmethod
    async def say(self, turn: Turn) -> None:
        """Begin a turn, or go on with the one that waits, with `turn.results`. Raises LLMError."""

    @abstractmethod
    async def next(self) -> list[StreamEvent]:
        """The next events of the turn, at least one. The last batch ends with Finish or StreamError, and no other does."""

    @abstractmethod
    async def interrupt(self) -> bool:
        """Stop the turn that is under way by the means of the protocol, within a second or two. Whether another may follow."""

    @abstractmethod
    async def aclose(self) -> None:
        """Let go of it, whatever it does. Idempotent."""

    @abstractmethod
    def abort(self) -> None:
        """The same without awaiting: for finalisers, and for loops that are gone."""


class AgentBackend(ABC):
    """What the agents' backends share: which sessions are alive, and which of them wait for results.

    It belongs to one event loop at a time; what lived under another is gone.
    """

    REFUSED: tuple[str, ...] = ("stop",)
    """Options of a request that this agent cannot do at all."""

    def __init__(self, name: str, options: AgentOptions) -> None:
        self.name = name
        self.options = options
        self._loop: asyncio.AbstractEventLoop | None = None
        self._idle: dict[str, Channel] = {}  # by session, the least recently used first
        self._parked: dict[str, Channel] = {}  # by call
        self._busy: set[Channel] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._home: str | None = None

    def stream(self, request: Request) -> EventSource:
        return AgentSource(self, request)

    @abstractmethod
    async def connect(self, turn: Turn) -> Channel:
        """A channel for a turn: a new session, or the one of `turn.session`, resumed (or forked)."""

    @abstractmethod
    def key_of(self, turn: Turn) -> object:
        """What a channel for this turn must have been started with."""

    async def shut_down(self) -> None:  # noqa: B027  # not all share something
        """What all channels share is let go of: they are closed already."""

    def abandon(self) -> None:  # noqa: B027
        """The same without awaiting: its loop is gone."""

    @property
    def home(self) -> str | None:
        """The HOME that agents are given, if it is not the user's own."""
        if self.options.isolated and self._home is None:
            self._home = tempfile.mkdtemp(prefix=f"asyncllm-{self.name}-")  # private: mode 0700
            weakref.finalize(self, shutil.rmtree, self._home, ignore_errors=True)
        return self._home or self.options.home

    # ---- for the sources

    async def checkout(self, request: Request) -> tuple[Channel, Turn]:
        """The turn that a request asks for, and its channel: one that stands still until it has these results, one that waits
        for another turn, or a new one."""
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            if self._loop is not None and self._loop.is_running():
                raise InvalidRequestError(
                    f"{self.name}: this client's processes live under another event loop, which runs: use one client a loop"
                )
            self._forget()
            self._loop = loop
        check_choice(request, self.name)
        turn = results_turn(request)
        channel = None if turn is None else self._unparked(turn)
        if turn is None or channel is None:
            turn = self._alone(turn_of(request, self.name, self.REFUSED))
            channel = await self._waiting(turn) or await self.connect(turn)
        self._busy.add(channel)
        return channel, turn

    def _unparked(self, turn: Turn) -> Channel | None:
        for result in turn.results:
            if (channel := self._parked.get(result.id)) is not None:
                self._unpark(channel)
                return channel
        return None

    def _alone(self, turn: Turn) -> Turn:
        """A session that is in the middle of a turn, or has gone on from where this one wants to, is forked."""
        session = turn.session
        if session is None or session.fork:
            return turn
        idle = self._idle.get(session.id)
        if idle is None:
            taken = any(channel.session_id == session.id for channel in (*self._busy, *self._parked.values()))
        else:
            taken = bool(session.turn and idle.turn_id and session.turn != idle.turn_id)
        return replace(turn, session=session.forked()) if taken else turn

    async def _waiting(self, turn: Turn) -> Channel | None:
        """The session itself, if it is alive. One that was started with something else ends: it is resumed."""
        session = turn.session
        if session is None or session.fork:
            return None
        idle = self._idle.pop(session.id, None)
        if idle is None or idle.key == self.key_of(turn):
            return idle
        await idle.aclose()
        return None

    def _unpark(self, channel: Channel) -> None:
        for call in [call for call, parked in self._parked.items() if parked is channel]:
            del self._parked[call]

    def checkin(self, channel: Channel) -> None:
        """Its turn is over, or stands still."""
        self._busy.discard(channel)
        if channel.waiting:
            for call in channel.waiting:
                self._parked[call] = channel
            if len(parked := list(dict.fromkeys(self._parked.values()))) > PARKED:  # nobody came back to them
                self._unpark(parked[0])
                self._close_soon(parked[0])
        elif channel.reusable and self.options.idle_processes > 0:
            if (older := self._idle.pop(channel.session_id, None)) is not None:
                self._close_soon(older)
            self._idle[channel.session_id] = channel
            while len(self._idle) > self.options.idle_processes:
                self._close_soon(self._idle.pop(next(iter(self._idle))))
        else:
            self._close_soon(channel)

    async def drop(self, channel: Channel) -> None:
        """It is of no more use."""
        self._busy.discard(channel)
        await channel.aclose()

    def _close_soon(self, channel: Channel) -> None:
        """An answer does not wait until a program has ended. :meth:`aclose` does."""
        task = asyncio.get_running_loop().create_task(channel.aclose(), name=f"end {self.name}")
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.warning("%s did not end as it should: %r", self.name, error)

    def forget(self, channel: Channel) -> None:
        self._busy.discard(channel)
        channel.abort()

    def _channels(self) -> set[Channel]:
        channels = {*self._idle.values(), *self._parked.values(), *self._busy}
        self._idle.clear()
        self._parked.clear()
        self._busy.clear()
        return channels

    def _forget(self) -> None:
        self.abandon()
        for channel in self._channels():
            channel.abort()
        self._closing.clear()  # they ended with their loop

    async def aclose(self) -> None:
        """End every process. Turns that are under way break."""
        if self._loop is not None and self._loop is not asyncio.get_running_loop():
            self._forget()
        try:
            await asyncio.gather(*self._closing, *(channel.aclose() for channel in self._channels()))
            await self.shut_down()
        finally:
            home, self._home = self._home, None
            if home is not None:
                await asyncio.to_thread(shutil.rmtree, home, ignore_errors=True)


class AgentSource:
    """One turn under way."""

    __slots__ = ("_backend", "_channel", "_closed", "_request")

    def __init__(self, backend: AgentBackend, request: Request) -> None:
        self._backend = backend
        self._request = request
        self._channel: Channel | None = None
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if self._closed:
            raise StopAsyncIteration
        backend = self._backend
        batch: list[StreamEvent]
        try:
            if self._channel is None:
                self._channel, turn = await backend.checkout(self._request)
                await self._channel.say(turn)
            batch = await self._channel.next()
        except (LLMError, OSError) as error:
            failure = error if isinstance(error, LLMError) else UnknownError(f"{backend.name}: {error}")
            batch = [StreamError(failure)]
        last = batch[-1]
        if isinstance(last, StreamError):
            last.error.provider = last.error.provider or backend.name
            last.error.model = last.error.model or self._request.model
            if (channel := self._taken()) is not None:
                await backend.drop(channel)
        elif isinstance(last, Finish) and (channel := self._taken()) is not None:
            backend.checkin(channel)
        return batch

    def _taken(self) -> Channel | None:
        """It is over: what it had is somebody else's now."""
        self._closed = True
        channel, self._channel = self._channel, None
        return channel

    async def aclose(self) -> None:
        if (channel := self._taken()) is None:
            return
        reusable = False
        try:
            with contextlib.suppress(LLMError, OSError):
                reusable = await channel.interrupt()
        except BaseException:
            self._backend.forget(channel)
            raise
        if reusable:
            self._backend.checkin(channel)
        else:
            await self._backend.drop(channel)

    def abort(self) -> None:
        if (channel := self._taken()) is not None:
            self._backend.forget(channel)
