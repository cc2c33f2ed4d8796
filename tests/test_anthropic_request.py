"""A request on the Messages wire: options, quirks, messages, and what is refused before a byte is sent."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from _anthropic import PROVIDER, Data, body, encoded

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
from asyncllm.protocols import OutputSchema, Tool
from asyncllm.protocols.anthropic import MessagesCodec, MessagesQuirks

HELLO = Message("user", "Hi")
WEATHER = Tool("weather", "The weather", {"type": "object", "properties": {"city": {"type": "string"}}})
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


# ---- options


@pytest.mark.req("seed-A8", "seed-F7")
def test_the_least_request() -> None:
    """A model, the messages, the required limit, a stream, the version; nothing that was not asked for."""
    request = encoded()
    assert (request.path, request.warnings) == ("/messages", ())
    assert request.headers == {"anthropic-version": "2023-06-01"}
    assert msgspec.json.decode(request.body) == {
        "model": "m",
        "max_tokens": 16000,
        "stream": True,
        "messages": [{"role": "user", "content": "Hi"}],
    }


@pytest.mark.parametrize(
    ("option", "value", "field", "wanted"),
    [
        ("temperature", 0.0, "temperature", 0.0),
        ("top_p", 0.5, "top_p", 0.5),
        ("stop", ("a", "b"), "stop_sequences", ["a", "b"]),
        ("max_tokens", 5, "max_tokens", 5),
        ("system", "Be brief.", "system", "Be brief."),
        ("reasoning", "none", "thinking", {"type": "disabled"}),
        ("reasoning", 0, "thinking", {"type": "disabled"}),
        ("reasoning", "high", "thinking", {"type": "adaptive"}),
        ("reasoning", "high", "output_config", {"effort": "high"}),
        ("reasoning", 2000, "thinking", {"type": "enabled", "budget_tokens": 2000}),
        ("reasoning", 2000, "max_tokens", 18000),
    ],
)
def test_each_option_has_its_field(option: str, value: Any, field: str, wanted: Any) -> None:
    """Also where the value is 0."""
    request = encoded(**{option: value})
    assert msgspec.json.decode(request.body)[field] == wanted
    assert request.warnings == ()


def test_what_the_api_does_not_know_is_a_warning() -> None:
    """A seed, an effort or a budget below the least, a temperature while the model thinks."""
    assert "seed" in encoded(seed=1).warnings[0]
    assert b"seed" not in encoded(seed=1).body
    assert body(reasoning="minimal")["output_config"] == {"effort": "low"}
    assert "minimal" in encoded(reasoning="minimal").warnings[0]
    assert body(reasoning=5)["thinking"]["budget_tokens"] == 1024
    assert "1024" in encoded(reasoning=5).warnings[0]
    thinking = encoded(reasoning="low", temperature=0.5)
    assert b"temperature" not in thinking.body
    assert "temperature" in thinking.warnings[0]
    assert body(reasoning="low", temperature=1)["temperature"] == 1


@pytest.mark.parametrize("quirks", [MessagesQuirks(sampling=False), MessagesQuirks(version="2026-10-21")])
def test_sampling_where_it_is_refused(quirks: MessagesQuirks) -> None:
    """A newer version of the API and newer models refuse temperature and top_p: left out, with a warning each."""
    request = encoded(quirks=quirks, temperature=0.5, top_p=0.5)
    assert b"temperature" not in request.body
    assert b"top_p" not in request.body
    assert len(request.warnings) == 2
    assert request.headers["anthropic-version"] == quirks.version


def test_thinking_as_the_model_wants_it() -> None:
    """The same option for models that know only budgets, and for those that know none; shown or only signed."""
    old = body(reasoning="high", quirks=MessagesQuirks(thinking="enabled"))
    assert old["thinking"] == {"type": "enabled", "budget_tokens": 8000}  # within the default limit
    assert "output_config" not in old
    assert body(reasoning="high", max_tokens=50000, quirks=MessagesQuirks(thinking="enabled"))["thinking"] == {
        "type": "enabled",
        "budget_tokens": 16384,
    }
    new = body(reasoning=5000, quirks=MessagesQuirks(thinking="adaptive", display="summarized"))
    assert new["thinking"] == {"type": "adaptive", "display": "summarized"}
    assert (new["output_config"], new["max_tokens"]) == ({"effort": "medium"}, 16000)


def test_extra_body_is_merged() -> None:
    """It adds, it wins, it merges objects, and None takes away."""
    extra = {
        "metadata": {"user_id": "u"},
        "output_config": {"effort": "max"},
        "temperature": None,
        "service_tier": "auto",
    }
    out = body(output=OutputSchema("o", SCHEMA), temperature=0.5, extra_body=extra)
    assert out["output_config"] == {"format": {"type": "json_schema", "schema": SCHEMA}, "effort": "max"}
    assert (out["metadata"], out["service_tier"]) == ({"user_id": "u"}, "auto")
    assert "temperature" not in out


def test_betas() -> None:
    """Those of the option and those that the request needs, each once."""
    quirks = MessagesQuirks(betas=("context-1m-2025-08-07", "files-api-2025-04-14"))
    request = encoded(Message("user", [File(file_id="file_1"), Text("?")]), quirks=quirks)
    assert request.headers["anthropic-beta"] == "context-1m-2025-08-07,files-api-2025-04-14"


# ---- tools and output


def test_tools_and_choice() -> None:
    """Each tool with its schema, and the choice in the API's words."""
    out = body(tools=(WEATHER, Tool("now")), tool_choice="required")
    assert out["tools"] == [
        {"name": "weather", "description": "The weather", "input_schema": WEATHER.parameters},
        {"name": "now", "input_schema": {"type": "object", "properties": {}}},
    ]
    assert out["tool_choice"] == {"type": "any"}
    for given, wanted in (
        ("auto", {"type": "auto"}),
        ("none", {"type": "none"}),
        ("weather", {"type": "tool", "name": "weather"}),
    ):
        assert body(tools=(WEATHER,), tool_choice=given)["tool_choice"] == wanted
    assert "tool_choice" not in body(tool_choice="auto")


def test_strict_tools() -> None:
    """The schema is adapted, or the tool is sent without strict; both are said."""
    loose = Tool(
        "f", parameters={"type": "object", "properties": {"n": {"type": "integer", "minimum": 1}}}, strict=True
    )
    out = body(tools=(loose,))["tools"][0]
    assert out["strict"] is True
    assert out["input_schema"]["additionalProperties"] is False
    assert out["input_schema"]["properties"]["n"] == {"type": "integer", "description": "{minimum: 1}"}
    assert "minimum" in encoded(tools=(loose,)).warnings[0]
    anything = Tool("g", parameters={"type": "object", "additionalProperties": True}, strict=True)
    assert "strict" not in body(tools=(anything,))["tools"][0]
    assert "without strict" in encoded(tools=(anything,)).warnings[0]
    assert "without strict" in encoded(tools=(loose,), quirks=MessagesQuirks(strict_tools=False)).warnings[0]
    assert body(tools=(Tool("h", strict=False),))["tools"][0]["strict"] is False


def test_tools_that_the_provider_runs() -> None:
    """An option of the backend, beside the tools of a call; it may be the one that is chosen."""
    search = {"type": "web_search_20250305", "name": "web_search", "max_uses": 5}
    quirks = MessagesQuirks(server_tools=(search,))
    assert body(quirks=quirks)["tools"] == [search]
    out = body(quirks=quirks, tools=(WEATHER,), tool_choice="web_search")
    assert [tool["name"] for tool in out["tools"]] == ["weather", "web_search"]
    assert out["tool_choice"] == {"type": "tool", "name": "web_search"}


@pytest.mark.req("seed-B10")
def test_structured_output() -> None:
    """By the API's own means, with the schema in its subset."""
    schema = {
        "type": "object",
        "title": "Person",
        "properties": {
            "age": {"type": "integer", "minimum": 0, "description": "in years"},
            "tags": {
                "type": "array",
                "items": {"oneOf": [{"type": "string", "maxLength": 3}, {"type": "null"}]},
                "minItems": 1,
            },
            "born": {"type": "string", "format": "date"},
            "home": {"$ref": "#/$defs/Home"},
        },
        "$defs": {"Home": {"type": "object", "properties": {}}},
        "required": ["age"],
    }
    request = encoded(output=OutputSchema("Person", schema), reasoning="low")
    config = msgspec.json.decode(request.body)["output_config"]
    assert config["effort"] == "low"
    assert config["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "title": "Person",
            "properties": {
                "age": {"type": "integer", "description": "in years\n\n{minimum: 0}"},
                "tags": {
                    "type": "array",
                    "items": {"anyOf": [{"type": "string", "description": "{maxLength: 3}"}, {"type": "null"}]},
                    "minItems": 1,
                },
                "born": {"type": "string", "format": "date"},
                "home": {"$ref": "#/$defs/Home"},
            },
            "$defs": {"Home": {"type": "object", "properties": {}, "additionalProperties": False}},
            "required": ["age"],
            "additionalProperties": False,
        },
    }
    assert "maxLength, minimum" in request.warnings[0]


@pytest.mark.req("seed-B10")
@pytest.mark.parametrize(
    ("schema", "quirks"),
    [
        (SCHEMA, MessagesQuirks(output="prompt")),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, MessagesQuirks()),
        ({"type": "object", "properties": {"x": True}}, MessagesQuirks()),
    ],
)
def test_structured_output_by_prompt(schema: Data, quirks: MessagesQuirks) -> None:
    """Where the server has none, or the subset cannot say it: the prompt asks for it, and a warning says so."""
    request = encoded(output=OutputSchema("x", schema), system="Be brief.", quirks=quirks)
    out = msgspec.json.decode(request.body)
    assert "output_config" not in out
    assert out["system"][0]["text"] == "Be brief."
    assert "JSON Schema" in out["system"][1]["text"]
    assert "in the prompt" in request.warnings[0]


# ---- cache


@pytest.mark.parametrize("ttl", ["5m", "1h"])
def test_cache_marks(ttl: Any) -> None:
    """The last tool, the system prompt and the last block of the conversation, and nothing else."""
    mark = {"type": "ephemeral", "ttl": ttl}
    turn = Message("assistant", [Text("a"), Reasoning("b", ProviderState(PROVIDER, {"signature": "s"}))])
    out = body(HELLO, turn, cache=ttl, system="s", tools=(Tool("f"), Tool("g")))
    assert [tool.get("cache_control") for tool in out["tools"]] == [None, mark]
    assert out["system"] == [{"type": "text", "text": "s", "cache_control": mark}]
    assert out["messages"][0]["content"] == "Hi"
    assert [part.get("cache_control") for part in out["messages"][1]["content"]] == [mark, None]
    assert str(body(cache=ttl)).count("ephemeral") == 1
    assert "cache_control" not in str(body(system="s", tools=(Tool("f"),)))


# ---- messages


def test_turns_alternate_and_results_come_first() -> None:
    """Results of tools are the user's, before what the user says; ghosts and blanks are left out."""
    call = ToolCall("c 1", "f", {"a": 1}, '{"a":1}')
    turns = body(
        HELLO,
        Message("assistant", ""),
        Message("assistant", [Text(" "), Text("ok"), call]),
        Message("user", "wait"),
        Message("tool", [ToolResult("c 1", "f", "no", is_error=True)]),
        Message("user", [Text(""), Text("go on")]),
    )["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    text, use = turns[1]["content"]
    assert text == {"type": "text", "text": "ok"}
    assert use == {"type": "tool_use", "id": use["id"], "name": "f", "input": {"a": 1}}
    assert use["id"].isidentifier()
    assert turns[2]["content"] == [
        {"type": "tool_result", "tool_use_id": use["id"], "content": "no", "is_error": True},
        {"type": "text", "text": "wait"},
        {"type": "text", "text": "go on"},
    ]


def test_system_messages() -> None:
    """They join the system prompt; one from the middle says so."""
    request = encoded(Message("system", "a"), HELLO, Message("system", [Text("b")]), system="s")
    out = msgspec.json.decode(request.body)
    assert [part["text"] for part in out["system"]] == ["s", "a", "b"]
    assert len(out["messages"]) == 1
    assert request.warnings == ("messages[2]: the system message was moved to the front",)


@pytest.mark.parametrize(
    ("part", "wanted"),
    [
        (
            Image(url="https://x.test/a.png"),
            {"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}},
        ),
        (
            Image(data=b"png"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "cG5n"}},
        ),
        (
            Image(url="data:image/gif;base64,R0lG"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/gif", "data": "R0lG"}},
        ),
        (
            File(data=b"%PDF", name="a.pdf"),
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBERg=="},
                "title": "a.pdf",
            },
        ),
        (
            File(data="é".encode(), media_type="text/markdown"),
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "é"}},
        ),
        (File(file_id="file_1"), {"type": "document", "source": {"type": "file", "file_id": "file_1"}}),
        (
            File(file_id="file_1", media_type="image/png"),
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
        ),
        (
            File(data=b"jpg", media_type="image/jpeg"),
            {"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "anBn"}},
        ),
    ],
)
def test_images_and_documents(part: Part, wanted: Data) -> None:
    """By address, by their bytes, by the id of a file uploaded before."""
    assert body(Message("user", [part]))["messages"][0]["content"] == [wanted]


def test_images_in_results() -> None:
    """A tool may answer with text and images."""
    result = ToolResult("c", "f", [Text("see"), Text(""), Image(data=b"png")])
    out = body(HELLO, Message("assistant", [ToolCall("c", "f", {})]), Message("tool", [result]))
    assert [part["type"] for part in out["messages"][2]["content"][0]["content"]] == ["text", "image"]


def test_an_invalid_call_goes_back_without_arguments() -> None:
    """The API wants an object; its result says what was wrong. A name that is none is made one."""
    call = ToolCall("c", "a.b/c", None, '{"a":', "cut")
    result = Message("tool", [ToolResult("c", "", "the arguments were cut", is_error=True)])
    turn = body(HELLO, Message("assistant", [call]), result)["messages"][1]
    assert turn["content"] == [{"type": "tool_use", "id": "c", "name": "a_b_c", "input": {}}]


@pytest.mark.parametrize(
    ("messages", "words"),
    [
        ([], "no messages"),
        ([Message("user", "")], "no messages"),
        ([Message("system", "x")], "no messages"),
        ([HELLO, Message("user", [Audio(b"x")])], r"messages\[1\].*Audio"),
        ([Message("user", [Image()])], r"messages\[0\].*url or data"),
        ([Message("user", [Image(data=b"x", media_type="image/tiff")])], r"messages\[0\].*tiff"),
        ([Message("user", [Image(url="data:image/png,x")])], r"messages\[0\].*base64"),
        ([Message("user", [File()])], r"messages\[0\].*file_id"),
        ([Message("user", [File(data=b"x", media_type="audio/wav")])], r"messages\[0\].*audio/wav"),
        ([Message("user", [File(data=b"\xff", media_type="text/plain")])], r"messages\[0\].*UTF-8"),
        ([Message("user", [Reasoning("x")])], r"messages\[0\].*Reasoning"),
        ([Message("user", [ToolResult("c", "f", "x")])], r"messages\[0\].*role 'tool'"),
        ([HELLO, Message("assistant", [ToolResult("c", "f", "x")])], r"messages\[1\].*role 'tool'"),
        ([Message("tool", [Text("x")])], r"messages\[0\].*ToolResult"),
        ([Message("system", [Image(url="u")])], r"messages\[0\].*Image"),
    ],
)
def test_what_no_server_would_take_is_refused(messages: list[Message], words: str) -> None:
    """Before a byte is sent, with the place of the message."""
    with pytest.raises(InvalidRequestError, match=words):
        MessagesCodec(PROVIDER).encode(msgspec.structs.replace(_request(), messages=tuple(messages)))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"tools": (WEATHER, WEATHER)}, "same name"),
        ({"tools": (Tool("a b"),)}, "tool name"),
        ({"tool_choice": "required"}, "needs tools"),
        ({"tools": (WEATHER,), "tool_choice": "nope"}, "weather"),
    ],
)
def test_tools_that_make_no_sense_are_refused(options: Data, words: str) -> None:
    """With what would make sense."""
    with pytest.raises(InvalidRequestError, match=words):
        encoded(**options)


def _request() -> Any:
    from asyncllm.protocols import Request

    return Request(model="m", messages=(HELLO,))
