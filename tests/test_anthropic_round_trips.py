"""What was said on the Messages wire comes back as it was: answers event by event, requests option by option."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from _anthropic import PROVIDER, Data
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Citation,
    File,
    Finish,
    Image,
    InvalidRequestError,
    Message,
    ProviderState,
    Reasoning,
    ReasoningDelta,
    Reply,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    check_order,
    fold,
)
from asyncllm.protocols import OutputSchema, Request, Tool, finish_reason
from asyncllm.protocols.anthropic import MessagesCodec, MessagesDecoder
from asyncllm.protocols.anthropic._encode import MessagesEncoder, message_body
from asyncllm.protocols.anthropic._readable import readable
from asyncllm.protocols.anthropic._server import read_request


def decoded(frames: Iterable[str]) -> list[StreamEvent]:
    decoder = MessagesDecoder(model="m", provider=PROVIDER)
    events = [*decoder.decode(SimpleNamespace(data=line, event="message") for line in frames), *decoder.close()]
    check_order(events)
    return events


def there_and_back(events: Iterable[StreamEvent]) -> list[StreamEvent]:
    encoder = MessagesEncoder(model="m", id="msg_1")
    return decoded([frame.data for event in events for frame in encoder.encode(event)])


def without_raw(events: Iterable[StreamEvent]) -> list[StreamEvent]:
    return [msgspec.structs.replace(event, raw=None) if isinstance(event, Usage) else event for event in events]


# ---- there and back, at random

words = st.text(min_size=1, max_size=6)
objects = st.dictionaries(words, st.integers() | words | st.none(), max_size=3)
CITED = {"type": "web_search_result_location", "url": "https://a.test", "title": "A", "cited_text": "x"}


KINDS = ["text", "cited", "thought", "signed", "kept", "call", "ran", "file"]


@st.composite
def answers(draw: st.DrawFn) -> list[StreamEvent]:
    """The events of an answer as our decoder says them."""
    events: list[StreamEvent] = [StreamStart("m", "msg_1", PROVIDER)]
    length, calls, before, bare = 0, 0, "", False

    def state(closes: bool = True, **data: Any) -> ProviderState:
        return ProviderState(PROVIDER, data, closes)

    for at, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), max_size=6))):
        channel = "text" if kind in ("text", "cited") else "thought" if kind in ("thought", "signed", "kept") else ""
        if channel and channel == before:
            delta = TextDelta if channel == "text" else ReasoningDelta
            events.append(delta("", state()))
        before, bare = (channel if kind in ("text", "thought") else ""), False
        match kind:
            case "text" | "cited":
                texts = draw(st.lists(words, min_size=1, max_size=3))
                start, length = length, length + len("".join(texts))
                events += map(TextDelta, texts)
                if kind == "cited":
                    events.append(Citation("https://a.test", "A", start, length, "x", CITED))
                    events.append(TextDelta("", state(citations=[CITED])))
            case "thought" | "signed":
                events += map(ReasoningDelta, draw(st.lists(words, min_size=kind == "thought", max_size=3)))
                if kind == "signed":
                    events.append(ReasoningDelta("", state(signature=draw(words))))
            case "kept":
                events.append(ReasoningDelta("", state(block={"type": "redacted_thinking", "data": draw(words)})))
            case "call":
                arguments = draw(objects)
                raw = (
                    json.dumps(arguments, ensure_ascii=draw(st.booleans())) if arguments or draw(st.booleans()) else ""
                )
                cut, bare = draw(st.integers(0, len(raw))), not raw
                pieces = ["", *(piece for piece in (raw[:cut], raw[cut:]) if piece)]
                events += [ToolCallDelta(calls, f"c{at}", "f", piece) for piece in pieces]
                events.append(ToolCall(f"c{at}", "f", arguments, raw))
                calls += 1
            case "ran":
                arguments = draw(objects)
                block = {"type": "server_tool_use", "id": f"s{at}", "name": "web_search", "input": arguments}
                raw = json.dumps(arguments) if arguments else ""
                events.append(
                    ToolCall(f"s{at}", "web_search", arguments, raw, state=state(False, block=block), executed=True)
                )
                content = [{"type": "web_search_result", "url": draw(words), "encrypted_content": "x"}]
                block = {"type": "web_search_tool_result", "tool_use_id": f"s{at}", "content": content}
                events.append(ToolResult(f"s{at}", "web_search", readable(content), state=state(False, block=block)))
            case "file":
                block = {"type": "container_upload", "file_id": draw(words)}
                media = "application/octet-stream"
                events.append(File(file_id=block["file_id"], media_type=media, state=state(False, block=block)))
    counts = [draw(st.integers(0, 99)) for _ in range(5)]
    events.append(
        Usage(
            input_tokens=sum(counts[:3]),
            cache_read_tokens=counts[1],
            cache_write_tokens=counts[2],
            output_tokens=counts[3],
            reasoning_tokens=counts[4],
        )
    )
    endings = ["end_turn", "stop_sequence", "tool_use", "refusal", "pause_turn", "new_word"]
    word = draw(st.sampled_from(endings if bare else [*endings, "max_tokens"]))
    reason = finish_of(word, calls)
    details: Data | None = {"stop_sequence": draw(words)} if draw(st.booleans()) else None
    return [*events, Finish(reason, word, details)]


def finish_of(word: str, calls: int) -> Any:
    reason = finish_reason(word)
    return "tool_calls" if calls and (reason == "stop" or word == "new_word") else reason


@PLENTY
@given(answers())
def test_what_was_encoded_decodes_to_the_same_events(events: list[StreamEvent]) -> None:
    """Event by event, with every piece of state."""
    assert without_raw(there_and_back(events)) == events


@PLENTY
@given(answers())
def test_a_whole_message_says_the_same(events: list[StreamEvent]) -> None:
    """The body of an answer that is not streamed adds up to the same reply."""
    whole = decoded([message_body(events, model="m").decode()])
    assert without_fragments(fold(without_raw(whole))) == without_fragments(fold(events))


def without_fragments(reply: Reply[object]) -> Reply[object]:
    """A reply without how the arguments of its calls were written."""
    parts = [
        msgspec.structs.replace(part, raw_arguments="") if isinstance(part, ToolCall) else part
        for part in reply.message.parts
    ]
    return msgspec.structs.replace(reply, message=Message("assistant", parts), messages=[], tool_calls=[])


# ---- requests, read as they were asked

pure = st.text("abc é", min_size=1, max_size=6).filter(str.strip)
own = st.builds(lambda name: ProviderState(PROVIDER, {"signature": name}, True), pure)
thoughts = st.builds(Reasoning, st.text(max_size=4), own) | st.builds(
    lambda data: Reasoning("", ProviderState(PROVIDER, {"block": {"type": "redacted_thinking", "data": data}}, True)),
    pure,
)
images = st.just(Image(data=b"png")) | st.just(Image(url="https://a.test/b.png"))
files = st.sampled_from(
    [
        File(data=b"%PDF", name="a"),
        File(data=b"text", media_type="text/plain"),
        File(file_id="file_1"),
        File(file_id="file_1", media_type="image/png"),
    ]
)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    messages = [Message("user", draw(pure | st.lists(st.builds(Text, pure) | images | files, min_size=2, max_size=3)))]
    for turn in range(draw(st.integers(0, 3))):
        calls = [ToolCall(f"c{turn}{at}", "f", draw(objects)) for at in range(draw(st.integers(0, 2)))]
        parts = [*draw(st.lists(thoughts, max_size=2)), Text(draw(pure)), *calls]
        messages.append(Message("assistant", parts if len(parts) > 1 else parts[0].text))  # type: ignore[union-attr]
        if calls:
            contents = pure | st.lists(st.builds(Text, pure) | images, max_size=2)
            results = [ToolResult(call.id, "f", draw(contents), draw(st.booleans())) for call in calls]
            messages.append(Message("tool", list(results)))
        if not calls or draw(st.booleans()):
            messages.append(Message("user", draw(pure)))
    return tuple(messages)


schemas = st.sampled_from(
    [
        {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False},
        {"type": "object", "properties": {}, "required": [], "additionalProperties": False},
    ]
)
TOOLS = (
    Tool("f", "does", {"type": "object", "properties": {}}),
    Tool("g", parameters={"type": "object"}, strict=False),
)
requests = st.builds(
    Request,
    model=st.just("claude"),
    messages=conversations(),
    system=st.none() | pure,
    tools=st.just(TOOLS),
    tool_choice=st.sampled_from([None, "auto", "none", "required", "g"]),
    output=st.none() | st.builds(OutputSchema, st.just("output"), schemas),
    max_tokens=st.integers(1, 9999),
    stop=st.lists(pure, max_size=2).map(tuple),
    reasoning=st.sampled_from([None, "none", "low", "medium", "high", "xhigh", "max", 1024, 5000]),
    cache=st.sampled_from([None, "5m", "1h"]),
)


@PLENTY
@given(requests, st.none() | st.floats(0, 1), st.none() | st.floats(0, 1))
def test_a_request_is_read_as_it_was_asked(request: Request, temperature: float | None, top_p: float | None) -> None:
    """All that the wire can say comes out of the body again."""
    if request.reasoning is None:
        request = msgspec.structs.replace(request, temperature=temperature, top_p=top_p)
    sent = MessagesCodec(PROVIDER).encode(request)
    assert sent.warnings == ()
    assert read_request("/v1/messages", json.loads(sent.body)) == request


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "model"),
        ({"model": "m"}, "max_tokens"),
        ({"model": "m", "max_tokens": 1}, "messages"),
        ({"model": "m", "max_tokens": 1, "messages": []}, "at least one"),
        ({"model": "m", "max_tokens": 1, "messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ({"model": "m", "max_tokens": 1, "messages": [{"role": "user"}]}, "messages.0.content"),
        (
            {
                "model": "m",
                "max_tokens": 1,
                "messages": [
                    {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "data": "%"}}]}
                ],
            },
            "base64",
        ),
    ],
)
def test_what_the_api_would_refuse(body: Data, words: str) -> None:
    """With its status and in its words."""
    with pytest.raises(InvalidRequestError, match=words) as caught:
        read_request("/v1/messages", body)
    assert caught.value.status == 400
