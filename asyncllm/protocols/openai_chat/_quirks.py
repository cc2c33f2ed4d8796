"""What differs between servers of the chat wire, as data. A vendor's row names its quirks; nothing else knows vendors."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

OutputMode = Literal["json_schema", "json_object", "prompt"]


class ChatQuirks(Struct, frozen=True, kw_only=True):
    """One server's dialect. The defaults are what most servers take.

    Attributes:
        max_tokens: the field that limits the output. Sending both is an error almost everywhere (G9).
        stream_options: whether `stream_options.include_usage` is understood (F10).
        think_tags: the model's reasoning comes as `<think>` in the text (E8); split it off.
        done_needs_finish: `[DONE]` without a finish_reason means an aborted request here (B11).
        cumulative_text: each chunk repeats all text so far instead of saying what is new.
        tool_choice_forced: whether `required` and a named tool are understood.
        strict_tools: whether `strict` in a tool is understood.
        output: the strongest form of structured output that the server has (B10).
        echo_reasoning: send reasoning back with the assistant's turns (E3), under the field it came in.
        system_role: the role that carries the system prompt.
        reasoning_effort: whether `reasoning_effort` is understood.
        seed: whether `seed` is understood.
    """

    max_tokens: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    stream_options: bool = True
    think_tags: bool = False
    done_needs_finish: bool = False
    cumulative_text: bool = False
    tool_choice_forced: bool = True
    strict_tools: bool = True
    output: OutputMode = "json_schema"
    echo_reasoning: bool = True
    system_role: Literal["system", "developer"] = "system"
    reasoning_effort: bool = True
    seed: bool = True
