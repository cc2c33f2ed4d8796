"""What models an endpoint has: GET {base_url}/models, with the provider's credentials."""

from __future__ import annotations

from collections.abc import Mapping

import httpx2
import msgspec

from ..backends import VENDORS, HTTPBackend, Settings, make_backend
from ..backends._carrier import transport_failure
from ..backends._credentials import auth_headers
from ..backends._registry import COMPATIBLE
from ..events import InvalidRequestError, ProtocolError
from ..protocols import classify_response
from ..transports import http_client

TIMEOUT = httpx2.Timeout(30.0, connect=10.0)


async def list_models(provider: str, *, base_url: str | None = None, api_key: str | None = None) -> list[str]:
    """The names of the models of `provider`, as the endpoint gives them. Raises LLMError."""
    async with http_client(timeout=TIMEOUT) as client:
        if provider == "demo" and base_url is None:
            from ..testing import demo_server

            server = await demo_server()
            try:
                names = await _ask(client, provider, server.base_url, {})
                return [name.removeprefix("demo/") for name in names]
            finally:
                await server.aclose()
        settings = Settings(http=lambda: client, api_key=api_key, base_url=base_url)
        backend, _ = make_backend(f"{provider}/-", settings)
        if provider == "demo" or not isinstance(backend, HTTPBackend):
            raise InvalidRequestError(f"{provider} has no list of models at a base URL")
        row = next((vendor for vendor in VENDORS if vendor.name == backend.name), COMPATIBLE)
        headers = {**row.models_headers, **auth_headers(row.auth_header, await backend.credentials.token())}
        return await _ask(client, backend.name, backend.where, headers, row.models_path)


async def _ask(
    client: httpx2.AsyncClient, provider: str, base_url: str, headers: Mapping[str, str], path: str = "/models"
) -> list[str]:
    try:
        url = httpx2.URL(base_url)
        response = await client.get(url.copy_with(path=url.path.rstrip("/") + path), headers=headers)
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise transport_failure(error, provider=provider, model="", where=base_url) from error
    if response.status_code != 200:
        raise classify_response(response.status_code, response.headers, response.content, provider=provider)
    names = names_in(response.content)
    if names is None:
        raise ProtocolError("the answer is not a list of models", provider=provider, body=response.text)
    return names


def names_in(content: bytes) -> list[str] | None:
    """The names in `{"data": [{"id": ..}]}` (OpenAI), a bare list of that (Together) or `{"models": [{"name": ..}]}`."""
    try:
        body = msgspec.json.decode(content)
    except msgspec.DecodeError:
        return None
    found = body.get("data", body.get("models")) if isinstance(body, dict) else body
    if not isinstance(found, list):
        return None
    names = [item.get("id") or item.get("name") for item in found if isinstance(item, dict)]
    return [name for name in names if isinstance(name, str)]
