"""The error table: what each provider says when something goes wrong, in its own shape, and what it is here.

Rows are kinds, columns are providers. Each case goes through the path of an HTTP status, and, where the provider says it
inside a stream, through the decoder of its wire. Of several ways in which one thing is said, all are here.
"""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from _decoding import failure
from _error_cases import (
    BEGUN,
    CLAUDE,
    COMPATIBLE,
    GEMINI,
    OLLAMA,
    OPENAI,
    PER_DAY,
    PER_MINUTE,
    RETRIED,
    WIRES,
    Case,
    aws,
    claude,
    google,
    info,
    openai,
    quota,
    router,
)
from _replay import sse

from asyncllm.events import LLMError
from asyncllm.events._errors import BY_KIND
from asyncllm.protocols import classify, classify_response
from asyncllm.transports import encode_event_stream

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


# ---- the provider has the last word


@pytest.mark.req("H11")
@pytest.mark.parametrize(("said", "retried"), [("true", True), ("false", False)])
def test_the_server_knows_best(said: str, retried: bool) -> None:
    """x-should-retry overrides all."""
    for case in (TABLE[0], next(case for case in TABLE if case.kind == "billing")):
        error = classify_response(case.status, {"X-Should-Retry": said}, case.content)
        assert (error.kind, error.retryable) == (case.kind, retried)
