"""From "provider/model" to a backend: the rows, and the few backends that are code."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

import msgspec

from ..events import InvalidRequestError
from ..protocols import Codec
from ._backend import Backend
from ._credentials import Credentials, TokenProvider
from ._http import HTTPBackend
from ._vendors import BY_NAME, SPECIAL_BY_NAME, SPECIALS, VENDORS, Vendor

if TYPE_CHECKING:
    import httpx2

    from ..transports import FastTransport
    from ._carrier import Carrier

Q = TypeVar("Q", bound=msgspec.Struct)

COMPATIBLE = Vendor(name="openai-compatible", base_url="", default_key="")
"""Any server of the chat wire at a base URL of one's own."""


class Settings(msgspec.Struct, kw_only=True):
    """What a client gives to the backends it makes. `http` is called when a request is sent, not before."""

    http: Callable[[], httpx2.AsyncClient | FastTransport]
    sdk_client: Any = None
    api_key: str | None = None
    token_provider: TokenProvider | None = None
    base_url: str | None = None
    headers: Mapping[str, str] = {}
    options: Mapping[str, object] = {}

    def __repr__(self) -> str:
        """Without keys and headers."""
        return f"Settings(base_url={self.base_url!r})"


def make_backend(spec: str, settings: Settings) -> tuple[Backend, str]:
    """The backend of "provider/model", and the model. Raises :class:`InvalidRequestError` with what to write instead."""
    provider, slash, model = spec.partition("/")
    special = SPECIAL_BY_NAME.get(provider)
    optional = special is not None and not special.model_needed
    if not slash and not optional:
        if settings.base_url is None and settings.sdk_client is None:
            raise InvalidRequestError(f"model {spec!r}: write it as provider/model, for example {_example(spec)!r}")
        provider, model = COMPATIBLE.name, spec
    if not model and not optional:
        raise InvalidRequestError(f"model {spec!r} names no model: write it as {provider}/<model>")
    if special is not None:
        module, _, function = special.home.partition(":")
        backend: Backend = getattr(import_module(f".{module}", __package__), function)(settings)
        return backend, model
    vendor = COMPATIBLE if provider == COMPATIBLE.name else BY_NAME.get(provider)
    if vendor is None:
        raise InvalidRequestError(_unknown(provider, model))
    return _vendor_backend(vendor, settings), model


def _vendor_backend(vendor: Vendor, settings: Settings) -> Backend:
    if settings.sdk_client is not None:
        from ._sdk import SDK_WIRES, sdk_of

        kind = sdk_of(settings.sdk_client) or ""
        if vendor.wire not in SDK_WIRES.get(kind, ()):
            raise InvalidRequestError(f"http_client: {vendor.name} cannot be asked through a client of {kind}")
        if kind == "google-genai":
            from ._google import genai_backend

            return genai_backend(vendor.name, settings)
    options = dict(settings.options)
    module = import_module(f"asyncllm.protocols.{vendor.wire}")  # only the wire that is spoken
    codec: Codec = module.CODEC(vendor.name, _quirks(vendor, module.QUIRKS, options))
    sdk = settings.sdk_client
    if sdk is not None:
        where = str(sdk.base_url)
        credentials = Credentials(vendor.name, default="")  # the SDK client has its own
    else:
        where = _base_url(vendor, settings.base_url, options)
        credentials = Credentials(
            vendor.name,
            api_key=settings.api_key,
            token_provider=settings.token_provider,
            env=vendor.env,
            default=vendor.default_key,
            bearer=vendor.bearer,
            given=settings.headers,
        )
    if options:
        known = sorted([*vendor.fields, *module.QUIRKS.__struct_fields__])
        raise InvalidRequestError(
            f"{vendor.name} knows no option {', '.join(sorted(options))}; it knows {', '.join(known)}"
        )

    def make_carrier() -> Carrier:
        from ._carrier import HTTPCarrier
        from ._sdk import OpenAICarrier

        if sdk is not None:
            return OpenAICarrier(sdk, vendor.name)
        return HTTPCarrier(where, http=settings.http, auth_header=vendor.auth_header)

    return HTTPBackend(vendor.name, codec, make_carrier, credentials, headers=settings.headers, where=where)


def _quirks(vendor: Vendor, kind: type[Q], options: dict[str, object]) -> Q:
    """The row's quirks, with those that the options set."""
    given = {name: options.pop(name) for name in kind.__struct_fields__ if name in options}
    try:
        return msgspec.convert({**vendor.quirks, **given}, kind)
    except msgspec.ValidationError as error:
        raise InvalidRequestError(f"backend option: {error}") from None


def _base_url(vendor: Vendor, given: str | None, options: dict[str, object]) -> str:
    filled: dict[str, object] = {name: options.pop(name, None) for name in vendor.fields}
    if given is not None:
        return _checked_url(given)
    if (from_env := env_url(vendor)) is not None:
        return _checked_url(from_env)
    for name, variables in vendor.fields.items():
        field = filled[name] or next((found for variable in variables if (found := os.environ.get(variable))), None)
        if not field:
            raise InvalidRequestError(
                f"{vendor.name} needs {name}=, or the environment variable {' or '.join(variables)}, or base_url="
            )
        filled[name] = str(field).removeprefix("https://").strip("/")
    if not vendor.base_url:
        raise InvalidRequestError(f"{vendor.name} needs base_url=")
    return _checked_url(vendor.base_url.format_map(filled))


def env_url(vendor: Vendor) -> str | None:
    """The base URL that the environment gives, completed; it is not checked."""
    value = next((found for name in vendor.base_url_env if (found := os.environ.get(name))), None)
    if value is None:
        return None
    if vendor.local and "://" not in value:
        value = _completed(value, vendor.base_url)
    value = value.rstrip("/").removesuffix(vendor.base_url_suffix).removesuffix(vendor.base_url_other)
    return value.rstrip("/") + vendor.base_url_suffix


def _completed(value: str, base_url: str) -> str:
    """`host`, `host:port` or `:port` (as OLLAMA_HOST has them) with what is missing from the URL of the row. An address that
    servers bind to for "everywhere" is this machine."""
    usual = urlsplit(base_url)
    try:
        given = urlsplit(f"//{value}")
        host, port = given.hostname or usual.hostname or "", given.port or usual.port
    except ValueError:
        return value
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # nothing is bound here
    path = given.path.rstrip("/") or usual.path
    return f"{usual.scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        good = False
    if not good or not url.isascii() or not url.isprintable() or " " in url:
        raise InvalidRequestError(f"base_url {url!r} is not a URL of the form http(s)://host[:port][/path]")
    return url


def providers() -> list[str]:
    """The names of all providers, in alphabetical order."""
    return sorted([*(special.name for special in SPECIALS), *(vendor.name for vendor in VENDORS)])


def _example(model: str) -> str:
    return f"openai/{model}" if model else "openai/gpt-5-mini"


def _unknown(provider: str, model: str) -> str:
    import difflib

    near = difflib.get_close_matches(provider, [*BY_NAME, *SPECIAL_BY_NAME], n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]}/{model}?" if near else ""
    own = f"for a server of your own: {COMPATIBLE.name}/{model} with base_url="
    return f"no provider is named {provider!r}{hint} (known: {', '.join(providers())}; {own})"
