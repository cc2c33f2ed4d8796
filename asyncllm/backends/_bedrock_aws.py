"""What AWS's library knows: the region, the endpoint, and the credentials of profiles, SSO, roles, containers and instances.

aioboto3 reads files and parses megabytes of JSON where it is called, and takes half a second to be imported. So all of it
happens in a thread of its own, in an event loop that ends with it; one load serves all requests that wait, under any loop. A
session of the user's stays on the loop that uses it: its locks and its clients are there.
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import os
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from ..events import AuthenticationError, ConnectionFailedError, InvalidRequestError, LLMError

T = TypeVar("T")

PROVIDER = "bedrock"
SERVICE = "bedrock-runtime"
REGIONS = ("AWS_REGION", "AWS_DEFAULT_REGION")

_HOW = (
    "pass api_key= (a Bedrock API key) or session=, or set AWS_BEARER_TOKEN_BEDROCK, or AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or run where a role is attached"
)


class AWS:
    """One identity in one region.

    Args:
        region: None looks into the session, the environment, and the profile.
        profile: of the files that AWS's tools share; None is what AWS_PROFILE names.
        session: an ``aioboto3.Session`` of the user's.
        endpoint: where to send; None asks AWS's rules for the region (which know partitions, FIPS, AWS_ENDPOINT_URL).
    """

    def __init__(
        self,
        *,
        region: str | None = None,
        profile: str | None = None,
        session: Any = None,
        endpoint: str | None = None,
    ) -> None:
        if session is not None and not _is_async(session):
            raise InvalidRequestError(f"session must be an aioboto3.Session, not {_named(session)}")
        if session is not None and profile is not None:
            raise InvalidRequestError("session= has a profile of its own: leave profile= out")
        self._region = region
        self._profile = profile
        self._given = session
        self._endpoint = endpoint
        self._session: Any = None  # ours: used in one thread at a time
        self._keys: Any = None  # of ours: what refreshes itself ...
        self._frozen: Any = None  # ... and what it gave
        self._lock = threading.Lock()
        self._loads: dict[str, Future[Any]] = {}

    def __repr__(self) -> str:
        return f"AWS(region={self._region!r}, profile={self._profile!r})"

    async def endpoint(self) -> str:
        if self._endpoint is None:
            region, profile = await self.region(), self._profile
            if self._given is not None and self._given.profile_name != "default":
                profile = self._given.profile_name
            self._endpoint = await self._load("endpoint", lambda: _find_endpoint(region, profile))
        return self._endpoint

    async def region(self) -> str:
        """Raises :class:`InvalidRequestError` if nobody names one."""
        if self._region is None and self._given is not None:
            self._region = self._given.region_name
        if self._region is None:
            self._region = next((value for name in REGIONS if (value := os.environ.get(name))), None)
        if self._region is None and self._given is None:
            self._region = await self._load("region", self._find_region)
        if self._region is None:
            raise InvalidRequestError(
                "bedrock needs a region: pass region=, set AWS_REGION or AWS_DEFAULT_REGION, or name one in the profile",
                provider=PROVIDER,
            )
        return self._region

    async def credentials(self) -> Any:
        """Keys that are good now (access_key, secret_key, token). Raises :class:`AuthenticationError` if there are none."""
        if self._given is not None:
            try:
                return await _there(await self._given.get_credentials()).get_frozen_credentials()
            except Exception as error:
                raise failure(error) from error
        if self._frozen is None or _is_old(self._keys):
            self._frozen = await self._load("credentials", self._find_credentials)
        return self._frozen

    # ---- in a thread

    async def _load(self, what: str, find: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the load under way, or a new one, finds. Whoever waits may be cancelled; the load goes on."""
        with self._lock:
            load = self._loads.get(what)
            if load is None or load.done():
                load = self._loads[what] = Future()
                load.set_running_or_notify_cancel()
                threading.Thread(target=_work, args=(load, find), daemon=True, name=f"aws-{what}").start()
        try:
            found: T = await asyncio.wrap_future(load)
        except LLMError as error:
            raise copy.copy(error) from error.__cause__  # each of those who wait may add what it had received
        return found

    def _own(self) -> Any:
        if self._session is None:
            import aioboto3  # type: ignore[import-untyped]

            self._session = aioboto3.Session(profile_name=self._profile, region_name=self._region)
        return self._session

    async def _find_region(self) -> str | None:
        region: str | None = self._own().region_name
        return region

    async def _find_credentials(self) -> Any:
        if self._keys is None:
            self._keys = _there(await self._own().get_credentials())
        return await self._keys.get_frozen_credentials()


async def _find_endpoint(region: str, profile: str | None) -> str:
    import aioboto3
    from aiobotocore.config import AioConfig  # type: ignore[import-untyped]
    from botocore import UNSIGNED  # type: ignore[import-untyped]

    session: Any = aioboto3.Session(profile_name=profile, region_name=region)
    async with session.client(SERVICE, config=AioConfig(signature_version=UNSIGNED)) as client:
        url: str = client.meta.endpoint_url
        return url


def _work(load: Future[T], find: Callable[[], Coroutine[Any, Any, T]]) -> None:
    try:
        found = asyncio.run(find())
    except BaseException as error:  # noqa: BLE001  # whatever it is, those who wait must hear of it
        load.set_exception(failure(error))
    else:
        load.set_result(found)


def _is_async(session: Any) -> bool:
    """Whether this is aioboto3's session, and not boto3's, which blocks and looks the same."""
    inner = getattr(session, "_session", None)
    return inspect.iscoroutinefunction(getattr(inner, "get_credentials", None)) and hasattr(session, "region_name")


def _named(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _is_old(keys: Any) -> bool:
    """Whether the keys have an end that is near; AWS's library says what is near."""
    refresh_needed = getattr(keys, "refresh_needed", None)
    return refresh_needed is not None and bool(refresh_needed())


def _there(keys: Any) -> Any:
    if keys is None:
        raise AuthenticationError(f"no AWS credentials: {_HOW}", provider=PROVIDER)
    return keys


def failure(error: BaseException) -> LLMError:
    """Our error for what AWS's library raised while it looked for credentials, a region or an endpoint."""
    if isinstance(error, LLMError):
        return error
    if isinstance(error, ImportError):
        return InvalidRequestError(
            f"bedrock needs aioboto3: pip install 'asyncllm[bedrock]' ({error})", provider=PROVIDER
        )
    from botocore import exceptions

    text = f"{type(error).__name__}: {error}"
    if isinstance(error, exceptions.ProfileNotFound | exceptions.ConfigParseError | ValueError):
        return InvalidRequestError(f"the configuration of AWS is wrong: {text}", provider=PROVIDER)
    if isinstance(error, exceptions.HTTPClientError | exceptions.ConnectionError):
        return ConnectionFailedError(f"AWS's credentials could not be fetched: {text}", provider=PROVIDER)
    return AuthenticationError(f"AWS gave no credentials: {text}; {_HOW}", provider=PROVIDER)
