"""Stream from any language model as typed asyncio events.

async with asyncllm.Client("openai/gpt-5-mini") as client:
    async with client.stream("Why is the sky blue?") as stream:
        async for text in stream.text:
            print(text, end="")
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._version import __version__

if TYPE_CHECKING:
    from ._client import Client
    from ._map import Map, MapResult
    from ._stream import Stream
    from ._sync import SyncClient, SyncStream
    from ._sync_map import SyncMap
    from .backends import Backend, RetryPolicy, providers
    from .events import (
        Audio,
        AuthenticationError,
        BillingError,
        Citation,
        ConnectionFailedError,
        ConnectTimeout,
        ContentBlockedError,
        ContextLengthExceededError,
        File,
        Finish,
        FirstTokenTimeout,
        Fold,
        Image,
        IncompleteStreamError,
        InterTokenTimeout,
        InvalidRequestError,
        LLMError,
        LLMTimeoutError,
        MaxOutputTokensError,
        Message,
        NotFoundError,
        OverloadedError,
        PermissionDeniedError,
        ProtocolError,
        ProviderState,
        RateLimitError,
        RawEvent,
        Reasoning,
        ReasoningDelta,
        RefusalDelta,
        Reply,
        Retrying,
        ServerError,
        StreamError,
        StreamEvent,
        StreamStart,
        Text,
        TextDelta,
        ToolCall,
        ToolCallDelta,
        ToolResult,
        TotalTimeout,
        UnknownError,
        Usage,
        check_order,
        event_from_json,
        event_to_json,
        fold,
    )
    from .protocols import Timeout, Tool

_HOMES = {
    "_client": ("Client",),
    "_map": ("Map", "MapResult"),
    "_stream": ("Stream",),
    "_sync": ("SyncClient", "SyncStream"),
    "_sync_map": ("SyncMap",),
    "backends": ("Backend", "RetryPolicy", "providers"),
    "protocols": ("Timeout", "Tool"),
}
"""Where names come from; those that are not listed come from `events`."""

__all__ = [
    "Audio",
    "AuthenticationError",
    "Backend",
    "BillingError",
    "Citation",
    "Client",
    "ConnectTimeout",
    "ConnectionFailedError",
    "ContentBlockedError",
    "ContextLengthExceededError",
    "File",
    "Finish",
    "FirstTokenTimeout",
    "Fold",
    "Image",
    "IncompleteStreamError",
    "InterTokenTimeout",
    "InvalidRequestError",
    "LLMError",
    "LLMTimeoutError",
    "Map",
    "MapResult",
    "MaxOutputTokensError",
    "Message",
    "NotFoundError",
    "OverloadedError",
    "PermissionDeniedError",
    "ProtocolError",
    "ProviderState",
    "RateLimitError",
    "RawEvent",
    "Reasoning",
    "ReasoningDelta",
    "RefusalDelta",
    "Reply",
    "RetryPolicy",
    "Retrying",
    "ServerError",
    "Stream",
    "StreamError",
    "StreamEvent",
    "StreamStart",
    "SyncClient",
    "SyncMap",
    "SyncStream",
    "Text",
    "TextDelta",
    "Timeout",
    "Tool",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "TotalTimeout",
    "UnknownError",
    "Usage",
    "__version__",
    "check_order",
    "event_from_json",
    "event_to_json",
    "fold",
    "providers",
]


def __getattr__(name: str) -> object:
    """Names are imported when they are first used: `import asyncllm` costs next to nothing."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = next((home for home, names in _HOMES.items() if name in names), "events")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
