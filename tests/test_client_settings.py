"""Which server is asked, and as whom: providers, base URLs, credentials, the user's own clients."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from _chat import answers, bodies, client_of, error_answer, stalling
from _rawserver import SOON, RawServer
from _replay import ROLE, http, said, sse, text

from asyncllm import (
    AuthenticationError,
    Client,
    ConnectionFailedError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    RateLimitError,
    Timeout,
    providers,
)
from asyncllm.backends import VENDORS, Credentials, Settings, Vendor, make_backend
from asyncllm.backends._vendors import BY_NAME

HELLO = http(said("Hello"))


def header(server: RawServer, name: str) -> str | None:
    return server.requests[-1].header(name)


def where(spec: str, **fields: Any) -> str:
    backend, _ = make_backend(spec, Settings(http=httpx2.AsyncClient, **fields))
    return backend.where  # type: ignore[attr-defined,no-any-return]


# ---- providers


@pytest.mark.req("seed-A2")
def test_unknown_provider_names_the_nearest() -> None:
    """A misspelt provider is corrected in the error, and all are listed."""
    with pytest.raises(InvalidRequestError, match="did you mean groq/llama") as caught:
        Client("grokq/llama")
    assert "openrouter" in str(caught.value)


@pytest.mark.parametrize("spec", ["gpt-5", "openai/", "", "nothing-like-it/x"])
def test_a_model_that_cannot_be_placed_says_how_to_write_it(spec: str) -> None:
    """No provider, no model, or neither: the message shows the form."""
    with pytest.raises(InvalidRequestError, match=r"provider/model|/<model>|known:"):
        Client(spec)


@pytest.mark.req("seed-A1")
async def test_a_bare_model_with_a_base_url_is_any_compatible_server() -> None:
    """A server of one's own needs no provider name and no key."""
    async with answers(HELLO) as server, Client("my-model", base_url=f"{server.url}/v1/") as client:
        assert (await client.complete("Hi")).text == "Hello"
        assert repr(client) == "Client(openai-compatible/my-model)"
    assert header(server, "authorization") is None
    assert server.requests[0].line == b"POST /v1/chat/completions HTTP/1.1"
    assert bodies(server)[0]["model"] == "my-model"


@pytest.mark.req("seed-A2")
def test_every_vendor_makes_a_backend(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each row, and each of its other names, gives a backend at an absolute URL."""
    for vendor in VENDORS:
        for variables in vendor.fields.values():
            monkeypatch.setenv(variables[0], "filled")
        for name in (vendor.name, *vendor.aliases):
            url = where(f"{name}/some/model")
            assert httpx2.URL(url).scheme in ("http", "https")
            assert "{" not in url
    assert set(providers()) >= {
        "openai",
        "azure",
        "fireworks",
        "groq",
        "openrouter",
        "ollama",
        "vllm",
        "deepseek",
        "mistral",
        "demo",
    }
    assert len(VENDORS) >= 37
    assert len(BY_NAME) == sum(1 + len(vendor.aliases) for vendor in VENDORS)


@pytest.mark.req("seed-A3", "seed-A4")
def test_local_presets_need_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """vLLM listens on port 8200 with the key "vllm", Ollama on 11434, by default."""
    for name in ("VLLM_BASE_URL", "OLLAMA_BASE_URL", "VLLM_API_KEY", "OLLAMA_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    assert where("vllm/m") == "http://localhost:8200/v1"
    assert where("ollama/m") == "http://localhost:11434/v1"
    assert BY_NAME["vllm"].default_key == "vllm"
    assert Credentials("vllm", env=("VLLM_API_KEY",), default="vllm").source == "none needed"


@pytest.mark.parametrize(
    "endpoint", ["https://r.openai.azure.com", "https://r.openai.azure.com/", "https://r.openai.azure.com/openai/v1/"]
)
def test_azure_endpoints(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Azure's endpoint variable is taken with or without the path of its v1 API."""
    monkeypatch.setenv("AZURE_OPENAI_ENDPOINT", endpoint)
    assert where("azure/gpt") == "https://r.openai.azure.com/openai/v1"
    monkeypatch.delenv("AZURE_OPENAI_ENDPOINT")
    assert where("azure/gpt", options={"resource": "mine"}) == "https://mine.openai.azure.com/openai/v1"
    with pytest.raises(InvalidRequestError, match="resource=, or the environment variable AZURE_OPENAI_RESOURCE"):
        where("azure/gpt")


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "http://[::1"])
def test_a_base_url_that_is_none(url: str) -> None:
    """A base URL without scheme or host is refused at once."""
    with pytest.raises(InvalidRequestError, match="base_url"):
        Client("openai/x", base_url=url)


def test_unknown_backend_options_are_told() -> None:
    """A misspelt option is not swallowed; the known ones are named; a wrong value is told."""
    with pytest.raises(InvalidRequestError, match=r"temprature.*think_tags"):
        Client("openai/x", temprature=1)
    with pytest.raises(InvalidRequestError, match="think_tags"):
        Client("openai/x", think_tags="yes")
    with pytest.raises(InvalidRequestError, match="base_url="):
        Client("openai-compatible/x")


async def test_query_parameters_of_the_base_url_are_kept() -> None:
    """Azure's older endpoints carry `?api-version=`: the path goes before it."""
    async with (
        answers(HELLO) as server,
        Client(
            "azure/gpt", base_url=f"{server.url}/openai/deployments/d?api-version=2024-10-21", api_key="k"
        ) as client,
    ):
        await client.complete("Hi")
    assert server.requests[0].line == b"POST /openai/deployments/d/chat/completions?api-version=2024-10-21 HTTP/1.1"
    assert header(server, "api-key") == "k"
    assert header(server, "authorization") is None


# ---- credentials


@pytest.mark.req("seed-A1")
async def test_a_missing_key_names_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a byte is sent: which variable to set."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    async with answers(HELLO) as server, client_of(server, "openai/gpt-5", retry=2) as client:
        with pytest.raises(AuthenticationError, match="set the environment variable OPENAI_API_KEY or pass api_key="):
            await client.stream("Hi")
    assert server.opened == 0


@pytest.mark.req("seed-A1")
async def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_API_KEY and OPENAI_BASE_URL are enough; an argument wins over them."""
    async with answers(HELLO) as server:
        monkeypatch.setenv("OPENAI_API_KEY", " env-key\n")
        monkeypatch.setenv("OPENAI_BASE_URL", f"{server.url}/v1")
        async with Client("openai/gpt-5") as client:
            await client.complete("Hi")
        assert header(server, "authorization") == "Bearer env-key"
        async with Client("openai/gpt-5", api_key="arg-key") as client:
            await client.complete("Hi")
    assert header(server, "authorization") == "Bearer arg-key"


@pytest.mark.req("seed-A1")
@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_token_providers_are_asked_for_every_request(kind: str) -> None:
    """A rotating token: each request, retries too, carries a fresh one."""
    count = 0

    def token() -> str:
        nonlocal count
        count += 1
        return f"token-{count}"

    async def async_token() -> str:
        return token()

    async with answers(error_answer(500), HELLO) as server:
        provider = token if kind == "sync" else async_token
        async with client_of(
            server, "azure/gpt", token_provider=provider, retry=1, extra_headers={"X-Team": "a"}
        ) as client:
            await client.complete("Hi")
            await client.complete("Hi", extra_headers={"X-Team": "b"})
    assert [request.header("authorization") for request in server.requests] == [
        f"Bearer token-{at}" for at in (1, 2, 3)
    ]
    assert [request.header("x-team") for request in server.requests] == ["a", "a", "b"]


@pytest.mark.parametrize("given", ["", None, b"bytes"])
async def test_a_token_provider_that_gives_no_token(given: Any) -> None:
    """What is not a token is an AuthenticationError, not a strange header."""
    async with answers(HELLO) as server, client_of(server, token_provider=lambda: given) as client:
        with pytest.raises(AuthenticationError, match="token provider"):
            await client.stream("Hi")
    assert server.opened == 0


async def test_a_key_that_no_header_can_hold() -> None:
    """A key pasted with a typographic quote is refused before it is sent, and not shown."""
    async with answers(HELLO) as server, client_of(server, api_key="sk-“secret”") as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.stream("Hi")
    assert "secret" not in repr(caught.value)


@pytest.mark.req("seed-C")
async def test_a_key_echoed_by_a_server_is_not_kept() -> None:
    """Providers echo keys in their messages: errors hold none of it, whether printed or pickled."""
    import pickle

    key = "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789"
    answer = error_answer(401, {"error": {"message": f"Incorrect API key provided: {key}."}})
    async with answers(answer) as server, client_of(server, api_key=key) as client:
        with pytest.raises(AuthenticationError) as caught:
            await client.stream("Hi")
    error = caught.value
    for shown in (
        repr(error),
        str(error),
        error.body or "",
        pickle.dumps(error).decode("latin-1"),
        json.dumps(error.to_dict()),
    ):
        assert key[10:] not in shown
    assert "secret" not in repr(Credentials("openai", api_key="secret"))


# ---- the user's own clients


async def test_own_http_client_is_used_and_left_open() -> None:
    """`http_client=`: its transport, headers and hooks serve; closing it is its owner's business."""
    seen: list[str] = []

    async def note(request: httpx2.Request) -> None:
        seen.append(request.url.path)

    async with answers(HELLO) as server:
        own = httpx2.AsyncClient(headers={"x-own": "1"}, event_hooks={"request": [note]})
        async with client_of(server, http_client=own) as client:
            assert (await client.complete("Hi")).text == "Hello"
        assert not own.is_closed
        await own.aclose()
    assert seen == ["/v1/chat/completions"]
    assert header(server, "x-own") == "1"


async def test_own_http_client_closes_early_too() -> None:
    """httpx2's own transport: leaving the block closes the connection."""
    async with stalling(ROLE, text("a")) as server, httpx2.AsyncClient() as own:
        async with client_of(server, http_client=own) as client:
            async with client.stream("Hi") as stream:
                await anext(stream)
            await (await server.accepted()).gone(SOON)


async def test_own_transport_without_sockets() -> None:
    """A MockTransport is enough to test one's own code against this client."""
    transport = httpx2.MockTransport(lambda request: httpx2.Response(200, content=said("mocked")))
    async with httpx2.AsyncClient(transport=transport) as own:
        async with Client("openai/x", api_key="k", http_client=own) as client:
            assert (await client.complete("Hi")).text == "mocked"


@pytest.mark.req("seed-A1")
@pytest.mark.parametrize("kind", ["openai", "azure"])
async def test_own_openai_client_is_driven(kind: str) -> None:
    """An AsyncOpenAI or AsyncAzureOpenAI brings its endpoint, key and headers; the bytes are read by us."""
    async with answers(HELLO) as server:
        own: openai.AsyncOpenAI
        if kind == "openai":
            own = openai.AsyncOpenAI(api_key="own-key", base_url=f"{server.url}/v1", default_headers={"x-own": "1"})
        else:
            own = openai.AsyncAzureOpenAI(
                azure_endpoint=server.url, api_version="2024-10-21", api_key="own-key", default_headers={"x-own": "1"}
            )
        async with Client("openai/gpt-5", http_client=own) as client:
            stream = await client.stream(
                "Hi", max_tokens=7, extra_body={"verbosity": "low"}, extra_headers={"x-call": "2"}
            )
            assert (await stream.reply()).text == "Hello"
        assert not own.is_closed()
        await own.close()
    sent = bodies(server)[0]
    assert sent["model"] == "gpt-5"
    assert sent["max_completion_tokens"] == 7
    assert sent["verbosity"] == "low"
    assert sent["stream"] is True
    assert (header(server, "x-own"), header(server, "x-call")) == ("1", "2")
    assert "own-key" in (header(server, "authorization") or header(server, "api-key") or "")


async def test_own_openai_client_errors_are_ours() -> None:
    """Status errors, lost connections, cuts and timeouts of the SDK become the one tree; the SDK retries nothing itself."""
    answer = error_answer(429, None, "retry-after: 7", "x-request-id: req_1")
    async with answers(answer) as server, openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as own:
        async with Client("openai/gpt-5", http_client=own, retry=0) as client:
            with pytest.raises(RateLimitError) as caught:
                await client.stream("Hi")
    assert (caught.value.status, caught.value.retry_after, caught.value.request_id) == (429, 7.0, "req_1")
    assert len(server.requests) == 1
    async with openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as own:
        async with Client("openai/gpt-5", http_client=own, retry=0) as client:
            with pytest.raises(ConnectionFailedError):
                await client.stream("Hi")
    async with (
        answers(http(sse(ROLE, text("a")))) as server,
        openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as own,
    ):
        async with Client("openai/gpt-5", http_client=own, retry=0) as client:
            with pytest.raises(IncompleteStreamError):
                await client.complete("Hi")
    async with stalling(head=b"") as server, openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as own:
        async with Client("openai/gpt-5", http_client=own, retry=0, timeout=Timeout(idle=0.05)) as client:
            with pytest.raises(LLMTimeoutError):
                await client.complete("Hi")


async def test_own_openai_client_closes_early() -> None:
    """Leaving a stream that the SDK carries closes its connection."""
    async with stalling(ROLE, text("a")) as server, openai.AsyncOpenAI(api_key="k", base_url=f"{server.url}/v1") as own:
        async with Client("openai/gpt-5", http_client=own) as client:
            async with client.stream("Hi") as stream:
                await anext(stream)
            await (await server.accepted()).gone(SOON)


def test_a_client_of_another_kind_is_refused() -> None:
    """What is neither an httpx2 nor an openai client is told so, not tried."""
    with pytest.raises(InvalidRequestError, match="neither"):
        Client("openai/x", http_client=object())


# ---- arguments of the client


@pytest.mark.parametrize("retry", [-1, True, 1.5, "3"])
def test_retry_must_be_a_number_of_tries(retry: Any) -> None:
    """A wrong `retry` is told when the client is made."""
    with pytest.raises(InvalidRequestError, match="retry"):
        Client("demo/echo", retry=retry)


@pytest.mark.parametrize("model", [[], 3, None])
def test_model_must_be_a_name_or_a_backend(model: Any) -> None:
    """An empty list, or what is no backend, is told."""
    with pytest.raises(InvalidRequestError, match="model"):
        Client(model)


async def test_defaults_hold_for_every_call_and_calls_win() -> None:
    """Options given to the client are the defaults of its calls."""
    async with answers(HELLO) as server, client_of(server, system="Be brief.", temperature=0.1, max_tokens=5) as client:
        await client.complete("Hi")
        await client.complete("Hi", temperature=0.9, system=None)
    first, second = bodies(server)
    assert first["messages"] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]
    assert (first["temperature"], second["temperature"], second["max_tokens"]) == (0.1, 0.9, 5)
    assert second["messages"] == [{"role": "user", "content": "Hi"}]


async def test_a_backend_of_ones_own() -> None:
    """Anything with the one method `stream` is a backend, wrapped like any other."""
    from asyncllm.events import Finish, StreamEvent, StreamStart, TextDelta
    from asyncllm.protocols import Request

    class Source:
        def __init__(self) -> None:
            self.batches: list[list[StreamEvent]] = [[StreamStart("own")], [TextDelta("hi"), Finish("stop")]]

        def __aiter__(self) -> Source:
            return self

        async def __anext__(self) -> list[StreamEvent]:
            if not self.batches:
                raise StopAsyncIteration
            return self.batches.pop(0)

        async def aclose(self) -> None: ...

        def abort(self) -> None: ...

    class Own:
        name = "own"
        closed = False

        def stream(self, request: Request) -> Source:
            return Source()

        async def aclose(self) -> None:
            self.closed = True

    own = Own()
    async with Client(own) as client:
        assert (await client.complete("Hi")).text == "hi"
    assert own.closed


def test_a_vendor_row_is_data() -> None:
    """Rows are immutable and compare by value: two rows that are alike are a mistake in the table."""
    assert len({(vendor.name, vendor.base_url) for vendor in VENDORS}) == len(VENDORS)
    with pytest.raises(AttributeError):
        VENDORS[0].name = "x"  # type: ignore[misc]
    assert isinstance(VENDORS[0], Vendor)


def test_llm_errors_have_one_root() -> None:
    """Whatever goes wrong is an LLMError."""
    assert issubclass(InvalidRequestError, LLMError)


@pytest.mark.req("seed-C")
def test_nothing_that_is_printed_shows_a_secret() -> None:
    """Clients, settings, requests and credentials have reprs that can go into a log."""
    from asyncllm._input import request_from

    settings = Settings(http=httpx2.AsyncClient, api_key="secret", headers={"authorization": "secret"})
    request, _ = request_from(
        "m", "secret", {"extra_headers": {"authorization": "secret"}, "extra_body": {"key": "secret"}}
    )
    client = Client("openai/m", api_key="secret", extra_headers={"authorization": "secret"})
    for shown in (repr(settings), repr(request), repr(client), str(vars(client).keys())):
        assert "secret" not in shown
