"""A request on the Converse wire: the model in its path, and every option in its place, or said to have none."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _bedrock_request import CALLED, CLAUDE, CODEC, NEW_CLAUDE, body_of, encoded

from asyncllm.events import InvalidRequestError, RateLimitError
from asyncllm.protocols import OutputSchema, Tool
from asyncllm.protocols.bedrock import BedrockCodec, BedrockQuirks
from asyncllm.protocols.bedrock._server import read_request

# ---- options


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
