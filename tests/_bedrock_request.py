"""Requests on the Converse wire for tests: what is asked, encoded, and its body."""

from __future__ import annotations

import json
from typing import Any

from asyncllm.events import Message, Part, ProviderState, ToolCall, ToolResult
from asyncllm.protocols import Encoded, Request
from asyncllm.protocols.bedrock import BedrockCodec

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NEW_CLAUDE = "global.anthropic.claude-opus-4-6-v1"
CODEC = BedrockCodec("bedrock")
HI = (Message("user", "Hi"),)
CALLED = (
    Message("user", "Hi"),
    Message("assistant", [ToolCall("t", "f", {"a": 1}, '{"a":1}')]),
    Message("tool", [ToolResult("t", "f", "42")]),
)


def encoded(*messages: Message, codec: BedrockCodec = CODEC, **options: Any) -> Encoded:
    options.setdefault("model", "m")
    return codec.encode(Request(messages=messages or HI, **options))


def body_of(*messages: Message, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encoded(*messages, **options).body)
    return body


def content_of(*parts: Part) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body_of(Message("user", list(parts)))["messages"][0]["content"]
    return found


def own(**data: object) -> ProviderState:
    return ProviderState("bedrock", data)
