"""Print the events of one stream as they come."""

from __future__ import annotations

import asyncio
import sys

from asyncllm import Client, Finish, ReasoningDelta, TextDelta, Usage


async def main(model: str) -> None:
    async with Client(model) as client, client.stream("Say something short.") as stream:
        async for event in stream:
            match event:
                case TextDelta(text=text):
                    print(text, end="", flush=True)
                case ReasoningDelta(text=text):
                    print(f"({text})", end="", flush=True)
                case Usage(input_tokens=given, output_tokens=made):
                    print(f"\n{given} tokens in, {made} out")
                case Finish(reason=reason):
                    print(f"finished: {reason}")
                case _:
                    pass


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo/reason"))
