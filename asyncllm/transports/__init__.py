"""Bytes in motion: framers, which are sans-IO, and the HTTP side. Knows nothing of models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._frames import MAX_FRAME_BYTES, Frame, Framer
from ._jsonl import JSONLinesFramer
from ._sniff import SniffingFramer
from ._sse import SSEFramer, encode_sse

if TYPE_CHECKING:
    from ._http import FastTransport, http_client

__all__ = ["MAX_FRAME_BYTES", "FastTransport", "Frame", "Framer", "JSONLinesFramer", "SSEFramer", "SniffingFramer", "encode_sse", "http_client"]


def __getattr__(name: str) -> object:
    if name in ("FastTransport", "http_client"):  # the framers need no HTTP library
        from . import _http

        return getattr(_http, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
