"""A client of `bedrock/...` and the embedded server that it talks to, and how a signature is checked."""

from __future__ import annotations

import datetime
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from _aws import SECRET
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import ReadOnlyCredentials

from asyncllm import Client
from asyncllm.testing import Answer, Server, Wait

MODEL = "bedrock/us.anthropic.claude-sonnet-4-5-20250929-v1:0"
KEY = "bedrock-api-key-secret"


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
