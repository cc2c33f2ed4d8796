"""One codec a wire: a request becomes a body, frames become events, and back. No I/O."""

from ._classify import classify, classify_response, request_id
from ._codec import Codec, Decoder, Encoded, FrameLike
from ._request import OutputSchema, ReasoningEffort, Request, Timeout, Tool

__all__ = [
    "Codec",
    "Decoder",
    "Encoded",
    "FrameLike",
    "OutputSchema",
    "ReasoningEffort",
    "Request",
    "Timeout",
    "Tool",
    "classify",
    "classify_response",
    "request_id",
]
