"""What framers make of bytes."""

from __future__ import annotations

from typing import ClassVar, Protocol

from msgspec import Struct

from ..events import ProtocolError

MAX_FRAME_BYTES = 16 * 1024 * 1024
"""The default limit on one frame: well above a base64 image, well below what hurts."""


class Frame(Struct, frozen=True, gc=False):
    """One event of an event stream, or one line of JSON lines.

    `data` is text with line ends as LF; `event` is "message" where the server gave no name; `id` is the last event id at
    that point of the stream; `retry` is the reconnection time in ms that this frame set, if it did.
    """

    data: str
    event: str = "message"
    id: str = ""
    retry: int | None = None


class Framer(Protocol):
    """Bytes in any cut to frames. Sans-IO: nothing here reads or waits.

    The bytes of a frame that is too large raise :class:`asyncllm.ProtocolError`, once the frames before it are out.
    """

    def feed(self, data: bytes) -> list[Frame]: ...

    def close(self) -> list[Frame]:
        """The end of the bytes: what was still unterminated, if that is wanted."""
        ...


class BoundedFramer:
    """What framers share: bytes that wait for their end, joined once, and the limit on them."""

    __slots__ = ("_failure", "_held", "_held_bytes", "_max")
    _unit: ClassVar[str]

    def __init__(self, max_frame_bytes: int) -> None:
        self._max = max_frame_bytes
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._failure: ProtocolError | None = None

    def _hold(self, data: bytes) -> None:
        self._held.append(data)
        self._held_bytes += len(data)
        if self._held_bytes > self._max:
            self._fail(self._held[0])

    def _take_held(self) -> bytes:
        held = b"".join(self._held)
        self._held.clear()
        self._held_bytes = 0
        return held

    def _fail(self, start: bytes) -> None:
        self._failure = ProtocolError(
            f"{self._unit} of the stream is larger than {self._max} bytes (raise max_frame_bytes if it is meant to be)",
            body=start[:200].decode("utf-8", "replace"),
            retryable=False,
        )

    def _unless_failed(self, frames: list[Frame]) -> list[Frame]:
        """The frames; the failure, once there are none before it."""
        if self._failure is not None and not frames:
            raise self._failure
        return frames
