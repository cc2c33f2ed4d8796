"""What type checkers see of prompts. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import assert_type

from msgspec import Struct

from asyncllm import (
    Client,
    LLMError,
    Message,
    PromptMetadata,
    QueryResult,
    Reply,
    RetryPolicy,
    StreamEvent,
    SyncClient,
    Usage,
)


class City(Struct):
    name: str


def show(event: StreamEvent) -> None: ...


def weather(city: str) -> str:
    return city


async def prompting(client: Client) -> None:
    """The type that is asked for is the type of the output, of the result and of its reply."""
    result = await client.prompt("Oslo?", tools=[weather], output=City)
    assert_type(result, QueryResult[City])
    assert_type(result.output, City | None)
    assert_type(result.stream_result, Reply[City])
    assert_type(result.result, str)
    assert_type(result.error, LLMError | None)
    assert_type(result.messages, list[Message])
    assert_type(result.transcript, str)
    assert_type(result.metadata, PromptMetadata)
    assert_type(result.metadata.usage, Usage | None)
    assert_type(result.metadata.tools, Mapping[str, int])
    assert_type(await client.prompt("Oslo?"), QueryResult[object])
    assert_type(await client.prompt([Message("user", "Hi")], output={"type": "object"}), QueryResult[object])
    assert_type(client.last_metadata, PromptMetadata | None)


async def options(client: Client) -> None:
    """Those of a run, of a call, and its own."""
    await client.prompt("Hi", system="Be brief.", max_tokens=5, max_steps=3, approve=lambda call: True)
    await client.prompt("Hi", on_event=show, retry=RetryPolicy(tries=1), log_dir="log", dump_failed=Path("failed"))
    await client.prompt("Hi", on_event=print, retry=0, log_dir=None, dump_failed=None)
    await client.prompt("Hi", on_evnt=show)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    Client("openai/x", dump_failed="failed", log_dir=Path("log"), retry=3)


def blocking(client: SyncClient) -> None:
    """The facade: the same names without await."""
    assert_type(client.prompt("Oslo?", output=City), QueryResult[City])
    assert_type(client.prompt("Oslo?", tools=[weather]), QueryResult[object])
    assert_type(client.last_metadata, PromptMetadata | None)
