"""The Anthropic Messages wire, in both directions."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from ...events import InvalidRequestError, LLMError
from .._codec import Codec, Encoded
from .._request import Request
from ._decode import MessagesDecoder
from ._quirks import MessagesQuirks
from ._request import encode_request

__all__ = ["CODEC", "QUIRKS", "MessagesCodec", "MessagesDecoder", "MessagesQuirks"]

_REFUSES = (
    r"unsupported|unknown|unrecognized|unexpected|not support|not permitted|not allowed|extra|deprecated|no longer"
)


class MessagesCodec:
    """The codec of one vendor: the wire plus its quirks."""

    def __init__(self, provider: str, quirks: MessagesQuirks | None = None) -> None:
        self.provider = provider
        self.quirks = quirks or MessagesQuirks()

    def encode(self, request: Request) -> Encoded:
        return encode_request(request, self.quirks, self.provider)

    def decoder(self, request: Request, encoded: Encoded) -> MessagesDecoder:
        return MessagesDecoder(model=request.model, provider=self.provider, warnings=encoded.warnings, raw=request.raw)

    def adapted(self, error: LLMError) -> Codec | None:
        """Models differ in the largest output they allow, in how they are told to think, and in what they know of sampling
        and schemas; a refusal says so, and the request is said once more in the other way."""
        if not isinstance(error, InvalidRequestError) or error.status not in (400, 422):
            return None
        change = _change(f"{error.message} {error.body or ''}".lower(), self.quirks)
        return MessagesCodec(self.provider, msgspec.structs.replace(self.quirks, **change)) if change else None


def _change(text: str, quirks: MessagesQuirks) -> dict[str, Any] | None:
    """What another way would be, for a refusal in these words; None where there is none."""
    if (limit := re.search(r"max_tokens: (\d+) > (\d+)", text)) and int(limit[1]) == quirks.max_tokens:
        return {"max_tokens": int(limit[2])}
    if not re.search(_REFUSES, text):
        return None
    if named := re.search(r"(adaptive|\beffort\b)|(thinking\.type\.enabled|budget_tokens|thinking\.enabled)", text):
        other = "enabled" if named[1] else "adaptive"
        return {"thinking": other} if quirks.thinking != other else None
    if quirks.sampling and re.search(r"\b(temperature|top_p)\b", text):
        return {"sampling": False}
    if quirks.strict_tools and re.search(r"\bstrict\b", text):
        return {"strict_tools": False}
    if quirks.output == "json_schema" and re.search(r"output_config|output_format|json_schema|structured output", text):
        return {"output": "prompt"}
    return None


CODEC = MessagesCodec
QUIRKS = MessagesQuirks
