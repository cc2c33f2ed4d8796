"""The Responses wire through the whole client, over a socket: answers, errors, resumption, ChatGPT, SDK clients."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest

from asyncllm import (
    AuthenticationError,
    Client,
    ContextLengthExceededError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    OverloadedError,
    RateLimitError,
    Retrying,
    StreamStart,
    TextDelta,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
)
from asyncllm.backends import _http_source
from asyncllm.testing import (
    Answer,
    Cut,
    ErrorAfter,
    Gzip,
    HoldOpen,
    KeepAlive,
    NoFinish,
    ReceivedRequest,
    Server,
    Split,
    Stall,
    Trailing,
)

WEATHER = Tool("weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})


@asynccontextmanager
async def asking(
    script: Any, model: str = "openai-responses/gpt-x", *, any_path: bool = False, **options: Any
) -> AsyncIterator[tuple[Client, Server]]:
    options = {"api_key": "k", "retry": 0, "timeout": 20, **options}
    async with (
        Server(script, any_path=any_path) as server,
        Client(model, base_url=server.base_url, **options) as client,
    ):
        yield client, server


# ---- answers


async def test_text_reasoning_tools_and_their_results() -> None:
    """A whole exchange: what the model thought and asked for goes back, and the answer comes."""
    script = [
        Answer.tool_call("weather", {"city": "Oslo"}),
        Answer.text("It rains.", reasoning="I looked."),
    ]
    async with asking(script) as (client, server):
        asked = await client.complete("Rain in Oslo?", tools=[WEATHER], system="Be brief.", reasoning="low")
        (call,) = asked.tool_calls
        assert (call.name, call.arguments) == ("weather", {"city": "Oslo"})
        result = Message("tool", [ToolResult(call.id, call.name, "rain")])
        answered = await client.complete([*asked.messages, result], tools=[WEATHER])
    assert (answered.text, answered.reasoning, answered.finish_reason) == ("It rains.", "I looked.", "stop")
    first, second = (request.json for request in server.requests)
    assert server.requests[0].path == "/v1/responses"
    assert server.requests[0].headers["authorization"] == "Bearer k"
    assert (first["instructions"], first["reasoning"]["effort"], first["store"]) == ("Be brief.", "low", False)
    assert [item.get("type", item.get("role")) for item in second["input"]] == [
        "user",
        "function_call",
        "function_call_output",
    ]


async def test_structured_output() -> None:
    """By the API's own means."""
    async with asking(Answer(['{"name": "Oslo"}'])) as (client, server):
        schema = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
        reply = await client.complete("Which city?", output=schema)
    assert reply.output == {"name": "Oslo"}
    assert server.requests[0].json["text"]["format"]["type"] == "json_schema"


@pytest.mark.parametrize(
    "fault",
    [
        Split(1),
        Gzip(),
        KeepAlive(2, 1),
        HoldOpen(),
        Trailing(b'data: {"type":"response.output_text.delta","delta":"late"}\n\n'),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_what_servers_do_that_changes_nothing(fault: Any) -> None:
    """Cut anywhere, compressed, with keep-alives, held open, or with something after the end."""
    async with asking(Answer.text("one two three", faults=[fault])) as (client, _), client.stream("Hi") as stream:
        events = [event async for event in stream]
        check_order(events)
        assert (await stream.reply()).text == "one two three"


@pytest.mark.req("B1", "C1", "C7")
async def test_streams_that_break() -> None:
    """Without its last event, cut, or failed midway: the error, with what had come."""
    for fault, expected in (
        (NoFinish(), IncompleteStreamError),
        (Cut(2600), IncompleteStreamError),
        (ErrorAfter(3, OverloadedError("busy")), OverloadedError),
    ):
        async with asking(Answer.text("one two three", faults=[fault])) as (client, server):
            with pytest.raises(expected) as caught:
                await client.complete("Hi")
            assert caught.value.partial is not None
            assert "one two three".startswith(caught.value.partial.text)
            assert caught.value.partial.text
            assert len(server.requests) == 1


@pytest.mark.req("C3")
async def test_an_error_before_the_first_word_is_tried_again() -> None:
    """In the stream as on its status."""
    busy = OverloadedError("busy", retry_after=0.001)
    for first in (Answer.error(busy), Answer.text("x", faults=[ErrorAfter(0, busy)])):
        async with asking([first, Answer.text("at last")], retry=1) as (client, _), client.stream("Hi") as stream:
            events = [event async for event in stream]
        assert any(isinstance(event, Retrying) for event in events)
        assert "".join(event.text for event in events if isinstance(event, TextDelta)) == "at last"


@pytest.mark.req("seed-C")
@pytest.mark.parametrize(
    ("status", "given", "expected"),
    [
        (400, {"error": {"message": "too long", "code": "context_length_exceeded"}}, ContextLengthExceededError),
        (400, {"error": {"message": "x", "type": "invalid_request_error", "param": "input"}}, InvalidRequestError),
        (401, {"error": {"message": "Incorrect API key provided", "code": "invalid_api_key"}}, AuthenticationError),
        (404, {"error": {"message": "no such model", "code": "model_not_found"}}, NotFoundError),
        (429, {"error": {"message": "slow", "code": "rate_limit_exceeded"}}, RateLimitError),
        (400, {"detail": "Store must be set to false"}, InvalidRequestError),
        (401, {"detail": "Unauthorized"}, AuthenticationError),
    ],
)
async def test_errors_by_their_status(status: int, given: dict[str, Any], expected: type[LLMError]) -> None:
    """Of OpenAI's form, and of the ChatGPT backend's."""
    answer = Answer.raw(json.dumps(given).encode(), content_type="application/json", status=status)
    async with asking(answer) as (client, _):
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi")
    assert type(caught.value) is expected
    assert caught.value.status == status


async def test_a_model_that_does_not_reason_is_asked_without() -> None:
    """It refuses to encrypt its reasoning: the request is said once more, and the next one at once as the server wants it."""
    refusal = InvalidRequestError("Encrypted content is not supported with this model.", status=400)
    async with asking([Answer.error(refusal), Answer.text("ok")]) as (client, server):
        assert (await client.complete("Hi")).text == "ok"
        assert (await client.complete("Hi")).text == "ok"
    assert ["include" in request.json for request in server.requests] == [True, False, False]


# ---- resumption (H18)

FRAMES: list[dict[str, Any]] = [
    {
        "type": "response.created",
        "response": {"id": "resp_1", "status": "queued", "background": True, "model": "gpt-x"},
    },
    {
        "type": "response.output_item.added",
        "output_index": 0,
        "item": {"id": "msg_1", "type": "message", "content": []},
    },
    *(
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 0, "item_id": "msg_1", "delta": word}
        for word in ("one", " two", " three", " four")
    ),
    {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "output": []}},
]
BACKGROUND = {"background": True, "store": True}
Faults = Callable[[int], dict[str, Any]]


def events_after(seen: int) -> list[bytes]:
    numbered = [{**frame, "sequence_number": at} for at, frame in enumerate(FRAMES)]
    return [f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode() for frame in numbered[seen + 1 :]]


def asked_after(request: ReceivedRequest) -> int:
    return int(request.path.rpartition("starting_after=")[2]) if "starting_after=" in request.path else -1


def cutting(*at: int, reset: bool = False) -> Callable[[ReceivedRequest], Answer]:
    """A server that cuts its n-th answer after so many bytes, and gives what is left of the response when asked."""
    left = list(at)

    def answer(request: ReceivedRequest) -> Answer:
        faults = [Cut(left.pop(0), reset=reset)] if left else []
        return Answer.raw(events_after(asked_after(request)), faults=faults)

    return answer


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pauses between tries."""
    monkeypatch.setattr(_http_source, "RESUMPTIONS", (0.0, 0.0, 0.0))


WHOLE = sum(map(len, events_after(-1)))


@pytest.mark.req("H18")
@pytest.mark.parametrize("at", range(len(events_after(-1)[0]), WHOLE, 61))
async def test_a_background_response_goes_on_where_it_broke(at: int) -> None:
    """Cut after any byte: nothing is lost and nothing said twice, and the caller sees one stream."""
    async with asking(cutting(at), any_path=True) as (client, server):
        async with client.stream("Hi", extra_body=BACKGROUND) as stream:
            events = [event async for event in stream]
    check_order(events)
    texts = [event.text for event in events if isinstance(event, TextDelta)]
    assert [text for text in texts if text] == ["one", " two", " three", " four"]
    assert sum(isinstance(event, StreamStart) for event in events) == 1
    first, second = server.requests
    assert (first.method, first.path, first.json["background"]) == ("POST", "/v1/responses", True)
    assert (second.method, second.path.partition("?")[0], second.body) == ("GET", "/v1/responses/resp_1", b"")
    assert "stream=true" in second.path
    assert second.headers["authorization"] == "Bearer k"


@pytest.mark.req("H18")
@pytest.mark.parametrize("reset", [False, True])
async def test_it_may_break_more_than_once(reset: bool) -> None:
    """Each time it goes on, for as long as something comes."""
    one = len(events_after(-1)[0])
    cuts = [one + 10, *[300] * 4]
    async with asking(cutting(*cuts, reset=reset), any_path=True) as (client, server):
        assert (await client.complete("Hi", extra_body=BACKGROUND)).text == "one two three four"
    assert len(server.requests) > 4


@pytest.mark.req("H18")
@pytest.mark.usefixtures("at_once")
async def test_the_tries_to_go_on_are_bounded() -> None:
    """A server that is away for a moment is asked again; one that stays away, or forgot the response, ends the stream."""
    busy = Answer.error(OverloadedError("away"))
    start = Answer.raw(events_after(-1), faults=[Cut(700)])
    rest = cutting()

    def once_away(request: ReceivedRequest) -> Answer:
        return start if request.method == "POST" else busy if len(server.requests) == 2 else rest(request)

    async with asking(once_away, any_path=True) as (client, server):
        assert (await client.complete("Hi", extra_body=BACKGROUND)).text == "one two three four"
    forgot = Answer.error(NotFoundError("no such response", status=404))
    for away, requests in ((busy, 4), (forgot, 2), (Answer.raw(b""), 4)):
        async with asking([start, away], any_path=True) as (client, server):
            with pytest.raises(IncompleteStreamError) as caught:
                await client.complete("Hi", extra_body=BACKGROUND)
            assert caught.value.partial is not None
            assert caught.value.partial.text.startswith("one")
            assert len(server.requests) == requests


@pytest.mark.req("H18", "H12")
async def test_only_what_runs_in_the_background_goes_on() -> None:
    """Another response ends with its connection: nothing is asked again."""
    plain = [json.loads(frame.partition(b"data: ")[2]) for frame in events_after(-1)]
    plain[0]["response"]["background"] = False
    body = b"".join(f"data: {json.dumps(frame)}\n\n".encode() for frame in plain)
    async with asking(Answer.raw(body, faults=[Cut(700)]), any_path=True) as (client, server):
        with pytest.raises(IncompleteStreamError):
            await client.complete("Hi")
    assert len(server.requests) == 1


@pytest.mark.req("H18")
async def test_a_response_is_continued_by_hand() -> None:
    """By its id, in another process: from its beginning, or after an event; through a user's own SDK client, too."""
    async with asking(cutting(), any_path=True) as (client, server):
        again = await client.complete("", extra_body={"response_id": "resp_1"})
        assert (again.text, again.id) == ("one two three four", "resp_1")
        rest = await client.complete("", extra_body={"response_id": "resp_1", "starting_after": 3})
        assert (rest.text, rest.id) == (" three four", "resp_1")
        async with openai.AsyncOpenAI(api_key="own", base_url=server.base_url) as own:
            async with Client("openai-responses/gpt-x", http_client=own) as sdk:
                assert (await sdk.complete("", extra_body={"response_id": "resp_1"})).text == "one two three four"
                server.play(cutting(700))
                assert (await sdk.complete("Hi", extra_body=BACKGROUND)).text == "one two three four"
    assert [request.method for request in server.requests[-2:]] == ["POST", "GET"]
    assert server.requests[-1].headers["authorization"] == "Bearer own"


@pytest.mark.req("H1", "H3")
async def test_leaving_closes_the_connection() -> None:
    """Also while it waits for more."""
    async with asking(Answer.text("one two three", faults=[Stall(1)])) as (client, server):
        async with client.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        await server.wait_closed()


# ---- who asks


async def test_a_missing_key_says_which_variable() -> None:
    """Before anything is sent."""
    for model, variable in (
        ("openai-responses/m", "OPENAI_API_KEY"),
        ("azure-responses/m", "AZURE_OPENAI_API_KEY"),
        ("chatgpt/m", "CHATGPT_ACCESS_TOKEN"),
    ):
        async with asking(Answer.text("x"), model, api_key=None) as (client, server):
            with pytest.raises(AuthenticationError, match=variable):
                await client.complete("Hi")
            assert server.requests == []


async def test_azure_has_its_own_header() -> None:
    """A key goes in api-key, a token of Entra ID in Authorization."""
    async with asking(Answer.text("x"), "azure-responses/m") as (client, server):
        await client.complete("Hi")
    assert server.requests[0].headers["api-key"] == "k"
    async with asking(Answer.text("x"), "azure-responses/m", api_key=None, token_provider=lambda: "t") as (
        client,
        server,
    ):
        await client.complete("Hi")
    assert server.requests[0].headers["authorization"] == "Bearer t"


def jwt(claims: object) -> str:
    parts = [json.dumps({"alg": "none"}), json.dumps(claims), "signature"]
    return ".".join(base64.urlsafe_b64encode(part.encode()).decode().rstrip("=") for part in parts)


LOGIN = jwt({"https://api.openai.com/auth": {"chatgpt_account_id": "acc-1"}, "sub": "é"})


@pytest.mark.req("seed-A13")
async def test_the_chatgpt_backend() -> None:
    """The token of a login as Bearer, the account from its claims, and what the backend insists on."""
    for how in ({"api_key": LOGIN}, {"api_key": None, "token_provider": lambda: LOGIN}):
        async with asking(Answer.text("Hello"), "chatgpt/gpt-x", **how) as (client, server):  # type: ignore[arg-type]
            reply = await client.complete("Hi", max_tokens=9, temperature=0.1)
        assert reply.text == "Hello"
        assert len(reply.warnings) == 2
        (request,) = server.requests
        assert request.headers["authorization"] == f"Bearer {LOGIN}"
        assert request.headers["chatgpt-account-id"] == "acc-1"
        assert request.headers["originator"] == "asyncllm"
        assert (request.json["store"], request.json["stream"]) == (False, True)
        assert request.json["instructions"]
        assert not {"max_output_tokens", "temperature", "stream_options"} & set(request.json)
        assert LOGIN not in repr(client) + repr(reply)


@pytest.mark.req("seed-A13")
@pytest.mark.parametrize(
    "token",
    [
        "opaque",
        "a.b.c",
        jwt([1]),
        jwt({"https://api.openai.com/auth": 1}),
        jwt({}),
        jwt({"https://api.openai.com/auth": {"chatgpt_account_id": "a\nb"}}),
    ],
)
async def test_a_token_without_an_account(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent, and the token is not shown; unless the account is given, by a header or by the environment."""
    async with asking(Answer.text("x"), "chatgpt/m", api_key=token) as (client, server):
        with pytest.raises(AuthenticationError, match="CHATGPT_ACCOUNT_ID") as caught:
            await client.complete("Hi")
        assert server.requests == []
        assert token not in repr(caught.value)
        monkeypatch.setenv("CHATGPT_ACCOUNT_ID", "acc-env")
        await client.complete("Hi")
        assert server.requests[0].headers["chatgpt-account-id"] == "acc-env"
    monkeypatch.delenv("CHATGPT_ACCOUNT_ID")
    given = {"chatgpt-account-id": "acc-2", "originator": "mine"}
    async with asking(Answer.text("x"), "chatgpt/m", api_key=token, extra_headers=given) as (client, server):
        await client.complete("Hi")
    assert server.requests[0].headers["chatgpt-account-id"] == "acc-2"
    assert server.requests[0].headers["originator"] == "mine"


# ---- a user's own SDK client


@pytest.mark.parametrize("kind", ["openai", "azure"])
async def test_a_users_own_sdk_client(kind: str) -> None:
    """Its endpoint, credentials and headers carry this wire, too; errors are ours."""
    async with Server(
        [Answer.tool_call("weather", {"city": "Oslo"}), Answer.error(RateLimitError("slow"))], any_path=False
    ) as server:
        own: openai.AsyncOpenAI
        if kind == "openai":
            own = openai.AsyncOpenAI(api_key="own-key", base_url=server.base_url, default_headers={"x-own": "1"})
        else:
            endpoint = server.base_url.removesuffix("/v1")
            own = openai.AsyncAzureOpenAI(
                api_key="own-key", api_version="v", azure_endpoint=endpoint, default_headers={"x-own": "1"}
            )
        async with own, Client("openai-responses/gpt-x", http_client=own, retry=0) as client:
            async with client.stream("Rain?", tools=[WEATHER], reasoning="low", timeout=20) as stream:
                events = [event async for event in stream]
            check_order(events)
            assert [event.arguments for event in events if isinstance(event, ToolCall)] == [{"city": "Oslo"}]
            assert any(isinstance(event, Usage) for event in events)
            with pytest.raises(RateLimitError):
                await client.complete("Hi")
    (first, _) = server.requests
    assert first.path.partition("?")[0].endswith("/responses")
    assert first.headers["x-own"] == "1"
    assert "own-key" in (first.headers.get("authorization", "") + first.headers.get("api-key", ""))
    assert (first.json["store"], first.json["include"]) == (False, ["reasoning.encrypted_content"])
    assert (first.json["stream"], first.json["model"]) == (True, "gpt-x")
