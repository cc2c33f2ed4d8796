"""The file in which Claude Code keeps a session."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from msgspec import Struct

from ...events import NotFoundError, Session
from ...protocols.claude_code import covers, file_name, folder_of, leaf_of, until
from .._private_files import Scratch, write_private


class Resumed(Struct, frozen=True):
    """What `--resume` says, and whether with `--fork-session`."""

    name: str
    fork: bool


def sessions_of(env: dict[str, str], cwd: str) -> Path:
    """The folder of a work directory's sessions, for a program with this environment."""
    configuration = env.get("CLAUDE_CONFIG_DIR") or os.path.join(env.get("HOME") or os.path.expanduser("~"), ".claude")
    return Path(configuration, "projects", folder_of(os.path.realpath(cwd)))


def restore(session: Session, folder: Path, scratch: Scratch) -> Resumed:
    """Make a session ready to be gone on with, after its `turn`.

    Its file is looked for where the program keeps it, and put there if the session brings it along. A file that has gone on
    since then is left as it is: its beginning is forked. Raises :class:`NotFoundError` for a turn that is in none of them.
    """
    path = folder / file_name(session.id)
    here, brought = _read(path), session.state
    elsewhere = _read(folder.parent / folder_of(session.cwd) / file_name(session.id)) if session.cwd else None
    states = [state for state in (here, brought, elsewhere) if state]
    if not states:
        return Resumed(session.id, session.fork)  # the program says itself that there is none
    if session.turn:
        state, beginning = next(
            ((state, found) for state in states if (found := until(state, session.turn)) is not None), (b"", None)
        )
        if beginning is None:
            raise NotFoundError(
                f"claude-code: the session {session.id} has no turn {session.turn}", provider="claude-code"
            )
        if leaf_of(state) != session.turn:
            return Resumed(scratch.write(path.name, beginning), fork=True)
    else:  # the file that is here, unless what was brought goes further
        state = next(
            (state for state in states[1:] if here and len(state) > len(here) and covers(state, here)), states[0]
        )
    if state != here:
        if here and not covers(state, here):
            return Resumed(scratch.write(path.name, state), fork=True)
        write_private(path, state)
    return Resumed(session.id, session.fork)


def read_state(folder: Path, id: str) -> bytes | None:
    return _read(folder / file_name(id))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except OSError:
        return None


def as_json(value: object) -> bytes:
    return msgspec.json.encode(value)
