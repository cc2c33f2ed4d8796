"""Messages and the parts they are made of. The same parts come out of a reply and go into the next request."""

from __future__ import annotations

import base64
import mimetypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from msgspec import Struct

Role = Literal["system", "user", "assistant", "tool"]


class ProviderState(Struct, frozen=True):
    """What a provider wants back verbatim: signatures, encrypted reasoning, its own field names.

    It is echoed to a backend of the same `provider` and dropped for any other (quirks E3, E6, E9). On a delta, `closes`
    says that the part it rides on ends here: what follows of the same kind is another part.
    """

    provider: str
    data: Mapping[str, object]
    closes: bool = False


class Text(Struct, frozen=True, tag="text"):
    """A piece of text."""

    text: str
    state: ProviderState | None = None


class Image(Struct, frozen=True, tag="image"):
    """An image: a URL, or bytes with their media type. `detail` is a hint some providers know."""

    url: str | None = None
    data: bytes | None = None
    media_type: str = "image/png"
    detail: Literal["auto", "low", "high"] | None = None
    state: ProviderState | None = None

    @classmethod
    def from_file(cls, path: str | Path) -> Image:
        """Read an image file now; its media type is guessed from the name."""
        return cls(data=Path(path).read_bytes(), media_type=mimetypes.guess_type(str(path))[0] or "image/png")

    @property
    def as_url(self) -> str:
        """The URL, or the bytes as a `data:` URL."""
        return self.url if self.url is not None else data_url(self.data or b"", self.media_type)


class Audio(Struct, frozen=True, tag="audio"):
    """Sound, as bytes in `format` (for example `"wav"` or `"mp3"`)."""

    data: bytes
    format: str = "wav"
    state: ProviderState | None = None


class File(Struct, frozen=True, tag="file"):
    """A document: bytes, or the id of a file uploaded before."""

    data: bytes | None = None
    file_id: str | None = None
    name: str = "file"
    media_type: str = "application/pdf"
    state: ProviderState | None = None

    @property
    def as_url(self) -> str:
        return data_url(self.data or b"", self.media_type)


class Reasoning(Struct, frozen=True, tag="reasoning"):
    """What the model thought. `state` is what its provider needs to see again."""

    text: str
    state: ProviderState | None = None


class ToolCall(Struct, frozen=True, tag="tool_call"):
    """A call the model asks for: an event when it is complete, and a part of the assistant's message.

    `arguments` is the parsed object, or None where `invalid` says why there is none: the JSON was cut, is not JSON, or is
    not an object. `raw_arguments` is what was sent. Never run a call whose `invalid` is set; tell the model instead.
    `executed` marks a tool of the provider's own (a web search, a code sandbox), which it runs itself: its ToolResult, if it
    has one, follows in the same step, and nothing is left to do.
    """

    id: str
    name: str
    arguments: dict[str, object] | None
    raw_arguments: str = ""
    invalid: str | None = None
    state: ProviderState | None = None
    executed: bool = False


class ToolResult(Struct, frozen=True, tag="tool_result"):
    """The answer to a call: an event in a tool loop or of a provider's own tool, and the part that goes back to the model."""

    id: str
    name: str
    content: str | list[Text | Image]
    is_error: bool = False
    state: ProviderState | None = None

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text if isinstance(part, Text) else "[image]" for part in self.content)


Part = Text | Image | Audio | File | Reasoning | ToolCall | ToolResult


class Message(Struct, frozen=True):
    """One turn. `content` is plain text or a list of parts; tool results ride in a message of role `tool`."""

    role: Role
    content: str | list[Part]
    name: str | None = None

    @property
    def text(self) -> str:
        """The text of the turn, without reasoning, calls or results."""
        if isinstance(self.content, str):
            return self.content
        return "".join(part.text for part in self.content if isinstance(part, Text))

    @property
    def parts(self) -> list[Part]:
        """The content as parts; empty for an empty string."""
        if isinstance(self.content, str):
            return [Text(self.content)] if self.content else []
        return self.content


Input = str | Message | Sequence["Message | ToolResult | Mapping[str, object]"]
"""What a call takes: a question, a message, or a conversation of our messages, results of tools (those in a row are one
message) or OpenAI-style dicts."""


def data_url(data: bytes, media_type: str) -> str:
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"
