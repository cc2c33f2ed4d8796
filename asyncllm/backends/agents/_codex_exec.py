"""`codex exec` as a channel: a process for each turn."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from ...events import (
    Image,
    InvalidRequestError,
    Part,
    Session,
    StreamError,
    StreamEvent,
    Text,
    TextDelta,
    has_content,
)
from ...protocols.agents._turn import Turn, mark
from ...protocols.codex._exec_decode import ExecDecoder
from ...protocols.codex._requests import Setup, exec_arguments, left_out, with_schema
from ...protocols.codex._rollout import last_turn, totals_in
from ...protocols.codex._usage import counts_of
from ...transports._process import Process
from .._private_files import Scratch
from ._agent import Channel
from ._codex_batches import batches_of
from ._codex_files import place_of, read_rollout, restore, rollout_of
from ._codex_server import started
from ._program import exit_of, silent, tell

if TYPE_CHECKING:
    from ._codex import CodexBackend

SUFFIXES = {"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp"}

LAST_WORDS = 1.0
"""Seconds between the end of a turn and that of its process."""


class ExecChannel(Channel):
    def __init__(self, backend: CodexBackend, setup: Setup, env: dict[str, str], key: object) -> None:
        self.key = key
        self._backend = backend
        self._setup = setup
        self._env = env
        self._process: Process | None = None
        self._decoder: ExecDecoder
        self._scratch = Scratch(backend.name)
        self._resumed = False
        self._turn = ""  # that it goes on from
        self._spoken = self._content = False
        self._ready: list[list[StreamEvent]] = []

    async def say(self, turn: Turn) -> None:
        home = self._backend.codex_home
        session, before = turn.session, None
        self._turn = session.turn if session is not None else ""
        if session is not None:
            self._resumed = True
            session, before = await asyncio.to_thread(_prepared, home, session)
        text, files = await self._scratch.filled_by(self._files, turn)
        here = session or Session(backend="codex", id="")
        self.session_id = here.id
        self._decoder = ExecDecoder(
            Session(backend="codex", id=here.id, cwd=self._setup.cwd),
            model=turn.request.model or str(self._setup.config.get("model", "")),
            before=before if self._resumed else {},
            warnings=(*turn.warnings, *left_out(turn)),
            raw=turn.request.raw,
        )
        own = self._backend.own
        arguments = exec_arguments(
            self._setup,
            turn.request,
            thread=here.id,
            bypass=own.bypass,
            skip_git_check=own.skip_git_check,
            profile=own.profile,
            instructions=files.get("instructions"),
            schema=files.get("schema"),
            images=[path for name, path in files.items() if name.startswith("image")],
            extra=own.extra_args,
        )
        command = [self._backend.executable, *arguments]
        self._process = await started(command, env=self._env, cwd=self._setup.cwd)
        await tell(self._process, text.encode("utf-8", "replace"))
        self._process.close_stdin()

    def _files(self, turn: Turn) -> tuple[str, dict[str, str]]:
        """The prompt, and the private files that a turn needs. Blocks."""
        files: dict[str, str] = {}

        def write(name: str, data: bytes, suffix: str) -> None:
            files[name] = self._scratch.write(f"{name}{suffix}", data)

        if self._setup.system is not None:
            write("instructions", self._setup.system.encode(), ".md")
        output = turn.request.output
        if output is not None and output.strict:
            write("schema", msgspec.json.encode(output.schema), ".json")
        texts: list[str] = []
        parts: list[Part] = with_schema(turn.request, turn.parts)
        for part in parts:
            match part:
                case Text(text=text):
                    texts.append(text)
                case Image(data=bytes() as data, media_type=kind):
                    write(f"image{len(files)}", data, SUFFIXES.get(kind, ".png"))
                case Image():
                    raise InvalidRequestError(
                        "codex exec takes images as bytes, not as URLs (interface='app-server' does)"
                    )
                case _:
                    raise InvalidRequestError(f"codex takes texts and images, not {type(part).__name__}")
        return "\n\n".join(texts), files

    async def next(self) -> list[StreamEvent]:
        process, decoder = self._process, self._decoder
        assert process is not None
        while not self._ready:
            lines = await self._lines(process)
            if self._backend.own.mcp_servers and any(b'"turn.completed"' in line for line in lines):
                await process.exited_within(LAST_WORDS)  # whether they were there, it says elsewhere
            decoder.hear(process.stderr)
            events = decoder.decode_lines(lines) if lines else decoder.close(await exit_of(process, 5.0))
            self.session_id = decoder.thread
            if decoder.done:
                events = await self._over(events)
            self._ready += batches_of(events, content=self._content)
            self._content = self._content or has_content(events)
        return self._ready.pop(0)

    async def _lines(self, process: Process) -> list[bytes]:
        if self._spoken:
            return await process.lines()
        limit = self._backend.options.start_timeout
        try:
            async with asyncio.timeout(limit):
                lines = await process.lines()
        except TimeoutError:
            raise silent("codex", limit) from None
        self._spoken = True
        return lines

    async def _over(self, events: list[StreamEvent]) -> list[StreamEvent]:
        found: list[StreamEvent] = []
        for event in events:
            if isinstance(event, Session) and event.data.get("usage") is not None:
                event = await asyncio.to_thread(self._with_state, event)
            elif isinstance(event, StreamError) and self._resumed and not self._turn:
                event.error.retryable = False  # the request of this turn may stay in the thread
            found.append(event)
        last = next((event for event in found if isinstance(event, Session) and event.turn), None)
        if last is None:
            return found
        return [_marked(event, last) for event in found]

    def _with_state(self, session: Session) -> Session:
        if self._setup.ephemeral or not self._backend.options.portable:
            return session
        path = rollout_of(self._backend.codex_home, session.id)
        if path is None:
            return session
        data = read_rollout(path)
        turn = last_turn(data) if data is not None else ""
        return replace(session, state=data, turn=turn, data={**session.data, "file": place_of(path)})

    async def interrupt(self) -> bool:
        """There is no way to stop a turn but to end the process."""
        return False

    async def aclose(self) -> None:
        process, self._process = self._process, None
        try:
            if process is not None:
                await process.stop()
        finally:
            await asyncio.to_thread(self._scratch.remove)

    def abort(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.kill()
        self._scratch.remove()


def _marked(event: StreamEvent, session: Session) -> StreamEvent:
    """The mark of the session names its turn, which only the file knows."""
    if isinstance(event, TextDelta) and event.state is not None and not event.text:
        return TextDelta("", mark(session))
    return event


def _prepared(home: Path, session: Session) -> tuple[Session, dict[str, int] | None]:
    """The session as it can be resumed here, and the counts of its thread so far. Blocks."""
    path = rollout_of(home, session.id)
    data = read_rollout(path) if path is not None else None
    moved = data is not None and bool(session.turn) and last_turn(data) not in ("", session.turn)
    copy = session.fork or moved  # it has gone on since, or its last turn has failed
    session = restore(home, session, (), copy=copy, through=session.turn if copy else "")
    path = rollout_of(home, session.id)
    data = read_rollout(path) if path is not None else None
    return session, (totals_in(data) if data is not None else None) or counts_of(session.data.get("usage"))
