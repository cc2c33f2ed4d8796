"""A chat that remembers: a Conversation that is trimmed, saved after each turn, and loaded by the next start.

`python examples/chat_app.py openai/gpt-5-mini chat.json` talks to you; without a terminal it says what is scripted here.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from asyncllm import Client, Conversation, LLMError, transcript

SCRIPTED = ["My name is Ada.", "What is my name?", "Goodbye."]


def lines() -> Iterator[str]:
    """What the user says."""
    if not sys.stdin.isatty():
        for line in SCRIPTED:
            print(f"> {line}")
            yield line
    while sys.stdin.isatty():
        try:
            if line := input("> ").strip():
                yield line
        except EOFError:
            return


async def chat(client: Client, path: Path) -> None:
    conversation = Conversation.load(path) if path.exists() else Conversation(system="Be brief.")
    for line in lines():
        conversation.append(line)
        # The oldest turns are forgotten, whole, so that calls stay with their results.
        conversation.trim(max_tokens=50_000)
        stream = client.run(conversation)  # tools=[...] as you like
        try:
            async for text in stream.text:
                print(text, end="", flush=True)
            print()
        except LLMError as error:
            print(f"\n({error})")
        # Also of an answer that broke off: what was said stays, and the conversation is one that every provider takes.
        conversation.append(stream.partial)
        conversation.save(path)
    print(f"\n{len(conversation)} messages are in {path.name}")


async def main(model: str, path: str | None) -> None:
    async with Client(model) as client:
        if path is not None:
            return await chat(client, Path(path))
        with tempfile.TemporaryDirectory() as folder:
            saved = Path(folder, "chat.json")
            await chat(client, saved)
            print(transcript(Conversation.load(saved)))


if __name__ == "__main__":
    arguments = [*sys.argv[1:], None, None]
    asyncio.run(main(arguments[0] or "demo/echo", arguments[1]))
