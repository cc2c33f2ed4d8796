"""Where `bedrock/...` asks: regions, endpoints, gateways, the user's own HTTP client; and which options make no sense."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import aioboto3
import boto3
import httpx2
import pytest
from _aws import ACCESS, SECRET, isolate, set_keys
from _bedrock import KEY, MODEL, signed_by, talking

from asyncllm import Client, InvalidRequestError
from asyncllm.backends._bedrock import LARGE
from asyncllm.backends._bedrock_aws import AWS
from asyncllm.testing import Answer, Server, serve_in_thread


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch)


# ---- regions and endpoints


@pytest.mark.req("seed-A7")
async def test_where_the_region_comes_from(keys: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The argument, then AWS_REGION, then AWS_DEFAULT_REGION, then the profile."""
    (tmp_path / "config").write_text("[default]\nregion = sa-east-1\n")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")

    async def region(**options: Any) -> str:
        async with talking(**options) as (client, server):
            await client.complete("Hi")
        return signed_by(server.requests[0])["region"]

    assert await region(region="ap-south-1") == "ap-south-1"
    assert await region() == "eu-west-1"
    monkeypatch.delenv("AWS_REGION")
    assert await region() == "eu-west-2"
    monkeypatch.delenv("AWS_DEFAULT_REGION")
    assert await region() == "sa-east-1"


@pytest.mark.req("seed-A7")
async def test_no_region_is_an_error_that_says_how_to_name_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before anything is sent, whether the request would be signed or not."""
    set_keys(monkeypatch, region=None)
    for options in ({}, {"session": aioboto3.Session(ACCESS, SECRET)}, {"api_key": KEY, "base_url": None}):
        async with talking(**options) as (client, server):
            with pytest.raises(InvalidRequestError, match=r"region=, set AWS_REGION or AWS_DEFAULT_REGION"):
                await client.complete("Hi")
            assert server.requests == []


@pytest.mark.parametrize(
    ("region", "more", "endpoint"),
    [
        ("us-east-1", {}, "https://bedrock-runtime.us-east-1.amazonaws.com"),
        ("us-gov-west-1", {}, "https://bedrock-runtime.us-gov-west-1.amazonaws.com"),
        ("cn-north-1", {}, "https://bedrock-runtime.cn-north-1.amazonaws.com.cn"),
        ("us-east-1", {"AWS_USE_FIPS_ENDPOINT": "true"}, "https://bedrock-runtime-fips.us-east-1.amazonaws.com"),
        ("us-east-1", {"AWS_ENDPOINT_URL": "http://localhost:4566"}, "http://localhost:4566"),
        ("us-east-1", {"AWS_ENDPOINT_URL_BEDROCK_RUNTIME": "https://vpce.example"}, "https://vpce.example"),
    ],
)
async def test_endpoints_are_what_aws_s_rules_say(
    region: str, more: dict[str, str], endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Partitions, FIPS, and addresses of one's own in the variables that AWS's tools read."""
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    assert await AWS(region=region).endpoint() == endpoint
    session = aioboto3.Session(ACCESS, SECRET, region_name=region)
    assert await AWS(session=session).endpoint() == endpoint


async def test_the_endpoint_of_a_profile(tmp_path: Path) -> None:
    """A profile may name an address; a session brings its own profile."""
    (tmp_path / "config").write_text("[profile near]\nregion = eu-west-1\nendpoint_url = https://near.example\n")
    assert await AWS(profile="near").endpoint() == "https://near.example"
    assert await AWS(session=aioboto3.Session(profile_name="near")).endpoint() == "https://near.example"
    assert repr(AWS(profile="near")) == "AWS(region=None, profile='near')"


async def test_the_endpoint_of_the_environment_is_asked(keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a base URL, over a socket."""
    async with Server(Answer.text("Hello there")) as server:
        monkeypatch.setenv("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", server.base_url)
        async with Client(MODEL, retry=0) as client:
            assert (await client.complete("Hi")).text == "Hello there"
        signed_by(server.requests[0])


async def test_headers_of_a_gateway_replace_the_signature() -> None:
    """A base URL with an authorization of its own needs no credentials and no region."""
    async with talking(extra_headers={"Authorization": "Gateway x"}) as (client, server):
        await client.complete("Hi")
    assert server.requests[0].headers["authorization"] == "Gateway x"


async def test_the_user_s_own_http_client(keys: None) -> None:
    """The signature holds for what an ``httpx2.AsyncClient`` sends, and the client stays open."""
    async with httpx2.AsyncClient(trust_env=False, headers={"x-own": "1", "accept": "text/plain"}) as http:
        async with talking(http_client=http) as (client, server):
            assert (await client.complete("Hi")).text == "Hello there"
        assert not http.is_closed
    signed_by(server.requests[0])
    assert server.requests[0].headers["x-own"] == "1"


async def test_a_large_body_is_signed_in_a_thread(keys: None) -> None:
    """Its signature is as good."""
    async with talking() as (client, server):
        await client.complete("x" * (LARGE + 1))
    signed_by(server.requests[0])


@pytest.mark.req("H8")
def test_one_client_under_two_loops(keys: None) -> None:
    """What was loaded under the first is good under the second."""
    with serve_in_thread(Answer.text("Hello there")) as server:
        client = Client(MODEL, base_url=server.base_url, retry=0)

        async def ask() -> str:
            return (await client.complete("Hi")).text

        assert [asyncio.run(ask()) for _ in range(2)] == ["Hello there"] * 2
        asyncio.run(client.aclose())


# ---- options that are refused


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"session": boto3.Session}, "must be an aioboto3.Session"),
        ({"session": object()}, "must be an aioboto3.Session, not builtins.object"),
        ({"session": aioboto3.Session, "profile": "x"}, "leave profile= out"),
        ({"region": 5}, "region must be a name"),
        ({"profile": ""}, "profile must be a name"),
        ({"hologram": 1}, "bedrock knows no option hologram; it knows output, profile, region, session, thinking"),
        ({"thinking": "hard"}, "backend option"),
        ({"base_url": "nowhere"}, "is not a URL"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], words: str) -> None:
    """Told where the client is made; a session of boto3 blocks, and looks like the right one."""
    made = {
        name: value() if isinstance(value, type) and name == "session" else value for name, value in options.items()
    }
    with pytest.raises(InvalidRequestError) as caught:
        Client("bedrock/m", **made)
    assert words in caught.value.message


def test_an_sdk_client_of_another_wire() -> None:
    """An OpenAI client has no credentials for this service."""

    class Other:
        chat = with_options = None

    with pytest.raises(InvalidRequestError, match="session="):
        Client("bedrock/m", http_client=Other())
