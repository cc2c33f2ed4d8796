"""What differs between models behind the Converse wire, as data."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class BedrockQuirks(Struct, frozen=True, kw_only=True):
    """What a model takes. The defaults are what newer models take.

    Attributes:
        output: the form of structured output: the wire's own, or the schema in the prompt for models that have none (B10).
            A model that refuses the first is asked again in the second way, once.
        thinking: how `reasoning` is said: `adaptive` and `budget` are Claude's, `effort` is OpenAI's, `nova` Amazon's; `auto`
            goes by the name of the model. An inference profile of one's own does not say what model is behind it.
    """

    output: Literal["json_schema", "prompt"] = "json_schema"
    thinking: Literal["auto", "adaptive", "budget", "effort", "nova"] = "auto"
