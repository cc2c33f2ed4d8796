"""What type checkers see of structured output. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Generic, TypedDict, TypeVar, assert_type

from msgspec import Struct
from pydantic import BaseModel

from asyncllm import Client, Reply, Stream, SyncClient, SyncStream

T = TypeVar("T")


class City(Struct):
    name: str


@dataclass
class Town:
    name: str


class Village(TypedDict):
    name: str


class Hamlet(BaseModel):
    name: str


class Colour(enum.Enum):
    RED = "red"


class Box(Struct, Generic[T]):
    item: T


async def complete(client: Client) -> None:
    """The type that is asked for is the type of the output, or None where there is none."""
    assert_type(await client.complete("Where?", output=City), Reply[City])
    assert_type((await client.complete("Where?", output=City)).output, City | None)
    assert_type((await client.complete("Where?", output=Town)).output, Town | None)
    assert_type((await client.complete("Where?", output=Village)).output, Village | None)
    assert_type((await client.complete("Where?", output=Hamlet)).output, Hamlet | None)
    assert_type((await client.complete("Which?", output=Colour)).output, Colour | None)
    assert_type((await client.complete("Which?", output=Box[City])).output, Box[City] | None)
    assert_type((await client.complete("Which?", output=list[City])).output, list[City] | None)
    assert_type((await client.complete("How many?", output=int)).output, int | None)
    assert_type((await client.complete("Where?", output={"type": "object"})).output, object | None)


async def stream(client: Client) -> None:
    """Partials are JSON; the reply has the type."""
    async with client.stream("Where?", output=Hamlet) as stream:
        assert_type(stream, Stream[Hamlet])
        assert_type(stream.partials, AsyncIterator[dict[str, object]])
        async for partial in stream.partials:
            assert_type(partial, dict[str, object])
        reply = await stream.reply()
    assert_type(reply, Reply[Hamlet])
    if reply.output is not None:
        assert_type(reply.output.name, str)
        reply.output.nmae  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue]  # noqa: B018


def blocking(client: SyncClient) -> None:
    """The facade: the same without await."""
    assert_type(client.complete("Where?", output=City).output, City | None)
    stream = client.stream("Where?", output=Village)
    assert_type(stream, SyncStream[Village])
    assert_type(stream.partials, Iterator[dict[str, object]])
    assert_type(stream.reply().output, Village | None)
