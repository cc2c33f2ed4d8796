"""A request as the body of streamGenerateContent: where it goes, and every tool and option in its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _gemini_request import NEW, OLD, WEATHER, body, encoded, refused

from asyncllm.protocols import OutputSchema, Tool
from asyncllm.protocols.gemini import GeminiQuirks

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


# ---- tools


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
