"""Vertex AI: Gemini (`vertex`), other models on the chat wire (`vertex-maas`), and a user's own ``genai.Client``.

Sources: the Vertex AI reference (locations, endpoints, authentication, express mode), the google-genai SDK's client.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import msgspec

from ..events import InvalidRequestError, LLMError
from ..protocols import Codec, Encoded, Timeout
from ._backend import Backend
from ._credentials import Credentials
from ._google_credentials import GoogleCredentials
from ._http import HTTPBackend
from ._registry import Settings, _checked_url, _quirks
from ._vendors import Vendor

if TYPE_CHECKING:
    from ._carrier import HTTP, Answer, Carrier

KEY_HEADER = "x-goog-api-key"
_PROJECT = ("GOOGLE_CLOUD_PROJECT",)
_LOCATION = ("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION")
_MULTI_REGIONS = ("us", "eu")
_NAME = re.compile(r"[a-z0-9][a-z0-9.:-]*")


def host(location: str) -> str:
    """The endpoint of a location: a region, a multi-region, or `global`."""
    if location == "global":
        return "https://aiplatform.googleapis.com"
    if location in _MULTI_REGIONS:
        return f"https://aiplatform.{location}.rep.googleapis.com"
    return f"https://{location}-aiplatform.googleapis.com"


def vertex_backend(settings: Settings) -> Backend:
    """Gemini on Vertex AI. Options: `project`, `location`, `api_version`, `credentials`, `impersonate`, and the quirks of the
    wire. An `api_key` means express mode: no project is needed then."""
    if settings.sdk_client is not None:
        return genai_backend("vertex", settings)
    options = dict(settings.options)
    codec = _codec("gemini", "vertex", options, model_prefix="publishers/google/models/")
    place = _Place(options, "v1beta1")
    key = settings.api_key
    if key is None and settings.token_provider is None and not place.project and not place.given:
        key = os.environ.get("GOOGLE_API_KEY") or None  # express mode, where nothing says otherwise
    _no_more(options, "vertex", place, codec.quirks)
    if key is not None and not place.chosen:
        place.express = True
    return place.backend("vertex", codec, settings, place.path, key)


def maas_backend(settings: Settings) -> Backend:
    """Llama, Mistral and others on Vertex AI, over its OpenAI-compatible endpoint."""
    options = dict(settings.options)
    codec = _codec("openai_chat", "vertex-maas", options)
    place = _Place(options, "v1")
    _no_more(options, "vertex-maas", place, codec.quirks)

    def path(project: str) -> str:
        return f"{place.path(project)}/endpoints/openapi"

    return place.backend("vertex-maas", codec, settings, path, settings.api_key, key_header="authorization")


def genai_backend(name: str, settings: Settings) -> Backend:
    """The endpoint, API version, headers and credentials of a ``genai.Client``, of the Gemini API or of Vertex AI. Requests go
    over our own HTTP."""
    source = settings.sdk_client._api_client
    http, vertex = source._http_options, bool(source.vertexai)
    options = dict(settings.options)
    prefix = {"model_prefix": "publishers/google/models/"} if vertex else {}
    codec = _codec("gemini", name, options, **prefix)
    place = _Place({"project": source.project, "location": source.location}, "", {})
    _no_more(options, name, place, codec.quirks)
    parts = [(http.base_url or "").rstrip("/"), http.api_version or ""]
    headers = {key.lower(): value for key, value in (http.headers or {}).items()}
    for ours in (KEY_HEADER, "content-type", "user-agent"):
        headers.pop(ours, None)
    merged = msgspec.structs.replace(
        settings, base_url=settings.base_url or "/".join(filter(None, parts)), headers={**headers, **settings.headers}
    )
    place.express = not (vertex and source.project and source.location)
    place.given = source._credentials
    key = settings.api_key or source.api_key
    if key is None and place.express:
        key = ""  # a gateway with a base URL of its own: its headers say who asks
    return place.backend(name, codec, merged, place.path, key, named=True)


class _Place:
    """Project, location and credentials, from options or the environment."""

    options = ("project", "location", "api_version", "credentials", "impersonate")

    def __init__(self, options: dict[str, object], version: str, env: Mapping[str, str] | None = None) -> None:
        env = os.environ if env is None else env
        given = {name: options.pop(name, None) for name in self.options}
        self.chosen = bool(given["project"] or given["location"])
        self.project = _name("project", given["project"] or _first(_PROJECT, env))
        self.location = _name("location", given["location"] or _first(_LOCATION, env)) or "global"
        self.version = str(given["api_version"] or version)
        self.given = given["credentials"]
        self.impersonate = None if given["impersonate"] is None else str(given["impersonate"])
        self.express = False

    def path(self, project: str) -> str:
        """What stands before the model's path."""
        return "" if self.express else f"/projects/{project}/locations/{self.location}"

    def backend(
        self,
        name: str,
        codec: Codec,
        settings: Settings,
        path: Callable[[str], str],
        key: str | None,
        *,
        key_header: str = KEY_HEADER,
        named: bool = False,
    ) -> Backend:
        """`path` gives what stands between the base URL and the path of a request. A base URL of the user's that names a
        project is used as it is (`named`: is used with the project that is known)."""
        base = f"{host('global' if self.express else self.location)}/{self.version}"
        if settings.base_url is not None:
            base = _checked_url(settings.base_url).rstrip("/")
            if "/projects/" in base or not (self.project or named):
                path = _nothing
        credentials: Credentials
        if settings.token_provider is not None or key is not None:
            # without a token provider there is a key, which may be "": the headers say who asks then
            credentials = Credentials(
                name, api_key=key, token_provider=settings.token_provider, default="" if key == "" else None
            )
        else:
            credentials = GoogleCredentials(name, given=self.given, impersonate=self.impersonate)
        if not self.project and path("") and not isinstance(credentials, GoogleCredentials):
            raise InvalidRequestError(f"{name} needs project=, or the environment variable GOOGLE_CLOUD_PROJECT")

        def make_carrier() -> Carrier:
            return GoogleCarrier(base, path, self.project, credentials, settings.http, key_header)

        where = base + (path(self.project) if self.project else path("{project}"))
        return HTTPBackend(name, codec, make_carrier, credentials, headers=settings.headers, where=where)


class GoogleCarrier:
    """Over HTTP, below a project that may only be known with the credentials; a token that is refused is renewed once."""

    def __init__(
        self, base: str, path: Callable[[str], str], project: str, credentials: Credentials, http: HTTP, key_header: str
    ) -> None:
        self._base = base
        self._path = path
        self._project = project
        self._credentials = credentials
        self._http = http
        self._key_header = key_header
        self._carrier: Carrier | None = None

    async def send(self, encoded: Encoded, token: str, headers: Mapping[str, str], timeout: Timeout) -> Answer:
        credentials = self._credentials
        if self._carrier is None:
            from ._carrier import HTTPCarrier

            project = self._project
            if not project and self._path("") and isinstance(credentials, GoogleCredentials):
                project = await credentials.project()
            self._carrier = HTTPCarrier(self._base + self._path(project), http=self._http, auth_header=self._key_header)
        answer = await self._carrier.send(encoded, token, headers, timeout)
        if answer.status == 401 and isinstance(credentials, GoogleCredentials):
            credentials.forget(token)
            try:
                fresh = await credentials.token()
            except LLMError:
                return answer  # its refusal says more
            if fresh != token:
                await answer.aclose()
                return await self._carrier.send(encoded, fresh, headers, timeout)
        return answer

    async def aclose(self) -> None:
        """Nothing is ours."""


def _nothing(project: str) -> str:
    return ""


def _codec(wire: str, name: str, options: dict[str, object], **quirks: object) -> Any:
    module = import_module(f"asyncllm.protocols.{wire}")
    row = Vendor(name=name, wire=wire, base_url="", quirks=quirks)
    return module.CODEC(name, _quirks(row, module.QUIRKS, options))


def _no_more(options: Mapping[str, object], name: str, place: _Place, quirks: msgspec.Struct) -> None:
    if options:
        known = ", ".join(sorted([*place.options, *quirks.__struct_fields__]))
        raise InvalidRequestError(f"{name} knows no option {', '.join(sorted(options))}; it knows {known}")


def _first(names: tuple[str, ...], env: Mapping[str, str]) -> str:
    return next((value for name in names if (value := env.get(name))), "")


def _name(what: str, value: object) -> str:
    text = str(value or "")
    if text and not _NAME.fullmatch(text):
        raise InvalidRequestError(f"{what} {text!r} is no name that can stand in a URL")
    return text
