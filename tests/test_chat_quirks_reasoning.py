"""Quirks of chat servers, groups E and G: reasoning under all its names, opaque state, and null or odd shapes."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from _decoding import PLENTY, PROVIDER, calls_of, decode, events_of, merged, raws_of, reply_of
from _replay import DONE, ROLE, STOP, chunk_of, sse, text
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Finish,
    Message,
    ProviderState,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
)
from asyncllm.protocols import Request
from asyncllm.protocols.openai_chat import ChatCodec, ChatQuirks
from asyncllm.protocols.openai_chat._think import ThinkSplitter

THINK = ChatQuirks(think_tags=True)


# ---- E: reasoning


@pytest.mark.req("E1")
@pytest.mark.parametrize("field", ["reasoning", "reasoning_content"])
def test_reasoning_has_one_channel(field: str) -> None:
    """Either name gives reasoning, and its name is remembered for the way back."""
    reply = reply_of(ROLE, chunk_of({field: "Let me "}), chunk_of({field: "see é"}), text("42"), STOP, DONE)
    assert (reply.reasoning, reply.text) == ("Let me see é", "42")
    assert reply.message.parts == [
        Reasoning("Let me see é", ProviderState("test", {"field": field})),
        Text("42"),
    ]


@pytest.mark.req("E1")
def test_both_names_in_one_stream_lose_nothing() -> None:
    """Alternating names are one text; both in one chunk with the same text are said once."""
    chunks = (
        chunk_of({"reasoning": "a"}),
        chunk_of({"reasoning_content": "b"}),
        chunk_of({"reasoning": "c", "reasoning_content": "c"}),
        chunk_of({"reasoning": "d", "reasoning_content": ""}),
        chunk_of({"reasoning": None, "reasoning_content": "e"}),
    )
    assert reply_of(ROLE, *chunks, STOP, DONE).reasoning == "abcde"


@pytest.mark.req("E1")
def test_reasoning_and_text_in_one_delta() -> None:
    """The reasoning comes first; both are there."""
    events = events_of(ROLE, chunk_of({"content": "t", "reasoning_content": "r"}), STOP, DONE)
    assert [event.text for event in events if isinstance(event, TextDelta | ReasoningDelta)] == ["r", "t"]


@pytest.mark.req("E2")
def test_reasoning_details_with_the_same_text_are_not_doubled() -> None:
    """The mirror in reasoning_details is state, not text; all details are kept for the way back."""
    details = [[{"type": "reasoning.text", "text": word, "index": 0}] for word in ("a", "b")]
    details.append([{"type": "reasoning.encrypted", "data": "ZW5j"}])
    chunks = [
        chunk_of({"reasoning": word, "reasoning_details": part})
        for word, part in zip(("a", "b"), details, strict=False)
    ]
    reply = reply_of(ROLE, *chunks, chunk_of({"reasoning_details": details[2]}), text("x"), STOP, DONE)
    assert reply.reasoning == "ab"
    (thought, _) = reply.message.parts
    assert isinstance(thought, Reasoning)
    assert thought.state is not None
    assert thought.state.data["reasoning_details"] == [item for part in details for item in part]


@pytest.mark.req("E2")
def test_reasoning_details_alone_are_text() -> None:
    """Text and summaries in details count where there is no other name for them."""
    details = [{"type": "reasoning.text", "text": "a"}, {"type": "reasoning.summary", "summary": "b"}, {"data": "x"}]
    reply = reply_of(ROLE, chunk_of({"reasoning_details": details}), text("x"), STOP, DONE)
    assert reply.reasoning == "ab"


@pytest.mark.req("E2", "E9")
def test_encrypted_reasoning_without_a_text_is_kept() -> None:
    """State without text makes a Reasoning part, too."""
    reply = reply_of(ROLE, chunk_of({"reasoning_details": [{"data": "ZW5j"}]}), text("x"), STOP, DONE)
    assert reply.reasoning == ""
    state = ProviderState("test", {"reasoning_details": [{"data": "ZW5j"}]})
    assert reply.message.parts == [Reasoning("", state), Text("x")]


@pytest.mark.req("E5")
def test_thoughts_among_the_parts_go_back_as_one_block() -> None:
    """Mistral: thinking parts with empty deltas between them are one thinking part of the turn that is sent back."""

    def thinking(text: str) -> dict[str, Any]:
        return chunk_of({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": text}]}]})

    reply = reply_of(ROLE, thinking("Let me "), chunk_of({"content": ""}), thinking("see."), text("42"), STOP, DONE)
    assert (reply.reasoning, reply.text) == ("Let me see.", "42")
    again = Request(model="m", messages=(Message("user", "Hi"), reply.message))
    turns = json.loads(ChatCodec(PROVIDER).encode(again).body)["messages"]
    assert turns[1]["content"] == [
        {"type": "thinking", "thinking": [{"type": "text", "text": "Let me see."}]},
        {"type": "text", "text": "42"},
    ]
    elsewhere = json.loads(ChatCodec("another").encode(again).body)["messages"]
    assert elsewhere[1]["content"] == "42"


@pytest.mark.req("E4")
def test_content_as_a_list_of_parts() -> None:
    """Mistral: thinking and text parts, nested lists, plain strings, and references that say nothing."""
    chunks = (
        chunk_of({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}], "closed": True}]}),
        chunk_of({"content": [{"type": "reasoning", "text": "m"}, {"type": "text", "text": "4"}]}),
        chunk_of({"content": ["2", {"type": "reference", "reference_ids": [1]}, None, {"type": "text", "text": None}]}),
        text("!"),
    )
    reply = reply_of(ROLE, *chunks, STOP, DONE)
    assert (reply.reasoning, reply.text) == ("hmm", "42!")


@pytest.mark.req("E6")
@pytest.mark.parametrize("namespace", ["google", "vertex"])
@pytest.mark.parametrize("trailing", [False, True], ids=["with the call", "on a trailing delta"])
def test_thought_signatures_stay_with_their_call(namespace: str, trailing: bool) -> None:
    """extra_content is stored on the call, verbatim, also from a later delta that has nothing else."""
    extra = {"extra_content": {namespace: {"thought_signature": "c2ln"}}}
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}
    if trailing:
        chunks = [chunk_of({"tool_calls": [call]}), chunk_of({"tool_calls": [extra]})]
    else:
        chunks = [chunk_of({"tool_calls": [{**call, **extra}]})]
    (made,) = calls_of(events_of(ROLE, *chunks, STOP, DONE))
    assert made == ToolCall("c1", "f", {}, "{}", None, ProviderState("test", extra))


@pytest.mark.req("E6")
def test_signatures_in_two_deltas_are_merged() -> None:
    """What comes later is added to what is held."""
    call = {"index": 0, "id": "c1", "extra_content": {"a": 1}, "function": {"name": "f", "arguments": "{}"}}
    chunks = [chunk_of({"tool_calls": [call]}), chunk_of({"tool_calls": [{"index": 0, "extra_content": {"b": 2}}]})]
    (made,) = calls_of(events_of(ROLE, *chunks, STOP, DONE))
    assert made.state is not None
    assert made.state.data["extra_content"] == {"b": 2}  # one key, replaced whole


# ---- E8: think tags

TAGGED = "<think>\nhm <b>, </thin k\n</think>\n\nThe <think>answer</think>"


def split(parts: list[str]) -> tuple[str, str]:
    splitter = ThinkSplitter()
    said = [splitter.feed(part) for part in parts] + [splitter.close()]
    return "".join(text for text, _ in said), "".join(thought for _, thought in said)


@pytest.mark.req("E8")
def test_every_split_of_the_tags() -> None:
    """Cut at each one place and at each two, the tagged text gives the same text and thought."""
    want = ("The <think>answer</think>", "hm <b>, </thin k")
    assert split([TAGGED]) == want
    size = len(TAGGED)
    for first in range(size):
        for second in range(first, size):
            assert split([TAGGED[:first], TAGGED[first:second], TAGGED[second:]]) == want
    assert split(list(TAGGED)) == want


TAG_WORDS = st.lists(
    st.sampled_from(["<think>", "</think>", "<", "</", "think>", "\n", " ", "x", "é", "<thin", "k>"]), max_size=10
)


@PLENTY
@pytest.mark.req("E8")
@given(TAG_WORDS, st.lists(st.integers(0, 100), max_size=8))
def test_cuts_do_not_matter_to_the_splitter(words: list[str], cuts: list[int]) -> None:
    """Any text, cut anywhere, splits as it does whole."""
    whole = "".join(words)
    places = sorted({0, len(whole), *(cut % (len(whole) + 1) for cut in cuts)})
    assert split([whole[start:end] for start, end in pairwise(places)]) == split([whole])


@pytest.mark.req("E8")
@pytest.mark.parametrize(
    ("whole", "want"),
    [
        ("no tags", ("no tags", "")),
        ("a <think>b</think>", ("a <think>b</think>", "")),
        ("<thinking>x", ("<thinking>x", "")),
        (" \n<think>a</think>b", ("b", "a")),
        ("<think></think>b", ("b", "")),
        ("<think>open", ("", "open")),
        ("<think>open</thi", ("", "open</thi")),
        ("<thi", ("<thi", "")),
        ("  ", ("  ", "")),
        ("<think>a</think>\n\n", ("", "a")),
        ("<think>a</think></think>", ("</think>", "a")),
    ],
)
def test_think_tags(whole: str, want: tuple[str, str]) -> None:
    """Only a tag at the start counts; one that never closes is thought, one that never opens is text."""
    assert split([whole]) == want


@pytest.mark.req("E8")
def test_an_open_thought_is_not_lost_when_the_stream_breaks() -> None:
    """What was held back for a tag comes out before the error, and at the normal end."""
    broken = decode(sse(ROLE, text("<think>hm</th")), quirks=THINK)
    assert "".join(event.text for event in broken if isinstance(event, ReasoningDelta)) == "hm</th"
    assert reply_of(ROLE, text("<thi"), STOP, DONE, quirks=THINK).text == "<thi"


@pytest.mark.req("E8")
def test_tags_are_text_by_default() -> None:
    """Nobody asked for splitting: what the model wrote is its answer."""
    assert reply_of(ROLE, text("<think>a</think>b"), STOP, DONE).text == "<think>a</think>b"


# ---- G: null and odd shapes


@pytest.mark.req("G1")
def test_a_chunk_of_filter_results_is_no_start() -> None:
    """choices [] and an empty id: nothing is made of it, and it is there raw."""
    first = {"choices": [], "id": "", "model": "", "object": "", "prompt_filter_results": [{"prompt_index": 0}]}
    events = events_of(first, ROLE, text("a"), STOP, DONE)
    assert events[0] == StreamStart("m", "chatcmpl-1", "test")
    assert merged(events) == merged(events_of(ROLE, text("a"), STOP, DONE))
    assert raws_of(events_of(first, ROLE, STOP, DONE, raw=True)) == [first]


@pytest.mark.req("G2")
@pytest.mark.parametrize("delta", [None, {}, [], "x", 1])
def test_a_delta_that_is_no_object_is_ignored(delta: Any) -> None:
    """`delta: null` and worse, in the middle and in the chunk that ends."""
    odd = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    end = {"choices": [{"index": 0, "delta": delta, "finish_reason": "stop"}]}
    assert reply_of(ROLE, odd, text("a"), end, DONE).text == "a"
    assert reply_of(odd, text("a"), end).text == "a"


@pytest.mark.req("G3")
def test_nulls_and_odd_types_are_tolerated() -> None:
    """Content and calls null, role everywhere or null, created a float, model null, an id that changes."""
    delta = {"role": None, "content": None, "tool_calls": None, "refusal": None, "function_call": None}
    chunks = [
        {"id": f"x{at}", "created": 1.5, "model": None, "choices": [{"index": None, "delta": {**delta, **part}}]}
        for at, part in enumerate(({}, {"content": "a", "role": "assistant"}, {"content": "b", "role": "assistant"}))
    ]
    events = events_of(*chunks, STOP, DONE)
    assert events[0] == StreamStart("m", "x0", "test")
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a", "b"]


@pytest.mark.req("G4")
def test_what_is_unknown_is_ignored_and_available() -> None:
    """Unknown fields at each level change no event, and the chunk is there as a raw event, where asked for."""
    odd = chunk_of({"content": "a", "shiny_delta": 1}, obfuscation="xyz")
    hologram = chunk_of({}, hologram={"depth": 3})
    logged = {"choices": [{"index": 0, "delta": {"content": "b"}, "logprobs": {"content": []}}]}
    frames = (ROLE, odd, hologram, logged, text("c"), STOP, DONE)
    assert reply_of(*frames).text == "abc"
    assert raws_of(events_of(*frames)) == []
    assert raws_of(events_of(*frames, raw=True)) == [odd, hologram, logged]


@pytest.mark.req("G4")
@pytest.mark.parametrize(
    "odd",
    [
        {"choices": [None]},
        {"choices": [{"index": 1, "delta": {"content": "other"}}]},
        {"choices": [{"index": 0, "message": {"content": [{"type": "text", "text": ""}]}}]},
    ],
)
def test_other_choices_and_parts_are_raw(odd: dict[str, Any]) -> None:
    """What belongs to a second answer, or comes as parts, is kept raw; the first answer is what it was."""
    events = events_of(ROLE, odd, text("a"), STOP, DONE, raw=True)
    assert raws_of(events) == [odd]
    assert [event.text for event in events if isinstance(event, TextDelta)] == ["a"]


def test_a_refusal_is_its_own_channel() -> None:
    """`delta.refusal` is neither text nor error; a character cut in two is whole."""
    frames = [f"data: {json.dumps(chunk_of({'refusal': part}))}\n\n" for part in ("No \ud83d", "\ude00", "\ud83d")]
    events = events_of(ROLE, *frames, STOP, DONE)
    assert "".join(event.text for event in events if isinstance(event, RefusalDelta)) == "No 😀\ufffd"
    assert isinstance(events[-1], Finish)


@pytest.mark.req("A3", "E1")
def test_characters_cut_between_deltas_are_whole() -> None:
    """Text and reasoning of servers that cut UTF-16 in two; the halves of each channel find each other."""
    deltas = (
        {"content": "a\ud83d", "reasoning": "r\ud83d"},
        {"reasoning": "\ude00\ud800"},
        {"content": "\ude00b\udfff"},
    )
    frames = [f"data: {json.dumps(chunk_of(delta))}\n\n" for delta in deltas]
    reply = reply_of(ROLE, *frames, text("c"), STOP, DONE)
    assert (reply.text, reply.reasoning) == ("a😀b\ufffdc", "r😀\ufffd")


def test_the_legacy_completions_form_is_read() -> None:
    """`choices[].text` is text."""
    chunks = [{"choices": [{"index": 0, "text": part, "finish_reason": None}]} for part in "ab"]
    assert reply_of(*chunks, {"choices": [{"text": "", "finish_reason": "stop"}]}, DONE).text == "ab"
