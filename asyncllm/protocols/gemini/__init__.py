"""The Gemini wire (generateContent) of the Gemini API and of Vertex AI, in both directions."""

from __future__ import annotations

import re

import msgspec

from ...events import InvalidRequestError, LLMError
from .._codec import Codec, Encoded
from .._request import Request
from ._decode import GeminiDecoder
from ._quirks import GeminiQuirks
from ._request import encode_request

__all__ = ["CODEC", "QUIRKS", "GeminiCodec", "GeminiDecoder", "GeminiQuirks"]


class GeminiCodec:
    """The codec of one vendor: the wire plus its quirks."""

    def __init__(self, provider: str, quirks: GeminiQuirks | None = None) -> None:
        self.provider = provider
        self.quirks = quirks or GeminiQuirks()

    def encode(self, request: Request) -> Encoded:
        return encode_request(request, self.quirks, self.provider)

    def decoder(self, request: Request, encoded: Encoded) -> GeminiDecoder:
        return GeminiDecoder(model=request.model, provider=self.provider, warnings=encoded.warnings, raw=request.raw)

    def adapted(self, error: LLMError) -> Codec | None:
        """Versions before v1beta know no JSON Schema; models differ in how they are told to think (G9)."""
        if not isinstance(error, InvalidRequestError) or error.status != 400:
            return None
        text = f"{error.message} {error.body or ''}".lower().replace("_", "").replace(" ", "")
        quirks = self.quirks
        if "unknownname" in text and "jsonschema" in text and quirks.schema == "json_schema":
            return self._with(schema="openapi")
        if not re.search(r"notsupported|unsupported|invalid|unknownname", text):
            return None
        if re.search(r"thinkinglevel:?(minimal|medium|xhigh)", text) and quirks.levels == "all":
            return self._with(levels="low_high")
        if "thinkinglevel" in text and quirks.thinking in ("auto", "level"):
            return self._with(thinking="budget")
        if "thinkingbudget" in text and quirks.thinking == "auto":
            return self._with(thinking="level")
        return None

    def _with(self, **changed: object) -> GeminiCodec:
        return GeminiCodec(self.provider, msgspec.structs.replace(self.quirks, **changed))


CODEC = GeminiCodec
QUIRKS = GeminiQuirks
