"""Structured output: a Python type to the JSON Schema that is asked for, and the answer back to the type."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from ._objects import only_json
from ._schema import needs_pydantic, schema_of
from ._strict import NotStrict, is_a, is_object, lenient, resolved, strict
from .events import InvalidOutputError, InvalidRequestError, MaxOutputTokensError, Reply
from .protocols import OutputSchema


class _Value(msgspec.Struct, forbid_unknown_fields=True):
    """What is asked for instead of a type that is no object."""

    value: msgspec.Raw


class OutputSpec:
    """What `output=` means: a type (Struct, dataclass, TypedDict, pydantic model, or made of such), or a dict: a JSON Schema.

    Providers want an object at the root of the schema. Another type (an enum, a list, a union) is asked for as the property
    `value` of one, and :meth:`parse` takes it out again. A schema without a strict form (any keys, tuples) is not enforced
    by providers that enforce strict ones only; the answer is validated all the same. An answer to a raw schema is checked to
    be JSON of the right type with the required properties at its root, and no further.

    Raises InvalidRequestError for what is no type, and for a type that has no JSON Schema.
    """

    def __init__(self, wanted: Any) -> None:
        raw = isinstance(wanted, Mapping)
        self._schema = _checked(wanted) if raw else _schema(wanted)
        self._read: Callable[[str | bytes], object] = self._read_raw if raw else _reader(wanted)
        name = str(wanted.get("title") or "output") if raw else getattr(wanted, "__name__", "output")
        self._wrapped = not _has_object_root(self._schema)
        asked = _wrap(self._schema) if self._wrapped else self._schema
        try:
            schema, is_strict = strict(asked), True
        except (NotStrict, RecursionError):
            schema, is_strict = asked, False
        self.request = OutputSchema(re.sub(r"[^a-zA-Z0-9_-]", "_", name)[:64] or "output", schema, is_strict)

    def parse(self, reply: Reply[object]) -> object:
        """The answer as the wanted type; None where the model calls tools instead of answering (or was stopped at that).

        Raises InvalidOutputError with the text, MaxOutputTokensError where it was cut.
        """
        if reply.tool_calls or reply.stopped is not None:
            return None
        try:
            return self._parse(reply.text)
        except (ValueError, RecursionError) as error:  # msgspec's and pydantic's errors are both ValueErrors
            if reply.finish_reason == "length":
                raise MaxOutputTokensError(
                    "the output limit was reached before the answer was whole", partial_text=reply.text, partial=reply
                ) from error
            why = f"the model refused: {reply.refusal}" if reply.refusal else _said(error)
            raise InvalidOutputError(
                f"the answer is not a valid {self.request.name}: {why}", body=reply.text, partial=reply
            ) from error

    def _parse(self, answer: str) -> object:
        text = answer.strip("\ufeff \t\r\n")
        try:
            msgspec.json.decode(text, type=msgspec.Raw)
        except ValueError:
            inner = only_json(text)  # models that are asked by prompt like to fence their JSON, and to talk around it
            if inner is None:
                raise
            text = inner
        data: str | bytes = text
        if self._wrapped:
            try:
                data = bytes(msgspec.json.decode(text, type=_Value).value)
            except msgspec.ValidationError:
                pass  # small models may answer without the object around it
        try:
            return self._read(data)
        except ValueError:
            value = msgspec.json.decode(data)
            without = lenient(value, self._schema, self._schema)
            if without == value:
                raise
            return self._read(msgspec.json.encode(without))

    def _read_raw(self, data: str | bytes) -> object:
        value = lenient(msgspec.json.decode(data), self._schema, self._schema)
        root = resolved(self._schema, self._schema)
        kinds = root.get("type", [])
        kinds = kinds if isinstance(kinds, list) else [kinds]
        if kinds and not any(is_a(value, kind) for kind in kinds):
            raise ValueError(f"expected {' or '.join(map(str, kinds))}")
        if isinstance(value, dict) and (missing := [name for name in root.get("required") or () if name not in value]):
            raise ValueError(f"without the required {', '.join(map(str, missing))}")
        return value


def _said(error: BaseException) -> str:
    """What is wrong, and where; of pydantic's errors without the links."""
    errors = getattr(error, "errors", None)
    if errors is None:
        return str(error)
    return "; ".join(f"{'.'.join(map(str, one['loc'])) or 'the answer'}: {one['msg']}" for one in errors())


def _schema(wanted: Any) -> dict[str, Any]:
    try:
        return schema_of(wanted)
    except InvalidRequestError as error:
        raise InvalidRequestError(f"output=: {error.message}") from error


def _reader(wanted: Any) -> Callable[[str | bytes], object]:
    """What reads the type from JSON, made before anything is sent: it may not know the type."""
    if needs_pydantic(wanted):
        from pydantic import TypeAdapter

        adapter: TypeAdapter[object] = TypeAdapter(wanted)
        return adapter.validate_json
    try:
        decoder: msgspec.json.Decoder[object] = msgspec.json.Decoder(wanted)
    except TypeError as error:
        raise InvalidRequestError(f"output={wanted!r} cannot be read from JSON: {error}") from error
    return decoder.decode


def _checked(given: Mapping[str, object]) -> dict[str, Any]:
    """A copy of the user's schema, with a root that says what it is."""
    try:
        schema = msgspec.json.decode(msgspec.json.encode(given), type=dict[str, Any])
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"output= is a dict and so must be a JSON Schema: {error}") from error
    root = resolved(schema, schema)
    if root is not schema and is_object(root):
        schema = {**root, **{name: value for name, value in schema.items() if name != "$ref"}}
    return schema


def _has_object_root(schema: Mapping[str, Any]) -> bool:
    """Whether it is for an object, or says so little (`{}`) that an object is as good as anything."""
    return schema.get("type") == "object" or (
        "type" not in schema and not schema.keys() & {"anyOf", "oneOf", "enum", "const", "$ref", "items"}
    )


def _wrap(schema: Mapping[str, Any]) -> dict[str, Any]:
    definitions = {name: schema[name] for name in ("$defs", "definitions") if name in schema}
    inner = {name: value for name, value in schema.items() if name not in definitions}
    return {"type": "object", "properties": {"value": inner}, "required": ["value"], **definitions}
