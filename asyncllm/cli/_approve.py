"""The terminal is asked before a tool is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from ..events import InvalidRequestError, ToolCall
from ..tools import Allow, Approval, Deny
from ._describe import argument_lines, as_json, call_line, name_of
from ._terminal import Screen, forget_typed_ahead, no_terminal_to_ask_on, one_line

QUESTION = "Allow? [y]es / [n]o / [a]lways this tool / [e]dit arguments / {view}[q]uit: "


def require_terminal() -> None:
    """Raises InvalidRequestError where nobody can be asked."""
    if no_terminal_to_ask_on():
        raise InvalidRequestError(
            "tools are called only with your approval, and there is no terminal to ask on: pass --yes to allow every call"
        )


class Approver:
    """What `approve=` of a run is. The run goes on in the loop of another thread: it puts its question here and waits; the
    thread that has the terminal sees to it in :meth:`attend`, between two things that it shows."""

    def __init__(self, screen: Screen, server_of: Callable[[str], str | None]) -> None:
        self._screen = screen
        self._server_of = server_of
        self._always: set[str] = set()
        self._question: ToolCall | None = None
        self._answer: asyncio.Future[Approval]
        self.knock: Callable[[], None] = lambda: None
        """Called in the loop when there is a question."""
        self.shown: set[str] = set()
        """Ids of the calls that were shown here."""

    async def __call__(self, call: ToolCall) -> Approval:
        self._answer = asyncio.get_running_loop().create_future()
        self._question = call
        self.knock()
        return await self._answer

    def attend(self) -> None:
        """Ask what there is to ask. Raises KeyboardInterrupt where the answer is to stop it all."""
        call, self._question = self._question, None
        if call is None:
            return
        answer = self._answer
        self.shown.add(call.id)
        decision = self._decide(call)
        answer.get_loop().call_soon_threadsafe(_settle, answer, decision)

    def _decide(self, call: ToolCall) -> Approval:
        if call.name in self._always:
            self._screen.note(call_line(call))
            return True
        try:
            return self._ask(call)
        except EOFError:  # nobody is there any more
            self._screen.notes([""], dim=False)
            raise KeyboardInterrupt from None

    def _ask(self, call: ToolCall) -> Approval:
        arguments = call.arguments or {}
        whole = False
        while True:
            more = self._show(call, whole=whole)
            said = self._choice(QUESTION.format(view="[v]iew all / " if more else ""))
            match said[0]:
                case "y":
                    return True
                case "n":
                    reason = one_line(self._screen.ask("Why not? The model is told (Enter: no reason): "))
                    return Deny(f"the user did not allow this call{f': {reason}' if reason else ''}")
                case "a":
                    self._always.add(call.name)
                    return True
                case "e":
                    if (edited := self._edited(as_json(arguments))) is not None:
                        return Allow(edited)
                case "v":
                    whole = True
                case _:
                    raise KeyboardInterrupt

    def _show(self, call: ToolCall, *, whole: bool) -> bool:
        """Whether there is more of it."""
        server = self._server_of(call.name)
        where = f" of the server {name_of(server)}" if server is not None else ""
        lines, cut = argument_lines(call.arguments or {}, self._screen.columns, whole=whole)
        self._screen.notes([f"tool call: {name_of(call.name)}{where}", *lines], dim=False)
        return cut

    def _choice(self, question: str) -> str:
        """One of the answers: nothing else is taken for one, and no key that was pressed before the question was there."""
        while True:
            forget_typed_ahead()
            if (said := self._screen.ask(question).strip().lower()) in _ANSWERS:
                return said

    def _edited(self, text: str) -> dict[str, object] | None:
        """The arguments as they are wanted; None where they are left as they were."""
        while text := self._screen.ask("Arguments (Enter on an empty line: as they were): ", text).strip():
            try:
                return msgspec.json.decode(text, type=dict[str, object])
            except msgspec.DecodeError as error:
                self._screen.note(f"that is not a JSON object: {error}", dim=False)
        return None


_ANSWERS = {"y", "yes", "n", "no", "a", "always", "e", "edit", "q", "quit", "v", "view"}


def _settle(answer: asyncio.Future[Approval], decision: Approval) -> None:
    if not answer.done():  # the run may have ended meanwhile
        answer.set_result(decision)
