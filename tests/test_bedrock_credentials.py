"""As whom `bedrock/...` asks: keys that sign, bearer keys, the chain of AWS, and that none of it blocks the loop."""

from __future__ import annotations

import asyncio
import datetime
import json
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import aioboto3
import pytest
from _aws import ACCESS, REGION, SECRET, SESSION, isolate, set_keys
from _bedrock import KEY, signed_by, talking
from _rawserver import SOON

from asyncllm import AuthenticationError, ConnectionFailedError, InvalidRequestError, RateLimitError, Timeout
from asyncllm.backends._bedrock_aws import failure as aws_failure
from asyncllm.events import LLMTimeoutError
from asyncllm.testing import Answer, Server


@pytest.fixture(autouse=True)
def _aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    isolate(monkeypatch, tmp_path)


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    set_keys(monkeypatch)


# ---- what is given, and what is found


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


# ---- what is missing or wrong


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


def test_what_aws_s_library_raises_is_ours() -> None:
    """Whatever it is, it is one of our errors."""
    ours = RateLimitError("x")
    assert aws_failure(ours) is ours
    assert type(aws_failure(RuntimeError("credentials are still expired"))) is AuthenticationError
    assert type(aws_failure(ValueError("Invalid endpoint"))) is InvalidRequestError


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
