"""A session as `opencode export` writes it and `opencode import` reads it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct


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
    except (msgspec.DecodeError, UnicodeError):
        return None


def read_messages(data: bytes) -> list[str]:
    """The ids of the messages of a session, in their order."""
    return [entry.info.id for entry in msgspec.json.decode(data, type=list[Entry])]


def field(data: bytes, name: str) -> Any:
    """A field of an answer; None where there is none."""
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeError):
        return None
    return found.get(name) if isinstance(found, dict) else None
