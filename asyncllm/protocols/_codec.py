"""The shape of a codec: a request becomes a body, frames become events. No I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from msgspec import Struct

from ..events import LLMError, StreamEvent, TextDelta
from ._request import Request


class FrameLike(Protocol):
    """What a decoder reads of a frame (the transports' Frame, without importing it)."""

    @property
    def data(self) -> str: ...
    @property
    def event(self) -> str: ...


class Encoded(Struct, frozen=True):
    """A request on its wire. `path` follows the base URL and may have a query. `warnings` say what was adapted or left out,
    harmlessly."""

    path: str
    body: bytes
    headers: Mapping[str, str] = {}
    warnings: tuple[str, ...] = ()
    method: str = "POST"


class Decoder(Protocol):
    """Frames of one answer to events, which never raise: a failure is a StreamError at their end."""

    @property
    def done(self) -> bool:
        """The end was said: a Finish or a StreamError is out, and nothing will follow."""
        ...

    @property
    def ending(self) -> bool:
        """The model is done, and only the tail (usage, a terminator) may still come."""
        ...

    def decode(self, frames: Iterable[FrameLike]) -> list[StreamEvent]: ...

    def decode_lines(self, lines: Iterable[bytes]) -> list[StreamEvent]:
        """The same for frames that are a "message" and nothing but their data, which comes as bytes."""
        ...

    def plain(self, line: bytes) -> TextDelta | None:
        """The same for one such frame, where a model is speaking and the frame says some text and nothing else. None where it
        does not, or that cannot be told so quickly: then nothing has been decoded."""
        ...

    def close(self, rest: Iterable[FrameLike] = ()) -> list[StreamEvent]:
        """The bytes are over; `rest` is what they left unterminated. The end is said now, whichever it is."""
        ...

    def fail(self, error: LLMError) -> list[StreamEvent]:
        """The transport failed. After the model was done that is no error."""
        ...

    def resume(self) -> Encoded | None:
        """A request for what is left of a stream that broke, where the wire has one; its frames go on in this decoder, which
        says nothing twice."""
        ...


class Codec(Protocol):
    """One wire, for one vendor's dialect of it."""

    def encode(self, request: Request) -> Encoded:
        """Raises :class:`asyncllm.InvalidRequestError` for what the wire cannot say."""
        ...

    def decoder(self, request: Request, encoded: Encoded) -> Decoder: ...

    def adapted(self, error: LLMError) -> Codec | None:
        """A codec that says the request in another way, where `error` shows that the server wants it so."""
        ...
