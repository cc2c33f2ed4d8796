"""One codec a wire: a request becomes a body, frames become events, and back. No I/O."""

from ._classify import classify, classify_response, request_id
from ._codec import Codec, Decoder, Encoded, FrameLike
from ._finish import finish_reason
from ._request import CacheTTL, OutputSchema, ReasoningEffort, Request, Timeout, Tool
from ._server_side import Encoder, ServerSide, WireFrame

__all__ = [
    "CacheTTL",
    "Codec",
    "Decoder",
    "Encoded",
    "Encoder",
    "FrameLike",
    "OutputSchema",
    "ReasoningEffort",
    "Request",
    "ServerSide",
    "Timeout",
    "Tool",
    "WireFrame",
    "classify",
    "classify_response",
    "finish_reason",
    "request_id",
]
