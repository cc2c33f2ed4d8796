"""A request on the Converse wire: everything that can be asked, what cannot, and the server's reading of it."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgspec
import pytest
from _decoding import PLENTY
from hypothesis import given, settings
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    File,
    Image,
    InvalidRequestError,
    Message,
    Part,
    ProviderState,
    RateLimitError,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
    parse_call,
)
from asyncllm.protocols import Encoded, OutputSchema, Request, Tool
from asyncllm.protocols._json import to_json
from asyncllm.protocols.bedrock import BedrockCodec, BedrockQuirks
from asyncllm.protocols.bedrock._server import read_request

CLAUDE = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
NEW_CLAUDE = "global.anthropic.claude-opus-4-6-v1"
CODEC = BedrockCodec("bedrock")
HI = (Message("user", "Hi"),)


def encoded(*messages: Message, codec: BedrockCodec = CODEC, **options: Any) -> Encoded:
    options.setdefault("model", "m")
    return codec.encode(Request(messages=messages or HI, **options))


def body_of(*messages: Message, **options: Any) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(encoded(*messages, **options).body)
    return body


def content_of(*parts: Part) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = body_of(Message("user", list(parts)))["messages"][0]["content"]
    return found


def own(**data: object) -> ProviderState:
    return ProviderState("bedrock", data)


@pytest.mark.req("seed-A7")
def test_a_question() -> None:
    """The smallest request: the model in the path, the turn in the body, the framing asked for."""
    said = encoded(model="amazon.nova-lite-v1:0")
    assert (said.path, said.method) == ("/model/amazon.nova-lite-v1%3A0/converse-stream", "POST")
    assert said.headers == {"accept": "application/vnd.amazon.eventstream"}
    assert json.loads(said.body) == {"messages": [{"role": "user", "content": [{"text": "Hi"}]}]}
    assert said.warnings == ()


@pytest.mark.parametrize(
    ("model", "path"),
    [
        (
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.x.y-v1:0",
            "arn%3Aaws%3Abedrock%3Aus-east-1%3A123456789012%3Ainference-profile%2Fus.x.y-v1%3A0",
        ),
        ("a b?c#d%é~-_.", "a%20b%3Fc%23d%25%C3%A9~-_."),
    ],
)
def test_every_character_of_a_model_stands_in_the_path(model: str, path: str) -> None:
    """An ARN has slashes and colons, which are escaped as AWS's own library does it; the server reads it back."""
    said = encoded(model=model)
    assert said.path == f"/model/{path}/converse-stream"
    assert read_request(said.path, json.loads(said.body)).model == model


@pytest.mark.req("seed-A7")
def test_all_options_in_their_places() -> None:
    """Inference options, system prompt, tools with strict, and the schema, which is text on this wire."""
    schema = {"type": "object", "properties": {"a": {"type": "integer"}}}
    tool = Tool("weather", "Tells it", {"properties": {"city": {"type": "string"}}}, strict=True)
    body = body_of(
        system="Be brief",
        tools=(tool, Tool("time")),
        tool_choice="weather",
        output=OutputSchema("city", schema),
        max_tokens=9,
        temperature=0.5,
        top_p=0.9,
        stop=("END",),
    )
    assert body["system"] == [{"text": "Be brief"}]
    assert body["inferenceConfig"] == {"maxTokens": 9, "temperature": 0.5, "topP": 0.9, "stopSequences": ["END"]}
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}}
    weather = {"name": "weather", "description": "Tells it", "inputSchema": {"json": parameters}, "strict": True}
    time = {"name": "time", "inputSchema": {"json": {"type": "object", "properties": {}}}}
    assert body["toolConfig"] == {
        "tools": [{"toolSpec": weather}, {"toolSpec": time}],
        "toolChoice": {"tool": {"name": "weather"}},
    }
    structure = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert body["outputConfig"]["textFormat"]["type"] == "json_schema"
    assert (structure["name"], json.loads(structure["schema"])) == ("city", schema)


@pytest.mark.parametrize(("choice", "sent"), [("auto", {"auto": {}}), ("required", {"any": {}}), (None, None)])
def test_tool_choice(choice: str | None, sent: object) -> None:
    """The wire's words for ours."""
    assert body_of(tools=(Tool("f"),), tool_choice=choice)["toolConfig"].get("toolChoice") == sent


CALLED = (
    Message("user", "Hi"),
    Message("assistant", [ToolCall("t", "f", {"a": 1}, '{"a":1}')]),
    Message("tool", [ToolResult("t", "f", "42")]),
)


def test_tool_choice_none_has_no_word() -> None:
    """Tools that are not offered are not called; where the conversation holds calls they must be declared, with a warning."""
    assert "toolConfig" not in body_of(tools=(Tool("f"),), tool_choice="none")
    said = encoded(*CALLED, tools=(Tool("f"),), tool_choice="none")
    assert "toolChoice" not in json.loads(said.body)["toolConfig"]
    assert "'none'" in said.warnings[0]


def test_tools_that_were_called_are_declared() -> None:
    """The service refuses calls and results without a toolConfig, also where no tool is offered any more."""
    said = encoded(*CALLED)
    (tool,) = json.loads(said.body)["toolConfig"]["tools"]
    assert tool["toolSpec"]["name"] == "f"
    assert "declared: f" in said.warnings[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tools": (Tool("a b"),)}, "tool name 'a b'"),
        ({"tools": (Tool("f"), Tool("f"))}, "the same name: ['f']"),
        ({"tools": (Tool("f"),), "tool_choice": "g"}, "tool_choice 'g'"),
        ({"tool_choice": "required"}, "needs tools"),
    ],
)
def test_tools_that_no_server_would_take(options: dict[str, Any], words: str) -> None:
    """Refused before a byte is sent."""
    with pytest.raises(InvalidRequestError) as caught:
        encoded(**options)
    assert words in caught.value.message


@pytest.mark.req("seed-A7")
def test_extra_body_is_merged_at_the_top() -> None:
    """What has no option of ours is passed on; objects are merged, and None takes a field away."""
    body = body_of(
        model=CLAUDE,
        reasoning=2048,
        temperature=1,
        extra_body={
            "guardrailConfig": {"guardrailIdentifier": "g", "guardrailVersion": "1"},
            "additionalModelRequestFields": {"top_k": 5},
            "inferenceConfig": {"temperature": None},
            "system": None,
        },
        system="x",
    )
    assert body["guardrailConfig"] == {"guardrailIdentifier": "g", "guardrailVersion": "1"}
    assert body["additionalModelRequestFields"] == {
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "top_k": 5,
    }
    assert "temperature" not in body["inferenceConfig"]
    assert "system" not in body


def test_seed_has_no_word() -> None:
    """It is left out, with a warning."""
    said = encoded(seed=1)
    assert b"seed" not in said.body
    assert "seed" in said.warnings[0]


# ---- structured output


@pytest.mark.req("seed-B10")
def test_a_model_without_structured_output_gets_the_schema_in_its_prompt() -> None:
    """Where the option says so, or where the service refuses the field: the request is then said once more."""
    schema = OutputSchema("x", {"type": "object"})
    refusal = InvalidRequestError("This model doesn't support the outputConfig.textFormat field.", status=400)
    other = CODEC.adapted(refusal)
    assert isinstance(other, BedrockCodec)
    for codec in (BedrockCodec("bedrock", BedrockQuirks(output="prompt")), other):
        body = body_of(codec=codec, output=schema, system="Be brief")
        assert "outputConfig" not in body
        assert [item["text"][:8] for item in body["system"]] == ["Be brief", "Answer w"]
    assert other.adapted(refusal) is None
    assert CODEC.adapted(InvalidRequestError("prompt is too long", status=400)) is None
    assert CODEC.adapted(RateLimitError("outputConfig", status=429)) is None


# ---- reasoning


@pytest.mark.req("seed-A7")
@pytest.mark.parametrize(
    ("model", "reasoning", "fields"),
    [
        (CLAUDE, 2048, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (CLAUDE, 5, {"thinking": {"type": "enabled", "budget_tokens": 1024}}),
        (CLAUDE, "low", {"thinking": {"type": "enabled", "budget_tokens": 4096}}),
        (CLAUDE, "none", {"thinking": {"type": "disabled"}}),
        ("anthropic.claude-3-7-sonnet-20250219-v1:0", 2048, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        ("anthropic.claude-opus-4-20250514-v1:0", 2048, {"thinking": {"type": "enabled", "budget_tokens": 2048}}),
        (NEW_CLAUDE, "high", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}}),
        (NEW_CLAUDE, "minimal", {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ("anthropic.claude-sonnet-5", 4096, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}),
        ("openai.gpt-oss-120b-1:0", "xhigh", {"reasoning_effort": "high"}),
        ("us.amazon.nova-2-lite-v1:0", "max", {"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "high"}}),
        ("us.amazon.nova-2-lite-v1:0", "none", {"reasoningConfig": {"type": "disabled"}}),
    ],
)
def test_reasoning_is_told_as_the_model_wants_it(model: str, reasoning: Any, fields: dict[str, Any]) -> None:
    """The wire has no word for it: each family has its own, known by the name of the model."""
    assert body_of(model=model, reasoning=reasoning, max_tokens=40000)["additionalModelRequestFields"] == fields


@pytest.mark.parametrize("model", ["meta.llama3-1-8b", "arn:aws:bedrock:eu-west-1:1:application-inference-profile/x"])
def test_reasoning_of_a_model_that_says_nothing_by_its_name(model: str) -> None:
    """Left out with a warning; the option `thinking` says how the model is told."""
    said = encoded(model=model, reasoning="low")
    assert b"additionalModelRequestFields" not in said.body
    assert "thinking=" in said.warnings[0]
    codec = BedrockCodec("bedrock", BedrockQuirks(thinking="effort"))
    assert body_of(model=model, reasoning="low", codec=codec)["additionalModelRequestFields"] == {
        "reasoning_effort": "low"
    }


def test_a_budget_fits_the_limit_of_the_output() -> None:
    """The limit counts the reasoning: without one it is set, an effort's budget gives way to it, a given budget does not."""
    said = encoded(model=CLAUDE, reasoning=2048)
    assert json.loads(said.body)["inferenceConfig"] == {"maxTokens": 2048 + 4096}
    assert "max_tokens is 6144" in said.warnings[0]
    said = encoded(model=CLAUDE, reasoning="high", max_tokens=4000)
    assert json.loads(said.body)["additionalModelRequestFields"]["thinking"]["budget_tokens"] == 2000
    assert "2000" in said.warnings[0]
    for reasoning, most in ((4000, 4000), ("low", 1024)):
        with pytest.raises(InvalidRequestError, match="counts the reasoning"):
            encoded(model=CLAUDE, reasoning=reasoning, max_tokens=most)


# ---- caching


@pytest.mark.parametrize(("cache", "point"), [("5m", {"type": "default"}), ("1h", {"type": "default", "ttl": "1h"})])
def test_marks_for_the_cache(cache: Any, point: dict[str, str]) -> None:
    """After the system prompt, which covers the tools before it, and after the last of the user's turns."""
    mark = {"cachePoint": point}
    body = body_of(*CALLED, system="x", tools=(Tool("f"),), cache=cache)
    assert body["system"] == [{"text": "x"}, mark]
    assert len(body["toolConfig"]["tools"]) == 1
    assert body["messages"][2]["content"][1:] == [mark]
    assert body["messages"][0]["content"] == [{"text": "Hi"}]
    assert body_of(tools=(Tool("f"),), cache=cache)["toolConfig"]["tools"][1:] == [mark]


# ---- the conversation


@pytest.mark.req("B9", "seed-B9")
def test_turns_alternate_and_blank_text_is_left_out() -> None:
    """Messages of one side are one turn, results stand first in it, ghosts vanish: the service refuses all else."""
    body = body_of(
        Message("user", "one"),
        Message("assistant", ""),
        Message("user", [Text(" "), Text("two")]),
        Message("assistant", [Text("\n\n"), ToolCall("t", "f", {}), ToolCall("u", "g", {})]),
        Message("user", "meanwhile"),
        Message("tool", [ToolResult("t", "f", "", is_error=True)]),
        Message("tool", [ToolResult("u", "g", "ok")]),
    )
    assert body["messages"] == [
        {"role": "user", "content": [{"text": "one"}, {"text": "two"}]},
        {
            "role": "assistant",
            "content": [
                {"toolUse": {"toolUseId": "t", "name": "f", "input": {}}},
                {"toolUse": {"toolUseId": "u", "name": "g", "input": {}}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"toolResult": {"toolUseId": "t", "content": [{"text": "(nothing)"}], "status": "error"}},
                {"toolResult": {"toolUseId": "u", "content": [{"text": "ok"}]}},
                {"text": "meanwhile"},
            ],
        },
    ]


def test_system_messages_go_before_the_conversation() -> None:
    """Those at its beginning as they are, one inside it with a warning; the turns around it are one."""
    said = encoded(
        Message("system", "a"), Message("user", "x"), Message("system", "b"), Message("user", "y"), system="first"
    )
    body = json.loads(said.body)
    assert [item["text"] for item in body["system"]] == ["first", "a", "b"]
    assert body["messages"] == [{"role": "user", "content": [{"text": "x"}, {"text": "y"}]}]
    (warning,) = said.warnings
    assert "messages[2]" in warning


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "no messages"),
        ([Message("system", "x")], "no messages"),
        ([Message("user", "")], "messages[0]"),
        ([Message("user", "a"), Message("user", [Text(" \n")])], "messages[1]"),
        ([Message("assistant", "a"), Message("user", "b")], "begins with a user message"),
        ([Message("user", [ToolCall("t", "f", {})])], "cannot hold ToolCall"),
        ([Message("user", [Reasoning("x")])], "cannot hold Reasoning"),
        ([Message("system", [Image(data=b"x")]), *HI], "messages[0]: a system message holds text"),
        ([*HI, Message("tool", "x")], "messages[1]: a tool message holds ToolResult parts"),
        ([*HI, Message("assistant", [ToolResult("t", "f", "x")])], "messages[1]: results of tools"),
        ([Message("user", [Image(url="https://a.example/x.png")])], "fetches no images"),
        ([Message("user", [Image(data=b"x", media_type="image/bmp")])], "takes no image/bmp"),
        ([Message("user", [Image(url="data:image/png,x")])], "expected a URL of the form"),
        ([Message("user", [Image(url="data:image/png;base64,é")])], "not base64"),
        ([Message("user", [Image()])], "needs a url or data"),
        ([Message("user", [Audio(b"x", "midi")])], "no audio of format 'midi'"),
        ([Message("user", [File(file_id="file-1")])], "s3://bucket/key"),
        ([Message("user", [File()])], "needs data or a file_id"),
        ([Message("user", [File(b"x", media_type="application/zip")])], "takes no application/zip"),
        ([*CALLED[:2], Message("tool", [ToolResult("t", "f", [Image(url="http://x")])])], "messages[2]"),
    ],
)
def test_what_no_server_would_take(messages: list[Message], words: str) -> None:
    """Refused before a byte is sent, with the place in the conversation."""
    with pytest.raises(InvalidRequestError) as caught:
        CODEC.encode(Request(model="m", messages=tuple(messages)))
    assert words in caught.value.message


def test_images_documents_videos_and_sound() -> None:
    """Bytes in base64, or a place in S3; each as the block of its kind."""
    data = {"bytes": base64.b64encode(b"x").decode()}
    assert content_of(
        Text("Look"),
        Image(data=b"x", media_type="image/jpg"),
        Image(url="data:image/webp;base64,eA=="),
        Image(url="s3://b/k.png"),
        Audio(b"x", "mp3"),
        File(b"x", name="Report (1).final.pdf"),
        File(b"x", name="Report (1).final.pdf"),
        File(b"x", name="é/.txt", media_type="text/plain; charset=utf-8"),
        File(file_id="s3://b/k.mp4", media_type="video/mp4"),
    )[1:] == [
        {"image": {"format": "jpeg", "source": data}},
        {"image": {"format": "webp", "source": data}},
        {"image": {"format": "png", "source": {"s3Location": {"uri": "s3://b/k.png"}}}},
        {"audio": {"format": "mp3", "source": data}},
        {"document": {"format": "pdf", "name": "Report (1) final", "source": data}},
        {"document": {"format": "pdf", "name": "Report (1) final (2)", "source": data}},
        {"document": {"format": "txt", "name": "file", "source": data}},
        {"video": {"format": "mp4", "source": {"s3Location": {"uri": "s3://b/k.mp4"}}}},
    ]


@pytest.mark.req("E7")
def test_what_is_opaque_goes_home_as_it_came() -> None:
    """Signed and sealed reasoning, calls and results of the provider's own tools, images the model made: byte for byte."""
    result = {"toolUseId": "s", "type": "nova_grounding_result", "content": [{"json": {"a": 1}}], "status": "success"}
    turn = Message(
        "assistant",
        [
            Reasoning("one", own(signature="c2ln")),
            Reasoning("", own(redactedContent="U0VD")),
            Reasoning("", own(signature="empty")),
            ToolCall("s", "nova_grounding", {"q": 1}, '{"q":1}', state=own(type="server_tool_use"), executed=True),
            ToolResult("s", "nova_grounding", "x", state=own(toolResult=result)),
            Image(data=b"x", state=own(format="png")),
            Text("so"),
        ],
    )
    said = encoded(*HI, turn)
    assert json.loads(said.body)["messages"][1]["content"] == [
        {"reasoningContent": {"reasoningText": {"text": "one", "signature": "c2ln"}}},
        {"reasoningContent": {"redactedContent": "U0VD"}},
        {"reasoningContent": {"reasoningText": {"text": "", "signature": "empty"}}},
        {"toolUse": {"toolUseId": "s", "name": "nova_grounding", "input": {"q": 1}, "type": "server_tool_use"}},
        {"toolResult": result},
        {"image": {"format": "png", "source": {"bytes": "eA=="}}},
        {"text": "so"},
    ]
    assert said.warnings == ()


@pytest.mark.req("E7", "E9")
def test_what_another_provider_said_is_not_sent_to_this_one() -> None:
    """Reasoning that is not signed here is dropped; what others ran or made is left out, with warnings."""
    other = ProviderState("anthropic", {"signature": "x", "block": {}})
    said = encoded(
        *HI,
        Message(
            "assistant",
            [
                Reasoning("signed elsewhere", other),
                Reasoning("not signed"),
                Reasoning("blank", own(signature="")),
                ToolCall("s", "search", {}, state=other, executed=True),
                ToolResult("s", "search", "found", state=other),
                ToolCall("r", "ran", {}, executed=True),
                ToolResult("r", "ran", "x"),
                Image(data=b"x", state=other),
                Audio(b"x"),
                File(b"x"),
                Text("so"),
            ],
        ),
    )
    assert json.loads(said.body)["messages"][1]["content"] == [{"text": "so"}]
    assert [warning.split()[3] for warning in said.warnings] == [
        *("ToolCall", "ToolResult", "ToolCall", "ToolResult"),
        *("Image", "Audio", "File"),
    ]
    assert all("messages[1]" in warning for warning in said.warnings)


@pytest.mark.req("E9")
def test_calls_of_other_providers_have_names_and_ids_that_are_taken_here() -> None:
    """Call and result stay together; what is not an object is sent as an empty one."""
    id = "fc_123|é" * 20
    body = body_of(
        *HI,
        Message(
            "assistant", [ToolCall(id, "a.b c", None, "{", "cut"), ToolCall("", "", None, "", "the call has no name")]
        ),
        Message("tool", [ToolResult(id, "a.b c", "x"), ToolResult("", "", "y")]),
    )
    calls = [block["toolUse"] for block in body["messages"][1]["content"]]
    results = [block["toolResult"] for block in body["messages"][2]["content"]]
    assert [call["toolUseId"] for call in calls] == [result["toolUseId"] for result in results]
    assert len({call["toolUseId"] for call in calls}) == 2
    assert all(len(call["toolUseId"]) <= 64 and call["toolUseId"].isascii() for call in calls)
    assert [(call["name"], call["input"]) for call in calls] == [("a_b_c", {}), ("unknown", {})]


# ---- read back

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
