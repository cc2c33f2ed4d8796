"""The error table: what each provider says when something goes wrong, in its own shape, and what it is here.

Rows are kinds, columns are providers. Each case goes through the path of an HTTP status, and, where the provider says it
inside a stream, through the decoder of its wire. Of several ways in which one thing is said, all are here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx2
import pytest
from _decoding import failure
from _replay import sse
from _wirecase import WireCase, line_borders, sse_borders

from asyncllm import Client, ConnectionFailedError
from asyncllm.backends import RetryPolicy
from asyncllm.events import (
    ContentBlockedError,
    Finish,
    IncompleteStreamError,
    LLMError,
    ProtocolError,
    RateLimitError,
    StreamEvent,
)
from asyncllm.events._errors import BY_KIND
from asyncllm.protocols import classify, classify_response
from asyncllm.protocols.anthropic import CODEC as AnthropicCodec
from asyncllm.protocols.bedrock import CODEC as BedrockCodec
from asyncllm.protocols.gemini import CODEC as GeminiCodec
from asyncllm.protocols.ollama import CODEC as OllamaCodec
from asyncllm.protocols.openai_chat import CODEC as ChatCodec
from asyncllm.protocols.openai_responses import CODEC as ResponsesCodec
from asyncllm.testing import Answer, Server
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

TABLE: list[Case] = [
    # ---- rate_limit
    Case("rate_limit", "openai", 429, openai("rate_limit_exceeded", "requests"), inside=OPENAI),
    Case("rate_limit", "openai", 429, openai("rate_limit_exceeded", "tokens"), inside=OPENAI),
    Case("rate_limit", "openai", 429, openai("slow_down", None), inside=OPENAI),
    Case("rate_limit", "openai", 429, openai(None, "rate_limit_error"), inside=OPENAI),
    Case("rate_limit", "openai", 429, ""),
    Case("rate_limit", "anthropic", 429, claude("rate_limit_error"), inside=CLAUDE),
    Case("rate_limit", "anthropic", 429, claude("rate_limit_error", error_code="ramp_limit_exceeded"), inside=CLAUDE),
    Case("rate_limit", "gemini", 429, google(429, "RESOURCE_EXHAUSTED"), inside=GEMINI),
    Case("rate_limit", "gemini", 429, google(429, "RESOURCE_EXHAUSTED", "m", quota(PER_MINUTE)), inside=GEMINI),
    Case("rate_limit", "gemini", 429,
         google(429, "RESOURCE_EXHAUSTED", "m", quota(PER_DAY)), inside=GEMINI, retried=False),
    Case("rate_limit", "gemini", 429, [google(429, "RESOURCE_EXHAUSTED")], inside=("gemini", "chat")),
    Case("rate_limit", "bedrock", 429, **aws("ThrottlingException")),
    Case("rate_limit", "bedrock", 429, **aws("ThrottlingException", uri=True)),
    Case("rate_limit", "bedrock", 429, **aws("ModelNotReadyException")),
    Case("rate_limit", "groq", 498, openai("capacity_exceeded", "server_error", "Flex tier capacity exceeded")),
    Case("rate_limit", "groq", 498, openai(None, None)),
    Case("rate_limit", "openrouter", 429, router(429), inside=COMPATIBLE),
    Case("rate_limit", "ollama", 429, {"error": "you've reached your hourly usage limit"}),
    Case("rate_limit", "azure", 429, openai("RateLimitReached", None), inside=COMPATIBLE),
    # ---- billing
    Case("billing", "openai", 429, openai("insufficient_quota", "insufficient_quota"), inside=OPENAI),
    Case("billing", "openai", 429, openai(None, "insufficient_quota"), inside=OPENAI),
    *(
        Case("billing", "openai", 429, openai(code, "requests"), inside=OPENAI)
        for code in (
            "credit_balance_exhausted",
            "organization_spend_limit_exceeded",
            "project_spend_limit_exceeded",
            "organization_usage_limit_exceeded",
            "billing_hard_limit_reached",
            "billing_not_active",
        )
    ),
    Case("billing", "anthropic", 402, claude("billing_error"), inside=CLAUDE),
    Case("billing", "anthropic", 402,
         claude("billing_error", error_code="linked_organization_disabled"), inside=CLAUDE),
    Case("billing", "anthropic", 402, claude("x", error_code="linked_organization_overdue")),
    Case("billing", "anthropic", 429,
         claude("rate_limit_error", error_code="enforced_spend_limit_reached"), inside=CLAUDE),
    Case("billing", "anthropic", 429,
         claude("rate_limit_error", error_code="contract_spend_limit_reached"), inside=CLAUDE),
    Case("billing", "anthropic", 400,
         claude("invalid_request_error", "Your credit balance is too low to access the Anthropic API."), inside=CLAUDE),
    Case("billing", "anthropic", 400,
         claude("invalid_request_error", "You have reached your specified workspace API spend limit."), inside=CLAUDE),
    Case("billing", "gemini", 402, google(402, "FAILED_PRECONDITION")),
    Case("billing", "gemini", 403, google(403, "PERMISSION_DENIED", "m", info("BILLING_DISABLED")), inside=GEMINI),
    Case("billing", "gemini", 400,
         google(400, "FAILED_PRECONDITION", "Gemini API free tier is not available in your country. Please enable billing."),
         inside=GEMINI),
    Case("billing", "bedrock", 403,
         **aws("AccessDeniedException", "INVALID_PAYMENT_INSTRUMENT: A valid one must be given.")),
    Case("billing", "bedrock", 400, **aws("ServiceQuotaExceededException")),
    Case("billing", "deepseek", 402, openai("invalid_request_error", "unknown_error", "Insufficient Balance")),
    Case("billing", "openrouter", 402, router(402, "Insufficient credits"), inside=COMPATIBLE),
    Case("billing", "xai", 402, {"code": "Some resource has been exhausted", "error": "no credits"}),
    # ---- authentication
    Case("authentication", "openai", 401, openai("invalid_api_key", "invalid_request_error"), inside=OPENAI),
    Case("authentication", "openai", 401, openai(None, "invalid_request_error")),
    Case("authentication", "anthropic", 401, claude("authentication_error", "invalid x-api-key"), inside=CLAUDE),
    Case("authentication", "gemini", 401, google(401, "UNAUTHENTICATED"), inside=GEMINI),
    Case("authentication", "gemini", 400, google(400, "INVALID_ARGUMENT", "m", info("API_KEY_INVALID")), inside=GEMINI),
    Case("authentication", "gemini", 400, google(400, "INVALID_ARGUMENT", "API key not valid."), inside=GEMINI),
    Case("authentication", "bedrock", 403, **aws("UnrecognizedClientException")),
    Case("authentication", "bedrock", 403, **aws("InvalidSignatureException", uri=True)),
    Case("authentication", "bedrock", 403, **aws("ExpiredTokenException")),
    Case("authentication", "bedrock", 401, {"Message": "Bearer Token has expired"}),
    Case("authentication", "ollama", 401, {"error": "unauthorized"}),
    # ---- permission
    Case("permission", "openai", 403,
         openai("unsupported_country_region_territory", "request_forbidden"), inside=OPENAI),
    Case("permission", "openai", 403, openai(None, "invalid_request_error", "Project has no access to model gpt-9")),
    Case("permission", "anthropic", 403, claude("permission_error"), inside=CLAUDE),
    Case("permission", "gemini", 403, google(403, "PERMISSION_DENIED"), inside=GEMINI),
    Case("permission", "bedrock", 403, **aws("AccessDeniedException", "You don't have access to the model.")),
    Case("permission", "others", 403, "<html><title>403 Forbidden</title></html>"),
    # ---- invalid_request
    Case("invalid_request", "openai", 400, openai(None, "invalid_request_error"), inside=OPENAI),
    Case("invalid_request", "openai", 400, openai("unsupported_parameter", "invalid_request_error"), inside=OPENAI),
    Case("invalid_request", "openai", 400, openai("unsupported_value", "invalid_request_error"), inside=OPENAI),
    Case("invalid_request", "openai", 422, openai("invalid_value", "invalid_request_error"), inside=OPENAI),
    Case("invalid_request", "chatgpt", 400, {"detail": "Stream must be set to true"}),
    Case("invalid_request", "anthropic", 400, claude("invalid_request_error"), inside=CLAUDE),
    Case("invalid_request", "anthropic", 413,
         claude("request_too_large", "Request exceeds the maximum size"), inside=CLAUDE),
    Case("invalid_request", "gemini", 400, google(400, "INVALID_ARGUMENT"), inside=GEMINI),
    Case("invalid_request", "gemini", 400, google(400, "FAILED_PRECONDITION"), inside=GEMINI),
    Case("invalid_request", "bedrock", 400, **aws("ValidationException")),
    Case("invalid_request", "mistral", 422,
         {"detail": [{"type": "missing", "loc": ["body", "model"], "msg": "Field required"}]}),
    Case("invalid_request", "groq", 400,
         openai("tool_use_failed", "invalid_request_error", failed_generation="<f"), inside=COMPATIBLE),
    Case("invalid_request", "ollama", 400, {"error": '"gemma" does not support tools'}),
    # ---- not_found
    Case("not_found", "openai", 404, openai("model_not_found", "invalid_request_error"), inside=OPENAI),
    Case("not_found", "azure", 404, openai("DeploymentNotFound", None), inside=COMPATIBLE),
    Case("not_found", "anthropic", 404, claude("not_found_error", "model: claude-9"), inside=CLAUDE),
    Case("not_found", "gemini", 404, google(404, "NOT_FOUND"), inside=GEMINI),
    Case("not_found", "bedrock", 404, **aws("ResourceNotFoundException")),
    Case("not_found", "bedrock", 400, **aws("ValidationException", "The provided model identifier is invalid.")),
    Case("not_found", "ollama", 404, {"error": "model 'x' not found"}, inside=OLLAMA),
    # ---- context_length
    Case("context_length", "openai", 400, openai("context_length_exceeded", "invalid_request_error"), inside=OPENAI),
    Case("context_length", "openai", 400, openai("string_above_max_length", "invalid_request_error"), inside=OPENAI),
    Case("context_length", "vllm", 400,
         {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "type": "BadRequestError",
          "code": 400},
         inside=COMPATIBLE),
    Case("context_length", "anthropic", 400,
         claude("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"), inside=CLAUDE),
    Case("context_length", "anthropic", 400,
         claude("invalid_request_error", "input length and `max_tokens` exceed context limit: 9 + 9 > 10"),
         inside=CLAUDE),
    Case("context_length", "gemini", 400,
         google(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens allowed (8)."),
         inside=GEMINI),
    Case("context_length", "bedrock", 400, **aws("ValidationException", "Input is too long for requested model.")),
    Case("context_length", "tgi", 422,
         {"error": "Input validation error: `inputs` tokens + `max_new_tokens` must be <= 4096", "error_type": "validation"},
         inside=COMPATIBLE),
    Case("context_length", "llama.cpp", 400, openai("400", "exceed_context_size_error"), inside=COMPATIBLE),
    Case("context_length", "gateway", 413, "<html><title>413 Request Entity Too Large</title></html>"),
    Case("context_length", "ollama", 400, {"error": "the input length exceeds the context length"}, inside=OLLAMA),
    # ---- content_blocked
    Case("content_blocked", "openai", 400,
         openai("content_policy_violation", "image_generation_user_error"), inside=OPENAI),
    Case("content_blocked", "openai", 400, openai("invalid_prompt", "invalid_request_error"), inside=OPENAI),
    Case("content_blocked", "openai", 400, openai("bio_policy", "invalid_request_error"), inside=OPENAI),
    Case("content_blocked", "openai", 400,
         openai("misalignment_policy_violation", "invalid_request_error"), inside=OPENAI),
    Case("content_blocked", "azure", 400,
         openai("content_filter", None, innererror={"code": "ResponsibleAIPolicyViolation", "content_filter_result": {}}),
         inside=COMPATIBLE),
    Case("content_blocked", "openrouter", 403,
         router(403, "Your input was flagged", reasons=["violence"], flagged_input="...", provider_name="P"),
         inside=COMPATIBLE),
    # ---- overloaded
    Case("overloaded", "openai", 503, openai("server_is_overloaded", "service_unavailable_error"), inside=OPENAI),
    Case("overloaded", "openai", 503, openai(None, "service_unavailable_error"), inside=OPENAI),
    Case("overloaded", "openai", 503, openai(None, None, "The engine is currently overloaded, please try again later")),
    Case("overloaded", "anthropic", 529, claude("overloaded_error", "Overloaded"), inside=CLAUDE),
    Case("overloaded", "anthropic", 503, claude("api_error")),
    Case("overloaded", "gemini", 503, google(503, "UNAVAILABLE", "The model is overloaded."), inside=GEMINI),
    Case("overloaded", "bedrock", 503, **aws("ServiceUnavailableException")),
    Case("overloaded", "tgi", 429, {"error": "Model is overloaded", "error_type": "overloaded"}, inside=COMPATIBLE),
    Case("overloaded", "deepseek", 503, openai("insufficient_system_resource", None), inside=COMPATIBLE),
    Case("overloaded", "ollama", 503,
         {"error": "server busy, please try again.  maximum pending requests exceeded"}, inside=OLLAMA),
    Case("overloaded", "others", 503, "upstream connect error"),
    # ---- server_error
    Case("server_error", "openai", 500, openai(None, "server_error"), inside=OPENAI),
    Case("server_error", "openai", 502, "<html><title>502 Bad Gateway</title></html>"),
    Case("server_error", "anthropic", 500, claude("api_error", "Internal server error"), inside=CLAUDE),
    Case("server_error", "gemini", 500, google(500, "INTERNAL"), inside=GEMINI),
    Case("server_error", "gemini", 500, google(500, "UNKNOWN"), inside=GEMINI),
    Case("server_error", "bedrock", 500, **aws("InternalServerException")),
    Case("server_error", "bedrock", 424, **aws("ModelErrorException")),
    Case("server_error", "cloudflare", 520,
         "<html><title>520: Web server is returning an unknown error</title></html>"),
    Case("server_error", "cloudflare", 527, ""),
    Case("server_error", "ollama", 500, {"error": "model runner has unexpectedly stopped"}, inside=OLLAMA),
    # ---- timeout
    Case("timeout", "openai", 408, openai(None, None)),
    Case("timeout", "openai", 504, "<html><title>504 Gateway Time-out</title></html>"),
    Case("timeout", "anthropic", 504, claude("timeout_error"), inside=CLAUDE),
    Case("timeout", "anthropic", 408, claude("timeout_error")),
    Case("timeout", "gemini", 504, google(504, "DEADLINE_EXCEEDED"), inside=GEMINI),
    Case("timeout", "gemini", 499, google(499, "CANCELLED"), inside=GEMINI),
    Case("timeout", "bedrock", 408, **aws("ModelTimeoutException")),
    Case("timeout", "cloudflare", 524, "<html><title>524: A timeout occurred</title></html>"),
    # ---- conflict: the SDKs try again, and so it is a failure of the server here
    Case("server_error", "openai", 409, openai(None, "invalid_request_error", "conflict")),
    Case("server_error", "anthropic", 409, claude("conflict_error"), inside=CLAUDE),
    Case("server_error", "gemini", 409, google(409, "ABORTED"), inside=GEMINI),
]  # fmt: skip


def check(case: Case, error: LLMError) -> None:
    assert error.kind == case.kind
    assert type(error) is BY_KIND[case.kind]
    assert error.retryable == (case.kind in RETRIED if case.retried is None else case.retried)
    assert error.message


@pytest.mark.req("seed-C", "C1", "C4", "C6", "C11")
@pytest.mark.parametrize("case", TABLE, ids=str)
def test_as_an_http_answer(case: Case) -> None:
    """The status, the headers and the body of a real answer."""
    error = classify_response(case.status, httpx2.Headers(dict(case.headers)), case.content, provider="p", model="m")
    check(case, error)
    assert (error.status, error.provider, error.model) == (case.status, "p", "m")


INSIDE = [(case, wire) for case in TABLE for wire in case.inside]


def said_inside(case: Case, wire: str) -> list[bytes]:
    """The error of a case as its wire says it inside a stream, in each of its ways."""
    if wire == "ollama":
        return [case.content + b"\n"]
    if wire == "anthropic":
        return [b"event: error\ndata: " + case.content + b"\n\n", b"data: " + case.content + b"\n\n"]
    if wire == "responses":
        error = {name: value for name, value in case.body["error"].items() if value is not None}
        flat = {"sequence_number": 5, **error, "type": "error", "code": error.get("code") or error["type"]}
        failed = {"id": "r", "object": "response", "status": "failed", "error": {"message": "m", "code": flat["code"]}}
        return [
            sse(flat),
            sse({"type": "error", "sequence_number": 5, **case.body}),
            sse({"type": "response.failed", "sequence_number": 5, "response": failed}),
        ]
    ways = [b"data: " + case.content + b"\n\n"]
    if wire == "chat":
        ways.append(b"event: error\ndata: " + case.content + b"\n\n")
    if wire == "chat" and isinstance(case.body, dict) and isinstance(case.body.get("error"), dict):
        ways.append(sse({**case.body, "choices": [{"index": 0, "delta": {}, "finish_reason": "error"}]}))
    return ways


@pytest.mark.req("C1", "C2", "C3", "C4", "C6", "C7", "C9")
@pytest.mark.parametrize("begun", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(("case", "wire"), INSIDE, ids=str)
def test_inside_a_stream(case: Case, wire: str, begun: bool) -> None:
    """There the status was 200: the codes and the words have to do. It is the same error as by HTTP."""
    for said in said_inside(case, wire):
        events = WIRES[wire].decode((BEGUN[wire] if begun else b"") + said)
        check(case, failure(events))


# ---- Bedrock, whose streams have exceptions of their own


@pytest.mark.req("C8")
@pytest.mark.parametrize("begun", [False, True], ids=["first", "later"])
@pytest.mark.parametrize(
    ("event", "body", "kind"),
    [
        ("exception:throttlingException", {"message": "m"}, "rate_limit"),
        ("exception:validationException", {"message": "m"}, "invalid_request"),
        ("exception:validationException", {"message": "Input is too long for requested model."}, "context_length"),
        ("exception:internalServerException", {"message": "m"}, "server_error"),
        ("exception:serviceUnavailableException", {"message": "m"}, "overloaded"),
        ("exception:modelTimeoutException", {"message": "m"}, "timeout"),
        ("exception:modelStreamErrorException", {"message": "m"}, "server_error"),
        ("exception:modelStreamErrorException", {"message": "m", "originalStatusCode": 500}, "server_error"),
        ("exception:modelStreamErrorException", {"message": "m", "originalStatusCode": 503}, "overloaded"),
        ("exception:modelStreamErrorException", {"message": "m", "originalStatusCode": 529}, "overloaded"),
        ("exception:modelStreamErrorException", {"message": "m", "originalStatusCode": 429}, "rate_limit"),
    ],
)
def test_exceptions_of_an_event_stream(event: str, body: dict[str, Any], kind: str, begun: bool) -> None:
    """By their name, and by the status that the model's own server gave."""
    said = encode_event_stream(json.dumps(body), event=event)
    error = failure(WIRES["bedrock"].decode((BEGUN["bedrock"] if begun else b"") + said))
    assert error.kind == kind
    assert error.retryable == (kind in RETRIED)
    assert error.message == body["message"]
    assert error.code == event.partition(":")[2]


@pytest.mark.req("C8")
def test_the_exception_may_be_named_in_the_body() -> None:
    """Of services of another of AWS's protocols, and of proxies: with a namespace."""
    for name in ("ThrottlingException", "com.amazonaws.bedrock#ThrottlingException"):
        error = classify({"__type": name, "message": "m"})
        assert (error.kind, error.code) == ("rate_limit", "ThrottlingException")


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


# ---- where the wait hint is

NOW = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC).timestamp()
SPENT = {"x-ratelimit-remaining-requests": "0", "x-ratelimit-remaining-tokens": "0"}

HINTS: list[tuple[str, dict[str, str], Any, float | None]] = [
    ("retry-after-ms", {"retry-after-ms": "1500", "retry-after": "9"}, None, 1.5),
    ("retry-after", {"Retry-After": "20"}, None, 20.0),
    ("retry-after, a float", {"retry-after": "0.5"}, None, 0.5),
    ("retry-after, a date", {"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, None, 30.0),
    ("retry-after, a date in the past", {"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, None, 0.0),
    *((f"retry-after {text}", {"retry-after": text}, None, None) for text in ("-1", "NaN", "inf", "soon")),
    *((f"retry-after-ms {text}", {"retry-after-ms": text}, None, None) for text in ("-1", "NaN", "inf")),
    ("reset of requests", {**SPENT, "x-ratelimit-reset-requests": "6m0s"}, None, 360.0),
    ("reset of requests", {**SPENT, "x-ratelimit-reset-requests": "1s"}, None, 1.0),
    ("reset of tokens", {**SPENT, "x-ratelimit-reset-tokens": "20ms"}, None, 0.02),
    ("reset in seconds", {**SPENT, "x-ratelimit-reset-tokens": "7"}, None, 7.0),
    ("reset as unix time", {**SPENT, "x-ratelimit-reset-requests": f"{NOW + 9:.0f}"}, None, 9.0),
    (
        "the longer of two resets",
        {**SPENT, "x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "7.66s"},
        None,
        7.66,
    ),
    (
        "the reset of what is not used up",
        {"x-ratelimit-remaining-requests": "3", "x-ratelimit-reset-requests": "6m0s"},
        None,
        None,
    ),
    *(
        (
            f"anthropic {what}",
            {
                f"anthropic-ratelimit-{what}-remaining": "0",
                f"anthropic-ratelimit-{what}-reset": "2026-11-21T12:00:05Z",
            },
            None,
            5.0,
        )
        for what in ("requests", "tokens", "input-tokens", "output-tokens")
    ),
    ("openrouter", {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{(NOW + 9) * 1000:.0f}"}, None, 9.0),
    (
        "openrouter, in the body",
        {},
        router(429, headers={"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": f"{(NOW + 9) * 1000:.0f}"}),
        9.0,
    ),
    (
        "google",
        {},
        google(429, "RESOURCE_EXHAUSTED", "m", {"@type": "google.rpc.RetryInfo", "retryDelay": "17.5s"}),
        17.5,
    ),
    ("openai, in words", {}, openai("rate_limit_exceeded", "tokens", "Please try again in 1.2s. Visit"), 1.2),
    ("openai, in words", {}, openai("rate_limit_exceeded", "tokens", "Please try again in 120ms."), 0.12),
    ("groq, in words", {}, openai("rate_limit_exceeded", "tokens", "Please try again in 6m0s."), 360.0),
    ("azure, in words", {}, openai("429", None, "Please retry after 20 seconds."), 20.0),
    ("gemini, in words", {}, google(429, "RESOURCE_EXHAUSTED", "Please retry in 17.54s."), 17.54),
    ("chatgpt", {}, {"error": {"type": "usage_limit_reached", "message": "m", "resets_in_seconds": 90}}, 90.0),
    ("nobody says", {}, openai("rate_limit_exceeded", "tokens"), None),
]


@pytest.mark.req("H11", "seed-C")
@pytest.mark.parametrize(("place", "headers", "body", "seconds"), HINTS, ids=[hint[0] for hint in HINTS])
def test_where_the_wait_hint_is(place: str, headers: dict[str, str], body: Any, seconds: float | None) -> None:
    """Seconds to wait, and for a rate limit the moment at which it ends, in UTC; without a hint there is neither."""
    error = classify(body or openai("rate_limit_exceeded", None), status=429, headers=headers, now=NOW)
    assert isinstance(error, RateLimitError)
    if seconds is None:
        assert (error.retry_after, error.reset_time) == (None, None)
        return
    assert error.retry_after == pytest.approx(seconds, abs=1e-3)
    assert error.reset_time is not None
    assert error.reset_time.tzinfo is UTC
    assert error.reset_time.timestamp() == pytest.approx(NOW + seconds, abs=1e-2)


@pytest.mark.req("H11")
@pytest.mark.parametrize(("said", "retried"), [("true", True), ("false", False)])
def test_the_server_knows_best(said: str, retried: bool) -> None:
    """x-should-retry overrides all."""
    for case in (TABLE[0], next(case for case in TABLE if case.kind == "billing")):
        error = classify_response(case.status, {"X-Should-Retry": said}, case.content)
        assert (error.kind, error.retryable) == (case.kind, retried)


@pytest.mark.req("H11")
def test_no_hint_makes_a_call_wait_for_ever() -> None:
    """More than two minutes, a quota of a day, a spending limit: the error, and no retry."""
    policy = RetryPolicy()
    day = google(429, "RESOURCE_EXHAUSTED", "m", quota(PER_DAY), {"@type": "RetryInfo", "retryDelay": "5s"})
    for error in (
        classify(openai("rate_limit_exceeded", None), status=429, headers={"retry-after": "121"}),
        classify(day, status=429),
        classify(claude("rate_limit_error", error_code="enforced_spend_limit_reached"), status=429),
    ):
        assert policy.delay(1, error) is None
    assert policy.delay(1, classify(openai("slow_down", None), status=429, headers={"retry-after": "119"})) == 119


# ---- request ids


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(
    ("who", "header"),
    [
        ("openai", "X-Request-Id"),
        ("anthropic", "request-id"),
        ("bedrock", "x-amzn-RequestId"),
        ("gemini", "x-goog-request-id"),
        ("azure", "apim-request-id"),
        ("litellm", "x-litellm-call-id"),
        ("cloudflare", "CF-Ray"),
    ],
)
def test_request_ids(who: str, header: str) -> None:
    """Under each provider's name; the provider's own before that of what stands in front of it."""
    for headers in ({header: "id-1"}, {header: "id-1", **({} if who == "cloudflare" else {"cf-ray": "ray"})}):
        assert classify_response(500, httpx2.Headers(headers), b"").request_id == "id-1"


@pytest.mark.req("seed-C")
def test_a_request_id_inside_a_stream() -> None:
    """Claude's errors carry it in their body."""
    said = b"event: error\ndata: " + json.dumps(claude("overloaded_error")).encode() + b"\n\n"
    assert failure(WIRES["anthropic"].decode(said)).request_id == "req_1"
