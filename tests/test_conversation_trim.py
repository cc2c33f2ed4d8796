"""A Conversation forgets its oldest turns, and what is left can be sent."""

from __future__ import annotations

from typing import Any

import pytest
from _histories import MANY, any_history, faults_of, good_histories
from hypothesis import given
from hypothesis import strategies as st

from asyncllm import Conversation
from asyncllm._repair import repaired
from asyncllm.events import File, Image, InvalidRequestError, Message, Text, ToolCall, ToolResult


def chat(turns: int) -> list[Message]:
    """Ten tokens a message, forty a turn."""
    call = ToolCall("c", "look", {}, "x" * 36)
    return [
        message
        for _ in range(turns)
        for message in (
            Message("user", "u" * 40),
            Message("assistant", [call]),
            Message("tool", [ToolResult("c", "look", "r" * 40)]),
            Message("assistant", "a" * 40),
        )
    ]


@pytest.mark.parametrize(
    ("limits", "turns"),
    [
        ({"max_tokens": 170}, 4),
        ({"max_tokens": 169}, 3),
        ({"max_tokens": 90}, 2),
        ({"max_tokens": 1}, 1),
        ({"max_turns": 3}, 3),
        ({"max_turns": 9}, 4),
        ({"max_turns": 2, "max_tokens": 170}, 2),
        ({"max_turns": 3, "max_tokens": 90}, 2),
        ({"max_tokens": 13, "count": lambda message: 1}, 3),
    ],
)
def test_the_oldest_turns_are_forgotten(limits: dict[str, Any], turns: int) -> None:
    """Whole ones, as few as it takes; the system message stays and counts; the last turn always stays."""
    system = Message("system", "s" * 40)
    conversation = Conversation([system, *chat(4)])
    dropped = conversation.trim(**limits)
    assert list(conversation) == [system, *chat(turns)]
    assert dropped == chat(4 - turns)


@pytest.mark.parametrize("wrong", [{}, {"max_turns": 0}, {"max_tokens": -1}, {"max_tokens": 1.5}, {"max_turns": True}])
def test_limits_that_make_no_sense(wrong: dict[str, Any]) -> None:
    """Are told, and nothing is forgotten."""
    conversation = Conversation(chat(2))
    with pytest.raises(InvalidRequestError):
        conversation.trim(**wrong)
    assert list(conversation) == chat(2)


def test_media_count_as_a_flat_number() -> None:
    """In a turn and in a result, whatever their size."""
    asked = Message("assistant", [ToolCall("a", "look", {"n": 1}, ""), ToolCall("b", "look", {"n": 2}, "")])
    past = [Message("user", [Text("x" * 40), Image(data=b"0" * 10**6), File(b"1")]), asked]
    past.append(
        Message(
            "tool", [ToolResult("a", "look", [Image(url="https://h/"), Text("y" * 40)]), ToolResult("b", "look", "")]
        )
    )
    whole = [*past, Message("assistant", "Well."), Message("user", "Hi")]
    conversation = Conversation(whole)
    assert conversation.trim(max_tokens=3040) == []
    assert conversation.trim(max_tokens=3000) == whole[:-1]


@MANY
@given(any_history | good_histories(), st.integers(1, 60), st.none() | st.integers(1, 4))
def test_what_is_left_can_be_sent(history: list[Message], tokens: int, turns: int | None) -> None:
    """It begins with a question, no call is without its result, no system message is gone, nothing is lost in between."""
    conversation = Conversation(history) if history else Conversation()
    mended = repaired(history)[0]
    dropped = conversation.trim(tokens, turns)
    assert not list(faults_of(conversation))
    said = [message for message in conversation if message.role != "system"]
    assert [*dropped, *said] == [message for message in mended if message.role != "system"]
    assert [message for message in conversation if message.role == "system"] == [
        message for message in mended if message.role == "system"
    ]
    assert not said or said[0].role == "user"
    assert bool(said) == any(message.role == "user" for message in mended)
