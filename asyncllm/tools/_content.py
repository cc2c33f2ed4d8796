"""What a function returned, as what the model is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Set
from pathlib import PurePath
from typing import Any

import msgspec

from ..events import Audio, File, Image, Reasoning, Text
from ._tool import Content, ToolError

NOTHING = "Done."
"""What the model is told of a function that returned None."""

_NOT_JSON = bytes | bytearray | memoryview | Audio | File | Reasoning
"""What msgspec would write as base64, or what no tool may answer with."""


def content_of(value: object, name: str) -> Content:
    """Text as it is, texts and images as parts, anything else as JSON.

    Raises ToolError, which says what the tool `name` returned, for what is none of these: bytes, a generator, an open file.
    """
    if isinstance(value, Text | Image):
        return [_part(value, name)]
    if isinstance(value, list | tuple) and any(isinstance(item, Text | Image) for item in value):
        return [_part(item, name) for item in value]
    return _text(value, name)


def _part(value: object, name: str) -> Text | Image:
    if isinstance(value, Text):
        return Text(sendable(value.text))
    return value if isinstance(value, Image) else Text(_text(value, name))


def _text(value: object, name: str) -> str:
    if value is None:
        return NOTHING
    if isinstance(value, str):
        return sendable(str.__str__(value))  # an enum of strings is its value
    wanted = f"{name} must return text, what can be said in JSON, or Text and Image parts; it returned"
    if isinstance(value, _NOT_JSON):
        raise ToolError(f"{wanted} {type(value).__name__}")
    try:
        return json_of(value).decode()
    except Exception as error:  # the model is told, whatever is wrong with a value
        raise ToolError(f"{wanted} {type(value).__name__} ({error})") from error


def json_of(value: object) -> bytes:
    """JSON as UTF-8, non-ASCII kept as it is. What JSON has no number for (NaN, infinity) is null.

    Raises TypeError and others for what is not JSON.
    """
    try:
        return msgspec.json.encode(value, enc_hook=_plain)
    except UnicodeEncodeError:  # half a character, as in file names that are not UTF-8
        return msgspec.json.encode(_all_sendable(msgspec.to_builtins(value, enc_hook=_plain)))


def _plain(value: Any) -> object:
    """What msgspec does not know, as something it does."""
    if hasattr(value, "model_dump") and not isinstance(value, type):
        return value.model_dump(mode="json", by_alias=True)
    if hasattr(value, "tolist"):  # NumPy's numbers and arrays, pandas' columns
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Set | deque | range):
        return list(value)
    if isinstance(value, PurePath):
        return str(value)
    if value is None or isinstance(value, bool):  # a key: as a value it needs no help
        return str(json_of(value), "ascii")
    if isinstance(value, float):  # a subclass
        return float(value)
    if isinstance(value, int):
        return int(value)
    raise TypeError(f"{type(value).__name__} is not JSON")


def sendable(text: str) -> str:
    """Without halves of characters, with which no request could be encoded."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode()
    return text


def _all_sendable(value: object) -> object:
    if isinstance(value, str):
        return sendable(value)
    if isinstance(value, list | tuple):
        return [_all_sendable(item) for item in value]
    if isinstance(value, dict):
        return {_all_sendable(key): _all_sendable(item) for key, item in value.items()}
    return value
