"""One call over HTTP: bytes in, batches of events out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Self, cast

import httpx2

from ..events import IncompleteStreamError, LLMError, StreamError, StreamEvent, TextDelta
from ..protocols import Decoder, Encoded, Request, classify_response, request_id
from ..transports import SniffingFramer
from ._backend import Flow
from ._carrier import Answer, transport_failure
from ._http import HTTPBackend

TAIL_GRACE = 1.0
"""Seconds that a server gets for its last words (usage, `[DONE]`) after the model said that it was done (quirk B2)."""

MAX_REQUESTS = 3
"""How many times one call may be sent while a server's dialect is learnt."""

RESUMPTIONS = (0.0, 0.5, 2.0, 8.0)
"""Seconds before each try to go on with a stream that broke, where its wire allows that (quirk H18). Any event that comes
makes the tries start anew."""


class HTTPSource:
    __slots__ = (
        "_answer",
        "_backend",
        "_closed",
        "_decoder",
        "_ended_at",
        "_failure",
        "_framer",
        "_left",
        "_line",
        "_request",
        "_resumed",
        "wait",
    )

    def __init__(self, backend: HTTPBackend, request: Request) -> None:
        self._backend = backend
        self._request = request
        self._answer: Answer | None = None
        self._decoder: Decoder | None = None
        self._framer: SniffingFramer
        self._line: Callable[[bytes], bytes | None]
        self._reframe()
        self._left: list[StreamEvent] | None = None  # events that `take` left to `__anext__`, ...
        self._failure: Exception | None = None  # ... and what it failed with
        self._ended_at: float | None = None  # loop time at which the model said that it was done
        self._closed = False
        self._resumed = 0  # tries since the last event

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if self._closed:
            raise StopAsyncIteration
        if self._answer is None:
            try:
                await self._begin()
            except LLMError as error:
                self._closed = True
                return [StreamError(error)]
        decoder = self._decoder
        assert decoder is not None
        while True:
            try:
                events = await self._read(decoder)
            except StopAsyncIteration:
                if await self._resume():
                    continue
                return await self._end(self._close_decoder())
            except TimeoutError:  # the grace is over
                await self._drop()
                return decoder.close()
            except (httpx2.TransportError, httpx2.DecodingError) as error:
                if await self._resume():
                    continue
                await self._drop()
                return decoder.fail(self._broken(error))
            except LLMError as error:
                await self._drop()
                return decoder.fail(error)
            if decoder.done:
                return await self._end(events)
            if events:
                return events

    async def _read(self, decoder: Decoder) -> list[StreamEvent]:
        """What some bytes say, or what was left to be said."""
        assert self._answer is not None
        if self._left is None and self._failure is None:
            data = await (self._tail() if decoder.ending else self._answer.read())
            if events := self.take(data):
                return [events] if isinstance(events, TextDelta) else events
        if self._failure is not None:
            raise self._failure
        left, self._left = self._left, None
        return left or []

    # ---- as a Flow

    @property
    def flow(self) -> Flow | None:
        """Where nothing is between us and the transport, until the model says that it is done."""
        answer, decoder = self._answer, self._decoder
        if self._closed or answer is None or answer.direct is None or decoder is None or decoder.ending:
            return None
        self.wait: Callable[[float], asyncio.Future[bytes]] = answer.direct.expect
        return cast("Flow", self)  # pyright takes `wait` for a method of ours, that is to be bound

    def take(self, data: bytes) -> TextDelta | list[StreamEvent]:
        decoder = self._decoder
        assert decoder is not None
        try:
            line = self._line(data)
            if line is not None:
                if (text := decoder.plain(line)) is not None:
                    self._resumed = 0
                    return text
                events = decoder.decode_lines((line,))
            else:
                found: list[Any] = self._framer.read(data)
                self._line = self._framer.line
                is_lines = found and found[0].__class__ is bytes
                events = decoder.decode_lines(found) if is_lines else decoder.decode(found)
        except Exception as failure:  # noqa: BLE001  # raised by `__anext__`
            self._failure = failure
            return []
        if decoder.ending or decoder.done:
            self._left = events
            return []
        self._resumed = 0
        return events

    def _reframe(self) -> None:
        """Another body begins."""
        self._framer = SniffingFramer()
        self._line = self._framer.line

    async def _begin(self) -> None:
        """Send, and have the head of a good answer; said in another way where the server asks for that."""
        backend, request = self._backend, self._request
        for left in range(MAX_REQUESTS - 1, -1, -1):
            codec = backend.codec(request.model)
            encoded = codec.encode(request)
            try:
                self._answer = await self._open(encoded)
            except LLMError as error:
                adapted = codec.adapted(error) if left else None
                if adapted is None:
                    raise
                backend.adapt(request.model, adapted)
            else:
                self._decoder = codec.decoder(request, encoded)
                return

    async def _open(self, encoded: Encoded) -> Answer:
        backend, request = self._backend, self._request
        try:
            token = await backend.credentials.token()
            headers = {**backend.headers, **request.extra_headers}
            answer = await backend.carrier.send(encoded, token, headers, request.timeout)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise transport_failure(error, provider=backend.name, model=request.model, where=backend.where) from error
        if 200 <= answer.status < 300:
            return answer
        content = await answer.error_body()
        raise classify_response(answer.status, answer.headers, content, provider=backend.name, model=request.model)

    async def _resume(self) -> bool:
        """Whether there is a new answer now, which goes on where the last one broke."""
        assert self._answer is not None
        assert self._decoder is not None
        while self._resumed < len(RESUMPTIONS) and (encoded := self._decoder.resume()) is not None:
            await self._answer.aclose()
            await asyncio.sleep(RESUMPTIONS[self._resumed])
            self._resumed += 1
            try:
                self._answer = await self._open(encoded)
            except LLMError as error:
                if not error.retryable:
                    break
            else:
                self._reframe()
                return True
        return False

    def _close_decoder(self) -> list[StreamEvent]:
        assert self._decoder is not None
        try:
            return self._decoder.close(self._framer.close())
        except LLMError as error:
            return self._decoder.fail(error)

    async def _tail(self) -> bytes:
        """The next bytes after the model was done. Raises TimeoutError when the grace for them is over."""
        assert self._answer is not None
        now = asyncio.get_running_loop().time()
        if self._ended_at is None:
            self._ended_at = now
        async with asyncio.timeout(max(0.0, self._ended_at + TAIL_GRACE - now)):
            return await self._answer.read()

    async def _end(self, events: list[StreamEvent]) -> list[StreamEvent]:
        """The last events are here: the connection goes back to its pool if the body ends as it should."""
        self._closed = True
        assert self._answer is not None
        if isinstance(last := events[-1], StreamError):
            last.error.request_id = last.error.request_id or request_id(self._answer.headers)
            await self._answer.aclose()
        else:
            await self._answer.finish()
        return events

    async def _drop(self) -> None:
        self._closed = True
        assert self._answer is not None
        await self._answer.aclose()

    def _broken(self, error: Exception) -> LLMError:
        backend = self._backend
        if isinstance(error, httpx2.TimeoutException):
            return transport_failure(error, provider=backend.name, model=self._request.model, where=backend.where)
        text = str(error) or type(error).__name__
        return IncompleteStreamError(f"the connection broke in the middle of the answer: {text}")

    async def aclose(self) -> None:
        if not self._closed:
            self._closed = True
            if self._answer is not None:
                await self._answer.aclose()

    def abort(self) -> None:
        self._closed = True
        if self._answer is not None:
            self._answer.abort()
