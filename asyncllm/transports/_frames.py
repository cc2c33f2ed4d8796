"""What framers make of bytes."""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

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
