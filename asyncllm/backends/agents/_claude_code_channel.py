"""One session of Claude Code that is alive: its process, and the turn under way."""

from __future__ import annotations

import asyncio
import inspect
import uuid
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ..._version import __version__
from ...events import Finish, LLMError, Session, StreamError, StreamEvent, has_content
from ...protocols.agents._turn import GONE, Turn, turn_of
from ...protocols.claude_code import (
    NOBODY,
    Desk,
    OutputDecoder,
    Permission,
    StreamDecoder,
    ask,
    initialize,
    leaf_of,
    overhear,
    plain_prompt,
    user_line,
)
from ...transports._process import Process
from .._private_files import Scratch
from ._agent import Channel
from ._claude_code_files import read_state, restore, sessions_of
from ._program import exit_of, silent, start_program, tell

if TYPE_CHECKING:
    from ._claude_code import ClaudeCodeBackend

GRACE = 2.0
"""Seconds that it is given to stop, or to answer what is asked besides."""


class ClaudeCodeChannel(Channel):
    def __init__(self, backend: ClaudeCodeBackend, key: object) -> None:
        self.key = key
        self._backend = backend
        self._both = backend.interface == "stream-json"
        self._scratch = Scratch(backend.name)
        self._process: Process | None = None
        self._env: dict[str, str] = {}
        self._decoder: StreamDecoder | OutputDecoder | None = None
        self._events: list[StreamEvent] = []  # said before they were asked for
        self._said = ""  # the name of what the user said last
        self._asked = 0
        self._begun = False  # the turn has said something of its answer
        self._earlier = False  # there was a turn before this one
        self._from = ""  # its name
        self._turn: Turn | None = None
        self._parked = False  # the turn stood still until it got results
        self._heard = False  # the process has said something since it was told something
        self._lost = False  # it ended before that
        self._ending = False  # nobody reads what it says any more

    # ---- beginning a turn

    async def say(self, turn: Turn) -> None:
        waiting, self.waiting = self.waiting, ()
        self._backend.check(turn)
        self._turn, self._parked = turn, bool(waiting)
        self.reusable = self._heard = self._ending = False
        process, decoder = self._process, self._decoder
        if process is None:
            await self._begin(turn)
            return
        assert isinstance(decoder, StreamDecoder)
        if waiting:
            decoder.answer(turn.results)
            line = decoder.desk.take()
        else:
            decoder.desk.renew()
            self._decoder = self._new_decoder(turn, decoder.session, decoder)
            line = decoder.desk.take() + self._prompt(turn)
        await tell(process, line)

    def _prompt(self, turn: Turn) -> bytes:
        self._said = str(uuid.uuid4())
        self._begun = False
        self._earlier = turn.session is not None
        self._from = turn.session.turn if turn.session is not None else ""
        return user_line(self._said, turn.parts) if self._both else plain_prompt(turn.parts)

    async def _again(self) -> None:
        """The process was gone before it was told anything of the turn: another goes on with the session."""
        turn = self._turn
        assert turn is not None
        if self._parked:
            found = turn_of(turn.request, self._backend.name, self._backend.REFUSED)
            turn = replace(found, warnings=(*found.warnings, GONE))
        await self.aclose()
        await self._begin(turn)

    async def _begin(self, turn: Turn) -> None:
        """A process, and what it is told first."""
        self._heard = True
        await self._start(turn, self._prompt(turn))

    async def _start(self, turn: Turn, prompt: bytes) -> None:
        backend, own, session = self._backend, self._backend.own, turn.session
        self._env = env = await backend.environment_of(turn.request, resumed=session is not None)
        directory = own.directory
        resumed = None
        if session is not None:
            resumed = await self._scratch.filled_by(restore, session, sessions_of(env, directory), self._scratch)
        id = str(uuid.uuid4()) if backend.interface == "text" and (resumed is None or resumed.fork) else None
        command = await self._scratch.filled_by(backend.command, turn, self._scratch, resumed, id)
        known = session.id if session is not None and resumed is not None and not resumed.fork else id or ""
        self._decoder = decoder = self._new_decoder(turn, Session(backend=backend.name, id=known, cwd=directory))
        try:
            async with asyncio.timeout(own.start_timeout):
                process = self._process = await start_program(backend.name, command, env=env, cwd=directory)
                if self._both:
                    prompt = initialize(tools=bool(turn.tools), agents=own.agents) + prompt
                await tell(process, prompt)
                if not self._both:
                    process.close_stdin()
                if isinstance(decoder, StreamDecoder):  # the others say nothing before the answer is whole
                    self._events = await self._read(process, decoder)
        except TimeoutError:
            raise silent("claude", own.start_timeout) from None

    def _new_decoder(
        self, turn: Turn, session: Session, before: StreamDecoder | None = None
    ) -> StreamDecoder | OutputDecoder:
        request, interface = turn.request, self._backend.interface
        if interface in ("json", "text"):
            return OutputDecoder(session, interface, model=request.model, warnings=turn.warnings)
        desk = before.desk if before is not None else Desk(turn.tools, version=__version__)
        cost = before.cost if before is not None else 0.0
        decoder = StreamDecoder(
            session, model=request.model, desk=desk, warnings=turn.warnings, cost=cost, raw=request.raw
        )
        decoder.rest = before.rest if before is not None else []
        return decoder

    # ---- events

    async def next(self) -> list[StreamEvent]:
        process, decoder = self._process, self._decoder
        assert process is not None
        assert decoder is not None
        events, self._events = self._events, []
        while not events:
            events = await self._read(process, decoder)
            if self._lost:
                self._lost = False
                await self._again()
                return await self.next()
        self._begun = self._begun or has_content(events)
        self.session_id = decoder.session.id
        last = events[-1]
        if isinstance(last, StreamError):
            await self._failed(last.error)
        elif isinstance(last, Finish):
            events = await self._over(decoder, events)
        return events

    async def _read(self, process: Process, decoder: StreamDecoder | OutputDecoder) -> list[StreamEvent]:
        """Events of the next lines, which may be none; what they ask is answered."""
        if isinstance(decoder, StreamDecoder) and decoder.rest:
            events = decoder.decode_lines(())
        elif lines := await process.lines():
            self._heard = True
            events = decoder.decode_lines(lines)
        elif self._heard:
            return decoder.close(await exit_of(process, GRACE))
        else:
            self._lost = True
            return []
        if isinstance(decoder, StreamDecoder):
            desk = decoder.desk
            while desk.permissions:
                await self._permit(desk, desk.permissions.pop(0))
            if said := desk.take():
                await tell(process, said)
        return events

    async def _permit(self, desk: Desk, asked: Permission) -> None:
        decide = self._backend.own.can_use_tool
        if decide is None or self._ending:
            desk.decide(asked, allow=False, why=NOBODY)
            return
        allowed = decide(asked.name, asked.arguments)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        desk.decide(asked, allow=allowed is True, why=allowed if isinstance(allowed, str) else "the user said no")

    async def _over(self, decoder: StreamDecoder | OutputDecoder, events: list[StreamEvent]) -> list[StreamEvent]:
        """The turn is over, or stands still."""
        if isinstance(decoder, StreamDecoder) and decoder.parked:
            self.waiting = decoder.desk.waiting
            return events
        self.reusable = self._both and self._process is not None and self._process.returncode is None
        self.turn_id = decoder.session.turn
        own = self._backend.own
        if not own.portable or not own.persist:
            return events
        folder = sessions_of(self._env, decoder.session.cwd or own.directory)
        state = await asyncio.to_thread(read_state, folder, decoder.session.id)
        named = [event for event in events if isinstance(event, Session)]
        if not named:
            return events
        session = replace(named[-1], turn=named[-1].turn or leaf_of(state or b""), state=state)
        return [session if event is named[-1] else event for event in events]

    async def _failed(self, error: LLMError) -> None:
        """What was asked is taken back, so that it is not in the session when it is asked again."""
        if self._earlier and not await self._rewind() and not self._from:
            error.retryable = False

    # ---- ending

    def _listening(self) -> tuple[Process, StreamDecoder] | None:
        """A process that can be asked for something in the middle of its turn, and what reads its answers."""
        process, decoder = self._process, self._decoder
        if process is None or process.returncode is not None or not self._both:
            return None
        return (process, decoder) if isinstance(decoder, StreamDecoder) else None

    async def interrupt(self) -> bool:
        if (listening := self._listening()) is None:
            return False
        process, decoder = listening
        self._ending = self._heard = True
        try:
            async with asyncio.timeout(GRACE):
                await process.write(ask(self._next_id(), "interrupt"))
                while not decoder.done:
                    await self._read(process, decoder)
                    decoder.parked = False
        except (TimeoutError, BrokenPipeError, ConnectionResetError):
            return False
        self.session_id = decoder.session.id
        if self._begun or not await self._rewind():
            self.turn_id = self._said  # what was said until then stays in the session
        self.reusable = process.returncode is None and bool(self.session_id)
        return self.reusable

    async def _rewind(self) -> bool:
        """Take back what the user said last, with all that followed. Whether that was done."""
        if (listening := self._listening()) is None:
            return False
        process, decoder = listening
        id, desk = self._next_id(), decoder.desk
        asking = ask(id, "rewind_conversation", target_message_uuid=self._said)
        try:
            async with asyncio.timeout(GRACE):
                await process.write(asking)
                while id not in desk.replies:
                    lines = await process.lines()
                    if not lines:
                        return False
                    overhear(desk, lines)
        except (TimeoutError, BrokenPipeError, ConnectionResetError, LLMError):
            return False
        reply = desk.replies.pop(id)
        return reply is not None and reply.get("rewound") is True

    def _next_id(self) -> str:
        self._asked += 1
        return f"asyncllm-{self._asked}"

    async def aclose(self) -> None:
        try:
            if self._process is not None:
                await self._process.stop(GRACE)
        finally:
            self._scratch.remove()

    def abort(self) -> None:
        if self._process is not None:
            self._process.kill()
        self._scratch.remove()
