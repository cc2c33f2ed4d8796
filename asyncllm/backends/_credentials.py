"""Who asks: a key, the environment, or a provider of fresh tokens. Nothing here shows a secret."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable, Collection, Mapping
from types import MappingProxyType
from typing import Self

from msgspec import Struct

from ..events import AuthenticationError, LLMError
from ._jwt import read_claim

TokenProvider = Callable[[], str | Awaitable[str]]
"""Sync or async; asked afresh for every request, so that it may rotate. A sync one must not block."""


class Bearer(str):
    """A token that goes in `Authorization: Bearer`, also where keys have a header of their own. `beside` are the headers that
    go with it."""

    __slots__ = ("beside",)

    beside: Mapping[str, str]

    def __new__(cls, token: str, beside: Mapping[str, str] = MappingProxyType({})) -> Self:
        made = super().__new__(cls, token)
        made.beside = beside
        return made


class Claim(Struct, frozen=True):
    """A header whose value is a claim of the token, at `path` in it, unless the variable `env` gives it."""

    path: tuple[str, ...]
    env: str


class BearerRule(Struct, frozen=True):
    """Which credentials of a vendor are bearer tokens and never keys.

    Attributes:
        env: variables that hold such tokens.
        prefixes: how such tokens begin, wherever they come from.
        headers: what those with such a prefix need beside them.
        claims: headers that are read from such a token.
    """

    env: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    headers: Mapping[str, str] = {}
    claims: Mapping[str, Claim] = {}

    def beside(self, token: str, given: Collection[str], provider: str) -> Mapping[str, str]:
        """The headers that a token needs, without the claims that were `given`. Raises :class:`AuthenticationError` for a
        token that lacks a claim."""
        found = dict(self.headers)
        for header, claim in self.claims.items():
            if header in given:
                continue
            value = os.environ.get(claim.env) or read_claim(token, claim.path)
            if value is None:
                raise AuthenticationError(
                    f"the token is not a JWT with the claim {claim.path[-1]}; set the environment variable {claim.env} or pass"
                    f" extra_headers={{{header!r}: ...}}",
                    provider=provider,
                )
            found[header] = value
        return found


NO_RULE = BearerRule()


class Credentials:
    """The key of one backend. The environment is read when it is needed, not when the client is made."""

    __slots__ = ("_bearer", "_default", "_env", "_given", "_key", "_provider", "_token_provider")

    def __init__(
        self,
        provider: str,
        *,
        api_key: str | None = None,
        token_provider: TokenProvider | None = None,
        env: tuple[str, ...] = (),
        default: str | None = None,
        bearer: BearerRule = NO_RULE,
        given: Collection[str] = (),
    ) -> None:
        self._provider = provider
        self._key = api_key
        self._token_provider = token_provider
        self._env = env
        self._default = default
        self._bearer = bearer
        self._given = given  # headers that the caller sends himself

    def __repr__(self) -> str:
        return f"Credentials({self._provider!r}, {self.source})"

    @property
    def source(self) -> str:
        """Where the key comes from, in words; "missing" if it comes from nowhere."""
        if self._token_provider is not None:
            return "token provider"
        if self._key is not None:
            return "api_key"
        for name in self._env:
            if os.environ.get(name):
                return f"environment {name}"
        return "none needed" if self._default is not None else "missing"

    async def token(self) -> str:
        """The key for one request, or a :class:`Bearer`; "" where none is needed. Raises :class:`AuthenticationError` if it is
        missing."""
        if self._token_provider is not None:
            try:
                token = self._token_provider()
                if inspect.isawaitable(token):
                    token = await token
            except LLMError:
                raise
            except Exception as error:
                why = f"the token provider failed: {type(error).__name__}: {error}"
                raise AuthenticationError(why, provider=self._provider) from error
            if not isinstance(token, str) or not token:
                raise AuthenticationError(
                    f"the token provider gave {type(token).__name__} instead of a token", provider=self._provider
                )
            return self._sent(token, bearer=True)
        if self._key:
            return self._sent(self._key)
        for name in self._env:
            if key := os.environ.get(name):
                return self._sent(key, bearer=name in self._bearer.env)
        if self._default is not None:
            return self._default
        variables = " or ".join(self._env)
        how = f"set the environment variable {variables} or pass api_key=" if variables else "pass api_key="
        raise AuthenticationError(f"no key for {self._provider}: {how}", provider=self._provider)

    def _sent(self, given: str, *, bearer: bool = False) -> str:
        """A key or token as it is sent. What it is, its prefix says, wherever it came from."""
        token = _header_safe(given, self._provider)
        if token.startswith(self._bearer.prefixes):
            return Bearer(token, self._bearer.beside(token, self._given, self._provider))
        return Bearer(token) if bearer else token


def auth_headers(header: str, token: str) -> dict[str, str]:
    """The headers that carry a key or a token: "Bearer" goes with `authorization` alone. None for no token."""
    if not token:
        return {}
    if isinstance(token, Bearer):
        return {"authorization": f"Bearer {token}", **token.beside}
    return {header: f"Bearer {token}" if header == "authorization" else token}


def _header_safe(key: str, provider: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise AuthenticationError(
            "the key holds characters that no HTTP header can (a line break, a quote from a document?)",
            provider=provider,
        )
    return key
