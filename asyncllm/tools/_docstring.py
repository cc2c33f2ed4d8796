"""What a docstring tells a model: what the function does, and what its parameters mean."""

from __future__ import annotations

import inspect


def read_docstring(text: str | None) -> tuple[str, dict[str, str]]:
    """The description, without the sections on parameters and results, and the parameters' own by name.

    Google, NumPy and reStructuredText styles are known. What is in none of them is all description.
    """
    text = inspect.cleandoc(text or "").strip()
    if "\n" not in text and not text.startswith(":"):
        return text, {}
    import docstring_parser

    try:
        parsed = docstring_parser.parse(text)
    except Exception:  # noqa: BLE001 - also an IndexError, of fields that are none; no docstring is worth a tool
        return text, {}
    parameters = {
        name.strip(): parameter.description.strip()
        for parameter in parsed.params
        if parameter.description
        for name in parameter.arg_name.split(",")  # `low, high: the bounds`
    }
    return (parsed.description or "").strip(), parameters
