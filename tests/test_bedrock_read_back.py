"""A request on the Converse wire is read by the server as it was asked, and refused where the service would."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from _bedrock_request import CLAUDE, CODEC, HI, NEW_CLAUDE
from _decoding import PLENTY
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    ProviderState,
    Reasoning,
    Text,
    ToolResult,
    parse_call,
)
from asyncllm.protocols import OutputSchema, Request, Tool
from asyncllm.protocols._json import to_json
from asyncllm.protocols.bedrock import BedrockCodec, BedrockQuirks
from asyncllm.protocols.bedrock._server import read_request

ids = st.text("abcDEF019_-", min_size=1, max_size=8)
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=6).map("x{}".format)
names = st.sampled_from(["f", "get_weather", "a-b"])
json_objects = st.dictionaries(
    st.text("abc", max_size=3), st.integers() | st.text(max_size=3) | st.booleans(), max_size=3
)
images = st.builds(
    Image, data=st.binary(max_size=4), media_type=st.sampled_from(["image/png", "image/jpeg", "image/webp"])
)
files = st.builds(lambda data: File(data, None, "file", "text/plain"), st.binary(max_size=4))
videos = st.builds(lambda data: File(data, None, "file", "video/mp4"), st.binary(max_size=4))
sounds = st.builds(Audio, st.binary(max_size=4), st.sampled_from(["wav", "mp3"]))
thoughts = st.one_of(
    st.builds(lambda text, sig: Reasoning(text, ProviderState("bedrock", {"signature": sig}, True)), words, ids),
    st.builds(lambda data: Reasoning("", ProviderState("bedrock", {"redactedContent": data}, True)), ids),
)
user_parts = st.lists(
    st.builds(Text, words) | images | files | videos | sounds, min_size=1, max_size=3, unique_by=lambda part: type(part)
)
contents = words | st.lists(st.builds(Text, words) | images, min_size=2, max_size=3)


def normal(role: Any, parts: list[Any]) -> Message:
    """Content as a reader of the wire has it."""
    return Message(role, parts[0].text if len(parts) == 1 and isinstance(parts[0], Text) else parts)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """The user's turn, then any number of turns of the assistant with the results or words that answer them."""
    messages = [normal("user", draw(user_parts))]
    for at in range(draw(st.integers(0, 2))):
        calls = [
            parse_call(f"{draw(ids)}{at}{number}", draw(names), _written(draw(json_objects)))
            for number in range(draw(st.integers(0, 2)))
        ]
        said: list[Any] = [*draw(st.lists(thoughts, max_size=2)), Text(draw(words)), *calls]
        messages.append(normal("assistant", said))
        if calls:
            results = [ToolResult(call.id, call.name, draw(contents), draw(st.booleans())) for call in calls]
            messages.append(Message("tool", list(results)))
        else:
            messages.append(Message("user", draw(words)))
    return tuple(messages)


def _written(value: dict[str, Any]) -> str:
    return to_json(value) if value else ""


tools = st.lists(
    st.builds(
        Tool,
        names,
        words,
        json_objects.map(lambda inner: {"type": "object", "properties": inner}),
        st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=3,
    unique_by=lambda tool: tool.name,
)
requests = st.builds(
    Request,
    model=st.sampled_from([NEW_CLAUDE, "arn:aws:bedrock:eu-west-1:1:inference-profile/us.anthropic.claude-sonnet-5"]),
    messages=conversations(),
    system=st.none() | words,
    tools=tools.map(tuple),
    tool_choice=st.none() | st.sampled_from(["auto", "required"]),
    output=st.none() | st.builds(OutputSchema, names, json_objects),
    max_tokens=st.none() | st.integers(1, 99),
    temperature=st.none() | st.sampled_from([0.0, 0.5]),
    top_p=st.none() | st.sampled_from([0.1, 1.0]),
    stop=st.lists(words, max_size=2).map(tuple),
    reasoning=st.none() | st.sampled_from(["none", "low", "medium", "high", "max"]),
    cache=st.none() | st.sampled_from(["5m", "1h"]),
    extra_body=st.just({}) | st.just({"guardrailConfig": {"guardrailIdentifier": "g"}}),
)


@settings(PLENTY, max_examples=60)
@pytest.mark.req("seed-A7")
@given(requests)
def test_what_was_asked_is_read_by_the_server(request: Request) -> None:
    """Messages with every kind of part, tools, and all options come back as they were."""
    said = CODEC.encode(request)
    assert msgspec.to_builtins(read_request(said.path, json.loads(said.body))) == msgspec.to_builtins(request)


def test_a_named_tool_and_a_budget_are_read_by_the_server() -> None:
    """The choice by name, and a budget, which only older models of one family take."""
    request = Request(
        model=CLAUDE, messages=HI, tools=(Tool("f", "x", {"type": "object"}),), tool_choice="f", reasoning=2048
    )
    said = CODEC.encode(request)
    got = read_request(said.path, json.loads(said.body))
    assert (got.tool_choice, got.reasoning, got.max_tokens) == ("f", 2048, 6144)
    for style, effort in (("effort", "high"), ("nova", "high"), ("nova", "none")):
        codec = BedrockCodec("bedrock", BedrockQuirks(thinking=style))  # type: ignore[arg-type]
        said = codec.encode(Request(model="m", messages=HI, reasoning=effort))  # type: ignore[arg-type]
        assert read_request(said.path, json.loads(said.body)).reasoning == effort


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/model/m/converse-stream", {}),
        ("/model/m/converse-stream", {"messages": []}),
        ("/model/m/converse-stream", {"messages": "x"}),
        ("/model/m/converse-stream", {"messages": [1]}),
        ("/model/m/converse-stream", {"messages": [{"role": "robot", "content": [{"text": "x"}]}]}),
        ("/model/m/converse-stream", {"messages": [{"role": "user", "content": []}]}),
        ("/model/m/converse-stream", {"messages": [{"role": "user", "content": [{"text": " "}]}]}),
        ("/model/m/converse-stream", {"messages": [{"role": "user", "content": [{"hologram": {}}]}]}),
        ("/model/m/converse-stream", {"messages": [{"role": "assistant", "content": [{"text": "x"}]}]}),
        ("/model/m/converse-stream", {"messages": [{"role": "user", "content": [{"image": {"format": "png"}}]}]}),
        (
            "/model/m/converse-stream",
            {
                "messages": [{"role": "user", "content": [{"text": "x"}]}],
                "outputConfig": {"textFormat": {"structure": {"jsonSchema": {"schema": "{"}}}},
            },
        ),
        ("/model//converse", {"messages": [{"role": "user", "content": [{"text": "x"}]}]}),
    ],
)
def test_the_server_refuses_what_the_service_would(path: str, body: dict[str, Any]) -> None:
    """As a validation error, in words like the service's."""
    with pytest.raises(InvalidRequestError) as caught:
        read_request(path, body)
    assert caught.value.status == 400
