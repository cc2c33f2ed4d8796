"""Each kind of block of a Converse stream: calls, reasoning and its signatures, the provider's own tools, sources, images."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from _converse import BEDROCK, PROVIDER, START, TAIL, body_of, call, delta, done, events_of, reply_of, start, stop
from _decoding import calls_of, failure
from _wirecase import check_truncated

from asyncllm.events import (
    Citation,
    Finish,
    Image,
    IncompleteStreamError,
    ProviderState,
    Reasoning,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    fold,
)

# ---- tool calls


@pytest.mark.req("G5", "D11")
def test_calls_are_put_together_by_their_block() -> None:
    """The input comes in pieces after a start without any; two calls may be under way at once; an empty one is {}."""
    begun = [start(at, toolUse={"toolUseId": f"t{at}", "name": name}) for at, name in ((0, "f"), (1, "g"))]
    pieces = [delta(at, toolUse={"input": piece}) for at, piece in ((0, '{"a"'), (1, '{"b":'), (0, ":1}"), (1, "2}"))]
    reply = reply_of(START, *begun, *pieces, stop(0), stop(1), *call(2, "t2", "h"), done("tool_use"), TAIL)
    assert reply.tool_calls == [
        ToolCall("t0", "f", {"a": 1}, '{"a":1}'),
        ToolCall("t1", "g", {"b": 2}, '{"b":2}'),
        ToolCall("t2", "h", {}),
    ]
    assert reply.finish_reason == "tool_calls"


@pytest.mark.req("G5")
def test_a_call_is_said_as_it_comes_and_then_whole() -> None:
    """Deltas with the name from the start on, and the whole call where its block ends, before what follows it."""
    events = events_of(START, *call(0, "t", "f", '{"a', '":1}'), delta(1, text="so"), done("tool_use"), TAIL)
    assert events[1:6] == [
        ToolCallDelta(0, "t", "f", ""),
        ToolCallDelta(0, "t", "f", '{"a'),
        ToolCallDelta(0, "t", "f", '":1}'),
        ToolCall("t", "f", {"a": 1}, '{"a":1}'),
        TextDelta("so"),
    ]


@pytest.mark.req("G5", "D9")
@pytest.mark.parametrize("given", [{"a": 1}, '{"a":1}'])
def test_an_input_that_is_whole_in_the_start(given: object) -> None:
    """Some gateways say it there, as an object or as text; where deltas follow, what the start says is nothing."""
    (found,) = reply_of(START, *call(0, "t", "f", input=given), done("tool_use")).tool_calls
    assert (found.arguments, found.raw_arguments) == ({"a": 1}, '{"a":1}')
    (found,) = reply_of(START, *call(0, "t", "f", '{"b":2}', input={}), done("tool_use")).tool_calls
    assert found.arguments == {"b": 2}


@pytest.mark.req("D12")
@pytest.mark.parametrize("raw", ['{"a": Dave}', "[1]", '{"a": "x'])
def test_arguments_that_are_no_object_are_an_invalid_call(raw: str) -> None:
    """The stream goes on, and the text of the arguments is kept."""
    events = events_of(START, *call(0, "t", "f", raw), done("tool_use"), TAIL)
    (found,) = calls_of(events)
    assert (found.arguments, found.raw_arguments) == (None, raw)
    assert found.invalid
    assert events[-1] == Finish("tool_calls", "tool_use")


@pytest.mark.req("D12", "G8")
def test_a_call_that_the_limit_cut_is_never_valid() -> None:
    """Its block is ended as if it were whole, and only the stop reason tells; a call before it is not touched."""
    whole = call(0, "t0", "f")
    (first, last) = calls_of(events_of(START, *whole, *call(1, "t1", "g"), done("max_tokens"), TAIL))
    assert first == ToolCall("t0", "f", {})
    assert last.arguments is None
    assert last.invalid
    assert calls_of(events_of(START, *whole, done("tool_use"))) == [ToolCall("t0", "f", {})]


@pytest.mark.req("B8", "C8")
def test_a_call_that_an_exception_cut_is_invalid() -> None:
    """A call that was whole before it stays so."""
    broken = [start(1, toolUse={"toolUseId": "t1", "name": "g"}), delta(1, toolUse={"input": '{"b":2}'})]
    events = events_of(START, *call(0, "t0", "f", "{}"), *broken, ("exception:internalServerException", {}))
    assert [call.invalid is None for call in calls_of(events)] == [True, False]
    assert fold(events).tool_calls[1].raw_arguments == '{"b":2}'


@pytest.mark.req("B1", "G5")
def test_a_cut_between_two_calls() -> None:
    """At every byte: a call is said whole or as broken, and never as less than what was sent."""
    said = [START, *call(0, "t0", "f", '{"a":', "1}"), done("tool_use"), TAIL]
    body = body_of(said)
    whole = BEDROCK.decode(body)
    for at in range(len(body)):
        check_truncated(BEDROCK, body, whole, at)
        for found in calls_of(BEDROCK.decode(body[:at])):
            assert found.invalid or found.arguments == {"a": 1}


@pytest.mark.req("D3")
def test_calls_without_an_id_or_with_the_same_one() -> None:
    """Each gets an id of its own, by which its result finds it."""
    found = calls_of(
        events_of(START, *call(0, "", "f", "{}"), *call(1, "x", "f", "{}"), *call(2, "x", "f", "{}"), done("tool_use"))
    )
    assert len({call.id for call in found}) == 3
    assert found[1].id == "x"
    assert all(call.id for call in found)


def test_end_turn_after_a_call_is_a_call() -> None:
    """Some models say end_turn where they mean tool_use; the raw word is kept."""
    assert events_of(START, *call(0, "t", "f", "{}"), done(), TAIL)[-1] == Finish("tool_calls", "end_turn")


@pytest.mark.req("G5")
def test_input_without_a_start_is_an_invalid_call() -> None:
    """Nobody knows what was called; that something was is not hidden."""
    (found,) = calls_of(events_of(START, delta(0, toolUse={"input": "{}"}), stop(0), done("tool_use")))
    assert found.name == ""
    assert found.invalid


# ---- reasoning


def state(**data: object) -> ProviderState:
    return ProviderState(PROVIDER, data, closes=True)


def thought(index: int, *texts: str, signature: str = "") -> list[Any]:
    said = [delta(index, reasoningContent={"text": text}) for text in texts]
    if signature:
        said.append(delta(index, reasoningContent={"signature": signature}))
    return [*said, stop(index)]


@pytest.mark.req("E7")
def test_each_thought_keeps_its_own_signature() -> None:
    """Blocks stay apart, in their order among texts and calls, signed or sealed or empty with a signature."""
    sealed = [delta(3, reasoningContent={"redactedContent": "U0VDUkVU"}), stop(3)]
    reply = reply_of(
        START,
        *thought(0, "one", " two", signature="s0"),
        *thought(1, "three", signature="s1"),
        *thought(2, signature="s2"),
        *sealed,
        delta(4, text="so"),
        stop(4),
        *thought(5, "more", signature="s5"),
        *call(6, "t", "f", "{}"),
        done("tool_use"),
        TAIL,
    )
    assert reply.message.parts == [
        Reasoning("one two", state(signature="s0")),
        Reasoning("three", state(signature="s1")),
        Reasoning("", state(signature="s2")),
        Reasoning("", state(redactedContent="U0VDUkVU")),
        Text("so"),
        Reasoning("more", state(signature="s5")),
        ToolCall("t", "f", {}, "{}"),
    ]
    assert reply.reasoning == "one twothreemore"


@pytest.mark.req("E7")
def test_pieces_of_a_signature_and_of_a_seal_are_joined() -> None:
    """A signature is text; what is sealed is base64 of bytes, each piece by itself."""
    halves = [base64.b64encode(part).decode() for part in (b"SE", b"CRET")]
    reply = reply_of(
        START,
        delta(0, reasoningContent={"text": "x"}),
        delta(0, reasoningContent={"signature": "ab"}),
        delta(0, reasoningContent={"signature": "cd"}),
        stop(0),
        *(delta(1, reasoningContent={"redactedContent": half}) for half in halves),
        stop(1),
        done(),
    )
    assert reply.message.parts == [
        Reasoning("x", state(signature="abcd")),
        Reasoning("", state(redactedContent=base64.b64encode(b"SECRET").decode())),
    ]


@pytest.mark.req("E7")
def test_an_unsigned_thought_is_not_covered_by_the_signature_of_the_next() -> None:
    """Of two thoughts in a row only the second is signed: they are two parts."""
    reply = reply_of(START, *thought(0, "loose"), *thought(1, "bound", signature="s"), done())
    assert reply.message.parts == [Reasoning("loose", state()), Reasoning("bound", state(signature="s"))]


@pytest.mark.req("E7")
def test_a_thought_that_was_cut_has_no_signature() -> None:
    """Half a signature would be refused, and so would a whole one under half a text: it is said at the block's end."""
    events = BEDROCK.decode(body_of([START, *thought(0, "x", signature="s")[:-1]]))
    assert fold(events).message.parts == [Reasoning("x")]
    assert isinstance(failure(events), IncompleteStreamError)


@pytest.mark.req("E7", "G5")
def test_blocks_that_nobody_ends() -> None:
    """A block of another index ends a thought or a text; the end of the message ends what is left."""
    said = [*thought(0, "x", signature="s")[:-1], delta(1, text="so"), *call(2, "t", "f", "{}")[:-1]]
    reply = reply_of(START, *said, done("tool_use"))
    assert reply.message.parts == [Reasoning("x", state(signature="s")), Text("so"), ToolCall("t", "f", {}, "{}")]


def test_a_block_that_changes_its_kind() -> None:
    """Reasoning and text under one index are two parts."""
    reply = reply_of(START, delta(0, reasoningContent={"text": "hm"}), delta(0, text="so"), stop(0), done())
    assert (reply.reasoning, reply.text) == ("hm", "so")


# ---- the provider's own tools, sources, images


@pytest.mark.req("seed-A7")
def test_a_tool_that_the_provider_runs_itself() -> None:
    """Call and result are said whole, in their place, with what they need to be sent back."""
    result = {"toolUseId": "s", "type": "nova_grounding_result", "status": "success"}
    content = [{"text": "found"}, {"json": {"a": 1}}]
    reply = reply_of(
        START,
        *call(0, "s", "nova_grounding", '{"q":1}', type="server_tool_use"),
        start(1, toolResult=result),
        delta(1, toolResult=content[:1]),
        delta(1, toolResult=content[1:]),
        stop(1),
        delta(2, text="so"),
        stop(2),
        done(),
        TAIL,
    )
    ran = ProviderState(PROVIDER, {"type": "server_tool_use"})
    said = ProviderState(PROVIDER, {"toolResult": {**result, "content": content}})
    assert reply.message.parts == [
        ToolCall("s", "nova_grounding", {"q": 1}, '{"q":1}', state=ran, executed=True),
        ToolResult("s", "nova_grounding", 'found\n{"a":1}', state=said),
        Text("so"),
    ]
    assert reply.tool_calls == []
    assert reply.finish_reason == "stop"


def test_citations_name_the_text_they_stand_for() -> None:
    """Title, quote, address and the place in the answer; the provider's object is kept."""
    raw: dict[str, Any] = {
        "title": "Doc",
        "sourceContent": [{"text": "as it "}, {"text": "says"}],
        "location": {"documentChar": {"documentIndex": 0, "start": 3, "end": 9}},
    }
    web = {"location": {"web": {"url": "https://a.example/x", "domain": "a.example"}}}
    events = events_of(
        START,
        delta(0, text="ab"),
        stop(0),
        delta(1, text="cde"),
        delta(1, citation=raw),
        delta(1, citation=web),
        stop(1),
        done(),
    )
    assert [event for event in events if isinstance(event, Citation)] == [
        Citation("", "Doc", 2, 5, "as it says", raw),
        Citation("https://a.example/x", "", 2, 5, "", web),
    ]


def test_an_image_that_the_model_made() -> None:
    """Its bytes may come in pieces, each in base64 by itself."""
    pieces = [delta(0, image={"source": {"bytes": base64.b64encode(part).decode()}}) for part in (b"ab", b"c")]
    reply = reply_of(START, start(0, image={"format": "jpeg"}), *pieces, stop(0), done())
    (image,) = reply.message.parts
    assert isinstance(image, Image)
    assert (image.data, image.media_type) == (b"abc", "image/jpeg")
