"""AWS event stream messages (application/vnd.amazon.eventstream), sans-IO: the framer, and the writer.

Source: the Smithy specification of Amazon Event Stream, checked against botocore. A message, big endian:

    u32 length of all | u32 length of the headers | u32 CRC-32 of these 8 bytes | headers | payload | u32 CRC-32 of all before

A header is a u8 length and a name, a u8 type, and a value of that type. Three kinds of message are told apart by the header
`:message-type`. As frames they are:

    event       Frame(payload, ":event-type")
    exception   Frame(payload, "exception:" + ":exception-type")
    error       Frame(":error-message", "error:" + ":error-code")
"""

from __future__ import annotations

from struct import Struct as Layout
from struct import error as LayoutError
from zlib import crc32

from ..events import ProtocolError
from ._frames import MAX_FRAME_BYTES, BoundedFramer, Frame

_PRELUDE = Layout(">III")
_U32 = Layout(">I")
_U16 = Layout(">H")
_AROUND = 16
"""Bytes of a message that are neither headers nor payload: the prelude and the last checksum."""

MAX_HEADERS_BYTES = 128 * 1024
"""As the specification has it."""

_STRING = 7
_SIZES = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Type of a header -> bytes of its value: true, false, i8, i16, i32, i64, timestamp, UUID."""
_SIZED = (6, _STRING)
"""Types whose value begins with its length (u16): bytes and strings."""

_KNOWN_HEADERS = 64
"""Blocks of headers that are remembered: a stream has one for each kind of its events."""

_CONTENT_TYPE = "application/json"


class EventStreamFramer(BoundedFramer):
    """Reassembles messages from bytes cut anywhere, and checks both checksums of each.

    A message that is broken raises :class:`asyncllm.ProtocolError`, once the frames before it are out, and for ever. Half a
    message at the end of the bytes is no frame: whether the stream was whole without it is for the codec to say.
    """

    __slots__ = ("_known", "_need")
    _unit = "a message"

    def __init__(self, *, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        super().__init__(max_frame_bytes)
        self._need = _PRELUDE.size  # bytes that the next step needs: a prelude, or all of a message
        self._known: dict[bytes, tuple[str, str | None]] = {}

    def feed(self, data: bytes) -> list[Frame]:
        if self._failure is not None:
            raise self._failure
        if self._held:
            if self._held_bytes + len(data) < self._need:
                self._hold(data)
                return []
            data = self._take_held() + data
        frames: list[Frame] = []
        at, end = 0, len(data)
        self._need = _PRELUDE.size
        while self._failure is None and end - at >= self._need:
            length, headers, checksum = _PRELUDE.unpack_from(data, at)
            if crc32(data[at : at + 8]) != checksum:
                self._break("the checksum of its lengths is wrong", data[at:])
            elif length < _AROUND + headers or headers > MAX_HEADERS_BYTES:
                self._break(f"its lengths are {length} and {headers}", data[at:])
            elif length > self._max:
                self._fail(data[at:])
            elif end - at < length:
                self._need = length
            else:
                self._message(data[at : at + length], headers, frames)
                at += length
                self._need = _PRELUDE.size
        if at < end and self._failure is None:
            self._hold(data[at:])
        return self._unless_failed(frames)

    def close(self) -> list[Frame]:
        if self._failure is not None:
            raise self._failure
        self._take_held()
        return []

    def _message(self, message: bytes, headers: int, frames: list[Frame]) -> None:
        if crc32(message[:-4]) != _U32.unpack_from(message, len(message) - 4)[0]:
            self._break("its checksum is wrong", message)
            return
        block = message[12 : 12 + headers]
        known = self._known.get(block)
        if known is None:
            try:
                known = _meaning(_headers(block))
            except (LayoutError, IndexError, ValueError):
                self._break("its headers cannot be read", message)
                return
            if len(self._known) < _KNOWN_HEADERS:
                self._known[block] = known
        event, text = known
        frames.append(Frame(message[12 + headers : -4].decode("utf-8", "replace") if text is None else text, event))

    def _break(self, why: str, start: bytes) -> None:
        self._failure = ProtocolError(
            f"a message of the event stream is broken: {why}", body=start[:200].decode("utf-8", "replace")
        )


def _headers(block: bytes) -> dict[str, str]:
    """The headers that are strings; the others say nothing that is asked for. Raises for a block that is malformed."""
    found: dict[str, str] = {}
    at, end = 0, len(block)
    while at < end:
        start = at + 1 + block[at]
        name = block[at + 1 : start].decode()
        kind = block[start]
        at = start + 1
        if kind in _SIZED:
            size = _U16.unpack_from(block, at)[0]
            at += 2
        elif kind in _SIZES:
            size = _SIZES[kind]
        else:
            raise ValueError(kind)
        if at + size > end:
            raise ValueError(size)
        if kind == _STRING:
            found[name] = block[at : at + size].decode()
        at += size
    return found


def _meaning(headers: dict[str, str]) -> tuple[str, str | None]:
    """The frame's event, and its data where that is not the payload."""
    match headers.get(":message-type"):
        case "exception":
            return f"exception:{headers.get(':exception-type', '')}", None
        case "error":
            return f"error:{headers.get(':error-code', '')}", headers.get(":error-message", "")
        case _:
            return headers.get(":event-type", "message"), None


def encode_event_stream(data: str, *, event: str = "message") -> bytes:
    """One message as bytes: the framer read backwards. `event` is as it is in a frame.

    Raises ValueError for a name or an error's text that no header can hold.
    """
    payload = data.encode("utf-8", "replace")
    if event.startswith("error:"):
        headers, payload = {":error-code": event[6:], ":error-message": data, ":message-type": "error"}, b""
    elif event.startswith("exception:"):
        headers = {":exception-type": event[10:], ":content-type": _CONTENT_TYPE, ":message-type": "exception"}
    else:
        headers = {":event-type": event, ":content-type": _CONTENT_TYPE, ":message-type": "event"}
    block = b"".join(_header(name, value) for name, value in headers.items())
    lengths = _PRELUDE.pack(_AROUND + len(block) + len(payload), len(block), 0)[:8]
    message = b"".join((lengths, _U32.pack(crc32(lengths)), block, payload))
    return message + _U32.pack(crc32(message))


def _header(name: str, value: str) -> bytes:
    text = value.encode("utf-8", "replace")
    if len(text) > 0xFFFF:
        raise ValueError(f"{name} holds at most 65535 bytes, not {len(text)}")
    return b"".join((bytes([len(name)]), name.encode(), bytes([_STRING]), _U16.pack(len(text)), text))
