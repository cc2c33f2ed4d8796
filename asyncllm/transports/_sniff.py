"""Framing by what the bytes are: the content type that servers state is often wrong (quirk A6)."""

from __future__ import annotations

import msgspec

from ._frames import MAX_FRAME_BYTES, Frame, Framer
from ._jsonl import JSONLinesFramer
from ._sse import SSEFramer

_BLANK = b" \t\r\n"


class SniffingFramer:
    """Server-sent events, JSON lines, or one JSON body (a page is taken as a body, too), decided by the first bytes."""

    __slots__ = ("_chosen", "_held", "_max")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._chosen: Framer | None = None
        self._held = b""

    def feed(self, data: bytes) -> list[Frame]:
        if self._chosen is None:
            if self._held:
                data = self._held + data
                self._held = b""
            self._chosen = self._choose(data)
            if self._chosen is None:
                self._held = data
                return []
        return self._chosen.feed(data)

    def close(self) -> list[Frame]:
        if self._chosen is None:
            self._chosen = _BodyFramer(max_frame_bytes=self._max) if self._held.lstrip(_BLANK) else SSEFramer()
            self._chosen.feed(self._held)
        return self._chosen.close()

    def _choose(self, data: bytes) -> Framer | None:
        start = data.removeprefix(b"\xef\xbb\xbf").lstrip(_BLANK)
        if not start or b"\xef\xbb\xbf".startswith(start):
            return None
        if start[:1] not in b"{[<":
            return SSEFramer(unframed=True, max_frame_bytes=self._max)
        line, ended, _ = start.partition(b"\n")
        if start[:1] == b"<" or len(start) > self._max:
            return _BodyFramer(max_frame_bytes=self._max)
        if not ended:
            return None
        try:
            msgspec.json.decode(line, type=msgspec.Raw)
        except (msgspec.DecodeError, RecursionError):
            return _BodyFramer(max_frame_bytes=self._max)
        return JSONLinesFramer(max_frame_bytes=self._max)


class _BodyFramer(JSONLinesFramer):
    """The whole body is one frame."""

    __slots__ = ()

    def feed(self, data: bytes) -> list[Frame]:
        if self._failure is not None:
            raise self._failure
        self._hold(data)
        return []
