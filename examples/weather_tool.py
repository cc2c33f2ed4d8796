"""A tool for the command line, no key needed:

asyncllm chat -m demo/tool --tool examples/weather_tool.py:weather "Weather in Oslo?"
"""

from typing import Annotated


def weather(city: Annotated[str, "Where, for example Oslo"], days: Annotated[int, "Days ahead"] = 0) -> str:
    """The weather in a city."""
    return f"{city}, {'today' if days == 0 else f'in {days} days'}: 21 degrees and sunny."


if __name__ == "__main__":
    print(weather("Oslo"))
