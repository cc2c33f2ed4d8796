"""`asyncllm chat`: one question, or a conversation on a terminal."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from .._client import Client
from .._conversation import Conversation
from ..events import ErrorKind, InvalidRequestError, LLMError, Message, Reply, Text, ToolResult
from ..protocols import Tool
from ..protocols.agents._turn import mark
from ..tools import Toolbox
from ._approve import Approver
from ._background import Background
from ._describe import name_of
from ._exits import report
from ._render import View
from ._terminal import Screen, one_line
from ._turn import Turn

MakeView = Callable[[], View]

HELP = """\
/tools        what the model may call
/clear        forget what was said
/save FILE    write the conversation to a file (--history FILE goes on with it)
/quit         end, as do an empty line and Ctrl-D; Ctrl-C stops an answer"""

_FIXES: dict[ErrorKind, str] = {
    "connection": "does it run, and is the --mcp right?",
    "timeout": "does it run, and is the --mcp right?",
    "authentication": "--mcp-header 'Authorization: Bearer ...' gives it a key",
    "permission": "--mcp-header 'Authorization: Bearer ...' gives it another key",
}
"""Of a server that cannot be connected to."""

_COMMAND = re.compile(r"(/[a-z]+)(?:\s+(.*))?")


def question_from(prompt: str | None) -> str | None:
    """The prompt with what is piped in; None where a terminal can be asked instead."""
    terminal = sys.stdin is not None and sys.stdin.isatty()
    pieces = [] if prompt is None or prompt == "-" else [prompt]
    if sys.stdin is not None and (prompt == "-" or not terminal):
        pieces.append(sys.stdin.buffer.read().decode("utf-8", "replace").rstrip())
    question = "\n\n".join(piece for piece in pieces if piece.strip())
    if not question and (prompt is not None or not terminal):
        raise InvalidRequestError("there is no prompt: give one as an argument or on stdin")
    return question or None


class History:
    """What was said so far; with a file, from there, and kept there."""

    def __init__(self, file: Path | None = None) -> None:
        self._file = file
        self.conversation = Conversation()
        if file is not None:
            try:
                self.conversation = Conversation.load(file)
            except FileNotFoundError:
                if not file.absolute().parent.is_dir():
                    raise InvalidRequestError(f"--history {file}: there is no such directory") from None
            except OSError as error:
                raise InvalidRequestError(f"--history {file}: {error.strerror or error}") from error

    def keep(self, conversation: Conversation) -> None:
        self.conversation = conversation
        if self._file is not None:
            self.save(self._file)

    def save(self, file: Path) -> None:
        """Raises InvalidRequestError where that does not go."""
        try:
            self.conversation.save(file)
        except OSError as error:
            raise InvalidRequestError(f"the conversation was not saved to {file}: {error.strerror or error}") from error


def _stopped(partial: Reply[object]) -> Reply[object]:
    """A turn that Ctrl-C ended. An agent has what was said till then in its session, which goes on behind it."""
    session, messages = partial.session, partial.messages
    if session is None or not messages or messages[-1].role != "assistant":
        return partial
    here = Text("", mark(replace(session, turn="")))
    return replace(partial, messages=[*messages[:-1], Message("assistant", [*messages[-1].parts, here])])


class Chat:
    """Answers of one client, with one history and the same tools, whose servers stay connected."""

    def __init__(
        self,
        thread: Background,
        client: Client,
        screen: Screen,
        make_view: MakeView,
        *,
        history: History,
        tools: Sequence[Any] = (),
        approver: Approver | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        self._thread = thread
        self._client = client
        self._screen = screen
        self._make_view = make_view
        self._history = history
        self._tools = tools
        self._approver = approver
        self._options = options or {}
        self._specs: Sequence[Tool] = ()

    @contextlib.contextmanager
    def connected(self, servers: Sequence[str], *, quiet: bool) -> Iterator[None]:
        """In this block, the servers among the tools are connected. Raises the typed error of one that is down."""
        toolbox = Toolbox(self._tools)
        if servers and not quiet:
            self._screen.note(f"connecting to {', '.join(servers)} ...")
        try:
            self._thread.run(toolbox.open)
        except LLMError as error:
            if error.kind in _FIXES:
                error.add_note(_FIXES[error.kind])
            raise
        try:
            self._specs = toolbox.specs
            if servers and not quiet:
                self._screen.note("; ".join(f"{name}: {self._count(name)} tools" for name in servers))
            yield
        finally:
            self._thread.run(toolbox.close)

    def _count(self, server: str) -> int:
        return sum(spec.name.startswith(f"{server}__") for spec in self._specs)

    def ask(self, question: str) -> Reply[object]:
        """One answer, shown as it comes, and kept. Raises the error with which it ends.

        What fails is forgotten, unless tools were called: they were, whatever came after. So is what Ctrl-C stopped before
        anything was said.
        """
        asked = self._history.conversation.fork()
        asked.append(question)
        stream = self._client.run(asked, tools=self._tools, approve=self._approver, **self._options)
        turn = Turn(self._thread, stream, self._make_view(), self._approver)
        before = len(asked)
        try:
            reply = turn.run()
        except LLMError:
            asked.append(turn.partial)
            if any(isinstance(part, ToolResult) for message in asked[before:] for part in message.parts):
                self._history.keep(asked)
            raise
        except KeyboardInterrupt:
            asked.append(_stopped(turn.partial))
            if len(asked) > before:
                self._history.keep(asked)
            raise
        asked.append(reply)
        self._history.keep(asked)
        return reply

    def converse(self, *, debug: bool) -> None:
        """Ask until an empty line or Ctrl-D. What goes wrong is told."""
        while question := self._next():
            try:
                if (command := _COMMAND.fullmatch(question)) is None:
                    self._ask_on(question)
                elif command[1] == "/quit":
                    return
                else:
                    self._command(command[1], (command[2] or "").strip())
            except LLMError as error:
                report(error, debug=debug)

    def _next(self) -> str:
        """A line from the terminal; "" at its end."""
        try:
            return self._screen.ask("> ", remembered=True).strip()
        except EOFError:
            self._screen.notes([""], dim=False)
            return ""

    def _ask_on(self, question: str) -> None:
        before = self._history.conversation
        try:
            self.ask(question)
        except KeyboardInterrupt:
            kept = "; what was said until then is kept" if self._history.conversation is not before else ""
            self._screen.note(f"stopped{kept}")

    def _command(self, name: str, rest: str) -> None:
        screen = self._screen
        match name, rest:
            case "/help", _:
                screen.notes(HELP.splitlines(), dim=False)
            case "/tools", _:
                for spec in self._specs:
                    about = spec.description.strip().partition("\n")[0]
                    screen.note(f"{name_of(spec.name)}: {about}" if about else name_of(spec.name), dim=False)
                if not self._specs:
                    screen.note("none: --tool and --mcp name some", dim=False)
            case "/clear", _:
                self._history.conversation = Conversation()
                screen.note("what was said is forgotten")
            case "/save", "":
                screen.note("/save FILE: where to?", dim=False)
            case "/save", file:
                self._history.save(Path(file).expanduser())
                screen.note(f"saved to {one_line(file)}")
            case _:
                screen.note(f"there is no {name}: /help tells what there is", dim=False)
