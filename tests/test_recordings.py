"""Real servers' answers, recorded with their headers and chunk framing, replayed byte for byte over a socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from _replay import replaying

from asyncllm import (
    Client,
    ContextLengthExceededError,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    NotFoundError,
    RawEvent,
    Reply,
    ServerError,
    check_order,
)

SERVERS = Path(__file__).parent / "fixtures" / "servers"
HELLO = "Hello! I am a tiny test model 🎉."
HELLO_THERE = "Hello there, I am a tiny test model 🎉."
TAGGED = "<think>Let me think</think>"
PARIS = '{"city":"Paris","unit":"c"}'
PARIS_SPACED = '{"city": "Paris", "unit": "c"}'
LLAMA, PYTHON, HF, VLLM, VLLM_R = (
    "llama-server-b10434-scripted",
    "llama_cpp_python-server-scripted",
    "transformers-serve-5.18-scripted",
    "vllm-0.32-scripted",
    "vllm-0.32-scripted-reasoning",
)


def says(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "finish_reason": "stop", **more}


def cut(text: str, **more: Any) -> dict[str, Any]:
    return {"text": text, "finish_reason": "length", **more}


def calls(arguments: str, **more: Any) -> dict[str, Any]:
    return {"text": "", "finish_reason": "tool_calls", "calls": [("get_weather", arguments)], **more}


REPLIES: dict[str, dict[str, Any]] = {
    f"{LLAMA}/content_parts_stream": cut("Hello! I am a tiny"),
    f"{LLAMA}/developer_role_stream": cut("Hello! I am a tiny"),
    f"{LLAMA}/emoji_stream": says(HELLO),
    f"{LLAMA}/error_bad_role": says(HELLO),
    f"{LLAMA}/error_bad_tool_choice": says(HELLO),
    f"{LLAMA}/error_unknown_model": says(HELLO),
    f"{LLAMA}/json_object_stream": says(HELLO),
    f"{LLAMA}/json_schema_stream": says('{"name":"Paris","age":42}'),
    f"{LLAMA}/length_stream": cut("Hello! I"),
    f"{LLAMA}/logprobs_stream": cut("Hello! I am"),
    f"{LLAMA}/long_stream": {"length": 761, "finish_reason": "length"},
    f"{LLAMA}/max_completion_tokens_stream": cut("Hello! I"),
    f"{LLAMA}/n2_stream": cut("Hello! I am a tiny", usage=(52, 6, 51)),
    f"{LLAMA}/nonstream": says(HELLO, usage=(52, 15, 51)),
    f"{LLAMA}/plain_stream": says(HELLO),
    f"{LLAMA}/reasoning_stream": says(HELLO, reasoning="Let me think"),
    f"{LLAMA}/seed_stream": cut("Hello! I am"),
    f"{LLAMA}/stop_stream": says("H"),
    f"{LLAMA}/tool_auto_stream": calls(PARIS),
    f"{LLAMA}/tool_cut_stream": cut(""),
    f"{LLAMA}/tool_named_stream": calls(PARIS),
    f"{LLAMA}/tool_required_nonstream": calls(PARIS, usage=(468, 62, 467)),
    f"{LLAMA}/tool_required_stream": calls(PARIS, usage=(701, 62, 700)),
    f"{LLAMA}/tool_result_stream": says("It is 21 degrees and sunny."),
    f"{LLAMA}/unknown_param_stream": cut("Hello! I am"),
    f"{LLAMA}/usage_stream": says(HELLO, usage=(52, 15, 51)),
    f"{PYTHON}/json_object_stream": says('{"Paris":42}'),
    f"{PYTHON}/long_stream": {"length": 762, "finish_reason": "length"},
    f"{PYTHON}/nonstream": says(HELLO, usage=(51, 14, 0)),
    f"{PYTHON}/plain_stream": says(HELLO),
    f"{PYTHON}/reasoning_stream": says(TAGGED + HELLO),
    f"{PYTHON}/tool_auto_stream": {"length": 720, "finish_reason": "length"},
    f"{PYTHON}/tool_named_stream": calls(PARIS),  # the server says each fragment as a function_call, too
    f"{PYTHON}/usage_stream": says(HELLO),
    f"{HF}/emoji_stream": says(HELLO_THERE, usage=(74, 15, 0)),
    f"{HF}/error_context_overflow": says(HELLO_THERE, usage=(10019, 15, 0)),  # it cuts the prompt and says nothing
    f"{HF}/json_schema_stream": says(HELLO_THERE, usage=(41, 15, 0)),
    f"{HF}/long_stream": {"length": 762, "finish_reason": "length", "usage": (27, 200, 0)},
    f"{HF}/nonstream": says(HELLO_THERE, usage=(43, 15, 0)),
    f"{HF}/plain_stream": says(HELLO_THERE, usage=(43, 15, 0)),
    f"{HF}/reasoning_stream": says(TAGGED + HELLO_THERE, usage=(23, 20, 0)),
    f"{HF}/tool_auto_stream": {"length": 720, "finish_reason": "length", "usage": (587, 120, 0)},
    f"{HF}/tool_required_stream": {"length": 1200, "finish_reason": "length", "usage": (587, 200, 0)},
    f"{HF}/usage_stream": says(HELLO_THERE, usage=(43, 15, 0)),
    f"{VLLM_R}/json_schema_stream": says("", reasoning=HELLO_THERE),
    f"{VLLM_R}/nonstream": says("", reasoning=HELLO_THERE, usage=(43, 15, 0)),
    f"{VLLM_R}/plain_stream": says("", reasoning=HELLO_THERE),
    f"{VLLM_R}/reasoning_stream": says(HELLO_THERE, reasoning="Let me think"),
    f"{VLLM_R}/tool_required_stream": says("", usage=(587, 7, 0)),
    f"{VLLM}/emoji_stream": says(HELLO_THERE),
    f"{VLLM}/json_object_stream": says('{"Paris":42}'),
    f"{VLLM}/json_schema_stream": says('{"name":"Paris","age":42}'),
    f"{VLLM}/long_stream": {"length": 762, "finish_reason": "length"},
    f"{VLLM}/n2_stream": cut("Hello there, I am a tiny", usage=(43, 12, 0)),
    f"{VLLM}/nonstream": says(HELLO_THERE, usage=(43, 15, 0)),
    f"{VLLM}/plain_stream": says(HELLO_THERE),
    f"{VLLM}/stop_stream": says("H"),
    f"{VLLM}/tool_auto_stream": calls(PARIS_SPACED),
    f"{VLLM}/tool_cut_stream": calls(PARIS_SPACED),
    f"{VLLM}/tool_named_stream": calls(PARIS_SPACED, raw="stop"),  # B8
    f"{VLLM}/tool_required_nonstream": calls(PARIS_SPACED, usage=(391, 7, 0)),
    f"{VLLM}/tool_required_stream": calls(PARIS_SPACED, usage=(587, 7, 0)),
    f"{VLLM}/tool_result_stream": says("It is 21 degrees and sunny."),
    f"{VLLM}/usage_stream": says(HELLO_THERE, usage=(43, 15, 0)),
}

ERRORS: dict[str, tuple[type[LLMError], int | None]] = {
    f"{LLAMA}/error_bad_json": (ServerError, 500),
    f"{LLAMA}/error_bad_schema": (InvalidRequestError, 400),
    f"{LLAMA}/error_bad_type": (InvalidRequestError, 400),
    f"{LLAMA}/error_context_overflow": (ContextLengthExceededError, 400),
    f"{LLAMA}/error_context_overflow_nonstream": (ContextLengthExceededError, 400),
    f"{LLAMA}/error_method": (NotFoundError, 404),
    f"{LLAMA}/error_no_messages": (InvalidRequestError, 400),
    f"{LLAMA}/image_part": (ServerError, 500),
    "llama_cpp_python-server-crash/plain_stream": (IncompleteStreamError, None),
    f"{PYTHON}/error_context_overflow": (IncompleteStreamError, None),  # 200, and then nothing at all
    f"{PYTHON}/json_schema_stream": (ServerError, 500),
    f"{VLLM}/error_context_overflow": (ContextLengthExceededError, 400),
    f"{VLLM}/error_unknown_model": (NotFoundError, 404),
}


def wire(name: str) -> bytes:
    return (SERVERS / f"{name}.http").read_bytes()


@asynccontextmanager
async def replayed(name: str, step: int | None = None, **options: Any) -> AsyncIterator[Client]:
    async with replaying(wire(name), step=step) as base_url:
        async with Client("openai-compatible/scripted", base_url=base_url, retry=0, timeout=20, **options) as client:
            yield client


def facts(reply: Reply[object]) -> dict[str, Any]:
    return {
        "text": reply.text,
        "length": len(reply.text),
        "reasoning": reply.reasoning,
        "finish_reason": reply.finish_reason,
        "raw": reply.raw_finish_reason,
        "calls": [(call.name, call.raw_arguments) for call in reply.tool_calls if call.arguments is not None],
        "usage": reply.usage and (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.cache_read_tokens),
    }


def recorded() -> set[str]:
    """All recordings of the chat wire."""
    return {
        str(path.relative_to(SERVERS)).removesuffix(".request.json")
        for path in SERVERS.glob("*/*.request.json")
        if json.loads(path.read_text())["path"] == "/v1/chat/completions"
    }


def test_every_recording_has_an_expectation() -> None:
    """No recording of the chat wire is left out, and none is expected that does not exist."""
    assert recorded() == {*REPLIES, *ERRORS}


@pytest.mark.req("seed-A1", "seed-A4", "B8", "D8", "E1")
@pytest.mark.parametrize("step", [None, 1, 7], ids=["whole", "by-byte", "by-7"])
@pytest.mark.parametrize("name", sorted(REPLIES))
async def test_recording_gives_its_reply(name: str, step: int | None) -> None:
    """What the server said, in whatever pieces the network brought it."""
    if step == 1 and "long" in name:
        step = 3
    async with replayed(name, step) as client, client.stream("Hi") as stream:
        events = [event async for event in stream]
        check_order(events)
        reply = await stream.reply()
    found = facts(reply)
    assert {key: found[key] for key in REPLIES[name]} == REPLIES[name]


@pytest.mark.req("seed-C", "B1", "C11")
@pytest.mark.parametrize("name", sorted(ERRORS))
async def test_recording_gives_its_error(name: str) -> None:
    """A refusal, a crash or an empty answer is a typed error, never an empty success."""
    cls, status = ERRORS[name]
    async with replayed(name) as client:
        with pytest.raises(LLMError) as caught:
            await client.complete("Hi")
    assert type(caught.value) is cls
    assert caught.value.status == status
    assert caught.value.message


@pytest.mark.req("G4")
async def test_what_is_not_understood_is_there_as_raw_events() -> None:
    """llama.cpp's timings, logprobs and second choices are dropped from the events and kept for who asks."""
    for name, key in ((f"{LLAMA}/plain_stream", "timings"), (f"{VLLM}/n2_stream", "choices")):
        async with replayed(name, raw=True) as client, client.stream("Hi") as stream:
            raws = [event.data async for event in stream if isinstance(event, RawEvent)]
        assert any(isinstance(raw, dict) and key in raw for raw in raws)


@pytest.mark.req("E8")
@pytest.mark.parametrize("name", [f"{PYTHON}/reasoning_stream", f"{HF}/reasoning_stream"])
async def test_think_tags_are_split_on_request(name: str) -> None:
    """A server without a reasoning parser: `think_tags=True` moves the thought to its channel."""
    async with replayed(name, think_tags=True) as client:
        reply = await client.complete("Hi")
    assert reply.reasoning == "Let me think"
    assert reply.text.endswith("tiny test model 🎉.")
    assert "<" not in reply.text


@pytest.mark.req("B1")
@pytest.mark.parametrize("name", [f"{LLAMA}/usage_stream", f"{VLLM}/tool_auto_stream", f"{HF}/plain_stream"])
async def test_a_recording_cut_anywhere_is_never_a_success(name: str) -> None:
    """Truncated after every tenth byte: whole only if the model's finish_reason was among the bytes."""
    whole = wire(name)
    head = whole.index(b"\r\n\r\n") + 4
    for end in range(head, len(whole), 10):
        async with replaying(whole[:end]) as base_url:
            async with Client("openai-compatible/scripted", base_url=base_url, retry=0, timeout=20) as client:
                try:
                    reply = await client.complete("Hi")
                except IncompleteStreamError as error:
                    assert error.partial is not None
                    assert error.partial.finish_reason is None
                    assert all(call.invalid for call in error.partial.tool_calls)
                    continue
        assert reply.finish_reason in ("stop", "tool_calls")
        assert b'"finish_reason":"' in whole[:end].replace(b" ", b"")
