"""Numbers as servers write them."""

from __future__ import annotations


def whole_number(value: object) -> int | None:
    """An int, a float without a fraction, or a string of digits, as an int; anything else is None, and nothing raises."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return int(value) if isinstance(value, str) and len(value) <= 18 and value.isascii() and value.isdigit() else None
