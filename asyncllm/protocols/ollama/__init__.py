"""The native wire of Ollama, POST /api/chat in JSON lines, in both directions."""

from __future__ import annotations

import msgspec

from ...events import InvalidRequestError, LLMError
from .._codec import Codec, Encoded
from .._request import Request
from ._decode import OllamaDecoder
from ._quirks import OllamaQuirks
from ._request import encode_request

__all__ = ["CODEC", "QUIRKS", "OllamaCodec", "OllamaDecoder", "OllamaQuirks"]


class OllamaCodec:
    """The codec of one server: the wire plus its quirks."""

    def __init__(self, provider: str, quirks: OllamaQuirks | None = None) -> None:
        self.provider = provider
        self.quirks = quirks or OllamaQuirks()

    def encode(self, request: Request) -> Encoded:
        return encode_request(request, self.quirks, self.provider)

    def decoder(self, request: Request, encoded: Encoded) -> OllamaDecoder:
        return OllamaDecoder(model=request.model, provider=self.provider, warnings=encoded.warnings, raw=request.raw)

    def adapted(self, error: LLMError) -> Codec | None:
        """Only some models know levels of thinking ('think value "low" is not supported for this model'); the request is
        then said once more with `think: true`."""
        if (
            self.quirks.think_levels
            and isinstance(error, InvalidRequestError)
            and error.status == 400
            and "think value" in error.message.lower()
        ):
            return OllamaCodec(self.provider, msgspec.structs.replace(self.quirks, think_levels=False))
        return None


CODEC = OllamaCodec
QUIRKS = OllamaQuirks
