"""The bytes of the upstream's answers: what OpenAI sends, made beforehand. See `upstream.py` for the names of the models."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

HEAD = (
    b"HTTP/1.1 200 OK\r\ndate: Sat, 21 Nov 2026 00:00:00 GMT\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\nconnection: keep-alive\r\nopenai-organization: user-abc\r\n"
    b"openai-processing-ms: 104\r\n"
    b"openai-version: 2020-10-01\r\nx-ratelimit-limit-requests: 10000\r\nx-ratelimit-remaining-requests: 9999\r\n"
    b"x-ratelimit-limit-tokens: 2000000\r\nx-ratelimit-remaining-tokens: 1999000\r\n"
    b"x-request-id: req_0123456789abcdef0123456789abcdef\r\nserver: cloudflare\r\ncache-control: no-cache\r\n\r\n"
)
WORDS = (" the", " quick", "brown", " fox", " jump", "ed ov", "er the", " lazy", "dog.", " And")
TEXT_BYTES = sum(map(len, WORDS)) / len(WORDS)
"""Text in a delta, on average."""
COALESCED = 16
"""Events in one HTTP chunk of a coalesced answer."""

_USAGE: dict[str, Any] = {
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
    """One chat.completion.chunk with all that OpenAI puts into it, as one server-sent event of about 280 bytes."""
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
    return b"data: " + json.dumps(chunk, separators=(",", ":")).encode() + b"\n\n"


def end(finish: str) -> bytes:
    return chunked([event({}, finish=finish), event(None, usage=_USAGE), b"data: [DONE]\n\n"]) + b"0\r\n\r\n"


def chunked(events: Sequence[bytes], in_one: int = 1) -> bytes:
    return b"".join(http_chunk(b"".join(events[at : at + in_one])) for at in range(0, len(events), in_one))


_TEXT = [event({"content": word}) for word in WORDS]
ROLE = http_chunk(event({"role": "assistant", "content": "", "refusal": None}))
TEXT = [http_chunk(delta) for delta in _TEXT]
TEXT_END = end("stop")
OPENING = HEAD + ROLE + TEXT[0]


@cache
def answer(model: str) -> bytes:
    """The whole answer of a model that does not wait for anything."""
    kind, *numbers = model.split(":")
    if kind in ("burst", "coalesced"):
        deltas = [_TEXT[at % len(_TEXT)] for at in range(int(numbers[0]))]
        return HEAD + ROLE + chunked(deltas, in_one=COALESCED if kind == "coalesced" else 1) + TEXT_END
    if kind == "tools":
        return HEAD + ROLE + chunked(_tool_call(int(numbers[0]))) + end("tool_calls")
    return HEAD + TEXT[0] + TEXT_END


def _tool_call(fragments: int) -> list[bytes]:
    arguments = ['{"items":[', *['"xxxxxxx",'] * (fragments - 2), '"xxxxxx"]}']
    begin = tool_piece(0, id="call_abc123", type="function", function={"name": "do_it", "arguments": ""})
    return [begin, *(tool_piece(0, function={"arguments": fragment}) for fragment in arguments)]


def tool_piece(index: int, **piece: Any) -> bytes:
    return event({"tool_calls": [{"index": index, **piece}]})
