"""Reading a claim of a JSON Web Token. Nothing is verified here: whom the token is sent to does that."""

from __future__ import annotations

import base64
import binascii
import json


def read_claim(token: str, path: tuple[str, ...]) -> str | None:
    """The text at this place of the token's claims; None if the token is no JWT or has no such text. Source: RFC 7519."""
    parts = token.split(".")
    if len(parts) != 3:
        return None
    try:
        value: object = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (binascii.Error, ValueError, RecursionError):
        return None
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value if isinstance(value, str) and value.isascii() and value.isprintable() and value else None
