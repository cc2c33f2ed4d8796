"""A session as `opencode export` writes it and `opencode import` reads it."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import Struct

from ...events import InvalidRequestError, ProtocolError

_ID = re.compile(r"[A-Za-z0-9_][\w.-]{0,200}", re.ASCII)


class Info(Struct):
    id: str
    directory: str = ""


class MessageInfo(Struct):
    id: str
    role: str = ""


class Entry(Struct):
    info: MessageInfo


class Exported(Struct):
    """As much of it as is of interest here."""

    info: Info
    messages: list[Entry]

    @property
    def ids(self) -> list[str]:
        return [entry.info.id for entry in self.messages]


def joined(info: bytes, messages: bytes) -> bytes:
    """What the server says of a session, in the form of an export."""
    return b'{"info":' + info.strip() + b',"messages":' + messages.strip() + b"}"


def read_state(state: bytes) -> Exported | None:
    """None for what is no export."""
    try:
        return msgspec.json.decode(state, type=Exported)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None


def read_messages(data: bytes) -> list[str]:
    """The ids of the messages of a session, in their order. Raises ProtocolError."""
    try:
        return [entry.info.id for entry in msgspec.json.decode(data, type=list[Entry])]
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise ProtocolError(f"opencode does not list the messages of the session: {error}") from None


class _Rule(Struct):
    permission: str
    pattern: str
    action: str


class _Ruled(Struct):
    permission: list[_Rule] = []


def read_rules(info: bytes) -> list[dict[str, str]]:
    """What a session may do, as its own description has it."""
    try:
        found = msgspec.json.decode(info, type=_Ruled)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return []
    return [msgspec.structs.asdict(rule) for rule in found.permission]


def check_id(id: str) -> str:
    """An id of a session, which may come from anywhere, and becomes part of an address or a command line."""
    if not _ID.fullmatch(id):
        raise InvalidRequestError(f"opencode: {id[:60]!r} is no id of a session")
    return id


def field(data: bytes, name: str) -> Any:
    """A field of an answer; None where there is none."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return found.get(name) if isinstance(found, dict) else None
