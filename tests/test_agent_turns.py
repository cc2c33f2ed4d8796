"""What a conversation means to an agent that keeps it itself."""

from __future__ import annotations

import msgspec
import pytest

from asyncllm import (
    Conversation,
    Image,
    InvalidRequestError,
    Message,
    Reasoning,
    Reply,
    Session,
    Text,
    ToolCall,
    ToolResult,
    fold,
)
from asyncllm.events import Finish, ProviderState, StreamStart, TextDelta
from asyncllm.protocols import Request
from asyncllm.protocols.agents._turn import TOLD, Turn, mark, results_turn, turn_of

pytestmark = pytest.mark.req("seed-F3")

WHERE = Session(backend="robot", id="s1", cwd="/work", turn="t1")


def asked(*messages: Message, **options: object) -> Request:
    return Request(model="m", messages=messages, **options)  # type: ignore[arg-type]


def turn(*messages: Message, **options: object) -> Turn:
    return turn_of(asked(*messages, **options), "robot")


def user(text: str) -> Message:
    return Message("user", text)


def answer(text: str, session: Session | None = WHERE) -> Message:
    """The agent's turn, with what leads back to its session."""
    return Message("assistant", [Text(text, None if session is None else mark(session))])


def test_a_question_is_a_new_session() -> None:
    first = turn(Message("system", "Be brief."), user("Hi"), system="Be good.")
    assert (first.session, first.text, first.system, first.warnings) == (None, "Hi", "Be good.\n\nBe brief.", ())


def test_the_messages_lead_back_to_the_session() -> None:
    """What the agent said carries the mark; only what follows is said to it."""
    following = turn(user("Hi"), answer("Hello"), user("And?"), Message("user", [Image(url="https://x/i.png")]))
    assert following.session == WHERE
    assert following.parts == (Text("And?"), Image(url="https://x/i.png"))
    assert following.warnings == ()


def test_the_last_turn_of_this_agent_counts() -> None:
    later = msgspec.structs.replace(WHERE, turn="t2")
    elsewhere = Message("assistant", [Text("x", ProviderState("other", {"session": "s9"}))])
    following = turn(user("a"), answer("b"), user("c"), answer("d", later), user("e"), elsewhere, user("f"))
    assert following.session == later
    assert following.text.endswith("\n\nf")
    assert "[user] e" in following.text
    assert "[user] c" not in following.text
    assert following.warnings == (TOLD,)


def test_a_session_that_is_given_brings_its_state() -> None:
    """The state belongs to the session that the messages name; where they stand is said by the messages."""
    given = Session(backend="robot", id="s1", cwd="/there", turn="t7", state=b"all")
    assert turn(user("Hi"), answer("Hello"), user("On"), session=given).session == msgspec.structs.replace(
        given, turn="t1"
    )
    assert turn(user("On"), session=given).session == given
    alone = turn(user("Hi"), answer("Hello", None), user("On"), session=given)
    assert (alone.session, alone.text, alone.warnings) == (given, "On", ())
    other = Session(backend="other", id="s1")
    assert turn(user("On"), session=other).session is None


def test_a_conversation_with_others_is_told() -> None:
    """Nothing of it is lost, and it is said that it was told."""
    call = ToolCall("c1", "add", {"a": 1}, '{"a": 1}')
    before = Message("assistant", [Reasoning("secret"), Text("Let me see."), call])
    result = Message("tool", [ToolResult("c1", "add", "3")])
    told = turn(user("1+2?"), before, result, user("So?"))
    assert told.session is None
    assert told.text.splitlines() == [
        "This is what was said before:",
        "",
        "[user] 1+2?",
        "[assistant] Let me see.",
        '[assistant] (calls add with {"a": 1})',
        "[result of add] 3",
        "",
        "So?",
    ]
    assert told.warnings == (TOLD,)
    assert turn(user("1+2?"), before, result).text.endswith("[result of add] 3\n\nGo on from there.")


def test_results_of_a_turn_that_stands_still() -> None:
    """They alone; what is said after them is not lost."""
    call = Message("assistant", [ToolCall("c1", "add", {})])
    first = results_turn(asked(user("?"), call, Message("tool", [ToolResult("c1", "add", "3")])))
    assert first is not None
    assert first.results == (ToolResult("c1", "add", "3"),)
    said = results_turn(asked(user("?"), call, Message("tool", [ToolResult("c1", "add", "3")]), user("Be quick.")))
    assert said is not None
    assert said.results[0].text == "3\n\nThe user says:\n\nBe quick."
    assert results_turn(asked(user("?"))) is None


def test_options_that_no_agent_has() -> None:
    warned = turn(user("Hi"), temperature=0.5, seed=1)
    assert warned.warnings == ("robot knows no temperature: left out", "robot knows no seed: left out")
    with pytest.raises(InvalidRequestError, match="robot knows no stop"):
        turn_of(asked(user("Hi"), stop=("x",)), "robot", ("stop",))


def test_nothing_new() -> None:
    with pytest.raises(InvalidRequestError, match="nothing new to say"):
        turn(user("Hi"), answer("Hello"))


# ---- sessions as data


def test_a_session_travels() -> None:
    whole = Session(backend="robot", id="s1", cwd="/w", turn="t", state=b"\x00\xff", data={"n": 1})
    assert Session.from_json(whole.to_json()) == whole
    assert whole.forked() == msgspec.structs.replace(whole, fork=True)
    assert "2 bytes" in repr(whole)
    for bad in (b"", b"[]", b'{"type": "session"}', b"\xff"):
        with pytest.raises(InvalidRequestError, match="not a session"):
            Session.from_json(bad)


def test_the_last_session_is_that_of_the_reply() -> None:
    early, late = Session(backend="robot", id="s1"), WHERE
    reply = fold([StreamStart("m"), early, TextDelta("Hi"), late, Finish("stop")])
    assert reply.session == late
    assert fold([StreamStart("m")]).session is None


def test_a_conversation_keeps_the_session() -> None:
    conversation = Conversation()
    conversation.append("Hi")
    conversation.append(Reply(message=answer("Hello"), messages=[user("Hi"), answer("Hello")], session=WHERE))
    conversation.append("And?")
    back = Conversation.from_json(conversation.to_json())
    assert back.session == conversation.session == conversation.fork().session == WHERE
    assert back == conversation
    assert turn_of(asked(*back, session=back.session), "robot").session == WHERE
