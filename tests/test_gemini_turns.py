"""A conversation as the body of streamGenerateContent: turns, media, calls, results, and what goes back as it came."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _gemini_request import HELLO, NEW, OLD, SIGNED, call, contents, encoded

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
from asyncllm.protocols import Request
from asyncllm.protocols.gemini import GeminiCodec
from asyncllm.protocols.gemini._contents import UNSIGNED

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


# ---- calls and results


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
