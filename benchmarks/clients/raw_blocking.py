"""The floor of a blocking client: `socket.recv`, httptools and the floor's parser, in the caller's own thread."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httptools

from ._client import request_body
from ._minimal import Arguments, Event, Text, feed
from .raw import request_head

AT_MOST = 262144
"""Bytes of one recv: as many as asyncio asks for."""


class _Answer:
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.chunks: list[bytes] = []
        self.begun = False
        self.done = False
        self._parser = httptools.HttpResponseParser(self)

    def read(self) -> None:
        self._parser.feed_data(self.connection.recv(AT_MOST))

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, body: bytes) -> None:
        self.chunks.append(body)

    def on_message_complete(self) -> None:
        self.done = True


class BlockingRawClient:
    def __init__(self, base_url: str) -> None:
        url = urlsplit(base_url)
        self._address = (url.hostname or "", url.port or 80)
        self._head = request_head(url)
        self._idle: list[socket.socket] = []

    def open(self, model: str) -> _Answer:
        connection = self._idle.pop() if self._idle else self._connect()
        body = request_body(model)
        connection.sendall(b"%b%d\r\n\r\n%b" % (self._head, len(body), body))
        answer = _Answer(connection)
        while not answer.begun:
            answer.read()
        return answer

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def consume(self, stream: _Answer) -> int:
        seen = 0
        for event in self._events(stream):
            kind = event.__class__
            if kind is Text or kind is Arguments:
                seen += 1
        return seen

    def _events(self, answer: _Answer) -> Iterator[Event]:
        rest = b""
        while True:
            chunks = answer.chunks
            if not chunks:
                if answer.done:
                    break
                answer.read()
                continue
            answer.chunks = []
            events, rest = feed(rest, chunks[0] if len(chunks) == 1 else b"".join(chunks))
            yield from events
        self._idle.append(answer.connection)
