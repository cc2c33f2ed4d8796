"""What the program's own tools gave, as our parts."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from ...events import Image, Text
from ..anthropic._readable import readable


def content_of(content: object) -> str | list[Text | Image]:
    """A tool result's content: text, unless there are images in it."""
    if not isinstance(content, list):
        return readable(content)
    parts: list[Text | Image] = []
    for block in content:
        if isinstance(block, Mapping) and block.get("type") == "image" and (image := _image(block)) is not None:
            parts.append(image)
        elif text := readable(block):
            parts.append(Text(text))
    if any(isinstance(part, Image) for part in parts):
        return parts
    return "\n".join(part.text for part in parts if isinstance(part, Text))


def _image(block: Mapping[str, Any]) -> Image | None:
    source = block.get("source")
    if not isinstance(source, Mapping):
        return None
    kind, data, url = source.get("media_type"), source.get("data"), source.get("url")
    if isinstance(url, str):
        return Image(url)
    try:
        return (
            Image(data=base64.b64decode(data, validate=True), media_type=str(kind)) if isinstance(data, str) else None
        )
    except (binascii.Error, ValueError):
        return None
