"""Requests on the Gemini wire for tests: what is asked, encoded, and its body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asyncllm.events import InvalidRequestError, Message, ProviderState, ToolCall
from asyncllm.protocols import Encoded, Request, Tool
from asyncllm.protocols.gemini import GeminiCodec, GeminiQuirks

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


def call(city: str, name: str = "get_weather", /, **data: object) -> ToolCall:
    return ToolCall(city, name, {"city": city}, "", state=ProviderState("gemini", data) if data else None)
