"""HTTP/1.1 messages as bytes: the request that goes out, the response as it comes in. No I/O, no await.

`encode_request` makes the bytes of a request and refuses what would break its framing; `IncomingResponse` is fed the
bytes of one response and keeps what they said. Whatever the peer controls is bounded here: the head, the number of
headers, trailers, chunk framing, interim (1xx) responses. The size of the body is bounded by whoever stops reading.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Callable, Sequence
from typing import NamedTuple, NoReturn

import httptools
import httpx2

MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 256

# One pass over the whole head. A line break smuggled into a header can pass for another header: lines are counted too.
_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
_LEGAL_HEAD = re.compile(_TOKEN + rb" [^\x00-\x20\x7f]++ HTTP/1\.1\r\n(?:" + _TOKEN + rb":[^\x00\r\n]*+\r\n)*+\r\n")
_VERSIONS = {"1.1": b"HTTP/1.1", "1.0": b"HTTP/1.0"}


class BodyFraming:
    """Puts the parts of a request body on the wire as its headers promise: chunked, or `content-length` bytes."""

    __slots__ = ("_chunked", "_left")

    def __init__(self, headers: httpx2.Headers) -> None:
        length, encoding = headers.get("content-length"), headers.get("transfer-encoding")
        if encoding is not None and (length is not None or encoding.lower() != "chunked"):
            raise httpx2.LocalProtocolError(
                "a request body has either a content-length or `transfer-encoding: chunked`"
            )
        if length is not None and not (length.isascii() and length.isdigit()):
            raise httpx2.LocalProtocolError(f"content-length is not a number: {length!r}")
        self._chunked = encoding is not None
        self._left = int(length or 0)

    def frame(self, part: bytes) -> bytes:
        """The bytes that carry `part`; raises LocalProtocolError past the content-length."""
        if self._chunked:
            return b"%x\r\n%b\r\n" % (len(part), part) if part else b""
        self._left -= len(part)
        if self._left < 0:
            raise httpx2.LocalProtocolError("the request body is longer than its content-length")
        return part

    def end(self) -> bytes:
        """The bytes that end the body; raises LocalProtocolError short of the content-length."""
        if self._chunked:
            return b"0\r\n\r\n"
        if self._left:
            raise httpx2.LocalProtocolError(f"the request body is {self._left} bytes shorter than its content-length")
        return b""


_NO_FRAMING = BodyFraming(httpx2.Headers())

REFUSALS = (httptools.HttpParserError, httptools.HttpParserUpgrade)
"""What `IncomingResponse.parse` raises."""


class OutgoingRequest(NamedTuple):
    """`data` is the head, with the body when that is in memory; otherwise `parts` follow, each through `framing`."""

    data: bytes
    parts: AsyncIterable[bytes] | None
    framing: BodyFraming
    head_only: bool

    @property
    def replayable(self) -> bool:
        """Whether the same bytes can be sent again on another connection."""
        return self.parts is None


def encode_request(request: httpx2.Request) -> OutgoingRequest:
    """Raises LocalProtocolError for a head or a body that would not be the one request it claims to be."""
    stream = request.stream
    head = _encode_head(request)
    framing = BodyFraming(request.headers)
    head_only = request.method == "HEAD"
    if isinstance(stream, httpx2.ByteStream):
        data = b"".join((head, framing.frame(b"".join(stream)), framing.end()))
        return OutgoingRequest(data, None, framing, head_only)
    if not isinstance(stream, httpx2.AsyncByteStream):
        raise httpx2.LocalProtocolError("the request body cannot be iterated asynchronously")
    return OutgoingRequest(head, stream, framing, head_only)


def encode_message(
    method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> OutgoingRequest:
    """A request with its body in memory, without the objects of one. `headers` lack the content-length."""
    lines = [*headers, (b"content-length", b"%d" % len(body))] if body or method != b"GET" else headers
    return OutgoingRequest(_head(method, target, lines) + body, None, _NO_FRAMING, False)


def _encode_head(request: httpx2.Request) -> bytes:
    target: bytes = request.extensions.get("target", request.url.raw_path)
    return _head(request.method.encode("ascii", "replace"), target, request.headers.raw)


def _head(method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    lines = [b"%b: %b\r\n" % header for header in headers]
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, b"".join(lines))
    if _LEGAL_HEAD.fullmatch(head) is None or head.count(b"\n") != len(lines) + 2:
        raise httpx2.LocalProtocolError("the method, the target or a header has characters that HTTP/1.1 forbids")
    return head


class IncomingResponse:
    """One response, as far as it has arrived.

    The parser appends body bytes straight to `chunks` (no Python frame per chunk); whoever reads empties that same
    list and sets `unread` back to 0. `status` is 0 until the head is complete. When it has `ended` nothing more will arrive:
    it is `complete`, or there is an `error`. What arrived before an error stays readable.
    """

    __slots__ = (
        "_head_only",
        "_header_bytes",
        "_header_lines",
        "_headers",
        "_max_header_bytes",
        "_parser",
        "chunks",
        "ended",
        "error",
        "http_version",
        "keep_alive",
        "on_body",
        "parse",
        "reason",
        "received",
        "status",
        "unread",
    )

    def __init__(self, *, head_only: bool = False, max_header_bytes: int = MAX_HEADER_BYTES) -> None:
        self.status = 0
        self.reason = b""
        self.http_version = b""
        self.chunks: list[bytes] = []
        self.on_body = self.chunks.append
        self.unread = 0
        self.received = False
        self.ended = False
        self.keep_alive = False
        self.error: httpx2.TransportError | None = None
        self._head_only = head_only
        self._max_header_bytes = max_header_bytes
        self._header_bytes = 0
        self._header_lines: list[bytes] = []  # while they arrive: names and values in turn
        self._headers = b""  # then as one: they stay as long as the stream is open, and are seldom asked for
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self.parse: Callable[[bytes | memoryview], None] = self._parser.feed_data
        """:meth:`feed` for those who cannot afford its frame: they do the rest of it, where there is a rest."""

    @property
    def complete(self) -> bool:
        """It has ended as it should."""
        return self.ended and self.error is None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values of a head that is there, as they came. Made anew each time."""
        lines = self._headers.split(b"\n") if self._headers else []
        return [(name, value.strip(b" \t")) for name, value in zip(lines[::2], lines[1::2], strict=True)]

    def has_header(self, name: bytes) -> bool:
        """`name` in lower case."""
        return name in self._headers.lower().split(b"\n")[::2]

    def feed(self, data: bytes | memoryview) -> None:
        """Takes bytes as they come from the socket. Never raises: see `error`."""
        try:
            self.parse(data)
        except REFUSALS as why:
            self.refuse(why)
        self.held(len(data))

    def refuse(self, why: Exception) -> None:
        """`parse` raised this."""
        self.keep_alive = False
        if not self.ended:
            self.fail(httpx2.RemoteProtocolError(f"invalid HTTP response: {why}"))

    def held(self, size: int) -> None:
        """What was parsed waits for a reader, or was framing: bounded, both."""
        self.received = True
        self.unread += size
        if self._head_only and self.chunks:
            self.chunks.clear()
            self.keep_alive = False
        if not self.chunks and self.unread > self._max_header_bytes and not self.ended:
            self.fail(self._too_large())

    def feed_eof(self) -> None:
        """The peer will send no more: the end of a body that has no other end, an error otherwise."""
        if self.ended:
            return
        self.keep_alive = False
        if not self.received:
            self.fail(httpx2.RemoteProtocolError("server disconnected without sending a response"))
        elif not self.status:
            self.fail(httpx2.RemoteProtocolError("peer closed connection in the middle of the response head"))
        elif missing := self._missing():
            message = f"peer closed connection without sending complete message body ({missing})"
            self.fail(httpx2.RemoteProtocolError(message))
        else:
            self.ended = True

    def fail(self, error: httpx2.TransportError) -> None:
        """The first reason for an end stays."""
        if not self.ended:
            self.error = error
            self.ended = True

    def release(self) -> None:
        """Drops the parser, which refers back to this object: no work for the cycle collector."""
        self._parser = None
        self.parse = _ignore

    def _stop(self, error: httpx2.TransportError) -> NoReturn:
        """For what the parser calls: parsing ends here."""
        self.fail(error)
        raise error

    def _missing(self) -> str:
        """What a body that was cut short still lacked; empty when it ends with the connection."""
        for name, value in self.headers:
            match name.lower():
                case b"content-length":
                    return f"fewer than the {value.decode('latin-1')} bytes of its content-length"
                case b"transfer-encoding" if value.lower().endswith(b"chunked"):
                    return "incomplete chunked read"
        return ""

    def _too_large(self) -> httpx2.RemoteProtocolError:
        return httpx2.RemoteProtocolError(f"more than {self._max_header_bytes} bytes of headers, trailers or framing")

    # What the parser calls. An exception raised here ends the parsing; `error` says why.

    def on_message_begin(self) -> None:
        if self.complete:
            raise ValueError("bytes after the end of the response")

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        lines = self._header_lines
        lines += (name, value)
        if len(lines) > 2 * MAX_HEADERS:
            self._stop(httpx2.RemoteProtocolError(f"more than {MAX_HEADERS} headers or trailers"))

    def on_headers_complete(self) -> None:
        parser = self._parser
        assert parser is not None
        status = parser.get_status_code()
        if status == 101:
            self.fail(httpx2.RemoteProtocolError("the server switched protocols (101) without being asked to"))
            raise ValueError("upgrade")
        lines = self._take_lines()
        if status < 200:
            self.reason = b""
            return
        self.status = status
        self._headers = b"\n".join(lines)  # no line end can be in them
        self.keep_alive = parser.should_keep_alive()
        version = parser.get_http_version()
        self.http_version = _VERSIONS.get(version) or f"HTTP/{version}".encode()
        self.ended = self._head_only

    def on_message_complete(self) -> None:
        if self.status:
            self._take_lines()
            self.ended = True

    def _take_lines(self) -> list[bytes]:
        """The headers or trailers, which are whole. Those that go on and on are for `held` to notice."""
        lines, self._header_lines = self._header_lines, []
        self._header_bytes += sum(map(len, lines)) + 2 * len(lines)  # with colons, blanks and line ends
        if self._header_bytes > self._max_header_bytes:
            self._stop(self._too_large())
        return lines


def _ignore(data: bytes | memoryview) -> None:
    """Takes the place of a parser that is done."""
