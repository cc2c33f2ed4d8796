"""Ask many questions, a few at a time, and show the answers in the order in which they are ready."""

from __future__ import annotations

import asyncio
import sys

from asyncllm import Client

QUESTIONS = [f"Question {number}: what is {number} times {number}?" for number in range(1, 9)]


async def main(model: str) -> None:
    async with Client(model) as client:
        async for result in client.map(QUESTIONS, concurrency=4):
            if result.reply is not None:
                print(f"{result.input} -> {result.reply.text[:60]!r}")
            else:
                print(f"{result.input} -> failed: {result.error}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo/echo"))
