"""`opencode run`: a process for each turn. Slower, and without deltas; for versions whose server is of no use."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from typing import Any

from msgspec.structs import replace

from ...events import (
    Finish,
    InvalidRequestError,
    NotFoundError,
    Session,
    StreamError,
    StreamEvent,
    UnknownError,
)
from ...protocols.agents._exit import Exit
from ...protocols.agents._turn import Turn
from ...protocols.opencode._config import OWN_TOOLS, denied, last_word, tool_server
from ...protocols.opencode._errors import NAME
from ...protocols.opencode._request import check, run_arguments, run_prompt
from ...protocols.opencode._run import PlainDecoder, RunDecoder
from ...protocols.opencode._state import check_id, read_state
from ...transports._process import Process
from .._registry import Settings
from ._agent import Channel
from ._opencode import _directory, finished, import_state
from ._opencode_channel import RETRIES, SETTLED
from ._opencode_options import Launch, OpencodeOptions
from ._opencode_parked import OpencodeBackend, OpencodeChannel, told_results
from ._program import lines_or_calls, start_program, tell
from ._tool_server import Call, ToolServer, ToolSession

AGENT = "asyncllm"
"""The agent of opencode that has our system prompt, where the client names none."""

SUBAGENTS = ("general", "explore")
"""Its own; with the server, sub-agents have the rules of the session."""


class RunBackend(OpencodeBackend):
    options: OpencodeOptions

    def __init__(self, options: OpencodeOptions, settings: Settings) -> None:
        super().__init__(NAME, options)
        self.launch = Launch(options, settings)
        self._tools = ToolServer()

    def key_of(self, turn: Turn) -> object:
        return None  # no process serves two turns

    async def connect(self, turn: Turn) -> Channel:
        check(turn.request)
        plain = self.options.interface == "text"
        run_prompt(turn)
        if plain and turn.tools:
            raise InvalidRequestError('opencode: interface="text" has no tools')
        session, directory = None, self.options.directory
        if turn.session is not None:
            check_id(turn.session.id)
            session, directory = await self._found(turn, turn.session)
        own = (await self._tools.start()).add(turn.tools) if turn.tools else None
        return RunChannel(self, session, directory, own, plain=plain)

    async def _found(self, turn: Turn, session: Session) -> tuple[Session, str]:
        """The session on this machine, and its work directory: from another one, opencode would wait for ever."""
        state = await self.exported(turn, session.id, _directory(session.cwd, self.options.directory))
        if state is None and session.state is not None:
            directory = self.options.directory
            if self.options.cwd is None:
                directory = _directory(session.cwd, directory)
            patience = self.options.start_timeout
            await import_state(self.launch, self.home, turn.request.model, session, directory, patience)
            state = await self.exported(turn, session.id, directory)
        known = read_state(state or b"")
        if known is None:
            raise NotFoundError(f"opencode: there is no such session here, and no state to make it from: {session.id}")
        if session.turn and known.ids[-1:] != [session.turn]:
            why = "the session has gone on since then, or has no such turn"
            raise InvalidRequestError(f'opencode: {why}; only interface="serve" goes on from an earlier one')
        directory = known.info.directory
        if _directory(directory, "") != directory:
            raise NotFoundError(f"opencode: the work directory of the session is not here: {directory}")
        return replace(session, cwd=directory, turn=""), directory

    async def exported(self, turn: Turn, session: str, directory: str) -> bytes | None:
        """All of a session; None where there is none."""
        environment = self.launch.environment(self.home, turn.request.model)
        command = [*self.launch.command(), "export", session]
        with contextlib.suppress(UnknownError):
            state = await finished(command, environment, directory, self.options.start_timeout)
            if read_state(state) is not None:
                return state
        return None

    async def shut_down(self) -> None:
        tools, self._tools = self._tools, ToolServer()
        await tools.aclose()

    def abandon(self) -> None:
        tools, self._tools = self._tools, ToolServer()
        with contextlib.suppress(RuntimeError):  # its loop is closed
            tools.abort()


class RunChannel(OpencodeChannel):
    """One run."""

    def __init__(
        self, backend: RunBackend, session: Session | None, directory: str, tools: ToolSession | None, *, plain: bool
    ) -> None:
        self._backend = backend
        self._session = session
        self._directory = directory
        self._tools = tools
        self._plain = plain
        self._turn: Turn
        self._process: Process | None = None
        self._decoder: RunDecoder | PlainDecoder
        self._calls: list[Call] = []  # of our tools

    @property
    def gone(self) -> bool:
        return self._process is None or self._process.returncode is not None

    async def say(self, turn: Turn) -> None:
        if self.waiting:
            waiting, self.waiting = self.waiting, ()
            assert self._tools is not None
            self._tools.answer_all(waiting, turn.results)
            return
        self._turn = turn
        options, launch = self._backend.options, self._backend.launch
        name = f"{OWN_TOOLS}{self._tools.number}" if self._tools is not None else ""
        agent = options.agent or (AGENT if turn.system else None)
        described: dict[str, Any] = {"permission": last_word(launch.rules)}
        if turn.system:
            described |= {"prompt": turn.system, **({"mode": "primary"} if agent == AGENT else {})}
        helpers = {name: {"permission": denied(launch.rules)} for name in SUBAGENTS}
        more = {"agent": {**helpers, agent or "build": described}}
        servers = {name: tool_server(self._tools.url, self._tools.headers)} if self._tools is not None else {}
        arguments = run_arguments(
            turn, session=self._session, agent=agent, variant=options.variant, title=options.title, plain=self._plain
        )
        environment = launch.environment(self._backend.home, turn.request.model, servers=servers, more=more)
        warnings = (*turn.warnings, *check(turn.request), *told_results(turn))
        going_on = None if self._session is None or self._session.fork else replace(self._session, state=None)
        if self._plain:
            self._decoder = PlainDecoder(going_on, model=turn.request.model, warnings=warnings, cwd=self._directory)
        else:
            self._decoder = RunDecoder(
                going_on,
                model=turn.request.model,
                own=f"{name}_" if name else "",
                retries=RETRIES if self._session is not None else 0,
                warnings=warnings,
                raw=turn.request.raw,
                cwd=self._directory,
            )
        command = [*launch.command(), *arguments, *options.extra_args]
        self._process = await start_program(NAME, command, env=environment, cwd=self._directory)
        await tell(self._process, run_prompt(turn).encode("utf-8", "replace"))
        self._process.close_stdin()

    async def next(self) -> list[StreamEvent]:
        process = self._process
        assert process is not None
        events: list[StreamEvent] = []
        while not events:
            if self._calls:
                return await self._park()
            lines, self._calls = await lines_or_calls(process, self._tools)
            if lines is not None:
                events = self._decoder.decode_lines(lines) if lines else await self._end(process)
        if isinstance(last := events[-1], StreamError) and self._session is not None:
            last.error.retryable = False  # what was asked stays in the session
        return events

    async def _park(self) -> list[StreamEvent]:
        assert self._tools is not None
        assert isinstance(self._decoder, RunDecoder)
        calls, self._calls = self._calls, []
        with contextlib.suppress(TimeoutError):
            while True:  # calls of one answer come one after another
                async with asyncio.timeout(SETTLED):
                    calls += await self._tools.came()
        events: list[StreamEvent] = []
        for call in calls:
            events += self._decoder.call(call.id, call.name, call.arguments)
        self.waiting = tuple(call.id for call in calls)
        return [*events, *self._decoder.park()]

    async def _end(self, process: Process) -> list[StreamEvent]:
        code = await process.wait()
        events = self._decoder.close(Exit(code, process.stderr, process.tail))
        if isinstance(events[-1], Finish) and self._decoder.session.id:
            self.session_id = self._decoder.session.id
            options = self._backend.options
            if options.portable and not self._plain:
                state = await self._backend.exported(self._turn, self.session_id, self._directory)
                events[-2] = replace(self._decoder.session, state=state)
        return events

    async def interrupt(self) -> bool:
        return False  # opencode is ended: it knows no other way

    async def aclose(self) -> None:
        if self._tools is not None:
            self._tools.remove()
        if self._process is not None:
            await self._process.stop(first=signal.SIGTERM)

    def abort(self) -> None:
        if self._tools is not None:
            with contextlib.suppress(RuntimeError):  # its loop is closed
                self._tools.remove()
        if self._process is not None:
            self._process.kill()
