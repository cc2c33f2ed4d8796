"""What MCP says, in our words: every sort of content, good and bad."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from mcp import types

from asyncllm import Image, Text
from asyncllm.tools._mcp_content import NOTHING, SILENT_FAILURE, content_of, messages_of

DATA = base64.b64encode(b"12345").decode()


def text(said: str) -> types.TextContent:
    return types.TextContent(text=said)


def image(data: str, kind: str = "image/png") -> types.ImageContent:
    return types.ImageContent(data=data, mime_type=kind)


def blob(**resource: Any) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.BlobResourceContents(uri="x://b", **resource))


def page(said: str) -> types.EmbeddedResource:
    return types.EmbeddedResource(resource=types.TextResourceContents(uri="x://t", text=said))


@pytest.mark.req("seed-E7")
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ([text("a")], "a"),
        ([text("a"), text(""), text("b")], "a\nb"),
        ([page("from a page"), text("b")], "from a page\nb"),
        ([image(DATA)], [Image(data=b"12345")]),
        (
            [text("a"), image(DATA, "image/jpeg"), text("b"), text("c")],
            [Text("a"), Image(data=b"12345", media_type="image/jpeg"), Text("b\nc")],
        ),
        ([image("not base64!")], "[image: image/png, not valid base64]"),
        ([image("")], "[image: image/png, 0 bytes]"),
        ([image(DATA, "text/html")], "[image: text/html, 5 bytes]"),
        ([types.AudioContent(data=DATA, mime_type="audio/wav")], "[audio: audio/wav, 5 bytes]"),
        ([blob(blob=DATA, mime_type="application/pdf")], "[resource x://b: application/pdf, 5 bytes]"),
        ([blob(blob="?")], "[resource x://b: unknown type, not valid base64]"),
        ([types.ResourceLink(name="doc", uri="x://l")], "doc: x://l"),
        ([types.ResourceLink(name="doc", title="The doc", uri="x://l")], "The doc: x://l"),
    ],
)
def test_content(content: list[Any], expected: object) -> None:
    """Texts that follow each other become one, images stay, and the rest is told of; only texts make a text."""
    assert content_of(types.CallToolResult(content=content)) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, NOTHING),
        ({"is_error": True}, SILENT_FAILURE),
        ({"structured_content": {"ort": "Malmö", "n": [1, None]}}, '{"ort":"Malmö","n":[1,null]}'),
        ({"structured_content": 0}, "0"),
        ({"structured_content": {"a": 1}, "content": [text("said")]}, "said"),
        ({"content": [text("")]}, NOTHING),
    ],
)
def test_structured_and_no_content(fields: dict[str, Any], expected: str) -> None:
    """JSON only where there is nothing else; and never nothing at all."""
    assert content_of(types.CallToolResult(**{"content": [], **fields})) == expected


def test_messages_of_a_sampling_request() -> None:
    """Text, images and what cannot be shown."""
    params = types.CreateMessageRequestParams(
        max_tokens=1,
        messages=[
            types.SamplingMessage(role="user", content=[text("see"), image(DATA)]),
            types.SamplingMessage(role="assistant", content=text("ok")),
            types.SamplingMessage(role="user", content=types.AudioContent(data=DATA, mime_type="audio/wav")),
        ],
    )
    first, second, third = messages_of(params)
    assert first.content == [Text("see"), Image(data=b"12345")]
    assert (second.role, second.content) == ("assistant", "ok")
    assert third.content == "[audio: audio/wav, 5 bytes]"
