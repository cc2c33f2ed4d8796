"""A model server on loopback that costs next to nothing: every answer is a few bytes objects made beforehand.

    python -m benchmarks.upstream        prints its port

It speaks OpenAI chat completions, streamed. What it does is in the name of the model that is asked for:

    one               one text delta, finish, usage, [DONE]
    burst:N           N text deltas, each in an HTTP chunk of its own, written at once
    tools:N           one tool call whose arguments come in N fragments of 10 characters, written at once
    drip:GROUP:N:MS   one text delta now; when the group is started, N more, one every MS milliseconds
    hang              one text delta, and then nothing

A group is started by `POST /start/GROUP`; its streams take turns, spread evenly over the interval.
"""

from __future__ import annotations

import asyncio
import json
import re
import resource
from collections.abc import Callable, Coroutine
from functools import cache
from typing import Any

_MODEL = re.compile(rb'"model"\s*:\s*"([^"]*)"')
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_START = re.compile(rb"POST /start/(\S+) ")

HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nconnection: keep-alive\r\nopenai-organization: user-abc\r\n"
    b"openai-processing-ms: 104\r\n"
    b"openai-version: 2020-10-01\r\nx-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n"
    b"x-ratelimit-limit-tokens: 2000000\r\nx-ratelimit-remaining-tokens: 1999000\r\n"
    b"x-request-id: req_0123456789abcdef0123456789abcdef\r\nserver: cloudflare\r\ncache-control: no-cache\r\n\r\n"
)
STARTED = b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n"
WORDS = (" the", " quick", "brown", " fox", " jump", "ed ov", "er the", " lazy", "dog.", " And")
USAGE: dict[str, Any] = {
    "prompt_tokens": 20,
    "completion_tokens": 2000,
    "total_tokens": 2020,
    "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 0,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def event(delta: dict[str, Any] | None, *, finish: str | None = None, usage: dict[str, Any] | None = None) -> bytes:
    """One chat.completion.chunk with all that OpenAI puts into it, as one server-sent event in one HTTP chunk."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {
        "id": "chatcmpl-B9MHDbslfkBeAs8l4bebGdFOJ6PeG",
        "object": "chat.completion.chunk",
        "created": 1763690000,
        "model": "gpt-4.1-mini-2025-04-14",
        "system_fingerprint": "fp_34a54ae93c",
        "choices": [] if delta is None else [choice],
        "usage": usage,
    }
    return http_chunk(b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n")


def tool_piece(**piece: Any) -> bytes:
    return event({"tool_calls": [{"index": 0, **piece}]})


def end(finish: str) -> bytes:
    return event({}, finish=finish) + event(None, usage=USAGE) + http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


ROLE = event({"role": "assistant", "content": "", "refusal": None})
TEXT = [event({"content": word}) for word in WORDS]
TEXT_END = end("stop")
OPENING = HEAD + ROLE + TEXT[0]


@cache
def answer(model: str) -> bytes:
    """The whole answer of a model that does not wait for anything."""
    kind, *numbers = model.split(":")
    if kind == "burst":
        return HEAD + ROLE + b"".join(TEXT[at % len(TEXT)] for at in range(int(numbers[0]))) + TEXT_END
    if kind == "tools":
        return HEAD + ROLE + _tool_call(int(numbers[0])) + end("tool_calls")
    return HEAD + TEXT[0] + TEXT_END


def _tool_call(fragments: int) -> bytes:
    arguments = ['{"text": "1'.ljust(10, "x"), *["x" * 10] * (fragments - 2), 'xxxxxxxx"}']
    begin = tool_piece(id="call_abc123", type="function", function={"name": "do_it", "arguments": ""})
    return begin + b"".join(tool_piece(function={"arguments": fragment}) for fragment in arguments)


class Server(asyncio.Protocol):
    """One connection."""

    groups: dict[str, list[asyncio.Transport]] = {}  # noqa: RUF012  (all connections share them)
    tasks: set[asyncio.Task[None]] = set()  # noqa: RUF012

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        while (request := self._next_request()) is not None:
            self._serve(*request)

    def _next_request(self) -> tuple[bytes, bytes] | None:
        head, separator, rest = self._received.partition(b"\r\n\r\n")
        length = int(found[1]) if (found := _LENGTH.search(head)) else 0
        if not separator or len(rest) < length:
            return None
        self._received = rest[length:]
        return head, rest[:length]

    def _serve(self, head: bytes, body: bytes) -> None:
        if (start := _START.match(head)) is not None:
            self._transport.write(STARTED)
            self._transport.close()
            members = self.groups.pop(start[1].decode())
            self._spawn(drip(members, start[1].decode()))
            return
        found = _MODEL.search(body)
        model = found[1].decode() if found else "one"
        if model.startswith("drip:"):
            self._transport.write(OPENING)
            self.groups.setdefault(model, []).append(self._transport)
        elif model == "hang":
            self._transport.write(OPENING)
        else:
            self._transport.write(answer(model))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)


async def drip(streams: list[asyncio.Transport], model: str) -> None:
    """One event for each stream in every interval; the streams' turns are a millisecond or more apart."""
    _, _, count, interval = model.split(":")
    slots: list[list[asyncio.Transport]] = [[] for _ in range(int(interval))]
    for at, stream in enumerate(streams):
        slots[at * len(slots) // len(streams)].append(stream)
    loop = asyncio.get_running_loop()
    start = loop.time() + 0.05
    for step in range(int(count)):
        for at, slot in enumerate(slots):
            if slot and (left := start + (step * len(slots) + at) / 1000 - loop.time()) > 0:
                await asyncio.sleep(left)
            for stream in slot:
                stream.write(TEXT[step % len(TEXT)])
    for stream in streams:
        stream.write(TEXT_END)


def run_on_fast_loop(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Server, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    run_on_fast_loop(serve)
