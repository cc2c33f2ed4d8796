"""What providers say when something goes wrong, each in its own shape, and the wires on which it is said."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from _replay import sse
from _wirecase import WireCase, line_borders, sse_borders

from asyncllm.protocols.anthropic import CODEC as AnthropicCodec
from asyncllm.protocols.bedrock import CODEC as BedrockCodec
from asyncllm.protocols.gemini import CODEC as GeminiCodec
from asyncllm.protocols.ollama import CODEC as OllamaCodec
from asyncllm.protocols.openai_chat import CODEC as ChatCodec
from asyncllm.protocols.openai_responses import CODEC as ResponsesCodec
from asyncllm.transports import encode_event_stream

WIRES = {
    "chat": WireCase("openai_chat", lambda: ChatCodec("test"), sse_borders),
    "responses": WireCase("openai_responses", lambda: ResponsesCodec("test"), sse_borders),
    "anthropic": WireCase("anthropic", lambda: AnthropicCodec("test"), sse_borders),
    "gemini": WireCase("gemini", lambda: GeminiCodec("test"), sse_borders),
    "bedrock": WireCase("bedrock", lambda: BedrockCodec("test"), sse_borders, suffix=".bin"),
    "ollama": WireCase("ollama", lambda: OllamaCodec("test"), line_borders, suffix=".ndjson"),
}

BEGUN = {
    "chat": sse({"choices": [{"index": 0, "delta": {"role": "assistant", "content": "He"}}]}),
    "responses": sse(
        {"type": "response.created", "sequence_number": 0, "response": {"id": "r", "status": "in_progress"}},
        {"type": "response.output_text.delta", "item_id": "m", "output_index": 0, "content_index": 0, "delta": "He"},
    ),
    "anthropic": sse(
        {"type": "message_start", "message": {"id": "msg", "role": "assistant", "content": [], "model": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "He"}},
    ),
    "gemini": sse({"candidates": [{"index": 0, "content": {"role": "model", "parts": [{"text": "He"}]}}]}),
    "bedrock": encode_event_stream('{"role":"assistant"}', event="messageStart")
    + encode_event_stream('{"contentBlockIndex":0,"delta":{"text":"He"}}', event="contentBlockDelta"),
    "ollama": b'{"model":"m","message":{"role":"assistant","content":"He"},"done":false}\n',
}
"""The beginning of an answer that says "He"."""

RETRIED = {"rate_limit", "overloaded", "server_error", "timeout", "connection", "protocol"}


@dataclass(frozen=True)
class Case:
    """What a provider answers. `inside` are wires on which the same body is said in a stream; `retried` where the table
    says otherwise than for the kind."""

    kind: str
    who: str
    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)
    inside: tuple[str, ...] = ()
    retried: bool | None = None

    @property
    def content(self) -> bytes:
        return self.body.encode() if isinstance(self.body, str) else json.dumps(self.body).encode()

    def __str__(self) -> str:
        return f"{self.kind}-{self.who}-{self.status}"


def openai(code: str | None, type: str | None, message: str = "m", **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": type, "param": None, "code": code, **more}}


def claude(type: str, message: str = "m", **details: Any) -> dict[str, Any]:
    error: dict[str, Any] = {"type": type, "message": message}
    if details:
        error["details"] = details
    return {"type": "error", "error": error, "request_id": "req_1"}


def google(code: int, status: str, message: str = "m", *details: dict[str, Any]) -> dict[str, Any]:
    return {
        "error": {"code": code, "message": message, "status": status, **({"details": list(details)} if details else {})}
    }


def info(reason: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}


def quota(id: str) -> dict[str, Any]:
    violation = {"quotaMetric": "generate_content_requests", "quotaId": id, "quotaValue": "50"}
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [violation]}


def router(code: int, message: str = "m", **metadata: Any) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "metadata": metadata}, "user_id": "u"}


def aws(name: str, message: str = "m", *, uri: bool = False) -> dict[str, Any]:
    """The keywords of a Case: the exception is named in a header, with or without the place of its definition."""
    where = ":http://internal.amazon.com/coral/com.amazon.bedrock/" if uri else ""
    return {"body": {"message": message}, "headers": {"x-amzn-ErrorType": f"{name}{where}", "x-amzn-RequestId": "r"}}


OPENAI = ("chat", "responses")
COMPATIBLE = ("chat",)
CLAUDE = ("anthropic",)
GEMINI = ("gemini",)
OLLAMA = ("ollama",)
PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"
