"""The deltas of the Messages wire as structs: the fields that are read, and none else. What does not fit takes the general
path."""

from __future__ import annotations

import msgspec
from msgspec import Struct


class TextPiece(Struct, tag_field="type", tag="text_delta", gc=False):
    text: str


class ThinkingPiece(Struct, tag_field="type", tag="thinking_delta", gc=False):
    thinking: str


class InputPiece(Struct, tag_field="type", tag="input_json_delta", gc=False):
    partial_json: str


class BlockDelta(Struct, tag_field="type", tag="content_block_delta", gc=False):
    index: int
    delta: TextPiece | ThinkingPiece | InputPiece


decode_delta = msgspec.json.Decoder(BlockDelta).decode
"""Raises msgspec.ValidationError for every frame that is no delta of text, thinking or input."""
