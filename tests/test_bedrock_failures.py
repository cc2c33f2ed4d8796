"""How `bedrock/...` fails, over a socket: HTTP errors, exceptions inside a stream, and streams that are cut or damaged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from _aws import isolate, set_keys
from _bedrock import stream, talking
from _converse import START, TAIL, body_of, delta, done, start

from asyncllm import (
    AuthenticationError,
    ContextLengthExceededError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    Retrying,
    RetryPolicy,
    ServerError,
)
from asyncllm.events import LLMTimeoutError
from asyncllm.testing import Answer, Cut, ErrorAfter, NoFinish, TruncatedChunk

SOON_AGAIN = RetryPolicy(tries=2, rate_limit_base=0.001)


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch)


@pytest.mark.req("C8", "seed-C")
@pytest.mark.parametrize(
    ("status", "name", "message", "kind"),
    [
        (400, "ValidationException", "m", InvalidRequestError),
        (400, "ValidationException", "Input is too long for requested model.", ContextLengthExceededError),
        (400, "ValidationException", "The provided model identifier is invalid.", NotFoundError),
        (403, "AccessDeniedException", "You don't have access to the model.", PermissionDeniedError),
        (403, "UnrecognizedClientException", "The security token is invalid.", AuthenticationError),
        (403, "InvalidSignatureException", "m", AuthenticationError),
        (403, "ExpiredTokenException", "m", AuthenticationError),
        (404, "ResourceNotFoundException", "m", NotFoundError),
        (408, "ModelTimeoutException", "m", LLMTimeoutError),
        (424, "ModelErrorException", "m", ServerError),
        (429, "ThrottlingException", "Too many tokens, please wait.", RateLimitError),
        (429, "ModelNotReadyException", "m", RateLimitError),
        (500, "InternalServerException", "m", ServerError),
        (503, "ServiceUnavailableException", "m", OverloadedError),
    ],
)
async def test_http_errors(status: int, name: str, message: str, kind: type[LLMError], keys: None) -> None:
    """By the name of the exception in its header, which may have a namespace after a colon; with the id of the request."""
    headers = {"x-amzn-errortype": f"{name}:http://internal.amazon.com/coral/", "x-amzn-requestid": "r-1"}
    body = json.dumps({"message": message}).encode()
    script = Answer.raw(body, content_type="application/json", headers=headers, status=status)
    async with talking(script) as (client, _):
        with pytest.raises(kind) as caught:
            await client.complete("Hi")
    error = caught.value
    assert type(error) is kind
    assert (error.status, error.code, error.request_id, error.message) == (status, name, "r-1", message)


@pytest.mark.req("C8", "C3")
async def test_throttling_in_the_middle_and_at_the_start(keys: None) -> None:
    """After text it is the caller's, with what came before; as the first event it is tried again, like an HTTP 429."""
    throttled = body_of([("exception:throttlingException", {"message": "Too many tokens"})])
    async with talking(stream(body_of([START, delta(0, text="Hel")]) + throttled), retry=2) as (client, server):
        with pytest.raises(RateLimitError) as caught:
            await client.complete("Hi")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hel"
        assert caught.value.code == "throttlingException"
        assert len(server.requests) == 1
    async with talking([stream(body_of([START]) + throttled), Answer.text("Hello there")], retry=SOON_AGAIN) as (
        client,
        server,
    ):
        answer = await client.stream("Hi")
        events = [event async for event in answer]
        assert [type(event) for event in events if isinstance(event, Retrying)] == [Retrying]
        assert len(server.requests) == 2


@pytest.mark.req("C1", "C8")
@pytest.mark.parametrize("kind", [OverloadedError, RateLimitError, ServerError, InvalidRequestError, NotFoundError])
async def test_errors_inside_a_stream(kind: type[LLMError], keys: None) -> None:
    """Scripted as for every other wire: they come as their own class, with what came before."""
    async with talking(Answer.text("Hello there", faults=[ErrorAfter(1, kind("it went wrong"))])) as (client, _):
        with pytest.raises(kind, match="it went wrong") as caught:
            await client.complete("Hi")
        assert caught.value.partial is not None
        assert caught.value.partial.text == "Hello"


@pytest.mark.req("B1", "C11")
@pytest.mark.parametrize("fault", [Cut(200), Cut(200, reset=True), NoFinish()], ids=["fin", "reset", "no messageStop"])
async def test_streams_that_are_cut(fault: Any, keys: None) -> None:
    """By the end of the connection, in any way, or by an end of the body without messageStop."""
    async with talking(Answer.text("Hello there", faults=[fault])) as (client, _):
        with pytest.raises(IncompleteStreamError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert "Hello there".startswith(caught.value.partial.text)


@pytest.mark.req("B1", "C11")
async def test_a_chunk_that_is_cut(keys: None) -> None:
    """The connection ends inside a chunk of HTTP after half of a message."""
    async with talking(Answer.text("Hello there", faults=[Cut(300), TruncatedChunk()])) as (client, _):
        with pytest.raises(ProtocolError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None


@pytest.mark.req("C11")
async def test_a_damaged_message(keys: None) -> None:
    """A wrong checksum is a typed error with what came before."""
    good, bad = body_of([START, delta(0, text="Hel")]), bytearray(body_of([delta(0, text="lo")]))
    bad[-1] ^= 1
    async with talking(stream(good, bytes(bad), body_of([done(), TAIL]))) as (client, _):
        with pytest.raises(ProtocolError, match="checksum") as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"


async def test_a_call_that_is_cut_is_invalid(keys: None) -> None:
    """What the model asked for is not run: nobody knows whether it was whole."""
    half = body_of([START, start(0, toolUse={"toolUseId": "t", "name": "f"}), delta(0, toolUse={"input": "{}"})])
    async with talking(stream(half)) as (client, _):
        with pytest.raises(IncompleteStreamError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    (called,) = caught.value.partial.tool_calls
    assert called.invalid
