"""Files of Codex: rollouts in its home, and its configuration. Everything here blocks: for threads."""

from __future__ import annotations

import re
import tomllib
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec.structs import replace

from ...events import InvalidRequestError, Session
from ...protocols import Tool
from ...protocols.codex._rollout import base_of, copied, has_turn, joined, same_tools
from .._private_files import write_private

_PLACE = re.compile(r"\d{4}/\d{2}/\d{2}/rollout-[\w.-]+\.jsonl")
_ID = re.compile(r"[\w-]{8,64}")
_DEPTH = 1000
"""Forks of forks."""


def rollout_of(home: Path, thread: str) -> Path | None:
    """Where a thread is kept."""
    if not _ID.fullmatch(thread):
        return None
    named = (home / "sessions").glob(f"*/*/*/rollout-*{thread}*.jsonl")
    return max(named, key=lambda path: (path.stat().st_mtime_ns, path.name), default=None)


def read_rollout(path: Path) -> bytes | None:
    """All that a thread is, also where it goes on from other files; None if a part of it is not there."""
    sessions = path.parents[3]
    try:
        data = path.read_bytes()
        for _ in range(_DEPTH):
            base = base_of(data)
            if base is None:
                return data
            found = next(sessions.glob(f"*/*/*/rollout-*{base[0]}.jsonl"), None) if _ID.fullmatch(base[0]) else None
            if found is None:
                return None
            data = joined(found.read_bytes(), base[1], data)
    except OSError:
        pass
    return None


def place_of(path: str | Path) -> str:
    """The place of a rollout in any home: the date, and its name."""
    return "/".join(Path(path).parts[-4:])


def restore(home: Path, session: Session, tools: Sequence[Tool], *, copy: bool = False, through: str = "") -> Session:
    """The session as it can be gone on with here. Its state is put where Codex looks for it, unless the thread is there
    already. What is there is never changed: where that is an older state, or was begun with other tools, or is to be left as
    it is (`copy`, as far as the turn `through`), the session becomes a copy of itself with another id."""
    found = rollout_of(home, session.id)
    there = None if found is None else read_rollout(found)
    state = session.state
    data = there if there is not None and (state is None or has_turn(there, session.turn)) else state
    if data is None:
        return session  # codex says that it knows no such thread
    retooled = not same_tools(data, tools)
    if there is not None and data is there and not retooled and not copy:
        return session
    if there is None and not retooled and not copy:
        place = session.data.get("file")
        if not isinstance(place, str) or not _PLACE.fullmatch(place) or session.id not in place:
            place = _new_place(session.id)
        write_private(home / "sessions" / place, data)
        return session
    new = str(uuid.uuid4())
    made = copied(data, session.id, new, tools=tools if retooled else None, through=through)
    write_private(home / "sessions" / _new_place(new), made)
    return replace(session, id=new, fork=False, turn=session.turn if has_turn(made, session.turn) else "")


def _new_place(thread: str) -> str:
    now = datetime.now(UTC)
    return f"{now:%Y/%m/%d}/rollout-{now:%Y-%m-%dT%H-%M-%S}-{thread}.jsonl"


def configured_provider(home: Path, profile: str | None) -> str | None:
    """The model provider that the user has described and chosen, if it is not a built-in one."""
    chosen: str | None = None
    described: set[str] = set()
    for name in ("config.toml", *([f"{profile}.config.toml"] if profile else [])):
        try:
            config = tomllib.loads((home / name).read_text("utf-8"))
        except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
            continue  # codex says what is wrong with it
        given, providers = config.get("model_provider"), config.get("model_providers")
        chosen = given if isinstance(given, str) else chosen
        described |= {*providers} if isinstance(providers, dict) else set()
    return chosen if chosen in described else None


def read_profile(home: Path, name: str) -> dict[str, object]:
    """A profile as `codex exec --profile` reads it; the app-server reads none."""
    path = home / f"{name}.config.toml"
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError:
        raise InvalidRequestError(f"codex: there is no profile {name!r}: {path} cannot be read") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"codex: {path} is not TOML: {error}") from None
