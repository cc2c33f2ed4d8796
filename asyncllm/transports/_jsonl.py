"""JSON lines (NDJSON): one value a line, sans-IO."""

from __future__ import annotations

from ._frames import MAX_FRAME_BYTES, BoundedFramer, Frame


class JSONLinesFramer(BoundedFramer):
    """Splits bytes cut anywhere into lines; blank lines are skipped, the last line needs no end.

    Lines end with LF or CRLF. The text of a line is not checked: whether it is JSON is for the codec to say.
    """

    __slots__ = ()
    _unit = "a line"

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        super().__init__(max_frame_bytes)

    def feed(self, data: bytes) -> list[Frame]:
        if self._failure is not None:
            raise self._failure
        if self._held and 0x0A in data:
            data = self._take_held() + data
        *lines, rest = data.split(b"\n")
        frames: list[Frame] = []
        for line in lines:
            self._line(line, frames)
        if rest and self._failure is None:
            self._hold(rest)
        return self._unless_failed(frames)

    def close(self) -> list[Frame]:
        if self._failure is not None:
            raise self._failure
        frames: list[Frame] = []
        self._line(self._take_held(), frames)
        return frames

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if self._failure is not None:
            return
        if len(line) > self._max:
            self._fail(line)
        elif text := str(line, "utf-8-sig", "replace").strip(" \t\r"):
            frames.append(Frame(text))
