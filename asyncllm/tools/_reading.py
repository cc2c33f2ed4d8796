"""One argument: a JSON value to the type that the function takes, or words on why it does not fit."""

from __future__ import annotations

import copy
import functools
import re
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any, cast

import msgspec

from .._schema import Schema, needs_pydantic
from ._content import json_of

Read = Callable[[object], object]
"""Gives the value as the function takes it; raises for any other."""

_AT = re.compile(r"(?s)(.*) - at `(key` in `)?\$(.*)`")
"""How msgspec says where: ``Expected `int`, got `str` - at `$.stops[0]` ``, or at ``key` in `$`` for the keys of a dict."""


def schema_hook(kind: type) -> Schema:
    """The schemas of what msgspec does not know and tools often take: paths."""
    if issubclass(kind, PurePath):
        return {"type": "string", "format": "path"}
    raise NotImplementedError


def _dec_hook(kind: type, value: object) -> object:
    if issubclass(kind, PurePath) and isinstance(value, str):
        return kind(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")


def reader(kind: Any) -> Read:
    """Lax: `"5"` is taken for 5, and a string for a date."""
    return _by_pydantic(kind) if needs_pydantic(kind) else functools.partial(_by_msgspec, kind)


def _by_msgspec(kind: Any, value: object) -> object:
    if isinstance(value, list | dict):
        # msgspec hands on as it is what may be anything, and what a function does to it must not happen to the history
        value = copy.deepcopy(value)
    return msgspec.convert(value, kind, strict=False, str_keys=True, dec_hook=_dec_hook)


def _by_pydantic(kind: Any) -> Read:
    from pydantic import TypeAdapter
    from pydantic_core import PydanticSerializationError, to_json

    adapter: TypeAdapter[object] = TypeAdapter(kind)

    def read(value: object) -> object:
        try:
            text = to_json(value)
        except PydanticSerializationError:  # not from JSON: somebody has put objects there
            return adapter.validate_python(copy.deepcopy(value))
        return adapter.validate_json(text)  # strict models take a date from JSON as a string, and only from JSON

    return read


def complaints(name: str, error: Exception, schema: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    """What is wrong with the argument `name`, and where in it. pydantic says everything, msgspec the first thing."""
    if not isinstance(error, msgspec.ValidationError) and hasattr(error, "errors"):
        found = cast("Any", error).errors(include_url=False, include_context=False, include_input=False)
        return [f"{name}{_path(each['loc'])}: {_lower(each['msg'])}" for each in found]
    at = _AT.fullmatch(str(error))
    said, path = (at[1], at[3]) if at else (str(error) or type(error).__name__, "")
    if at and at[2]:
        return [f"a key of {name}{path}: {_lower(said)}"]
    if "enum value" in said and not path and (choices := _choices(schema, definitions)):
        said += f", expected one of {', '.join(choices)}"
    return [f"{name}{path}: {_lower(said)}"]


def _path(location: tuple[object, ...]) -> str:
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)


def _lower(said: str) -> str:
    return said[:1].lower() + said[1:]


def _choices(schema: Schema, definitions: Mapping[str, Schema]) -> list[str]:
    """The values of an enum or Literal, as JSON, also behind a reference or beside others."""
    if "$ref" in schema:
        schema = definitions.get(str(schema["$ref"]).removeprefix("#/$defs/"), {})
    found = [json_of(value).decode() for value in schema.get("enum", ())]
    return found + [choice for option in schema.get("anyOf", ()) for choice in _choices(option, definitions)]
