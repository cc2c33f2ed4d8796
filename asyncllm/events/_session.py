"""Where a coding agent keeps a conversation: what goes on from there, here or on another machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import msgspec
from msgspec import Struct

from ._errors import InvalidRequestError


class Session(Struct, frozen=True, kw_only=True, tag="session"):
    """A conversation that an agent keeps itself: an event of its stream, and `reply.session` (the last one counts).

        reply = await client.complete("Remember 42.")
        Path("session.json").write_bytes(reply.session.to_json())
        ...
        async with Client("claude-code/sonnet", session=Session.from_json(data)) as client: ...

    Attributes:
        backend, id: which agent, and its own name of the conversation.
        cwd: the work directory that it belongs to.
        turn: the agent's name of the last turn, where it has one: going on from an older one needs a fork.
        state: all that another machine needs: the file in which the agent keeps the conversation. None where it was not
            asked for (`portable=False`) or could not be had. It holds everything that was said, and what tools have read.
        data: what else the backend needs to know (counts so far, the place of the file), as JSON.
        fork: go on in a conversation of its own, and leave this one as it is.
    """

    backend: str
    id: str
    cwd: str = ""
    turn: str = ""
    state: bytes | None = None
    data: Mapping[str, object] = {}
    fork: bool = False

    def __repr__(self) -> str:
        """Without the state, which is private."""
        state = "none" if self.state is None else f"{len(self.state):,} bytes"
        return f"Session(backend={self.backend!r}, id={self.id!r}, cwd={self.cwd!r}, state: {state})"

    def forked(self) -> Self:
        """The same, to be gone on from without changing it."""
        return msgspec.structs.replace(self, fork=True)

    def to_json(self) -> bytes:
        """To be kept or sent; :meth:`from_json` reads it. As private as the conversation: write it with mode 0600."""
        return msgspec.json.encode(self)

    @classmethod
    def from_json(cls, data: bytes | str) -> Session:
        """Raises :class:`asyncllm.InvalidRequestError` for what is none."""
        try:
            return msgspec.json.decode(data, type=Session)
        except (msgspec.DecodeError, UnicodeError) as error:
            raise InvalidRequestError(f"this is not a session: {error}") from None
