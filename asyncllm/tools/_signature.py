"""A function's parameters: the schema that a model is told, and a model's arguments back to what the function takes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from types import FunctionType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin
from weakref import WeakKeyDictionary

import msgspec

from .._schema import Schema, schemas_of
from .._strict import NotStrict, lenient, strict
from ..events import InvalidRequestError
from ._content import json_of, sendable
from ._hints import type_hint
from ._reading import Read, complaints, reader, schema_hook
from ._tool import Report, ToolError

SAID = 2000
"""Characters of a complaint. Arguments are the model's, and what is wrong with them may be said at any length."""

UNKNOWN = 10
"""Unknown arguments that are named."""


class Parameter(msgspec.Struct, frozen=True):
    """One parameter that the model fills in.

    Attributes:
        fill: gives the value where the model gave none; None: the function has a default of its own, or there is none.
    """

    name: str
    positional: bool
    required: bool
    schema: Schema
    read: Read
    fill: Callable[[], object] | None


class Signature(msgspec.Struct, frozen=True):
    """What a function takes: `parameters` from the model; those in `reports` are its way to tell of progress.

    Attributes:
        where: the function, as errors name it.
        strict: the model is asked for every argument, and null stands for what is left out.
    """

    where: str
    parameters: tuple[Parameter, ...]
    definitions: Mapping[str, Schema]
    reports: tuple[str, ...]
    strict: bool

    def schema(self) -> Schema:
        """The JSON Schema that the model is told. Raises InvalidRequestError where it has no strict form."""
        if not self.strict:
            return self._schema()
        try:
            return strict(self._schema())
        except NotStrict as error:
            raise InvalidRequestError(f"{self.where} cannot be a strict tool: {error}") from None

    def _schema(self) -> Schema:
        properties = {each.name: each.schema for each in self.parameters}
        schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
        if required := [each.name for each in self.parameters if each.required]:
            schema["required"] = required
        if self.definitions:
            schema["$defs"] = dict(self.definitions)
        return schema

    def bind(self, arguments: object, report: Report) -> tuple[list[object], dict[str, object]]:
        """The positional and the keyword arguments of the call. Raises ToolError, which says all that is wrong with them."""
        given = check_object(arguments)
        if self.strict:
            schema = self._schema()
            given = lenient(given, schema, schema)
        args: list[object] = []
        kwargs: dict[str, object] = dict.fromkeys(self.reports, report)
        wrong: list[str] = []
        for each in self.parameters:
            if each.name in given:
                try:
                    value = each.read(given[each.name])
                except Exception as error:  # noqa: BLE001 - validators are the user's, and may raise anything
                    wrong += complaints(each.name, error, each.schema, self.definitions)
                    continue
            elif each.fill is not None:
                value = each.fill()
            else:
                if each.required:
                    wrong.append(f"missing required argument `{each.name}`")
                continue
            if each.positional:
                args.append(value)
            else:
                kwargs[each.name] = value
        wrong += self._unknown(given)
        if wrong:
            said = sendable("; ".join(wrong))
            raise ToolError(said if len(said) <= SAID else f"{said[:SAID]}...")
        return args, kwargs

    def _unknown(self, arguments: Mapping[str, object]) -> list[str]:
        names = [each.name for each in self.parameters]
        there_are = f"there are: {', '.join(names)}" if names else "there are none"
        unknown = islice((name for name in arguments if name not in names), UNKNOWN)
        return [f"unknown argument `{name}` ({there_are})" for name in unknown]

    def without_first(self) -> Signature:
        """That of a method once it is bound."""
        return msgspec.structs.replace(self, parameters=self.parameters[1:])


def check_object(arguments: object) -> dict[str, object]:
    """Raises ToolError for arguments that are no object."""
    if not isinstance(arguments, dict):
        raise ToolError(f"the arguments must be a JSON object, not {type(arguments).__name__}")
    return arguments


_read: WeakKeyDictionary[FunctionType, dict[bool, Signature]] = WeakKeyDictionary()
"""Of plain functions, by whether they are strict: a run is given the same ones again and again."""


def read_signature(
    function: Callable[..., object], where: str, descriptions: Mapping[str, str], *, strict: bool
) -> Signature:
    """Raises InvalidRequestError, which names the function and the parameter, for what no model can be told of."""
    if not isinstance(function, FunctionType):
        return _signature(function, where, descriptions, strict=strict)
    known = _read.setdefault(function, {})
    if strict not in known:
        known[strict] = _signature(function, where, descriptions, strict=strict)
    return known[strict]


def _signature(
    function: Callable[..., object], where: str, descriptions: Mapping[str, str], *, strict: bool
) -> Signature:
    """Raises InvalidRequestError, which names the function and the parameter, for what no model can be told of."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (ValueError, TypeError, NameError) as error:
        raise InvalidRequestError(f"{where}: {error}; parameters= can say what it takes") from error
    bound = function.keywords if isinstance(function, functools.partial) else {}
    hints: dict[str, Any] = {}
    reports: list[str] = []
    for each in parameters:
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            raise InvalidRequestError(
                f"{where}: a model cannot be told what `{str(each).partition(':')[0]}` takes; name the parameters one by one, "
                "take a list or a dict instead, or give a JSON Schema with parameters="
            )
        if each.name in bound:
            continue  # a partial has chosen it: the model has no say in it
        hint = type_hint(function, each, where)
        if not _is_report(hint):
            hints[each.name] = _with_field(hint, each, where)
        elif each.kind is each.POSITIONAL_ONLY:
            raise InvalidRequestError(
                f"{where}: parameter {each.name!r} takes the Report, and cannot be positional-only"
            )
        else:
            reports.append(each.name)
    schemas, definitions = _schemas(hints, where)
    told = tuple(
        _parameter(each, hints[each.name], schemas[each.name], descriptions.get(each.name))
        for each in parameters
        if each.name in hints
    )
    return Signature(where, told, definitions, tuple(reports), strict)


def _is_report(hint: Any) -> bool:
    return bool(hint == Report) or (_is_union(hint) and Report in get_args(hint))


def _is_union(hint: Any) -> bool:
    return get_origin(hint) in (Union, UnionType)


def _schemas(hints: dict[str, Any], where: str) -> tuple[dict[str, Schema], dict[str, Schema]]:
    try:
        schemas, definitions = schemas_of(list(hints.values()), schema_hook)
    except InvalidRequestError:
        for name, hint in hints.items():  # whose fault it is
            try:
                schemas_of([hint], schema_hook)
            except InvalidRequestError as error:
                raise InvalidRequestError(f"{where}: parameter {name!r}: {error.message}") from error
        raise
    return dict(zip(hints, schemas, strict=True)), definitions


def _parameter(each: inspect.Parameter, hint: Any, schema: Schema, description: str | None) -> Parameter:
    schema = _with_format(hint, schema)
    for text in (*_descriptions(hint), description):
        if text:
            schema.setdefault("description", text)
    required, fill, default = _default(each, hint)
    if not required:
        try:
            schema["default"] = msgspec.json.decode(json_of(default))
        except Exception:  # noqa: BLE001 - a default that is not JSON is the function's own affair
            schema.pop("default", None)
    return Parameter(each.name, each.kind is each.POSITIONAL_ONLY, required, schema, reader(hint), fill)


def _with_format(hint: Any, schema: Schema) -> Schema:
    """Says of a date and time that it is one: msgspec calls it a mere string, because it may have no time zone."""
    options = get_args(hint) if _is_union(hint) else (hint,)
    kinds = {get_args(option)[0] if get_origin(option) is Annotated else option for option in options}
    if datetime not in kinds:
        return dict(schema)
    if "anyOf" in schema:  # one of these at most is a string: msgspec has no two in a union
        return {**schema, "anyOf": [_with_format(datetime, option) for option in schema["anyOf"]]}
    return {"format": "date-time", **schema} if schema.get("type") == "string" else dict(schema)


def _descriptions(hint: Any) -> Iterator[str]:
    """`Annotated[int, "in days"]` and `Annotated[int, Doc("in days")]`, also of one type among others."""
    for item in _metadata(hint):
        text = getattr(item, "documentation", item)
        if isinstance(text, str):
            yield text
    if _is_union(hint):
        for option in get_args(hint):
            yield from _descriptions(option)


def _metadata(hint: Any) -> Sequence[object]:
    return hint.__metadata__ if get_origin(hint) is Annotated else ()


# ---- defaults; pydantic's Field(...) may be one, or hold one among the metadata


def _with_field(hint: Any, each: inspect.Parameter, where: str) -> Any:
    """`x: int = Field(ge=1)` as `Annotated[int, Field(ge=1)]`."""
    if _is_field(each.default):
        hint = Annotated[hint, each.default]
    if any(_is_field(item) and (item.alias or item.validation_alias) for item in map(_any, _metadata(hint))):
        raise InvalidRequestError(f"{where}: parameter {each.name!r} has an alias; name it as the model should")
    return hint


def _default(each: inspect.Parameter, hint: Any) -> tuple[bool, Callable[[], object] | None, object]:
    """Whether the argument is required, what fills it in where the function does not, and the default to show."""
    for field in map(_any, (each.default, *_metadata(hint))):
        if _is_field(field) and not field.is_required() and (each.default is each.empty or each.default is field):
            fill = functools.partial(field.get_default, call_default_factory=True)
            return False, fill, fill() if field.default_factory is None else ...
    if each.default is each.empty or _is_field(each.default):
        return True, None, ...
    if each.kind is each.POSITIONAL_ONLY:  # there may be more behind it
        return False, lambda: each.default, each.default
    return False, None, each.default


def _is_field(item: object) -> bool:
    return type(item).__name__ == "FieldInfo" and type(item).__module__.partition(".")[0] == "pydantic"


def _any(item: object) -> Any:
    return item
