"""JSON as servers write it and as clients must be sent it."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

_NON_ASCII = re.compile(r"[^\x00-\x7f]+")
_encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def parse_json(text: str) -> Any:
    """Any JSON; lone surrogates pass (msgspec refuses them). Raises ValueError."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        try:
            return json.loads(text)
        except RecursionError as error:
            raise ValueError(str(error)) from None
    except RecursionError as error:
        raise ValueError(str(error)) from None


def to_json(value: object) -> str:
    """Compact JSON in ASCII: no client can take U+2028 or U+0085 for a line end. Lone surrogates become U+FFFD."""
    text = _encode_json(value)
    return text if text.isascii() else _NON_ASCII.sub(_escaped, text)  # only strings hold such characters


def _escaped(found: re.Match[str]) -> str:
    return json.dumps(found[0].encode("utf-16", "surrogatepass").decode("utf-16", "replace"))[1:-1]
