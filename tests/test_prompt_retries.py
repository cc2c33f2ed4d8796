"""What a prompt tries again, how often and after how long, and what comes of it: the table of seeds D."""

from __future__ import annotations

from typing import Any

import pytest
from _runs import DONE, call, calls, serving
from _waits import noted_waits
from msgspec import Struct

from asyncllm import (
    AuthenticationError,
    BillingError,
    Client,
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    FirstTokenTimeout,
    IncompleteStreamError,
    InterTokenTimeout,
    InvalidOutputError,
    InvalidRequestError,
    LLMError,
    MaxOutputTokensError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    Reply,
    RetryPolicy,
    ServerError,
    StreamError,
    StreamEvent,
    StreamStart,
    TextDelta,
    Timeout,
    Tool,
    UnknownError,
)
from asyncllm.testing import Answer, Cut, ErrorAfter, Stall

FAST = RetryPolicy(tries=3, base=0.001, empty_delay=0.001)


def typed(error: LLMError) -> Answer:
    """An answer that a classifier cannot mistake: the typed error in the wire's own form."""
    return Answer.error(error)


@pytest.mark.req("seed-D", "seed-C")
@pytest.mark.parametrize(
    ("answer", "cls"),
    [
        (Answer.error(status=429, headers={"retry-after": "0"}), RateLimitError),
        (Answer.error(status=401), AuthenticationError),
        (Answer.error(status=403), PermissionDeniedError),
        (Answer.error(status=402), BillingError),
        (Answer.error(status=400), InvalidRequestError),
        (Answer.error(status=422), InvalidRequestError),
        (Answer.error(status=404), NotFoundError),
        (
            typed(ContextLengthExceededError("too long", status=400, code="context_length_exceeded")),
            ContextLengthExceededError,
        ),
        (typed(ContentBlockedError("no", status=400, code="content_filter")), ContentBlockedError),
        (typed(BillingError("no", status=429, code="insufficient_quota")), BillingError),
    ],
)
async def test_what_is_never_retried_is_raised(answer: Answer, cls: type[LLMError]) -> None:
    """One request, and the typed error as it came, with what there was until then."""
    async with serving(answer, retry=FAST) as (server, client):
        with pytest.raises(cls) as caught:
            await client.prompt("Hi")
        assert type(caught.value) is cls
        assert len(server.requests) == 1
    assert isinstance(caught.value.partial, Reply)
    assert client.last_metadata is not None
    assert client.last_metadata.attempts == 1


@pytest.mark.req("seed-D")
async def test_a_rate_limit_in_a_later_step_is_raised_with_what_was_done() -> None:
    """The error has the conversation with the tool's result: it can be gone on with later."""
    script = [calls(call(city="Oslo")), Answer.error(status=429), DONE]
    async with serving(script, retry=FAST) as (server, client):
        with pytest.raises(RateLimitError) as caught:
            await client.prompt("Weather?", tools=[Weather()])
        partial = caught.value.partial
        assert partial is not None
        assert [message.role for message in partial.messages] == ["user", "assistant", "tool"]
        result = await client.prompt(partial.messages, tools=[Weather()])
    assert (result.result, len(server.requests)) == ("It is 21 degrees.", 3)


class Weather:
    """A tool that knows how often it was called."""

    timeout = None

    def __init__(self) -> None:
        self.called: list[object] = []
        self.spec = Tool("weather", "", {"type": "object", "properties": {"city": {"type": "string"}}})

    async def run(self, arguments: dict[str, object], report: Any) -> str:
        self.called.append(arguments["city"])
        return f"21 degrees in {arguments['city']}"


@pytest.mark.req("seed-D")
@pytest.mark.parametrize("tries", [2, 6])
async def test_server_errors_are_retried_after_longer_and_longer(tries: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """min(5*2^n, 60) seconds, as often as the client says; and then a result that says that it failed."""
    waits = noted_waits(monkeypatch)
    async with serving(Answer.error(status=500, message="oh no"), retry=tries) as (server, client):
        result = await client.prompt("Hi")
        assert len(server.requests) == tries + 1
    assert waits == [5, 10, 20, 40, 60, 60][:tries]
    assert (result.success, result.returncode, result.result, result.output) == (False, -1, "", None)
    assert isinstance(result.error, ServerError)
    assert "oh no" in result.stderr
    assert result.metadata.attempts == tries + 1
    assert (result.metadata.turns, result.metadata.finish_reason) == (0, None)
    assert [message.role for message in result.messages] == ["user"]


async def test_two_tries_after_the_first_are_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a client that was told nothing about it; a number in the call counts for the call."""
    waits = noted_waits(monkeypatch)
    async with serving(Answer.error(status=500)) as (server, _):
        async with Client("openai-compatible/m", base_url=server.base_url) as client:
            await client.prompt("Hi")
            assert waits == [5, 10]
            await client.prompt("Hi", retry=1)
            assert waits == [5, 10, 5]
            await client.prompt("Hi", retry=0)
            assert (waits, len(server.requests)) == ([5, 10, 5], 6)


@pytest.mark.req("seed-D")
@pytest.mark.parametrize(
    "broken",
    [
        Answer.error(status=500),
        Answer.error(status=503),
        Answer.error(status=529),
        Answer.error(status=408),
        Answer.text("one two three", faults=[Cut(0)]),
        Answer.text("one two three", faults=[Cut(700)]),
        Answer.text("one two three", faults=[Cut(700, reset=True)]),
        Answer.text("one two three", faults=[ErrorAfter(2, ServerError("no"))]),
        Answer.text("one two three", faults=[Stall(0)]),
        Answer.text("one two three", faults=[Stall(2)]),
        Answer.raw(b"data: {oops\n\n"),
    ],
    ids=["500", "503", "529", "408", "cut at once", "cut", "reset", "error", "silence", "stall", "garbage"],
)
async def test_what_a_server_does_wrong_is_retried(broken: Answer) -> None:
    """Before the answer and in the middle of it; what was said of the broken one is not in the result."""
    limits = Timeout(first_token=0.1, inter_token=0.1)
    async with serving([broken, broken, DONE], retry=FAST, timeout=limits) as (server, client):
        result = await client.prompt("Hi")
        assert len(server.requests) == 3
        assert [request.json["messages"] for request in server.requests] == [[{"role": "user", "content": "Hi"}]] * 3
    assert (result.result, result.success, result.stderr, result.error) == ("It is 21 degrees.", True, "", None)
    assert (result.metadata.attempts, result.metadata.turns) == (3, 1)


@pytest.mark.req("seed-D")
@pytest.mark.parametrize(
    ("faults", "cls"),
    [([Cut(700)], IncompleteStreamError), ([Stall(2)], InterTokenTimeout), ([Stall(0)], FirstTokenTimeout)],
)
async def test_what_there_was_when_all_failed(faults: Any, cls: type[LLMError]) -> None:
    """The last attempt's words are the result of a failure, and part of its reply."""
    limits = Timeout(first_token=0.1, inter_token=0.1)
    answer = Answer.text("one two three", faults=faults)
    async with serving(answer, retry=FAST, timeout=limits) as (server, client):
        result = await client.prompt("Hi")
        assert len(server.requests) == 4
    assert type(result.error) is cls
    assert result.result == result.stream_result.text
    assert bool(result.result) is (cls is not FirstTokenTimeout)
    assert (result.success, result.returncode) == (False, -1)
    assert result.error is not None
    assert result.error.partial == result.stream_result


@pytest.mark.req("seed-D")
async def test_what_the_provider_asks_for_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    """Instead of our own waits; and more than it is worth waiting for is a failure at once."""
    waits = noted_waits(monkeypatch)
    busy = Answer.error(status=503, headers={"retry-after": "7"})
    async with serving([busy, busy, DONE], retry=2) as (server, client):
        assert (await client.prompt("Hi")).success
        assert waits == [7, 7]
    async with serving(Answer.error(status=503, headers={"retry-after": "86400"}), retry=2) as (server, client):
        result = await client.prompt("Hi")
        assert (result.success, len(server.requests)) == (False, 1)
        assert result.error is not None
        assert result.error.retry_after == 86400


class Odd:
    """A backend of one's own that fails with something nobody knows."""

    name = "odd"

    def __init__(self, *errors: LLMError | None) -> None:
        self.errors = list(errors)
        self.asked = 0

    def stream(self, request: Any) -> Any:
        self.asked += 1
        return _OddSource(self.errors.pop(0) if len(self.errors) > 1 else self.errors[0])

    async def aclose(self) -> None:
        pass


class _OddSource:
    def __init__(self, error: LLMError | None) -> None:
        answer: list[StreamEvent] = [StreamStart("odd-1"), TextDelta("fine"), Finish("stop")]
        self.batches: list[list[StreamEvent]] = [answer if error is None else [StreamError(error)]]

    def __aiter__(self) -> Any:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if not self.batches:
            raise StopAsyncIteration
        return self.batches.pop()

    async def aclose(self) -> None:
        pass

    def abort(self) -> None:
        pass


@pytest.mark.req("seed-D")
async def test_unknown_errors_are_retried_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plainly: without a wait, as often as the others, and then a failure with the words of it."""
    waits = noted_waits(monkeypatch)
    odd = Odd(UnknownError("what?"), UnknownError("what?"), None)
    async with Client(odd, retry=2) as client:
        result = await client.prompt("Hi")
        assert (result.result, odd.asked, waits) == ("fine", 3, [])
    odd = Odd(UnknownError("exit status 3"))
    async with Client(odd, retry=2) as client:
        result = await client.prompt("Hi")
        assert (result.success, odd.asked, waits) == (False, 3, [])
    assert "exit status 3" in result.stderr
    assert result.metadata.backend == "odd"


@pytest.mark.req("seed-D")
async def test_a_server_error_that_is_final_is_not_retried() -> None:
    """One that says that another try is of no use."""
    odd = Odd(ServerError("the process is gone", retryable=False))
    async with Client(odd, retry=FAST) as client:
        result = await client.prompt("Hi")
    assert (result.success, odd.asked) == (False, 1)


# ---- the output limit


@pytest.mark.req("seed-D")
async def test_a_cut_answer_is_asked_for_once_more() -> None:
    """Then it is a failure, with what there was of the last one."""
    cut = Answer(["The weather in Oslo", Finish("length")])
    async with serving([cut, DONE], retry=FAST) as (server, client):
        result = await client.prompt("Hi")
        assert (result.success, result.result, len(server.requests)) == (True, "It is 21 degrees.", 2)
        assert len(server.requests[1].json["messages"]) == 1
    async with serving(cut, retry=FAST) as (server, client):
        result = await client.prompt("Hi")
        assert len(server.requests) == 2
    assert (result.success, result.returncode, result.result) == (False, -1, "The weather in Oslo")
    assert isinstance(result.error, MaxOutputTokensError)
    assert result.error.partial_text == "The weather in Oslo"
    assert result.metadata.finish_reason == "length"
    assert "max_tokens" in result.stderr


class City(Struct):
    name: str
    inhabitants: int


OSLO = '{"name": "Oslo", "inhabitants": 700000}'


@pytest.mark.req("seed-D")
async def test_a_cut_object_is_asked_for_once_more() -> None:
    """The same where the answer is to be an object; a whole object is an answer, wherever the limit was."""
    cut = Answer([OSLO[:20], Finish("length")])
    async with serving(cut, retry=FAST) as (server, client):
        result = await client.prompt("Oslo?", output=City)
        assert len(server.requests) == 2
    assert isinstance(result.error, MaxOutputTokensError)
    assert (result.result, result.output) == (OSLO[:20], None)
    async with serving(Answer([OSLO, Finish("length")]), retry=FAST) as (_, client):
        result = await client.prompt("Oslo?", output=City)
    assert (result.success, result.output) == (True, City("Oslo", 700000))


async def test_an_answer_that_is_not_what_was_asked_for() -> None:
    """The loop has it mended once; then it is a failure with its text, and no more requests."""
    async with serving(Answer.text("I like Oslo."), retry=FAST) as (server, client):
        result = await client.prompt("Oslo?", output=City)
        assert len(server.requests) == 2
    assert isinstance(result.error, InvalidOutputError)
    assert (result.success, result.returncode, result.result, result.output) == (False, -1, "I like Oslo.", None)


@pytest.mark.req("seed-D", "seed-C")
async def test_a_blocked_answer_is_raised() -> None:
    """An answer that ends because of its content is no success, and not asked for again."""
    async with serving(Answer(["I think", Finish("content_filter")]), retry=FAST) as (server, client):
        with pytest.raises(ContentBlockedError) as caught:
            await client.prompt("Hi")
        assert len(server.requests) == 1
    assert caught.value.partial is not None
    assert caught.value.partial.text == "I think"


@pytest.mark.req("seed-D")
async def test_an_answer_that_ends_with_an_error_is_retried() -> None:
    """`finish_reason: error` is the provider's failure."""
    odd = Answer.raw(
        b'data: {"choices":[{"index":0,"delta":{"content":"Hm"},"finish_reason":"error"}]}\n\ndata: [DONE]\n\n'
    )
    async with serving([odd, DONE], retry=FAST) as (server, client):
        result = await client.prompt("Hi")
        assert (result.result, len(server.requests)) == ("It is 21 degrees.", 2)


# ---- empty answers


@pytest.mark.req("seed-D")
async def test_no_answer_at_all_is_asked_for_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times after a second; then it is the answer. A client without retries asks once."""
    waits = noted_waits(monkeypatch)
    empty = Answer([Finish("stop")])
    async with serving(empty, retry=2) as (server, client):
        result = await client.prompt("Hi")
        assert (result.success, result.result, len(server.requests), waits) == (True, "", 4, [1, 1, 1])
        assert len((await client.prompt("Hi", retry=0)).messages) == 1
        assert len(server.requests) == 5
    async with serving([calls(call(city="Oslo")), empty], retry=2) as (server, client):
        result = await client.prompt("Hi", tools=[Weather()])
        assert (result.success, result.result, len(server.requests)) == (True, "", 2)
