"""Bytes in motion: framers, which are sans-IO, the HTTP side, and child processes. Knows nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._eventstream import EventStreamFramer, encode_event_stream
from ._frames import MAX_FRAME_BYTES, Frame, Framer
from ._jsonl import JSONLinesFramer
from ._sniff import SniffingFramer
from ._sse import SSEFramer, encode_sse

if TYPE_CHECKING:
    from ._http import DEFAULT_LIMITS, FastTransport, as_response, fallback_reason, http_client, origin_of
    from ._http1_messages import IncomingResponse
    from ._http1_stream import ResponseStream
    from ._process import Process

__all__ = [
    "DEFAULT_LIMITS",
    "MAX_FRAME_BYTES",
    "EventStreamFramer",
    "FastTransport",
    "Frame",
    "Framer",
    "IncomingResponse",
    "JSONLinesFramer",
    "Process",
    "ResponseStream",
    "SSEFramer",
    "SniffingFramer",
    "as_response",
    "encode_event_stream",
    "encode_sse",
    "fallback_reason",
    "http_client",
    "origin_of",
]

_HTTP = (
    "DEFAULT_LIMITS",
    "FastTransport",
    "IncomingResponse",
    "ResponseStream",
    "as_response",
    "fallback_reason",
    "http_client",
    "origin_of",
)


def __getattr__(name: str) -> object:
    if name in _HTTP:  # the framers need no HTTP library
        from . import _http

        return getattr(_http, name)
    if name == "Process":
        from ._process import Process

        return Process
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
