"""A Conversation survives its file: whole, private, never half written; and a file that is none is said to be so."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import msgspec
import pytest
from _histories import MANY, any_history
from hypothesis import example, given

from asyncllm import Client, Conversation, LLMError
from asyncllm.events import InvalidRequestError, Message, ProviderState, Reasoning, Text, ToolCall, ToolResult
from asyncllm.testing import Answer, Server

HI = Message("user", "Hi")


@MANY
@given(any_history)
@example(
    [Message("user", "half \ud83d"), Message("assistant", [ToolCall("a", "t", {"n": 10**30, "\udc00": None}, "")])]
)
@example([Message("assistant", "\x00\u2028\x1b"), Message("user", "", "Ann")])
def test_everything_comes_back(history: list[Message]) -> None:
    """Bytes, state of providers, numbers of any size, and half characters; the same text gives the same conversation."""
    conversation = Conversation(history) if history else Conversation()
    data = conversation.to_json()
    again = Conversation.from_json(data)
    assert list(again) == history
    assert again.to_json() == data
    assert Conversation.from_json(data.decode()) == again


def test_the_form_is_json_that_others_can_read() -> None:
    """Marked with what it is and its version."""
    found = json.loads(Conversation([Message("user", "Grüße")]).to_json())
    assert found["asyncllm"] == "conversation"
    assert found["version"] == 1
    assert found["messages"][0]["content"] == "Grüße"


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"{", "not JSON"),
        (b"[]", "not a saved conversation"),
        (b'{"messages": []}', "not a saved conversation"),
        (b'{"asyncllm": "conversation", "messages": []}', "no version"),
        (b'{"asyncllm": "conversation", "version": true, "messages": []}', "no version"),
        (b'{"asyncllm": "conversation", "version": 0, "messages": []}', "no version"),
        (b'{"asyncllm": "conversation", "version": 2, "messages": 5}', "newer asyncllm: its version is 2"),
        (b'{"asyncllm": "conversation", "version": 1}', "damaged"),
        (b'{"asyncllm": "conversation", "version": 1, "messages": [{"role": "king", "content": ""}]}', "damaged"),
        (
            b'{"asyncllm": "conversation", "version": 1, "messages": [{"role": "user", "content": [{"type": 1}]}]}',
            "damaged",
        ),
    ],
)
def test_what_is_no_conversation_is_a_typed_error(data: bytes, why: str, tmp_path: Path) -> None:
    """That says which file, and what is wrong with it; the file is as it was."""
    with pytest.raises(InvalidRequestError, match=why):
        Conversation.from_json(data)
    path = tmp_path / "chat.json"
    path.write_bytes(data)
    with pytest.raises(InvalidRequestError, match=rf"chat\.json: .*{why}"):
        Conversation.load(path)
    assert path.read_bytes() == data


def test_what_is_not_json_is_told_before_the_file_is_touched(tmp_path: Path) -> None:
    """Arguments made by hand that no JSON can hold."""
    path = tmp_path / "chat.json"
    Conversation(HI).save(path)
    wrong = Conversation([HI, Message("assistant", [ToolCall("a", "t", {"x": object()}, "")])])
    with pytest.raises(InvalidRequestError, match="not JSON"):
        wrong.save(path)
    assert Conversation.load(path) == Conversation(HI)
    assert os.listdir(tmp_path) == ["chat.json"]


def test_a_file_is_private_and_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the umask and what was there; when the disk is full, what was there is still there, and nothing else."""
    path = tmp_path / "chat.json"
    path.write_text("old")
    path.chmod(0o666)
    before = os.umask(0)
    try:
        Conversation(HI).save(str(path))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Conversation.load(str(path)) == Conversation(HI)

    def full(file: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        Conversation([HI, HI]).save(path)
    assert Conversation.load(path) == Conversation(HI)
    assert os.listdir(tmp_path) == ["chat.json"]


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    """What it points to is not written."""
    other = tmp_path / "other"
    other.write_text("mine")
    path = tmp_path / "chat.json"
    path.symlink_to(other)
    Conversation(HI).save(path)
    assert other.read_text() == "mine"
    assert not path.is_symlink()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """The operating system's own errors stay what they are."""
    with pytest.raises(FileNotFoundError):
        Conversation.load(tmp_path / "no.json")
    with pytest.raises(FileNotFoundError):
        Conversation(HI).save(tmp_path / "no" / "chat.json")


@pytest.mark.req("E7", "E9", "seed-E4")
async def test_a_loaded_conversation_goes_on_with_its_provider(tmp_path: Path) -> None:
    """What the provider wants back verbatim is in the request after the file as before it, and in no other provider's."""
    signed = ProviderState("anthropic", {"signature": "b3BhcXVl"}, closes=True)
    call = ToolCall("toolu_1", "look", {"n": 1}, '{"n":1}')
    conversation = Conversation([HI, Message("assistant", [Reasoning("hm", signed), Text("I look."), call])])
    conversation.append(ToolResult(call.id, call.name, "21 degrees"))
    conversation.save(tmp_path / "chat.json")
    loaded = Conversation.load(tmp_path / "chat.json")
    async with Server(Answer.text("Well.")) as server:
        for model in ("anthropic/m", "openai/m"):
            async with Client(model, base_url=server.base_url, api_key="any", retry=0, max_tokens=1000) as client:
                for given in (conversation, loaded):
                    assert (await client.complete(given)).text == "Well."
    before, after, *elsewhere = [request.json for request in server.requests]
    assert before == after
    assert before["messages"][1]["content"][0] == {"type": "thinking", "thinking": "hm", "signature": "b3BhcXVl"}
    assert elsewhere[0] == elsewhere[1]
    assert b"b3BhcXVl" not in msgspec.json.encode(elsewhere[0])


def test_errors_are_of_the_one_tree() -> None:
    """A damaged file is caught with everything else that goes wrong."""
    with pytest.raises(LLMError):
        Conversation.from_json("no")
