"""Images, documents, videos and sound: media types to the formats of the wire, and back.

Source: the model of the Bedrock runtime (ImageFormat, DocumentFormat, VideoFormat, AudioFormat and their sources).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any

from ...events import Audio, File, Image, InvalidRequestError, Part

IMAGES = {"image/png": "png", "image/jpeg": "jpeg", "image/gif": "gif", "image/webp": "webp"}

DOCUMENTS = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
}

VIDEOS = {
    "video/x-matroska": "mkv",
    "video/quicktime": "mov",
    "video/mp4": "mp4",
    "video/webm": "webm",
    "video/x-flv": "flv",
    "video/mpeg": "mpeg",
    "video/x-ms-wmv": "wmv",
    "video/3gpp": "three_gp",
}

AUDIO = frozenset(
    {"aac", "flac", "m4a", "mka", "mkv", "mp3", "mp4", "mpeg", "mpga", "ogg", "opus", "pcm", "wav", "webm", "x-aac"}
)

_ALIASES = {"image/jpg": "image/jpeg", "text/x-markdown": "text/markdown", "video/x-m4v": "video/mp4"}

_FORMATS = {**DOCUMENTS, **VIDEOS}
_TYPES = {format: media for media, format in {**IMAGES, **_FORMATS}.items()}
_TYPES["mpg"] = "video/mpeg"

_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9()\[\]-]+")


def image_block(part: Image, where: str) -> dict[str, Any]:
    """Raises :class:`InvalidRequestError` for what the service cannot read: it fetches nothing but from S3."""
    media, source = part.media_type, None
    if part.data is not None:
        source = _bytes(part.data)
    elif part.url is not None and part.url.startswith("s3://"):
        source = {"s3Location": {"uri": part.url}}
    elif part.url is not None and part.url.startswith("data:"):
        media, source = _data_url(part.url, where)
    elif part.url:
        raise InvalidRequestError(
            f"{where}: Bedrock fetches no images from the web: pass the bytes, Image(data=...), or an s3:// URL"
        )
    if source is None:
        raise InvalidRequestError(f"{where}: an Image needs a url or data")
    return {"image": {"format": _format(media, IMAGES, where), "source": source}}


def audio_block(part: Audio, where: str) -> dict[str, Any]:
    if part.format not in AUDIO:
        raise InvalidRequestError(f"{where}: Bedrock takes no audio of format {part.format!r} ({_listed(AUDIO)})")
    return {"audio": {"format": part.format, "source": _bytes(part.data)}}


def file_block(part: File, where: str, names: set[str]) -> dict[str, Any]:
    """A document or a video. `names` are those of the documents so far: no two may have the same."""
    source = None
    if part.data is not None:
        source = _bytes(part.data)
    elif part.file_id is not None:
        if not part.file_id.startswith("s3://"):
            raise InvalidRequestError(
                f"{where}: a File of Bedrock is its data, or a file_id of the form s3://bucket/key"
            )
        source = {"s3Location": {"uri": part.file_id}}
    if source is None:
        raise InvalidRequestError(f"{where}: a File needs data or a file_id")
    format = _format(part.media_type, _FORMATS, where)
    if format in VIDEOS.values():
        return {"video": {"format": format, "source": source}}
    return {"document": {"format": format, "name": _name(part.name, names), "source": source}}


def _name(given: str, names: set[str]) -> str:
    """In the letters that the service allows, and unlike the others."""
    stem = given.rpartition(".")[0] or given
    base = name = _NOT_IN_NAMES.sub(" ", stem).strip()[:180] or "file"
    count = 1
    while name in names:
        count += 1
        name = f"{base} ({count})"
    names.add(name)
    return name


def _format(media_type: str, formats: Mapping[str, str], where: str) -> str:
    plain = media_type.partition(";")[0].strip().lower()
    format = formats.get(_ALIASES.get(plain, plain))
    if format is None:
        raise InvalidRequestError(f"{where}: Bedrock takes no {media_type} ({_listed(formats.values())})")
    return format


def _listed(formats: Any) -> str:
    return ", ".join(sorted(formats))


def _bytes(data: bytes) -> dict[str, Any]:
    return {"bytes": base64.b64encode(data).decode()}


def _data_url(url: str, where: str) -> tuple[str, dict[str, Any]]:
    head, comma, data = url.partition(",")
    if not head.endswith(";base64") or not comma:
        raise InvalidRequestError(f"{where}: expected a URL of the form data:<type>;base64,<data>")
    return head[5:-7], _bytes(decode_base64(data, where))


def decode_base64(data: object, where: str) -> bytes:
    try:
        return base64.b64decode(str(data), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidRequestError(f"{where}: the data is not base64: {error}") from None


def media_part(block: Mapping[str, Any], where: str) -> Part | None:
    """The part that an image, audio, video or document block says; None for any other block."""
    kind = next((name for name in ("image", "audio", "video", "document") if isinstance(block.get(name), Mapping)), "")
    if not kind:
        return None
    inner = block[kind]
    format, source = str(inner.get("format") or ""), inner.get("source")
    source = source if isinstance(source, Mapping) else {}
    s3 = source.get("s3Location")
    uri = str(s3.get("uri")) if isinstance(s3, Mapping) else None
    data = decode_base64(source["bytes"], where) if "bytes" in source else None
    if kind == "document" and isinstance(text := source.get("text"), str):
        data = text.encode()
    if data is None and uri is None:
        raise InvalidRequestError(f"{where}: the source of a {kind} has neither bytes nor an s3Location", status=400)
    if kind == "audio":
        return Audio(data or b"", format)
    media = _TYPES.get(format, f"{kind}/{format}")
    if kind == "image":
        return Image(url=uri, data=data, media_type=media)
    name = inner.get("name")
    return File(data, uri, name if isinstance(name, str) else "file", media)
