"""A request on the Gemini wire is read by the server as it was asked, and refused where the service would."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import PLENTY
from _gemini_request import NEW, OLD, SIGNED, WEATHER
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    Part,
    ProviderState,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from asyncllm.protocols import OutputSchema, Request, Tool
from asyncllm.protocols.gemini import GeminiCodec
from asyncllm.protocols.gemini._server import read_request

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=6)
STATES = st.none() | st.just(SIGNED)
MEDIA = (
    st.builds(Image, data=st.binary(max_size=4), media_type=st.sampled_from(["image/png", "image/webp"]))
    | st.builds(Image, url=st.just("https://e.test/a.png"))
    | st.builds(Audio, st.binary(max_size=4), st.sampled_from(["wav", "mp3"]))
    | st.builds(File, data=st.binary(max_size=4), media_type=st.just("video/mp4"))
    | st.builds(File, file_id=st.just("gs://b/x"), media_type=st.just("text/csv"))
)


@st.composite
def requests(draw: Any) -> Request:
    """What the wire can say, in the one form in which it is read back."""
    messages: list[Message] = []
    count = 0
    for _ in range(draw(st.integers(1, 3))):
        asked: list[Part] = draw(st.lists(st.builds(Text, TEXT) | MEDIA, min_size=1, max_size=3))
        messages.append(Message("user", plain(asked)))
        steps = draw(st.integers(0, 2))
        for _ in range(steps):
            turn: list[Part] = draw(st.lists(said_parts(), max_size=2))
            results: list[Part] = []
            for at in range(draw(st.integers(1, 2))):
                given = {"id": f"fc{count}"} if draw(st.booleans()) else {}
                # the first of a step is signed: without one it would get the stand-in, which is no state
                data = {**given, **({"thoughtSignature": "c2ln"} if not at else {})}
                id = f"fc{count}" if given else f"call_{count}"
                turn.append(call_of(id, f"f{count}", draw(st.dictionaries(TEXT, TEXT, max_size=2)), data))
                results.append(draw(result_of(id, f"f{count}")))
                count += 1
            messages += [Message("assistant", turn), Message("tool", results)]
        messages.append(Message("assistant", plain(draw(st.lists(said_parts(), min_size=1, max_size=3)))))
    messages.append(Message("user", draw(TEXT)))
    tools = draw(
        st.sampled_from([(), (WEATHER,), (Tool("now", "Time."),), (Tool("f", "", WEATHER.parameters, strict=True),)])
    )
    model = draw(st.sampled_from([NEW, OLD]))
    strict = any(tool.strict for tool in tools)
    choices = ["auto", "none", "required", tools[0].name] if tools and not strict else []
    wanted = OutputSchema("output", {"type": "object", "properties": {"a": {"type": "string"}}})
    efforts = [None, "minimal", "low", "medium", "high", "xhigh"] if model == NEW else [None, 0, 500]
    return Request(
        model=model,
        messages=tuple(messages),
        system=draw(st.none() | TEXT),
        tools=tools,
        tool_choice=draw(st.sampled_from([None, *choices])),
        output=draw(st.sampled_from([None, wanted])) if model == NEW or not tools else None,
        max_tokens=draw(st.none() | st.integers(1, 9)),
        temperature=draw(st.sampled_from([None, 0.0, 0.5])),
        top_p=draw(st.sampled_from([None, 0.5])),
        stop=tuple(draw(st.lists(TEXT, max_size=2))),
        seed=draw(st.none() | st.integers(0, 9)),
        reasoning=draw(st.sampled_from(efforts)),
    )


def said_parts() -> st.SearchStrategy[Part]:
    return (
        st.builds(Text, TEXT, STATES)
        | st.just(Text("", SIGNED))
        | st.builds(Reasoning, TEXT, st.just(SIGNED))
        | st.builds(Image, data=st.binary(max_size=4), state=STATES)
    )


def call_of(id: str, name: str, arguments: dict[str, Any], data: dict[str, object]) -> ToolCall:
    raw = json.dumps(arguments, separators=(",", ":"), ensure_ascii=False)
    return ToolCall(id, name, arguments, raw, state=ProviderState("gemini", data) if data else None)


def result_of(id: str, name: str) -> st.SearchStrategy[ToolResult]:
    content = TEXT | st.just('{"a":[1,"é"]}') | st.builds(lambda text: [Text(text), Image(data=b"a")], TEXT)
    return st.builds(ToolResult, st.just(id), st.just(name), content) | st.builds(
        ToolResult, st.just(id), st.just(name), TEXT, st.just(True)
    )


def plain(parts: list[Part]) -> str | list[Part]:
    only = parts[0] if len(parts) == 1 else None
    return only.text if isinstance(only, Text) and only.state is None else parts


@PLENTY
@given(requests())
def test_a_server_reads_what_was_asked(request: Request) -> None:
    """read(encode(request)) == request, for all that the wire can say."""
    if request.model == OLD and any(
        isinstance(part, ToolResult) and isinstance(part.content, list)
        for message in request.messages
        for part in message.parts
    ):
        return  # before Gemini 3 images stand behind the results
    sent = GeminiCodec("gemini").encode(request)
    found = read_request(sent.path.partition("?")[0], json.loads(sent.body))
    for name in Request.__struct_fields__:
        assert getattr(found, name) == getattr(request, name), name


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        ({}, "contents is not specified"),
        ({"contents": []}, "contents is not specified"),
        ({"contents": ["x"]}, "contents is not specified"),
        ({"contents": [{"role": "robot", "parts": [{"text": "a"}]}]}, "valid role"),
        ({"contents": [{"parts": []}]}, "must not be empty"),
        ({"contents": [{"parts": [{"inlineData": {"mimeType": "image/png", "data": "!"}}]}]}, "Base64"),
        ({"contents": [{"parts": [{"text": "a"}]}], "tools": [{"functionDeclarations": [{}]}]}, "name"),
    ],
)
def test_what_a_server_refuses(sent: dict[str, Any], why: str) -> None:
    """In the words of the API, as an invalid request."""
    with pytest.raises(InvalidRequestError, match=why):
        read_request("/v1beta/models/m:generateContent", sent)
