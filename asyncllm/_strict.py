"""JSON Schemas as strict output takes them, and its answers back: what is optional is sent as null, and null is left out.

Source: OpenAI's guide to structured outputs and `to_strict_json_schema` of openai-python 3.52. Objects are closed and every
property is required, so that a property with a default can only be "its type or null". Other providers take this form, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

Schema = dict[str, Any]

_KEPT = frozenset(
    {"type", "title", "description", "enum", "const", "pattern", "examples"}
    | {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minItems", "maxItems"}
)
_SILENT = frozenset({"default", "discriminator", "required", "uniqueItems", "$schema", "$id", "$comment"})
"""Left out: said otherwise, or saying nothing. A set is made one by the type that reads it."""
_TOLD = frozenset({"minLength", "maxLength", "format", "contentEncoding", "contentMediaType"})
"""Refused by strict output: said in the description instead, and checked by the type that reads the answer."""
_FORMATS = frozenset({"date-time", "time", "date", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"})
_DEFINITIONS = ("$defs", "definitions")
_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "boolean": (bool,),
    "integer": (int,),
    "number": (int, float),
    "null": (type(None),),
}


class NotStrict(ValueError):
    """The schema says what strict output cannot: any keys, tuples, conditions."""


def strict(schema: Mapping[str, Any]) -> Schema:
    """The same schema, or nearly, in the strict form. Raises :class:`NotStrict` where it has none."""
    return _strict(schema, schema)


def _strict(node: object, root: Mapping[str, Any]) -> Schema:
    if not isinstance(node, Mapping) or not node:
        raise NotStrict("a schema that allows anything")
    out: Schema = {}
    told: Schema = {}
    for name, value in node.items():
        if name in _KEPT or (name == "format" and value in _FORMATS):
            out[name] = value
        elif name in _DEFINITIONS and isinstance(value, Mapping):
            out[name] = {key: _strict(inner, root) for key, inner in value.items()}
        elif name in ("anyOf", "oneOf") and isinstance(value, list):
            out["anyOf"] = [_strict(inner, root) for inner in value]
        elif name == "allOf" and isinstance(value, list) and len(value) == 1:
            out |= _strict(value[0], root)
        elif name == "items":
            out[name] = _strict(value, root)
        elif name == "$ref":
            out["anyOf"] = [{"$ref": value}]
        elif name in _TOLD:
            told[name] = value
        elif name not in _SILENT | {"properties", "additionalProperties"}:
            raise NotStrict(f"{name} has no strict form")
    if "$ref" in node and out.keys() <= {"anyOf", *_DEFINITIONS}:
        out |= {
            "$ref": out.pop("anyOf")[0]["$ref"]
        }  # a reference stands alone, or as a choice of one beside other words
    if is_object(node):
        out |= _strict_object(node, root)
    elif "array" in _types(node) and "items" not in out:
        raise NotStrict("an array of anything")
    if "type" not in out and (values := node.get("enum") or ([node["const"]] if "const" in node else [])):
        kinds = sorted({kind for value in values for kind in _TYPES if kind != "number" and is_a(value, kind)})
        out["type"] = kinds[0] if len(kinds) == 1 else kinds
    if told:
        text = ", ".join(f"{name}: {msgspec.json.encode(value).decode()}" for name, value in told.items())
        out["description"] = f"{out['description']}\n\n{{{text}}}" if out.get("description") else f"{{{text}}}"
    return out


def _strict_object(node: Mapping[str, Any], root: Mapping[str, Any]) -> Schema:
    closed = node.get("additionalProperties", None if node.get("properties") is None else False) is False
    if not closed:
        raise NotStrict("an object with any keys")
    required = node.get("required") or ()
    properties: Schema = {}
    for name, inner in (node.get("properties") or {}).items():
        form = _strict(inner, root)
        if name not in required and not allows_null(inner, root):
            form = {"anyOf": [form, {"type": "null"}]}
        properties[name] = form
    kind = node.get("type", "object")
    return {"type": kind, "properties": properties, "required": list(properties), "additionalProperties": False}


def lenient(value: Any, schema: object, root: Mapping[str, Any]) -> Any:
    """The value without the nulls that mean "left out": those of optional properties that `schema` does not let be null."""
    node = resolved(schema, root)
    for branch in [*(node.get("anyOf") or ()), *(node.get("oneOf") or ()), *(node.get("allOf") or ())]:
        if _fits(value, resolved(branch, root)):
            return lenient(value, branch, root)
    if isinstance(value, list):
        first, rest = node.get("prefixItems") or [], node.get("items")
        return [lenient(item, first[at] if at < len(first) else rest, root) for at, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    properties, required = node.get("properties") or {}, node.get("required") or ()
    others = node.get("additionalProperties")
    return {
        name: lenient(item, properties.get(name, others), root)
        for name, item in value.items()
        if item is not None or name in required or name not in properties or allows_null(properties[name], root)
    }


def _fits(value: object, node: Mapping[str, Any]) -> bool:
    if isinstance(value, dict):
        properties = node.get("properties") or {}
        others = bool(node.get("additionalProperties"))
        return is_object(node) and all(
            _may_be(item, properties[name]) if name in properties else others for name, item in value.items()
        )
    return isinstance(value, list) and "array" in _types(node)


def _may_be(value: object, node: Any) -> bool:
    """Whether a tag allows it: the property that tells the members of a union apart."""
    if value is None or not isinstance(node, Mapping):
        return True
    return value in node.get("enum", (value,)) and value == node.get("const", value)


def is_object(node: Mapping[str, Any]) -> bool:
    return "object" in _types(node) or ("type" not in node and "properties" in node)


def is_a(value: object, kind: str) -> bool:
    """Whether a JSON value is of the type that a schema names."""
    if isinstance(value, bool):
        return kind == "boolean"
    if isinstance(value, float) and kind == "integer":
        return value.is_integer()
    return isinstance(value, _TYPES.get(kind, ()))


def _types(node: Mapping[str, Any]) -> list[Any]:
    kind = node.get("type", [])
    return kind if isinstance(kind, list) else [kind]


def allows_null(schema: object, root: Mapping[str, Any]) -> bool:
    node = resolved(schema, root)
    if "null" in _types(node) or None in (node.get("enum") or ()) or node.get("const", ...) is None:
        return True
    return any(allows_null(branch, root) for branch in [*(node.get("anyOf") or ()), *(node.get("oneOf") or ())])


def resolved(schema: object, root: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a schema says, or the definition that it refers to."""
    seen = set()
    while isinstance(schema, Mapping):
        target = schema.get("$ref")
        if not isinstance(target, str) or target in seen:
            return schema
        seen.add(target)
        at: Any = root
        for step in target.removeprefix("#").split("/")[1:]:
            at = at.get(step.replace("~1", "/").replace("~0", "~")) if isinstance(at, Mapping) else None
        schema = at
    return {}
