"""Amazon Bedrock: the Converse wire over our own HTTP, with what AWS's own library knows of credentials and endpoints.

A request carries a bearer key, or a signature of version 4 that is made for it when it is sent. Either way the bytes are read
by our transport, with its limits of time and its way to close.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..events import InvalidRequestError
from ..protocols import Encoded, Timeout
from ..protocols.bedrock import BedrockCodec, BedrockQuirks
from ._backend import Backend
from ._bedrock_aws import AWS
from ._credentials import Credentials
from ._http import HTTPBackend
from ._registry import Settings, _checked_url, _quirks
from ._vendors import Vendor

if TYPE_CHECKING:
    from ._carrier import HTTP, Answer, Carrier

NAME = "bedrock"
KEY = "AWS_BEARER_TOKEN_BEDROCK"

LARGE = 1024 * 1024
"""Bytes of a body whose signature takes long enough (3 ms) to be made in a thread."""

_OPTIONS = ("region", "profile", "session")


def bedrock_backend(settings: Settings) -> Backend:
    """Options: `region`, `profile` (of the files that AWS's tools share), `session` (an ``aioboto3.Session``), and the quirks
    of the wire. What is given as an argument wins over the environment."""
    if settings.sdk_client is not None:
        raise InvalidRequestError(
            "http_client: bedrock takes an httpx2.AsyncClient; for credentials of your own use session="
        )
    options = dict(settings.options)
    region, profile = _text(options, "region"), _text(options, "profile")
    session = options.pop("session", None)
    quirks = _quirks(Vendor(name=NAME, base_url=""), BedrockQuirks, options)
    if options:
        known = ", ".join(sorted([*_OPTIONS, *quirks.__struct_fields__]))
        raise InvalidRequestError(f"bedrock knows no option {', '.join(sorted(options))}; it knows {known}")
    base_url = None if settings.base_url is None else _checked_url(settings.base_url)
    aws = AWS(region=region, profile=profile, session=session, endpoint=base_url)
    named = session is not None or profile is not None
    credentials = Credentials(
        NAME,
        api_key=settings.api_key,
        token_provider=settings.token_provider,
        env=() if named else (KEY,),
        default="",  # no key: the request is signed
    )
    return HTTPBackend(
        NAME,
        BedrockCodec(NAME, quirks),
        lambda: BedrockCarrier(aws, settings.http),
        credentials,
        headers=settings.headers,
        where=base_url or "Amazon Bedrock",
    )


def _text(options: dict[str, object], name: str) -> str | None:
    value = options.pop(name, None)
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidRequestError(f"{name} must be a name, not {value!r}")
    return value


class BedrockCarrier:
    """Over HTTP, to the endpoint that AWS's library names. Without a key, each request is signed."""

    def __init__(self, aws: AWS, http: HTTP) -> None:
        self._aws = aws
        self._http = http
        self._carrier: Carrier | None = None

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        endpoint = await self._aws.endpoint()
        if self._carrier is None:
            from ._carrier import HTTPCarrier

            self._carrier = HTTPCarrier(endpoint, http=self._http)
        if not token and "authorization" not in headers:  # a gateway may have headers of its own
            headers = {**headers, **await self._signature(endpoint, encoded, headers)}
        return await self._carrier.send(encoded, token, headers, timeout)

    async def _signature(self, endpoint: str, encoded: Encoded, headers: Mapping[str, str]) -> dict[str, str]:
        region, keys = await self._aws.region(), await self._aws.credentials()
        url = endpoint.rstrip("/") + encoded.path
        signed = {"content-type": "application/json"}
        signed |= {
            name: value for name, value in headers.items() if name == "content-type" or name.startswith("x-amz-")
        }

        def sign() -> dict[str, str]:
            return signature(encoded.method, url, signed, encoded.body, keys, region)

        return await asyncio.to_thread(sign) if len(encoded.body) > LARGE else sign()

    async def aclose(self) -> None:
        """Nothing is ours."""


def signature(
    method: str, url: str, headers: Mapping[str, str], body: bytes, keys: object, region: str
) -> dict[str, str]:
    """The headers that sign a request with these (frozen) credentials, now. Costs 0.1 ms."""
    from botocore.auth import SigV4Auth  # type: ignore[import-untyped]
    from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]

    request = AWSRequest(method=method, url=url, data=body, headers=dict(headers))
    SigV4Auth(keys, NAME, region).add_auth(request)
    return {name.lower(): str(value) for name, value in request.headers.items() if name.lower() not in headers}


__all__ = ["BedrockCarrier", "bedrock_backend", "signature"]
