"""What a conversation means to an agent that keeps it itself: where to go on, and what is new since then."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from msgspec import Struct

from ...events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    Part,
    ProviderState,
    Reasoning,
    Session,
    Text,
    ToolCall,
    ToolResult,
)
from .._history import own
from .._request import Request, Tool

TOLD = "the earlier conversation is not one of this agent's sessions: it was told as text"
GONE = "the process that waited for these results is gone: they were told as text"
"""Warnings that something was said again, in words."""

UNANSWERED = "there is no result of this call"
"""What an agent is answered whose call of our tools nobody has answered."""

SAMPLING = ("temperature", "top_p", "seed")
"""Options that no agent has: leaving them out is harmless."""


class Turn(Struct, frozen=True, kw_only=True):
    """One turn of a session.

    Attributes:
        request: the whole request; its `system`, `tools`, `output` and so on hold for this turn.
        system: what the agent is told about itself: `request.system` and the system messages of the conversation.
        session: where to go on; None for a new session.
        parts: what the user says: texts and images (and files), in order.
        results: what our tools answered, for a turn that stands still until they have. Where there are none, or their turn is
            gone, they are among the parts, in words.
        warnings: what was adapted or left out, harmlessly.
    """

    request: Request
    system: str | None
    session: Session | None
    parts: tuple[Part, ...]
    results: tuple[ToolResult, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def tools(self) -> tuple[Tool, ...]:
        """Ours that the agent may call."""
        return () if self.request.tool_choice == "none" else self.request.tools

    @property
    def text(self) -> str:
        """What the user says, without images."""
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Text))


def mark(session: Session) -> ProviderState:
    """What the last Text part of a turn carries, so that the messages alone lead back to the session."""
    return ProviderState(session.backend, {"session": session.id, "cwd": session.cwd, "turn": session.turn})


def turn_of(request: Request, backend: str, refused: Sequence[str] = ()) -> Turn:
    """The turn that `request` asks of the agent `backend`. `refused`: options that it cannot do at all.

    The session is that of the last assistant turn of this agent in the conversation, or else `request.session`; new is what
    follows that turn. What is in no session is told in words. Raises :class:`InvalidRequestError` where there is nothing new.
    """
    for name in refused:
        if getattr(request, name):
            raise InvalidRequestError(f"{backend} knows no {name}")
    messages = [message for message in request.messages if message.role != "system"]
    system = "\n\n".join(
        text for text in (request.system, *(m.text for m in request.messages if m.role == "system")) if text
    )
    warnings = [f"{backend} knows no {name}: left out" for name in SAMPLING if getattr(request, name) is not None]
    session, new, before = _where(request, backend, messages)
    parts = [part for message in new for part in message.parts]
    if before:
        warnings.append(TOLD)
        parts = [Text(told(before, more=bool(parts))), *parts]
    if not parts:
        raise InvalidRequestError(
            f"{backend}: there is nothing new to say: the conversation ends with the agent's turn"
        )
    return Turn(
        request=request,
        system=system or None,
        session=session,
        parts=tuple(parts),
        warnings=tuple(warnings),
    )


def check_choice(request: Request, backend: str) -> None:
    """Raises :class:`InvalidRequestError` where the model is to be made to call a tool: no agent can be told that."""
    if request.tool_choice not in (None, "auto", "none"):
        raise InvalidRequestError(f"{backend} chooses its tools itself: tool_choice={request.tool_choice!r}")


def results_turn(request: Request) -> Turn | None:
    """The turn that only brings results of our tools, where the conversation ends with them: for a turn that stands still.
    What the user says after them is added to the last one."""
    new: list[Message] = []
    for message in reversed(request.messages):
        if message.role == "assistant":
            break
        new.insert(0, message)
    results = [part for message in new for part in message.parts if isinstance(part, ToolResult)]
    if not results:
        return None
    said = [part.text for message in new if message.role == "user" for part in message.parts if isinstance(part, Text)]
    if said:
        last = results[-1]
        more = Text("\n\n".join(["", "The user says:", *said]))
        content = [Text(last.content), more] if isinstance(last.content, str) else [*last.content, more]
        results[-1] = msgspec.structs.replace(last, content=content)
    return Turn(request=request, system=request.system, session=None, parts=(), results=tuple(results))


def results_for(calls: Mapping[str, str], results: Iterable[ToolResult]) -> list[ToolResult]:
    """For each of the calls (id: name) that a turn stands still for, its result, or an error where there is none."""
    given = {result.id: result for result in results}
    return [given.get(id) or ToolResult(id, name, UNANSWERED, is_error=True) for id, name in calls.items()]


def _where(
    request: Request, backend: str, messages: list[Message]
) -> tuple[Session | None, list[Message], list[Message]]:
    """The session, what the user says now, and what has to be told in words because it is in no session."""
    given = request.session if request.session is not None and request.session.backend == backend else None
    for at in reversed(range(len(messages))):
        if messages[at].role == "assistant" and (state := _marked(messages[at], backend)):
            id, turn = str(state["session"]), str(state.get("turn", ""))
            if given is not None and given.id == id:
                session = msgspec.structs.replace(given, turn=turn)
            else:
                session = Session(backend=backend, id=id, cwd=str(state.get("cwd", "")), turn=turn)
            return session, *_split(messages[at + 1 :])
    if given is not None:  # what was said before is in there
        spoken = [at for at, message in enumerate(messages) if message.role == "assistant"]
        messages = messages[spoken[-1] + 1 :] if spoken else messages
    return given, *_split(messages)


def _marked(message: Message, backend: str) -> Mapping[str, object]:
    """What :func:`mark` has left in an assistant's turn."""
    for part in reversed(message.parts):
        state = own(part.state, backend)
        if isinstance(state.get("session"), str):
            return state
    return {}


def _split(messages: list[Message]) -> tuple[list[Message], list[Message]]:
    """What the user says last, and what was before that."""
    at = len(messages)
    while at and messages[at - 1].role == "user":
        at -= 1
    return messages[at:], messages[:at]


def told(messages: Sequence[Message], *, more: bool = True) -> str:
    """A conversation in words, for an agent that was not part of it. `more`: something else is said after it."""
    lines = ["This is what was said before:", ""]
    for message in messages:
        for part in message.parts:
            match part:
                case Text(text=text):
                    lines.append(f"[{message.role}] {text}")
                case ToolCall(name=name, raw_arguments=raw):
                    lines.append(f"[{message.role}] (calls {name} with {raw or '{}'})")
                case ToolResult(name=name) as result:
                    lines.append(f"[result of {name}] {result.text}")
                case Reasoning():
                    pass
                case Image() | Audio() | File():
                    lines.append(f"[{message.role}] ({type(part).__name__.lower()})")
    return "\n".join(lines if more else [*lines, "", "Go on from there."])
