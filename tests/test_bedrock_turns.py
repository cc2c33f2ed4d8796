"""A conversation on the Converse wire: turns, media, what goes home as it came, what is left out, and what is refused."""

from __future__ import annotations

import base64
import json

import pytest
from _bedrock_request import CALLED, CODEC, HI, body_of, content_of, encoded, own

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
from asyncllm.protocols import Request


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
