"""What differs between servers of the Responses wire, as data."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct


class ResponsesQuirks(Struct, frozen=True, kw_only=True):
    """One server's dialect. The defaults are OpenAI's own.

    Attributes:
        store: whether the server keeps the response. This library keeps the conversation itself, so by default it does not;
            `extra_body={"store": True}` changes that for one call.
        encrypted_reasoning: ask for reasoning in the encrypted form that can be sent back, where nothing is stored.
        reasoning_summary: the summary that is asked for together with a reasoning effort.
        instructions: sent where a request has no system prompt, on servers that insist on one.
        refuses: fields of the body that the server refuses; they are left out with a warning.
        system_role: the role of system messages inside the conversation.
        item_ids: whether items are sent back with the ids that the server gave them.
    """

    store: bool = False
    encrypted_reasoning: bool = True
    reasoning_summary: Literal["auto", "concise", "detailed"] | None = "auto"
    instructions: str = ""
    refuses: tuple[str, ...] = ()
    system_role: Literal["system", "developer"] = "system"
    item_ids: bool = True
