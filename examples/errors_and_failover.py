"""What failures look like: a retry, a failover, and a stream that breaks in the middle."""

from __future__ import annotations

import asyncio

from asyncllm import Client, LLMError, RateLimitError, Retrying, ServerError, StreamError, TextDelta
from asyncllm.testing import Answer, Server


async def main() -> None:
    busy = Answer.error(RateLimitError("slow down", status=429, retry_after=0.01))
    good = Answer.text("Here I am.")
    async with Server([busy, good]) as server, Client("scripted", base_url=server.base_url) as client:
        async for event in await client.stream("Are you there?"):
            if isinstance(event, Retrying):
                print(f"attempt {event.attempt} failed ({event.error}); again in {event.delay:.2f} s")
            elif isinstance(event, TextDelta):
                print(event.text, end="")
        print()

    breaking = Answer(events=[TextDelta("Half an ans"), StreamError(ServerError("the lights went out"))])
    async with Server(breaking) as server, Client("scripted", base_url=server.base_url) as client:
        try:
            await client.complete("Tell me everything.")
        except LLMError as error:
            print(f"{type(error).__name__}: {error}")
            print("received before that:", error.partial.text if error.partial else "nothing")


if __name__ == "__main__":
    asyncio.run(main())
