"""A Python type to its JSON Schema: by msgspec, or by pydantic where a type is one of its own."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Callable, Sequence
from typing import Annotated, Any, TypeGuard, get_args, get_origin

import msgspec

from .events import InvalidRequestError

Schema = dict[str, Any]
Hook = Callable[[type], Schema]

_PYDANTIC = {"pydantic", "pydantic_core", "annotated_types"}
"""Whose types and metadata only pydantic honours. msgspec does not know them, or would drop them without a word."""


def schema_of(kind: Any) -> Schema:
    """The JSON Schema of a type: Struct, dataclass, TypedDict, pydantic model, or anything that is made of such.

    An object's own schema is at the top, never behind a `$ref`; other named types are in its `$defs`. Raises
    InvalidRequestError for a type that has no JSON Schema.
    """
    (schema,), definitions = schemas_of([kind])
    own = str(schema.get("$ref", "")).removeprefix("#/$defs/")
    if own in definitions:
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        schema = {**definitions[own], **beside}
        if not _refers((schema, definitions), own):
            del definitions[own]
    return {**schema, "$defs": definitions} if definitions else schema


def schemas_of(kinds: Sequence[Any], hook: Hook | None = None) -> tuple[list[Schema], dict[str, Schema]]:
    """One JSON Schema for each type, and the definitions that they share, by name. `hook` is msgspec's `schema_hook`."""
    theirs = [needs_pydantic(kind) for kind in kinds]
    schemas, definitions = _by_msgspec(
        [kind for kind, is_theirs in zip(kinds, theirs, strict=True) if not is_theirs], hook
    )
    if not any(theirs):
        return schemas, definitions
    pydantic_kinds = [kind for kind, is_theirs in zip(kinds, theirs, strict=True) if is_theirs]
    others, more = _by_pydantic(pydantic_kinds, "")
    if definitions.keys() & more.keys():  # two types of the same name, one of each library
        others, more = _by_pydantic(pydantic_kinds, "_pydantic")
    ours, of_pydantic = iter(schemas), iter(others)
    return [next(of_pydantic if is_theirs else ours) for is_theirs in theirs], {**definitions, **more}


def _by_msgspec(kinds: list[Any], hook: Hook | None) -> tuple[list[Schema], dict[str, Schema]]:
    try:
        schemas, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}", schema_hook=hook)
    except Exception as error:  # annotations are evaluated here, and may raise anything
        reason = str(error).rpartition("\n")[2]  # the lines before it are about msgspec's own settings
        raise InvalidRequestError(
            f"no JSON Schema can be made of {_shown(kinds)}: {reason} (use a Struct, dataclass, TypedDict or pydantic model)"
        ) from error
    return list(schemas), definitions


def _by_pydantic(kinds: list[Any], suffix: str) -> tuple[list[Schema], dict[str, Schema]]:
    from pydantic import TypeAdapter

    try:
        adapters: list[tuple[int, typing.Literal["validation"], TypeAdapter[Any]]] = [
            (place, "validation", TypeAdapter(kind)) for place, kind in enumerate(kinds)
        ]
        by_place, shared = TypeAdapter.json_schemas(adapters, ref_template=f"#/$defs/{{model}}{suffix}")
    except Exception as error:  # as above
        reason = str(error).partition("\n")[0]
        raise InvalidRequestError(f"no JSON Schema can be made of {_shown(kinds)}: {reason}") from error
    definitions = {f"{name}{suffix}": schema for name, schema in shared.get("$defs", {}).items()}
    return [dict(by_place[place, "validation"]) for place in range(len(kinds))], definitions


def _shown(kinds: list[Any]) -> str:
    return ", ".join(kind.__name__ if isinstance(kind, type) else repr(kind) for kind in kinds)


def needs_pydantic(kind: Any) -> bool:
    """Whether a type is, or holds, one that only pydantic knows. False where pydantic was never imported."""
    return "pydantic" in sys.modules and _holds_pydantic(kind, set())


def _holds_pydantic(kind: Any, seen: set[int]) -> bool:
    if id(kind) in seen:
        return False
    seen.add(id(kind))
    kind = getattr(kind, "__supertype__", getattr(kind, "__value__", kind))  # a NewType, a `type` alias
    if get_origin(kind) is Annotated:
        inner, *metadata = get_args(kind)
        return any(_is_pydantics(type(item)) for item in metadata) or _holds_pydantic(inner, seen)
    if any(_holds_pydantic(argument, seen) for argument in get_args(kind)):
        return True
    origin = get_origin(kind) or kind
    if not isinstance(origin, type):
        return False
    if _is_pydantics(origin) or hasattr(origin, "__get_pydantic_core_schema__"):
        return True
    return _has_fields(origin) and any(_holds_pydantic(hint, seen) for hint in _fields(origin))


def _is_pydantics(kind: type) -> bool:
    """By its module, or because pydantic has compiled it (its models and dataclasses)."""
    return kind.__module__.partition(".")[0] in _PYDANTIC or "__pydantic_core_schema__" in vars(kind)


def _has_fields(kind: type) -> TypeGuard[type]:
    """Whether pydantic looks into it. It does not know a Struct, so what is in one is msgspec's to judge."""
    is_typed_dict = issubclass(kind, dict) and hasattr(kind, "__total__")  # also that of typing_extensions
    is_named_tuple = issubclass(kind, tuple) and hasattr(kind, "_fields")
    return dataclasses.is_dataclass(kind) or is_typed_dict or is_named_tuple


def _fields(kind: type) -> list[Any]:
    try:
        return list(typing.get_type_hints(kind, include_extras=True).values())
    except Exception:  # noqa: BLE001 - whoever makes the schema says it better
        return []


def _refers(schema: Any, name: str) -> bool:
    if isinstance(schema, dict):
        return schema.get("$ref") == f"#/$defs/{name}" or any(_refers(item, name) for item in schema.values())
    return isinstance(schema, list | tuple) and any(_refers(item, name) for item in schema)
