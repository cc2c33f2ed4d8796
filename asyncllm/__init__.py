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
    from ._conversation import Conversation
    from ._map import Map, MapResult
    from ._query_result import PromptMetadata, QueryResult
    from ._run import Run
    from ._run_options import RunOptions
    from ._stream import Stream
    from ._sync import SyncClient, SyncStream
    from ._sync_map import SyncMap
    from ._transcript import transcript
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
        InvalidOutputError,
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
        Session,
        Stopped,
        StreamError,
        StreamEvent,
        StreamStart,
        Text,
        TextDelta,
        ToolCall,
        ToolCallDelta,
        ToolProgress,
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
    from .tools import MCP, Allow, Approval, Content, Deny, FunctionTool, Report, RunnableTool, ToolError, Toolset, tool

_HOMES = {
    "_client": ("Client",),
    "_conversation": ("Conversation",),
    "_map": ("Map", "MapResult"),
    "_query_result": ("PromptMetadata", "QueryResult"),
    "_run": ("Run",),
    "_run_options": ("RunOptions",),
    "_stream": ("Stream",),
    "_sync": ("SyncClient", "SyncStream"),
    "_sync_map": ("SyncMap",),
    "_transcript": ("transcript",),
    "backends": ("Backend", "RetryPolicy", "providers"),
    "protocols": ("Timeout", "Tool"),
    "tools": (
        "MCP",
        "Allow",
        "Approval",
        "Content",
        "Deny",
        "FunctionTool",
        "Report",
        "RunnableTool",
        "ToolError",
        "Toolset",
        "tool",
    ),
}
"""Where names come from; those that are not listed come from `events`."""

__all__ = [
    "MCP",
    "Allow",
    "Approval",
    "Audio",
    "AuthenticationError",
    "Backend",
    "BillingError",
    "Citation",
    "Client",
    "ConnectTimeout",
    "ConnectionFailedError",
    "Content",
    "ContentBlockedError",
    "ContextLengthExceededError",
    "Conversation",
    "Deny",
    "File",
    "Finish",
    "FirstTokenTimeout",
    "Fold",
    "FunctionTool",
    "Image",
    "IncompleteStreamError",
    "InterTokenTimeout",
    "InvalidOutputError",
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
    "PromptMetadata",
    "ProtocolError",
    "ProviderState",
    "QueryResult",
    "RateLimitError",
    "RawEvent",
    "Reasoning",
    "ReasoningDelta",
    "RefusalDelta",
    "Reply",
    "Report",
    "RetryPolicy",
    "Retrying",
    "Run",
    "RunOptions",
    "RunnableTool",
    "ServerError",
    "Session",
    "Stopped",
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
    "ToolError",
    "ToolProgress",
    "ToolResult",
    "Toolset",
    "TotalTimeout",
    "UnknownError",
    "Usage",
    "__version__",
    "check_order",
    "event_from_json",
    "event_to_json",
    "fold",
    "providers",
    "tool",
    "transcript",
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
