"""Failures that are no error of a provider: reasons of an end, blocks, what no protocol allows, no answer at all."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import failure
from _error_cases import BEGUN, WIRES, openai, router
from _replay import sse

from asyncllm import Client, ConnectionFailedError
from asyncllm.events import ContentBlockedError, Finish, IncompleteStreamError, LLMError, ProtocolError, StreamEvent
from asyncllm.protocols import classify
from asyncllm.testing import Answer, Server
from asyncllm.transports import encode_event_stream

# ---- what is said by the reason of an end, and not by an error

ENDS: list[tuple[str, bytes, str]] = [
    ("chat", sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "content_filter"}]}), "content_filter"),
    ("chat", sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "sensitive"}]}), "content_filter"),
    ("chat", sse({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]}), "length"),
    (
        "responses",
        sse({"type": "response.incomplete", "response": {"id": "r", "incomplete_details": {"reason": "content_filter"}}}),
        "content_filter",
    ),
    (
        "responses",
        sse({"type": "response.incomplete", "response": {"id": "r", "incomplete_details": {"reason": "max_output_tokens"}}}),
        "length",
    ),
    *(
        (
            "anthropic",
            sse(
                {"type": "content_block_stop", "index": 0},
                {"type": "message_delta", "delta": {"stop_reason": word}},
                {"type": "message_stop"},
            ),
            reason,
        )
        for word, reason in (
            ("refusal", "content_filter"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
        )
    ),
    *(
        ("gemini", sse({"candidates": [{"index": 0, "finishReason": word}]}), reason)
        for word, reason in (
            ("SAFETY", "content_filter"),
            ("PROHIBITED_CONTENT", "content_filter"),
            ("BLOCKLIST", "content_filter"),
            ("SPII", "content_filter"),
            ("RECITATION", "content_filter"),
            ("IMAGE_SAFETY", "content_filter"),
            ("MODEL_ARMOR", "content_filter"),
            ("MAX_TOKENS", "length"),
            ("OTHER", "other"),
            ("MALFORMED_FUNCTION_CALL", "error"),
            ("MALFORMED_RESPONSE", "error"),
        )
    ),
    *(
        (
            "bedrock",
            encode_event_stream(json.dumps({"stopReason": word}), event="messageStop")
            + encode_event_stream('{"usage":{"inputTokens":1,"outputTokens":1}}', event="metadata"),
            reason,
        )
        for word, reason in (
            ("guardrail_intervened", "content_filter"),
            ("content_filtered", "content_filter"),
            ("max_tokens", "length"),
            ("model_context_window_exceeded", "length"),
            ("malformed_model_output", "error"),
        )
    ),
    ("ollama", b'{"message":{"content":""},"done":true,"done_reason":"length"}\n', "length"),
]  # fmt: skip


@pytest.mark.req("B6", "seed-C")
@pytest.mark.parametrize(("wire", "said", "reason"), ENDS)
def test_ends_that_are_no_errors(wire: str, said: bytes, reason: str) -> None:
    """After some words a filter, a limit or a fault of the model is the reason of the end; the word is kept raw."""
    last = WIRES[wire].decode(BEGUN[wire] + said)[-1]
    assert isinstance(last, Finish)
    assert last.reason == reason
    assert last.raw


@pytest.mark.req("seed-A6")
@pytest.mark.parametrize(
    "said",
    [
        {"promptFeedback": {"blockReason": "SAFETY"}},
        {"candidates": [{"index": 0, "finishReason": "SAFETY"}]},
    ],
)
def test_a_block_before_any_word_is_an_error(said: dict[str, Any]) -> None:
    """Gemini blocks the prompt, or the answer before it began: never an empty success, never tried again."""
    error = failure(WIRES["gemini"].decode(sse(said)))
    assert isinstance(error, ContentBlockedError)
    assert error.block_reason == "SAFETY"
    assert not error.retryable


@pytest.mark.req("seed-C")
def test_a_block_says_why() -> None:
    """Azure's code, OpenRouter's reasons."""
    for body, reason in (
        (openai("content_filter", None), "content_filter"),
        (router(403, "flagged", reasons=["violence", "hate"], flagged_input="x"), "violence, hate"),
        (router(403, "flagged", reasons=[], flagged_input="x"), "moderation"),
    ):
        error = classify(body)
        assert isinstance(error, ContentBlockedError)
        assert error.block_reason == reason


@pytest.mark.req("B7")
def test_the_reason_error_is_an_error() -> None:
    """finish_reason "error" is a failure of the provider."""
    chunk = {"choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}
    assert failure(WIRES["chat"].decode(BEGUN["chat"] + sse(chunk))).kind == "server_error"


# ---- protocol, connection


def ended(wire: str, body: bytes) -> tuple[LLMError, list[StreamEvent]]:
    events = WIRES[wire].decode(body)
    return failure(events), events


@pytest.mark.req("B1", "C11")
@pytest.mark.parametrize("wire", WIRES)
def test_what_no_protocol_allows(wire: str) -> None:
    """Nothing at all, an end in the middle, a page: protocol, and to be tried again while nothing was delivered."""
    for body, kind in (
        (b"", IncompleteStreamError),
        (BEGUN[wire], IncompleteStreamError),
        (BEGUN[wire] + BEGUN[wire][:20], IncompleteStreamError),
        (b"<html><title>Sign in</title></html>", ProtocolError),
    ):
        error, _ = ended(wire, body)
        assert type(error) is kind
        assert error.kind == "protocol"
        assert error.retryable


@pytest.mark.req("A7")
@pytest.mark.parametrize("wire", ["chat", "responses", "anthropic", "gemini"])
def test_events_that_are_no_json(wire: str) -> None:
    """In the middle of a stream."""
    error, _ = ended(wire, BEGUN[wire] + b'data: {"a": oops}\n\n' + BEGUN[wire])
    assert type(error) is ProtocolError


@pytest.mark.req("C8")
def test_a_wrong_checksum() -> None:
    """One bit of an event stream."""
    body = bytearray(BEGUN["bedrock"])
    body[-8] ^= 1
    error, _ = ended("bedrock", bytes(body))
    assert type(error) is ProtocolError


@pytest.mark.req("seed-C")
@pytest.mark.parametrize("model", ["openai/m", "openai-responses/m", "anthropic/m", "gemini/m", "ollama-native/m"])
async def test_no_answer_at_all(model: str) -> None:
    """Nobody listens, or the connection ends before the first byte: connection, and to be tried again."""
    async with Server(Answer.wire(b""), any_path=True) as server:
        there = server.base_url
        async with Client(model, base_url=there, api_key="k", retry=0, max_tokens=9) as client:
            with pytest.raises(ConnectionFailedError) as cut:
                await client.complete("Hi")
    async with Client(model, base_url=there, api_key="k", retry=0, max_tokens=9) as client:
        with pytest.raises(ConnectionFailedError) as refused:
            await client.complete("Hi")
    for caught in (cut, refused):
        assert (caught.value.kind, caught.value.retryable) == ("connection", True)
