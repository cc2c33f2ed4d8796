"""Google credentials: tokens from a real token endpoint over loopback HTTP, off the loop, ahead of their end, one for all."""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from google.oauth2.credentials import Credentials as StaticCredentials

from asyncllm import (
    AuthenticationError,
    Client,
    ConnectionFailedError,
    InvalidRequestError,
    RateLimitError,
    ServerError,
)
from asyncllm.backends._google import host
from asyncllm.backends._google_credentials import GoogleCredentials
from asyncllm.testing import Answer, Server, Wait

SECRET = "ya29.a-token-that-nobody-may-see"
LIVES = 3600


@pytest.fixture(autouse=True)
def _no_google_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No credentials, project or metadata server of this machine."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GOOGLE_CLOUD_REGION", raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "gcloud"))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


@pytest.fixture(scope="session")
def private_key() -> str:
    """Of a service account: made now, and good for nothing."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


def grant(token: str = SECRET, lives: int = LIVES) -> Answer:
    body = json.dumps({"access_token": token, "expires_in": lives, "token_type": "Bearer"}).encode()
    return Answer.raw(body, content_type="application/json")


def refusal(status: int, error: str) -> Answer:
    body = json.dumps({"error": error, "error_description": "so it is"}).encode()
    return Answer.raw(body, content_type="application/json", status=status)


def account(url: str, private_key: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "service_account",
        "project_id": "from-the-file",
        "private_key_id": "1",
        "private_key": private_key,
        "client_email": "sa@from-the-file.iam.gserviceaccount.com",
        "client_id": "1",
        "token_uri": url,
        **more,
    }


@asynccontextmanager
async def tokens(script: Any = None) -> AsyncIterator[Server]:
    """A token endpoint. It runs on the loop of the test: a refresh that blocked the loop would never be answered."""
    async with Server(script or grant(), any_path=True) as server:
        yield server


def client(server: Server, model: str = "vertex/gemini-x", **options: Any) -> Client:
    return Client(model, base_url=server.base_url, retry=0, timeout=20, **options)


async def test_a_service_account_over_real_http(private_key: str) -> None:
    """Its key signs for a token, which is sent as a bearer; the project is that of the file."""
    async with tokens() as endpoint, Server(Answer.text("Hello")) as server:
        info = account(f"{endpoint.base_url}/token", private_key, quota_project_id="pays")
        async with client(server, credentials=info, project="p", location="europe-west4") as vertex:
            assert (await vertex.complete("Hi")).text == "Hello"
            await vertex.complete("Again")
    asked = server.requests[0]
    assert asked.headers["authorization"] == f"Bearer {SECRET}"
    assert "x-goog-api-key" not in asked.headers
    where = "/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-x:streamGenerateContent?alt=sse"
    assert asked.path == where
    assert len(endpoint.requests) == 1
    assert b"grant_type=urn" in endpoint.requests[0].body


async def test_the_quota_project_is_sent() -> None:
    """Who pays is beside the token."""
    async with Server(Answer.text("Hello")) as server:
        static = StaticCredentials(SECRET, quota_project_id="pays")
        async with client(server, credentials=static, project="p") as vertex:
            await vertex.complete("Hi")
    assert server.requests[0].headers["x-goog-user-project"] == "pays"


@pytest.mark.req("seed-A6", "H15")
async def test_application_default_credentials(
    private_key: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """From the file that the environment names, and the project from it, too."""
    async with tokens() as endpoint, Server(Answer.text("Hello")) as server:
        path = tmp_path / "key.json"
        path.write_text(json.dumps(account(f"{endpoint.base_url}/token", private_key)))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))
        credentials = GoogleCredentials("vertex")
        assert await credentials.project() == "from-the-file"
        assert await credentials.token() == SECRET
        assert credentials.source == "environment GOOGLE_APPLICATION_CREDENTIALS"
        async with client(server, credentials=path, project="p") as vertex:
            assert (await vertex.complete("Hi")).text == "Hello"


@pytest.mark.req("H15")
async def test_one_refresh_serves_all_who_wait(private_key: str) -> None:
    """Many requests at once ask for one token; one that is cancelled takes nothing from the others."""
    held = Wait()
    answer = Answer(body=[held, *(grant().body or ())], headers={"content-type": "application/json"})
    async with tokens([answer, grant("second")]) as endpoint:
        credentials = GoogleCredentials("vertex", given=account(endpoint.base_url, private_key))
        waiting = [asyncio.create_task(credentials.token()) for _ in range(20)]
        await endpoint.wait_requests(1)
        waiting[0].cancel()
        held.release()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert isinstance(found[0], asyncio.CancelledError)
        assert set(found[1:]) == {SECRET}
        assert len(endpoint.requests) == 1


async def test_a_token_is_renewed_ahead_of_its_end(private_key: str) -> None:
    """Near its end it is still sent while the next one is fetched; after its end there is none until then."""
    async with tokens([grant("short", 60), grant("next")]) as endpoint:
        credentials = GoogleCredentials("vertex", given=account(endpoint.base_url, private_key))
        assert await credentials.token() == "short"
        assert await credentials.token() == "short"  # and in a thread the next is on its way
        await endpoint.wait_requests(2)
        async with asyncio.timeout(5):
            while await credentials.token() != "next":  # it is there as soon as the thread has it
                await asyncio.sleep(0)
        credentials._found.expiry = (datetime.now(UTC) - timedelta(seconds=1)).replace(tzinfo=None)
        endpoint.play(grant("third"))
        assert await credentials.token() == "third"
        assert len(endpoint.requests) == 3


async def test_a_failed_renewal_is_nobody_s_problem_while_the_token_is_good(private_key: str) -> None:
    """It is tried again with the next request."""
    async with tokens([grant("short", 60), refusal(500, "internal"), grant("next")]) as endpoint:
        credentials = GoogleCredentials("vertex", given=account(endpoint.base_url, private_key))
        assert await credentials.token() == "short"
        async with asyncio.timeout(30):
            while (token := await credentials.token()) != "next":
                assert token == "short"
                await asyncio.sleep(0)


@pytest.mark.req("H8")
def test_one_client_under_two_loops(private_key: str) -> None:
    """A token fetched under one loop serves the next."""
    credentials: list[GoogleCredentials] = []

    async def ask(first: bool) -> str:
        async with tokens() as endpoint:
            if first:
                credentials.append(GoogleCredentials("vertex", given=account(endpoint.base_url, private_key)))
            return await credentials[0].token()

    assert asyncio.run(ask(True)) == asyncio.run(ask(False)) == SECRET


async def test_nothing_happens_on_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding credentials, which may probe for a metadata server, is a matter of a thread."""
    import google.auth

    where: list[threading.Thread] = []

    def default(**options: Any) -> Any:
        where.append(threading.current_thread())
        return StaticCredentials(SECRET), "found"

    monkeypatch.setattr(google.auth, "default", default)
    credentials = GoogleCredentials("vertex")
    assert (await credentials.token(), await credentials.project()) == (SECRET, "found")
    assert where[0] is not threading.main_thread()
    assert where[0].daemon
    assert len(where) == 1


async def test_impersonation(private_key: str) -> None:
    """A token of one account buys one of another."""
    bought = {"accessToken": "other", "expireTime": "2100-01-01T00:00:00Z"}

    def script(request: Any) -> Answer:
        if "generateAccessToken" in request.path:
            assert request.headers["authorization"] == f"Bearer {SECRET}"
            return Answer.raw(json.dumps(bought).encode(), content_type="application/json")
        return grant()

    from google.auth import impersonated_credentials
    from google.oauth2 import service_account

    async with tokens(script) as endpoint:
        info = account(f"{endpoint.base_url}/token", private_key)
        bought_with = impersonated_credentials.Credentials(
            service_account.Credentials.from_service_account_info(info),
            "sa@p.iam",
            [],
            iam_endpoint_override=f"{endpoint.base_url}/sa@p.iam:generateAccessToken",
        )
        assert await GoogleCredentials("vertex", given=bought_with).token() == "other"
    credentials = GoogleCredentials("vertex", given=StaticCredentials("x"), impersonate="sa@p.iam.gserviceaccount.com")
    credentials._find(None)
    assert isinstance(credentials._found, impersonated_credentials.Credentials)


# ---- what can go wrong


@pytest.mark.req("seed-A6")
async def test_no_credentials_says_what_to_do() -> None:
    """The fix is in the message."""
    with pytest.raises(
        AuthenticationError, match=r"gcloud auth application-default login.*GOOGLE_APPLICATION_CREDENTIALS"
    ):
        await GoogleCredentials("vertex").token()


async def test_without_google_auth_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra that has it."""
    for name in [name for name in sys.modules if name == "google.auth" or name.startswith("google.auth.")]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "google.auth", None)
    with pytest.raises(AuthenticationError, match=r"pip install 'asyncllm\[google\]'"):
        await GoogleCredentials("vertex").token()


async def test_a_refused_refresh_is_an_authentication_error(private_key: str) -> None:
    """With the words of the endpoint, and no secret in them."""
    async with tokens(refusal(400, "invalid_grant")) as endpoint:
        credentials = GoogleCredentials("vertex", given=account(endpoint.base_url, private_key))
        with pytest.raises(AuthenticationError, match="invalid_grant") as caught:
            await credentials.token()
        assert "PRIVATE KEY" not in f"{caught.value!r} {credentials!r}"


async def test_a_token_endpoint_that_cannot_be_reached(private_key: str) -> None:
    """Worth another try."""
    async with tokens() as endpoint:
        url = endpoint.base_url
    with pytest.raises(ConnectionFailedError) as caught:
        await GoogleCredentials("vertex", given=account(url, private_key)).token()
    assert caught.value.retryable


async def test_a_token_endpoint_that_fails_for_now(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its 5xx is a server's error, and worth another try."""
    from google.auth.exceptions import RefreshError

    error = RefreshError("internal failure")
    monkeypatch.setattr(error, "_retryable", True)
    found = GoogleCredentials("vertex")._failure(error)
    assert type(found) is ServerError
    assert found.retryable


async def test_a_refused_token_is_renewed_once(private_key: str) -> None:
    """A token that the service does not take any more is replaced, and the call goes on; a second refusal is the answer."""
    refused = Answer.error(AuthenticationError("expired", status=401))
    async with tokens([grant("old"), grant("new")]) as endpoint, Server([refused, Answer.text("Hello")]) as server:
        info = account(endpoint.base_url, private_key)
        async with client(server, credentials=info, project="p") as vertex:
            assert (await vertex.complete("Hi")).text == "Hello"
            assert [request.headers["authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]
            server.play(refused)
            with pytest.raises(AuthenticationError):
                await vertex.complete("Hi")
    assert len(server.requests) <= 4


async def test_secrets_are_shown_nowhere() -> None:
    """Neither by the credentials nor by an error of the service that repeats them."""
    async with Server(Answer.error(RateLimitError(f"slow, Bearer {SECRET}"))) as server:
        async with client(server, credentials=StaticCredentials(SECRET), project="p") as vertex:
            with pytest.raises(RateLimitError) as caught:
                await vertex.complete("Hi")
    assert SECRET not in f"{caught.value!r} {caught.value.body} {vertex!r}"
    assert SECRET not in repr(GoogleCredentials("vertex", given=StaticCredentials(SECRET)))


# ---- where it goes


@pytest.mark.parametrize(
    ("location", "url"),
    [
        ("global", "https://aiplatform.googleapis.com"),
        ("us", "https://aiplatform.us.rep.googleapis.com"),
        ("eu", "https://aiplatform.eu.rep.googleapis.com"),
        ("us-central1", "https://us-central1-aiplatform.googleapis.com"),
    ],
)
def test_the_host_of_a_location(location: str, url: str) -> None:
    """Regional, multi-regional, global."""
    assert host(location) == url


def where(model: str = "vertex/m", **options: Any) -> str:
    backend: Any = Client(model, **options)._backend
    while not hasattr(backend, "where"):
        backend = backend._inner
    return str(backend.where)


@pytest.mark.req("seed-A5", "seed-A6")
def test_project_and_location(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options, then the environment; without a location it is global; a key alone is express mode."""
    root = "https://us-central1-aiplatform.googleapis.com"
    assert where(project="p", location="us-central1") == f"{root}/v1beta1/projects/p/locations/us-central1"
    assert where(project="p") == "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/global"
    assert where(api_key="k") == "https://aiplatform.googleapis.com/v1beta1"
    assert where(project="p", location="us-central1", api_version="v1") == f"{root}/v1/projects/p/locations/us-central1"
    assert where() == "https://aiplatform.googleapis.com/v1beta1/projects/{project}/locations/global"
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "env")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "eu")
    assert where() == "https://aiplatform.eu.rep.googleapis.com/v1beta1/projects/env/locations/eu"
    assert where(api_key="k") == "https://aiplatform.googleapis.com/v1beta1"
    assert where(api_key="k", project="p", location="eu").endswith("/projects/p/locations/eu")
    maas = where("vertex-maas/meta/llama")
    assert maas == "https://aiplatform.eu.rep.googleapis.com/v1/projects/env/locations/eu/endpoints/openapi"


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"project": "p/../x"}, "project"),
        ({"project": "p", "location": "a.b/"}, "location"),
        ({"token_provider": lambda: "t"}, "vertex needs project="),
        ({"hologram": 1}, "knows no option hologram; it knows .*credentials.*location"),
        ({"project": "p", "thinking": "much"}, "backend option"),
        ({"project": "p", "base_url": "nowhere"}, "base_url"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], why: str) -> None:
    """Said when the client is made."""
    with pytest.raises(InvalidRequestError, match=why):
        Client("vertex/m", **options)


@pytest.mark.req("seed-A6")
async def test_express_mode_sends_the_key() -> None:
    """In its own header, below no project, from the argument or (where nothing else is there) the environment."""
    async with Server(Answer.text("Hello")) as server:
        async with client(server, api_key="express-key") as vertex:
            await vertex.complete("Hi")
    (asked,) = server.requests
    assert asked.headers["x-goog-api-key"] == "express-key"
    assert "authorization" not in asked.headers
    assert asked.path.startswith("/v1/publishers/google/models/gemini-x:")


async def test_a_token_provider() -> None:
    """Asked for every request; its tokens are bearers."""
    given = iter(["one", "two"])
    async with Server(Answer.text("Hello")) as server:
        async with client(server, token_provider=lambda: next(given), project="p") as vertex:
            await vertex.complete("Hi")
            await vertex.complete("Hi")
    assert [request.headers["authorization"] for request in server.requests] == ["Bearer one", "Bearer two"]


@pytest.mark.req("seed-A5")
@pytest.mark.parametrize("credentials", ["static", "account"])
async def test_vertex_maas_is_the_chat_wire_with_a_rotating_token(credentials: str, private_key: str) -> None:
    """The endpoint is built from project and location; the token is Google's, and a new one when it ends."""
    async with tokens([grant("first", 5), grant("second")]) as endpoint, Server(Answer.text("Hello")) as server:
        given: Any = StaticCredentials("first") if credentials == "static" else account(endpoint.base_url, private_key)
        options: dict[str, Any] = {"credentials": given, "project": "p", "location": "us-east5"}
        async with client(server, "vertex-maas/meta/llama-4", **options) as llama:
            assert (await llama.complete("Hi")).text == "Hello"
            await llama.complete("Hi")
    assert {request.path for request in server.requests} == {
        "/v1/projects/p/locations/us-east5/endpoints/openapi/chat/completions"
    }
    assert server.requests[0].json["model"] == "meta/llama-4"
    sent = [request.headers["authorization"] for request in server.requests]
    assert sent == ["Bearer first", "Bearer first" if credentials == "static" else "Bearer second"]


async def test_the_project_of_the_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody names a project, the credentials may; and where they do not, it is said."""
    import google.auth

    found: Callable[..., Any] = lambda **options: (StaticCredentials(SECRET), "theirs")  # noqa: E731
    monkeypatch.setattr(google.auth, "default", found)
    credentials = GoogleCredentials("vertex")
    assert await credentials.project() == "theirs"
    with pytest.raises(InvalidRequestError, match="GOOGLE_CLOUD_PROJECT"):
        await GoogleCredentials("vertex", given=StaticCredentials(SECRET)).project()
