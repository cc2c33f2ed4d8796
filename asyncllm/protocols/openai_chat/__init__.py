"""The OpenAI Chat Completions wire and its dialects, in both directions."""

from __future__ import annotations

import re

import msgspec

from ...events import InvalidRequestError, LLMError
from .._codec import Codec, Encoded
from .._request import Request
from ._decode import ChatDecoder
from ._input import message_from_dict, tool_from_dict
from ._quirks import ChatQuirks
from ._request import encode_request

__all__ = ["CODEC", "QUIRKS", "ChatCodec", "ChatDecoder", "ChatQuirks", "message_from_dict", "tool_from_dict"]

_REFUSES = r"unsupported|unknown|unrecognized|unexpected|not supported|not permitted|extra|invalid|not allowed|unable"


class ChatCodec:
    """The codec of one vendor: the wire plus its quirks."""

    def __init__(self, provider: str, quirks: ChatQuirks | None = None) -> None:
        self.provider = provider
        self.quirks = quirks or ChatQuirks()

    def encode(self, request: Request) -> Encoded:
        return encode_request(request, self.quirks, self.provider)

    def decoder(self, request: Request, encoded: Encoded) -> ChatDecoder:
        return ChatDecoder(
            model=request.model, provider=self.provider, quirks=self.quirks, warnings=encoded.warnings, raw=request.raw
        )

    def adapted(self, error: LLMError) -> Codec | None:
        """Servers that refuse one of the two fields that limit the output name the other (G9); some refuse
        `stream_options` (F10). The request is then said once more without it."""
        if not isinstance(error, InvalidRequestError) or error.status not in (400, 422):
            return None
        text = f"{error.message} {error.body or ''}".lower()
        if not re.search(_REFUSES, text):
            return None
        if self.quirks.stream_options and re.search(r"stream_options|include_usage", text):
            return ChatCodec(self.provider, msgspec.structs.replace(self.quirks, stream_options=False))
        ours = self.quirks.max_tokens
        if re.search(rf"\b{ours}\b", text):
            other = "max_completion_tokens" if ours == "max_tokens" else "max_tokens"
            return ChatCodec(self.provider, msgspec.structs.replace(self.quirks, max_tokens=other))
        return None


CODEC = ChatCodec
QUIRKS = ChatQuirks
