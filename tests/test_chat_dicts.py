"""OpenAI-style messages and tools, as people have them: to ours, and back on the wire."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asyncllm._input import messages_from
from asyncllm.events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    ProviderState,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from asyncllm.protocols import Request, Tool
from asyncllm.protocols.openai_chat import ChatCodec, message_from_dict, tool_from_dict

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}


def encoded(*messages: Message, tools: tuple[Tool, ...] = ()) -> dict[str, Any]:
    request = Request(model="m", messages=messages, tools=tools)
    body: dict[str, Any] = msgspec.json.decode(ChatCodec("test").encode(request).body)
    return body


ROUND_TRIPS: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief"},
    {"role": "user", "content": "Hi", "name": "Ann"},
    {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "see"},
            {"type": "image_url", "image_url": {"url": "https://e.test/a.png", "detail": "high"}},
            {"type": "image_url", "image_url": {"url": "data:image/gif;base64,AAE="}},
            {"type": "input_audio", "input_audio": {"data": "Ag==", "format": "mp3"}},
            {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,Aw=="}},
            {"type": "file", "file": {"file_id": "file-1"}},
        ],
    },
    {"role": "assistant", "content": "Hello"},
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {"role": "assistant", "content": "so", "tool_calls": [CALL, {**CALL, "id": "c2"}]},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{**CALL, "extra_content": {"google": {"thought_signature": "c2ln"}}}],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "22"},
]


@pytest.mark.req("E6", "seed-B3")
@pytest.mark.parametrize("given", ROUND_TRIPS, ids=lambda given: given["role"])
def test_messages_survive_both_ways(given: dict[str, Any]) -> None:
    """A dict made ours and written again is the dict."""
    assert encoded(message_from_dict(given))["messages"] == [given]


@pytest.mark.req("seed-B3", "seed-B4")
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"role": "developer", "content": "a"}, Message("system", "a")),
        ({"role": "user", "content": None}, Message("user", "")),
        ({"role": "user"}, Message("user", "")),
        ({"role": "user", "content": []}, Message("user", "")),
        ({"role": "user", "content": ["a"]}, Message("user", "a")),
        ({"role": "user", "content": [{"type": "input_text", "text": "a"}]}, Message("user", "a")),
        ({"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}, Message("assistant", "no")),
        (
            {"role": "user", "content": [{"type": "input_image", "image_url": "https://e.test/a"}]},
            Message("user", [Image("https://e.test/a")]),
        ),
        (
            {"role": "assistant", "content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]},
            Message("assistant", [Reasoning("hm")]),
        ),
        (
            {"role": "assistant", "content": "a", "reasoning_content": "hm", "reasoning": "hm"},
            Message("assistant", [Reasoning("hm"), Text("a")]),
        ),
        (
            {"role": "assistant", "content": "a", "reasoning": "hm"},
            Message("assistant", [Reasoning("hm"), Text("a")]),
        ),
        (
            {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
            Message("assistant", [ToolCall("f", "f", {}, "{}")]),
        ),
        (
            {"role": "function", "name": "f", "content": "22"},
            Message("tool", [ToolResult("f", "f", "22")]),
        ),
        (
            {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "2"}, "2"]},
            Message("tool", [ToolResult("c1", "", "22")]),
        ),
        ({"role": "tool", "tool_call_id": "c1"}, Message("tool", [ToolResult("c1", "", "")])),
    ],
)
def test_looser_forms_are_understood(given: dict[str, Any], message: Message) -> None:
    """Other roles, null content, the legacy call, and parts of other wires."""
    assert message_from_dict(given) == message


@pytest.mark.req("seed-B5", "D12")
@pytest.mark.parametrize(
    ("arguments", "parsed"), [("", {}), (None, {}), ({"a": 1}, {"a": 1}), ("{x", None), ("[1]", None), (5, None)]
)
def test_arguments_of_any_kind(arguments: Any, parsed: Any) -> None:
    """As a string, an object, empty, invalid and not an object."""
    message = message_from_dict(
        {"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": arguments}}]}
    )
    (call,) = message.parts
    assert isinstance(call, ToolCall)
    assert call.arguments == parsed
    assert (call.invalid is None) == (parsed is not None)


def test_media_are_decoded() -> None:
    """Data URLs and base64 become bytes with their type."""
    message = message_from_dict(ROUND_TRIPS[3])
    assert message.parts[2:] == [
        Image(data=b"\x00\x01", media_type="image/gif"),
        Audio(b"\x02", "mp3"),
        File(data=b"\x03", name="a.pdf"),
        File(file_id="file-1"),
    ]


@pytest.mark.parametrize(
    "content",
    [
        5,
        {"text": "a"},
        [5],
        [{"type": "hologram"}],
        [{}],
        [{"type": "image_url"}],
        [{"type": "image_url", "image_url": {"url": "data:image/png,plain"}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64,!!"}}],
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64"}}],
        [{"type": "input_audio", "input_audio": {"data": "A"}}],
        [{"type": "file", "file": {}}],
    ],
)
def test_content_that_is_not_understood_is_refused(content: Any) -> None:
    """With an error that says where."""
    with pytest.raises(InvalidRequestError, match=r"messages\[3\]"):
        message_from_dict({"role": "user", "content": content}, "messages[3]")


@pytest.mark.parametrize("role", [None, "", "robot", 5, ["user"]])
def test_an_unknown_role_is_refused(role: Any) -> None:
    """Whatever is in its place."""
    with pytest.raises(InvalidRequestError, match="role must be"):
        message_from_dict({"role": role, "content": "a"})


@pytest.mark.parametrize("calls", [[5], [{}], [{"function": "f"}], 5, {"id": "c"}])
def test_calls_without_a_function_are_refused(calls: Any) -> None:
    """A list of calls, each with a function."""
    with pytest.raises(InvalidRequestError, match="tool_calls"):
        message_from_dict({"role": "assistant", "tool_calls": calls})


def test_a_conversation_may_mix_both() -> None:
    """Our messages and dicts, in a list; one dict or one message alone is a conversation, too."""
    given = {"role": "user", "content": "a"}
    assert messages_from([given, Message("assistant", "b")]) == (Message("user", "a"), Message("assistant", "b"))
    assert messages_from(given) == messages_from(Message("user", "a")) == messages_from("a")  # type: ignore[arg-type]


@pytest.mark.req("E9")
def test_state_of_unknown_origin_goes_anywhere() -> None:
    """A dict does not say which provider its extra_content is from: the user's history is sent as it is."""
    message = message_from_dict(ROUND_TRIPS[7])
    (call,) = message.parts
    assert isinstance(call, ToolCall)
    assert call.state == ProviderState("", {"extra_content": {"google": {"thought_signature": "c2ln"}}})


def test_tools_survive_both_ways() -> None:
    """A dict made a Tool and written again is the dict."""
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}
    given = {"type": "function", "function": function}
    tool = tool_from_dict(given)
    assert tool == Tool("f", "d", {"type": "object"}, True)
    assert encoded(Message("user", "a"), tools=(tool,))["tools"] == [given]
    assert tool_from_dict(function) == tool
    assert tool_from_dict({"name": "f", "input_schema": {"type": "object"}}) == Tool("f", "", {"type": "object"})
    assert tool_from_dict({"name": "f", "parameters": None}) == Tool("f")


@pytest.mark.parametrize(
    "given", [{}, {"function": None}, {"function": {"name": ""}}, {"name": 5}, {"name": "f", "parameters": ["x"]}]
)
def test_a_tool_without_a_name_is_refused(given: dict[str, Any]) -> None:
    """Or with parameters that are no schema of an object."""
    with pytest.raises(InvalidRequestError, match="tool"):
        tool_from_dict(given, "tools[0]")
