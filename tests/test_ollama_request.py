"""A request on Ollama's wire: options, messages, what is left out, and what is refused before a byte is sent."""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import pytest
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

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
from asyncllm.protocols.ollama import OllamaCodec, OllamaQuirks
from asyncllm.protocols.ollama._server import read_request

HELLO = (Message("user", "Hi"),)
WEATHER = Tool("weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = OutputSchema("output", {"type": "object", "properties": {"name": {"type": "string"}}})
PNG = b"\x89PNG\r\n\x1a\n"
OURS = ProviderState("ollama-native", {"field": "thinking"})


def encoded(*, quirks: OllamaQuirks | None = None, **fields: Any) -> Encoded:
    fields.setdefault("messages", HELLO)
    return OllamaCodec("ollama-native", quirks).encode(Request(model="m", **fields))


def body(**fields: Any) -> dict[str, Any]:
    data: dict[str, Any] = msgspec.json.decode(encoded(**fields).body)
    return data


def sent(*messages: Message, **fields: Any) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = body(messages=messages, **fields)["messages"]
    return listed


# ---- options


@pytest.mark.req("seed-A3")
def test_the_least_request() -> None:
    """A model, the messages, a stream; nothing that was not asked for."""
    request = encoded()
    assert (request.path, request.headers, request.warnings) == ("/api/chat", {}, ())
    assert body() == {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "stream": True}


@pytest.mark.parametrize(
    ("option", "value", "field", "wanted"),
    [
        ("temperature", 0.0, "temperature", 0.0),
        ("top_p", 0.5, "top_p", 0.5),
        ("seed", 0, "seed", 0),
        ("stop", ("a", "b"), "stop", ["a", "b"]),
        ("max_tokens", 5, "num_predict", 5),
    ],
)
def test_options(option: str, value: Any, field: str, wanted: Any) -> None:
    """They go into `options`, also where the value is 0."""
    assert body(**{option: value})["options"] == {field: wanted}


@pytest.mark.req("E10")
@pytest.mark.parametrize(
    ("reasoning", "level"),
    [
        ("none", False),
        (0, False),
        ("minimal", "low"),
        ("low", "low"),
        ("medium", "medium"),
        (8000, "medium"),
        ("high", "high"),
        ("xhigh", "high"),
        ("max", "high"),
        (100_000, "high"),
    ],
)
def test_think(reasoning: Any, level: Any) -> None:
    """An effort or a budget becomes a level, or on and off where the model knows no levels."""
    assert body(reasoning=reasoning)["think"] == level
    assert body(reasoning=reasoning, quirks=OllamaQuirks(think_levels=False))["think"] is bool(level)


@pytest.mark.parametrize(
    ("error", "again"),
    [
        (InvalidRequestError('think value "low" is not supported for this model', status=400), True),
        (InvalidRequestError('"m" does not support thinking', status=400), False),
        (RateLimitError("think value", status=429), False),
    ],
)
def test_a_model_without_levels_is_asked_again(error: LLMError, again: bool) -> None:
    """Once, with `think: true`; other errors teach nothing."""
    adapted = OllamaCodec("o").adapted(error)
    assert (adapted is not None) == again
    if adapted is not None:
        request = Request(model="m", messages=HELLO, reasoning="low")
        assert msgspec.json.decode(adapted.encode(request).body)["think"] is True
        assert adapted.adapted(error) is None


@pytest.mark.req("seed-B10")
def test_structured_output() -> None:
    """The schema itself is the format."""
    assert body(output=SCHEMA)["format"] == SCHEMA.schema


def test_extra_body_is_merged() -> None:
    """It wins, `options` are merged, and None takes a field or an option away."""
    given = {"keep_alive": "5m", "options": {"num_ctx": 8192, "seed": None}, "stream": False, "think": None}
    made = body(temperature=1.0, seed=3, reasoning="low", extra_body=given)
    assert made["options"] == {"temperature": 1.0, "num_ctx": 8192}
    assert (made["keep_alive"], made["stream"]) == ("5m", False)
    assert "think" not in made
    assert body(extra_body={"options": {"num_ctx": 1}})["options"] == {"num_ctx": 1}
    assert "options" not in body(seed=3, extra_body={"options": {"seed": None}})


def test_caching_needs_no_asking() -> None:
    """The server keeps prompts by itself: the option changes nothing, and nobody needs to be told."""
    assert encoded(cache="1h") == encoded()


# ---- tools


def test_tools() -> None:
    """As functions; strictness is left out with a warning."""
    made = encoded(tools=(WEATHER, Tool("now", strict=True)))
    assert msgspec.json.decode(made.body)["tools"] == [
        {
            "type": "function",
            "function": {"name": "weather", "description": "The weather", "parameters": WEATHER.parameters},
        },
        {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    ]
    assert made.warnings == ("strict tools are not supported by ollama-native: 'now' is sent without strict",)


def test_tool_choice() -> None:
    """`none` offers no tools; what would force a call is refused, for nothing could say it."""
    assert "tools" in body(tools=(WEATHER,), tool_choice="auto")
    assert "tools" not in body(tools=(WEATHER,), tool_choice="none")
    for choice in ("required", "weather"):
        with pytest.raises(InvalidRequestError, match="cannot force a tool call"):
            encoded(tools=(WEATHER,), tool_choice=choice)


# ---- messages


def test_system_and_names() -> None:
    """The system prompt comes first, others stay where they are; a name is left out with a warning."""
    made = encoded(system="S", messages=(Message("user", "a", name="Ann"), Message("system", "b")))
    assert msgspec.json.decode(made.body)["messages"] == [
        {"role": "system", "content": "S"},
        {"role": "user", "content": "a"},
        {"role": "system", "content": "b"},
    ]
    assert made.warnings == ("messages[0]: a message has no name on this wire; 'Ann' was left out",)


def test_images() -> None:
    """Bytes, or the bytes of a data URL, as base64 beside the text."""
    data = base64.b64encode(PNG).decode()
    parts: list[Part] = [Text("a"), Image(data=PNG), Text("b"), Image(url=f"data:image/png;base64,{data}")]
    assert sent(Message("user", parts)) == [{"role": "user", "content": "ab", "images": [data, data]}]
    results: list[Part] = [ToolResult("c", "f", [Text("x"), Image(data=PNG)])]
    assert sent(Message("tool", results))[0]["images"] == [data]
    assert sent(Message("assistant", [Image(data=PNG)])) == [{"role": "assistant", "content": "", "images": [data]}]


@pytest.mark.parametrize(
    "part",
    [
        Image(url="https://example.org/x.png"),
        Image(url="data:image/png;base64,%%"),
        Image(),
        Audio(b"x"),
        File(data=b"x"),
        Reasoning("x"),
        ToolCall("c", "f", {}),
        ToolResult("c", "f", "x"),
    ],
    ids=lambda part: type(part).__name__,
)
def test_parts_that_no_server_takes_are_refused(part: Part) -> None:
    """With the place where they stand."""
    with pytest.raises(InvalidRequestError, match=r"^messages\[1\]: "):
        encoded(messages=(*HELLO, Message("user", [part])))


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ((), "no messages"),
        ((Message("tool", [Text("x")]),), r"messages\[0\]: a tool message holds ToolResult parts, not Text"),
        ((Message("assistant", [ToolResult("c", "f", "x")]),), r"messages\[0\]: results of tools go in a message"),
    ],
)
def test_what_cannot_be_said_is_refused(messages: tuple[Message, ...], says: str) -> None:
    """Before a byte is sent."""
    with pytest.raises(InvalidRequestError, match=says):
        encoded(messages=messages)


@pytest.mark.parametrize("tools", [(WEATHER, WEATHER), (Tool(""),)])
def test_tools_that_make_no_sense_are_refused(tools: tuple[Tool, ...]) -> None:
    """Two of one name, and one without."""
    with pytest.raises(InvalidRequestError):
        encoded(tools=tools)


@pytest.mark.req("seed-E4", "seed-B9", "E3")
def test_a_tool_turn_goes_back_whole() -> None:
    """Thinking, text and calls with argument objects; results name their tool, from the history where they do not know it.
    An invalid call has no arguments; a turn without content is left out."""
    turn = Message(
        "assistant",
        [
            Reasoning("hm", OURS),
            Text("Looking."),
            ToolCall("c1", "weather", {"city": "Oslo"}),
            ToolCall("c2", "now", None, '{"a', "cut"),
        ],
    )
    results = Message("tool", [ToolResult("c1", "", "rain"), ToolResult("c2", "now", "cut", is_error=True)])
    assert sent(*HELLO, turn, Message("assistant", ""), results)[1:] == [
        {
            "role": "assistant",
            "content": "Looking.",
            "thinking": "hm",
            "tool_calls": [
                {"id": "c1", "function": {"name": "weather", "arguments": {"city": "Oslo"}}},
                {"id": "c2", "function": {"name": "now", "arguments": {}}},
            ],
        },
        {"role": "tool", "content": "rain", "tool_name": "weather", "tool_call_id": "c1"},
        {"role": "tool", "content": "cut", "tool_name": "now", "tool_call_id": "c2"},
    ]


@pytest.mark.req("E9", "E3")
def test_thoughts_go_to_nobody_else() -> None:
    """Reasoning of another provider, or of none, stays here; so it does where the quirk says so."""
    for state in (None, ProviderState("anthropic", {"signature": "s"})):
        assert sent(*HELLO, Message("assistant", [Reasoning("hm", state), Text("a")]))[1] == {
            "role": "assistant",
            "content": "a",
        }
    turn = Message("assistant", [Reasoning("hm", OURS), Text("a")])
    assert "thinking" not in sent(*HELLO, turn, quirks=OllamaQuirks(echo_reasoning=False))[1]


@pytest.mark.req("E9")
def test_what_another_provider_made_or_ran_is_left_out() -> None:
    """With a warning, and never an error: a conversation can go on here in the middle."""
    theirs = ProviderState("openai-responses", {"id": "ws_1"})
    search = ToolCall("ws_1", "web_search", {}, executed=True, state=theirs)
    turn = Message(
        "assistant",
        [
            search,
            ToolResult("ws_1", "web_search", "found", state=theirs),
            Audio(b"x"),
            Image(url="https://x"),
            Text("a"),
        ],
    )
    made = encoded(messages=(*HELLO, turn))
    assert msgspec.json.decode(made.body)["messages"][1] == {"role": "assistant", "content": "a"}
    assert made.warnings == tuple(
        f"messages[1]: the assistant's {name} was left out" for name in ("ToolCall", "ToolResult", "Audio", "Image")
    )


# ---- there and back

texts = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
objects = st.dictionaries(texts, texts | st.integers(0, 9) | st.none(), max_size=2)
images = st.just(Image(data=PNG)) | st.just(Image(data=b"\xff\xd8\xff", media_type="image/jpeg"))
tools = st.builds(Tool, names, texts, st.just(WEATHER.parameters))


@st.composite
def exchanges(draw: st.DrawFn) -> list[Message]:
    """A user's turn, the answer with calls, and their results."""
    given = draw(texts)
    shown = draw(st.lists(images, max_size=2))
    calls = []
    for number in range(draw(st.integers(0, 2))):
        arguments = draw(objects)
        raw = msgspec.json.encode(arguments).decode()
        calls.append(ToolCall(f"c{number}", draw(names), arguments, raw))
    user = Message("user", [Text(given), *shown] if shown else given)
    said = draw(texts)
    answer = Message("assistant", [Text(said), *calls] if calls else said)
    return [user, answer, *(Message("tool", [ToolResult(call.id, call.name, draw(texts))]) for call in calls)]


requests = st.builds(
    Request,
    model=names,
    messages=st.builds(
        lambda system, turns: tuple(system + [message for turn in turns for message in turn]),
        st.lists(st.builds(Message, st.just("system"), texts), max_size=1),
        st.lists(exchanges(), min_size=1, max_size=2),
    ),
    tools=st.lists(tools, max_size=2, unique_by=lambda tool: tool.name).map(tuple),
    output=st.none() | st.just(SCHEMA),
    max_tokens=st.none() | st.integers(1, 100),
    temperature=st.none() | st.floats(0, 2),
    top_p=st.none() | st.floats(0, 1),
    stop=st.lists(texts, max_size=2).map(tuple),
    seed=st.none() | st.integers(0, 100),
    reasoning=st.sampled_from([None, "none", "low", "medium", "high"]),
)


@PLENTY
@given(requests)
def test_what_was_encoded_reads_the_same(request: Request) -> None:
    """The server's side understands what the client's side says."""
    made = OllamaCodec("ollama-native").encode(request)
    assert read_request(made.path, msgspec.json.decode(made.body)) == request


def test_the_thoughts_of_the_history_are_read() -> None:
    """Without a state: to the server they are just thoughts."""
    made = encoded(messages=(*HELLO, Message("assistant", [Reasoning("hm", OURS), Text("a")])))
    read = read_request("/api/chat", msgspec.json.decode(made.body))
    assert read.messages[1] == Message("assistant", [Reasoning("hm"), Text("a")])


def test_a_history_without_ids() -> None:
    """As clients of older versions send it: calls get ids, and results find their call by its tool's name."""
    messages = [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1}}}, {"function": {"name": "g"}}],
        },
        {"role": "tool", "content": "of g", "tool_name": "g"},
        {"role": "tool", "content": "of f"},
        {"role": "tool", "content": "of nothing", "tool_name": "h"},
    ]
    read = read_request("/api/chat", {"model": "m", "messages": messages, "format": "json", "think": True})
    assert [part for message in read.messages[2:] for part in message.parts] == [
        ToolResult("call_2", "g", "of g"),
        ToolResult("call_1", "f", "of f"),
        ToolResult("", "h", "of nothing"),
    ]
    assert read.messages[1].parts == [ToolCall("call_1", "f", {"a": 1}, '{"a":1}'), ToolCall("call_2", "g", {}, "{}")]
    assert (read.output, read.reasoning) == (OutputSchema("output", {"type": "object"}), "medium")


@pytest.mark.parametrize(
    "given",
    [
        {"messages": [{"role": "user", "content": "Hi"}]},
        {"model": "m"},
        {"model": "m", "messages": []},
        {"model": "m", "messages": ["Hi"]},
        {"model": "m", "messages": [{"role": "robot", "content": "Hi"}]},
        {"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]},
        {"model": "m", "messages": [{"role": "user", "content": "Hi", "images": ["%"]}]},
        {"model": "m", "messages": [{"role": "user", "content": "Hi", "images": [1]}]},
        {"model": "m", "messages": [{"role": "assistant", "tool_calls": [{"name": "f"}]}]},
        {
            "model": "m",
            "messages": [{"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]}],
        },
        {"model": "m", "messages": [{"role": "user", "content": "Hi"}], "tools": [{"name": "f"}]},
    ],
)
def test_bodies_that_a_server_refuses(given: dict[str, Any]) -> None:
    """Each with a 400 and words."""
    with pytest.raises(InvalidRequestError) as caught:
        read_request("/api/chat", given)
    assert caught.value.status == 400
