"""JSON Schemas in the subset that the API compiles: for structured output and strict tools.

Source: the API's documentation of structured outputs, and `transform_schema` of its SDK. What is not in the subset moves into
the description, where the model may still follow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

_KEPT = ("title", "description", "default", "type", "enum", "const", "required", "$ref")
_NESTED = ("properties", "$defs", "definitions")
_CHOICES = {"anyOf": "anyOf", "oneOf": "anyOf", "allOf": "allOf"}
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid"})
_DROPPED = frozenset({"additionalProperties", "$schema", "$id", "$comment"})


class NotInSubset(ValueError):
    """The schema asks for what the subset cannot say at all: an object with any keys."""


def adapt_schema(schema: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """The schema in the subset, and the keywords that moved into descriptions. Raises :class:`NotInSubset`."""
    moved: set[str] = set()
    return _adapt(schema, moved), moved


def _adapt(schema: object, moved: set[str]) -> dict[str, Any]:
    if not isinstance(schema, Mapping):  # `true`: anything
        raise NotInSubset("a schema that allows anything")
    out: dict[str, Any] = {}
    loose: dict[str, Any] = {}
    for name, value in schema.items():
        if name in _NESTED and isinstance(value, Mapping):
            out[name] = {key: _adapt(inner, moved) for key, inner in value.items()}
        elif name in _CHOICES and isinstance(value, list):
            out[_CHOICES[name]] = [_adapt(inner, moved) for inner in value]
        elif name == "items" and isinstance(value, Mapping):
            out[name] = _adapt(value, moved)
        elif name in _KEPT or (name == "format" and value in _FORMATS) or (name == "minItems" and value in (0, 1)):
            out[name] = value
        elif name not in _DROPPED:
            loose[name] = value
    if _is_object(out):
        if schema.get("additionalProperties") not in (None, False) and not out.get("properties"):
            raise NotInSubset("an object with any keys")
        out["additionalProperties"] = False
    if loose:
        moved.update(loose)
        text = ", ".join(f"{name}: {msgspec.json.encode(value).decode()}" for name, value in loose.items())
        out["description"] = f"{out['description']}\n\n{{{text}}}" if out.get("description") else f"{{{text}}}"
    return out


def _is_object(schema: Mapping[str, Any]) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or "properties" in schema
