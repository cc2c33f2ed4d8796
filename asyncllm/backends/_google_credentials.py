"""Google's credentials (ADC, service accounts, impersonation, an object of the user's), through google-auth.

google-auth blocks: it reads files, probes for a metadata server, and posts to token endpoints. All of that happens in a
thread of its own, so that no stream ever waits for it; one refresh serves all requests that wait.
"""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..events import AuthenticationError, ConnectionFailedError, InvalidRequestError, LLMError, ServerError
from ._credentials import Bearer, Credentials, _header_safe

if TYPE_CHECKING:
    import httpx2

SCOPES = ("https://www.googleapis.com/auth/cloud-platform",)

AHEAD = 225.0
"""Seconds before its end at which a token is renewed, while it is still used: google-auth's own threshold."""
LEAST = 10.0
"""Seconds that a token must still be good for to be sent."""

_HOW = (
    "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS to the key file of a service account, "
    "or pass credentials= or token_provider="
)


class GoogleCredentials(Credentials):
    """An OAuth token for each request, renewed ahead of its end.

    Args:
        provider: who asks, for messages.
        given: a google-auth credentials object, the path of a key file, or its content; None finds the application default
            credentials where the program runs.
        impersonate: the service account to act as.
    """

    __slots__ = ("_found", "_impersonate", "_lock", "_origin", "_project", "_refresh")

    def __init__(self, provider: str, *, given: object = None, impersonate: str | None = None) -> None:
        super().__init__(provider)
        self._origin = given
        self._impersonate = impersonate
        self._found: Any = None
        self._project: str | None = None
        self._lock = threading.Lock()
        self._refresh: Future[None] | None = None

    @property
    def source(self) -> str:
        if self._origin is not None:
            return "credentials="
        if os.environ.get("GOOGLE_APPLICATION_CREDENTIALS"):
            return "environment GOOGLE_APPLICATION_CREDENTIALS"
        return "application default credentials"

    async def token(self) -> str:
        left = self._left()
        if left <= AHEAD:
            earlier, refresh = self._refresh, self._renew()
            if left <= LEAST:
                await asyncio.wrap_future(refresh)
                if refresh is earlier and self._left() <= LEAST:  # it was under way for the token that has ended now
                    await asyncio.wrap_future(self._renew())
        found = self._found
        quota = getattr(found, "quota_project_id", None)
        return Bearer(_header_safe(str(found.token), self._provider), {"x-goog-user-project": quota} if quota else {})

    async def project(self) -> str:
        """The project that the credentials belong to, where they say it."""
        if self._found is None:
            await asyncio.wrap_future(self._renew())
        if not self._project:
            raise InvalidRequestError(
                f"{self._provider} needs project= or the variable GOOGLE_CLOUD_PROJECT: its credentials name none",
                provider=self._provider,
            )
        return self._project

    def _left(self) -> float:
        """Seconds that the token is good for."""
        found = self._found
        if found is None or not found.token:
            return 0.0
        expiry: datetime | None = getattr(found, "expiry", None)  # naive, in UTC
        if expiry is None:
            return float("inf")
        return (expiry.replace(tzinfo=UTC) - datetime.now(UTC)).total_seconds()

    def forget(self, token: str) -> None:
        """The server refused this token: it is renewed before the next request."""
        found = self._found
        if found is not None and found.token == str(token) and getattr(found, "expiry", None) is not None:
            found.expiry = datetime.fromtimestamp(0, UTC).replace(tzinfo=None)

    # ---- in a thread

    def _renew(self) -> Future[None]:
        """The refresh under way, or a new one. The thread ends with it, and never keeps the program from ending."""
        with self._lock:
            if self._refresh is None or self._refresh.done():
                self._refresh = Future()
                self._refresh.set_running_or_notify_cancel()  # who waits may be cancelled; the refresh goes on
                threading.Thread(target=self._work, args=(self._refresh,), daemon=True, name="google-token").start()
            return self._refresh

    def _work(self, refresh: Future[None]) -> None:
        try:
            with _Request() as ask:
                if self._found is None:
                    self._find(ask)
                found: Any = self._found
                if self._left() <= AHEAD:
                    found.refresh(ask)
        except Exception as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
            refresh.set_exception(self._failure(error))
        else:
            refresh.set_result(None)

    def _find(self, ask: Any) -> None:
        import google.auth.credentials

        given: Any = self._origin
        project = None
        if given is None:
            given, project = google.auth.default(scopes=SCOPES, request=ask)
        elif isinstance(given, Mapping | str | os.PathLike):
            given = _loaded(given)
        else:
            given = google.auth.credentials.with_scopes_if_required(given, SCOPES)  # type: ignore[no-untyped-call]
        if self._impersonate:
            from google.auth import impersonated_credentials

            given = impersonated_credentials.Credentials(  # type: ignore[no-untyped-call]
                source_credentials=given, target_principal=self._impersonate, target_scopes=list(SCOPES)
            )
        self._project = project or getattr(given, "project_id", None)
        self._found = given

    def _failure(self, error: Exception) -> LLMError:
        fields: dict[str, Any] = {"provider": self._provider}
        if isinstance(error, LLMError):
            error.provider = error.provider or self._provider
            return error
        if isinstance(error, ImportError):
            return AuthenticationError(
                f"{self._provider} needs google-auth for its credentials: pip install 'asyncllm[google]', or pass "
                "token_provider=",
                **fields,
            )
        from google.auth import exceptions

        text = str(error.args[0]) if error.args else type(error).__name__
        if isinstance(error, exceptions.DefaultCredentialsError):
            return AuthenticationError(f"no Google credentials: {_HOW} ({text})", **fields)
        if isinstance(error, exceptions.TransportError):
            return ConnectionFailedError(f"no connection to Google's token endpoint: {text}", **fields)
        if isinstance(error, exceptions.RefreshError) and getattr(error, "retryable", False):
            return ServerError(f"Google's token endpoint failed: {text}", **fields)
        return AuthenticationError(f"Google gave no token: {text}; {_HOW}", **fields)


_LOADERS = {
    "service_account": ("google.oauth2.service_account", "from_service_account_info"),
    "authorized_user": ("google.oauth2.credentials", "from_authorized_user_info"),
    "impersonated_service_account": (
        "google.auth.impersonated_credentials",
        "from_impersonated_service_account_info",
    ),
    "external_account": ("google.auth.identity_pool", "from_info"),
}
"""By the type that a key file names; others are found as application default credentials."""


def _loaded(given: Mapping[str, object] | str | os.PathLike[str]) -> Any:
    """Credentials from a key file, or from what stands in one."""
    try:
        info = dict(given) if isinstance(given, Mapping) else json.loads(Path(given).read_text())
        module, loader = _LOADERS[str(info["type"])]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise AuthenticationError(
            f"credentials= is no key file of Google's ({type(error).__name__}): its type must be one of {', '.join(_LOADERS)}"
        ) from None
    return getattr(import_module(module).Credentials, loader)(info, scopes=list(SCOPES))


class _Response:
    """An answer as google-auth reads it."""

    def __init__(self, response: httpx2.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.data = response.content


class _Request:
    """google-auth's way to ask, over our HTTP library: it needs no other. Used in one thread, as a context manager."""

    def __enter__(self) -> _Request:
        import httpx2

        self._client = httpx2.Client(follow_redirects=True)
        return self

    def __exit__(self, *error: object) -> None:
        self._client.close()

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,
        **options: object,
    ) -> _Response:
        import httpx2
        from google.auth import exceptions

        try:
            return _Response(self._client.request(method, url, content=body, headers=headers, timeout=timeout or 60.0))
        except httpx2.HTTPError as error:
            raise exceptions.TransportError(str(error) or type(error).__name__) from error  # type: ignore[no-untyped-call]
