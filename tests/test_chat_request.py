"""A request on the chat wire: options, quirks, messages, and what is refused before a byte is sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asyncllm._input import request_from
from asyncllm.events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    LLMError,
    Message,
    Part,
    ProviderState,
    RateLimitError,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)
from asyncllm.protocols import Encoded, OutputSchema, Request, Tool
from asyncllm.protocols.openai_chat import ChatCodec, ChatQuirks

HELLO = (Message("user", "Hi"),)
WEATHER = Tool("weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = OutputSchema("City", {"type": "object", "properties": {}})


def encoded(*, quirks: ChatQuirks | None = None, provider: str = "test", **fields: Any) -> Encoded:
    fields.setdefault("messages", HELLO)
    return ChatCodec(provider, quirks).encode(Request(model="m", **fields))


def body(**fields: Any) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(encoded(**fields).body)
    return data


def sent(*messages: Message, **fields: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = body(messages=messages, **fields)["messages"]
    return listed


# ---- options


def test_the_least_request() -> None:
    """A model, the messages, a stream with usage; nothing that was not asked for."""
    request = encoded()
    assert (request.path, request.headers, request.warnings) == ("/chat/completions", {}, ())
    assert msgspec.json.decode(request.body) == {
        "model": "m",
        "messages": [{"role": "user", "content": "Hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }


@pytest.mark.parametrize(
    ("option", "value", "field", "wanted"),
    [
        ("temperature", 0.0, "temperature", 0.0),
        ("top_p", 0.5, "top_p", 0.5),
        ("seed", 0, "seed", 0),
        ("stop", ("a", "b"), "stop", ["a", "b"]),
        ("reasoning", "low", "reasoning_effort", "low"),
        ("max_tokens", 5, "max_tokens", 5),
    ],
)
def test_each_option_has_its_field(option: str, value: Any, field: str, wanted: Any) -> None:
    """Also where the value is 0; and no field without it."""
    assert body(**{option: value})[field] == wanted
    assert field not in body()


@pytest.mark.parametrize(("option", "value"), [("seed", 1), ("reasoning", "low")])
def test_what_a_server_does_not_know_is_a_warning(option: str, value: Any) -> None:
    """A harmless option is left out where the row says so, and the warning names it."""
    quirks = ChatQuirks(seed=False, reasoning_effort=False)
    request = encoded(quirks=quirks, **{option: value})
    assert b"seed" not in request.body
    assert b"reasoning" not in request.body
    assert option.split("_")[0] in request.warnings[0]


@pytest.mark.req("F10")
def test_stream_options_only_where_understood() -> None:
    """A row without them sends none."""
    assert "stream_options" not in body(quirks=ChatQuirks(stream_options=False))


@pytest.mark.req("G9")
@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens"])
@pytest.mark.parametrize(
    "extra", [{}, {"max_tokens": 7}, {"max_completion_tokens": 7}, {"max_tokens": 7, "max_completion_tokens": 8}]
)
@pytest.mark.parametrize("given", [5, None])
def test_the_two_limits_are_never_both_sent(name: Any, extra: dict[str, int], given: int | None) -> None:
    """The row's field carries the limit; what extra_body says wins over it, under either name."""
    out = body(quirks=ChatQuirks(max_tokens=name), max_tokens=given, extra_body=extra)
    found = {field: out[field] for field in ("max_tokens", "max_completion_tokens") if field in out}
    assert len(found) == (1 if given or extra else 0)
    if len(extra) == 1:
        assert found == extra
    elif found:
        assert list(found) == [name]


def test_extra_body_is_merged() -> None:
    """It adds, it wins, it merges objects, and None takes away."""
    extra = {"stream_options": {"include_obfuscation": False}, "temperature": 1, "top_k": 3, "seed": None}
    out = body(temperature=0.1, seed=4, extra_body=extra)
    assert out["stream_options"] == {"include_usage": True, "include_obfuscation": False}
    assert (out["temperature"], out["top_k"]) == (1, 3)
    assert "seed" not in out
    assert "stream_options" not in body(extra_body={"stream_options": None})


def test_several_choices_are_warned_about() -> None:
    """n > 1 goes through; only the first choice becomes events."""
    assert "n > 1" in encoded(extra_body={"n": 2}).warnings[0]
    assert encoded(extra_body={"n": 1}).warnings == ()


# ---- tools and output


def test_tools() -> None:
    """A function each; what is empty is left out, and parameters are always an object schema."""
    tools = body(tools=(WEATHER, Tool("now")))["tools"]
    assert tools == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "The weather", "parameters": WEATHER.parameters},
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]


@pytest.mark.parametrize("strict", [True, False])
def test_strict_tools(strict: bool) -> None:
    """Sent as said where it is understood, else left out with a warning."""
    tool = Tool("f", strict=strict)
    assert body(tools=(tool,))["tools"][0]["function"]["strict"] is strict
    request = encoded(tools=(tool,), quirks=ChatQuirks(strict_tools=False))
    assert b"strict" not in request.body
    assert "'f'" in request.warnings[0]


def test_tool_choice() -> None:
    """The three words as they are, and a tool by its name."""
    for word in ("auto", "none", "required"):
        assert body(tools=(WEATHER,), tool_choice=word)["tool_choice"] == word
    named = {"type": "function", "function": {"name": "weather"}}
    assert body(tools=(WEATHER,), tool_choice="weather")["tool_choice"] == named
    assert body(tool_choice="none")["tool_choice"] == "none"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"tools": (WEATHER,), "tool_choice": "wether"}, "weather"),
        ({"tool_choice": "weather"}, "there are none"),
        ({"tool_choice": "required"}, "needs tools"),
        ({"tools": (WEATHER,), "tool_choice": "required", "quirks": ChatQuirks(tool_choice_forced=False)}, "forced"),
        ({"tools": (WEATHER,), "tool_choice": "weather", "quirks": ChatQuirks(tool_choice_forced=False)}, "forced"),
        ({"tools": (WEATHER, WEATHER)}, "same name"),
        ({"tools": (Tool("a b"),)}, "a b"),
        ({"tools": (Tool("x" * 65),)}, "64"),
        ({"tools": (Tool(""),)}, "tool name"),
        ({"messages": ()}, "no messages"),
        ({"messages": (Message("assistant", ""),)}, "no messages"),
    ],
)
def test_what_cannot_be_said_is_refused(fields: dict[str, Any], says: str) -> None:
    """The error comes before a byte is sent, and says what is wrong."""
    with pytest.raises(InvalidRequestError, match=says):
        encoded(**fields)


@pytest.mark.req("seed-B10")
def test_structured_output_by_schema() -> None:
    """The strongest form is a strict schema."""
    request = encoded(output=SCHEMA)
    form = {"type": "json_schema", "json_schema": {"name": "City", "schema": SCHEMA.schema, "strict": True}}
    assert msgspec.json.decode(request.body)["response_format"] == form
    assert request.warnings == ()


@pytest.mark.req("seed-B10")
@pytest.mark.parametrize("mode", ["json_object", "prompt"])
def test_structured_output_by_prompt(mode: Any) -> None:
    """Where there is no schema, the prompt carries it, before the system prompt; a warning says so."""
    request = encoded(output=SCHEMA, system="Be brief", quirks=ChatQuirks(output=mode, system_role="developer"))
    out = msgspec.json.decode(request.body)
    assert out.get("response_format") == ({"type": "json_object"} if mode == "json_object" else None)
    first, second, _ = out["messages"]
    assert (first["role"], second["role"]) == ("developer", "developer")
    assert '{"type":"object","properties":{}}' in first["content"]
    assert "schema is in the prompt" in request.warnings[0]


# ---- messages


def test_system_and_names() -> None:
    """The system prompt comes first, in the role of the row, as do system messages; names are kept."""
    messages = (Message("system", "a"), Message("user", "b", name="Ann"))
    assert body(messages=messages, system="s", quirks=ChatQuirks(system_role="developer"))["messages"] == [
        {"role": "developer", "content": "s"},
        {"role": "developer", "content": "a"},
        {"role": "user", "name": "Ann", "content": "b"},
    ]


def test_parts() -> None:
    """Text, images by URL and by bytes, sound, files by bytes and by id."""
    parts: list[Part] = [
        Text("see"),
        Image(url="https://e.test/a.png", detail="low"),
        Image(data=b"\x00\x01", media_type="image/gif"),
        Audio(b"\x02", "mp3"),
        File(data=b"\x03", name="a.pdf"),
        File(file_id="file-1"),
    ]
    assert sent(Message("user", parts))[0]["content"] == [
        {"type": "text", "text": "see"},
        {"type": "image_url", "image_url": {"url": "https://e.test/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/gif;base64,AAE="}},
        {"type": "input_audio", "input_audio": {"data": "Ag==", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,Aw=="}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ]


def test_one_text_part_is_plain_text() -> None:
    """Many servers take lists only where they must be."""
    assert sent(Message("user", [Text("a")])) == [{"role": "user", "content": "a"}]


@pytest.mark.parametrize(
    "message",
    [
        Message("user", [Image()]),
        Message("user", [File()]),
        Message("user", [Reasoning("x")]),
        Message("user", [ToolCall("c", "f", {})]),
        Message("user", [ToolResult("c", "f", "x")]),
        Message("system", [ToolCall("c", "f", {})]),
        Message("assistant", [ToolResult("c", "f", "x")]),
        Message("tool", "text"),
        Message("tool", [Text("x")]),
    ],
)
def test_parts_in_the_wrong_place_are_refused(message: Message) -> None:
    """The error names the message."""
    with pytest.raises(InvalidRequestError, match=r"messages\[1\]"):
        encoded(messages=(*HELLO, message))


def test_tool_turns() -> None:
    """A call and its results: each result is a message of its own; images, for which it has no place, follow all of them."""
    call = ToolCall("c1", "f", {"a": 1}, '{"a": 1}')
    results = Message(
        "tool", [ToolResult("c2", "g", [Text("x"), Image(url="u")], is_error=True), ToolResult("c1", "f", "22")]
    )
    assert sent(*HELLO, Message("assistant", [Text("so"), call]), results, Message("user", "Well?"))[1:] == [
        {
            "role": "assistant",
            "content": "so",
            "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
        },
        {"role": "tool", "tool_call_id": "c2", "content": "x[image]"},
        {"role": "tool", "tool_call_id": "c1", "content": "22"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "The images in the result of g:"},
                {"type": "image_url", "image_url": {"url": "u"}},
            ],
        },
        {"role": "user", "content": "Well?"},
    ]


@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        (ToolCall("c", "f", {}, ""), "{}"),
        (ToolCall("c", "f", {"a": 1}), '{"a":1}'),
        (ToolCall("c", "f", None, '{"a": "x', "cut"), "{}"),
        (ToolCall("c", "f", None, "", "cut"), "{}"),
    ],
)
def test_arguments_in_the_history_are_always_json(call: ToolCall, arguments: str) -> None:
    """Servers parse the history: an invalid call goes back with none, and its result says what was wrong."""
    (turn,) = sent(Message("assistant", [call]))
    assert turn["content"] is None
    assert turn["tool_calls"][0]["function"]["arguments"] == arguments


@pytest.mark.req("seed-B9", "seed-B3")
def test_ghost_turns_are_dropped() -> None:
    """An assistant's turn without text or calls is refused by many servers: it is not sent."""
    ghosts = (Message("assistant", ""), Message("assistant", []), Message("assistant", [Reasoning("hm")]))
    assert sent(HELLO[0], *ghosts, Message("user", "so?")) == [
        {"role": "user", "content": "Hi"},
        {"role": "user", "content": "so?"},
    ]


@pytest.mark.req("E3", "E9")
@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_goes_back_to_whom_it_came_from(field: str) -> None:
    """Under the name it came in, with its details; to another provider, and where the row says no, not at all."""
    state = ProviderState("deepseek", {"field": field, "reasoning_details": [{"data": "ZW5j"}]})
    more = ProviderState("deepseek", {"field": field, "reasoning_details": [{"data": "Mg"}]})
    turn = Message("assistant", [Reasoning("hm", state), Reasoning("m", more), Reasoning("mine"), Text("42")])
    (out,) = sent(turn, provider="deepseek")
    assert out == {
        "role": "assistant",
        "content": "42",
        field: "hmm",
        "reasoning_details": [{"data": "ZW5j"}, {"data": "Mg"}],
    }
    plain = {"role": "assistant", "content": "42"}
    assert sent(turn, provider="other") == [plain]
    assert sent(turn, provider="deepseek", quirks=ChatQuirks(echo_reasoning=False)) == [plain]


@pytest.mark.req("E6", "E9")
def test_signatures_go_back_with_their_call() -> None:
    """extra_content, verbatim, to the same provider; dropped for another."""
    extra = {"extra_content": {"google": {"thought_signature": "c2ln"}}}
    turn = Message("assistant", [ToolCall("c", "f", {}, "{}", None, ProviderState("gemini", extra))])
    bare = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert sent(turn, provider="gemini")[0]["tool_calls"] == [{**bare, **extra}]
    assert sent(turn, provider="other")[0]["tool_calls"] == [bare]


# ---- what a server's refusal teaches


def refused(message: str, status: int = 400) -> InvalidRequestError:
    return InvalidRequestError(message, status=status)


@pytest.mark.req("G9")
@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize(
    ("ours", "other"), [("max_tokens", "max_completion_tokens"), ("max_completion_tokens", "max_tokens")]
)
def test_the_other_limit_is_tried_where_one_is_refused(ours: Any, other: str, status: int) -> None:
    """A refusal that names our field gives a codec with the other one, and the rest of the row as it was."""
    quirks = ChatQuirks(max_tokens=ours, think_tags=True)
    codec = ChatCodec("test", quirks)
    adapted = codec.adapted(refused(f"Unsupported parameter: '{ours}'. Use '{other}' instead.", status))
    assert isinstance(adapted, ChatCodec)
    assert adapted.quirks == msgspec.structs.replace(quirks, max_tokens=other)
    assert adapted.provider == "test"


@pytest.mark.req("F10")
@pytest.mark.parametrize("text", ["Unknown field: stream_options", "include_usage: Extra inputs are not permitted"])
def test_stream_options_are_left_out_where_refused(text: str) -> None:
    """Once: a codec that sends none has nothing more to learn from it."""
    adapted = ChatCodec("test").adapted(refused(text))
    assert isinstance(adapted, ChatCodec)
    assert adapted.quirks == ChatQuirks(stream_options=False)
    assert adapted.adapted(refused(text)) is None


@pytest.mark.parametrize(
    "error",
    [
        refused("Unsupported parameter: 'max_tokens'", 404),
        refused("max_tokens is too large: 5000"),
        refused("Unsupported parameter: 'top_k'"),
        refused("Unsupported parameter: 'my_max_tokens_x'"),
        RateLimitError("Unsupported parameter: 'max_tokens'", status=400),
    ],
)
def test_other_errors_teach_nothing(error: LLMError) -> None:
    """Another status, another reason, another field, another class."""
    assert ChatCodec("test").adapted(error) is None


def test_the_refusal_may_be_in_the_body_alone() -> None:
    """Validation errors name the field far from the message."""
    error = InvalidRequestError(
        "bad", status=422, body='{"detail":[{"loc":["body","max_tokens"],"msg":"Extra inputs"}]}'
    )
    assert ChatCodec("test").adapted(error) is not None


# ---- the client's own checks


def test_options_become_a_request() -> None:
    """Strings and dicts are made into ours."""
    options: Any = {"stop": "x", "tools": [{"type": "function", "function": {"name": "f"}}, WEATHER], "raw": 1}
    request, output = request_from("m", "Hi", {**options, "extra_headers": {"X-A": "b"}})
    assert request.messages == HELLO
    assert (request.stop, request.tools, request.raw) == (("x",), (Tool("f"), WEATHER), True)
    assert request.extra_headers == {"x-a": "b"}
    assert output is None
