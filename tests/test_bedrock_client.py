"""`bedrock/...` through the whole client, over a socket: credentials, regions, signatures, failures, and how it is left."""

from __future__ import annotations

import asyncio
import datetime
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aioboto3
import boto3
import httpx2
import msgspec
import pytest
from _aws import ACCESS, REGION, SECRET, SESSION, isolate, set_keys
from _converse import START, TAIL, body_of, call, delta, done, start, stop
from _rawserver import SOON
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from asyncllm import (
    AuthenticationError,
    Client,
    ConnectionFailedError,
    ContextLengthExceededError,
    Finish,
    IncompleteStreamError,
    InterTokenTimeout,
    InvalidRequestError,
    LLMError,
    Message,
    NotFoundError,
    OverloadedError,
    PermissionDeniedError,
    ProtocolError,
    RateLimitError,
    ReasoningDelta,
    Retrying,
    RetryPolicy,
    ServerError,
    Text,
    TextDelta,
    Timeout,
    Tool,
    ToolCall,
    ToolResult,
    Usage,
    check_order,
)
from asyncllm.backends._bedrock import LARGE
from asyncllm.backends._bedrock_aws import AWS
from asyncllm.backends._bedrock_aws import failure as aws_failure
from asyncllm.events import LLMTimeoutError
from asyncllm.testing import (
    Answer,
    Cut,
    ErrorAfter,
    Gzip,
    KeepAlive,
    NoFinish,
    Server,
    SlowHeaders,
    Split,
    Stall,
    TruncatedChunk,
    Wait,
    serve_in_thread,
)

MODEL = "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
KEY = "bedrock-api-key-secret"
SOON_AGAIN = RetryPolicy(tries=2, rate_limit_base=0.001)


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch)


@asynccontextmanager
async def talking(script: Any = None, *, model: str = MODEL, **options: Any) -> AsyncIterator[tuple[Client, Server]]:
    options.setdefault("retry", 0)
    options.setdefault("timeout", 20)
    async with Server(Answer.text("Hello there") if script is None else script) as server:
        options.setdefault("base_url", server.base_url)
        async with Client(model, **options) as client:
            yield client, server


def stream(*pieces: bytes | Wait) -> Answer:
    return Answer.raw(list(pieces), content_type="application/vnd.amazon.eventstream")


AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=(?P<key>[^/]+)/(?P<day>\d{8})/(?P<region>[^/]+)/bedrock/aws4_request, "
    r"SignedHeaders=(?P<signed>[a-z0-9;-]+), Signature=[0-9a-f]{64}"
)


def signed_by(request: Any, secret: str = SECRET, session: str | None = None) -> re.Match[str]:
    """The parts of a signature, checked against one that AWS's own library makes for what arrived."""
    found = AUTHORIZATION.fullmatch(request.headers["authorization"])
    assert found is not None, request.headers["authorization"]
    headers = {name: request.headers[name] for name in found["signed"].split(";") if name != "host"}
    again = AWSRequest("POST", f"http://{request.headers['host']}{request.path}", headers=headers, data=request.body)
    moment = datetime.datetime.strptime(headers["x-amz-date"], "%Y%m%dT%H%M%SZ")
    auth = SigV4Auth(ReadOnlyCredentials(found["key"], secret, session), "bedrock", found["region"])
    again.context["timestamp"] = moment.strftime("%Y%m%dT%H%M%SZ")
    expected = auth.signature(auth.string_to_sign(again, auth.canonical_request(again)), again)
    assert found[0].endswith(expected)
    assert abs((moment - datetime.datetime.now(datetime.UTC).replace(tzinfo=None)).total_seconds()) < 60
    return found


# ---- credentials


@pytest.mark.req("seed-A7")
async def test_a_request_is_signed_with_the_keys_of_the_environment(
    keys: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Version 4, for the service's name, the region and the bytes that are sent, with the session's token if there is one."""
    async with talking() as (client, server):
        assert (await client.complete("Hi")).text == "Hello there"
    monkeypatch.setenv("AWS_SESSION_TOKEN", SESSION)
    async with talking(extra_headers={"X-Amzn-Trace": "not signed", "x-amz-meta": "signed"}) as (client, other):
        await client.complete("Hi")
    (first,), (second,) = server.requests, other.requests
    assert first.path == "/v1/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse-stream"
    assert first.headers["accept"] == "application/vnd.amazon.eventstream"
    found = signed_by(first)
    assert (found["key"], found["region"]) == (ACCESS, REGION)
    assert found["signed"] == "content-type;host;x-amz-date"
    found = signed_by(second, session=SESSION)
    assert second.headers["x-amz-security-token"] == SESSION
    assert found["signed"] == "content-type;host;x-amz-date;x-amz-meta;x-amz-security-token"


@pytest.mark.req("seed-A7")
@pytest.mark.parametrize("way", ["api_key", "environment", "provider", "async provider"])
async def test_a_bearer_key_needs_no_signature_and_wins(way: str, keys: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """From an argument, the variable or a provider of tokens, also where keys for signing are there."""

    async def fresh() -> str:
        return KEY

    options: dict[str, Any] = {"api_key": KEY} if way == "api_key" else {}
    if way == "environment":
        monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    elif way.endswith("provider"):
        options["token_provider"] = fresh if way == "async provider" else lambda: KEY
    async with talking(**options) as (client, server):
        await client.complete("Hi")
        assert KEY not in f"{client!r} {server.requests!r}"
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert "x-amz-date" not in server.requests[0].headers


@pytest.mark.req("seed-A7")
async def test_what_is_given_wins_over_the_environment(
    keys: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A profile or a session that is named is used, although a bearer key is in the environment."""
    monkeypatch.setenv("AWS_BEARER_TOKEN_BEDROCK", KEY)
    (tmp_path / "credentials").write_text(f"[work]\naws_access_key_id = AKIDWORK\naws_secret_access_key = {SECRET}\n")
    session = aioboto3.Session("AKIDSESSION", SECRET, region_name="us-west-2")
    for options, key in (({"profile": "work"}, "AKIDWORK"), ({"session": session}, "AKIDSESSION")):
        async with talking(**options) as (client, server):
            await client.complete("Hi")
        assert signed_by(server.requests[0])["key"] == key


@pytest.mark.req("seed-A7")
async def test_credentials_of_a_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The chain of AWS's own tools: here a profile that asks a program, whose keys have an end and are kept till then."""
    asked = tmp_path / "asked"
    end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat()
    answer = {
        "Version": 1,
        "AccessKeyId": "AKIDPROCESS",
        "SecretAccessKey": SECRET,
        "SessionToken": SESSION,
        "Expiration": end,
    }
    program = tmp_path / "keys.py"
    program.write_text(f"open({str(asked)!r}, 'a').write('x')\nprint({json.dumps(answer)!r})\n")
    (tmp_path / "config").write_text(
        f"[default]\nregion = eu-north-1\ncredential_process = {sys.executable} {program}\n"
    )
    async with talking() as (client, server):
        for _ in range(3):
            await client.complete("Hi")
    assert [signed_by(request, session=SESSION)["region"] for request in server.requests] == ["eu-north-1"] * 3
    assert asked.read_text() == "x"


@pytest.mark.req("seed-A7", "H15")
async def test_keys_near_their_end_are_renewed(keys: None, tmp_path: Path) -> None:
    """Those of a process that end in a minute are asked for again before the next request, by one load for all who wait."""
    asked = tmp_path / "asked"
    end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)).isoformat()
    answer = {"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": SECRET, "SessionToken": SESSION}
    program = tmp_path / "keys.py"
    program.write_text(f"open({str(asked)!r}, 'a').write('x')\nprint({json.dumps({**answer, 'Expiration': end})!r})\n")
    (tmp_path / "config").write_text(f"[profile short]\ncredential_process = {sys.executable} {program}\n")
    async with talking(profile="short") as (client, server):
        await client.complete("Hi")
        before = len(asked.read_text())
        await asyncio.gather(*(client.complete("Hi") for _ in range(4)))
    assert before >= 1
    assert len(asked.read_text()) == before + 1
    assert len(server.requests) == 5


async def test_a_session_of_the_user_s_is_asked_on_its_own_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its keys are fetched where it lives, afresh for every request; its region is used, and it is left open."""
    session = aioboto3.Session("AKIDSESSION", SECRET, SESSION, region_name="us-west-2")
    threads: list[int] = []
    original = session.get_credentials

    async def get_credentials() -> Any:
        threads.append(threading.get_ident())
        return await original()

    monkeypatch.setattr(session, "get_credentials", get_credentials)
    async with talking(session=session) as (client, server):
        await client.complete("Hi")
        await client.complete("Hi")
    assert [signed_by(request, session=SESSION)["region"] for request in server.requests] == ["us-west-2"] * 2
    assert threads == [threading.get_ident()] * 2


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


@pytest.mark.req("seed-A7")
async def test_no_credentials_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every way to give some is named, and nothing is sent."""
    async with talking(region=REGION) as (client, server):
        with pytest.raises(AuthenticationError) as caught:
            await client.complete("Hi")
        for word in ("api_key=", "session=", "AWS_BEARER_TOKEN_BEDROCK", "AWS_ACCESS_KEY_ID", "AWS_PROFILE"):
            assert word in caught.value.message
        assert caught.value.provider == "bedrock"
        set_keys(monkeypatch)  # the next call looks again
        await client.complete("Hi")
    assert len(server.requests) == 1


async def test_a_session_without_credentials(tmp_path: Path) -> None:
    """The same error."""
    async with talking(session=aioboto3.Session(region_name=REGION)) as (client, _):
        with pytest.raises(AuthenticationError, match="no AWS credentials"):
            await client.complete("Hi")


async def test_a_configuration_that_is_wrong(keys: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A profile that is not there, and a program that gives no keys: typed errors that name the cause, and no secret."""
    async with talking(profile="nobody") as (client, _):
        with pytest.raises(InvalidRequestError, match="nobody"):
            await client.complete("Hi")
    (tmp_path / "config").write_text(f"[profile broken]\ncredential_process = {sys.executable} -c 'exit(3)'\n")
    async with talking(profile="broken") as (client, _):
        with pytest.raises(AuthenticationError, match="CredentialRetrievalError") as caught:
            await client.complete("Hi")
    assert not caught.value.retryable


async def test_a_token_service_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A role that is assumed through a service that does not answer is a failed connection, and may be tried again."""
    token = tmp_path / "token"
    token.write_text("a web identity")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    async with talking(region=REGION) as (client, _):
        with pytest.raises(ConnectionFailedError, match="could not be fetched") as caught:
            await client.complete("Hi")
    assert caught.value.retryable


STS_ANSWER = """<AssumeRoleWithWebIdentityResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/">
<AssumeRoleWithWebIdentityResult><Credentials><AccessKeyId>AKIDROLE</AccessKeyId><SecretAccessKey>{secret}</SecretAccessKey>
<SessionToken>{token}</SessionToken><Expiration>{end}</Expiration></Credentials>
<AssumedRoleUser><Arn>arn:aws:sts::123456789012:assumed-role/x/y</Arn><AssumedRoleId>A:y</AssumedRoleId></AssumedRoleUser>
</AssumeRoleWithWebIdentityResult></AssumeRoleWithWebIdentityResponse>"""


@pytest.mark.req("seed-A7", "H15")
async def test_a_role_is_assumed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """With a web identity (as on Kubernetes), over the network, and not on the caller's loop."""
    token = tmp_path / "token"
    token.write_text("a web identity")
    end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).isoformat()
    answer = STS_ANSWER.format(secret=SECRET, token=SESSION, end=end).encode()
    async with Server(Answer.raw(answer, content_type="text/xml"), any_path=True) as sts:
        monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
        monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/x")
        monkeypatch.setenv("AWS_ENDPOINT_URL_STS", sts.base_url)
        async with talking(region=REGION) as (client, server):
            await client.complete("Hi")
            await client.complete("Hi")
        assert [signed_by(request, session=SESSION)["key"] for request in server.requests] == ["AKIDROLE"] * 2
        assert len(sts.requests) == 1


@pytest.mark.req("seed-A7")
async def test_credentials_of_a_container(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the address that the container's agent gives (as on ECS and EKS)."""
    end = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    answer = {"AccessKeyId": "AKIDTASK", "SecretAccessKey": SECRET, "Token": SESSION, "Expiration": end}
    async with Server(Answer.raw(json.dumps(answer).encode(), content_type="application/json"), any_path=True) as agent:
        monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", f"{agent.base_url}/keys")
        async with talking(region=REGION) as (client, server):
            await client.complete("Hi")
    assert signed_by(server.requests[0], session=SESSION)["key"] == "AKIDTASK"


def test_without_aioboto3() -> None:
    """A program that lacks it is told what to install, when it asks; a base URL and a bearer key need nothing of it."""
    code = (
        "import sys, asyncio\n"
        "class Gone:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] in ('aioboto3', 'aiobotocore', 'boto3', 'botocore'): raise ImportError(name)\n"
        "sys.meta_path.insert(0, Gone())\n"
        "from asyncllm import Client, InvalidRequestError\n"
        "from asyncllm.testing import Answer, Server\n"
        "async def main():\n"
        "    async with Server(Answer.text('ok')) as server:\n"
        "        async with Client('bedrock/m', base_url=server.base_url, api_key='k') as client:\n"
        "            print((await client.complete('Hi')).text)\n"
        "    try:\n"
        "        async with Client('bedrock/m', region='eu-west-1') as client:\n"
        "            await client.complete('Hi')\n"
        "    except InvalidRequestError as error:\n"
        "        print(error.message)\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ok\n")
    assert "pip install 'asyncllm[bedrock]'" in done.stdout


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


# ---- nothing blocks the loop


@pytest.mark.req("H15")
def test_the_first_request_does_not_block_the_loop(keys: None) -> None:
    """In a fresh process, where AWS's library must be imported and its data read: the loop goes on turning meanwhile."""
    code = (
        "import asyncio, time\n"
        "from asyncllm import Client\n"
        "from asyncllm.testing import Answer, Server\n"
        "async def main():\n"
        "    turns = []\n"
        "    async def turn():\n"
        "        while True:\n"
        "            turns.append(time.perf_counter())\n"
        "            await asyncio.sleep(0.001)\n"
        "    async with Server(Answer.text('ok')) as server:\n"
        "        async with Client('bedrock/m', base_url=server.base_url, region='eu-west-1') as client:\n"
        "            await client.complete('Hi', extra_headers={'authorization': 'x'})\n"
        "            turning = asyncio.create_task(turn())\n"
        "            begun = time.perf_counter()\n"
        "            await client.complete('Hi')\n"
        "            took = time.perf_counter() - begun\n"
        "            turning.cancel()\n"
        "    print(took, len(turns))\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    took, turns = done.stdout.split()
    # a blocked loop turns once or twice; this one shares the interpreter's lock, and turns every few milliseconds
    assert int(turns) > 10, f"{turns} turns in {took} s"


@pytest.mark.req("H15", "H1")
async def test_a_caller_may_leave_while_credentials_are_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A program that takes its time is not waited for by who is cancelled, and serves who asks next."""
    gate = tmp_path / "gate"
    answer = {"Version": 1, "AccessKeyId": "AKIDPROCESS", "SecretAccessKey": SECRET}
    program = tmp_path / "keys.py"
    program.write_text(
        f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\nprint({json.dumps(answer)!r})\n"
    )
    (tmp_path / "config").write_text(f"[profile slow]\ncredential_process = {sys.executable} {program}\n")
    async with talking(profile="slow", region=REGION) as (client, server):
        first = asyncio.create_task(client.complete("Hi"))
        second = asyncio.create_task(client.complete("Hi"))
        await asyncio.sleep(0)
        begun = time.perf_counter()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert time.perf_counter() - begun < SOON
        with pytest.raises(LLMTimeoutError):
            await client.complete("Hi", timeout=Timeout(first_token=0.01))
        gate.touch()
        assert (await second).text == "Hello there"
    assert len(server.requests) == 1


# ---- whole exchanges

WEATHER = Tool("weather", "Tells it", {"type": "object", "properties": {"city": {"type": "string"}}})


@pytest.mark.req("seed-A7", "E7", "G5")
async def test_a_tool_exchange_with_signed_reasoning(keys: None) -> None:
    """The second request carries the first answer's reasoning with its signature, its call, and the result."""
    first = [
        START,
        delta(0, reasoningContent={"text": "Let me look."}),
        delta(0, reasoningContent={"signature": "c2lnbmVk"}),
        stop(0),
        delta(1, reasoningContent={"redactedContent": "U0VDUkVU"}),
        stop(1),
        *call(2, "tooluse_1", "weather", '{"city":', '"Oslo"}'),
        done("tool_use"),
        TAIL,
    ]
    async with talking([stream(body_of(first)), Answer.text("Rain.")]) as (client, server):
        reply = await client.complete("Rain?", tools=[WEATHER], reasoning=2048)
        (asked,) = reply.tool_calls
        result = Message("tool", [ToolResult(asked.id, asked.name, "7 degrees")])
        reply = await client.complete([*reply.messages, result], tools=[WEATHER], reasoning=2048)
    assert reply.text == "Rain."
    assert server.requests[1].json["messages"] == [
        {"role": "user", "content": [{"text": "Rain?"}]},
        {
            "role": "assistant",
            "content": [
                {"reasoningContent": {"reasoningText": {"text": "Let me look.", "signature": "c2lnbmVk"}}},
                {"reasoningContent": {"redactedContent": "U0VDUkVU"}},
                {"toolUse": {"toolUseId": "tooluse_1", "name": "weather", "input": {"city": "Oslo"}}},
            ],
        },
        {"role": "user", "content": [{"toolResult": {"toolUseId": "tooluse_1", "content": [{"text": "7 degrees"}]}}]},
    ]


@pytest.mark.req("seed-A7")
async def test_the_events_of_a_stream(keys: None) -> None:
    """Reasoning, text, a call, usage and finish, in a legal order, from the same script as for every other wire."""
    usage = Usage(input_tokens=9, output_tokens=5, cache_read_tokens=4)
    script = Answer(
        [ReasoningDelta("hm"), "Let me see", ToolCall("t", "weather", {"city": "Oslo"}), usage],
        faults=[Split([7, 1, 30])],
    )
    async with talking(script) as (client, server):
        async with client.stream("Rain?", tools=[WEATHER]) as answer:
            events = [event async for event in answer]
            reply = await answer.reply()
    check_order(events)
    assert (reply.reasoning, reply.text, reply.backend) == ("hm", "Let me see", "bedrock")
    assert [(called.name, called.arguments) for called in reply.tool_calls] == [("weather", {"city": "Oslo"})]
    assert reply.usage is not None
    assert msgspec.structs.replace(reply.usage, raw=None) == usage
    assert events[-1] == Finish("tool_calls", "tool_use")
    assert server.requests[0].asked.tools == (WEATHER,)


async def test_structured_output_that_the_model_refuses_is_asked_for_in_the_prompt(keys: None) -> None:
    """Once, and from then on for this model."""
    refusal = Answer.error(InvalidRequestError("This model doesn't support the outputConfig field.", status=400))
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    async with talking([refusal, Answer.text('{"a": 1}')]) as (client, server):
        for _ in range(2):
            assert (await client.complete("Hi", output=schema)).output == {"a": 1}
    assert ["outputConfig" in request.json for request in server.requests] == [True, False, False]


async def test_a_conversation_through_the_demo(keys: None) -> None:
    """The embedded server's own models answer on this wire, too."""
    async with Server() as server, Client("bedrock/demo%2Fx", base_url=server.base_url, retry=0) as client:
        with pytest.raises(NotFoundError):
            await client.complete("Hi")
    async with Server() as server, Client("bedrock/echo", base_url=server.base_url, retry=0) as client:
        assert "You said: Hi" in (await client.complete("Hi")).text


# ---- failures


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


@pytest.mark.req("G4", "H10")
async def test_events_that_keep_the_connection_alive_are_passed_over(keys: None) -> None:
    """They say nothing, and are no token: silence between the words is still measured."""
    async with talking(Answer.text("Hello there", faults=[KeepAlive(before=2, between=3)])) as (client, _):
        assert (await client.complete("Hi")).text == "Hello there"
    async with talking(Answer.text("Hello there", faults=[Stall(1, keep_alive=0.01)])) as (client, _):
        with pytest.raises(InterTokenTimeout):
            await client.complete("Hi", timeout=Timeout(inter_token=0.1, idle=0.05))


async def test_a_compressed_stream(keys: None) -> None:
    """A proxy may do that."""
    async with talking(Answer.text("Hello there", faults=[Gzip()])) as (client, _):
        assert (await client.complete("Hi")).text == "Hello there"


@pytest.mark.req("B2")
async def test_the_answer_is_whole_with_message_stop(keys: None) -> None:
    """Where no usage follows and the connection stays open, the end does not wait for more than a moment."""
    async with talking(stream(body_of([START, delta(0, text="a"), stop(0), done()]), Wait())) as (client, _):
        reply = await client.complete("Hi")
    assert (reply.text, reply.finish_reason) == ("a", "stop")


async def test_one_connection_serves_many_requests(keys: None) -> None:
    """An answer that ended well leaves its connection for the next."""
    async with talking() as (client, server):
        for _ in range(3):
            await client.complete("Hi")
        assert server.connections.opened == 1


# ---- how it is left


@pytest.mark.req("H1", "H3")
@pytest.mark.parametrize("way", ["break", "aclose", "cancel"])
async def test_leaving_early_is_seen_by_the_server_at_once(way: str, keys: None) -> None:
    """By leaving the block, by closing, by cancelling the task: within milliseconds, with the stream in the middle."""
    async with talking(Answer.text("one two three", faults=[Stall(1)])) as (client, server):
        there = asyncio.Event()

        async def read() -> None:
            async with client.stream("Hi") as answer:
                async for event in answer:
                    if isinstance(event, TextDelta):
                        there.set()
                        if way == "break":
                            return
                        if way == "aclose":
                            await answer.aclose()
                            return

        task = asyncio.create_task(read())
        await there.wait()
        begun = asyncio.get_running_loop().time()
        if way == "cancel":
            task.cancel()
        closed = await server.wait_closed()
        assert closed - begun < SOON
        await asyncio.gather(task, return_exceptions=True)


@pytest.mark.req("H9", "H16")
async def test_silence_is_measured_by_our_limits_alone(keys: None) -> None:
    """No library's own 60 seconds of reading are in the way: the limits are the call's, before and between the words."""
    assert (Timeout().idle or 0) > 60
    async with talking(Answer.text("one two three", faults=[Stall(1)])) as (client, server):
        with pytest.raises(InterTokenTimeout) as caught:
            await client.complete("Hi", timeout=Timeout(inter_token=0.05))
        assert caught.value.partial is not None
        assert caught.value.partial.text == "one"
        await server.wait_closed()
    async with talking(Answer.text("x", faults=[SlowHeaders(Wait())])) as (client, server):
        with pytest.raises(LLMTimeoutError):
            await client.complete("Hi", timeout=Timeout(first_token=0.05))
        await server.wait_closed()
    async with talking(Answer.text("one two", faults=[Stall(1)])) as (client, server):
        with pytest.raises(LLMTimeoutError):
            await client.complete("Hi", timeout=Timeout(idle=0.05))


async def test_a_call_that_is_cut_is_invalid(keys: None) -> None:
    """What the model asked for is not run: nobody knows whether it was whole."""
    half = body_of([START, start(0, toolUse={"toolUseId": "t", "name": "f"}), delta(0, toolUse={"input": "{}"})])
    async with talking(stream(half)) as (client, _):
        with pytest.raises(IncompleteStreamError) as caught:
            await client.complete("Hi")
    assert caught.value.partial is not None
    (called,) = caught.value.partial.tool_calls
    assert called.invalid


async def test_bad_input_is_told_before_anything_is_sent(keys: None) -> None:
    """With its place in the conversation."""
    async with talking() as (client, server):
        with pytest.raises(InvalidRequestError, match=r"messages\[1\]"):
            await client.complete([Message("user", "a"), Message("user", [Text("")])])
        assert server.requests == []


def test_what_aws_s_library_raises_is_ours() -> None:
    """Whatever it is, it is one of our errors."""
    ours = RateLimitError("x")
    assert aws_failure(ours) is ours
    assert type(aws_failure(RuntimeError("credentials are still expired"))) is AuthenticationError
    assert type(aws_failure(ValueError("Invalid endpoint"))) is InvalidRequestError
