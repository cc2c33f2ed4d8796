"""Calls of tools and their results in words. What is long is cut, and says so.

What a model or a server says is not trusted: nothing of it can begin a line of its own, or pass for one of ours.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from ..events import ToolCall, ToolProgress, ToolResult
from ._terminal import harmless, one_line

NAME_SHOWN = 80
VALUE_SHOWN = 80
"""Characters of an argument in a line; a line has at most `CALL_SHOWN` of all of them."""
CALL_SHOWN = 400
VALUE_ASKED = 600
"""Characters of an argument where somebody has to decide on it."""
ARGUMENTS_ASKED = 30
RESULT_LINES = 5
RESULT_SHOWN = 500


def cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}... ({len(text) - limit:,} more characters)"


def as_json(value: object) -> str:
    """On one line, and every character that cannot be seen (or turns the direction of text) as its escape."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):
        return "(too deep to be shown)"
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else json.dumps(char)[1:-1] for char in text)


def name_of(name: str) -> str:
    """A name of the model's or a server's as it is, where it is one; any other text as JSON."""
    plain = name.isprintable() and name and " " not in name
    return cut(name if plain else as_json(name), NAME_SHOWN)


def call_line(call: ToolCall) -> str:
    """`weather(city="Oslo", days=2)`."""
    if call.arguments is None:
        inside, wrong = as_json(cut(call.raw_arguments, CALL_SHOWN)), f" is invalid: {one_line(call.invalid or '')}"
    else:
        inside, wrong = _values(call.arguments), ""
    return f"tool call: {name_of(call.name)}({inside}){wrong}"


def _values(arguments: Mapping[str, object]) -> str:
    text = ", ".join(f"{name_of(name)}={cut(as_json(value), VALUE_SHOWN)}" for name, value in arguments.items())
    return cut(text, CALL_SHOWN)


def argument_lines(arguments: Mapping[str, object], columns: int, *, whole: bool = False) -> tuple[list[str], bool]:
    """A line for each argument, and whether any of it was cut. Those that go on stand behind a bar, all the way down."""
    from rich.cells import chop_cells

    lines: list[str] = []
    was_cut = False
    for at, (name, value) in enumerate(arguments.items()):
        if at == ARGUMENTS_ASKED and not whole:
            lines.append(f"  ... {len(arguments) - at} more arguments")
            was_cut = True
            break
        text = as_json(value)
        was_cut |= len(text) > VALUE_ASKED and not whole
        said = f"{name_of(name)}: {text if whole else cut(text, VALUE_ASKED)}"
        first, *more = chop_cells(said, max(columns - 5, 20))
        lines += [f"  {first}", *(f"  | {rest}" for rest in more)]
    return lines or ["  (no arguments)"], was_cut


def result_lines(result: ToolResult) -> Iterator[str]:
    """The first lines of a result, with how much more there is."""
    label = f"tool {'error' if result.is_error else 'result'}: {name_of(result.name)}:"
    text = result.text.strip()
    shown = "\n".join(text[:RESULT_SHOWN].splitlines()[:RESULT_LINES])
    lines = [harmless(line) for line in shown.split("\n")]
    if len(lines) == 1 and len(shown) == len(text):
        yield f"{label} {lines[0] or '(nothing)'}"
        return
    yield label
    yield from (f"  {line}" for line in lines)
    if len(text) > len(shown):
        yield f"  ... {len(text) - len(shown):,} more characters"


def progress_line(event: ToolProgress) -> str:
    """`weather: 3 of 10, reading the sky`."""
    far = f"{event.progress:g}" + (f" of {event.total:g}" if event.total is not None else "")
    return f"{name_of(event.name)}: {far}" + (f", {one_line(event.message)}" if event.message else "")
