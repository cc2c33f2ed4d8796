"""Python functions as tools: the model calls them, is told what they return, and answers. All that happens is printed."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated, Literal

from msgspec import Meta

from asyncllm import Client, Finish, Message, StreamEvent, TextDelta, ToolCall, ToolError, ToolResult, Usage

WEATHER = {"Oslo": (4, "rain"), "Rome": (21, "sunny")}


# What the model is told of a tool is its name, its docstring and its parameters: types, defaults, descriptions.
async def get_weather(
    city: Annotated[str, Meta(description="Without the country", examples=["Oslo"])],
    unit: Literal["celsius", "fahrenheit"] = "celsius",
) -> dict[str, object]:
    """The weather in a city, now."""
    if city not in WEATHER:
        raise ToolError(f"no weather station in {city}; there are: {', '.join(WEATHER)}")  # the model may try another
    degrees, sky = WEATHER[city]
    return {"degrees": degrees if unit == "celsius" else degrees * 9 / 5 + 32, "unit": unit, "sky": sky}


def list_cities() -> list[str]:
    """The cities whose weather is known. (This one is not async: it runs in a thread.)"""
    return list(WEATHER)


def show(event: StreamEvent) -> None:
    match event:
        case TextDelta(text=text):
            print(text, end="", flush=True)
        case ToolCall(name=name, arguments=arguments):
            print(f"-> {name}({arguments})")
        case ToolResult(is_error=True) as result:
            print(f"<- error: {result.text}")
        case ToolResult() as result:
            print(f"<- {result.text}")
        case Finish(reason="stop"):
            print()
        case _:
            pass


async def main(model: str) -> None:
    async with Client(model) as client:
        question = "Do I need an umbrella in Oslo?"
        async with client.run(question, tools=[get_weather, list_cities], max_steps=10) as stream:
            async for event in stream:
                show(event)
            reply = await stream.reply()
        used = reply.usage or Usage()
        print(f"{reply.steps} steps, {used.input_tokens} tokens in, {used.output_tokens} out")

        # The whole conversation, calls and results included, is in reply.messages: it goes on from there.
        messages = [*reply.messages, Message("user", "And in Rome?")]
        more = await client.run(messages, tools=[get_weather]).reply()
        print(more.text)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "demo/tool"))
