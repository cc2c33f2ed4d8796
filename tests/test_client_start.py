"""Before the first content: what is retried, what is raised, what is tried elsewhere or said in another way."""

from __future__ import annotations

import pytest
from _chat import answers, bodies, client_of, error_answer, stalling
from _rawserver import RawConnection, raw_server
from _replay import DONE, ROLE, STOP, chunk_of, http, said, sse, text

from asyncllm import (
    AuthenticationError,
    BillingError,
    Client,
    ConnectionFailedError,
    Finish,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    ProtocolError,
    RateLimitError,
    Retrying,
    RetryPolicy,
    ServerError,
    StreamError,
    StreamStart,
    TextDelta,
    UnknownError,
    check_order,
)

FAST = RetryPolicy(tries=2, base=0.001, rate_limit_base=0.001)


@pytest.mark.req("H14")
async def test_errors_surface_where_the_stream_is_awaited() -> None:
    """A refused key is raised by `await client.stream()`, not at the first iteration."""
    async with answers(error_answer(401)) as server, client_of(server) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.stream("Hi")
    assert caught.value.status == 401
    assert caught.value.partial is not None


async def test_await_returns_at_the_first_content() -> None:
    """The stream is handed over while the server has said one word and no more."""
    async with stalling(ROLE, text("Hel")) as server, client_of(server) as client:
        stream = await client.stream("Hi")
        assert [await anext(stream), await anext(stream)] == [
            StreamStart("m", "chatcmpl-1", "openai-compatible"),
            TextDelta("Hel"),
        ]
        assert stream.partial.text == "Hel"
        assert not stream.closed
        await stream.aclose()


@pytest.mark.req("H11", "H4")
@pytest.mark.parametrize("hint", ["retry-after: 0", "retry-after-ms: 1", "retry-after: Wed, 21 Oct 2015 07:28:00 GMT"])
async def test_rate_limits_are_retried_after_the_hint(hint: str) -> None:
    """A 429 is repeated after what Retry-After says, in any of its forms, and the stream shows it."""
    async with answers(error_answer(429, None, hint), error_answer(429, None, hint), said_http()) as server:
        async with client_of(server, retry=2) as client:
            events = [event async for event in await client.stream("Hi")]
    check_order(events)
    retries = [event for event in events if isinstance(event, Retrying)]
    assert [event.attempt for event in retries] == [1, 2]
    assert all(isinstance(event.error, RateLimitError) and event.delay < 0.1 for event in retries)
    assert len(server.requests) == 3
    assert server.opened == 1  # error responses give their connection back


def said_http() -> bytes:
    return http(said("Hello"))


@pytest.mark.req("H11")
async def test_a_wait_above_the_cap_is_raised_instead_of_slept() -> None:
    """A provider that asks for two days gets its error handed on at once."""
    async with answers(error_answer(429, None, "retry-after: 172800")) as server, client_of(server, retry=5) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.stream("Hi")
    assert caught.value.retry_after == 172800
    assert caught.value.reset_time is not None
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("status", "body", "cls"),
    [
        (401, None, AuthenticationError),
        (400, None, InvalidRequestError),
        (402, None, BillingError),
        (429, {"error": {"message": "no credit", "code": "insufficient_quota"}}, BillingError),
    ],
)
@pytest.mark.req("seed-C")
async def test_what_waiting_cannot_mend_is_not_retried(status: int, body: object, cls: type[LLMError]) -> None:
    """Authentication, invalid requests and billing are raised after one request."""
    async with answers(error_answer(status, body)) as server, client_of(server, retry=FAST) as client:
        with pytest.raises(cls):
            await client.stream("Hi")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "broken", [b"", http(b""), http(sse(ROLE)), http(sse(ROLE, "data: {oops\n\n")), error_answer(500)]
)
async def test_failures_before_content_are_retried(broken: bytes) -> None:
    """No answer, an empty one, one cut before any word, garbage and a 500 are all repeated."""

    async def script(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(broken if server.opened == 1 else said_http())
        connection.close()

    async with raw_server(script) as server, client_of(server, retry=FAST) as client:
        assert (await client.complete("Hi")).text == "Hello"
    assert server.opened == 2


async def test_the_last_error_is_raised_when_tries_run_out() -> None:
    """Two retries are three requests, then the error."""
    async with answers(error_answer(500)) as server, client_of(server, retry=FAST) as client:
        with pytest.raises(ServerError):
            await client.stream("Hi")
    assert len(server.requests) == 3


@pytest.mark.req("H12")
async def test_nothing_is_retried_after_content() -> None:
    """Once a word was delivered, a failure is the caller's to see, with the word."""
    async with answers(http(sse(ROLE, text("Hel")))) as server, client_of(server, retry=FAST) as client:
        stream = await client.stream("Hi")
        with pytest.raises(IncompleteStreamError) as caught:
            [event async for event in stream]
    assert len(server.requests) == 1
    assert caught.value.partial is not None
    assert caught.value.partial.text == "Hel"
    assert caught.value.partial.usage is not None
    assert caught.value.partial.usage.estimated


async def test_no_connection_is_a_typed_error() -> None:
    """A closed port is ConnectionFailedError, retryable, and says where."""
    async with answers(b"") as server:
        url = server.url
    async with Client("openai-compatible/m", base_url=url, retry=0) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.stream("Hi")
    assert caught.value.retryable
    assert url.removeprefix("http://") in str(caught.value)


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (http(b"<html><title>Gateway login</title></html>", content_type="text/html"), "HTML page"),
        (http(b"data: hello there\n\n"), "not JSON"),
    ],
)
async def test_a_200_that_is_no_stream_is_a_protocol_error(answer: bytes, part: str) -> None:
    """A page or plain text where the stream should be is told as what it is, with the bytes."""
    async with answers(answer) as server, client_of(server) as client:
        with pytest.raises(ProtocolError, match=part) as caught:
            await client.stream("Hi")
    assert caught.value.body


@pytest.mark.req("A6")
@pytest.mark.parametrize("content_type", ["application/json", "application/x-ndjson", "text/plain; charset=latin-1"])
async def test_the_stated_content_type_is_not_believed(content_type: str) -> None:
    """A stream under another label is read all the same."""
    async with answers(http(said("héllo"), content_type=content_type)) as server, client_of(server) as client:
        assert (await client.complete("Hi")).text == "héllo"


@pytest.mark.req("G9")
async def test_max_tokens_is_renamed_once_and_remembered() -> None:
    """A 400 that names the other field is answered with it, and the next request knows."""
    refusal = {
        "error": {
            "message": "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.",
            "param": "max_tokens",
        }
    }
    async with answers(error_answer(400, refusal), said_http()) as server, client_of(server) as client:
        assert (await client.complete("Hi", max_tokens=5)).text == "Hello"
        await client.complete("Hi", max_tokens=6)
    sent = [(body.get("max_tokens"), body.get("max_completion_tokens")) for body in bodies(server)]
    assert sent == [(5, None), (None, 5), (None, 6)]


@pytest.mark.req("F10")
async def test_stream_options_are_left_out_where_they_are_refused() -> None:
    """A server that does not know stream_options gets the request without them, once."""
    refusal = {"detail": [{"loc": ["body", "stream_options"], "msg": "Extra inputs are not permitted"}]}
    async with answers(error_answer(422, refusal), said_http()) as server, client_of(server) as client:
        assert (await client.complete("Hi")).text == "Hello"
    assert ["stream_options" in body for body in bodies(server)] == [True, False]


async def test_failover_asks_the_next_model() -> None:
    """A list of models: the second answers where the first refuses, and the stream shows why."""
    async with answers(error_answer(401), said_http()) as server:
        models = ["openai-compatible/first", "openai-compatible/second"]
        async with Client(models, base_url=server.url, retry=0) as client:
            events = [event async for event in await client.stream("Hi")]
    check_order(events)
    assert isinstance(events[0], Retrying)
    assert isinstance(events[0].error, AuthenticationError)
    assert [body["model"] for body in bodies(server)] == ["first", "second"]


async def test_failover_raises_the_last_error() -> None:
    """When every model refuses, the last refusal is raised."""
    async with answers(error_answer(500), error_answer(402)) as server:
        async with Client(["openai-compatible/a", "openai-compatible/b"], base_url=server.url, retry=0) as client:
            with pytest.raises(BillingError):
                await client.stream("Hi")


@pytest.mark.req("C10")
async def test_what_a_fallback_fails_with_does_not_hide_why_it_was_asked() -> None:
    """The first model's error in the stream is the cause of the last one's 400, all the way."""
    first = http(sse(ROLE, {"error": {"message": "overloaded", "code": 503}}))
    async with answers(first, error_answer(401), error_answer(400)) as server:
        models = [f"openai-compatible/{name}" for name in "abc"]
        async with Client(models, base_url=server.url, retry=0) as client:
            with pytest.raises(InvalidRequestError) as caught:
                await client.complete("Hi")
    assert isinstance(caught.value.__cause__, AuthenticationError)
    assert isinstance(caught.value.__cause__.__cause__, ServerError)


async def test_as_events_gives_the_failure_as_a_value() -> None:
    """`as_events` ends with StreamError, also for a failure before any content."""
    async with answers(http(sse(ROLE, text("a"))), error_answer(500)) as server, client_of(server) as client:
        async with client.stream("Hi") as stream:
            events = [event async for event in stream.as_events()]
        assert isinstance(events[-1], StreamError)
        assert isinstance(events[-1].error, IncompleteStreamError)
        check_order(events)
        failed = [event async for event in client.stream("Hi").as_events()]
        assert [type(event) for event in failed] == [StreamError]


@pytest.mark.req("C1")
async def test_an_error_in_a_stream_has_the_request_id_of_its_answer() -> None:
    """What a provider's support asks for is in the header of the 200 that the error came in."""
    answer = http(sse(ROLE, text("a"), {"error": "oops"}), headers="x-request-id: req_7\r\n")
    async with answers(answer) as server, client_of(server) as client:
        with pytest.raises(ServerError) as caught:
            await client.complete("Hi")
    assert caught.value.request_id == "req_7"


@pytest.mark.req("C5")
async def test_groq_tool_use_failed_keeps_the_generation() -> None:
    """Groq's in-band tool_use_failed is an invalid request with what the model wrote in its body."""
    error = {
        "error": {
            "message": "Failed to call a function",
            "code": "tool_use_failed",
            "failed_generation": "<f={>",
            "status_code": 400,
        }
    }
    async with answers(http(sse(ROLE, error))) as server, client_of(server) as client:
        with pytest.raises(InvalidRequestError) as caught:
            await client.stream("Hi")
    assert caught.value.code == "tool_use_failed"
    assert "<f={>" in (caught.value.body or "")


async def test_redirects_are_not_followed_silently() -> None:
    """A redirect is an error: the key must not travel to where a server points."""
    answer = http(b"", status="307 Temporary Redirect", headers="location: http://127.0.0.1:1/\r\n")
    async with answers(answer) as server, client_of(server) as client:
        with pytest.raises(UnknownError) as caught:
            await client.stream("Hi")
    assert caught.value.status == 307


@pytest.mark.req("B11")
async def test_done_without_finish() -> None:
    """`[DONE]` without a finish_reason: an unknown reason, never "stop"; from vLLM, which aborts so, an incomplete stream."""
    body = http(sse(ROLE, text("ok"), DONE))
    async with answers(body) as server:
        async with client_of(server) as client:
            events = [event async for event in await client.stream("Hi")]
            assert events[-1] == Finish("other", None)
        async with client_of(server, "vllm/m") as client:
            with pytest.raises(IncompleteStreamError):
                await client.complete("Hi")


async def test_usage_counts_and_stop_arrive_in_a_gzip_body() -> None:
    """A compressed stream is inflated as it comes."""
    import gzip

    body = gzip.compress(sse(ROLE, text("Hé"), text("llo"), STOP, DONE))
    async with answers(http(body, headers="content-encoding: gzip\r\n")) as server, client_of(server) as client:
        assert (await client.complete("Hi")).text == "Héllo"


async def test_a_broken_gzip_body_is_an_error() -> None:
    """What does not inflate is told, not swallowed."""
    async with (
        answers(http(b"not gzip at all", headers="content-encoding: gzip\r\n")) as server,
        client_of(server) as client,
    ):
        with pytest.raises(LLMError):
            await client.complete("Hi")


async def test_an_in_band_error_after_the_role_chunk_is_still_before_content() -> None:
    """Role chunks, empty text and usage are not content: the error after them is retried."""
    broken = http(sse(ROLE, chunk_of({"content": ""}, usage={"prompt_tokens": 1}), {"error": "busy"}))
    async with answers(broken, said_http()) as server, client_of(server, retry=FAST) as client:
        events = [event async for event in await client.stream("Hi")]
    check_order(events)
    assert sum(isinstance(event, StreamStart) for event in events) == 1
    assert len(server.requests) == 2
