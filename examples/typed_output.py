"""An answer as a Python type, and what is known of it so far. Runs against a scripted server, so that the answer is known.

Partial objects need jiter: pip install 'asyncllm[partials]'.
"""

from __future__ import annotations

import asyncio

import msgspec

from asyncllm import Client
from asyncllm.testing import Answer, Server


class City(msgspec.Struct):
    name: str
    population: int


async def main() -> None:
    answer = Answer.text('{"name": "Oslo", "population": 709037}', pace=0.01)
    async with Server(answer) as server, Client("scripted", base_url=server.base_url) as client:
        reply = await client.complete("The largest city of Norway?", output=City)
        assert reply.output is not None
        print(f"{reply.output.name} has {reply.output.population:,} people")

        async with client.stream("The largest city of Norway?", output=City) as stream:
            async for partial in stream.partials:
                print("so far:", partial)
            city = (await stream.reply()).output
        assert city == reply.output


if __name__ == "__main__":
    asyncio.run(main())
