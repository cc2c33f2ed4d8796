"""What differs between models and servers of the Ollama wire, as data."""

from __future__ import annotations

from msgspec import Struct


class OllamaQuirks(Struct, frozen=True, kw_only=True):
    """One server's dialect.

    Attributes:
        think_levels: whether the model knows `low`, `medium` and `high` (gpt-oss does), or only on and off.
        echo_reasoning: send the model's own thinking back with its turns, as Ollama's own clients do.
    """

    think_levels: bool = True
    echo_reasoning: bool = True
