"""The OpenAI Responses wire and its dialects, in both directions."""

from __future__ import annotations

import re

import msgspec

from ...events import InvalidRequestError, LLMError
from .._codec import Codec, Encoded
from .._request import Request
from ._decode import ResponsesDecoder
from ._quirks import ResponsesQuirks
from ._request import encode_request, is_stored

__all__ = ["CODEC", "QUIRKS", "ResponsesCodec", "ResponsesDecoder", "ResponsesQuirks"]


class ResponsesCodec:
    """The codec of one vendor: the wire plus its quirks."""

    def __init__(self, provider: str, quirks: ResponsesQuirks | None = None) -> None:
        self.provider = provider
        self.quirks = quirks or ResponsesQuirks()

    def encode(self, request: Request) -> Encoded:
        return encode_request(request, self.quirks, self.provider)

    def decoder(self, request: Request, encoded: Encoded) -> ResponsesDecoder:
        continued = request.extra_body.get("response_id")
        return ResponsesDecoder(
            model=request.model,
            provider=self.provider,
            warnings=encoded.warnings,
            raw=request.raw,
            stored=is_stored(request, self.quirks),
            background=request.extra_body.get("background") is True,
            id=continued if isinstance(continued, str) else "",
        )

    def adapted(self, error: LLMError) -> Codec | None:
        """Models that do not reason refuse to encrypt their reasoning, and some accounts may not read summaries of it. The
        request is then said once more without that."""
        if not isinstance(error, InvalidRequestError) or error.status not in (400, 422):
            return None
        text = f"{error.message} {error.body or ''}".lower()
        quirks = self.quirks
        if quirks.encrypted_reasoning and re.search(r"encrypted[ _]content|\binclude\b", text):
            quirks = msgspec.structs.replace(quirks, encrypted_reasoning=False)
        elif quirks.reasoning_summary and re.search(r"reasoning\.summary|reasoning summar", text):
            quirks = msgspec.structs.replace(quirks, reasoning_summary=None)
        else:
            return None
        return ResponsesCodec(self.provider, quirks)


CODEC = ResponsesCodec
QUIRKS = ResponsesQuirks
