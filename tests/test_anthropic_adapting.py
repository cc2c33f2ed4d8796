"""What a refusal of the Messages API teaches: the request is said once more, in the other way that models know."""

from __future__ import annotations

import msgspec
import pytest
from _anthropic import PROVIDER, Data

from asyncllm.events import (
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    RateLimitError,
)
from asyncllm.protocols.anthropic import MessagesCodec

LIMIT = "max_tokens: 16000 > 8192, which is the maximum allowed number of output tokens for claude-x"
NO_ENABLED = (
    '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" to '
    "control thinking behavior."
)


@pytest.mark.parametrize(
    ("message", "change"),
    [
        (LIMIT, {"max_tokens": 8192}),
        (NO_ENABLED, {"thinking": "adaptive"}),
        ("adaptive thinking is not supported on this model", {"thinking": "enabled"}),
        ("This model does not support the effort parameter.", {"thinking": "enabled"}),
        ("output_config.effort: Extra inputs are not permitted", {"thinking": "enabled"}),
        ("`temperature` is deprecated for this model.", {"sampling": False}),
        ("output_config: Extra inputs are not permitted", {"output": "prompt"}),
        ("tools.0.custom.strict: Extra inputs are not permitted", {"strict_tools": False}),
        ("`temperature` and `top_p` cannot both be specified for this model", None),
        ("messages: at least one message is required", None),
        ("max_tokens: 99 > 8, which is the maximum", None),
    ],
)
def test_a_refusal_changes_how_it_is_said(message: str, change: Data | None) -> None:
    """What a model does not know is said in its other way, once."""
    codec = MessagesCodec(PROVIDER)
    adapted = codec.adapted(InvalidRequestError(message, status=400))
    if change is None:
        assert adapted is None
        return
    assert isinstance(adapted, MessagesCodec)
    assert adapted.quirks == msgspec.structs.replace(codec.quirks, **change)
    if "max_tokens" not in change:
        assert adapted.adapted(InvalidRequestError(message, status=400)) is None


@pytest.mark.parametrize(
    "error",
    [
        RateLimitError(LIMIT, status=429),
        ContextLengthExceededError("prompt is too long", status=400),
        InvalidRequestError(LIMIT, status=404),
    ],
)
def test_other_errors_teach_nothing(error: LLMError) -> None:
    """They are the caller's."""
    assert MessagesCodec(PROVIDER).adapted(error) is None
