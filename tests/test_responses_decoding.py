"""The Responses API as servers really send it: every kind of item and event, each character once, and every way to end."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest
from _decoding import failure, merged, raws_of, single_bytes
from _wirecase import WireCase, sse_borders

from asyncllm.events import (
    Audio,
    Citation,
    ContentBlockedError,
    ContextLengthExceededError,
    Finish,
    Image,
    IncompleteStreamError,
    InvalidRequestError,
    LLMError,
    LLMTimeoutError,
    RateLimitError,
    Reasoning,
    ReasoningDelta,
    Reply,
    ServerError,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    check_order,
    fold,
)
from asyncllm.protocols import Encoded, Request
from asyncllm.protocols.openai_responses import ResponsesCodec, ResponsesQuirks

ME = "openai-responses"
RESPONSES = WireCase("openai_responses", lambda: ResponsesCodec(ME), sse_borders)
STORED = WireCase("openai_responses", lambda: ResponsesCodec(ME, ResponsesQuirks(store=True)), sse_borders)

Event = dict[str, Any]


def response(status: str = "in_progress", **more: Any) -> Event:
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-x", "output": [], **more}


CREATED = {"type": "response.created", "response": response()}


def ended(kind: str = "completed", **more: Any) -> Event:
    return {"type": f"response.{kind}", "response": response(**{"status": kind, **more})}


def added(index: int, item: Event) -> Event:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, item: Event) -> Event:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def message(*texts: str, id: str = "msg_1", **more: Any) -> Event:
    content = [{"type": "output_text", "text": text, "annotations": []} for text in texts]
    return {"id": id, "type": "message", "role": "assistant", "status": "completed", "content": content, **more}


def delta(kind: str, text: str, index: int = 0, **more: Any) -> Event:
    return {"type": f"response.{kind}.delta", "output_index": index, "delta": text, **more}


def function(arguments: str = "{}", id: str = "fc_1", call: str = "call_1", **more: Any) -> Event:
    given = {"id": id, "type": "function_call", "call_id": call, "name": "f", "arguments": arguments}
    return {**given, "status": "completed", **more}


def body_of(*frames: Event) -> bytes:
    numbered = [{**frame, "sequence_number": at} for at, frame in enumerate(frames)]
    return b"".join(f"event: {frame['type']}\ndata: {json.dumps(frame)}\n\n".encode() for frame in numbered)


def events_of(*frames: Event, case: WireCase = RESPONSES, **options: Any) -> list[StreamEvent]:
    """The events of these, which must be the same byte by byte."""
    body = body_of(*frames)
    events = case.decode(body, **options)
    assert merged(case.decode_pieces(single_bytes(body), **options)) == merged(events)
    return events


def reply_of(*frames: Event, **options: Any) -> Reply[object]:
    events = events_of(*frames, **options)
    assert isinstance(events[-1], Finish), events[-1]
    return fold(events)


def said(*frames: Event, **options: Any) -> Reply[object]:
    """What frames add up to between a beginning and a good end."""
    return reply_of(CREATED, *frames, ended(), **options)


def error_of(*frames: Event) -> LLMError:
    return failure(events_of(*frames))


# ---- text, each character once


@pytest.mark.parametrize(
    "frames",
    [
        [
            delta("output_text", "Hel", content_index=0),
            delta("output_text", "lo", content_index=0),
            done(0, message("Hello")),
        ],
        [delta("output_text", "Hel", content_index=0), done(0, message("Hello"))],
        [done(0, message("Hello"))],
        [added(0, message()), {"type": "response.output_text.done", "output_index": 0, "text": "Hello"}],
        [
            added(0, message()),
            delta("output_text", "Hel"),
            {"type": "response.content_part.done", "output_index": 0, "part": {"type": "output_text", "text": "Hello"}},
            done(0, message("Hello")),
        ],
        [
            delta("output_text", "Hel", item_id="a"),
            delta("output_text", "lo", item_id="b"),
            done(0, message("Hello", id="c")),
        ],
        [delta("output_text", "Hel"), delta("output_text", "lo"), done(0, message("Hel", "lo"))],
        [delta("output_text", "H\ud83d"), delta("output_text", "\ude00"), done(0, message("H\U0001f600"))],
        [delta("output_text", "H\ud83d"), done(0, message("H\U0001f600"))],
    ],
    ids=[
        "deltas",
        "a delta is missing",
        "no deltas",
        "only text.done",
        "only part.done",
        "ids differ from event to event",
        "one delta stream for two parts",
        "half characters",
        "half a character, and the whole at the end",
    ],
)
@pytest.mark.req("A3", "G3")
def test_text_is_said_once(frames: list[Event]) -> None:
    """Whichever of an item's events say it: the deltas, the parts, the item, or the response; the last say the rest."""
    whole = "Hello" if "ello" in json.dumps(frames) or '"lo"' in json.dumps(frames) else "H\U0001f600"
    assert said(*frames).text == whole
    final = [frame for frame in frames if frame["type"] == "response.output_item.done"]
    output = [frame["item"] for frame in final] or [message("Hello")]
    assert reply_of(CREATED, *frames, ended(output=output)).text == whole


@pytest.mark.req("B4")
def test_items_that_are_said_twice() -> None:
    """A last word that comes again says nothing; another item in the same place does."""
    search = built_in("web_search_call", action={"type": "search"})
    image = built_in("image_generation_call", id="it_2", result="aGk=")
    once = [search, function(), message("a"), {**image}, {"id": "c", "type": "compaction"}]
    twice = [done(at, item) for at, item in enumerate(once) for _ in range(2)]
    assert said(*twice).message == said(*[done(at, item) for at, item in enumerate(once)]).message
    assert said(done(0, message("a")), done(0, message("b", id="msg_2"))).text == "ab"
    nameless = [{**function(), "id": None, "call_id": None, "arguments": text} for text in ("{}", '{"a":1}')]
    assert len(said(done(0, nameless[0]), done(0, nameless[1])).tool_calls) == 2


def test_a_text_that_does_not_agree_with_its_deltas_is_not_said_again() -> None:
    """What was said cannot be taken back."""
    assert said(delta("output_text", "Hallo"), done(0, message("Hello"))).text == "Hallo"


def test_only_the_whole_response() -> None:
    """A server that sends nothing but the end, or a body that was not streamed."""
    output = [message("Hello", phase="final_answer"), function('{"a":1}')]
    usage = {"input_tokens": 3, "output_tokens": 2, "output_tokens_details": {"reasoning_tokens": 1}}
    for body in (
        body_of(ended(output=output, usage=usage)),
        json.dumps(response("completed", output=output, usage=usage)).encode(),
    ):
        reply = fold(RESPONSES.decode(body))
        assert (reply.text, reply.id, reply.model, reply.finish_reason) == ("Hello", "resp_1", "gpt-x", "tool_calls")
        assert reply.tool_calls[0].arguments == {"a": 1}
        assert reply.usage is not None
        assert (reply.usage.input_tokens, reply.usage.output_tokens, reply.usage.reasoning_tokens) == (3, 2, 1)


@pytest.mark.req("seed-A13")
@pytest.mark.parametrize("output", [[], None, "absent"])
def test_an_empty_output_in_the_end_takes_nothing_back(output: Any) -> None:
    """The ChatGPT backend says `output: []` in the end: what the items said is the answer."""
    end = ended(output=output)
    if output == "absent":
        del end["response"]["output"]
    reply = reply_of(CREATED, done(0, message("Hello")), done(1, function()), end)
    assert (reply.text, len(reply.tool_calls)) == ("Hello", 1)


def test_two_messages_are_two_parts() -> None:
    """Each with its phase (and, where the server keeps them, its id), so that they go back as they came."""
    frames = [
        done(0, message("Wait. ", phase="commentary")),
        done(1, message("Done.", id="msg_2", phase="final_answer")),
    ]
    parts = said(*frames).message.parts
    assert [(part.text, part.state and part.state.data) for part in parts if isinstance(part, Text)] == [
        ("Wait. ", {"item": {"phase": "commentary"}}),
        ("Done.", {"item": {"phase": "final_answer"}}),
    ]
    stored = said(*frames, case=STORED).message.parts
    assert stored[1].state is not None
    assert stored[1].state.data == {"item": {"id": "msg_2", "phase": "final_answer"}}


def test_a_refusal() -> None:
    """In deltas, only at the end, or after some text."""
    refused = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "refusal", "refusal": "I cannot"}],
    }
    for frames in (
        [delta("refusal", "I "), delta("refusal", "cannot"), done(0, refused)],
        [delta("refusal", "I "), {"type": "response.refusal.done", "output_index": 0, "refusal": "I cannot"}],
        [done(0, refused)],
    ):
        reply = said(*frames)
        assert (reply.refusal, reply.text, reply.message.content) == ("I cannot", "", "")


# ---- sources


@pytest.mark.req("F11")
@pytest.mark.parametrize("live", [True, False])
def test_sources_have_their_place_in_the_text_of_the_step(live: bool) -> None:
    """Offsets count from the beginning of the step's text, over several messages and parts; each source is said once."""
    one = {"type": "url_citation", "url": "https://a.test", "title": "A", "start_index": 0, "end_index": 2}
    two = {"type": "container_file_citation", "filename": "b.csv", "file_id": "f", "start_index": 1, "end_index": 3}
    three = {"type": "file_citation", "filename": "c.pdf", "file_id": "g", "index": 7}
    content = [
        {"type": "output_text", "text": "abc", "annotations": [one]},
        {"type": "output_text", "text": "defg", "annotations": [two, three]},
    ]
    note = {"type": "response.output_text.annotation.added", "output_index": 1}
    frames = [
        done(0, message("12345")),
        delta("output_text", "abc", 1, content_index=0),
        *([{**note, "content_index": 0, "annotation": one}] if live else []),
        delta("output_text", "defg", 1, content_index=1),
        *([{**note, "content_index": 1, "annotation": two}] if live else []),
        done(1, {**message(id="msg_2"), "content": content}),
    ]
    assert said(*frames).citations == [
        Citation("https://a.test", "A", 5, 7, raw=one),
        Citation("", "b.csv", 9, 11, raw=two),
        Citation("", "c.pdf", raw=three),
    ]


# ---- reasoning


@pytest.mark.req("E10", "E2")
def test_reasoning_is_kept_whole_for_replay() -> None:
    """Parts of a summary, and items, are apart by a blank line; the item, with its encrypted content, is in the state."""
    item = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "Plan."}, {"type": "summary_text", "text": "Check."}],
        "encrypted_content": "Z0FB",
    }
    other = {"id": "rs_2", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Again."}]}
    reply = said(
        added(0, {**item, "summary": [], "encrypted_content": "half"}),
        delta("reasoning_summary_text", "Plan.", summary_index=0),
        delta("reasoning_summary_text", "Check.", summary_index=1),
        done(0, item),
        done(1, other),
        done(2, message("42")),
    )
    assert reply.reasoning == "Plan.\n\nCheck.\n\nAgain."
    first, second, _ = reply.message.parts
    assert isinstance(first, Reasoning)
    assert first.state is not None
    assert first.state.data == {"item": item}
    assert second == Reasoning("\n\nAgain.")  # nothing in it could be sent back
    kept = said(done(0, other), case=STORED).message.parts[0]
    assert kept.state is not None
    assert kept.state.data == {"item": other}


@pytest.mark.req("E1", "E2")
def test_raw_thoughts_and_a_summary_of_them() -> None:
    """Open models send their thoughts as they are. The same text in both places is said once; two texts are said both."""
    item: Event = {
        "id": "rs_1",
        "type": "reasoning",
        "summary": [],
        "content": [{"type": "reasoning_text", "text": "I think"}],
    }
    plain = said(delta("reasoning_text", "I "), delta("reasoning_text", "think"), done(0, item))
    assert plain.reasoning == "I think"
    assert plain.message.parts[0].state is not None  # open models want it back
    for summary, text in (("I think", "I think"), ("A thought.", "I think\n\nA thought.")):
        both = {**item, "summary": [{"type": "summary_text", "text": summary}]}
        reply = said(
            delta("reasoning_text", "I "),
            delta("reasoning_summary_text", summary, summary_index=0),
            delta("reasoning_text", "think"),
            done(0, both),
        )
        assert reply.reasoning == text
    assert said(done(0, {**both, "content": None})).reasoning == "A thought."


# ---- calls


def fragments(events: list[StreamEvent]) -> list[tuple[str, str]]:
    return [(event.id, event.arguments) for event in events if isinstance(event, ToolCallDelta)]


@pytest.mark.req("D3", "D6", "D9", "D11")
@pytest.mark.parametrize(
    "frames",
    [
        [
            added(0, function("")),
            delta("function_call_arguments", '{"a"'),
            delta("function_call_arguments", ":1}"),
            done(0, function('{"a":1}')),
        ],
        [added(0, function("")), done(0, function('{"a":1}'))],
        [added(0, function("")), delta("function_call_arguments", '{"a"'), done(0, function('{"a":1}'))],
        [
            added(0, function("")),
            {"type": "response.function_call_arguments.done", "output_index": 0, "arguments": '{"a":1}'},
        ],
        [
            delta("function_call_arguments", '{"a"'),
            delta("function_call_arguments", ":1}"),
            done(0, function('{"a":1}')),
        ],
        [added(0, function("")), done(0, {**function(), "arguments": {"a": 1}})],
        [
            added(0, function("")),
            delta("function_call_arguments", '{"a":1}', item_id="x"),
            done(0, function("", id="y")),
        ],
        [done(0, function('{"a":1}'))],
        [
            added(0, function("")),
            delta("function_call_arguments", '{"a":1}\ud83d'),
            done(0, function('{"a":1}')),
        ],
    ],
    ids=[
        "deltas",
        "no deltas",
        "a delta is missing",
        "only arguments.done",
        "never announced",
        "arguments are an object",
        "the item has no arguments, and other ids",
        "only the item",
        "half a character that the item does not have",
    ],
)
def test_a_call_is_said_whole_and_once(frames: list[Event]) -> None:
    """The fragments add up to the arguments, and the call has the id that its result must have."""
    events = events_of(CREATED, *frames, ended())
    (call,) = fold(events).tool_calls
    assert (call.id, call.name, call.arguments, call.invalid) == ("call_1", "f", {"a": 1}, None)
    assert "".join(text for _, text in fragments(events)) == call.raw_arguments == '{"a":1}'
    assert {id for id, _ in fragments(events)} == {"call_1"}
    assert isinstance(events[-1], Finish)
    assert (events[-1].reason, events[-1].raw) == ("tool_calls", "completed")


@pytest.mark.req("D1", "D2", "seed-B6")
@pytest.mark.parametrize("place", ["by index", "by id", "all at place 0"])
def test_parallel_calls_are_told_apart(place: str) -> None:
    """By their places, by their ids where there are no places, or by their ids where all have the same place."""

    def at(index: int, frame: Event) -> Event:
        frame = {**frame, "output_index": 0 if place == "all at place 0" else index}
        if place == "by id":
            del frame["output_index"]
        if "delta" in frame and place != "by index":
            frame["item_id"] = f"fc_{index}"
        return frame

    a, b = function("", id="fc_0", call="a"), function("", id="fc_1", call="b")
    reply = said(
        at(0, added(0, a)),
        at(0, delta("function_call_arguments", '{"x"')),
        at(1, added(1, b)),
        at(1, delta("function_call_arguments", '{"y":')),
        at(0, delta("function_call_arguments", ":1}")),
        at(1, delta("function_call_arguments", "2}")),
        at(1, done(1, {**b, "arguments": '{"y":2}'})),
        at(0, done(0, {**a, "arguments": '{"x":1}'})),
    )
    assert [(call.id, call.arguments) for call in reply.tool_calls] == [("a", {"x": 1}), ("b", {"y": 2})]


@pytest.mark.req("D3")
def test_ids_of_calls_are_their_own() -> None:
    """A call without an id gets the item's; one without any, or with that of another call, gets a made one."""
    nameless = {"type": "function_call", "name": "f", "arguments": "{}"}
    frames = [done(0, function()), done(1, function(id="fc_2")), done(2, {**nameless, "id": "fc_3"}), done(3, nameless)]
    ids = [call.id for call in said(*frames).tool_calls]
    assert ids[::2] == ["call_1", "fc_3"]
    assert len(set(ids)) == 4
    assert ids == [call.id for call in said(*frames).tool_calls]  # the same bytes give the same ids


@pytest.mark.req("D12", "B9")
def test_calls_that_cannot_be_run_say_why() -> None:
    """Not JSON, no object, no name, cut by the limit (even if what there is could be read)."""
    for item, why in (
        (function("{"), "not valid JSON"),
        (function("[1]"), "not a JSON object"),
        ({**function(), "name": ""}, "no name"),
        ({**function(), "status": "incomplete"}, "output limit"),
        ({**function(""), "status": "incomplete"}, "output limit"),
    ):
        (call,) = said(done(0, item)).tool_calls
        assert call.arguments is None
        assert why in (call.invalid or "")


def test_a_call_that_the_limit_cut_is_invalid() -> None:
    """Also where the server does not say that its item is whole."""
    frames = [added(0, function("")), delta("function_call_arguments", '{"a":1}')]
    reply = reply_of(CREATED, *frames, ended("incomplete", incomplete_details={"reason": "max_output_tokens"}))
    assert reply.finish_reason == "length"
    assert "output limit" in (reply.tool_calls[0].invalid or "")
    assert said(*frames).tool_calls[0].arguments == {"a": 1}  # and without a limit it is whole


@pytest.mark.parametrize("streamed", [True, False])
def test_a_custom_tool_takes_free_text(streamed: bool) -> None:
    """Its text is the one field of an object, so that arguments are JSON everywhere, also in fragments."""
    item = {"id": "ctc_1", "type": "custom_tool_call", "call_id": "call_1", "name": "sql", "input": 'select "é"\n'}
    pieces = [delta("custom_tool_call_input", text) for text in ("sel", 'ect "é"', "\n")] if streamed else []
    events = events_of(CREATED, added(0, {**item, "input": ""}), *pieces, done(0, item), ended())
    (call,) = fold(events).tool_calls
    assert call.arguments == {"input": 'select "é"\n'}
    assert json.loads(call.raw_arguments) == call.arguments
    assert "".join(text for _, text in fragments(events)) == call.raw_arguments
    assert call.state is not None
    assert call.state.data == {"item": {"type": "custom_tool_call"}}


def test_what_else_a_call_says_is_kept() -> None:
    """Its namespace and its caller go back with it."""
    call = said(done(0, function(namespace="n", caller={"type": "program", "caller_id": "p"}))).tool_calls[0]
    assert call.state is not None
    assert call.state.data == {"item": {"namespace": "n", "caller": {"type": "program", "caller_id": "p"}}}
    assert said(done(0, function())).tool_calls[0].state is None
    kept = said(done(0, function()), case=STORED).tool_calls[0].state
    assert kept is not None
    assert kept.data == {"item": {"id": "fc_1"}}


# ---- the provider's own tools

PNG = b"\x89PNG not really"


def built_in(kind: str, **more: Any) -> Event:
    return {"id": "it_1", "type": kind, "status": "completed", **more}


@pytest.mark.parametrize(
    ("item", "name", "arguments", "result"),
    [
        (
            built_in("web_search_call", action={"type": "search", "query": "x"}),
            "web_search",
            {"type": "search", "query": "x"},
            None,
        ),
        (
            built_in(
                "web_search_call", action={"type": "search", "sources": [{"type": "url", "url": "https://a.test"}]}
            ),
            "web_search",
            {"type": "search", "sources": [{"type": "url", "url": "https://a.test"}]},
            "https://a.test",
        ),
        (
            built_in("file_search_call", queries=["q"], results=[{"filename": "a.md", "text": "hi", "score": 1}]),
            "file_search",
            {"queries": ["q"]},
            "a.md: hi",
        ),
        (built_in("file_search_call", queries=["q"], results=None), "file_search", {"queries": ["q"]}, None),
        (
            built_in("code_interpreter_call", code="1+1", container_id="c", outputs=[{"type": "logs", "logs": "2"}]),
            "code_interpreter",
            {"code": "1+1"},
            "2",
        ),
        (
            built_in(
                "code_interpreter_call",
                code="p",
                container_id="c",
                outputs=[{"type": "image", "url": "https://i.test"}],
            ),
            "code_interpreter",
            {"code": "p"},
            [Image(url="https://i.test")],
        ),
        (
            built_in("mcp_call", name="add", server_label="s", arguments='{"a":1}', output="3"),
            "add",
            {"a": 1},
            "3",
        ),
        (built_in("tool_search_call", arguments={"q": 1}, execution="server"), "tool_search", {"q": 1}, None),
        (
            built_in(
                "shell_call", call_id="sh_1", action={"commands": ["ls"]}, environment={"type": "container_reference"}
            ),
            "shell",
            {"commands": ["ls"]},
            None,
        ),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)
def test_tools_that_the_provider_runs(item: Event, name: str, arguments: Event, result: Any) -> None:
    """A call that is not the caller's to answer, its result where the item has one, and the item for replay."""
    reply = said(added(0, {**item, "status": "in_progress"}), done(0, item), done(1, message("ok", id="msg_2")))
    assert reply.tool_calls == []
    assert reply.finish_reason == "stop"
    call, *rest = reply.message.parts
    assert isinstance(call, ToolCall)
    assert (call.name, call.arguments, call.executed) == (name, arguments, True)
    assert call.state is not None
    assert call.state.data == {"item": item}
    results = [part for part in rest if isinstance(part, ToolResult)]
    assert [part.content for part in results] == ([] if result is None else [result])
    assert all(part.id == call.id and not part.is_error for part in results)


@pytest.mark.parametrize(
    "item",
    [
        built_in("mcp_call", name="add", arguments="{}", error={"type": "http_error", "code": 500, "message": "broke"}),
        built_in("image_generation_call", status="failed", result=None, error={"message": "broke"}),
        built_in("web_search_call", status="failed", action={"type": "search"}),
    ],
    ids=lambda item: item["type"],
)
def test_a_tool_of_the_provider_that_failed(item: Event) -> None:
    """Its result says so."""
    (result,) = [part for part in said(done(0, item)).message.parts if isinstance(part, ToolResult)]
    assert result.is_error
    assert "broke" in result.text or "failed" in result.text


@pytest.mark.parametrize(
    ("item", "name", "id"),
    [
        (built_in("computer_call", call_id="cu_1", action={"type": "screenshot"}), "computer", "cu_1"),
        (
            built_in("local_shell_call", call_id="ls_1", action={"type": "exec", "command": ["ls"]}),
            "local_shell",
            "ls_1",
        ),
        (
            built_in("shell_call", call_id="sh_1", action={"commands": ["ls"]}, environment={"type": "local"}),
            "shell",
            "sh_1",
        ),
        (
            built_in("apply_patch_call", call_id="ap_1", operation={"type": "delete_file", "path": "a"}),
            "apply_patch",
            "ap_1",
        ),
        (built_in("mcp_approval_request", name="rm", server_label="s", arguments="{}"), "mcp_approval_request", "it_1"),
    ],
    ids=lambda value: value.get("type") if isinstance(value, dict) else None,
)
def test_tools_that_the_caller_has_to_run(item: Event, name: str, id: str) -> None:
    """A computer, a local shell, a patch, an approval: nothing goes on before they are answered, so they are plain calls."""
    reply = said(done(0, item))
    (call,) = reply.tool_calls
    assert (call.name, call.id, call.executed, call.invalid) == (name, id, False, None)
    assert reply.finish_reason == "tool_calls"


def test_the_output_of_a_hosted_shell_is_its_result() -> None:
    """An item of its own, which goes back as it came."""
    call = built_in(
        "shell_call", call_id="sh_1", action={"commands": ["ls"]}, environment={"type": "container_reference"}
    )
    output = built_in("shell_call_output", call_id="sh_1", output=[{"stdout": "a\n", "stderr": "", "outcome": {}}])
    _, result = said(done(0, call), done(1, output)).message.parts
    assert isinstance(result, ToolResult)
    assert (result.id, result.text) == ("sh_1", "a\n")
    assert result.state is not None
    assert result.state.data == {"item": output}


def test_an_image_that_the_model_made() -> None:
    """Its bytes once, and the rest of its item beside them; partial images are for who asks for raw events."""
    item = built_in(
        "image_generation_call", result=base64.b64encode(PNG).decode(), output_format="jpeg", revised_prompt="a cat"
    )
    partial = {"type": "response.image_generation_call.partial_image", "output_index": 0, "partial_image_b64": "AAAA"}
    (image,) = said(partial, done(0, item)).message.parts
    assert isinstance(image, Image)
    assert (image.data, image.media_type) == (PNG, "image/jpeg")
    assert image.state is not None
    assert image.state.data == {"item": {key: value for key, value in item.items() if key != "result"}}
    assert {**partial, "sequence_number": 1} in raws_of(events_of(CREATED, partial, ended(), raw=True))


@pytest.mark.req("G4")
@pytest.mark.parametrize("kind", ["compaction", "mcp_list_tools", "program", "tool_search_output", "hologram"])
def test_items_that_are_not_understood_are_kept(kind: str) -> None:
    """They say nothing, and go back as they came, from their place in the turn."""
    item = {"id": "x_1", "type": kind, "encrypted_content": "abc", "anything": [1]}
    reply = said(added(0, item), done(0, item), done(1, message("ok")))
    assert (reply.text, reply.reasoning) == ("ok", "")
    first = reply.message.parts[0]
    assert isinstance(first, Reasoning)
    assert first.state is not None
    assert (first.text, first.state.data) == ("", {"item": item})


def test_sound_and_its_transcript() -> None:
    """Pieces of sound are one event; the transcript is the text."""
    pieces = [base64.b64encode(part).decode() for part in (b"RI", b"FF")]
    frames = [{"type": "response.audio.delta", "delta": piece} for piece in pieces]
    words = [{"type": "response.audio.transcript.delta", "delta": word} for word in ("Hel", "lo")]
    ends = [{"type": "response.audio.done"}, {"type": "response.audio.transcript.done"}]
    reply = said(*frames, *words, *ends)
    assert reply.text == "Hello"
    assert [part for part in reply.message.parts if isinstance(part, Audio)] == [Audio(b"RIFF")]


PROGRESS = [
    "web_search_call.searching",
    "code_interpreter_call_code.delta",
    "mcp_call_arguments.delta",
    "shell_call_command.added",
    "compaction.compacting",
]


@pytest.mark.req("G4")
def test_progress_and_the_unknown_say_nothing() -> None:
    """Events of tools under way are in their item again; unknown ones, and keep-alives, are raw events."""
    known = [{"type": f"response.{kind}", "output_index": 0, "item_id": "x", "delta": "?"} for kind in PROGRESS]
    output = {"type": "response.shell_call_output_content.delta", "output_index": 0, "delta": {"stdout": "a"}}
    odd = [{"type": "response.new.delta", "delta": "?"}, {"type": "keepalive"}, {"type": "response.hologram", "x": 1}]
    assert [type(event) for event in events_of(CREATED, *known, output, *odd, ended())] == [StreamStart, Finish]
    raw = raws_of(events_of(CREATED, *known, output, *odd, ended(), raw=True))
    assert [event["type"] for event in raw if isinstance(event, dict)] == [event["type"] for event in odd]


@pytest.mark.req("G4")
def test_token_probabilities_are_raw_events() -> None:
    """Fields that are not understood come with their event, where raw events are wanted."""
    frame = delta("output_text", "a", logprobs=[{"token": "a", "logprob": -1}], content_index=0)
    events = events_of(CREATED, frame, delta("output_text", "b", logprobs=[]), ended(), raw=True)
    assert len(raws_of(events)) == 1
    assert fold(events).text == "ab"


# ---- how it ends


@pytest.mark.req("C7", "B6")
@pytest.mark.parametrize(
    ("end", "reason", "raw"),
    [
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length", "max_output_tokens"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter", "content_filter"),
        (ended("incomplete", incomplete_details={"reason": "steered"}), "other", "steered"),
        (ended("incomplete"), "other", "incomplete"),
        # vLLM says "completed" whatever the status is
        (
            {
                "type": "response.completed",
                "response": response("incomplete", incomplete_details={"reason": "max_output_tokens"}),
            },
            "length",
            "max_output_tokens",
        ),
        (ended("done", status="completed"), "stop", "completed"),
        ({"type": "response.completed"}, "stop", "completed"),
    ],
)
def test_finish_reasons(end: Event, reason: str, raw: str) -> None:
    """An incomplete response is an answer, with its reason; the provider's word is kept."""
    reply = reply_of(CREATED, done(0, message("Hel")), end)
    assert (reply.text, reply.finish_reason, reply.raw_finish_reason) == ("Hel", reason, raw)


def failed(error: Any, **more: Any) -> Event:
    return ended("failed", error=error, **more)


def in_band(error: Event) -> list[Callable[[], Event]]:
    return [
        lambda: failed(error),
        lambda: {"type": "error", **error, "param": None},
        lambda: {"type": "error", "error": {"type": "error", **error}},
    ]


@pytest.mark.req("C1", "C6", "C7")
@pytest.mark.parametrize("shape", [0, 1, 2], ids=["response.failed", "flat error", "nested error"])
@pytest.mark.parametrize(
    ("code", "expected", "retryable"),
    [
        ("server_error", ServerError, True),
        ("rate_limit_exceeded", RateLimitError, True),
        ("usage_limit_reached", RateLimitError, True),
        ("context_length_exceeded", ContextLengthExceededError, False),
        ("invalid_prompt", ContentBlockedError, False),
        ("bio_policy", ContentBlockedError, False),
        ("image_content_policy_violation", ContentBlockedError, False),
        ("invalid_image_url", InvalidRequestError, False),
        ("vector_store_timeout", LLMTimeoutError, True),
        ("something_new", ServerError, True),
        (None, ServerError, True),
    ],
)
def test_errors_inside_the_stream(shape: int, code: str | None, expected: type[LLMError], retryable: bool) -> None:
    """Both shapes of `error`, and `response.failed`, are the real class of the error, with what had arrived before it."""
    frame = in_band({"code": code, "message": "It broke"})[shape]()
    error = error_of(CREATED, delta("output_text", "Hel"), added(1, function("")), frame)
    assert type(error) is expected
    assert (error.code, error.retryable) == (code, retryable)
    assert "It broke" in error.message
    events = events_of(CREATED, delta("output_text", "Hel"), added(1, function("")), frame)
    assert fold(events).text == "Hel"
    assert all(call.invalid for call in events if isinstance(call, ToolCall))


def test_a_failure_without_a_word_and_its_usage() -> None:
    """`error: null`; what it cost is reported all the same."""
    events = events_of(CREATED, failed(None, usage={"input_tokens": 3, "output_tokens": 1}))
    assert isinstance(failure(events), ServerError)
    reply = fold(events)
    assert reply.usage is not None
    assert reply.usage.input_tokens == 3


@pytest.mark.req("C3")
def test_an_error_as_the_first_event() -> None:
    """Nothing began: there is nothing but the error."""
    events = events_of({"type": "error", "code": "server_error", "message": "x", "param": None})
    assert len(events) == 1
    assert isinstance(failure(events), ServerError)
    (only,) = RESPONSES.decode(b'data: {"detail": "Unsupported parameter: x"}\n\n')
    assert "Unsupported" in failure([only]).message


@pytest.mark.req("B1")
@pytest.mark.parametrize("status", ["cancelled", "in_progress", "queued"])
def test_a_response_that_will_not_or_did_not_end(status: str) -> None:
    """Cancelled by its owner, or read before it was done: no answer."""
    for frame in ({"type": "response.completed", "response": response(status)}, ended("cancelled", status=status)):
        error = error_of(CREATED, frame)
        assert isinstance(error, IncompleteStreamError)
        assert (error.code, error.retryable) == (status, False)
    (_, only) = RESPONSES.decode(json.dumps(response(status)).encode())
    assert isinstance(failure([only]), IncompleteStreamError)


@pytest.mark.req("B1", "G10")
def test_done_is_no_end() -> None:
    """`[DONE]` without a last event, or the end of the bytes after whole items: the stream was cut."""
    body = body_of(CREATED, done(0, message("Hello")))
    for end in (b"data: [DONE]\n\n", b""):
        assert isinstance(failure(RESPONSES.decode(body + end)), IncompleteStreamError)


def test_nothing_follows_the_end() -> None:
    """What comes after the last event is not read."""
    events = events_of(CREATED, done(0, message("a")), ended(), delta("output_text", "late"), failed({"message": "x"}))
    assert isinstance(events[-1], Finish)
    assert fold(events).text == "a"


def test_a_stream_that_nobody_announced() -> None:
    """Deltas before `response.created`, or without it, begin the step."""
    events = events_of(delta("output_text", "Hello"), CREATED, ended())
    assert events[:2] == [StreamStart("m", "", ME), TextDelta("Hello")]
    assert fold(events).text == "Hello"


# ---- resumption


def decoder_of(**extra: Any) -> Any:
    request = Request(model="m", messages=(), extra_body=extra)
    return ResponsesCodec(ME).decoder(request, Encoded("/responses", b""))


def frames_of(*frames: Event, start: int = 0) -> list[Any]:
    from asyncllm.transports import SniffingFramer

    numbered = [{**frame, "sequence_number": start + at} for at, frame in enumerate(frames)]
    return SniffingFramer().feed(b"".join(f"data: {json.dumps(frame)}\n\n".encode() for frame in numbered))


@pytest.mark.req("H18")
def test_a_background_response_can_be_resumed() -> None:
    """After the last event that came; what comes twice is said once. Others cannot, nor one that has ended."""
    assert decoder_of().resume() is None
    for created, extra, can in (
        (response(background=True), {}, True),
        (response(), {"background": True}, True),
        (response(background=False), {"background": True}, False),
        (response(), {}, False),
    ):
        decoder = decoder_of(**extra)
        assert decoder.resume() is None  # nobody knows its id yet
        decoder.decode(frames_of({"type": "response.created", "response": created}, delta("output_text", "Hel")))
        assert (decoder.resume() is not None) == can
    decoder = decoder_of(background=True)
    start = [CREATED, delta("output_text", "Hel")]
    events = decoder.decode(frames_of(*start))
    sent = decoder.resume()
    assert sent == Encoded("/responses/resp_1?stream=true&starting_after=1", b"", method="GET")
    events += decoder.decode(frames_of(*start, delta("output_text", "lo"), ended(output=[message("Hello")])))
    check_order(events)
    assert fold(events).text == "Hello"
    assert isinstance(events[-1], Finish)
    assert decoder.resume() is None


def test_reasoning_and_text_may_be_interleaved() -> None:
    """Items that speak in turns: nothing is lost, and each state is on a part of its own."""
    a = {
        "id": "rs_a",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "one"}],
        "encrypted_content": "A",
    }
    b = {
        "id": "rs_b",
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": "two"}],
        "encrypted_content": "B",
    }
    reply = said(
        delta("reasoning_summary_text", "o", 0),
        delta("reasoning_summary_text", "two", 1),
        delta("output_text", "text", 2),
        delta("reasoning_summary_text", "ne", 0),
        done(0, a),
        done(1, b),
        done(2, message("text", id="msg_3", phase="final_answer")),
    )
    states = [part.state.data for part in reply.message.parts if isinstance(part, Reasoning) and part.state]
    assert [state for state in states if state] == [{"item": a}, {"item": b}]
    assert reply.text == "text"
    assert sorted(reply.reasoning.replace("\n", "")) == sorted("onetwo")


def test_a_delta_of_reasoning_is_an_event() -> None:
    """As it arrives, not at the end of its part."""
    events = events_of(CREATED, delta("reasoning_text", "a"), delta("reasoning_text", "b"), ended())
    assert [event.text for event in events if isinstance(event, ReasoningDelta)] == ["a", "b"]
