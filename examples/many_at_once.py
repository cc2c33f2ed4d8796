"""Ask many questions at once, a few at a time, and show the answers in the order in which they are ready."""

from __future__ import annotations

import asyncio
import sys

from asyncllm import Client, LLMError

QUESTIONS = [f"Question {number}: what is {number} times {number}?" for number in range(1, 9)]


async def main(model: str) -> None:
    slots = asyncio.Semaphore(4)
    async with Client(model) as client:

        async def ask(question: str) -> str:
            async with slots:
                try:
                    reply = await client.complete(question)
                except LLMError as error:
                    return f"{question} -> failed: {error}"
                return f"{question} -> {reply.text[:60]!r}"

        for answer in asyncio.as_completed([ask(question) for question in QUESTIONS]):
            print(await answer)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo/echo"))
