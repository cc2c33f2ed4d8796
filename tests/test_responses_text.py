"""Text, sources and reasoning of the Responses API: each character once, in its place, and kept whole for replay."""

from __future__ import annotations

import json
from typing import Any

import pytest
from _responses import (
    CREATED,
    RESPONSES,
    STORED,
    Event,
    added,
    body_of,
    built_in,
    delta,
    done,
    ended,
    events_of,
    function,
    message,
    reply_of,
    response,
    said,
)

from asyncllm.events import Citation, Reasoning, ReasoningDelta, Text, fold

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
