"""What type checkers see of the public API. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, TypedDict, assert_never, assert_type

from msgspec import Struct

import asyncllm
from asyncllm import (
    Audio,
    Citation,
    Client,
    File,
    Finish,
    FirstTokenTimeout,
    Image,
    LLMError,
    Message,
    OverloadedError,
    RateLimitError,
    RawEvent,
    ReasoningDelta,
    RefusalDelta,
    Reply,
    Retrying,
    Session,
    Stopped,
    Stream,
    StreamError,
    StreamEvent,
    StreamStart,
    SyncClient,
    TextDelta,
    Timeout,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolProgress,
    ToolResult,
    Usage,
    fold,
)


class City(Struct):
    name: str


@dataclass
class Town:
    name: str


class Village(TypedDict):
    name: str


async def structured_output(client: Client) -> None:
    """The type that is asked for is the type of the output."""
    assert_type(await client.complete("Where?", output=City), Reply[City])
    assert_type((await client.complete("Where?", output=City)).output, City | None)
    assert_type(await client.complete("Where?", output=Town), Reply[Town])
    assert_type(await client.complete("Where?", output=Village), Reply[Village])
    assert_type(await client.complete("Where?", output={"type": "object"}), Reply[object])
    assert_type(await client.complete("Where?"), Reply[object])
    assert_type(client.stream("Where?", output=City), Stream[City])
    assert_type(await (await client.stream("Where?", output=City)).reply(), Reply[City])


async def ways_to_ask(client: Client) -> None:
    """Every form of input, and every option."""
    tool = Tool("weather", "The weather", {"type": "object"})
    dicts: list[Message | dict[str, object]] = [{"role": "user", "content": "Hi"}, Message("user", "Hi")]
    await client.complete(Message("user", "Hi"))
    await client.complete([Message("user", "Hi")])
    await client.complete([{"role": "user", "content": "Hi"}])
    await client.complete(dicts)
    await client.complete(
        "Hi",
        system="Be brief",
        tools=[tool, {"type": "function", "function": {"name": "f"}}],
        tool_choice="weather",
        max_tokens=5,
        temperature=0,
        top_p=0.5,
        stop=["a"],
        seed=1,
        reasoning="low",
        extra_body={"top_k": 3},
        extra_headers={"x": "y"},
        timeout=Timeout(total=5),
        raw=True,
    )
    await client.complete("Hi", temprature=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    await client.complete(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]


async def both_ways_to_stream(client: Client) -> None:
    """Awaited, and as a context manager; its views."""
    stream = await client.stream("Hi")
    assert_type(stream, Stream[object])
    async for event in stream:
        assert_type(event, StreamEvent)
    async with client.stream("Hi") as entered:
        assert_type(entered, Stream[object])
        assert_type(entered.text, AsyncIterator[str])
        assert_type(entered.as_events(), AsyncIterator[StreamEvent])
        assert_type(entered.batches(), AsyncIterator[list[StreamEvent]])
        assert_type(await entered.reply(), Reply[object])
        assert_type(entered.partial, Reply[object])
        assert_type(entered.error, LLMError | None)
    await stream.aclose()


def name_of(event: StreamEvent) -> str:
    """A match over all events is exhaustive."""
    match event:
        case StreamStart(model=model):
            return model
        case TextDelta(text=text) | ReasoningDelta(text=text) | RefusalDelta(text=text):
            return text
        case ToolCallDelta(index=index, id=id, name=name, arguments=fragment):
            return f"{index}{id}{name}{fragment}"
        case ToolCall(name=name, arguments=arguments, invalid=reason):
            assert_type(arguments, dict[str, object] | None)
            assert_type(reason, str | None)
            return name
        case ToolResult():
            return event.text
        case Image(data=data) | Audio(data=data) | File(data=data):
            assert_type(data, bytes | None)
            return str(data)
        case Citation(url=url):
            return url
        case Usage(input_tokens=tokens, cost=cost):
            assert_type(cost, float | None)
            return str(tokens)
        case Retrying(attempt=attempt, delay=delay, error=error):
            assert_type(delay, float)
            return f"{attempt}{error.message}"
        case ToolProgress(progress=progress, total=total, message=message):
            assert_type(total, float | None)
            return f"{progress}{message}"
        case Session(id=id, state=kept):
            assert_type(kept, bytes | None)
            return id
        case Stopped(reason=why):
            return why
        case Finish(raw=raw):
            return raw or ""
        case StreamError(error=error):
            return error.message
        case RawEvent(data=data):
            assert_type(data, object)
            return str(data)
        case _:
            assert_never(event)


async def errors(client: Client) -> float | None:
    """One tree; the fields of a class are known."""
    try:
        await client.complete("Hi")
    except RateLimitError as error:
        assert_type(error.partial, Reply[object] | None)
        return error.reset_time.timestamp() if error.reset_time else error.retry_after
    except (OverloadedError, FirstTokenTimeout) as error:
        assert_type(error.status, int | None)
    except asyncllm.LLMError as error:
        assert_type(error.retryable, bool)
    return None


async def making_clients(backend: asyncllm.Backend) -> None:
    """By name, by backend, by a list of both; credentials that are asked for."""

    async def token() -> str:
        return "t"

    async with Client("openai/gpt-5-mini", api_key="k", retry=0, timeout=5) as client:
        assert_type(client, Client)
    Client(backend)
    Client(["openai/a", backend], token_provider=token)
    Client("openai/a", token_provider=lambda: "t", retry=asyncllm.RetryPolicy())


def blocking(question: str) -> Iterator[str]:
    """The facade: the same names without await."""
    with SyncClient("openai/gpt-5-mini") as client:
        assert_type(client, SyncClient)
        assert_type(client.complete(question, output=City), Reply[City])
        assert_type(client.complete(question), Reply[object])
        stream = client.stream(question, output=City)
        assert_type(stream, asyncllm.SyncStream[City])
        for event in stream:
            assert_type(event, StreamEvent)
        assert_type(stream.reply(), Reply[City])
        yield from client.stream(question).text


def folding(events: list[StreamEvent]) -> Any:
    """The fold, by itself."""
    reply = fold(events)
    assert_type(reply, Reply[object])
    assert_type(reply.tool_calls, list[ToolCall])
    assert_type(reply.usage, Usage | None)
    return reply.output
