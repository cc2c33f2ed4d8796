"""Histories of any kind, for tests that must hold for all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hypothesis import settings
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    File,
    Image,
    Message,
    Part,
    ProviderState,
    Reasoning,
    Text,
    ToolCall,
    ToolResult,
)

MANY = settings(max_examples=100, deadline=None, derandomize=True, database=None)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(st.text(max_size=3), json_values, max_size=3)
states = st.none() | st.builds(ProviderState, st.sampled_from(["one", "two"]), objects, st.booleans())
words = st.text(max_size=6) | st.sampled_from(["", " ", "word", "two\nlines"])
ids = st.sampled_from(["a", "b", "c", ""])
names = st.sampled_from(["look", "find"])

texts = st.builds(Text, words, states)
images = st.builds(Image, data=st.binary(min_size=1, max_size=4), state=states)
links = st.builds(Image, url=st.just("https://example.org/a.png"), detail=st.sampled_from([None, "low"]))
calls = st.builds(
    ToolCall,
    ids,
    names,
    objects,
    st.just(""),
    st.sampled_from([None, None, "it was cut"]),
    states,
    st.sampled_from([False, False, True]),
)
results = st.builds(
    ToolResult, ids, names, words | st.lists(st.builds(Text, words) | images, max_size=2), st.booleans(), states
)
others = st.builds(Audio, st.binary(max_size=4)) | st.builds(File, st.binary(max_size=4)) | links
spoken = texts | images | st.builds(Reasoning, words, states) | calls | results
"""Parts that every wire has heard of."""


def messages(parts: st.SearchStrategy[Part]) -> st.SearchStrategy[Message]:
    any_role = st.sampled_from(["user", "assistant", "tool", "system"])
    mixed = st.builds(Message, any_role, words | st.lists(parts, max_size=4), st.none())
    turn = st.builds(Message, st.just("assistant"), st.lists(texts | calls, max_size=3))
    told = st.builds(Message, st.just("tool"), st.lists(results, max_size=3))
    said = st.builds(Message, st.just("user"), words)
    return mixed | turn | told | said


any_history = st.lists(messages(spoken | others), max_size=8)
every_wires_history = st.lists(messages(spoken), max_size=8)


@st.composite
def good_histories(draw: st.DrawFn) -> list[Message]:
    """Questions, answers, and calls that are all answered; ids come again in other turns."""
    history: list[Message] = [Message("system", "Be brief.")] if draw(st.booleans()) else []
    for at in range(draw(st.integers(1, 4))):
        history.append(Message("user", f"question {at}"))
        for _ in range(draw(st.integers(0, 2))):
            asked = [ToolCall(f"call_{n}", "look", {"n": n}, "") for n in range(draw(st.integers(1, 3)))]
            thought: list[Part] = [Reasoning("hm", ProviderState("one", {"signature": "s"}))]
            history.append(Message("assistant", [*thought, Text("I look."), *asked]))
            told = [ToolResult(call.id, call.name, f"result {at}", draw(st.booleans())) for call in asked]
            cut = draw(st.integers(0, len(told)))
            history += [Message("tool", list(half)) for half in (told[:cut], told[cut:]) if half]
        history.append(Message("assistant", f"answer {at}"))
    return history


def faults_of(history: Sequence[Message]) -> Iterator[str]:
    """What a strict provider would say against a history. Written without a look at how it is repaired."""
    open_calls: list[str] = []  # of the turn before
    told: list[str] = []
    for at, message in enumerate([*history, None]):
        if message is not None and message.role == "tool":
            if not message.parts:
                yield f"{at}: a tool message without results"
            for part in message.parts:
                if not isinstance(part, ToolResult):
                    yield f"{at}: {part} in a tool message"
                elif part.id not in open_calls:
                    yield f"{at}: the result {part.id} has no call in the turn before"
                elif part.id in told:
                    yield f"{at}: a second result {part.id}"
                else:
                    told.append(part.id)
            continue
        if message is None:
            return
        if told != open_calls:
            yield f"{at}: before it, {open_calls} were called and {told} told, in this order"
        told, open_calls = [], []
        if not message.parts or (message.role == "user" and not message.text.strip() and _only_text(message)):
            yield f"{at}: a ghost"
        ran: set[str] = set()
        for part in message.parts:
            if isinstance(part, ToolCall) and part.executed:
                ran.add(part.id)
            if isinstance(part, ToolCall | Reasoning) and message.role != "assistant":
                yield f"{at}: {part} in a {message.role} message"
            if isinstance(part, ToolCall) and not part.executed:
                if not part.id:
                    yield f"{at}: a call without an id"
                if part.id in open_calls:
                    yield f"{at}: the id {part.id} twice in one turn"
                open_calls.append(part.id)
            if isinstance(part, ToolResult) and (
                message.role != "assistant" or (part.state is None and part.id not in ran)
            ):
                yield f"{at}: a result in a {message.role} message"


def _only_text(message: Message) -> bool:
    return all(isinstance(part, Text) for part in message.parts)


def said_in(history: Sequence[Message]) -> set[str]:
    """All texts that are not blank, of turns and of results; bytes by their repr."""
    found: set[str] = set()
    for message in history:
        for part in message.parts:
            inner = part.content if isinstance(part, ToolResult) else [part]
            for item in [Text(inner)] if isinstance(inner, str) else inner:
                if isinstance(item, Text | Reasoning):
                    found.add(item.text)
                elif isinstance(item, Image | Audio | File):
                    found.add(repr((item.data, getattr(item, "url", None))))
    return {text for text in found if text.strip()}


def keeps(before: Sequence[Message], after: Sequence[Message]) -> set[str]:
    """What was said before and is nowhere in what there is after. (A result may have become a part of a longer text.)"""
    there = said_in(after)
    whole = "\0".join(there)
    return {text for text in said_in(before) if text not in there and text not in whole}
