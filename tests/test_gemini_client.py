"""Our client against the embedded server, on the Gemini wire over a real socket; and a user's own genai.Client."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import pytest
from google import genai
from google.oauth2.credentials import Credentials as StaticCredentials

from asyncllm import (
    AuthenticationError,
    Client,
    ContentBlockedError,
    IncompleteStreamError,
    InterTokenTimeout,
    InvalidRequestError,
    LLMError,
    Message,
    OverloadedError,
    Retrying,
    TextDelta,
    Timeout,
    ToolCall,
)
from asyncllm.events import (
    Finish,
    ProviderState,
    ReasoningDelta,
    StreamError,
    StreamStart,
    ToolCallDelta,
    ToolResult,
    Usage,
)
from asyncllm.events._errors import BY_KIND
from asyncllm.testing import Answer, Cut, ErrorAfter, Gzip, HoldOpen, KeepAlive, NoFinish, Server, Split, Stall, Wait

TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(autouse=True)
def _no_google_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "GOOGLE_CLOUD_PROJECT",
        "GOOGLE_CLOUD_LOCATION",
        "GOOGLE_GENAI_USE_VERTEXAI",
        "GOOGLE_GENAI_USE_ENTERPRISE",
    ):
        monkeypatch.delenv(name, raising=False)


@asynccontextmanager
async def asking(
    script: Any, model: str = "gemini/gemini-3-pro", **options: Any
) -> AsyncIterator[tuple[Client, Server]]:
    options = {"api_key": "a-key", "retry": 0, "timeout": 20, **options}
    async with Server(script) as server, Client(model, base_url=server.base_url, **options) as client:
        yield client, server


async def reply_to(answer: Answer, **options: Any) -> Any:
    async with asking(answer, **options) as (client, _):
        return await client.complete("Hi")


async def failure_of(answer: Any, **options: Any) -> LLMError:
    with pytest.raises(LLMError) as caught:
        await reply_to(answer, **options)
    return caught.value


async def test_everything_that_an_answer_has() -> None:
    """Thoughts, text, calls, usage and the end, as they were said; the key goes in its own header."""
    signed = ProviderState("gemini", {"id": "c1", "thoughtSignature": "c2ln"})
    events = [
        StreamStart("gemini-x", "r1"),
        ReasoningDelta("hm"),
        "Hello there",
        ToolCall("c1", "weather", {"city": "Oslo"}, '{"city":"Oslo"}', state=signed),
        Usage(input_tokens=5, output_tokens=4, reasoning_tokens=1),
    ]
    async with asking(Answer(events)) as (client, server):
        reply = await client.complete("Hi", tools=TOOLS, system="Be brief.", reasoning="low")
    assert (reply.model, reply.id, reply.text, reply.reasoning) == ("gemini-x", "r1", "Hello there", "hm")
    assert reply.tool_calls == [events[3]]
    assert (reply.finish_reason, reply.raw_finish_reason) == ("tool_calls", "STOP")
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reasoning_tokens) == (5, 4, 1)
    (asked,) = server.requests
    assert asked.path == "/v1/models/gemini-3-pro:streamGenerateContent?alt=sse"
    assert asked.headers["x-goog-api-key"] == "a-key"
    assert "authorization" not in asked.headers
    assert asked.asked.system == "Be brief."
    assert asked.asked.reasoning == "low"


@pytest.mark.req("E7")
async def test_a_tool_exchange_goes_round() -> None:
    """The second request has the call with its id and signature, and the result that belongs to it."""
    state = ProviderState("gemini", {"id": "c1", "thoughtSignature": "c2ln"})
    call = ToolCall("c1", "weather", {}, "{}", state=state)
    async with asking([Answer([call]), Answer.text("Sunny.")]) as (client, server):
        reply = await client.complete("Weather?", tools=TOOLS)
        again = await client.complete(
            [*reply.messages, Message("tool", [ToolResult("c1", "weather", "sun")])], tools=TOOLS
        )
    assert again.text == "Sunny."
    _, model, user = server.requests[1].json["contents"]
    assert model["parts"] == [{"functionCall": {"id": "c1", "name": "weather", "args": {}}, "thoughtSignature": "c2ln"}]
    assert user["parts"] == [{"functionResponse": {"id": "c1", "name": "weather", "response": {"output": "sun"}}}]


async def test_calls_in_fragments_arrive_whole() -> None:
    """What a script says in deltas is one call on this wire."""
    reply = await reply_to(Answer.tool_call("weather", {"city": "Oslo"}))
    assert [(call.name, call.arguments) for call in reply.tool_calls] == [("weather", {"city": "Oslo"})]
    malformed = await reply_to(Answer([ToolCallDelta(0, "c", "weather", '{"ci')]))
    assert (malformed.finish_reason, malformed.raw_finish_reason) == ("error", "MALFORMED_FUNCTION_CALL")


@pytest.mark.req("seed-A6", "C1")
@pytest.mark.parametrize("kind", BY_KIND)
async def test_errors_over_http_and_in_band(kind: str) -> None:
    """Every kind arrives as itself, before the answer and in its middle; what was said is in `.partial`."""
    error = BY_KIND[kind]("so it is")
    read_as = {"unknown": "server_error"}.get(kind, kind)  # a failure of which a server says no more is its own
    assert (await failure_of(Answer.error(error))).kind in (kind, read_as)
    inside = await failure_of(Answer.text("one two three", faults=[ErrorAfter(2, error)]))
    assert inside.kind in (kind, read_as)
    assert inside.partial is not None
    assert inside.partial.text == "one two"


@pytest.mark.req("C3", "H12")
async def test_an_error_before_any_content_is_retried() -> None:
    """In the body of a 200 as with a status; a blocked prompt never is."""
    script = [
        Answer([StreamError(OverloadedError("busy"))]),
        Answer.error(OverloadedError("busy")),
        Answer.text("at last"),
    ]
    async with asking(script, retry=3) as (client, server):
        async with client.stream("Hi") as stream:
            events = [event async for event in stream]
        assert sum(isinstance(event, Retrying) for event in events) == 2
        assert len(server.requests) == 3
        server.play(Answer([StreamError(ContentBlockedError("no", block_reason="SAFETY"))]))
        with pytest.raises(ContentBlockedError) as caught:
            await client.complete("Hi")
        assert caught.value.block_reason == "SAFETY"
        assert len(server.requests) == 4


@pytest.mark.req("seed-A6")
async def test_a_blocked_answer() -> None:
    """Nothing said: an error with its reason. Something said: a finish that tells of the filter."""
    error = await failure_of(Answer([Finish("content_filter", "PROHIBITED_CONTENT")]))
    assert isinstance(error, ContentBlockedError)
    assert error.block_reason == "PROHIBITED_CONTENT"
    reply = await reply_to(Answer(["Par", Finish("content_filter", "SAFETY")]))
    assert (reply.text, reply.finish_reason, reply.raw_finish_reason) == ("Par", "content_filter", "SAFETY")


@pytest.mark.parametrize(
    "faults",
    [[Split(1)], [Split([3, 1, 50])], [KeepAlive(before=2, between=1)], [Gzip()], [Gzip(), Split(1)]],
    ids=repr,
)
async def test_harmless_faults_change_nothing(faults: Any) -> None:
    """Cuts anywhere, comments, compression."""
    assert (await reply_to(Answer.text("Grüße 🎉 you", faults=faults))).text == "Grüße 🎉 you"


@pytest.mark.req("B1")
@pytest.mark.parametrize("faults", [[NoFinish()], [Cut(300)], [Cut(300, reset=True)]], ids=repr)
async def test_a_stream_without_its_end(faults: Any) -> None:
    """Never a silent success."""
    error = await failure_of(Answer.text("one two three four", faults=faults))
    assert isinstance(error, IncompleteStreamError)
    assert error.partial is not None
    assert "one two three four".startswith(error.partial.text)


@pytest.mark.req("B2", "G10")
async def test_a_connection_held_open_after_the_end() -> None:
    """The finish was said: after a moment for the tail, the stream is over."""
    async with asking(Answer.text("one", faults=[HoldOpen(Wait())])) as (client, server):
        assert (await client.complete("Hi")).finish_reason == "stop"
        await server.wait_closed()


@pytest.mark.req("H9")
async def test_a_stall_runs_into_our_timeout() -> None:
    """Silence in the middle is a typed error, and the server sees us go."""
    limits = Timeout(inter_token=0.05)
    async with asking(Answer.text("one two", faults=[Stall(1)]), timeout=limits) as (client, server):
        with pytest.raises(InterTokenTimeout):
            await client.complete("Hi")
        await server.wait_closed()


@pytest.mark.req("H3")
async def test_leaving_early_closes_the_connection() -> None:
    """At once, with a break out of the loop."""
    async with asking(Answer.text("one two", faults=[Stall(1)])) as (client, server):
        async with client.stream("Hi") as stream:
            async for event in stream:
                if isinstance(event, TextDelta):
                    break
        await server.wait_closed()


@pytest.mark.req("G9")
async def test_a_dialect_is_learnt() -> None:
    """A version without JSON Schema, or a model that is told to think in another way: said once more so, and remembered."""

    def refusal(message: str) -> Answer:
        return Answer.error(InvalidRequestError(message, status=400))

    unknown = "Invalid JSON payload received. Unknown name \"parametersJsonSchema\" at 'tools[0]': Cannot find field."
    script = [
        refusal(unknown),
        refusal("Thinking level MEDIUM is not supported for this model. Please retry with other thinking level."),
        Answer.text("Hello"),
    ]
    async with asking(script) as (client, server):
        for _ in range(2):
            assert (await client.complete("Hi", tools=TOOLS, reasoning="medium")).text == "Hello"
    bodies = [request.json for request in server.requests]
    assert len(bodies) == 4
    assert [("parametersJsonSchema" in str(body)) for body in bodies] == [True, False, False, False]
    levels = [body["generationConfig"]["thinkingConfig"]["thinkingLevel"] for body in bodies]
    assert levels == ["MEDIUM", "MEDIUM", "HIGH", "HIGH"]
    script = [refusal("thinking_level is not supported by this model"), Answer.text("Hello")]
    async with asking(script, "gemini/tunedModels/mine") as (client, server):
        assert (await client.complete("Hi", reasoning="low")).text == "Hello"
    assert server.requests[1].json["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 4096
    error = await failure_of(refusal("tools[0] is wrong"))
    assert error.message == "tools[0] is wrong"


async def test_credentials_of_the_gemini_api(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables in their order; tokens are bearers; without any, the message says what to set."""
    monkeypatch.delenv("GEMINI_API_KEY", raising=False)
    error = await failure_of(Answer.text("a"), api_key=None)
    assert isinstance(error, AuthenticationError)
    assert "GEMINI_API_KEY or GOOGLE_API_KEY" in error.message
    monkeypatch.setenv("GOOGLE_API_KEY", "second")
    async with asking(Answer.text("a"), api_key=None) as (client, server):
        await client.complete("Hi")
        monkeypatch.setenv("GEMINI_API_KEY", "first")
        await client.complete("Hi")
    assert [request.headers["x-goog-api-key"] for request in server.requests] == ["second", "first"]
    async with asking(Answer.text("a"), api_key=None, token_provider=lambda: "oauth") as (client, server):
        await client.complete("Hi")
    assert server.requests[0].headers["authorization"] == "Bearer oauth"
    assert "x-goog-api-key" not in server.requests[0].headers


async def test_the_base_url_of_the_sdk_s_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which has no version in it."""
    async with Server(Answer.text("a")) as server:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", server.base_url.removesuffix("/v1"))
        async with Client("gemini/m", api_key="k") as client:
            await client.complete("Hi")
    assert server.requests[0].path.startswith("/v1beta/models/m:")


# ---- a user's own genai.Client


def options_of(server: Server, **more: Any) -> Any:
    return {"base_url": server.base_url.removesuffix("/v1"), "headers": {"x-team": "blue"}, **more}


async def test_a_genai_client_of_the_gemini_api() -> None:
    """Its endpoint, version, headers and key; and its asynchronous side is as good."""
    async with Server(Answer.text("Hello")) as server:
        theirs = genai.Client(api_key="their-key", http_options=options_of(server, api_version="v1beta"))
        for given in (theirs, theirs.aio):
            async with Client("gemini/gemini-3-pro", http_client=given) as client:
                assert (await client.complete("Hi")).text == "Hello"
        await theirs.aio.aclose()
    for asked in server.requests:
        assert asked.path == "/v1beta/models/gemini-3-pro:streamGenerateContent?alt=sse"
        assert asked.headers["x-goog-api-key"] == "their-key"
        assert asked.headers["x-team"] == "blue"


@pytest.mark.parametrize("name", ["gemini", "vertex"])
async def test_a_genai_client_of_vertex(name: str) -> None:
    """Its project, location and credentials, whichever of the two names is used."""
    async with Server(Answer.text("Hello")) as server:
        theirs = genai.Client(
            vertexai=True,
            project="p",
            location="europe-west4",
            credentials=StaticCredentials("their-token", quota_project_id="pays"),
            http_options=options_of(server),
        )
        async with Client(f"{name}/gemini-3-pro", http_client=theirs) as client:
            assert (await client.complete("Hi")).text == "Hello"
        await theirs.aio.aclose()
    (asked,) = server.requests
    path = "/v1beta1/projects/p/locations/europe-west4/publishers/google/models/gemini-3-pro"
    assert asked.path == f"{path}:streamGenerateContent?alt=sse"
    assert asked.headers["authorization"] == "Bearer their-token"
    assert asked.headers["x-goog-user-project"] == "pays"
    assert asked.headers["x-team"] == "blue"


async def test_a_genai_client_of_a_gateway() -> None:
    """With a base URL of its own and no credentials its headers say who asks."""
    async with Server(Answer.text("Hello")) as server:
        options = options_of(server, headers={"authorization": "Bearer gateway"})
        theirs = genai.Client(vertexai=True, http_options=options)
        async with Client("vertex/m", http_client=theirs) as client:
            assert (await client.complete("Hi")).text == "Hello"
        await theirs.aio.aclose()
    (asked,) = server.requests
    assert asked.path == "/v1beta1/publishers/google/models/m:streamGenerateContent?alt=sse"
    assert asked.headers["authorization"] == "Bearer gateway"


async def test_a_client_of_another_wire_is_refused() -> None:
    """An SDK's client is the source of its own wires only."""
    theirs = genai.Client(api_key="k")
    with pytest.raises(InvalidRequestError, match="openai cannot be asked through a client of google-genai"):
        Client("openai/m", http_client=theirs)
    with pytest.raises(InvalidRequestError, match="gemini cannot be asked through a client of openai"):
        Client("gemini/m", http_client=openai.AsyncOpenAI(api_key="k"))
    with pytest.raises(InvalidRequestError, match=r"neither an httpx2\.AsyncClient nor an SDK's client"):
        Client("gemini/m", http_client=object())
    await theirs.aio.aclose()


async def test_many_streams_at_once() -> None:
    """One client, fifty streams, each with its own text."""
    async with asking(lambda request: Answer.text(request.asked.messages[0].text)) as (client, _):
        replies = await asyncio.gather(*(client.complete(f"number {at}") for at in range(50)))
    assert [reply.text for reply in replies] == [f"number {at}" for at in range(50)]
