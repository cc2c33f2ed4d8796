"""The HTTP backend: a codec, a carrier and credentials, joined.

This file is light: what does the work (``_http_source``, ``_carrier`` and, under them, httpx2) is imported when a client is
entered or first asked, not when it is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..protocols import Codec, Request
from ._backend import EventSource
from ._credentials import Credentials

if TYPE_CHECKING:
    from ._carrier import Carrier


class HTTPBackend:
    """One vendor's endpoint. `make_carrier` is called once, for the first request; `where` names the endpoint in messages."""

    def __init__(
        self,
        name: str,
        codec: Codec,
        make_carrier: Callable[[], Carrier],
        credentials: Credentials,
        *,
        headers: Mapping[str, str] | None = None,
        where: str = "",
    ) -> None:
        self.name = name
        self.credentials = credentials
        self.headers = dict(headers or {})
        self.where = where or name
        self._codec = codec
        self._make_carrier = make_carrier
        self._carrier: Carrier | None = None
        self._adapted: dict[str, Codec] = {}  # by model: what its server taught us about its dialect (G9, F10)

    def stream(self, request: Request) -> EventSource:
        from ._http_source import HTTPSource

        return HTTPSource(self, request)

    @property
    def carrier(self) -> Carrier:
        if self._carrier is None:
            self._carrier = self._make_carrier()
        return self._carrier

    def codec(self, model: str) -> Codec:
        return self._adapted.get(model, self._codec)

    def adapt(self, model: str, codec: Codec) -> None:
        """From now on this codec speaks to this model."""
        self._adapted[model] = codec

    async def aclose(self) -> None:
        if self._carrier is not None:
            await self._carrier.aclose()
