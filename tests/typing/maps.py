"""What type checkers see of maps. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import assert_type

from msgspec import Struct

from asyncllm import Client, LLMError, Map, MapResult, Message, Reply, SyncClient, SyncMap, Timeout


class City(Struct):
    name: str


async def mapping(client: Client, later: AsyncIterator[Message]) -> None:
    """The type that is asked for is the type of every output."""
    assert_type(client.map(["a"], output=City), Map[City])
    assert_type(client.map(["a"], output={"type": "object"}), Map[object])
    assert_type(client.map(["a"]), Map[object])
    async for result in client.map(["a"], output=City, concurrency=5):
        assert_type(result, MapResult[City])
        assert_type(result.reply, Reply[City] | None)
        assert_type(result.error, LLMError | None)
        assert_type(result.index, int)
        if result.reply is not None:
            assert_type(result.reply.output, City | None)
    async with client.map(later, temperature=0, timeout=Timeout(total=5)) as results:
        assert_type(results, Map[object])
        assert_type(await anext(results), MapResult[object])
    await results.aclose()


def inputs(client: Client, questions: Iterator[str]) -> None:
    """Whatever can be iterated, of whatever a call takes."""
    client.map(questions)
    client.map({"a", "b"})
    client.map(f"question {number}" for number in range(5))
    client.map([Message("user", "a"), "b"])
    client.map([[Message("user", "a"), {"role": "user", "content": "b"}]])
    client.map(5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
    client.map(["a"], temprature=0)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]


def blocking(client: SyncClient) -> None:
    """The facade: the same names without await."""
    assert_type(client.map(["a"], output=City), SyncMap[City])
    assert_type(client.map(["a"]), SyncMap[object])
    with client.map(["a"], output=City) as results:
        assert_type(results, SyncMap[City])
        for result in results:
            assert_type(result, MapResult[City])
    results.close()
