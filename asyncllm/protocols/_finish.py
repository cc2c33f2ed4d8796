"""Finish reasons: what providers say, and what it means (quirk B6). The raw word is kept beside it."""

from __future__ import annotations

from ..events import FinishReason

_WORDS: dict[FinishReason, str] = {
    "stop": "stop eos eos_token end_turn stop_sequence end complete completed finished stop_token",
    "length": "length max_tokens model_length max_output_tokens max_completion_tokens max_length "
    "model_context_window_exceeded",
    "tool_calls": "tool_calls tool_use function_call tool_call",
    "content_filter": "content_filter content_filtered sensitive safety recitation prohibited_content blocklist refusal "
    "spii language image_safety image_prohibited_content image_recitation image_other "
    "model_armor guardrail_intervened",
    "error": "error network_error insufficient_system_resource abort aborted cancelled timeout malformed_function_call "
    "malformed_response malformed_model_output malformed_tool_use unexpected_tool_call too_many_tool_calls "
    "missing_thought_signature",
}
_REASONS: dict[str, FinishReason] = {word: reason for reason, words in _WORDS.items() for word in words.split()}


def finish_reason(raw: str | None) -> FinishReason:
    """The meaning of a provider's word, in any case of letters; "other" for none and for one that is not known."""
    return _REASONS.get(raw.lower(), "other") if raw else "other"
