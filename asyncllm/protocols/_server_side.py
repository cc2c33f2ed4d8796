"""The other end of a wire: what a server of it needs. The embedded server of :mod:`asyncllm.testing` is one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from msgspec import Struct

from ..events import LLMError, StreamEvent
from ._request import Request

Framing = Literal["sse", "json_lines", "event_stream"]
"""How frames become bytes: server-sent events, JSON lines, or AWS event stream messages."""


class WireFrame(Struct, frozen=True):
    """One frame to be sent. `kind` marks those without which a client cannot know that the answer is whole: the frame that
    says why the model stopped, and the terminator that a wire may have after it."""

    data: str
    event: str = ""
    kind: Literal["chunk", "finish", "done"] = "chunk"


class Encoder(Protocol):
    """Events of one answer to frames: the decoder read backwards. After Finish or StreamError nothing is said."""

    def encode(self, event: StreamEvent) -> list[WireFrame]: ...


@dataclass(frozen=True, kw_only=True)
class ServerSide:
    """How one wire is served.

    Attributes:
        framing: of a streamed answer.
        streamed: whether a request, of this path and body, asks for a stream.
        read: a path and a JSON body to the Request that they say; raises :class:`asyncllm.InvalidRequestError` for what any
            server would refuse. The reverse of a codec's `encode`.
        encoder: for the answer to a request, of this JSON body, that is streamed.
        body: the answer to a request that is not streamed. Raises the error of a StreamError among the events.
        error: status, body and headers of an HTTP answer that says an error.
    """

    framing: Framing
    streamed: Callable[[str, Mapping[str, Any]], bool]
    read: Callable[[str, Mapping[str, Any]], Request]
    encoder: Callable[[Request, Mapping[str, Any]], Encoder]
    body: Callable[[Iterable[StreamEvent], Request], bytes]
    error: Callable[[LLMError], tuple[int, bytes, dict[str, str]]]
