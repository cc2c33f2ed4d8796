"""The Converse wire of Amazon Bedrock, in both directions."""

from __future__ import annotations

import re

from msgspec.structs import replace

from ...events import InvalidRequestError, LLMError
from .._codec import Codec, Encoded
from .._request import Request
from ._decode import ConverseDecoder
from ._quirks import BedrockQuirks
from ._request import encode_request

__all__ = ["CODEC", "QUIRKS", "BedrockCodec", "BedrockQuirks", "ConverseDecoder"]

_OUTPUT = r"output_?config|text_?format|output_?format|structured output"


class BedrockCodec:
    """The codec: the wire plus what the models behind it take."""

    def __init__(self, provider: str, quirks: BedrockQuirks | None = None) -> None:
        self.provider = provider
        self.quirks = quirks or BedrockQuirks()

    def encode(self, request: Request) -> Encoded:
        return encode_request(request, self.quirks, self.provider)

    def decoder(self, request: Request, encoded: Encoded) -> ConverseDecoder:
        return ConverseDecoder(model=request.model, provider=self.provider, warnings=encoded.warnings, raw=request.raw)

    def adapted(self, error: LLMError) -> Codec | None:
        """Older models refuse structured output: the schema is then said in the prompt."""
        refused = isinstance(error, InvalidRequestError) and error.status == 400
        if refused and self.quirks.output == "json_schema" and re.search(_OUTPUT, error.message, re.IGNORECASE):
            return BedrockCodec(self.provider, replace(self.quirks, output="prompt"))
        return None


CODEC = BedrockCodec
QUIRKS = BedrockQuirks
