"""Every recorded Messages stream, and the kinds of events that they are made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from _anthropic import (
    CASE,
    PING,
    PROVIDER,
    Data,
    begun,
    block,
    call_block,
    ended,
    events_of,
    reply_of,
    text_block,
    thinking_block,
)
from _decoding import calls_of, failure, merged
from _wirecase import check_cuts, check_said, check_truncations, expected

from asyncllm.events import (
    Finish,
    IncompleteStreamError,
    Reasoning,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    Usage,
    fold,
)

each_stream = pytest.mark.parametrize("path", CASE.streams, ids=lambda path: path.stem)


@pytest.mark.req("seed-A8", "B6", "E7", "F6", "G4", "G8", "G10")
@each_stream
def test_stream_says_what_is_expected(path: Path) -> None:
    """Text, thinking, calls with their raw arguments, usage, finish and error of a stream."""
    check_said(CASE, path)


@pytest.mark.req("A2", "A3")
@each_stream
def test_cuts_change_nothing(path: Path) -> None:
    """Byte by byte and cut at random, a stream gives the same events."""
    check_cuts(CASE, path)


@pytest.mark.req("B1", "B3", "B9", "seed-B7")
@each_stream
def test_truncated_anywhere(path: Path) -> None:
    """What arrived is kept; the end is the stream's own, or IncompleteStreamError, and never invented."""
    check_truncations(CASE, path)


@pytest.mark.req("G10")
@each_stream
def test_names_of_events_and_done_do_not_matter(path: Path) -> None:
    """Gateways drop the `event:` lines, and add `[DONE]`: the events are the same."""
    body = path.read_bytes()
    whole = merged(CASE.decode(body))
    unnamed = b"\n".join(line for line in body.split(b"\n") if not line.startswith(b"event:"))
    assert merged(CASE.decode(unnamed)) == whole
    assert merged(CASE.decode(unnamed + b"data: [DONE]\n\n")) == whole


@pytest.mark.req("E7")
def test_what_is_opaque_in_the_vectors_is_kept() -> None:
    """Signatures and redacted data of the recorded streams are on the parts of the message."""
    for path in CASE.streams:
        want = expected(path)
        states = [part.state.data for part in fold(CASE.decode(path.read_bytes())).message.parts if part.state]
        if signature := want.get("reasoning_signature"):
            assert {"signature": signature} in states
        for data in want.get("redacted", []):
            assert {"block": {"type": "redacted_thinking", "data": data}} in states


# ---- text


@pytest.mark.req("G4")
def test_a_text_as_it_usually_comes() -> None:
    """The events in their order: the start with model and id, deltas, the final usage, the finish."""
    assert events_of(begun(), PING, text_block(0, "Hel", "", "lo"), PING, ended()) == [
        StreamStart("claude", "msg_1", PROVIDER),
        TextDelta("Hel"),
        TextDelta("lo"),
        Usage(input_tokens=10, output_tokens=5, raw={"input_tokens": 10, "output_tokens": 5}),
        Finish("stop", "end_turn"),
    ]


def test_text_in_the_start_of_its_block() -> None:
    """It is said once, with the deltas after it."""
    found = block(0, "text", {"type": "text_delta", "text": "lo"}, text="Hel")
    assert reply_of(begun(), found, ended()).message.content == "Hello"


def test_blocks_of_text_stay_apart() -> None:
    """Two blocks are two parts, so that they go back as they came; one block is plain text."""
    reply = reply_of(begun(), text_block(0, "A"), text_block(1, "B"), text_block(2, ""), ended())
    assert [part.text for part in reply.message.parts if isinstance(part, Text)] == ["A", "B"]
    assert reply.text == "AB"


@pytest.mark.req("A3")
def test_characters_in_halves_are_made_whole() -> None:
    """A pair of surrogates cut between two deltas is one character; a lone half becomes U+FFFD, also at the block's end."""
    delta = '{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"HALF"}}'
    halves = [delta.replace("HALF", half) for half in (r"\ud83d", r"\ude00", r"a\ud83d")]
    frames = [f"data: {half}\n\n" for half in halves]
    start, stop = text_block(0)
    reply = reply_of(begun(), start, *frames, stop, ended())
    assert reply.text == "😀a\ufffd"


def test_gateways_without_starts_and_stops() -> None:
    """A delta whose block nobody began, a block that nobody ended, an answer without message_start: nothing is lost."""
    text, call = text_block(0, "a")[1], call_block(1, "c", "f", '{"a":1}')[:2]
    reply = reply_of(text, *call, ended("tool_use"))
    assert reply.text == "a"
    assert [(one.id, one.arguments) for one in reply.tool_calls] == [("c", {"a": 1})]


def test_an_index_used_again_is_another_block() -> None:
    """Servers that number every block 0, with or without ends."""
    first, second = text_block(0, "a")[:2], call_block(0, "c", "f", "{}")
    reply = reply_of(begun(), first, second, text_block(0, "b"), ended())
    assert reply.text == "ab"
    assert len(reply.tool_calls) == 1


def test_a_whole_message_instead_of_a_stream() -> None:
    """A server that does not stream: the body says the same."""
    message = {
        "type": "message",
        "id": "msg_1",
        "model": "claude",
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
            {"type": "text", "text": "Hi"},
            {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 3, "output_tokens": 2, "cache_read_input_tokens": 4},
    }
    reply = fold(CASE.decode(json.dumps(message).encode()))
    assert (reply.reasoning, reply.text, reply.finish_reason) == ("hm", "Hi", "tool_calls")
    assert reply.tool_calls[0].arguments == {"a": 1}
    assert reply.usage is not None
    assert (reply.usage.input_tokens, reply.usage.estimated) == (7, False)
    assert isinstance(
        failure(CASE.decode(json.dumps({**message, "stop_reason": None}).encode())), IncompleteStreamError
    )


# ---- thinking


@pytest.mark.req("E7")
def test_thinking_blocks_stay_apart_with_their_signatures() -> None:
    """Each signature is on the part of its own block, in order, also where thinking is omitted or not signed."""
    reply = reply_of(
        begun(),
        thinking_block(0, "a", "b", signature="s1"),
        thinking_block(1, "c"),
        thinking_block(2, signature="s3"),
        text_block(3, "42"),
        ended(),
    )
    parts = [(part.text, dict(part.state.data) if part.state else {}) for part in reply.message.parts[:3]]  # type: ignore[union-attr]
    assert parts == [("ab", {"signature": "s1"}), ("c", {}), ("", {"signature": "s3"})]
    assert reply.reasoning == "abc"
    assert isinstance(reply.message.parts[3], Text)


@pytest.mark.req("E7")
def test_a_signature_is_replaced_and_may_come_in_the_start() -> None:
    """The last one counts."""
    deltas = [{"type": "signature_delta", "signature": name} for name in ("s2", "s3")]
    reply = reply_of(begun(), block(0, "thinking", *deltas, thinking="hm", signature="s1"), ended())
    (part,) = reply.message.parts
    assert isinstance(part, Reasoning)
    assert part.state is not None
    assert (part.text, part.state.data) == ("hm", {"signature": "s3"})


# ---- tools


@pytest.mark.req("D8", "G8")
def test_calls_come_where_they_stand() -> None:
    """Fragments as they come, the call when its block ends, and thinking between two calls between their parts."""
    found = events_of(
        begun(),
        thinking_block(0, "a", signature="s1"),
        call_block(1, "c1", "f", "", '{"x"', ":1}"),
        thinking_block(2, "b", signature="s2"),
        call_block(3, "c2", "g", "{}"),
        ended("tool_use"),
    )
    assert [event for event in found if isinstance(event, ToolCallDelta)] == [
        ToolCallDelta(0, "c1", "f", ""),
        ToolCallDelta(0, "c1", "f", '{"x"'),
        ToolCallDelta(0, "c1", "f", ":1}"),
        ToolCallDelta(1, "c2", "g", ""),
        ToolCallDelta(1, "c2", "g", "{}"),
    ]
    kinds = [type(part) for part in fold(found).message.parts]
    assert kinds == [Reasoning, ToolCall, Reasoning, ToolCall]
    assert found[-1] == Finish("tool_calls", "tool_use")


def test_calls_whose_fragments_are_interleaved() -> None:
    """Two blocks open at once, as gateways of the chat wire send them."""
    (a, b), pieces = (call_block(at, f"c{at}", "f")[:1] for at in (0, 1)), []
    for at, piece in ((0, '{"a"'), (1, '{"b"'), (0, ":1}"), (1, ":2}")):
        pieces.append(call_block(at, "", "", piece)[1])
    stops = [{"type": "content_block_stop", "index": at} for at in (0, 1)]
    reply = reply_of(begun(), a, b, pieces, stops, ended("tool_use"))
    assert [(call.id, call.arguments) for call in reply.tool_calls] == [("c0", {"a": 1}), ("c1", {"b": 2})]


@pytest.mark.req("D9", "D11")
@pytest.mark.parametrize(
    ("fields", "pieces", "arguments"),
    [
        ({}, [], {}),
        ({"input": None}, [""], {}),
        ({"input": {"a": 1}}, [], {"a": 1}),
        ({"input": {"a": 1}}, ["", '{"b":2}'], {"b": 2}),
        ({"input": '{"a":1}'}, [], {"a": 1}),
    ],
)
def test_input_in_the_start_of_its_block(fields: Data, pieces: list[str], arguments: Data) -> None:
    """It is the input only where no delta comes; the fragments of a call always add up to it."""
    found = events_of(begun(), call_block(0, "c", "f", *pieces, **fields), ended("tool_use"))
    (call,) = calls_of(found)
    assert call.arguments == arguments
    assert "".join(event.arguments for event in found if isinstance(event, ToolCallDelta)) == call.raw_arguments


@pytest.mark.req("B9", "G8")
@pytest.mark.parametrize("piece", ['{"a": "xy', "", '{"a":1}{', "[1]", "21042"])
def test_calls_that_are_not_whole_are_invalid(piece: str) -> None:
    """The output limit cut the arguments, or they are no object: the text is kept, and nothing is run."""
    (call,) = calls_of(events_of(begun(), call_block(0, "c", "f", piece), ended("max_tokens")))
    assert (call.arguments, call.raw_arguments) == (None, piece)
    assert call.invalid


@pytest.mark.req("B9")
def test_only_the_last_call_can_have_been_cut() -> None:
    """A call without arguments before another block is whole, whatever ends the answer."""
    first, second = calls_of(events_of(begun(), call_block(0, "a", "f"), call_block(1, "b", "f"), ended("max_tokens")))
    assert (first.arguments, second.arguments) == ({}, None)


@pytest.mark.req("D3")
def test_ids_that_are_missing_or_taken() -> None:
    """Each call has an id of its own, the same for the same bytes."""
    frames = [begun(), call_block(0, "c", "f"), call_block(1, "c", "f"), call_block(2, "", "f"), ended("tool_use")]
    ids = [call.id for call in calls_of(events_of(*frames))]
    assert len(set(ids)) == 3
    assert ids[0] == "c"
    assert ids == [call.id for call in calls_of(events_of(*frames))]


@pytest.mark.req("B8")
def test_calls_mean_tool_calls_whatever_the_word() -> None:
    """`end_turn` after a call is normalised; a paused turn stays one."""
    for word, reason in (("end_turn", "tool_calls"), ("new_word", "tool_calls"), ("pause_turn", "other")):
        assert reply_of(begun(), call_block(0, "c", "f"), ended(word)).finish_reason == reason
