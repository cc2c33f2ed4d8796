"""The events of a stream: one small frozen struct each, and their union. JSON both ways.

A delta is said once: no event repeats what an earlier one said, except ToolCall (the whole of its ToolCallDeltas), which
is what most programs want.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec
from msgspec import Struct

from ._errors import LLMError, error_from_dict
from ._messages import Audio, File, Image, ProviderState, ToolCall, ToolResult
from ._session import Session
from ._usage import Usage

FinishReason = Literal["stop", "length", "tool_calls", "content_filter", "error", "other"]
StopReason = Literal["max_steps", "stop_when", "needs_results"]


class StreamStart(Struct, frozen=True, tag="stream_start"):
    """The first event of each step. `warnings` name what was adapted or left out of the request, harmlessly."""

    model: str
    id: str = ""
    backend: str = ""
    warnings: tuple[str, ...] = ()


class TextDelta(Struct, frozen=True, gc=False, tag="text_delta"):
    """A piece of the answer. `state` rides on the Text part of the reply (text may then be empty)."""

    text: str
    state: ProviderState | None = None


class ReasoningDelta(Struct, frozen=True, gc=False, tag="reasoning_delta"):
    """A piece of the model's reasoning. `state` rides on the Reasoning part of the reply (text may then be empty)."""

    text: str
    state: ProviderState | None = None


class RefusalDelta(Struct, frozen=True, gc=False, tag="refusal_delta"):
    """A piece of the model's own refusal (OpenAI `delta.refusal`): said instead of an answer, and not an error."""

    text: str


class ToolCallDelta(Struct, frozen=True, gc=False, tag="tool_call_delta"):
    """A fragment of a tool call as it arrives. `index` counts the calls of the step from 0."""

    index: int
    id: str
    name: str
    arguments: str


class Citation(Struct, frozen=True, tag="citation"):
    """A source of what was said. `start` and `end` are character offsets in the text of the step, where they are known;
    `quote` is the source's own text, where it is given; `raw` is the provider's object."""

    url: str = ""
    title: str = ""
    start: int | None = None
    end: int | None = None
    quote: str = ""
    raw: Mapping[str, object] | None = None


class Retrying(Struct, frozen=True, tag="retrying"):
    """The call failed before any content and is tried again after `delay` seconds. `attempt` counts from 1.

    After a Finish, with an :class:`asyncllm.InvalidOutputError`: the answer before it was whole, but not what `output=` asks
    for, and is taken back; the model is told what is wrong and answers anew.
    """

    attempt: int
    delay: float
    error: LLMError


class Finish(Struct, frozen=True, gc=False, tag="finish"):
    """The model is done: exactly one a step. `raw` is the provider's word, None where it gave none; `details` is what it said
    besides: why it refused, at which stop sequence it ended."""

    reason: FinishReason
    raw: str | None = None
    details: Mapping[str, object] | None = None


class ToolProgress(Struct, frozen=True, gc=False, tag="tool_progress"):
    """How far the running call `id` is: `progress` of `total` (None: unknown), in whatever unit the tool counts."""

    id: str
    name: str
    progress: float
    total: float | None = None
    message: str = ""


class Stopped(Struct, frozen=True, gc=False, tag="stopped"):
    """A run of tools went no further, though the model was not done. It is the last event; running `reply.messages` goes on.

    `max_steps` and `stop_when`: what the caller set. `needs_results`: calls of tools that only the caller can execute wait in
    `reply.tool_calls`.
    """

    reason: StopReason


class StreamError(Struct, frozen=True, tag="stream_error"):
    """The stream failed. Below the client, streams end with this; :class:`asyncllm.Stream` raises `error`."""

    error: LLMError


class RawEvent(Struct, frozen=True, tag="raw"):
    """What we did not understand, as the provider sent it (opt-in: `raw=True`)."""

    data: object


StreamEvent = (
    StreamStart
    | TextDelta
    | ReasoningDelta
    | RefusalDelta
    | ToolCallDelta
    | ToolCall
    | ToolResult
    | ToolProgress
    | Image
    | Audio
    | File
    | Citation
    | Usage
    | Session
    | Retrying
    | Finish
    | Stopped
    | StreamError
    | RawEvent
)


def _encode(value: Any) -> Any:
    if isinstance(value, LLMError):
        return value.to_dict()
    raise TypeError(f"cannot encode {type(value).__name__}")


def _decode(kind: type, value: Any) -> Any:
    """msgspec asks about every type it does not know: ours is the error; `object` is JSON as it stands."""
    return error_from_dict(value) if issubclass(kind, LLMError) else value


_encoder = msgspec.json.Encoder(enc_hook=_encode)
_decoder: msgspec.json.Decoder[StreamEvent] | None = None


def event_to_json(event: StreamEvent) -> bytes:
    """One event as a JSON object on one line; `"type"` names the event."""
    return _encoder.encode(event)


def event_from_json(data: bytes | str) -> StreamEvent:
    """The event that :func:`event_to_json` wrote. Raises ``msgspec.ValidationError`` for anything else."""
    global _decoder
    if _decoder is None:  # building it costs 1 ms; most programs never read events back
        _decoder = msgspec.json.Decoder(StreamEvent, dec_hook=_decode)
    return _decoder.decode(data)


CONTENT = (
    TextDelta,
    ReasoningDelta,
    RefusalDelta,
    ToolCallDelta,
    ToolCall,
    ToolResult,
    ToolProgress,
    Image,
    Audio,
    File,
    Finish,
    Stopped,
)
"""Events after which a call is no longer repeated: the caller has seen something of the answer."""


def has_content(events: Iterable[StreamEvent]) -> bool:
    return any(isinstance(event, CONTENT) for event in events)
