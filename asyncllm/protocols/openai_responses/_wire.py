"""The events of the wire: the one struct of the hot path, and the names of what is known.

Source: the OpenAI API reference (Responses, streaming events) and openai-python 3.52, `types/responses`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import Struct


class Delta(Struct, gc=False):
    """Any event that adds a string to something, by the few fields that are read."""

    type: str = ""
    delta: str | None = None
    item_id: str | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    sequence_number: int | None = None


decode_delta = msgspec.json.Decoder(Delta).decode

TEXT = "response.output_text.delta"

TERMINAL = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"}
)
"""The last event of a stream; its response says how it ended."""

BEGINNING = frozenset({"response.created", "response.queued", "response.in_progress"})

_PROGRESS = {
    "": ("content_part.added", "reasoning_summary_part.added", "audio.transcript.done", "compaction.compacting"),
    "web_search_call.": ("in_progress", "searching", "completed"),
    "file_search_call.": ("in_progress", "searching", "completed"),
    "code_interpreter_call.": ("in_progress", "interpreting", "completed"),
    "code_interpreter_call_code.": ("delta", "done"),
    "image_generation_call.": ("in_progress", "generating", "completed"),
    "mcp_call.": ("in_progress", "completed", "failed"),
    "mcp_call_arguments.": ("delta", "done"),
    "mcp_list_tools.": ("in_progress", "completed", "failed"),
    "shell_call_command.": ("added", "delta", "done"),
    "shell_call_output_content.": ("delta", "done"),
}
PROGRESS = frozenset(f"response.{prefix}{name}" for prefix, names in _PROGRESS.items() for name in names)
"""Events that say nothing which their item does not say again when it is done."""

_FIELDS = {"type", "sequence_number", "response", "item", "item_id", "output_index", "content_index", "summary_index"}
_FIELDS |= {"annotation_index", "delta", "part", "text", "refusal", "arguments", "input", "name", "annotation"}
_FIELDS |= {"obfuscation", "status", "code", "message", "param", "error"}


def unknown_parts(data: Mapping[str, Any]) -> dict[str, Any] | None:
    """The event itself, if it has a field that is not understood (token probabilities, timings); else None."""
    return dict(data) if any(name not in _FIELDS and value not in (None, []) for name, value in data.items()) else None


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def whole_characters(text: str) -> str:
    """Text that can be written as UTF-8: pairs of surrogates joined, halves replaced."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def object_of(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
