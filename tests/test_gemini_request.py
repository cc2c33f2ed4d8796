"""A Request as the body of streamGenerateContent, and back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _decoding import PLENTY
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
from asyncllm.protocols import Encoded, OutputSchema, Request, Tool
from asyncllm.protocols.gemini import GeminiCodec, GeminiQuirks
from asyncllm.protocols.gemini._contents import UNSIGNED
from asyncllm.protocols.gemini._server import read_request

HELLO = Message("user", "Hi")
WEATHER = Tool("get_weather", "Of a city.", {"type": "object", "properties": {"city": {"type": "string"}}})
NEW, OLD = "gemini-3-pro", "gemini-2.5-flash"
SIGNED = ProviderState("gemini", {"thoughtSignature": "c2ln"})


def encoded(*messages: Message, model: str = NEW, quirks: GeminiQuirks | None = None, **options: Any) -> Encoded:
    request = Request(model=model, messages=messages or (HELLO,), **options)
    return GeminiCodec("gemini", quirks).encode(request)


def body(*messages: Message, **options: Any) -> Any:
    return json.loads(encoded(*messages, **options).body)


def contents(*messages: Message, **options: Any) -> list[Any]:
    found: list[Any] = body(*messages, **options)["contents"]
    return found


def refused(*messages: Message, **options: Any) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        encoded(*messages, **options)
    return caught.value.message


# ---- where it goes


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-x", "/models/gemini-x"),
        ("models/gemini-x", "/models/gemini-x"),
        ("tunedModels/mine-1", "/tunedModels/mine-1"),
        ("publishers/google/models/gemini-x@001", "/publishers/google/models/gemini-x@001"),
    ],
)
def test_the_model_is_in_the_path(model: str, path: str) -> None:
    """With or without what stands before it; the answer comes as server-sent events."""
    assert encoded(model=model).path == f"{path}:streamGenerateContent?alt=sse"
    assert b"gemini-x" not in encoded(model=model).body


@pytest.mark.parametrize(
    ("model", "path"),
    [
        ("gemini-x", "/publishers/google/models/gemini-x"),
        ("models/gemini-x", "/publishers/google/models/gemini-x"),
        ("google/gemini-x", "/publishers/google/models/gemini-x"),
        ("publishers/google/models/gemini-x", "/publishers/google/models/gemini-x"),
        ("endpoints/123", "/endpoints/123"),
    ],
)
def test_the_path_of_vertex(model: str, path: str) -> None:
    """There a bare name is Google's; tuned models are endpoints."""
    quirks = GeminiQuirks(model_prefix="publishers/google/models/")
    assert encoded(model=model, quirks=quirks).path == f"{path}:streamGenerateContent?alt=sse"


@pytest.mark.parametrize("model", ["", "a b", "../x", "a?key=1", "a#b", "a%2fb", "é", "a//b", "/a"])
def test_a_name_that_would_change_the_path_is_refused(model: str) -> None:
    """Before a byte is sent."""
    assert "path" in refused(model=model)


# ---- the conversation


def test_turns_alternate_and_system_messages_are_the_instruction() -> None:
    """Messages of one side in a row are one turn; a system message in the middle moves, with a warning."""
    sent = encoded(
        Message("system", "First."),
        Message("user", "a"),
        Message("user", "b"),
        Message("system", "Later."),
        Message("user", "c"),
        Message("assistant", "d"),
        system="Zero.",
    )
    found = json.loads(sent.body)
    assert found["systemInstruction"] == {"parts": [{"text": "Zero."}, {"text": "First."}, {"text": "Later."}]}
    assert found["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}, {"text": "c"}]},
        {"role": "model", "parts": [{"text": "d"}]},
    ]
    assert any("messages[3]" in warning for warning in sent.warnings)
    assert "names of messages" in encoded(Message("user", "a", name="Bob")).warnings[0]


def test_media() -> None:
    """Inline as base64 with its type, or by a URI; the type of an image's URL is in its name."""
    parts: list[Part] = [
        Image(data=b"\xff", media_type="image/webp"),
        Image(url="https://e.test/a.JPG?x=1"),
        Image(url="data:image/gif;base64,YQ=="),
        Audio(b"a", "mp3"),
        File(data=b"a"),
        File(file_id="gs://b/v.mp4", media_type="video/mp4"),
        File(file_id="files/abc", media_type="video/mp4"),
    ]
    (turn,) = contents(Message("user", parts))
    assert turn["parts"] == [
        {"inlineData": {"mimeType": "image/webp", "data": "/w=="}},
        {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://e.test/a.JPG?x=1"}},
        {"inlineData": {"mimeType": "image/gif", "data": "YQ=="}},
        {"inlineData": {"mimeType": "audio/mp3", "data": "YQ=="}},
        {"inlineData": {"mimeType": "application/pdf", "data": "YQ=="}},
        {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/v.mp4"}},
        {
            "fileData": {
                "mimeType": "video/mp4",
                "fileUri": "https://generativelanguage.googleapis.com/v1beta/files/abc",
            }
        },
    ]
    assert "detail" in encoded(Message("user", [Image(url="https://e.test/a.png", detail="low")])).warnings[0]


@pytest.mark.parametrize(
    ("messages", "why"),
    [
        ((), "no messages"),
        ((Message("user", ""),), "no messages"),
        ((Message("system", "only"),), "no messages"),
        ((HELLO, Message("user", [Image()])), "messages[1]: an Image needs"),
        ((HELLO, Message("user", [Image(url="data:image/png,x")])), "messages[1]: a data: URL"),
        ((Message("user", [File()]),), "messages[0]: a File needs"),
        ((Message("user", [File(file_id="file-abc")]),), "messages[0]: file_id 'file-abc'"),
        ((Message("user", [Reasoning("x")]),), "messages[0]: a user message cannot hold Reasoning"),
        ((Message("user", [ToolCall("c", "f", {})]),), "messages[0]: a user message cannot hold ToolCall"),
        ((HELLO, Message("assistant", [ToolResult("c", "f", "x")])), "messages[1]: results of tools go"),
        ((HELLO, Message("tool", [ToolResult("c", "", "x")])), "messages[1]: the result of 'c'"),
        ((Message("system", [Image(url="x")]), HELLO), "messages[0]: a system message holds text"),
    ],
)
def test_what_no_server_would_take(messages: tuple[Message, ...], why: str) -> None:
    """An error before a byte is sent, with the place."""
    with pytest.raises(InvalidRequestError) as caught:
        GeminiCodec("gemini").encode(Request(model=NEW, messages=messages))
    assert why in caught.value.message


# ---- tools


def call(city: str, name: str = "get_weather", /, **data: object) -> ToolCall:
    return ToolCall(city, name, {"city": city}, "", state=ProviderState("gemini", data) if data else None)


@pytest.mark.req("E7", "G7")
def test_calls_and_results() -> None:
    """An id goes back where the server gave it, and to the result; results stand in the order of their calls."""
    first, second, third = call("fc1", id="fc1", thoughtSignature="c2ln"), call("ours"), call("fc3", "other", id="fc3")
    results = [ToolResult("fc3", "other", "3"), ToolResult("ours", "", "2"), ToolResult("fc1", "get_weather", "1")]
    _, model, user = contents(HELLO, Message("assistant", [first, second, third]), Message("tool", list(results)))
    assert model["parts"] == [
        {"functionCall": {"id": "fc1", "name": "get_weather", "args": {"city": "fc1"}}, "thoughtSignature": "c2ln"},
        {"functionCall": {"name": "get_weather", "args": {"city": "ours"}}},
        {"functionCall": {"id": "fc3", "name": "other", "args": {"city": "fc3"}}},
    ]
    assert user == {
        "role": "user",
        "parts": [
            {"functionResponse": {"id": "fc1", "name": "get_weather", "response": {"output": "1"}}},
            {"functionResponse": {"name": "get_weather", "response": {"output": "2"}}},
            {"functionResponse": {"id": "fc3", "name": "other", "response": {"output": "3"}}},
        ],
    }


def test_a_result_without_a_known_id_finds_its_call_by_name() -> None:
    """The first of that name that has none yet."""
    turn = Message("assistant", [call("a", id="g1"), call("b", id="g2")])
    results = Message(
        "tool", [ToolResult("", "get_weather", "1"), ToolResult("?", "get_weather", "2"), ToolResult("", "x", "3")]
    )
    *_, user = contents(HELLO, turn, results)
    found = [part["functionResponse"] for part in user["parts"]]
    assert [(item.get("id"), item["response"]["output"]) for item in found] == [("g1", "1"), ("g2", "2"), (None, "3")]


@pytest.mark.parametrize(
    ("result", "response"),
    [
        (ToolResult("c", "f", "21 degrees"), {"output": "21 degrees"}),
        (ToolResult("c", "f", '{"a": [1]}'), {"a": [1]}),
        (ToolResult("c", "f", "[1]"), {"output": "[1]"}),
        (ToolResult("c", "f", '{"error": 1}'), {"output": '{"error": 1}'}),
        (ToolResult("c", "f", "{broken"), {"output": "{broken"}),
        (ToolResult("c", "f", ""), {"output": ""}),
        (ToolResult("c", "f", "no such city", is_error=True), {"error": "no such city"}),
    ],
)
def test_results_are_objects(result: ToolResult, response: dict[str, Any]) -> None:
    """A JSON object is said as it is, all else is the output, and an error is the error."""
    *_, user = contents(HELLO, Message("tool", [result]))
    assert user["parts"][0]["functionResponse"] == {"name": "f", "response": response}


def test_images_in_results() -> None:
    """Inside the response since Gemini 3, behind it before."""
    result = Message("tool", [ToolResult("c", "f", [Text("see"), Image(data=b"a")])])
    image = {"inlineData": {"mimeType": "image/png", "data": "YQ=="}}
    *_, new = contents(result)
    assert new["parts"][0]["functionResponse"] == {"name": "f", "response": {"output": "see"}, "parts": [image]}
    *_, old = contents(result, model=OLD)
    assert old["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "see"}}}, image]


@pytest.mark.req("E9", "seed-E4")
def test_calls_of_another_provider_can_go_on_here() -> None:
    """Since Gemini 3 the first call of each step under way needs a signature: foreign ones get the documented stand-in, and
    only there."""
    foreign = ProviderState("anthropic", {"thoughtSignature": "not ours", "id": "toolu_1"})
    step = [
        Message(
            "assistant", [ToolCall("toolu_1", "f", {}, state=foreign), ToolCall("toolu_2", "f", {}, state=foreign)]
        ),
        Message("tool", [ToolResult("toolu_1", "f", "1"), ToolResult("toolu_2", "f", "2")]),
    ]
    signatures = [
        [part.get("thoughtSignature") for part in content["parts"]]
        for content in contents(HELLO, *step, Message("user", "more"), *step, *step)
        if content["role"] == "model"
    ]
    assert signatures == [[None, None], [UNSIGNED, None], [UNSIGNED, None]]
    assert UNSIGNED not in encoded(HELLO, *step, model=OLD).body.decode()
    assert "not ours" not in encoded(HELLO, *step).body.decode()
    assert "toolu" not in encoded(HELLO, *step).body.decode()
    own = [
        Message("assistant", [call("c", thoughtSignature="real")]),
        Message("tool", [ToolResult("c", "get_weather", "1")]),
    ]
    assert contents(HELLO, *own)[1]["parts"][0]["thoughtSignature"] == "real"


def test_names_that_other_providers_allow_are_made_legal_in_the_history() -> None:
    """The same in the call and in its result."""
    turn = Message("assistant", [ToolCall("c", "1-st tool!", None, "{", "cut"), ToolCall("d", "", {})])
    _, model, user = contents(
        HELLO, turn, Message("tool", [ToolResult("c", "1-st tool!", "x"), ToolResult("d", "", "y")])
    )
    assert [part["functionCall"]["name"] for part in model["parts"]] == ["_1-st_tool_", "unknown"]
    assert [part["functionResponse"]["name"] for part in user["parts"]] == ["_1-st_tool_", "unknown"]
    assert model["parts"][0]["functionCall"]["args"] == {}


@pytest.mark.req("E7", "E9")
def test_a_turn_of_the_model_goes_back_part_by_part() -> None:
    """With the signature of each part, in their order; a thought without one says nothing, and another's is left out."""
    code = {"language": "PYTHON", "code": "1"}
    ran = {"outcome": "OUTCOME_OK", "output": "1"}
    own: list[Part] = [
        Reasoning("summary"),
        Reasoning("t", SIGNED),
        Text("a", ProviderState("gemini", {})),
        Text("", SIGNED),
        ToolCall(
            "x",
            "code_execution",
            code,
            "",
            state=ProviderState("gemini", {"executableCode": code, "thoughtSignature": "s"}),
            executed=True,
        ),
        ToolResult("x", "code_execution", "1", state=ProviderState("gemini", {"codeExecutionResult": ran})),
        Image(data=b"a", state=SIGNED),
        Image(data=b"b", state=ProviderState("gemini", {"thought": True})),
    ]
    _, model = contents(HELLO, Message("assistant", own))
    assert model["parts"] == [
        {"text": "t", "thought": True, "thoughtSignature": "c2ln"},
        {"text": "a"},
        {"text": "", "thoughtSignature": "c2ln"},
        {"executableCode": code, "thoughtSignature": "s"},
        {"codeExecutionResult": ran},
        {"inlineData": {"mimeType": "image/png", "data": "YQ=="}, "thoughtSignature": "c2ln"},
        {"inlineData": {"mimeType": "image/png", "data": "Yg=="}, "thought": True},
    ]
    other = json.loads(
        GeminiCodec("vertex").encode(Request(model=NEW, messages=(HELLO, Message("assistant", own), HELLO))).body
    )
    said = other["contents"][1]["parts"]
    assert [part.get("text", "image") for part in said] == ["a", "image", "image"]
    assert "c2ln" not in json.dumps(other)


def test_what_other_providers_made_is_left_out_with_a_warning() -> None:
    """Their tools, and files that only they have."""
    theirs = ProviderState("openai", {"item": {}})
    turn: list[Part] = [
        ToolCall("s", "web_search", {}, "", state=theirs, executed=True),
        ToolResult("s", "web_search", "found"),
        File(file_id="file-1", state=theirs),
        Text("ok"),
    ]
    sent = encoded(HELLO, Message("assistant", turn), HELLO)
    assert json.loads(sent.body)["contents"][1] == {"role": "model", "parts": [{"text": "ok"}]}
    assert len(sent.warnings) == 3


def test_declarations() -> None:
    """A tool's schema is JSON Schema, or the subset where a row or an option says so; one without parameters has none."""
    nothing = Tool("now")
    found = body(tools=(WEATHER, nothing))["tools"]
    assert found == [
        {
            "functionDeclarations": [
                {"name": "get_weather", "description": "Of a city.", "parametersJsonSchema": WEATHER.parameters},
                {"name": "now"},
            ]
        }
    ]
    old = body(
        tools=(WEATHER, Tool("now", "", {"type": "object", "properties": {}})), quirks=GeminiQuirks(schema="openapi")
    )
    assert old["tools"][0]["functionDeclarations"] == [
        {
            "name": "get_weather",
            "description": "Of a city.",
            "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
        },
        {"name": "now"},
    ]


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ("get_weather", {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}),
    ],
)
def test_tool_choice(choice: str, config: dict[str, Any]) -> None:
    """Each choice is a mode."""
    assert body(tools=(WEATHER,), tool_choice=choice)["toolConfig"] == {"functionCallingConfig": config}


def test_strict_and_streamed_arguments() -> None:
    """Strict is for all tools or none; pieces of arguments are asked for by an option."""
    strict = Tool("f", strict=True)
    assert body(tools=(strict,))["toolConfig"] == {"functionCallingConfig": {"mode": "VALIDATED"}}
    mixed = encoded(tools=(strict, WEATHER))
    assert "toolConfig" not in json.loads(mixed.body)
    assert "strict" in mixed.warnings[0]
    own = body(tools=(WEATHER,), quirks=GeminiQuirks(server_tools=({"googleSearch": {}},)))["tools"]
    assert [list(tool) for tool in own] == [["functionDeclarations"], ["googleSearch"]]
    streamed = body(tools=(WEATHER,), quirks=GeminiQuirks(stream_arguments=True))
    assert streamed["toolConfig"] == {"functionCallingConfig": {"streamFunctionCallArguments": True}}


def test_tools_that_make_no_sense() -> None:
    """Names that the API refuses, doubles, and choices of what is not there."""
    assert "tool name '1x'" in refused(tools=(Tool("1x"),))
    assert "same name" in refused(tools=(WEATHER, WEATHER))
    assert "needs tools" in refused(tool_choice="required")
    assert "'other' is not" in refused(tools=(WEATHER,), tool_choice="other")


# ---- options


def test_sampling() -> None:
    """Under the names of generationConfig; what is not given is not sent."""
    sent = body(max_tokens=5, temperature=0.5, top_p=0.9, stop=("a", "b"), seed=7)
    assert sent["generationConfig"] == {
        "maxOutputTokens": 5,
        "temperature": 0.5,
        "topP": 0.9,
        "stopSequences": ["a", "b"],
        "seed": 7,
    }
    assert body().keys() == {"contents"}
    assert not encoded(cache="5m").warnings  # caching needs no asking


@pytest.mark.parametrize(
    ("model", "reasoning", "config", "warned"),
    [
        (NEW, "low", {"thinkingLevel": "LOW", "includeThoughts": True}, ""),
        (NEW, "max", {"thinkingLevel": "XHIGH", "includeThoughts": True}, ""),
        (NEW, 5000, {"thinkingLevel": "MEDIUM", "includeThoughts": True}, ""),
        (NEW, "none", {"thinkingLevel": "MINIMAL"}, "cannot be turned off"),
        ("gemini-flash-latest", "high", {"thinkingLevel": "HIGH", "includeThoughts": True}, ""),
        (OLD, "low", {"thinkingBudget": 4096, "includeThoughts": True}, ""),
        (OLD, "none", {"thinkingBudget": 0}, ""),
        (OLD, "max", {"thinkingBudget": 24576, "includeThoughts": True}, ""),
        (OLD, 99999, {"thinkingBudget": 24576, "includeThoughts": True}, "0 to 24576"),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}, "128 to 32768"),
        ("gemini-2.0-flash", "high", None, "no reasoning option"),
        ("gemma-3-27b-it", "none", None, ""),
    ],
)
def test_reasoning(model: str, reasoning: Any, config: Any, warned: str) -> None:
    """A level since Gemini 3, a budget within its limits for 2.5, nothing before."""
    sent = encoded(model=model, reasoning=reasoning)
    assert json.loads(sent.body).get("generationConfig", {}).get("thinkingConfig") == config
    assert warned in "".join(sent.warnings)
    assert bool(sent.warnings) == bool(warned)


def test_reasoning_by_option() -> None:
    """For names that say nothing."""
    quirks = GeminiQuirks(thinking="budget", include_thoughts=False)
    sent = body(model="endpoints/1", quirks=quirks, reasoning=500)
    assert sent["generationConfig"]["thinkingConfig"] == {"thinkingBudget": 500}
    assert "reasoning" in encoded(quirks=GeminiQuirks(thinking="none"), reasoning="low").warnings[0]


def test_structured_output() -> None:
    """By the provider's own means; beside tools, where Gemini 2.5 has none, by the prompt."""
    wanted = OutputSchema("city", {"type": "object", "properties": {"name": {"type": "string"}}})
    assert body(output=wanted)["generationConfig"] == {
        "responseMimeType": "application/json",
        "responseJsonSchema": wanted.schema,
    }
    subset = body(output=wanted, quirks=GeminiQuirks(schema="openapi"))["generationConfig"]
    assert subset["responseSchema"] == {"type": "OBJECT", "properties": {"name": {"type": "STRING"}}}
    assert "responseJsonSchema" in body(output=wanted, tools=(WEATHER,))["generationConfig"]
    old = encoded(output=wanted, tools=(WEATHER,), model=OLD)
    assert "generationConfig" not in json.loads(old.body)
    assert "JSON Schema" in json.loads(old.body)["systemInstruction"]["parts"][0]["text"]
    assert old.warnings


def test_extra_body() -> None:
    """Wins over what was said, down to single fields; knows both spellings, and what belongs into generationConfig; adds
    tools; None takes away."""
    sent = body(
        max_tokens=5,
        reasoning="low",
        tools=(WEATHER,),
        extra_body={
            "presence_penalty": 0.5,
            "topK": 3,
            "generation_config": {"thinkingConfig": {"includeThoughts": None}, "max_output_tokens": 9},
            "tools": [{"googleSearch": {}}],
            "safetySettings": [{"category": "X"}],
            "cached_content": "c",
            "labels": {"a": "b"},
        },
    )
    assert sent["generationConfig"] == {
        "maxOutputTokens": 9,
        "thinkingConfig": {"thinkingLevel": "LOW"},
        "presencePenalty": 0.5,
        "topK": 3,
    }
    assert [list(tool) for tool in sent["tools"]] == [["functionDeclarations"], ["googleSearch"]]
    assert (sent["safetySettings"], sent["cachedContent"], sent["labels"]) == ([{"category": "X"}], "c", {"a": "b"})
    assert "generationConfig" not in body(max_tokens=5, extra_body={"generationConfig": None})
    assert "candidateCount" in encoded(extra_body={"candidateCount": 2}).warnings[0]


# ---- read back

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
