"""A chat application keeps its history in a Conversation: it goes into every call as it is, and no call is ever refused."""

from __future__ import annotations

from typing import Any

import pytest
from _histories import MANY, any_history, faults_of, keeps
from _runs import serving
from hypothesis import given
from hypothesis import strategies as st

from asyncllm import Client, Conversation
from asyncllm._input import messages_from
from asyncllm._repair import INTERRUPTED, repaired
from asyncllm.events import (
    Finish,
    Fold,
    Input,
    InvalidRequestError,
    LLMError,
    Message,
    Reply,
    ServerError,
    StreamError,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolResult,
)
from asyncllm.protocols import Tool
from asyncllm.testing import Answer, NoDone, NoFinish, ReceivedRequest, Server, TruncatedChunk

HI = Message("user", "Hi")
CALL = ToolCall("a", "look", {"n": 1}, "")
OTHER = ToolCall("b", "look", {"n": 2}, "")
LOOK = Tool("look", "Look.", {"type": "object", "properties": {"n": {"type": "integer"}}})
ASKED = Message("assistant", [CALL, OTHER])


def result(call: ToolCall, text: str = "21 degrees", **more: Any) -> ToolResult:
    return ToolResult(call.id, call.name, text, **more)


def reply(*events: Any, before: Any = ()) -> Reply[object]:
    fold = Fold()
    fold.extend([StreamStart("m"), *events])
    return fold.reply(before=list(before))


# ---- a sequence of messages, and what is appended


def test_it_is_a_sequence_of_messages() -> None:
    """Length, items, slices, iteration, equality; the system message comes first; its repr says nothing of what was said."""
    conversation = Conversation([HI, Message("assistant", "Hello")], system="Be brief.")
    assert list(conversation) == [Message("system", "Be brief."), HI, Message("assistant", "Hello")]
    assert (len(conversation), conversation[1], conversation[-1].text) == (3, HI, "Hello")
    assert conversation[:2] == [Message("system", "Be brief."), HI]
    assert HI in conversation
    assert conversation == Conversation(conversation)
    assert conversation != Conversation()
    assert conversation != list(conversation)
    assert repr(conversation) == "<Conversation of 3 messages>"
    assert (
        list(Conversation("Hi"))
        == list(Conversation(HI))
        == list(Conversation([{"role": "user", "content": "Hi"}]))
        == [HI]
    )
    with pytest.raises(InvalidRequestError, match=r"messages\[1\]"):
        Conversation([HI, 1])  # type: ignore[list-item]


def test_what_can_be_appended() -> None:
    """A question, a message, a reply, the results of calls; anything else, and a blank question, is a typed error."""
    conversation = Conversation()
    conversation.append("Hi")
    conversation.append(reply(TextDelta("Look"), CALL, OTHER, Finish("tool_calls"), before=conversation))
    conversation.append(result(OTHER))
    conversation.append(result(CALL))
    conversation.append(Message("assistant", "Sunny."))
    assert list(conversation) == [
        HI,
        Message("assistant", [Text("Look"), CALL, OTHER]),
        Message("tool", [result(CALL), result(OTHER)]),
        Message("assistant", "Sunny."),
    ]
    for wrong in (" \n", 1, None, ["Hi"], {"role": "user", "content": "Hi"}):
        with pytest.raises(InvalidRequestError):
            conversation.append(wrong)  # type: ignore[arg-type]
    assert len(conversation) == 4


RUN = [CALL, Finish("tool_calls"), result(CALL), StreamStart("m"), TextDelta("Sunny."), Finish("stop")]
TURNS = [Message("assistant", [CALL]), Message("tool", [result(CALL)]), Message("assistant", "Sunny.")]


def test_a_reply_adds_what_it_added() -> None:
    """The turns of the run, once: whether it was asked with the conversation, a trimmed one, other words, or by itself."""
    past = [HI, Message("assistant", "Hello"), Message("user", "Rain?")]
    for before in (past, past[2:], [Message("system", "x"), past[2]], [*past[:2], Message("user", "Facts. Rain?")]):
        conversation = Conversation(past)
        conversation.append(reply(*RUN, before=before))
        assert list(conversation) == [*past, *TURNS]
    conversation = Conversation(past)
    conversation.append(reply(*RUN, before=[*past, Message("user", "And Rome?")]))
    assert list(conversation) == [*past, Message("user", "And Rome?"), *TURNS]
    for start in ([], [Message("system", "x")], past[:2]):
        conversation = Conversation(start)
        conversation.append(reply(*RUN, before=[Message("user", "Rain?")]))
        assert list(conversation) == [*start, Message("user", "Rain?"), *TURNS]


def test_a_reply_made_by_hand() -> None:
    """Without `messages` it is its message."""
    conversation = Conversation([HI])
    conversation.append(Reply(message=Message("assistant", "Hello"), finish_reason="stop"))
    conversation.append(Reply(message=Message("assistant", "Bye"), messages=[Message("assistant", "Bye")]))
    assert [message.text for message in conversation] == ["Hi", "Hello", "Bye"]


@pytest.mark.req("D15")
def test_a_run_of_a_history_that_was_mended() -> None:
    """The reply of a run begins with the mended form of what it was given; nothing is there twice."""
    broken = [HI, ASKED, Message("user", "And now?")]
    conversation = Conversation(broken)
    assert list(conversation) == broken
    conversation.append(reply(*RUN, before=repaired(broken)[0]))
    assert list(conversation) == [*repaired(broken)[0], *TURNS]


@pytest.mark.req("D15", "seed-B9")
def test_what_was_interrupted_is_mended() -> None:
    """Calls of a whole answer wait, and are answered with an error when something else is said; those of a broken or a cut one
    will not be made. A late result is moved to its call; what brought nothing leaves nothing."""
    errors = Message("tool", [result(CALL, INTERRUPTED, is_error=True), result(OTHER, INTERRUPTED, is_error=True)])
    conversation = Conversation([HI])
    conversation.append(reply(CALL, OTHER, Finish("tool_calls"), before=conversation))
    assert list(conversation) == [HI, ASKED]
    for end in ([], [Finish("length")]):
        broken = Conversation([HI])
        broken.append(reply(CALL, OTHER, *end, before=broken))
        assert list(broken) == [HI, ASKED, errors]
    conversation.append("And Rome?")
    assert list(conversation) == [HI, ASKED, errors, Message("user", "And Rome?")]
    conversation.append(reply(TextDelta("Wait."), Finish("stop"), before=conversation))
    conversation.append(result(OTHER))
    assert conversation[2] == Message("tool", [result(CALL, INTERRUPTED, is_error=True), result(OTHER)])
    assert [message.text for message in conversation[3:]] == ["And Rome?", "Wait."]
    before = list(conversation)
    conversation.append(reply(before=before))
    assert list(conversation) == before
    conversation.append(Message("assistant", [ToolCall("", "look", {})]))
    conversation.append(ToolResult("", "look", "seen"))
    assert conversation[-1].parts == [ToolResult("call_1", "look", "seen")]


appended = st.one_of(
    st.text(min_size=1).filter(str.strip),
    st.sampled_from([result(CALL), result(OTHER), result(CALL, "again"), ASKED, HI, Message("assistant", "")]),
    st.sampled_from(
        [(CALL, Finish("tool_calls")), (TextDelta("x"), OTHER), (), (TextDelta("x"), Finish("stop")), tuple(RUN)]
    ),
)


@pytest.mark.req("D15")
@MANY
@given(any_history, st.lists(appended, min_size=1, max_size=8))
def test_whatever_is_appended_can_be_sent(history: list[Message], steps: list[Any]) -> None:
    """After each step the history is one that providers take, and everything that was said is in it."""
    conversation = Conversation(history) if history else Conversation()
    said = list(history)
    for step in steps:
        item = reply(*step, before=conversation) if isinstance(step, tuple) else step
        before = list(conversation)
        conversation.append(item)
        said += (
            [item.message]
            if isinstance(item, Reply)
            else messages_from([item] if isinstance(item, ToolResult) else item)
        )
        assert not list(faults_of(conversation)), before
        assert not keeps(said, conversation) - {INTERRUPTED}
        assert repaired(conversation) == (tuple(conversation), ())


def test_a_fork_goes_its_own_way() -> None:
    """Neither sees what the other is told."""
    conversation = Conversation([HI, ASKED])
    fork = conversation.fork()
    conversation.append(result(CALL))
    fork.append("Never mind.")
    assert [message.role for message in conversation] == ["user", "assistant", "tool"]
    assert [message.role for message in fork] == ["user", "assistant", "tool", "user"]
    assert fork[2] != conversation[2]


def test_a_long_chat_costs_its_length(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is mended when something is appended is the end of the conversation, not all of it."""
    seen = []

    def counted(messages: Any, **options: Any) -> Any:
        seen.append(len(messages))
        return repaired(messages, **options)

    monkeypatch.setattr("asyncllm._conversation.repaired", counted)
    conversation = Conversation([Message("user", "Hi"), Message("assistant", "Hello")] * 100)
    for at in range(100):
        conversation.append(f"question {at}")
        conversation.append(reply(CALL, Finish("tool_calls"), before=conversation))
        conversation.append(result(CALL))
        conversation.append(reply(TextDelta("Well."), Finish("stop"), before=conversation))
    assert len(conversation) == 600
    assert sum(size for size in seen if size > 4) == 201


# ---- results among the messages of a call


def test_results_are_input() -> None:
    """Those in a row are one message; a paused run is resumed with what was said and the results."""
    given: Input = [HI, ASKED, result(CALL), result(OTHER), {"role": "user", "content": "So?"}, result(CALL)]
    results = Message("tool", [result(CALL), result(OTHER)])
    assert messages_from(given) == (HI, ASKED, results, Message("user", "So?"), Message("tool", [result(CALL)]))
    assert messages_from([ASKED, Message("tool", [result(CALL)]), result(OTHER)])[1:] == (
        Message("tool", [result(CALL)]),
        Message("tool", [result(OTHER)]),
    )
    with pytest.raises(InvalidRequestError, match="a Message, a ToolResult or a dict"):
        messages_from([HI, CALL])  # type: ignore[list-item]


def test_a_conversation_is_input() -> None:
    """As it is; an empty one says what is missing."""
    assert messages_from(Conversation([HI])) == (HI,)
    with pytest.raises(InvalidRequestError, match="there are no messages"):
        messages_from(Conversation())


# ---- with servers

WIRES = {
    "openai-compatible/m": "openai_chat",
    "anthropic/claude-sonnet-5": "anthropic",
    "gemini/gemini-3-flash": "gemini",
}
each_wire = pytest.mark.parametrize("model", WIRES)


def client_of(model: str, server: Server) -> Client:
    return Client(model, base_url=server.base_url, api_key="any", retry=0, timeout=20)


def heard(request: ReceivedRequest) -> list[Message]:
    return [message for message in request.asked.messages if message.role != "system"]


def by_question(request: ReceivedRequest) -> Answer:
    last = request.asked.messages[-1]
    if last.role == "tool":
        return Answer.text(f"It is {last.parts[0].text}.")  # type: ignore[union-attr]
    return Answer.tool_call("look", {"n": 1}) if "look" in last.text else Answer.text(f"Re: {last.text}")


@each_wire
async def test_a_chat_over_many_turns(model: str) -> None:
    """Questions, a tool exchange, a trim, and on: the server hears each time exactly what the conversation holds."""
    async with Server(by_question) as server, client_of(model, server) as client:
        conversation = Conversation(system="Be brief.")
        for question in ("one", "two"):
            conversation.append(question)
            conversation.append(await client.complete(conversation))
        conversation.append("look")
        asked = await client.complete(conversation, tools=[LOOK])
        conversation.append(asked)
        (call,) = asked.tool_calls
        conversation.append(ToolResult(call.id, call.name, "21 degrees"))
        async with client.stream(conversation, tools=[LOOK]) as stream:
            conversation.append(await stream.reply())
        assert len(conversation.trim(max_turns=1)) == 4
        conversation.append("three")
        conversation.append(await client.complete(conversation, tools=[LOOK]))
        roles = ["system", "user", "assistant", "tool", "assistant", "user", "assistant"]
        assert [message.role for message in conversation] == roles
        last = heard(server.requests[-1])
        assert [message.text for message in conversation][1:] == [
            "look",
            "",
            "",
            "It is 21 degrees.",
            "three",
            "Re: three",
        ]
        assert [message.text for message in last] == ["look", "", "", "It is 21 degrees.", "three"]
        (result,) = last[2].parts
        assert isinstance(result, ToolResult)
        assert result.text == "21 degrees"
        assert [len(heard(request)) for request in server.requests] == [1, 3, 5, 7, 5]


@each_wire
async def test_a_run_goes_into_the_conversation(model: str) -> None:
    """With every call and result of it, once; the next run goes on from there."""

    def look(n: int) -> str:
        """Look."""
        return f"{20 + n} degrees"

    async with Server(by_question) as server, client_of(model, server) as client:
        conversation = Conversation(system="Be brief.")
        for _ in range(2):
            conversation.append("look")
            async with client.run(conversation, tools=[look]) as run:
                conversation.append(await run.reply())
    assert [message.role for message in conversation] == ["system", *["user", "assistant", "tool", "assistant"] * 2]
    assert [message.text for message in conversation][4::4] == ["It is 21 degrees."] * 2
    assert [len(heard(request)) for request in server.requests] == [1, 3, 5, 7]
    assert not list(faults_of(conversation))


@pytest.mark.req("D15")
@each_wire
async def test_after_a_stream_that_broke_the_chat_goes_on(model: str) -> None:
    """In the middle of a text, of a call, or after a whole call: what arrived is kept, and the next calls are taken."""
    half = ToolCallDelta(0, "c", "look", '{"n":')
    said = [["It is sunny"], ["Look: ", half], [CALL], [CALL, OTHER, "And"]]
    broken = [
        Answer(what, faults=[NoFinish(), NoDone(), TruncatedChunk()])
        if torn
        else Answer([*what, StreamError(ServerError())])
        for what in said
        for torn in (True, False)
    ]
    for answer in broken:
        async with Server([answer, Answer.text("Well.")]) as server, client_of(model, server) as client:
            conversation = Conversation(HI)
            with pytest.raises(LLMError) as caught:
                await client.complete(conversation, tools=[LOOK])
            assert caught.value.partial is not None
            assert caught.value.partial.message.parts
            conversation.append(caught.value.partial)
            assert not list(faults_of([*conversation, HI]))
            for again in (conversation, [*conversation, Message("user", "Go on.")]):
                assert (await client.complete(again, tools=[LOOK])).text == "Well."
            last = heard(server.requests[-1])
            calls = [part for message in last for part in message.parts if isinstance(part, ToolCall)]
            results = [part for message in last for part in message.parts if isinstance(part, ToolResult)]
            assert len(calls) == len(results)


async def test_calls_that_only_the_caller_executes() -> None:
    """A paused run: the results are appended, and running the conversation goes on."""
    async with serving(by_question) as (_, client):
        conversation = Conversation("look")
        async with client.run(conversation, tools=[LOOK]) as run:
            paused = await run.reply()
        conversation.append(paused)
        assert paused.stopped == "needs_results"
        (call,) = paused.tool_calls
        answer = ToolResult(call.id, call.name, "rain")
        async with client.run([*paused.messages, answer], tools=[LOOK]) as run:
            assert (await run.reply()).text == "It is rain."
        conversation.append(answer)
        async with client.run(conversation, tools=[LOOK]) as run:
            conversation.append(await run.reply())
        assert conversation[-1].text == "It is rain."
        assert len(conversation) == 4
