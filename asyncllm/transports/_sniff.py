"""Framing by what the bytes are: the content type that servers state is often wrong (quirk A6)."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec

from ._eventstream import EventStreamFramer
from ._frames import MAX_FRAME_BYTES, Frame, Framer
from ._jsonl import JSONLinesFramer
from ._sse import SSEFramer, as_frames

_SILENT = b" \t\r\n\xef\xbb\xbf"
"""Blanks, and the bytes of a byte order mark: before the first word they say nothing, wherever they are cut."""


class SniffingFramer:
    """Server-sent events, JSON lines, AWS event stream messages, or one JSON body (a page is taken as a body, too), decided
    by the first bytes. A message begins with its length, and so with a zero: text never does."""

    __slots__ = ("_chosen", "_held", "_held_bytes", "_max", "line", "read")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._chosen: Framer | None = None
        self.read: Callable[[bytes], list[Frame] | list[bytes]] = self._sniff
        """:meth:`feed`, with the short cut of :meth:`SSEFramer.read`. That itself, once it is clear what the bytes are."""
        self.line: Callable[[bytes], bytes | None] = _no_line
        """:meth:`SSEFramer.line`, where that is what the bytes are."""
        self._held: list[bytes] = []  # the first line, where only its end will tell
        self._held_bytes = 0

    def feed(self, data: bytes) -> list[Frame]:
        return as_frames(self.read(data))

    def _sniff(self, data: bytes) -> list[Frame] | list[bytes]:
        if not self._held:
            data = data.lstrip(_SILENT)
            if not data:
                return []
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held[0][0] in b"{[" and b"\n" not in data and self._held_bytes <= self._max:
            return []
        start = b"".join(self._held)
        self._held.clear()
        chosen = self._chosen = self._choose(start)
        self.read = chosen.feed
        if isinstance(chosen, SSEFramer):
            self.line, self.read = chosen.line, chosen.read
        return self.read(start)

    def close(self) -> list[Frame]:
        if self._chosen is None:
            self._chosen = _BodyFramer(max_frame_bytes=self._max)
            self.read = self._chosen.feed
            self.read(b"".join(self._held))
        return self._chosen.close()

    def _choose(self, start: bytes) -> Framer:
        if start[0] == 0:
            return EventStreamFramer(max_frame_bytes=self._max)
        if start[0] not in b"{[<":
            return SSEFramer(unframed=True, max_frame_bytes=self._max)
        line, _, _ = start.partition(b"\n")
        if start[:1] == b"<" or len(line) > self._max:
            return _BodyFramer(max_frame_bytes=self._max)
        return JSONLinesFramer(max_frame_bytes=self._max) if _is_json(line) else _BodyFramer(max_frame_bytes=self._max)


def _is_json(line: bytes) -> bool:
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        try:
            json.loads(line)  # takes what msgspec does not: half a character in an escape, NaN
        except (ValueError, RecursionError):
            return False
    return True


def _no_line(data: bytes) -> bytes | None:
    return None


class _BodyFramer(JSONLinesFramer):
    """The whole body is one frame."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[Frame]:
        if self._failure is not None:
            raise self._failure
        self._hold(data)
        return self._unless_failed([])
