"""A conversation, and results of tools among messages, go into every call: mypy and pyright say so."""

from __future__ import annotations

from typing import assert_type

from asyncllm import Client, Conversation, Image, Message, Reply, SyncClient, ToolResult


async def conversations(client: Client, sync: SyncClient, paused: Reply[Image]) -> None:
    conversation = Conversation([Message("user", "Hi"), {"role": "assistant", "content": "Hello"}], system="Be brief.")
    conversation.append("Rain?")
    conversation.append(Message("user", "In Oslo."))
    conversation.append(paused)
    conversation.append(await client.complete(conversation))
    conversation.append(ToolResult("id", "weather", "21 degrees"))
    assert_type(conversation[0], Message)
    assert_type(conversation[1:], list[Message])
    assert_type([message.text for message in conversation], list[str])
    assert_type(conversation.fork(), Conversation)
    assert_type(conversation.trim(max_tokens=100, count=lambda message: len(message.text)), list[Message])
    assert_type(Conversation.from_json(conversation.to_json()), Conversation)
    async with client.stream(conversation) as stream:
        assert_type(await stream.reply(), Reply[object])
    client.map([conversation, "Hi", [*paused.messages, ToolResult("id", "weather", "rain")]])
    sync.complete([*paused.messages, ToolResult("id", "weather", "rain")])
    conversation.append(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
