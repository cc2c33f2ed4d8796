"""Who asks: a key, the environment, or a provider of fresh tokens. Nothing here shows a secret."""

from __future__ import annotations

import inspect
import os
from collections.abc import Awaitable, Callable

from ..events import AuthenticationError, LLMError

TokenProvider = Callable[[], str | Awaitable[str]]
"""Sync or async; asked afresh for every request, so that it may rotate. A sync one must not block."""


class Credentials:
    """The key of one backend. The environment is read when it is needed, not when the client is made."""

    __slots__ = ("_default", "_env", "_key", "_provider", "_token_provider")

    def __init__(
        self,
        provider: str,
        *,
        api_key: str | None = None,
        token_provider: TokenProvider | None = None,
        env: tuple[str, ...] = (),
        default: str | None = None,
    ) -> None:
        self._provider = provider
        self._key = api_key
        self._token_provider = token_provider
        self._env = env
        self._default = default

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
        """The key or token for one request; "" where none is needed. Raises :class:`AuthenticationError` if it is missing."""
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
            return _header_safe(token, self._provider)
        key = self._key
        for name in self._env:
            key = key or os.environ.get(name)
        if key:
            return _header_safe(key, self._provider)
        if self._default is not None:
            return self._default
        variables = " or ".join(self._env)
        how = f"set the environment variable {variables} or pass api_key=" if variables else "pass api_key="
        raise AuthenticationError(f"no key for {self._provider}: {how}", provider=self._provider)


def auth_headers(header: str, token: str) -> dict[str, str]:
    """The header that carries a token: "Bearer" goes with `authorization` alone. None for no token."""
    if not token:
        return {}
    return {header: f"Bearer {token}" if header == "authorization" else token}


def _header_safe(key: str, provider: str) -> str:
    key = key.strip()
    if not key.isascii() or not key.isprintable():
        raise AuthenticationError(
            "the key holds characters that no HTTP header can (a line break, a quote from a document?)",
            provider=provider,
        )
    return key
