"""LiteLLM without LiteLLM: what is said where it is missing, its proxy, and our side of its stream with a stand-in.

`test_litellm_in_process.py` holds the real package to the same, in an environment of its own.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Callable, Iterable
from types import ModuleType
from typing import Any

import pytest

from asyncllm import (
    Client,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    Message,
    RateLimitError,
    ServerError,
    UnknownError,
)
from asyncllm.backends import VENDORS, Credentials, _litellm, providers
from asyncllm.backends._litellm_errors import typed_error
from asyncllm.protocols import Request
from asyncllm.testing import Answer, ErrorAfter, Server

pytestmark = pytest.mark.req("seed-A14")


# ---- without the package


def test_a_missing_package_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command, why it needs an environment of its own, and the way around it."""
    monkeypatch.setattr(_litellm, "find_spec", lambda name: None)
    with pytest.raises(InvalidRequestError) as caught:
        Client("litellm/openai/gpt-5-mini")
    for words in ("pip install 'asyncllm[litellm]'", "openai < 3", "litellm-proxy/"):
        assert words in caught.value.message


def test_what_is_ours_is_no_option() -> None:
    """Neither an openai client nor keywords that we give ourselves."""
    for options in ({"stream": False}, {"api_base": "http://x"}, {"openai_client": object()}):
        with pytest.raises(InvalidRequestError):
            Client("litellm/openai/m", **options)  # type: ignore[arg-type]


def test_both_are_listed() -> None:
    """The package and the proxy."""
    assert {"litellm", "litellm-proxy"} <= set(providers())


# ---- the proxy


@pytest.mark.parametrize("name", ["litellm-proxy", "litellm_proxy"])
async def test_the_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Its key is a bearer token, it answers with and without /v1, and the rest of the name is its model."""
    monkeypatch.setenv("LITELLM_PROXY_API_KEY", "sk-1234")
    script = Answer.text("Hello there", headers={"x-litellm-call-id": "call-1"})
    async with Server(script) as server:
        for place in (server.base_url, server.base_url.removesuffix("/v1")):
            monkeypatch.setenv("LITELLM_PROXY_API_BASE", place)
            async with Client(f"{name}/anthropic/claude-sonnet-5", retry=0) as client:
                reply = await client.complete("Hi")
            assert (reply.text, reply.finish_reason) == ("Hello there", "stop")
        assert [request.path for request in server.requests] == ["/v1/chat/completions", "/chat/completions"]
        assert {request.headers["authorization"] for request in server.requests} == {"Bearer sk-1234"}
        assert {request.json["model"] for request in server.requests} == {"anthropic/claude-sonnet-5"}


@pytest.mark.req("C1")
async def test_errors_of_the_proxy() -> None:
    """An HTTP error with the proxy's id of the call, and an error inside the stream, after which no [DONE] comes."""
    body = {"error": {"message": "no deployments available", "type": "None", "param": "None", "code": "429"}}
    refusal = Answer.raw(
        json.dumps(body).encode(),
        content_type="application/json",
        status=429,
        headers={"x-litellm-call-id": "call-1", "retry-after": "5"},
    )
    broken = Answer.text("one two", faults=[ErrorAfter(1, ServerError("gone"))])
    async with Server([refusal, broken]) as server:
        async with Client("litellm-proxy/m", base_url=server.base_url, retry=0) as client:
            with pytest.raises(RateLimitError) as caught:
                await client.complete("Hi")
            assert (caught.value.request_id, caught.value.retry_after) == ("call-1", 5.0)
            with pytest.raises(ServerError, match="gone") as later:
                await client.complete("Hi")
    assert later.value.partial is not None
    assert later.value.partial.text == "one"


def test_the_row_of_the_proxy() -> None:
    """The documented place, no key needed by default."""
    row = next(vendor for vendor in VENDORS if vendor.name == "litellm-proxy")
    assert (row.base_url, row.auth_header, row.wire) == ("http://localhost:4000", "authorization", "openai_chat")
    assert row.default_key


# ---- our side of the stream


class Chunk:
    """What LiteLLM gives: attributes, and JSON."""

    def __init__(self, delta: dict[str, Any] | None = None, finish: str | None = None, **fields: Any) -> None:
        self._data = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta or {}, "finish_reason": finish}]}
        self._data |= fields
        self.usage = fields.get("usage")
        self.choices = [type("Choice", (), {"finish_reason": finish})]

    def model_dump_json(self, **options: Any) -> str:
        return json.dumps(self._data)


class Stream:
    """A stand-in for LiteLLM's stream: these chunks, or an error where one stands."""

    def __init__(self, steps: Iterable[Chunk | Exception | None], received: str | None) -> None:
        self._steps = iter(steps)
        self.received_finish_reason = received
        self.intermittent_finish_reason = None
        self.chunks: list[Chunk] = []
        self.closed = 0

    def __aiter__(self) -> Stream:
        return self

    async def __anext__(self) -> Chunk:
        step = next(self._steps, StopAsyncIteration())
        if step is None:
            await asyncio.Event().wait()
        if isinstance(step, BaseException):
            raise step
        assert step is not None
        return step

    async def aclose(self) -> None:
        self.closed += 1


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Puts a module named litellm in its place; returns the keywords of its calls."""

    def put(*answers: Any) -> list[dict[str, Any]]:
        calls: list[dict[str, Any]] = []
        waiting = list(answers)

        async def acompletion(**keywords: Any) -> Any:
            calls.append(keywords)
            answer = waiting.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer

        module = ModuleType("litellm")
        module.acompletion = acompletion  # type: ignore[attr-defined]
        httpx = ModuleType("httpx")
        httpx.Timeout = lambda read, connect: (read, connect)  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "litellm", module)
        monkeypatch.setitem(sys.modules, "httpx", httpx)
        monkeypatch.setattr(_litellm, "find_spec", lambda name: True)
        monkeypatch.setenv("LITELLM_LOCAL_MODEL_COST_MAP", "x")
        return calls

    return put


async def test_chunks_become_events(stand_in: Any) -> None:
    """Through the assembly of chat completions; what is asked goes as keywords, with retries off and our limits."""
    stream = Stream(
        [Chunk({"role": "assistant", "content": ""}), Chunk({"content": "Hi"}), Chunk(None, "stop")], "stop"
    )
    calls = stand_in(stream)
    async with Client("litellm/azure/m", api_key="k", base_url="http://b", extra_headers={"x": "1"}, top_k=3) as client:
        reply = await client.complete("Hi", max_tokens=9, extra_body={"thinking": {"type": "enabled"}})
    assert (reply.text, reply.finish_reason, reply.backend) == ("Hi", "stop", "litellm")
    assert stream.closed == 1
    (call,) = calls
    assert call == {
        "num_retries": 0,
        "max_retries": 0,
        "model": "azure/m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "top_k": 3,
        "thinking": {"type": "enabled"},
        "api_key": "k",
        "api_base": "http://b",
        "extra_headers": {"x": "1"},
        "timeout": (300.0, 10.0),
    }
    assert os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] == "x"  # what is set is left alone


@pytest.mark.req("E3", "E6")
async def test_blocks_of_thinking_are_put_together(stand_in: Any) -> None:
    """Pieces of a block become one when its signature comes, and go back under LiteLLM's name; what is redacted is whole."""
    redacted = {"type": "redacted_thinking", "data": "x"}
    pieces = [
        Chunk({"reasoning_content": "a", "thinking_blocks": [{"type": "thinking", "thinking": "a"}]}),
        Chunk({"reasoning_content": "b", "thinking_blocks": [{"type": "thinking", "thinking": "b"}]}),
        Chunk({"thinking_blocks": [{"type": "thinking", "thinking": "", "signature": "s"}]}),
        Chunk({"thinking_blocks": [redacted]}),
        Chunk({"content": "Hi"}),
        Chunk(None, "stop"),
    ]
    calls = stand_in(Stream(pieces, "stop"), Stream([Chunk({"content": "Hi"}, "stop")], "stop"))
    async with Client("litellm/anthropic/m") as client:
        first = await client.complete("Hi")
        assert first.reasoning == "ab"
        await client.complete([*first.messages, {"role": "user", "content": "More"}])
    turn = calls[1]["messages"][1]
    assert turn["thinking_blocks"] == [{"type": "thinking", "thinking": "ab", "signature": "s"}, redacted]
    assert "reasoning_details" not in turn
    assert _litellm._with_thinking_blocks({"reasoning_details": [{"type": "reasoning.text"}]}) == {
        "reasoning_details": [{"type": "reasoning.text"}]
    }


@pytest.mark.req("B1", "F9")
async def test_what_litellm_makes_up_is_not_believed(stand_in: Any) -> None:
    """A "stop" for a stream that just ended is a cut; usage that no chunk had is an estimate."""
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}
    stand_in(
        Stream([Chunk({"content": "Hi"}), Chunk(None, "stop")], None),
        Stream([Chunk({"content": "Hi"}), Chunk(None, "stop"), Chunk(usage=usage)], "stop"),
    )
    async with Client("litellm/openai/m", retry=0) as client:
        with pytest.raises(IncompleteStreamError) as caught:
            await client.complete("Hi")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hi"
        reply = await client.complete("Hi")
    assert reply.usage is not None
    assert reply.usage.estimated


async def test_an_answer_that_is_not_streamed(stand_in: Any) -> None:
    """A completion is read by the same code."""
    body = {"object": "chat.completion", "choices": [{"message": {"content": "Hi"}, "finish_reason": "stop"}]}
    whole = Chunk()
    whole._data = body
    stand_in(whole)
    async with Client("litellm/openai/m") as client:
        assert (await client.complete("Hi", extra_body={"stream": False})).text == "Hi"


@pytest.mark.req("H3")
async def test_leaving_early_closes_its_stream(stand_in: Any) -> None:
    """By leaving the block, and by dropping the stream."""
    left, dropped = (Stream([Chunk({"content": "Hi"}), None], None) for _ in range(2))
    stand_in(left, dropped)
    async with Client("litellm/openai/m") as client:
        async with client.stream("Hi") as stream:
            async for _ in stream.text:
                break
        assert left.closed == 1
    backend = _litellm.LiteLLMBackend(Credentials("litellm", default=""), None, {}, {})
    request = Request(model="m", messages=(Message("user", "Hi"),))
    source = backend.stream(request)
    source.abort()  # nothing was begun
    source = backend.stream(request)
    await anext(source)
    source.abort()
    await asyncio.gather(*_litellm._closing)
    assert dropped.closed == 1
    with pytest.raises(StopAsyncIteration):
        await anext(source)
    await backend.aclose()


# ---- errors, by their classes


class Response:
    def __init__(self, status: int, headers: dict[str, str]) -> None:
        self.status_code = status
        self.headers = headers


def raised(name: str, base: type[Exception] = Exception, *, why: Exception | None = None, **fields: Any) -> Exception:
    """An error of a class of this name, with these attributes, made of `why`."""
    error = type(name, (base,), {})("words")
    for field, value in fields.items():
        setattr(error, field, value)
    error.__cause__ = why
    return error


BREAK = raised("ReadError", type("TransportError", (Exception,), {}))
BODY = {"message": "m", "type": "requests", "code": "rate_limit_exceeded"}
ANTHROPIC = b'{"type":"error","error":{"type":"overloaded_error","message":"m"}}'
BAD = type("BadRequestError", (Exception,), {})

CASES: list[tuple[Exception, bool, str]] = [
    (raised("ContextWindowExceededError", BAD, message="m"), False, "context_length"),
    (raised("ContentPolicyViolationError", BAD, message="m"), False, "content_blocked"),
    (raised("BudgetExceededError", message="m"), False, "billing"),
    (raised("UnsupportedParamsError", BAD, message="m"), False, "invalid_request"),
    (raised("AuthenticationError", message="m"), False, "authentication"),
    (raised("ServiceUnavailableError", message="m"), False, "overloaded"),
    (raised("Timeout", type("APITimeoutError", (Exception,), {}), message="m"), False, "timeout"),
    (raised("APIConnectionError", message="m", why=BREAK), False, "connection"),
    (raised("APIConnectionError", message="m", why=BREAK), True, "protocol"),
    (raised("APIConnectionError", message="m", why=TimeoutError()), True, "timeout"),
    (raised("APIConnectionError", message="m", why=ModuleNotFoundError("no mcp")), False, "invalid_request"),
    (raised("APIConnectionError", message="m"), False, "unknown"),
    (ValueError("m"), False, "unknown"),
    (raised("RateLimitError", body=BODY, litellm_response_headers={}), False, "rate_limit"),
    (raised("APIError", why=raised("APIError", body={**BODY, "code": "server_is_overloaded"})), True, "overloaded"),
    (raised("InternalServerError", why=raised("AnthropicError", message=ANTHROPIC)), False, "overloaded"),
    (raised("X", why=raised("Y", status_code=402, response=Response(402, {"a": "b"}))), False, "billing"),
    (raised("ContextWindowExceededError", BAD, body={"message": "words"}, response=Response(400, {"a": "b"})), False,
     "context_length"),
    (raised("MidStreamFallbackError", type("ServiceUnavailableError", (Exception,), {}), status_code=500,
            original_exception=raised("NotFoundError", message="m")), True, "not_found"),
]  # fmt: skip


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(("error", "begun", "kind"), CASES, ids=lambda value: type(value).__name__)
def test_errors_by_their_classes(error: Exception, begun: bool, kind: str) -> None:
    """The provider's own body first, then the class; the transport's failures by what they are."""
    got = typed_error(error, provider="litellm", model="m", begun=begun)
    assert isinstance(got, LLMError)
    assert got.kind == kind
    assert got.message
    assert (got.provider, got.model) == ("litellm", "m")


@pytest.mark.req("H11")
def test_hints_of_the_innermost_answer() -> None:
    """The status and the headers of what really answered, not of what LiteLLM made up around it."""
    inner = raised("APIStatusError", body=BODY, response=Response(429, {"Retry-After": "3", "X-Request-Id": "r"}))
    made_up = Response(500, {})
    got = typed_error(
        raised("RateLimitError", why=inner, status_code=500, response=made_up), provider="p", model="m", begun=False
    )
    assert (got.status, got.retry_after, got.request_id, got.code) == (429, 3.0, "r", "rate_limit_exceeded")


def test_a_chain_that_bites_its_tail() -> None:
    """An error that is its own cause, in a circle: the walk ends."""
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    assert isinstance(typed_error(one, provider="p", model="m", begun=False), UnknownError)


async def test_an_error_of_the_call_is_a_value_below(stand_in: Any) -> None:
    """Nothing that it raises escapes, before the stream or in it, and the stream is closed."""
    stream = Stream([Chunk({"content": "Hi"}), raised("APIConnectionError", message="m", why=BREAK)], None)
    stand_in(raised("RateLimitError", message="slow"), stream)
    async with Client("litellm/openai/m", retry=0) as client:
        with pytest.raises(RateLimitError, match="slow"):
            await client.complete("Hi")
        with pytest.raises(IncompleteStreamError):
            await client.complete("Hi")
    assert stream.closed == 1
