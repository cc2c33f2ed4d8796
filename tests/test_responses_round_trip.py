"""The Responses wire there and back: requests, answers in events, and answers in one piece."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    Citation,
    ContextLengthExceededError,
    File,
    Finish,
    Image,
    LLMError,
    Message,
    Part,
    ProviderState,
    RateLimitError,
    RawEvent,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    ServerError,
    StreamError,
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
from asyncllm.events._errors import BY_KIND
from asyncllm.protocols import Encoded, OutputSchema, Request, Tool
from asyncllm.protocols.openai_responses import ResponsesCodec, ResponsesQuirks
from asyncllm.protocols.openai_responses._encode import ResponsesEncoder, response_body
from asyncllm.protocols.openai_responses._server import SERVER

ME = "openai-responses"
CODEC = ResponsesCodec(ME)
REQUEST = Request(model="m", messages=())


def frames(*events: StreamEvent) -> list[dict[str, Any]]:
    encoder = ResponsesEncoder(model="m", id="resp_1", created=1)
    return [json.loads(frame.data) for event in events for frame in encoder.encode(event)]


def decoded(*events: StreamEvent, stored: bool = False) -> list[StreamEvent]:
    encoder = ResponsesEncoder(model="m", id="resp_1", created=1)
    codec = ResponsesCodec(ME, ResponsesQuirks(store=stored))
    decoder = codec.decoder(REQUEST, Encoded("/", b""))
    sent = [SimpleNamespace(data=frame.data, event=frame.event) for event in events for frame in encoder.encode(event)]
    got = [*decoder.decode(sent), *decoder.close()]
    check_order(got)
    return got


def whole(*events: StreamEvent) -> list[StreamEvent]:
    decoder = CODEC.decoder(REQUEST, Encoded("/", b""))
    body = response_body(events, model="m", id="resp_1").decode()
    return [*decoder.decode([SimpleNamespace(data=body, event="message")]), *decoder.close()]


# ---- answers

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8)
JSON = st.dictionaries(TEXT, TEXT | st.integers(0, 9) | st.none(), max_size=2)


def state(item: dict[str, Any]) -> ProviderState:
    return ProviderState(ME, {"item": item}, closes=True)


@st.composite
def messages(draw: st.DrawFn) -> list[StreamEvent]:
    """A message: texts, a source, perhaps its phase."""
    events: list[StreamEvent] = [TextDelta(text) for text in draw(st.lists(TEXT, min_size=1, max_size=3))]
    if draw(st.booleans()):
        events.append(TextDelta("", state({"phase": draw(st.sampled_from(["commentary", "final_answer"]))})))
    return events


@st.composite
def thoughts(draw: st.DrawFn) -> list[StreamEvent]:
    """Reasoning that can be sent back: its texts, and its item."""
    texts = draw(st.lists(TEXT, max_size=3))
    summary = [{"type": "summary_text", "text": "".join(texts)}] if texts else []
    item = {"id": "rs_1", "type": "reasoning", "summary": summary, "encrypted_content": draw(TEXT)}
    return [*(ReasoningDelta(text) for text in texts), ReasoningDelta("", state(item))]


@st.composite
def calls(draw: st.DrawFn, id: str) -> list[StreamEvent]:
    """A call in fragments."""
    arguments = draw(JSON)
    raw = json.dumps(arguments)
    at = draw(st.integers(1, len(raw) - 1))
    pieces = ["", raw[:at], raw[at:]]
    return [*(ToolCallDelta(0, id, "f", piece) for piece in pieces), ToolCall(id, "f", arguments, raw)]


@st.composite
def searches(draw: st.DrawFn, id: str) -> list[StreamEvent]:
    """A tool of the provider's, with its result."""
    item = {"id": id, "type": "mcp_call", "status": "completed", "name": "add", "server_label": "s", "arguments": "{}"}
    item["output"] = draw(TEXT)
    call = ToolCall(id, "add", {}, "{}", None, ProviderState(ME, {"item": item}), executed=True)
    return [call, ToolResult(id, "add", item["output"], False, ProviderState(ME, {}))]


@st.composite
def images(draw: st.DrawFn, id: str) -> list[StreamEvent]:
    item = {"id": id, "type": "image_generation_call", "status": "completed", "output_format": "png"}
    return [Image(data=draw(st.binary(min_size=1, max_size=8)), state=ProviderState(ME, {"item": item}))]


def kept(id: str) -> st.SearchStrategy[list[StreamEvent]]:
    item = {"id": id, "type": "compaction", "encrypted_content": "x"}
    return st.just([ReasoningDelta("", state(item))])


@st.composite
def answers(draw: st.DrawFn) -> list[StreamEvent]:
    """A whole answer, as our decoder says it."""
    events: list[StreamEvent] = [StreamStart("m", "resp_1", ME)]
    called = thought = False
    spoke = ""
    for at in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["message", "thought", "call", "search", "image", "kept"]))
        if kind == spoke == "message" and not getattr(events[-1], "state", None):
            continue  # two texts without anything between them are one message
        spoke = kind
        match kind:
            case "message":
                events += draw(messages())
            case "thought":
                more = draw(thoughts())
                first = more[0]
                if len(more) > 1 and isinstance(first, ReasoningDelta):
                    if thought:
                        more[0] = ReasoningDelta("\n\n" + first.text)
                    thought = True
                events += more
            case "call":
                call = draw(calls(f"call_{at}"))
                index = sum(isinstance(event, ToolCall) and not event.executed for event in events)
                events += [
                    msgspec.structs.replace(event, index=index) if isinstance(event, ToolCallDelta) else event
                    for event in call
                ]
                called = True
            case "search":
                events += draw(searches(f"it_{at}"))
            case "image":
                events += draw(images(f"it_{at}"))
            case _:
                events += draw(kept(f"it_{at}"))
    reason, raw = draw(
        st.sampled_from([("stop", "completed"), ("length", "max_output_tokens"), ("content_filter", "content_filter")])
    )
    if called:
        reason, raw = "tool_calls", "completed"
    return [*events, Usage(input_tokens=5, output_tokens=4, cache_read_tokens=2), Finish(reason, raw)]  # type: ignore[arg-type]


def without_raw(events: list[StreamEvent]) -> list[StreamEvent]:
    return [msgspec.structs.replace(event, raw=None) if isinstance(event, Usage) else event for event in events]


@PLENTY
@given(answers())
def test_what_was_encoded_decodes_to_the_same(events: list[StreamEvent]) -> None:
    """Event by event: text, phases, reasoning with its items, calls in fragments, tools of the provider, images."""
    assert without_raw(decoded(*events)) == events


@PLENTY
@given(answers())
def test_a_whole_answer_says_the_same(events: list[StreamEvent]) -> None:
    """As one body, without the deltas."""
    said, got = fold(events), fold(whole(*events))
    assert (got.text, got.reasoning, got.finish_reason) == (said.text, said.reasoning, said.finish_reason)
    assert got.message == said.message
    assert got.usage is not None
    assert got.usage.input_tokens == 5


@PLENTY
@given(answers())
def test_an_answer_goes_back_as_it_came(events: list[StreamEvent]) -> None:
    """Decoded, sent back, and read by a server: the same parts, in the same order, byte for byte."""
    reply = fold(events)
    question = Message("user", "Hi")
    results = [ToolResult(call.id, call.name, "ok") for call in reply.tool_calls]
    turn = [reply.message] if reply.message.content else []
    asked = (question, *turn, *([Message("tool", list(results))] if results else [Message("user", "Go on")]))
    heard = SERVER.read("/responses", msgspec.json.decode(CODEC.encode(Request(model="m", messages=asked)).body))
    trailing = isinstance(reply.message.content, list) and isinstance(reply.message.content[-1], Reasoning)
    if not trailing:  # reasoning that led to nothing is not sent
        assert [merged_state(message) for message in heard.messages] == [merged_state(message) for message in asked]


def merged_state(message: Message) -> Message:
    """Without the marks that only matter while a stream is folded, and with reasoning as its item has it."""
    if isinstance(message.content, str):
        return message
    return Message(message.role, [_plain(part) for part in message.content])


def _plain(part: Part) -> Part:
    if part.state is not None and part.state.closes:
        part = msgspec.structs.replace(part, state=ProviderState(part.state.provider, part.state.data))
    return msgspec.structs.replace(part, text=part.text.removeprefix("\n\n")) if isinstance(part, Reasoning) else part


def test_the_order_of_the_wire() -> None:
    """Created, in progress, the item, its part, the deltas, and all that was said once more; numbered from 0."""
    said = frames(
        StreamStart("gpt-x", "resp_7"), TextDelta("Hel"), TextDelta("lo"), Usage(input_tokens=1), Finish("stop")
    )
    assert [frame["type"].removeprefix("response.") for frame in said] == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert [frame["sequence_number"] for frame in said] == list(range(len(said)))
    last = said[-1]["response"]
    assert (last["id"], last["model"], last["status"]) == ("resp_7", "gpt-x", "completed")
    assert last["output"][0]["content"][0]["text"] == "Hello"
    assert last["usage"]["total_tokens"] == 1


def test_custom_tools_and_other_states_go_out_as_their_items() -> None:
    """A custom tool's call is its own kind of item; ids of stored items come back."""
    custom = ToolCall(
        "c",
        "sql",
        {"input": "select 1"},
        '{"input":"select 1"}',
        None,
        ProviderState(ME, {"item": {"type": "custom_tool_call"}}),
    )
    assert [
        event for event in decoded(StreamStart("m"), custom, Finish("tool_calls")) if isinstance(event, ToolCall)
    ] == [custom]
    call = ToolCall("c", "f", {}, "{}", None, ProviderState(ME, {"item": {"id": "fc_9", "namespace": "n"}}))
    assert [
        event
        for event in decoded(StreamStart("m"), call, Finish("tool_calls"), stored=True)
        if isinstance(event, ToolCall)
    ] == [call]


def test_refusals_sources_and_sound() -> None:
    """A refusal is a part of a message, a source a note on its text, sound comes whole."""
    events = [
        StreamStart("m"),
        TextDelta("abc"),
        Citation("https://a.test", "A", 0, 2),
        RefusalDelta("I cannot"),
        Finish("stop"),
    ]
    got = fold(decoded(*events))
    assert (got.text, got.refusal) == ("abc", "I cannot")
    assert [(one.url, one.title, one.start, one.end) for one in got.citations] == [("https://a.test", "A", 0, 2)]
    again = fold(whole(*events))
    assert (again.text, again.refusal, again.citations) == (got.text, got.refusal, got.citations)
    sound = [event for event in decoded(StreamStart("m"), Audio(b"RIFF"), Finish("stop")) if isinstance(event, Audio)]
    assert sound == [Audio(b"RIFF")]


def test_nothing_follows_the_end_and_what_has_no_word_is_left_out() -> None:
    """After Finish or StreamError every event is ignored; retries, files and raw events have no place here."""
    encoder = ResponsesEncoder(model="m")
    encoder.encode(Finish("stop"))
    assert encoder.done
    assert encoder.encode(TextDelta("late")) == []
    left_out = [Retrying(1, 0.1, ServerError("x")), RawEvent({}), File(b"x"), ToolResult("c", "f", "x"), Image(url="u")]
    left_out.append(ToolCall("c", "f", {}, executed=True))  # type: ignore[arg-type]
    assert frames(*left_out) == []  # type: ignore[arg-type]


@pytest.mark.req("C1", "C6", "C7")
@pytest.mark.parametrize("kind", BY_KIND)
def test_an_error_keeps_its_kind(kind: str) -> None:
    """Every kind of error comes back as itself inside a stream, with the hint to wait."""
    allowed = {"connection": "server_error", "unknown": "server_error", "max_output": "invalid_request"}
    error = BY_KIND[kind]("it went wrong", retry_after=1.5)
    last = decoded(StreamStart("m"), TextDelta("a"), StreamError(error))[-1]
    assert isinstance(last, StreamError)
    assert last.error.kind in {kind, allowed.get(kind, kind)}
    assert last.error.retry_after == 1.5


def test_a_broken_answer_is_no_body() -> None:
    """Its error is raised instead."""
    with pytest.raises(RateLimitError, match="slow"):
        response_body([TextDelta("a"), StreamError(RateLimitError("slow"))], model="m")


# ---- requests

NAMES = st.sampled_from(["f", "get_weather", "a-b"])
schemas = st.just({"type": "object", "properties": {"a": {"type": "string"}}})
user_parts = st.one_of(
    st.builds(Text, TEXT),
    st.builds(Image, url=st.just("https://i.test/a.png"), detail=st.sampled_from([None, "low", "high"])),
    st.builds(Image, data=st.binary(min_size=1, max_size=4), media_type=st.just("image/jpeg")),
    st.builds(File, data=st.binary(min_size=1, max_size=4), name=st.just("a.pdf")),
    st.builds(File, file_id=st.just("file_1")),
    st.builds(Audio, st.binary(min_size=1, max_size=4), st.sampled_from(["wav", "mp3"])),
)
asked = st.one_of(
    st.builds(Message, st.sampled_from(["user", "system"]), TEXT),
    st.builds(Message, st.just("user"), st.lists(user_parts, min_size=1, max_size=3)),
)


@st.composite
def turns(draw: st.DrawFn, at: int) -> list[Message]:
    """A question, and perhaps an answer with calls and their results."""
    question = draw(asked)
    if draw(st.booleans()):
        return [question]
    ids = [f"call_{at}_{n}" for n in range(draw(st.integers(0, 2)))]
    made: list[Part] = [Text(draw(TEXT))] if draw(st.booleans()) or not ids else []
    for id in ids:
        arguments = draw(JSON)
        made.append(ToolCall(id, draw(NAMES), arguments, json.dumps(arguments)))
    only = made[0] if len(made) == 1 else None
    answer = Message("assistant", only.text if isinstance(only, Text) else made)
    named = [(part.id, part.name) for part in made if isinstance(part, ToolCall)]
    contents = st.one_of(TEXT, st.just([Text("a"), Image(url="https://i.test/b.png")]))
    results = [ToolResult(id, name, draw(contents)) for id, name in named]
    return [question, answer, *([Message("tool", list(results))] if results else [])]


@st.composite
def requests(draw: st.DrawFn) -> Request:
    tools = tuple(
        Tool(name, draw(st.sampled_from(["", "what it does"])), draw(schemas), draw(st.sampled_from([None, True])))
        for name in draw(st.lists(NAMES, unique=True, max_size=2))
    )
    choices = ["auto", "none", None, *(["required", tools[0].name] if tools else [])]
    return Request(
        model="m",
        messages=tuple(message for at in range(draw(st.integers(1, 3))) for message in draw(turns(at))),
        system=draw(st.none() | TEXT),
        tools=tools,
        tool_choice=draw(st.sampled_from(choices)),
        output=draw(st.none() | st.builds(OutputSchema, NAMES, schemas, st.booleans())),
        max_tokens=draw(st.none() | st.integers(1, 99)),
        temperature=draw(st.none() | st.sampled_from([0.0, 0.5])),
        top_p=draw(st.none() | st.just(0.9)),
        reasoning=draw(st.none() | st.sampled_from(["none", "low", "max"])),
    )


@PLENTY
@given(requests())
def test_a_request_is_read_as_it_was_meant(request: Request) -> None:
    """All that the wire can say arrives at a server of it, and nothing else."""
    encoded = CODEC.encode(request)
    assert encoded.warnings == ()
    assert SERVER.read(encoded.path, msgspec.json.decode(encoded.body)) == request


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"model": "m"},
        {"model": "", "input": "x"},
        {"model": "m", "input": []},
        {"model": "m", "input": [1]},
        {"model": "m", "input": [{"role": "robot", "content": "x"}]},
        {"model": "m", "input": [{"role": "user", "content": 1}]},
        {"model": "m", "input": [{"role": "user", "content": [{"type": "hologram"}]}]},
        {"model": "m", "input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
        {
            "model": "m",
            "input": [{"role": "user", "content": [{"type": "input_file", "file_data": "data:a/b;base64,?"}]}],
        },
    ],
)
def test_a_server_refuses_what_any_would(body: dict[str, Any]) -> None:
    """In the form of the API, with a status of 400."""
    with pytest.raises(LLMError) as caught:
        SERVER.read("/responses", body)
    assert caught.value.status == 400
    assert SERVER.error(ContextLengthExceededError("x"))[0] == 400


def test_short_forms_of_a_request() -> None:
    """A plain text as the input; what is kept by the server needs none."""
    assert SERVER.read("/responses", {"model": "m", "input": "Hi"}).messages == (Message("user", "Hi"),)
    assert SERVER.read("/responses", {"model": "m", "previous_response_id": "resp_1"}).messages == ()
