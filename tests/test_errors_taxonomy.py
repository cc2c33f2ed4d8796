"""Any provider's error to one taxonomy: codes, statuses, phrases, and every form of body."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    AuthenticationError,
    BillingError,
    ContentBlockedError,
    ContextLengthExceededError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ServerError,
)
from asyncllm.protocols import classify, classify_response


def of(status: int, **error: Any) -> LLMError:
    """The error of an OpenAI-style answer."""
    return classify_response(status, {}, json.dumps({"error": {"message": "m", **error}}).encode())


# ---- by code, by status

CODES: list[tuple[type[LLMError], int, str]] = [
    (RateLimitError, 429, "rate_limit_exceeded"),
    (RateLimitError, 429, "slow_down"),
    (RateLimitError, 429, "requests"),
    (RateLimitError, 429, "tokens"),
    (RateLimitError, 429, "rate_limit_error"),
    (BillingError, 429, "insufficient_quota"),
    (BillingError, 429, "credit_balance_exhausted"),
    (BillingError, 429, "organization_spend_limit_exceeded"),
    (BillingError, 429, "project_spend_limit_exceeded"),
    (BillingError, 429, "organization_usage_limit_exceeded"),
    (BillingError, 429, "billing_hard_limit_reached"),
    (BillingError, 429, "billing_not_active"),
    (AuthenticationError, 401, "invalid_api_key"),
    (PermissionDeniedError, 403, "unsupported_country_region_territory"),
    (InvalidRequestError, 400, "invalid_request_error"),
    (InvalidRequestError, 400, "unsupported_parameter"),
    (InvalidRequestError, 422, "invalid_value"),
    (InvalidRequestError, 400, "unsupported_value"),
    (NotFoundError, 404, "model_not_found"),
    (NotFoundError, 404, "DeploymentNotFound"),
    (ContextLengthExceededError, 400, "context_length_exceeded"),
    (ContextLengthExceededError, 400, "string_above_max_length"),
    (ContextLengthExceededError, 400, "exceed_context_size_error"),
    (ContentBlockedError, 400, "content_policy_violation"),
    (ContentBlockedError, 400, "content_filter"),
    (ContentBlockedError, 400, "invalid_prompt"),
    (ContentBlockedError, 400, "bio_policy"),
    (ContentBlockedError, 400, "misalignment_policy_violation"),
    (OverloadedError, 503, "server_is_overloaded"),
    (OverloadedError, 503, "service_unavailable_error"),
    (OverloadedError, 429, "overloaded"),
    (ServerError, 500, "server_error"),
]
RETRIED = (RateLimitError, ServerError)


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(("kind", "status", "code"), CODES)
@pytest.mark.parametrize("field", ["code", "type"])
def test_codes(kind: type[LLMError], status: int, code: str, field: str) -> None:
    """A stable code decides, in either field, with its status or inside a stream without one."""
    for error in (of(status, **{field: code}), classify({"error": {"message": "m", field: code}})):
        assert type(error) is kind
        assert error.code == code
        assert error.retryable == isinstance(error, RETRIED)


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, InvalidRequestError),
        (401, AuthenticationError),
        (402, BillingError),
        (403, PermissionDeniedError),
        (404, NotFoundError),
        (405, InvalidRequestError),
        (408, LLMTimeoutError),
        (409, ServerError),
        (413, ContextLengthExceededError),
        (418, InvalidRequestError),
        (422, InvalidRequestError),
        (424, ServerError),
        (429, RateLimitError),
        (451, PermissionDeniedError),
        (498, RateLimitError),
        (499, LLMTimeoutError),
        (500, ServerError),
        (502, ServerError),
        (503, OverloadedError),
        (504, LLMTimeoutError),
        (520, ServerError),
        (524, LLMTimeoutError),
        (529, OverloadedError),
        (599, ServerError),
    ],
)
@pytest.mark.parametrize("content", [b'{"error":{"message":"m"}}', b"", b"<html>no</html>", b'{"error":{"mess'])
def test_statuses(status: int, kind: type[LLMError], content: bytes) -> None:
    """Without a code the status decides, whatever the body is (C11); it is a field of the error."""
    error = classify_response(status, {}, content, provider="p", model="x")
    assert type(error) is kind
    assert (error.status, error.provider, error.model) == (status, "p", "x")
    assert error.message
    assert error.retryable == isinstance(error, RETRIED)


@pytest.mark.req("C1", "C6")
@pytest.mark.parametrize(
    ("code", "kind"), [(400, InvalidRequestError), ("429", RateLimitError), (502, ServerError), (529, OverloadedError)]
)
def test_a_number_as_code_is_a_status(code: Any, kind: type[LLMError]) -> None:
    """Inside a stream the HTTP status was 200: the body's own number counts, as an int or a string."""
    error = classify({"error": {"message": "m", "code": code}}, status=200)
    assert type(error) is kind
    assert error.status == int(code)


@pytest.mark.req("seed-C")
def test_the_http_status_is_not_overridden_by_the_body() -> None:
    """What was answered is what counts."""
    assert of(429, code=500).status == 429


# ---- phrases

PHRASES: list[tuple[type[LLMError], int, str]] = [
    (ContextLengthExceededError, 400, "This model's maximum context length is 4096 tokens"),
    (ContextLengthExceededError, 400, "prompt is too long: 210000 tokens > 200000 maximum"),
    (ContextLengthExceededError, 400, "input length and `max_tokens` exceed context limit: 1 + 2 > 3"),
    (ContextLengthExceededError, 400, "Input is too long for requested model."),
    (ContextLengthExceededError, 422, "Input validation error: inputs tokens + max_new_tokens must be <= 4096"),
    (ContextLengthExceededError, 400, "The input token count (5) exceeds the maximum number of tokens allowed (4)."),
    (BillingError, 400, "Your credit balance is too low to access the API"),
    (BillingError, 403, "INVALID_PAYMENT_INSTRUMENT: A valid payment instrument must be provided."),
    (AuthenticationError, 400, "API key not valid. Please pass a valid API key."),
    (NotFoundError, 400, "The provided model identifier is invalid."),
    (NotFoundError, 400, "model 'x' not found, try pulling it first"),
    (ContentBlockedError, 400, "Your request was rejected as a result of our safety system"),
    (ContentBlockedError, 403, "flagged by our content policy"),
]


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(("kind", "status", "phrase"), PHRASES)
def test_phrases(kind: type[LLMError], status: int, phrase: str) -> None:
    """Where neither code nor status says more than "wrong", the words do."""
    assert type(of(status, message=phrase)) is kind
    assert type(of(status, message=phrase, type="invalid_request_error")) is kind


@pytest.mark.parametrize(
    ("phrase", "kind"),
    [
        ("The engine is currently overloaded, please try again later", OverloadedError),
        ("Rate limit reached for requests", RateLimitError),
        ("Too many requests", RateLimitError),
        ("something odd", ServerError),
    ],
)
def test_phrases_inside_a_stream(phrase: str, kind: type[LLMError]) -> None:
    """There is no status then: the words are all there is."""
    assert type(classify({"error": phrase})) is kind


@pytest.mark.req("seed-C")
def test_a_code_beats_a_phrase() -> None:
    """The words of another kind beside a code do not matter."""
    assert type(of(400, code="content_filter", message="maximum context length")) is ContentBlockedError
    assert type(of(429, code="insufficient_quota", message="Rate limit reached")) is BillingError
    assert type(of(429, code="rate_limit_exceeded", message="credit balance is too low")) is RateLimitError


@pytest.mark.req("seed-C")
def test_a_fine_code_beats_a_broad_type() -> None:
    """`type: invalid_request_error` stands beside finer codes, and beside statuses that say more."""
    for fields in (
        {"code": "model_not_found", "type": "invalid_request_error"},
        {"type": "model_not_found", "code": "invalid_value"},
    ):
        assert type(of(404, **fields)) is NotFoundError
    assert type(of(401, type="invalid_request_error")) is AuthenticationError
    assert type(of(400, type="server_error", code="invalid_api_key")) is AuthenticationError


@pytest.mark.req("seed-C")
@pytest.mark.parametrize("status", [500, 502, 503])
@pytest.mark.parametrize(
    "fields", [{"code": "insufficient_quota"}, {"message": "credit balance is too low: spend limit"}]
)
def test_a_5xx_is_never_billing(status: int, fields: dict[str, str]) -> None:
    """A server's failure is one, whatever its body repeats."""
    assert isinstance(of(status, **fields), ServerError)


# ---- the forms of bodies

FORMS: dict[str, tuple[Any, str, str | None]] = {
    "OpenAI": ({"error": {"message": "m", "type": "t", "param": None, "code": "c"}}, "m", "c"),
    "OpenAI without a code": ({"error": {"message": "m", "type": "t", "code": None}}, "m", "t"),
    "text": ({"error": "m"}, "m", None),
    "TGI": ({"error": "m", "error_type": "validation"}, "m", "validation"),
    "nested": ({"error": {"error": {"message": "m", "code": "c"}}}, "m", "c"),
    "Anthropic": ({"type": "error", "error": {"type": "t", "message": "m"}, "request_id": "r"}, "m", "t"),
    "Anthropic details": ({"error": {"type": "t", "message": "m", "details": {"error_code": "c"}}}, "m", "c"),
    "Google": ([{"error": {"code": 400, "message": "m", "status": "S"}}], "m", "S"),
    "old vLLM": ({"object": "error", "message": "m", "type": "T", "code": 400}, "m", "T"),
    "detail": ({"detail": "m"}, "m", None),
    "validation": ({"detail": [{"loc": ["body", "x"], "msg": "m1"}, {"msg": "m2"}, "m3"]}, "body.x: m1; m2; m3", None),
    "message": ({"message": "m"}, "m", None),
    "message with details": ({"message": {"detail": [{"loc": ["x"], "msg": "m"}]}}, "x: m", None),
    "OpenRouter": (
        {"error": {"message": "m", "code": 400, "metadata": {"raw": "why", "provider_name": "P"}}},
        "m: why",
        None,
    ),
    "OpenRouter without words": ({"error": {"metadata": {"raw": "why"}}}, "why", None),
    "Cloudflare": ({"errors": [{"message": "m", "code": 7003}], "success": False}, "m", "7003"),
    "MiniMax": ({"base_resp": {"status_code": 1004, "status_msg": "m"}}, "m", "1004"),
    "Azure": ({"error": {"message": "m", "code": "c", "innererror": {"code": "Inner"}}}, "m", "Inner"),
    "AWS": ({"__type": "com.amazon.coral#x:http://a", "message": "m"}, "m", "x"),
}


@pytest.mark.req("C6")
@pytest.mark.parametrize("name", FORMS)
def test_every_form_of_body(name: str) -> None:
    """Message and code are found, and the body is kept as it was sent."""
    body, message, code = FORMS[name]
    error = classify_response(400, {}, json.dumps(body).encode())
    assert (error.message, error.code) == (message, code)
    assert error.body == json.dumps(body)


@pytest.mark.req("C6")
def test_azure_names_what_was_filtered() -> None:
    """innererror ResponsibleAIPolicyViolation is a block, with its reason."""
    inner = {"code": "ResponsibleAIPolicyViolation"}
    error = of(400, code="content_filter", innererror=inner)
    assert isinstance(error, ContentBlockedError)
    assert error.block_reason in ("content_filter", "ResponsibleAIPolicyViolation")


@pytest.mark.req("C6")
def test_google_names_a_bad_key_in_the_details() -> None:
    """ErrorInfo.reason API_KEY_INVALID makes a 400 an authentication error."""
    info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
    body = {"error": {"code": 400, "message": "m", "status": "INVALID_ARGUMENT", "details": [info, "x"]}}
    assert type(classify(body, status=400)) is AuthenticationError


@pytest.mark.req("C11")
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the server answered HTTP 502 with no message"),
        (b" \n", "the server answered HTTP 502 with no message"),
        (b"<html><head><title>Bad \n gateway</title></head><body>x</body></html>", "Bad gateway"),
        (b"<html><body><h1>Bad</h1> <p>gateway</p></body></html>", "Bad gateway"),
        (b"upstream\nfailed", "upstream failed"),
        (b'{"error":{"mess', '{"error":{"mess'),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"[" * 100_000, "[" * 300 + "…"),
    ],
)
def test_bodies_that_are_no_json(content: bytes, message: str) -> None:
    """Pages, text, cut JSON and nothing: a typed error with a message, and the body clipped."""
    error = classify_response(502, {}, content)
    assert isinstance(error, ServerError)
    assert error.message == message
    assert error.body is not None
    assert len(error.body) <= 4096


@pytest.mark.parametrize("name", ["x-request-id", "request-id", "x-amzn-requestid", "apim-request-id", "cf-ray"])
def test_request_ids(name: str) -> None:
    """From the headers, under any of its names, before the body's own."""
    body = b'{"error":{"message":"m"},"request_id":"b"}'
    assert classify_response(400, {name: "h"}, body).request_id == "h"
    assert classify_response(400, {}, body).request_id == "b"


@pytest.mark.parametrize(("said", "retryable"), [("true", True), ("false", False), ("maybe", None)])
def test_x_should_retry_overrides_all(said: str, retryable: bool | None) -> None:
    """What the server says about trying again is believed; nonsense is not."""
    for status, default in ((400, False), (503, True)):
        error = classify_response(status, {"x-should-retry": said}, b"")
        assert error.retryable == (default if retryable is None else retryable)


odd = (
    st.none()
    | st.booleans()
    | st.integers(-1000, 1000)
    | st.sampled_from(["", "error", "429", "9" * 5000, "٣", "x\ud83d", 1e400, float("nan"), 1e300, 2**80])
    | st.text(max_size=5)
)
NAMES = """error errors detail details base_resp innererror message msg status_msg code error_code type status status_code
    reason request_id metadata headers raw retryDelay success loc x-ratelimit-reset"""
names = st.sampled_from(NAMES.split())
values = st.recursive(
    odd, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=4), max_leaves=8
)
HEADERS = ["retry-after", "retry-after-ms", "x-ratelimit-reset", "x-should-retry", "x-request-id"]
hints = st.sampled_from(
    ["", "0", "-1", "nan", "inf", "1e300", "1e11", "9" * 400, "Fri, 99 Foo 2026", "9" * 30 + "h", "x"]
)


@PLENTY
@pytest.mark.req("C6", "C11")
@given(values, st.none() | st.integers(100, 999), st.dictionaries(st.sampled_from(HEADERS), hints, max_size=3))
def test_no_body_and_no_headers_break_it(body: object, status: int | None, headers: dict[str, str]) -> None:
    """Whatever a server sends makes one typed error that can be shown."""
    error = classify(body, status=status, headers=headers, text="x")
    assert isinstance(error, LLMError)
    assert str(error)
    assert error.retry_after is None or error.retry_after >= 0


@pytest.mark.req("C6")
def test_nesting_has_an_end() -> None:
    """An error wrapped in more errors than anybody would: the search stops, and there is still an error."""
    body: object = {"message": "deep"}
    for _ in range(9):
        body = {"error": body}
    assert classify(body, status=500).message == "the server answered HTTP 500 with no message"
