"""The upstream's answers on the wires besides OpenAI's chat completions, made beforehand with the encoders of asyncllm.

Their events are as short as those encoders make them: about 120 bytes for Anthropic, 210 for Responses, 140 for Gemini and
130 for Ollama. Vendors may add to that (Gemini counts the tokens in every chunk, Responses pads its events); all clients of a
wire read the same bytes.
"""

from __future__ import annotations

import re
from functools import cache

from asyncllm.events import Finish, StreamEvent, StreamStart, TextDelta, Usage
from asyncllm.protocols import Request
from asyncllm.testing._wires import CONTENT_TYPES, FRAMES, wire

from ._answers import HEAD, WORDS, http_chunk

_CONTENT_TYPE = re.compile(rb"(?<=content-type: )[^\r]*")


@cache
def wire_answer(name: str, model: str) -> bytes:
    """The whole answer of "burst:N", on a wire by the name of its module in ``asyncllm.protocols``."""
    side = wire(name)
    encoder = side.encoder(Request(model=model, messages=()), {})
    as_bytes = FRAMES[side.framing]
    frames = [as_bytes(frame) for event in _events(model) for frame in encoder.encode(event)]
    head = _CONTENT_TYPE.sub(CONTENT_TYPES[side.framing].encode(), HEAD)
    return b"".join([head, *map(http_chunk, frames), b"0\r\n\r\n"])


def _events(model: str) -> list[StreamEvent]:
    kind, _, count = model.partition(":")
    if kind != "burst":
        raise ValueError(f"{model!r}: on this wire there is burst:N alone")
    deltas = [TextDelta(WORDS[at % len(WORDS)]) for at in range(int(count))]
    usage = Usage(input_tokens=20, output_tokens=2000)
    return [StreamStart(model, id="answer-1"), *deltas, usage, Finish("stop")]
