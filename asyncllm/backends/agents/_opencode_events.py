"""What comes out of the stream of events of opencode's server, sorted by sessions."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec
from msgspec import Struct

from ...events import LLMError, ProtocolError
from ...protocols.opencode._lines import read_line

UNREAD = 64 * 1024 * 1024
"""Bytes of events of one session that nobody has read."""


class Inbox:
    """The events of one session, as lines of JSON. One task reads."""

    def __init__(self) -> None:
        self._lines: deque[bytes] = deque()
        self._size = 0
        self._news = asyncio.Event()
        self._error: LLMError | None = None

    def add(self, line: bytes) -> None:
        if self._error is not None:
            return
        self._size += len(line)
        if self._size > UNREAD:  # others are read on: they share the stream
            self.break_off(ProtocolError(f"more than {UNREAD} bytes of events were not read", retryable=False))
        else:
            self._lines.append(line)
            self._news.set()

    def break_off(self, error: LLMError) -> None:
        """Nothing more comes."""
        if self._error is None:
            self._error = error
            self._news.set()

    def clear(self) -> None:
        self._lines.clear()
        self._size = 0

    async def lines(self) -> list[bytes]:
        """All that are there, at least one. Raises the error with which they ended."""
        while not self._lines and self._error is None:
            self._news.clear()
            await self._news.wait()
        if not self._lines and self._error is not None:
            raise self._error
        lines = list(self._lines)
        self.clear()
        return lines


class _Place(Struct, frozen=True):
    sessionID: str = ""  # opencode's name
    id: str = ""


class Routed(Struct, frozen=True):
    """As much of an event as its way needs."""

    type: str = ""
    properties: _Place = _Place()

    @property
    def session(self) -> str:
        return self.properties.sessionID


_decode = msgspec.json.Decoder(Routed).decode


def route(line: bytes) -> Routed | None:
    """None for what is no event."""
    try:
        return _decode(line)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        try:
            return msgspec.convert(read_line(line), Routed)  # a character was cut in the middle
        except msgspec.ValidationError:
            return None
