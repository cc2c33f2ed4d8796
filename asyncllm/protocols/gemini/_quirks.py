"""What differs between servers of the Gemini wire, as data."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

Thinking = Literal["auto", "level", "budget", "none"]


class GeminiQuirks(Struct, frozen=True, kw_only=True):
    """One server's dialect. The defaults are those of the Gemini API.

    Attributes:
        model_prefix: what stands before a bare model name in the path.
        schema: how JSON Schemas are sent: as they are (`parametersJsonSchema`, `responseJsonSchema`; v1beta and v1beta1), or
            translated to the OpenAPI subset that every version takes (`parameters`, `responseSchema`).
        thinking: how a reasoning effort is said: as a level (Gemini 3 and later), as a budget of tokens (2.5), or not at all.
            "auto" tells by the model's name.
        levels: which levels of thinking there are: all, or only low and high.
        include_thoughts: ask for summaries of the thoughts where reasoning is asked for.
        stream_arguments: ask for the arguments of calls in pieces (Vertex AI, Gemini 3 and later).
        server_tools: tools that the API runs itself, as it writes them: `[{"googleSearch": {}}]`.
    """

    model_prefix: str = "models/"
    schema: Literal["json_schema", "openapi"] = "json_schema"
    thinking: Thinking = "auto"
    levels: Literal["all", "low_high"] = "all"
    include_thoughts: bool = True
    stream_arguments: bool = False
    server_tools: tuple[Mapping[str, object], ...] = ()


_GENERATION = re.compile(r"gemini-(\d+)(?:\.(\d+))?")
NEWEST = (99, 0)


def generation(model: str) -> tuple[int, int]:
    """(3, 1) for "gemini-3.1-pro"; an alias, a tuned model and any other name count as the newest."""
    found = _GENERATION.search(model)
    return (int(found[1]), int(found[2] or 0)) if found else NEWEST
