"""The two functions that every client of "loop" gives to its model, and how a right result begins. Standard library only."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

SAID = "It is "
"""How each result begins, so that the upstream knows that it was the function that answered."""


async def weather(city: str) -> str:
    """The weather in a city."""
    return f"{SAID}21 degrees in {city}."


async def local_time(city: str, hours: int) -> str:
    """The time in a city, on a clock of 12 or 24 hours."""
    return f"{SAID}noon in {city}, on a clock of {hours} hours."


FUNCTIONS: dict[str, Callable[..., Awaitable[str]]] = {"weather": weather, "local_time": local_time}


def _tool(name: str, description: str, **types: str) -> dict[str, Any]:
    properties = {parameter: {"type": type} for parameter, type in types.items()}
    parameters = {"type": "object", "properties": properties, "required": list(types)}
    return {"type": "function", "function": {"name": name, "description": description, "parameters": parameters}}


SCHEMAS = [
    _tool("weather", "The weather in a city.", city="string"),
    _tool("local_time", "The time in a city, on a clock of 12 or 24 hours.", city="string", hours="integer"),
]
"""For clients that make none of their own."""
