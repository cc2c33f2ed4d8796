"""A conversation moves from any wire to any other in the middle of a tool exchange: nothing that was said is lost, and what
one provider wants back is shown to no other."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from asyncllm.events import (
    Citation,
    Finish,
    Image,
    Message,
    ProviderState,
    Reply,
    Text,
    TextDelta,
    ToolCall,
    ToolResult,
    check_order,
    fold,
)
from asyncllm.events._stream import ReasoningDelta, StreamEvent, StreamStart
from asyncllm.protocols import Codec, Encoded, OutputSchema, Request, ServerSide, Tool
from asyncllm.testing._wires import WIRES, wire

OPAQUE = "b3BhcXVlIG9mIHRoaXMgcHJvdmlkZXI="
"""Stands in the place of signatures and encrypted reasoning. Base64, as those are."""

WEATHER = Tool("get_weather", "The weather of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
CALLS = (
    ToolCall("call_1", "get_weather", {"city": "Oslo"}, '{"city":"Oslo"}'),
    ToolCall("call_2", "get_weather", {"city": "Bergen"}, '{"city":"Bergen"}'),
)
RESULTS = Message(
    "tool", [ToolResult("call_1", "get_weather", "21 degrees"), ToolResult("call_2", "get_weather", "rain")]
)

PAIRS = [(first, second) for first in WIRES for second in WIRES]
each_wire = pytest.mark.parametrize("name", WIRES)


def codec_of(name: str, provider: str | None = None) -> Codec:
    module = import_module(f"asyncllm.protocols.{name}")
    codec: Codec = module.CODEC(provider or name, module.QUIRKS())
    return codec


def encoded(name: str, messages: Iterable[Message], **options: Any) -> Encoded:
    return codec_of(name).encode(Request(model="m", messages=tuple(messages), tools=(WEATHER,), **options))


def read(name: str, sent: Encoded) -> Request:
    return wire(name).read(sent.path.partition("?")[0], msgspec.json.decode(sent.body))


def answered(name: str, events: Iterable[StreamEvent]) -> Reply[object]:
    """What a client of this wire makes of an answer that a server of it gives."""
    side: ServerSide = wire(name)
    request = Request(model="m", messages=(Message("user", "Hi"),))
    encoder = side.encoder(request, {"stream": True, "stream_options": {"include_usage": True}})
    frames = [
        SimpleNamespace(data=frame.data, event=frame.event or "message")
        for event in events
        for frame in encoder.encode(event)
    ]
    decoder = codec_of(name).decoder(request, Encoded("/", b""))
    decoded = [*decoder.decode(frames), *decoder.close()]
    check_order(decoded)
    return fold(decoded)


def first_turn(name: str) -> Message:
    """Reasoning, a text and two calls, as this wire's client has them."""
    thought = ReasoningDelta("I should look.", None)
    reply = answered(name, [StreamStart("m", "id_1"), thought, TextDelta("Let me see. "), *CALLS, Finish("tool_calls")])
    assert [(call.id, call.name, call.arguments) for call in reply.tool_calls] == [
        (call.id, call.name, call.arguments) for call in CALLS
    ]
    assert reply.reasoning == "I should look."
    return reply.message


def with_state(message: Message, provider: str) -> Message:
    """The same turn, with something opaque of the provider's on every part that can have it."""
    state = ProviderState(provider, {"opaque": OPAQUE, "signature": OPAQUE, "encrypted_content": OPAQUE})
    return Message(message.role, [msgspec.structs.replace(part, state=state) for part in message.parts])


@pytest.mark.req("E3", "E9", "seed-E4")
@pytest.mark.parametrize(("first", "second"), PAIRS)
def test_a_tool_exchange_goes_on_with_another_provider(first: str, second: str) -> None:
    """The second provider is told the question, the text, the calls and their results, each once and in their order."""
    turn = first_turn(first)
    sent = encoded(second, [Message("user", "Rain?"), turn, RESULTS])
    heard = [part for message in read(second, sent).messages for part in message.parts]
    texts = [part.text for part in heard if isinstance(part, Text)]
    assert texts == ["Rain?", "Let me see. "]
    calls = [part for part in heard if isinstance(part, ToolCall)]
    assert [(call.name, call.arguments) for call in calls] == [(call.name, call.arguments) for call in CALLS]
    results = [part for part in heard if isinstance(part, ToolResult)]
    assert [result.text for result in results] == ["21 degrees", "rain"]
    if all(result.id for result in results):
        assert [result.id for result in results] == [call.id for call in calls]


@pytest.mark.req("E3", "E9")
@pytest.mark.parametrize(("first", "second"), [(first, second) for first, second in PAIRS if first != second])
def test_what_is_opaque_goes_to_nobody_else(first: str, second: str) -> None:
    """Signatures and encrypted reasoning of one provider are in no request to another."""
    turn = with_state(first_turn(first), first)
    sent = encoded(second, [Message("user", "Rain?"), turn, RESULTS])
    assert OPAQUE.encode() not in sent.body
    assert b"I should look." not in sent.body or second == "ollama"


@each_wire
def test_what_another_server_ran_or_made_is_left_out_with_a_warning(name: str) -> None:
    """A web search of another provider, its sources and an image it made: the text goes on, and a warning says the rest."""
    state = ProviderState("another", {"block": {"type": "x", "data": OPAQUE}})
    turn = fold(
        [
            StreamStart("m"),
            ToolCall("s_1", "web_search", {"q": "x"}, '{"q":"x"}', state=state, executed=True),
            ToolResult("s_1", "web_search", "found", state=state),
            TextDelta("Found it.", ProviderState("another", {"citations": [OPAQUE]}, closes=True)),
            Citation("https://example.org"),
            Image(data=b"png", state=state),
            Finish("stop"),
        ]
    ).message
    sent = encoded(name, [Message("user", "Look"), turn, Message("user", "More")])
    assert OPAQUE.encode() not in sent.body
    assert sent.warnings
    heard = [part for message in read(name, sent).messages for part in message.parts]
    assert [part.text for part in heard if isinstance(part, Text)] == ["Look", "Found it.", "More"]
    assert not [part for part in heard if isinstance(part, ToolCall | ToolResult)]


@each_wire
def test_every_option_is_said_or_warned_of(name: str) -> None:
    """What a server of the wire reads is what was asked; what it cannot be told is in the warnings, and nothing vanishes."""
    asked: dict[str, Any] = {
        "system": "Be brief.",
        "max_tokens": 1000,
        "temperature": 0.5,
        "top_p": 0.9,
        "stop": ("END",),
        "seed": 7,
        "reasoning": "high",
        "output": OutputSchema("city", {"type": "object", "properties": {"name": {"type": "string"}}}),
    }
    for option, value in asked.items():
        sent = encoded(name, [Message("user", "Hi")], **{option: value})
        without = encoded(name, [Message("user", "Hi")])
        assert sent.body != without.body or len(sent.warnings) > len(without.warnings), option


@each_wire
def test_ids_and_names_are_what_the_wire_takes(name: str) -> None:
    """An id of any form (another provider's, or one made up) is the same in the call and in its result."""
    for id in ("call_1", "functions.get_weather:0", "x" * 200, "ä", "toolu_01|fc_2", "a b"):
        call = ToolCall(id, "get_weather", {}, "{}")
        turn = Message("assistant", [call])
        sent = encoded(name, [Message("user", "Hi"), turn, Message("tool", [ToolResult(id, "get_weather", "ok")])])
        heard = [part for message in read(name, sent).messages for part in message.parts]
        calls = [part for part in heard if isinstance(part, ToolCall)]
        results = [part for part in heard if isinstance(part, ToolResult)]
        assert len(calls) == len(results) == 1
        assert results[0].text == "ok"
        assert not (calls[0].id and results[0].id) or calls[0].id == results[0].id
