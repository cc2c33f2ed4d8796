"""Our client on the Messages wire over a socket: credentials, headers, errors, faults, whole exchanges."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from _anthropic import begun, ended, text_block, wire
from _replay import http, replaying

from asyncllm import (
    AuthenticationError,
    BillingError,
    Client,
    ContextLengthExceededError,
    File,
    IncompleteStreamError,
    InterTokenTimeout,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    RateLimitError,
    ReasoningDelta,
    Retrying,
    ServerError,
    StreamError,
    Timeout,
    Tool,
    ToolResult,
    check_order,
)
from asyncllm.events import LLMTimeoutError, ProviderState
from asyncllm.testing import Answer, Cut, ErrorAfter, NoDone, NoFinish, Server, Split, Stall

MODEL = "anthropic/claude-sonnet-5"
OAUTH = "sk-ant-oat01-secret"
KEY = "sk-ant-api03-secret"
BETA = "oauth-2025-04-20"


@asynccontextmanager
async def talking(script: Any = None, **options: Any) -> AsyncIterator[tuple[Client, Server]]:
    options.setdefault("api_key", "key")
    options.setdefault("retry", 0)
    async with Server(Answer.text("Hello there") if script is None else script) as server:
        async with Client(MODEL, base_url=server.base_url, timeout=20, **options) as client:
            yield client, server


# ---- credentials


@pytest.mark.req("seed-A8")
async def test_a_key_goes_in_its_own_header() -> None:
    """With the version of the API; nothing in `authorization`."""
    async with talking(api_key=KEY) as (client, server):
        assert (await client.complete("Hi")).text == "Hello there"
    (request,) = server.requests
    assert request.path == "/v1/messages"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["anthropic-version"] == "2023-06-01"
    assert "authorization" not in request.headers
    assert "anthropic-beta" not in request.headers


@pytest.mark.req("seed-A8")
@pytest.mark.parametrize("way", ["api_key", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "provider", "async provider"])
async def test_oauth_tokens_are_bearer_tokens_whichever_way_they_come(
    way: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never in x-api-key, and with their beta."""

    async def fresh() -> str:
        return OAUTH

    options: dict[str, Any] = {"api_key": None}
    if way == "api_key":
        options["api_key"] = OAUTH
    elif way.startswith("ANTHROPIC"):
        monkeypatch.setenv(way, OAUTH)
    else:
        options["token_provider"] = fresh if way == "async provider" else lambda: OAUTH
    async with talking(**options) as (client, server):
        await client.complete("Hi")
    (request,) = server.requests
    assert request.headers["authorization"] == f"Bearer {OAUTH}"
    assert request.headers["anthropic-beta"] == BETA
    assert "x-api-key" not in request.headers
    assert OAUTH not in f"{client!r} {request!r}"


@pytest.mark.req("seed-A8")
async def test_other_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway's token in its variable, and what a token provider gives, are bearer tokens without the beta; a key in its
    variable comes first."""
    monkeypatch.setenv("ANTHROPIC_AUTH_TOKEN", "gateway")
    async with talking(api_key=None) as (client, server):
        await client.complete("Hi")
        monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
        await client.complete("Hi")
    async with talking(api_key=None, token_provider=lambda: KEY) as (client, other):
        await client.complete("Hi")
    sent = [
        (request.headers.get("authorization"), request.headers.get("x-api-key"), request.headers.get("anthropic-beta"))
        for request in (*server.requests, *other.requests)
    ]
    assert sent == [("Bearer gateway", None, None), (None, KEY, None), (f"Bearer {KEY}", None, None)]


async def test_missing_credentials() -> None:
    """The error names the variables and the argument, before a byte is sent."""
    async with talking(api_key=None) as (client, server):
        with pytest.raises(AuthenticationError, match=r"ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN or pass api_key="):
            await client.complete("Hi")
        assert not server.requests


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/"])
async def test_the_base_url_of_the_environment_may_lack_its_version(
    ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ANTHROPIC_BASE_URL is written without /v1 for other programs; both are understood."""
    async with Server(Answer.text("ok")) as server:
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.base_url.removesuffix("/v1") + ending)
        async with Client(MODEL, api_key="k", retry=0) as client:
            assert (await client.complete("Hi")).text == "ok"
        assert server.requests[0].path == "/v1/messages"


async def test_betas_of_all_sides_are_sent() -> None:
    """The client's, the call's, the token's and the request's own, each once."""
    async with talking(api_key=OAUTH, betas=["a", "b"], extra_headers={"Anthropic-Beta": "b, c"}) as (client, server):
        await client.complete([Message("user", [File(file_id="file_1")]), Message("user", "Hi")])
        await client.complete("Hi", extra_headers={"anthropic-beta": "d"})
    assert server.requests[0].headers["anthropic-beta"] == f"a,b,files-api-2025-04-14,{BETA},c"
    assert set(server.requests[1].headers["anthropic-beta"].split(",")) >= {"a", "b", BETA, "d"}


async def test_options_of_the_backend() -> None:
    """The version is one; an unknown one is refused with those there are."""
    async with talking(version="2026-10-21", max_tokens=9) as (client, server):
        reply = await client.complete("Hi", temperature=0.5)
    assert server.requests[0].headers["anthropic-version"] == "2026-10-21"
    assert "temperature" not in server.requests[0].json
    assert "temperature" in reply.warnings[0]
    with pytest.raises(InvalidRequestError, match="server_tools"):
        Client(MODEL, nonsense=1)


# ---- exchanges


async def test_a_whole_exchange() -> None:
    """Thinking, a call and its result: what goes back is what came, byte for byte."""
    signed = ProviderState("x", {"signature": "c2ln"}, closes=True)
    script = [
        Answer(
            [ReasoningDelta("hm"), ReasoningDelta("", signed), *Answer.tool_call("weather", {"city": "Oslo"}).events]
        ),
        Answer.text("Rain."),
    ]
    weather = Tool("weather", parameters={"type": "object", "properties": {"city": {"type": "string"}}})
    async with talking(script) as (client, server):
        async with client.stream("Rain?", tools=[weather], reasoning="high", cache="5m") as stream:
            events = [event async for event in stream]
            asked = await stream.reply()
        check_order(events)
        (call,) = asked.tool_calls
        result = Message("tool", [ToolResult(call.id, call.name, "wet")])
        reply = await client.complete([*asked.messages, result], tools=[weather])
    assert reply.text == "Rain."
    assert server.requests[1].json["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "tool_use", "id": call.id, "name": "weather", "input": {"city": "Oslo"}},
    ]
    assert server.requests[0].asked.reasoning == "high"
    assert server.requests[0].asked.cache == "5m"


async def test_a_server_that_does_not_stream() -> None:
    """The same reply from one body."""
    async with talking(Answer.text("Hello", reasoning="hm", stream=False)) as (client, _):
        reply = await client.complete("Hi")
    assert (reply.text, reply.reasoning, reply.finish_reason) == ("Hello", "hm", "stop")


async def test_a_model_with_a_smaller_limit_is_learnt() -> None:
    """The refusal of the default limit is said in another way, and remembered for the model."""
    message = "max_tokens: 16000 > 8192, which is the maximum allowed number of output tokens for claude-x"
    script = [Answer.error(InvalidRequestError(message, status=400)), Answer.text("ok")]
    async with talking(script) as (client, server):
        assert (await client.complete("Hi")).text == "ok"
        await client.complete("Hi")
    assert [request.json["max_tokens"] for request in server.requests] == [16000, 8192, 8192]


# ---- errors, as an HTTP answer and inside a stream

TOO_LONG = "prompt is too long: 210000 tokens > 200000 maximum"
TOO_MUCH = "input length and `max_tokens` exceed context limit: 1 + 2 > 2"
ERRORS: list[tuple[int, str, str, str | None, type[LLMError], bool]] = [
    (400, "invalid_request_error", "x", None, InvalidRequestError, False),
    (400, "invalid_request_error", TOO_LONG, None, ContextLengthExceededError, False),
    (400, "invalid_request_error", TOO_MUCH, None, ContextLengthExceededError, False),
    (400, "invalid_request_error", "Your credit balance is too low to access the API", None, BillingError, False),
    (401, "authentication_error", "x", None, AuthenticationError, False),
    (402, "billing_error", "x", None, BillingError, False),
    (402, "billing_error", "x", "linked_organization_unpaid", BillingError, False),
    (403, "permission_error", "x", None, PermissionDeniedError, False),
    (404, "not_found_error", "x", None, NotFoundError, False),
    (404, "not_found_error", "x", "file_expired", NotFoundError, False),
    (409, "conflict_error", "x", None, ServerError, True),
    (413, "request_too_large", "Request exceeds the maximum size", None, InvalidRequestError, False),
    (429, "rate_limit_error", "x", None, RateLimitError, True),
    (429, "rate_limit_error", "x", "ramp_limit_exceeded", RateLimitError, True),
    (429, "rate_limit_error", "x", "enforced_spend_limit_reached", BillingError, False),
    (429, "rate_limit_error", "x", "contract_spend_limit_reached", BillingError, False),
    (429, "rate_limit_error", "x", "some_new_code", RateLimitError, True),
    (500, "api_error", "x", None, ServerError, True),
    (504, "timeout_error", "x", None, LLMTimeoutError, True),
    (529, "overloaded_error", "x", None, OverloadedError, True),
    (529, "overloaded_error", "x", "compaction_unavailable", OverloadedError, True),
]
each_error = pytest.mark.parametrize(("status", "type_", "message", "code", "cls", "retryable"), ERRORS)


def error_body(type_: str, message: str, code: str | None) -> dict[str, Any]:
    details = {"details": {"error_code": code}} if code else {}
    return {"type": "error", "error": {"type": type_, "message": message, **details}, "request_id": "req_b"}


async def raised(answer: bytes) -> LLMError:
    async with replaying(answer) as url, Client(MODEL, base_url=url, api_key="k", retry=0, timeout=20) as client:
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi")
    return caught.value


@pytest.mark.req("seed-C", "C11", "H11")
@each_error
async def test_http_errors(
    status: int, type_: str, message: str, code: str | None, cls: type[LLMError], retryable: bool
) -> None:
    """Each row of the API's table is its class, with status, code, id and whether to try again."""
    content = json.dumps(error_body(type_, message, code)).encode()
    error = await raised(
        http(content, status=f"{status} X", content_type="application/json", headers="request-id: req_h\r\n")
    )
    assert type(error) is cls
    assert (error.status, error.code, error.request_id) == (status, code or type_, "req_h")
    assert (error.retryable, error.message, error.provider) == (retryable, message, "anthropic")


@pytest.mark.req("C1", "C4", "seed-C")
@pytest.mark.parametrize("before", [[], [begun()], [begun(), *text_block(0, "Hel")]], ids=["first", "started", "mid"])
@each_error
async def test_errors_inside_a_stream(
    status: int, type_: str, message: str, code: str | None, cls: type[LLMError], retryable: bool, before: list[Any]
) -> None:
    """The same class as with its status, wherever in a 200 it comes, and with what was received."""
    error = await raised(http(wire(*before, error_body(type_, message, code))))
    assert type(error) is cls
    assert (error.retryable, error.request_id, error.code) == (retryable, "req_b", code or type_)
    assert error.partial is not None
    assert error.partial.text == ("Hel" if len(before) > 1 else "")


@pytest.mark.req("C3")
async def test_an_error_before_any_content_is_retried() -> None:
    """An overloaded_error as the first event, and one after message_start, are tried again as a 529 is."""
    script = [
        Answer.text("a", faults=[ErrorAfter(0, OverloadedError("busy", retry_after=0.001))]),
        Answer([StreamError(OverloadedError("busy", retry_after=0.001))]),
        Answer.error(OverloadedError("busy", retry_after=0.001)),
        Answer.text("at last"),
    ]
    async with talking(script, retry=3) as (client, server), client.stream("Hi") as stream:
        events = [event async for event in stream]
        assert (await stream.reply()).text == "at last"
    assert sum(isinstance(event, Retrying) for event in events) == 3
    assert len(server.requests) == 4


@pytest.mark.req("H11")
@pytest.mark.parametrize("headers", ["retry-after: 7\r\n", "retry-after-ms: 7000\r\n"])
async def test_the_wait_that_the_api_asks_for(headers: str) -> None:
    """Of a rate limit."""
    content = json.dumps(error_body("rate_limit_error", "x", None)).encode()
    error = await raised(http(content, status="429 X", content_type="application/json", headers=headers))
    assert isinstance(error, RateLimitError)
    assert error.retry_after == 7
    assert error.reset_time is not None


# ---- faults


@pytest.mark.req("B1")
@pytest.mark.parametrize("faults", [[Cut(500)], [Cut(500, reset=True)], [NoFinish()], [NoFinish(), NoDone()]], ids=repr)
async def test_a_stream_that_is_cut_is_never_a_success(faults: Any) -> None:
    """IncompleteStreamError with what was received."""
    async with talking(Answer.text("one two three", faults=faults)) as (client, _):
        with pytest.raises(IncompleteStreamError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert "one two three".startswith(caught.value.partial.text)


@pytest.mark.parametrize("faults", [[NoDone()], [Split(1)], [Split([2, 7])]], ids=repr)
async def test_harmless_faults(faults: Any) -> None:
    """A missing message_stop, cuts anywhere: the reply is whole."""
    async with talking(Answer.text("Grüße 🎉 you", faults=faults)) as (client, _):
        assert (await client.complete("Hi")).text == "Grüße 🎉 you"


@pytest.mark.req("H1", "H3")
async def test_leaving_early_closes_the_connection() -> None:
    """At once, while the server is in the middle of its answer."""
    async with talking(Answer.text("one two", faults=[Stall(1)])) as (client, server):
        async with client.stream("Hi") as stream:
            async for _ in stream.text:
                break
        await server.wait_closed()
        assert server.connections.open == 0


@pytest.mark.req("H9")
async def test_a_stall_is_a_timeout() -> None:
    """The limit between two tokens is ours."""
    async with talking(Answer.text("one two", faults=[Stall(1)])) as (client, _):
        with pytest.raises(InterTokenTimeout) as caught:
            await client.complete("Hi", timeout=Timeout(inter_token=0.05))
    assert caught.value.partial is not None
    assert caught.value.partial.text == "one"


async def test_a_connection_is_used_again() -> None:
    """After message_stop it goes back to its pool."""
    async with talking() as (client, server):
        for _ in range(3):
            await client.complete("Hi")
        assert server.connections.opened == 1


async def test_the_end_is_not_waited_for() -> None:
    """A whole answer of the API's own events: ended by message_stop, whatever comes after."""
    async with replaying(http(wire(begun(), text_block(0, "Hi"), ended(), "data: [DONE]\n\n"))) as url:
        async with Client(MODEL, base_url=url, api_key="k", retry=0) as client:
            assert (await client.complete("Hi")).text == "Hi"
