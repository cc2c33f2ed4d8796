"""A session on `opencode serve`: its turns, one after another."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from msgspec.structs import replace

from ...events import Finish, LLMError, Session, StreamError, StreamEvent
from ...protocols.agents._turn import Turn, results_for
from ...protocols.opencode._config import OWN_TOOLS
from ...protocols.opencode._request import check, prompt
from ...protocols.opencode._serve import OwnCall, ServeDecoder
from ...protocols.opencode._state import joined, read_messages
from ._opencode_events import Inbox
from ._opencode_parked import OpencodeChannel
from ._opencode_server import OpencodeServer
from ._tool_server import ToolSession

if TYPE_CHECKING:
    from ._opencode_options import OpencodeOptions

SETTLED = 0.1
"""Seconds without news after which a turn with calls of ours is taken to wait for them: opencode runs each call when it has
come, while the model may still write the next one, and does not say which is the last."""

INTERRUPT = 2.0
"""Seconds within which opencode stops a turn."""

RETRIES = 2
"""How often opencode may ask a model again in a session that is gone on with. A new one is simply begun again."""


class ServeChannel(OpencodeChannel):
    """What a session is told is answered on the stream of events that all sessions share."""

    def __init__(
        self,
        server: OpencodeServer,
        options: OpencodeOptions,
        session: Session,
        *,
        key: object,
        tools: ToolSession | None,
        after: str = "",
        warnings: tuple[str, ...] = (),
    ) -> None:
        """`after`: the last message of the session, if it has any; `session` has its work directory."""
        self.key = key
        self.session_id = session.id
        self.turn_id = after
        self._server = server
        self._options = options
        self._session = replace(session, turn="", state=None, fork=False)
        self._tools = tools
        self._warnings = warnings
        self._inbox = Inbox()
        self._decoder: ServeDecoder | None = None
        self._parked: dict[str, OwnCall] = {}
        self._from = ""  # the turn of the session after which this one comes, where the request names it
        self._closed = False
        server.subscribe(session.id, self._inbox)

    @property
    def gone(self) -> bool:
        return self._server.gone

    @property
    def _own(self) -> str:
        return "" if self._tools is None else f"{OWN_TOOLS}{self._tools.number}_"

    def _path(self, end: str = "") -> str:
        return f"/session/{self.session_id}{end}"

    async def _call(self, method: str, end: str, body: object = None) -> bytes:
        return await self._server.call(method, self._path(end), body, directory=self._session.cwd)

    # ---- a turn

    async def say(self, turn: Turn) -> None:
        if self.waiting:
            self._answer(turn)
            return
        request = turn.request
        self._from = turn.session.turn if turn.session is not None else ""
        warnings = (*turn.warnings, *check(request), *self._warnings)
        self._warnings = ()
        self._inbox.clear()
        self._decoder = ServeDecoder(
            self._session,
            model=request.model,
            after=self.turn_id,
            own=self._own,
            retries=RETRIES if self.turn_id else 0,
            warnings=warnings,
            raw=request.raw,
            structured=request.output is not None,
        )
        await self._call(
            "POST", "/prompt_async", prompt(turn, agent=self._options.agent, variant=self._options.variant)
        )

    def _answer(self, turn: Turn) -> None:
        """The results that the turn waits for. A call has no name at the tool server: what it asks for tells it."""
        parked, self._parked, self.waiting = self._parked, {}, ()
        if self._tools is not None:
            for result in results_for({call.id: call.name for call in parked.values()}, turn.results):
                call = parked[result.id]
                self._tools.resolve(call.name, call.arguments, result)

    async def next(self) -> list[StreamEvent]:
        decoder = self._decoder
        assert decoder is not None
        events: list[StreamEvent] = []
        while not events:
            try:
                async with asyncio.timeout(SETTLED if decoder.calls and not decoder.forming else None):
                    lines = await self._inbox.lines()
            except TimeoutError:
                self._parked = {call.id: call for call in decoder.calls.values()}
                self.waiting = tuple(self._parked)
                return decoder.park()
            except LLMError as error:
                events = decoder.fail(error)
            else:
                events = decoder.decode_lines(lines)
        if decoder.done:
            await self._ended(decoder, events)
        return events

    async def _ended(self, decoder: ServeDecoder, events: list[StreamEvent]) -> None:
        last = events[-1]
        self.reusable = isinstance(last, Finish)
        if isinstance(last, StreamError):
            await self._undo(decoder, last.error)
        else:
            self.turn_id = decoder.session.turn
            if self._options.portable:
                events[-2] = replace(decoder.session, state=await self.state())

    async def state(self) -> bytes | None:
        """All of the session, as opencode exports it."""
        try:
            return joined(await self._call("GET", ""), await self._call("GET", "/message"))
        except LLMError:
            return None

    async def _undo(self, decoder: ServeDecoder, error: LLMError) -> None:
        """The failed turn is taken out of the session, so that the same may be asked again."""
        before = self.turn_id
        if decoder.gave_up:
            await self.interrupt()
        if self.gone and before and not self._from:
            error.retryable = False  # the question stays, and nobody knows where the session was before it
        if not before or self.gone:
            return  # nobody goes on with it; or the next turn does from the last good one
        try:
            async with asyncio.timeout(INTERRUPT):
                for id in reversed(read_messages(await self._call("GET", "/message"))):
                    if id > before:
                        await self._call("DELETE", f"/message/{id}")
        except (LLMError, TimeoutError):
            error.retryable = False

    async def interrupt(self) -> bool:
        decoder, self.waiting, self._parked = self._decoder, (), {}
        if decoder is None or self.gone:
            return False
        try:
            async with asyncio.timeout(INTERRUPT):
                await self._call("POST", "/abort", {})
                if self._tools is not None:
                    self._tools.refuse("the turn was interrupted")
                while not self._idle(await self._inbox.lines()):
                    pass
        except (LLMError, TimeoutError):
            return False
        self.turn_id = max([self.turn_id, decoder.user, *decoder.messages])
        self.reusable = not decoder.gave_up
        return self.reusable

    def _idle(self, lines: list[bytes]) -> bool:
        assert self._decoder is not None
        self._decoder.decode_lines(lines)
        return (self._decoder.done and not self._decoder.gave_up) or any(b'"session.idle"' in line for line in lines)

    # ---- the end

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            await self._let_go()

    async def _let_go(self) -> None:
        """The turn is aborted before its calls are refused: it would go on otherwise."""
        self._server.unsubscribe(self.session_id, self._inbox)
        tools, self._tools = self._tools, None
        try:
            async with asyncio.timeout(INTERRUPT):
                if not self.gone:
                    if self._decoder is not None and (self.waiting or not self._decoder.done):
                        await self._call("POST", "/abort", {})
                    if tools is not None:
                        path = f"/mcp/{OWN_TOOLS}{tools.number}/disconnect"
                        await self._server.call("POST", path, {}, directory=self._session.cwd)
        except (LLMError, TimeoutError):
            pass  # nobody is there any more, or nobody listens
        finally:
            if tools is not None:
                tools.remove()

    def abort(self) -> None:
        if not self._closed:
            self._closed = True
            if not self.gone and self._server.here:
                self._server.spawn(self._let_go())
            elif self._tools is not None:
                self._tools.remove()
