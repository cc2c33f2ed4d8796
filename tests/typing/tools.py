"""What type checkers see of functions as tools. Checked by mypy --strict and pyright, never run."""

from __future__ import annotations

from typing import assert_type

from asyncllm.tools import RunnableTool
from asyncllm.tools._function import FunctionTool, tool


@tool
def weather(city: str, *, days: int = 1) -> list[str]:
    """The weather."""
    return [city] * days


@tool(name="later", timeout=5)
async def forecast(city: str) -> str:
    """Tomorrow's."""
    return city


class Shop:
    """Methods are tools, too."""

    @tool
    def price(self, article: str) -> float:
        """In euros."""
        return len(article)


async def calling(shop: Shop) -> None:
    """A decorated function is called as before, with the same types."""
    assert_type(weather("Oslo", days=2), list[str])
    assert_type(await forecast("Oslo"), str)
    assert_type(shop.price("tea"), float)
    weather(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await forecast()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    shop.price(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def offering(shop: Shop) -> list[RunnableTool]:
    """Each satisfies the protocol of the loop."""
    return [weather, forecast, shop.price, FunctionTool(lambda: 1, name="one"), FunctionTool(print, parameters={})]
