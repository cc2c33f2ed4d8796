"""What the request encoders of all wires do with a body."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any

import msgspec

from ..events import InvalidRequestError
from ._json import to_json
from ._request import Tool

_encode = msgspec.json.Encoder().encode


def written(body: object) -> bytes:
    """The JSON of a body. Half a character, which users, tools and other servers do send, becomes U+FFFD."""
    try:
        return _encode(body)
    except UnicodeEncodeError:
        return to_json(msgspec.to_builtins(body)).encode()


def merge(body: dict[str, Any], extra: Mapping[str, object], *, joined: Collection[str] = ()) -> None:
    """`extra_body` into a body: it wins; objects are merged all the way down, the lists named in `joined` go on with what is
    new in it, and None takes a field away, as it does an object of which nothing is left."""
    for key, value in extra.items():
        held = body.get(key)
        if value is None:
            body.pop(key, None)
        elif isinstance(held, Mapping) and isinstance(value, Mapping):
            inner = dict(held)
            merge(inner, value, joined=joined)
            if inner:
                body[key] = inner
            else:
                del body[key]
        elif key in joined and isinstance(held, list) and isinstance(value, list | tuple):
            body[key] = [*held, *(item for item in value if item not in held)]
        else:
            body[key] = value


def distinct_names(tools: Iterable[Tool]) -> list[str]:
    """Raises :class:`InvalidRequestError` where two are the same: no model could tell them apart."""
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        twice = sorted({name for name in names if names.count(name) > 1})
        raise InvalidRequestError(f"two tools have the same name: {twice}")
    return names
