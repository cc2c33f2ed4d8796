"""What differs between servers of the Messages wire, and what a caller may choose, as data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct


class MessagesQuirks(Struct, frozen=True, kw_only=True):
    """One server's dialect. The defaults are those of the Anthropic API.

    Attributes:
        version: the `anthropic-version` header. From 2026-10-21 on the API refuses temperature and top_p; streams are the
            same under both.
        betas: names for the `anthropic-beta` header, beside those that a request needs of itself.
        max_tokens: the limit of the output where the call names none: the field is required.
        thinking: what carries an effort or a budget; None is `adaptive` for the one and `enabled` for the other. Models
            know either or both.
        display: whether thinking is shown (`summarized`) or only signed (`omitted`); None leaves it to the model.
        sampling: whether temperature and top_p are understood.
        output: the strongest form of structured output that the server has.
        strict_tools: whether `strict` in a tool is understood.
        server_tools: tools that the provider runs itself, as its API writes them, added to those of each call.
    """

    version: str = "2023-06-01"
    betas: tuple[str, ...] = ()
    max_tokens: int = 16000
    thinking: Literal["adaptive", "enabled"] | None = None
    display: Literal["summarized", "omitted"] | None = None
    sampling: bool = True
    output: Literal["json_schema", "prompt"] = "json_schema"
    strict_tools: bool = True
    server_tools: tuple[Mapping[str, object], ...] = ()
