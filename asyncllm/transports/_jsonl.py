"""JSON lines (NDJSON): one value a line, sans-IO."""

from __future__ import annotations

from ..events import ProtocolError
from ._frames import MAX_FRAME_BYTES, Frame


class JSONLinesFramer:
    """Splits bytes cut anywhere into lines; blank lines are skipped, the last line needs no end.

    Lines end with LF or CRLF. The text of a line is not checked: whether it is JSON is for the codec to say.
    """

    __slots__ = ("_failure", "_held", "_held_bytes", "_max")

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        self._max = max_frame_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._failure: ProtocolError | None = None

    def feed(self, data: bytes) -> list[Frame]:
        if self._failure is not None:
            raise self._failure
        if self._held and b"\n" in data:
            data = b"".join(self._held) + data
            self._held.clear()
            self._held_bytes = 0
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
        self._line(b"".join(self._held), frames)
        self._held.clear()
        return frames

    def _hold(self, rest: bytes) -> None:
        self._held.append(rest)
        self._held_bytes += len(rest)
        if self._held_bytes > self._max:
            self._fail(self._held[0])

    def _line(self, line: bytes, frames: list[Frame]) -> None:
        if self._failure is not None:
            return
        if len(line) > self._max:
            self._fail(line)
        elif text := str(line, "utf-8-sig", "replace").strip(" \t\r"):
            frames.append(Frame(text))

    def _unless_failed(self, frames: list[Frame]) -> list[Frame]:
        """The frames; the failure, once there are none before it."""
        if self._failure is not None and not frames:
            raise self._failure
        return frames

    def _fail(self, start: bytes) -> None:
        self._failure = ProtocolError(
            f"a line of the stream is larger than {self._max} bytes (raise max_frame_bytes if it is meant to be)",
            body=start[:200].decode("utf-8", "replace"),
            retryable=False,
        )
