"""A text into a typed object: what is known of it so far while the answer arrives, and one chance to mend a bad answer.

Without a model it runs against a scripted server, whose first answer is wrong. Partial objects need jiter:
pip install 'asyncllm[partials]'.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Literal

from msgspec import Meta, Struct

from asyncllm import Client, InvalidOutputError
from asyncllm.testing import Answer, Server

LETTER = "Dear shop, please send me two lamps and one chair. I am in a hurry! Yours, Ada Lovelace, London"


class Item(Struct):
    product: str
    count: Annotated[int, Meta(ge=1)]


class Order(Struct):
    """What the model is asked for is the JSON Schema of this. A dataclass, TypedDict or pydantic model would do as well."""

    customer: str
    items: list[Item]
    urgency: Literal["low", "high"] = "low"
    city: Annotated[str | None, Meta(description="null where the letter does not say it")] = None


async def extract(client: Client) -> None:
    # In a run (and in `complete`) an answer that is no Order is told to the model, which answers once more.
    async with client.run(f"Extract the order:\n\n{LETTER}", output=Order) as stream:
        async for partial in stream.partials:
            print("so far:", partial)
        try:
            order = (await stream.reply()).output
        except InvalidOutputError as error:
            print("not an order, twice:", error.body)
            return
    assert order is not None
    for item in order.items:
        print(f"{item.count} x {item.product} for {order.customer} in {order.city}, urgency {order.urgency}")


async def main(model: str | None) -> None:
    if model is not None:
        async with Client(model) as client:
            return await extract(client)
    lamps = '{"customer": "Ada Lovelace", "items": [{"product": "lamp", "count": 2}, {"product": "chair", "count": %s}]'
    wrong, right = lamps % '"one"' + "}", lamps % "1" + ', "urgency": "high", "city": "London"}'
    script = [Answer.text(wrong), Answer.text(right, pace=0.01)]
    async with Server(script) as server, Client("scripted", base_url=server.base_url) as client:
        await extract(client)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else None))
