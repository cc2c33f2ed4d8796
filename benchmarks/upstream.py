"""A model server on loopback that costs next to nothing: every answer is a few bytes objects made beforehand.

    python -m benchmarks.upstream [--tls FOLDER]      prints its port

It speaks OpenAI chat completions, streamed; and "burst:N", nothing else, on the wires of Anthropic, Responses, Gemini and
Ollama, by their paths. What it does is in the name of the model that is asked for:

    one               one text delta, finish, usage, [DONE]
    burst:N           N text deltas, each in an HTTP chunk of its own, written at once
    coalesced:N       the same with 16 of them in each HTTP chunk
    tools:N           one tool call whose arguments, a list of strings, come in N fragments of 10 characters,
                      written at once
    loop              the next step of a run with two tools (see `_loop_answers.py`)
    flow:N            N text deltas, as fast as they are read: for answers too long to be kept
    drip:GROUP:N:MS   one text delta now; when the group is started, N more, one every MS milliseconds, and then the end
    hang              one text delta, and then nothing

A group is started by `POST /start/GROUP`; its streams take turns in the order in which they were opened, spread evenly over
the interval. The answer is the time (CLOCK_MONOTONIC, seconds) of the first stream's first turn.

With `--tls` there is a certificate authority in `FOLDER/ca.pem`, made anew, and the server has a certificate of it.
"""

from __future__ import annotations

import asyncio
import re
import resource
import ssl
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from ._answers import HEAD, OPENING, ROLE, TEXT, TEXT_END, answer
from ._loop_answers import loop_answer
from ._schedule import Drip

_MODEL = re.compile(rb'"model"\s*:\s*"(?:openai/)?([^"]*)"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_START = re.compile(rb"POST /start/(\S+) ")
_OTHER_WIRE = re.compile(
    rb"POST \S*?/(?:(?P<anthropic>messages)|(?P<openai_responses>responses)|(?P<ollama>api/chat)"
    rb"|models/(?P<gemini>[^/\s]+):streamGenerateContent)[? ]"
)
"""Groups by the module of ``asyncllm.protocols``. Gemini has the model in the path."""

AUTHORITY = "ca.pem"
LEAD = 0.05
LEAD_PER_STREAM = 0.0001
"""Seconds from the start of a group to its first turn: the readers take their places meanwhile."""
BLOCK = 100
"""Events that are written at a time where the reader sets the pace."""


class Server(asyncio.Protocol):
    """One connection."""

    groups: dict[str, list[asyncio.Transport]] = {}  # noqa: RUF012  (all connections share them)
    tasks: set[asyncio.Task[None]] = set()  # noqa: RUF012

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._received = b""
        self._room: asyncio.Event | None = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next_request()) is not None:
            self._serve(*request)

    def pause_writing(self) -> None:
        if self._room is not None:
            self._room.clear()

    def resume_writing(self) -> None:
        if self._room is not None:
            self._room.set()

    def _next_request(self) -> tuple[bytes, bytes] | None:
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if not separator or len(rest) < length:
            return None
        self._received = rest[length:]
        return head, rest[:length]

    def _serve(self, head: bytes, body: bytes) -> None:
        if (start := _START.match(head)) is not None:
            self._start(start[1].decode())
            return
        found = _MODEL.search(body)
        model = found[1].decode() if found else "one"
        if (other := _OTHER_WIRE.match(head)) is not None:
            self._transport.write(on_other_wire(other, model))
            return
        if model.startswith("drip:"):
            self._transport.write(OPENING)
            self.groups.setdefault(model, []).append(self._transport)
        elif model.startswith("flow:"):
            self._spawn(self._flow(int(model.partition(":")[2])))
        elif model == "loop":
            self._transport.write(loop_answer(body))
        elif model == "hang":
            self._transport.write(OPENING)
        else:
            self._transport.write(answer(model))

    def _start(self, group: str) -> None:
        members = self.groups.pop(group)
        begin = time.monotonic() + LEAD + LEAD_PER_STREAM * len(members)
        self._spawn(drip(members, Drip.parse(group), begin))
        body = b"%.6f" % begin
        self._transport.write(
            b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
        )
        self._transport.close()

    async def _flow(self, count: int) -> None:
        self._room = asyncio.Event()
        self._room.set()
        self._transport.write(HEAD + ROLE)
        for at in range(0, count, BLOCK):
            await self._room.wait()
            self._transport.write(b"".join(TEXT[event % len(TEXT)] for event in range(at, min(at + BLOCK, count))))
        self._transport.write(TEXT_END)
        self._room = None

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


def on_other_wire(path: re.Match[bytes], model: str) -> bytes:
    # asyncllm is imported where it is needed, and in no other mode
    from ._wire_answers import wire_answer

    name = path.lastgroup
    assert name is not None
    return wire_answer(name, unquote(path[name].decode()) if name == "gemini" else model)


async def drip(streams: list[asyncio.Transport], schedule: Drip, begin: float) -> None:
    """In every interval one event for each stream, and in the last one its end."""
    slots: list[list[asyncio.Transport]] = [[] for _ in range(schedule.interval)]
    for at, stream in enumerate(streams):
        slots[schedule.turn(at, len(streams))].append(stream)
    for step in range(schedule.events + 1):
        piece = TEXT[step % len(TEXT)] if step < schedule.events else TEXT_END
        for at, slot in enumerate(slots):
            if slot and (left := begin + (step * len(slots) + at) / 1000 - time.monotonic()) > 0:
                await asyncio.sleep(left)
            for stream in slot:
                stream.write(piece)


def certificate(folder: Path) -> ssl.SSLContext:
    """A fresh authority, whose certificate is in the folder, and a server's context with a certificate of it."""
    import trustme

    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / AUTHORITY))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


def run_on_fast_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())


async def serve(context: ssl.SSLContext | None) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Server, "127.0.0.1", 0, backlog=4096, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main(*arguments: str) -> None:
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    context = certificate(Path(arguments[1])) if arguments[:1] == ("--tls",) else None
    run_on_fast_loop(lambda: serve(context))


if __name__ == "__main__":
    main(*sys.argv[1:])
