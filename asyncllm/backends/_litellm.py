"""LiteLLM in this process: whatever it can speak to, its chunks through our own assembly of chat completions.

LiteLLM pins openai < 3 and httpx 0.28, so it lives in an environment of its own. It is imported when the first request is
sent, in a thread: that takes seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Self

import msgspec

from ..events import IncompleteStreamError, InvalidRequestError, LLMError, StreamError, StreamEvent
from ..protocols import Decoder, Request
from ..protocols.openai_chat import ChatCodec
from ..transports import Frame
from ._backend import EventSource
from ._credentials import Credentials
from ._litellm_errors import typed_error

if TYPE_CHECKING:
    from ._registry import Settings

NAME = "litellm"

MISSING = (
    "litellm/... needs the package litellm, which is not installed: pip install 'asyncllm[litellm]', in an environment of "
    "its own, for it pins openai < 3 and httpx < 1. Or run its proxy and use litellm-proxy/... with base_url="
)

RESERVED = frozenset(
    {"model", "messages", "stream", "api_key", "api_base", "base_url", "extra_headers", "timeout", "acompletion"}
)
"""What `acompletion` is given by us: no backend option."""


def litellm_backend(settings: Settings) -> LiteLLMBackend:
    if settings.sdk_client is not None:
        raise InvalidRequestError("litellm/... makes its own connections: it takes no openai client")
    if taken := RESERVED & settings.options.keys():
        raise InvalidRequestError(f"litellm: {', '.join(sorted(taken))} cannot be a backend option")
    if find_spec("litellm") is None:
        raise InvalidRequestError(MISSING)
    # without a key of ours LiteLLM looks for one in the variables of the provider
    credentials = Credentials(NAME, api_key=settings.api_key, token_provider=settings.token_provider, default="")
    return LiteLLMBackend(credentials, settings.base_url, settings.headers, settings.options)


class LiteLLMBackend:
    """`options` are keywords of `litellm.acompletion` (api_version=, vertex_project=, aws_region_name=, drop_params= ...)."""

    name = NAME

    def __init__(
        self, credentials: Credentials, base_url: str | None, headers: Mapping[str, str], options: Mapping[str, object]
    ) -> None:
        self._credentials = credentials
        self._base_url = base_url
        self._headers = dict(headers)
        self._options = dict(options)
        self.codec = ChatCodec(NAME)

    def stream(self, request: Request) -> EventSource:
        return _Source(self, request)

    async def arguments(self, body: bytes, request: Request) -> dict[str, Any]:
        """The keywords of one call."""
        asked: dict[str, Any] = {**self._options, **msgspec.json.decode(body)}
        asked["messages"] = [_with_thinking_blocks(message) for message in asked["messages"]]
        if token := await self._credentials.token():
            asked["api_key"] = token
        if self._base_url is not None:
            asked["api_base"] = self._base_url
        if headers := {**self._headers, **request.extra_headers}:
            asked["extra_headers"] = headers
        if asked.get("tools"):
            asked.setdefault(
                "_skip_mcp_handler", True
            )  # it would import the package mcp to look for servers in `tools`
        return {"num_retries": 0, "max_retries": 0, **asked}  # retries are ours

    async def aclose(self) -> None:
        """Nothing: LiteLLM keeps its connections for all its callers."""


class _Source:
    """One call: LiteLLM's chunks in, batches of events out."""

    __slots__ = ("_answer", "_backend", "_chunks", "_closed", "_decoder", "_request", "_thought")

    def __init__(self, backend: LiteLLMBackend, request: Request) -> None:
        self._backend = backend
        self._request = request
        self._decoder: Decoder | None = None
        self._answer: Any = None  # LiteLLM's stream
        self._chunks: Any = None  # its iterator
        self._thought: list[str] = []  # of a block of thinking that is not signed yet
        self._closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[StreamEvent]:
        if self._closed:
            raise StopAsyncIteration
        events: list[StreamEvent] = []
        try:
            if self._decoder is None and (whole := await self._begin()) is not None:
                events = self._read(whole)
            while not events:
                events = self._read(await anext(self._chunks))
        except StopAsyncIteration:
            assert self._decoder is not None
            events = self._decoder.close()
        except LLMError as error:
            events = self._failed(error)
        except Exception as error:  # noqa: BLE001  # nothing that a library of many providers raises may escape
            request = self._request
            failure = typed_error(error, provider=NAME, model=request.model, begun=self._chunks is not None)
            events = self._failed(failure)
        if self._decoder is None or self._decoder.done:
            await self.aclose()
        return events

    async def _begin(self) -> Any:
        """Ask; a whole answer, where the stream was switched off in the extra body."""
        backend, request = self._backend, self._request
        encoded = backend.codec.encode(request)
        litellm = await asyncio.to_thread(_load)
        arguments = await backend.arguments(encoded.body, request)
        if (idle := request.timeout.idle) is not None:
            arguments["timeout"] = import_module("httpx").Timeout(idle, connect=request.timeout.connect)
        answer = await litellm.acompletion(**arguments)
        self._decoder = backend.codec.decoder(request, encoded)
        if not hasattr(answer, "__aiter__"):
            self._chunks = _nothing()
            return answer
        self._answer = answer
        self._chunks = aiter(answer)
        return None

    def _read(self, chunk: Any) -> list[StreamEvent]:
        assert self._decoder is not None
        if _is_invented(chunk, self._answer):
            why = "the stream ended without a finish_reason, and LiteLLM made one up"
            return self._decoder.fail(IncompleteStreamError(why))
        text = chunk.model_dump_json(exclude_none=True, warnings=False)
        if getattr(chunk, "usage", None) is not None or '"thinking_blocks"' in text:
            text = self._completed(text)
        return self._decoder.decode([Frame(text)])

    def _completed(self, text: str) -> str:
        """The chunk with what LiteLLM says in its own way under the names that we know."""
        data = msgspec.json.decode(text)
        if isinstance(usage := data.get("usage"), dict) and not _is_reported(self._answer):
            usage["estimated"] = True
        for choice in data.get("choices") or ():
            delta = choice.get("delta") or {}
            if blocks := [block for piece in delta.pop("thinking_blocks", ()) if (block := self._block(piece))]:
                delta["reasoning_details"] = [*delta.get("reasoning_details", ()), *blocks]
        return msgspec.json.encode(data).decode()

    def _block(self, piece: dict[str, Any]) -> dict[str, Any] | None:
        """A whole block of thinking: its text comes in pieces, the signature that makes it one comes last."""
        if piece.get("type") != "thinking":
            return piece
        self._thought.append(piece.get("thinking") or "")
        if not piece.get("signature"):
            return None
        thought, self._thought = "".join(self._thought), []
        return {**piece, "thinking": thought}

    def _failed(self, error: LLMError) -> list[StreamEvent]:
        return [StreamError(error)] if self._decoder is None else self._decoder.fail(error)

    async def aclose(self) -> None:
        self._closed = True
        answer, self._answer = self._answer, None
        if answer is not None:
            await answer.aclose()

    def abort(self) -> None:
        self._closed = True
        answer, self._answer = self._answer, None
        if answer is not None:
            with contextlib.suppress(RuntimeError):  # no loop: the collection of the stream closes it
                task = asyncio.get_running_loop().create_task(answer.aclose())
                _closing.add(task)
                task.add_done_callback(_closing.discard)


_closing: set[asyncio.Task[None]] = set()


def _load() -> Any:
    """The package. It fetches a list of prices from the network on import, unless told not to; that is for nobody here."""
    known = "litellm" in sys.modules
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    litellm: Any = import_module("litellm")
    if not known:  # nobody has set it up before us
        litellm.telemetry = False
        litellm.suppress_debug_info = True  # it prints where it fails
    return litellm


async def _nothing() -> Any:
    return
    yield


def _is_invented(chunk: Any, answer: Any) -> bool:
    """Whether a finish_reason is LiteLLM's own: it says "stop" for a stream that just ended (B1)."""
    choices = getattr(chunk, "choices", None)
    if answer is None or not choices or not getattr(choices[0], "finish_reason", None):
        return False
    words = [getattr(answer, name, "") for name in ("received_finish_reason", "intermittent_finish_reason")]
    return words[0] is None and not words[1]


def _is_reported(answer: Any) -> bool:
    """Whether any chunk of the provider had the usage; else LiteLLM counted with a tokenizer of its own (F9)."""
    if answer is None:
        return True
    return any(getattr(chunk, "usage", None) is not None for chunk in getattr(answer, "chunks", ()))


def _with_thinking_blocks(message: dict[str, Any]) -> dict[str, Any]:
    """Blocks of thinking go back under LiteLLM's name for them."""
    details = message.pop("reasoning_details", None)
    if not details:
        return message
    blocks = [item for item in details if item.get("type") in ("thinking", "redacted_thinking")]
    others = [item for item in details if item not in blocks]
    return {
        **message,
        **({"thinking_blocks": blocks} if blocks else {}),
        **({"reasoning_details": others} if others else {}),
    }
