"""Server-sent events: the WHATWG grammar, sans-IO, and the writer.

Source: https://html.spec.whatwg.org/multipage/server-sent-events.html, "Parsing an event stream" and "Interpreting".
Lines end with LF, CR or CRLF and nothing else, so never `str.splitlines`.
"""

from __future__ import annotations

import re

from ._frames import MAX_FRAME_BYTES, BoundedFramer, Frame

_BOM = b"\xef\xbb\xbf"
_CR = 0x0D
"""As a number: bytes that are looked for with `in` are taken for one first, and an exception made and dropped."""
_NOT_IN_FIELDS = re.compile(r"[\r\n]")


class SSEFramer(BoundedFramer):
    """Reassembles events from bytes cut anywhere.

    Args:
        lenient: deliver an event that the end of the stream left without its blank line (many servers of language models
            end so); the specification discards it.
        unframed: deliver bare JSON, which the specification ignores, as frames of the event "unframed": an object on a
            line, or an object or array over the lines up to the next field. Some servers append an error so (quirk A9).
        max_frame_bytes: the most that one event may hold.

    Attributes:
        last_event_id: as the specification has it, "" at first.
        retry: the last valid reconnection time in ms, or None.
    """

    __slots__ = ("_between", "_cr", "_lenient", "_start", "_unframed", "last_event_id", "retry")
    _unit = "an event"

    def __init__(self, *, lenient: bool = True, unframed: bool = False, max_frame_bytes: int = MAX_FRAME_BYTES) -> None:
        super().__init__(max_frame_bytes)
        self._lenient = lenient
        self._unframed = unframed
        self._start: bytes | None = b""  # the first bytes, until it is clear whether they are a byte order mark
        self._between = False  # nothing of what came before has to do with what will come
        self._cr = False  # the last byte was CR, taken as a line end: a LF right after it belongs to it
        self.last_event_id = ""
        self.retry: int | None = None

    def feed(self, data: bytes) -> list[Frame]:
        return as_frames(self.read(data))

    def line(self, data: bytes) -> bytes | None:
        """The line of the one event that is all there is, of one data line and nothing else: what most reads bring while a
        model speaks. None for anything else, of which nothing was read then."""
        if (
            self._between
            and data[:6] == b"data: "
            and data.find(b"\n") == len(data) - 2
            and data[-1] == 0x0A
            and _CR not in data
            and len(data) <= self._max
        ):
            return data[6:-2]
        return None

    def read(self, data: bytes) -> list[Frame] | list[bytes]:
        """:meth:`feed`, but where all events are one data line and nothing else, as nearly always, the bytes of these lines:
        a frame and a string for each would cost as much as reading them does."""
        self._between = False
        if self._failure is not None:
            raise self._failure
        found = self._read(data)
        self._between = self._start is None and not (self._held or self._cr or self.last_event_id or self._failure)
        return found

    def _read(self, data: bytes) -> list[Frame] | list[bytes]:
        if self._start is not None:
            data = self._strip_bom(data)
        if self._cr or _CR in data:
            data = self._unify_line_ends(data)
        if not data:
            return []
        held = self._held
        if held:
            if data.find(b"\n\n") < 0 and not (data[:1] == b"\n" and held[-1][-1:] == b"\n"):
                self._hold(data)
                return self._unless_failed([])
            data = self._take_held() + data
        end = data.rfind(b"\n\n")
        frames: list[Frame] | list[bytes] = self._events(data[:end]) if end >= 0 else []
        if rest := data[end + 2 :] if end >= 0 else data:
            self._hold(rest)
        return frames or self._unless_failed([])

    def _events(self, data: bytes) -> list[Frame] | list[bytes]:
        """The events of whole blocks (without the last blank line)."""
        if len(data) <= self._max and not self.last_event_id and data[:6] == b"data: ":
            lines = data[6:].split(b"\n\ndata: ")
            if data.count(b"\n") == 2 * len(lines) - 2:  # nothing but events of one data line: nearly every stream
                return lines
        frames: list[Frame] = []
        for block in data.split(b"\n\n"):
            self._block(block, frames)
        return frames

    def close(self) -> list[Frame]:
        """The stream is over. Delivers what is left, if lenient."""
        if self._failure is not None:
            raise self._failure
        if self._start:
            self._held.append(self._start)  # fewer than three bytes in all
        rest = self._take_held()
        frames: list[Frame] = []
        if self._lenient or self._unframed:
            self._block(rest, frames)
        if not self._lenient:
            frames = [frame for frame in frames if frame.event == "unframed"]
        return frames

    def _strip_bom(self, data: bytes) -> bytes:
        start = (self._start or b"") + data
        if len(start) < 3 and _BOM.startswith(start):
            self._start = start
            return b""
        self._start = None
        return start.removeprefix(_BOM)

    def _unify_line_ends(self, data: bytes) -> bytes:
        if self._cr and data[:1] == b"\n":
            data = data[1:]
            self._cr = False
        if data:
            self._cr = data[-1] == _CR
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _block(self, block: bytes, frames: list[Frame]) -> None:
        """Interpret the lines between two blank lines, whatever they are."""
        if self._failure is not None:
            return
        if len(block) > self._max:
            self._fail(block)
            return
        data: list[str] = []
        event = ""
        retry: int | None = None
        loose: list[str] = []  # the lines of bare JSON
        for line in str(block, "utf-8", "replace").split("\n"):
            name, _, value = line.partition(":")
            value = value.removeprefix(" ")
            if name == "data":
                data.append(value)
            elif name == "event":
                event = value
            elif name == "id":
                if "\0" not in value:
                    self.last_event_id = value
            elif name == "retry":
                if value.isascii() and value.isdigit():
                    retry = self.retry = int(value[:18])
            elif self._unframed and (loose or line[:1] in ("{", "[")):
                loose.append(line)
                if not _is_end(line, loose[0]):
                    continue
            if loose:
                frames.append(Frame("\n".join(loose), "unframed"))
                loose.clear()
        if loose:
            frames.append(Frame("\n".join(loose), "unframed"))
        if data:
            frames.append(Frame("\n".join(data), event or "message", self.last_event_id, retry))


def _is_end(line: str, first: str) -> bool:
    """Whether bare JSON that began with the line `first` ends with this one: on a line by itself, or on the first."""
    closing = "}" if first[:1] == "{" else "]"
    return line.rstrip()[-1:] == closing and (line is first or line[:1] == closing)


def as_frames(found: list[Frame] | list[bytes]) -> list[Frame]:
    return [Frame(item.decode("utf-8", "replace")) if isinstance(item, bytes) else item for item in found]


def encode_sse(data: str, *, event: str | None = None, id: str | None = None) -> bytes:
    """One event as bytes: the framer read backwards. Line breaks in `data` become several data lines.

    Raises ValueError for a line break in `event` or `id` (what follows it would be another field) or U+0000 in `id`.
    """
    if _NOT_IN_FIELDS.search(event or "") or _NOT_IN_FIELDS.search(id or "") or "\0" in (id or ""):
        raise ValueError(f"an event name or id must be a single line: {event!r}, {id!r}")
    head = (f"event: {event}\n" if event else "") + (f"id: {id}\n" if id is not None else "")
    lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return (head + "".join(f"data: {line}\n" for line in lines) + "\n").encode("utf-8", "replace")
