"""The deltas that nearly every stream is made of, as structs. What does not fit exactly takes the general path."""

from __future__ import annotations

import msgspec
from msgspec import Struct


class ReasoningPiece(Struct, gc=False, forbid_unknown_fields=True):
    text: str


class InputPiece(Struct, gc=False, forbid_unknown_fields=True):
    input: str


class Piece(Struct, gc=False, forbid_unknown_fields=True):
    text: str | None = None
    reasoningContent: ReasoningPiece | None = None
    toolUse: InputPiece | None = None


class Delta(Struct, gc=False):
    delta: Piece
    contentBlockIndex: int


decode_delta = msgspec.json.Decoder(Delta).decode
