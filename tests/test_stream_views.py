"""The same stream as text, batches, reply and typed output; and the conversation that goes on from it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

import msgspec
import pydantic
import pytest
from _chat import answers, bodies, client_of
from _rawserver import STREAM_HEAD, RawConnection, chunk, raw_server
from _replay import DONE, ROLE, STOP, chunk_of, http, said, sse, text

from asyncllm import (
    Image,
    InvalidRequestError,
    MaxOutputTokensError,
    Message,
    ProtocolError,
    RefusalDelta,
    Text,
    TextDelta,
    ToolResult,
    fold,
)


async def test_text_gives_the_pieces_of_the_answer() -> None:
    """`stream.text` passes over everything but text, and the reply still has it all."""
    body = sse(ROLE, chunk_of({"reasoning": "hm"}), text("Hel"), text("lo"), STOP, DONE)
    async with answers(http(body)) as server, client_of(server) as client, client.stream("Hi") as stream:
        assert [piece async for piece in stream.text] == ["Hel", "lo"]
        reply = await stream.reply()
    assert (reply.text, reply.reasoning) == ("Hello", "hm")


async def test_text_raises_what_the_stream_raises() -> None:
    """A cut stream does not look like a short text."""
    async with (
        answers(http(sse(ROLE, text("Hel")))) as server,
        client_of(server) as client,
        client.stream("Hi") as stream,
    ):
        with pytest.raises(ProtocolError):
            [piece async for piece in stream.text]


async def test_views_share_one_position() -> None:
    """Events taken through one view are not said again through another."""
    async with answers(http(said("a", "b", "c"))) as server, client_of(server) as client, client.stream("Hi") as stream:
        async for event in stream:
            if event == TextDelta("a"):
                break
        pieces = stream.text
        assert await anext(pieces) == "b"
        assert (await stream.reply()).text == "abc"


async def test_batches_are_what_arrived_together() -> None:
    """One list a wakeup; joined, the same events as iterating gives."""
    parts = [sse(ROLE, text("a")), sse(text("b"), text("c")), sse(STOP, DONE)]

    async def script(connection: RawConnection) -> None:
        while True:
            await connection.request()
            await connection.send(STREAM_HEAD, *(chunk(part) for part in parts), b"0\r\n\r\n")

    async with raw_server(script) as server, client_of(server) as client:
        async with client.stream("Hi") as stream:
            batches = [batch async for batch in stream.batches()]
        async with client.stream("Hi") as stream:
            events = [event async for event in stream]
    assert all(batches)
    assert [event for batch in batches for event in batch] == events
    assert fold(events).text == "abc"


async def test_batches_raise_what_the_stream_raises() -> None:
    """The failure comes after the batches before it."""
    async with (
        answers(http(sse(ROLE, text("a")))) as server,
        client_of(server) as client,
        client.stream("Hi") as stream,
    ):
        seen = []
        with pytest.raises(ProtocolError):
            async for batch in stream.batches():
                seen += batch
    assert TextDelta("a") in seen


async def test_refusals_have_their_own_events() -> None:
    """A refusal is neither an answer nor an error."""
    body = sse(ROLE, chunk_of({"refusal": "I can't "}), chunk_of({"refusal": "help."}), STOP, DONE)
    async with answers(http(body)) as server, client_of(server) as client, client.stream("Hi") as stream:
        events = [event async for event in stream]
        reply = await stream.reply()
    assert RefusalDelta("I can't ") in events
    assert (reply.text, reply.refusal, reply.finish_reason) == ("", "I can't help.", "stop")


@pytest.mark.req("seed-B3", "seed-B9")
async def test_the_conversation_goes_on() -> None:
    """`reply.messages` is the conversation so far; with a tool's result appended it is the next request."""
    call = chunk_of({"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "f", "arguments": '{"a": 1}'}}]})
    async with answers(http(sse(ROLE, call, chunk_of({}, "tool_calls"), DONE)), http(said("done"))) as server:
        async with client_of(server) as client:
            question = Message("user", [Text("What is this?"), Image(url="https://x.test/a.png")])
            reply = await client.complete([{"role": "system", "content": "Be brief."}, question])
            result = Message("tool", [ToolResult("c1", "f", "42")])
            last = await client.complete([*reply.messages, result])
    assert last.text == "done"
    assert [message.role for message in last.messages] == ["system", "user", "assistant", "tool", "assistant"]
    sent = bodies(server)[1]["messages"]
    assert sent[1]["content"][1] == {"type": "image_url", "image_url": {"url": "https://x.test/a.png"}}
    assert sent[2]["tool_calls"] == [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ]
    assert sent[3] == {"role": "tool", "tool_call_id": "c1", "content": "42"}


class StructCity(msgspec.Struct):
    name: str
    age: int


@dataclass
class DataCity:
    name: str
    age: int


class DictCity(TypedDict):
    name: str
    age: int


class ModelCity(pydantic.BaseModel):
    name: str
    age: int


SCHEMA = {"title": "City", "type": "object", "properties": {"name": {"type": "string"}, "age": {"type": "integer"}}}


@pytest.mark.req("seed-B10")
@pytest.mark.parametrize("wanted", [StructCity, DataCity, DictCity, ModelCity, SCHEMA])
@pytest.mark.parametrize("fenced", [False, True])
async def test_output_is_what_was_asked_for(wanted: type, fenced: bool) -> None:
    """Any of the ways to say a type; models that fence their JSON are understood."""
    words = ['{"name":', '"Paris","age":42}']
    if fenced:
        words = ["```json\n", *words, "\n```"]
    async with answers(http(said(*words))) as server, client_of(server) as client:
        reply = await client.complete("Which city?", output=wanted)
    output = reply.output
    if isinstance(output, dict):
        assert output == {"name": "Paris", "age": 42}
    else:
        assert isinstance(output, wanted)
        assert (output.name, output.age) == ("Paris", 42)  # type: ignore[attr-defined]
    sent = bodies(server)[0]["response_format"]
    assert sent["type"] == "json_schema"
    schema = sent["json_schema"]["schema"]
    assert sent["json_schema"]["strict"] is True
    assert schema["additionalProperties"] is False
    assert sorted(schema["required"]) == ["age", "name"]


@pytest.mark.req("seed-B10")
async def test_output_that_does_not_fit() -> None:
    """An answer of another shape that the model did not mend is a typed error with its text; one cut at the limit says so."""
    cut = http(sse(ROLE, text('{"name": "Par'), chunk_of({}, "length"), DONE))
    async with answers(http(said("nonsense")), http(said("no JSON")), cut) as server, client_of(server) as client:
        with pytest.raises(ProtocolError, match="StructCity") as wrong:
            await client.complete("Which city?", output=StructCity)
        with pytest.raises(MaxOutputTokensError) as short:
            await client.complete("Which city?", output=StructCity)
    assert wrong.value.body == "no JSON"
    assert short.value.partial_text == '{"name": "Par'


def test_output_that_is_no_type() -> None:
    """What has no schema is told before a byte is sent."""
    from asyncllm import Client

    with pytest.raises(InvalidRequestError, match="output="):
        Client("demo/echo").stream("Hi", output=lambda: None)  # type: ignore[call-overload]


async def test_nested_types_have_their_definitions() -> None:
    """A type of types is sent with its parts, each closed and complete."""

    class Trip(msgspec.Struct):
        stops: list[StructCity]

    async with answers(http(said('{"stops": [{"name": "Oslo", "age": 1}]}'))) as server, client_of(server) as client:
        reply = await client.complete("Where to?", output=Trip)
    assert reply.output is not None
    assert reply.output.stops[0].name == "Oslo"
    schema = bodies(server)[0]["response_format"]["json_schema"]["schema"]
    assert schema["$defs"]["StructCity"]["additionalProperties"] is False
