"""JSON Schema as Gemini takes it.

Two fields take a schema. `parametersJsonSchema` and `responseJsonSchema` take JSON Schema: references and `anyOf` included,
`const` and a `$ref` with neighbours not. `parameters` and `responseSchema`, the older ones, take a subset of an OpenAPI 3.0
schema, where an unknown keyword is an error. The first is what is sent by default: next to nothing is lost on the way.

Sources: the Gemini API reference (Schema, FunctionDeclaration, GenerationConfig), and what the API refuses of the subset:
formats other than a few, enums of numbers, anything beside `anyOf`, `required` names that are no properties.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

_SUBSET = frozenset(
    {"title", "description", "nullable", "default", "minItems", "maxItems", "minLength", "maxLength", "pattern"}
    | {"minProperties", "maxProperties", "minimum", "maximum", "propertyOrdering", "example"}
)
"""Keywords of the subset that mean what they mean in JSON Schema."""

_HANDLED = frozenset(
    {"type", "format", "enum", "const", "properties", "required", "items", "prefixItems", "examples"}
) | {
    "anyOf",
    "oneOf",
    "allOf",
    "$ref",
    "exclusiveMinimum",
    "exclusiveMaximum",
}

_SILENT = frozenset(
    {"$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "deprecated", "readOnly", "writeOnly"}
)
"""Says nothing about what is valid."""

_FORMATS = {
    "STRING": frozenset({"enum", "date-time"}),
    "NUMBER": frozenset({"float", "double"}),
    "INTEGER": frozenset({"int32", "int64"}),
}

MAX_DEPTH = 32
MAX_REFS = 8
MAX_SCHEMAS = 5000
"""Definitions are copied to where they are used; what they grow to has an end."""


def adapted_json_schema(schema: Mapping[str, Any]) -> dict[str, Any]:
    """JSON Schema for the fields that take it: `const` is said as an enum of one, and a `$ref` stands alone."""
    adapted = _adapt(schema, schema, ())
    return adapted if isinstance(adapted, dict) else dict(schema)


def _adapt(node: Any, root: Mapping[str, Any], refs: tuple[str, ...]) -> Any:
    if isinstance(node, list):
        return [_adapt(item, root, refs) for item in node]
    if not isinstance(node, Mapping):
        return node
    target = node.get("$ref")
    beside = {name: value for name, value in node.items() if not name.startswith("$")}
    if isinstance(target, str) and beside:
        found = _resolve(target, root)
        if found is None or target in refs or len(refs) > MAX_REFS or _refers_to(found, target, root, set()):
            return {"$ref": target}  # it refers to itself: what stands beside it cannot be kept
        return _adapt({**found, **beside}, root, (*refs, target))
    out = {}
    for name, value in node.items():
        if name in ("enum", "default", "example", "examples", "required", "const"):
            out[name] = value  # data, not schemas
        elif name in ("properties", "$defs", "definitions", "patternProperties") and isinstance(value, Mapping):
            out[name] = {key: _adapt(inner, root, refs) for key, inner in value.items()}
        else:
            out[name] = _adapt(value, root, refs)
    if "const" in out and "enum" not in out and isinstance(out["const"], str | int | float):
        out["enum"] = [out.pop("const")]
    return out


def _resolve(target: str, root: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """What a reference within the schema points to."""
    if not target.startswith("#"):
        return None
    node: Any = root
    for step in filter(None, target[1:].split("/")):
        step = step.replace("~1", "/").replace("~0", "~")
        if not isinstance(node, Mapping) or step not in node:
            return None
        node = node[step]
    return node if isinstance(node, Mapping) else None


def _refers_to(node: Any, target: str, root: Mapping[str, Any], seen: set[str]) -> bool:
    if isinstance(node, Mapping):
        ref = node.get("$ref")
        if ref == target:
            return True
        if isinstance(ref, str) and ref not in seen:
            seen.add(ref)
            if _refers_to(_resolve(ref, root), target, root, seen):
                return True
        return any(_refers_to(value, target, root, seen) for value in node.values())
    return isinstance(node, list) and any(_refers_to(item, target, root, seen) for item in node)


def openapi_schema(schema: Mapping[str, Any], where: str, warnings: list[str]) -> dict[str, Any]:
    """The schema in the OpenAPI subset. What the subset cannot say is left out, and named in `warnings` (`where` is whose
    schema this is)."""
    subset = _Subset(schema)
    translated = subset.translate(schema, ())
    if subset.lost:
        warnings.append(f"{where}: the schema subset of Gemini has no {', '.join(sorted(subset.lost))}: left out")
    return translated


class _Subset:
    """One translation: the schema that references point into, and what was lost."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = MAX_SCHEMAS
        self.lost: set[str] = set()

    def translate(self, node: Any, refs: tuple[str, ...]) -> dict[str, Any]:
        if not isinstance(node, Mapping):
            if node is False:
                self.lost.add("schema that nothing satisfies")
            return {}
        self._left -= 1
        if len(refs) > MAX_DEPTH or self._left < 0:
            self.lost.add("schema as deep or large as this")
            return {"type": "OBJECT"}
        if (target := node.get("$ref")) is not None:
            return self._reference(str(target), node, refs)
        if isinstance(parts := node.get("allOf"), list):
            return self.translate(*self._merged(node, parts, refs))
        out = {name: node[name] for name in _SUBSET if node.get(name) is not None}
        self.lost |= {
            str(name) for name in node if name not in _SUBSET | _HANDLED | _SILENT and not self._idle(node, name)
        }
        branches = node.get("anyOf") or node.get("oneOf")
        kinds = node.get("type")
        if isinstance(branches, list) and branches:
            if not (node.get("properties") or node.get("items")):
                typed = {"type": kinds} if isinstance(kinds, str) else {}
                return self._any(
                    out, [{**typed, **item} if isinstance(item, Mapping) else item for item in branches], refs
                )
            self.lost.add("anyOf beside properties or items")
        if isinstance(kinds, list):
            if "null" in kinds:
                out["nullable"] = True
            kinds = [kind for kind in kinds if kind != "null"]
            if len(kinds) > 1:
                rest = {name: value for name, value in node.items() if name not in ("type", *_SUBSET - {"pattern"})}
                return self._any(out, [{**rest, "type": kind} for kind in kinds], refs)
            kinds = kinds[0] if kinds else "null"
        out |= self._typed(kinds if isinstance(kinds, str) else _guess(node), node, refs)
        return {name: out[name] for name in sorted(out, key=_place)}

    def _idle(self, node: Mapping[str, Any], name: str) -> bool:
        """Whether a keyword changes nothing where the subset is concerned."""
        return node[name] is None or (name == "additionalProperties" and isinstance(node[name], bool))

    def _reference(self, target: str, node: Mapping[str, Any], refs: tuple[str, ...]) -> dict[str, Any]:
        found = _resolve(target, self._root)
        if found is None or target in refs:
            self.lost.add("recursive reference" if found is not None else f"definition of {target}")
            return {"type": "OBJECT"}
        beside = {name: value for name, value in node.items() if name != "$ref"}
        return self.translate({**found, **beside}, (*refs, target))

    def _merged(
        self, node: Mapping[str, Any], parts: list[Any], refs: tuple[str, ...]
    ) -> tuple[dict[str, Any], tuple[str, ...]]:
        """`allOf` as one schema, and the references that are in it: properties and required names together, of other keywords
        the last one."""
        merged: dict[str, Any] = {}
        for part in [*parts, {name: value for name, value in node.items() if name != "allOf"}]:
            while isinstance(part, Mapping) and isinstance(target := part.get("$ref"), str):
                found = None if target in refs else _resolve(target, self._root)
                if found is None:
                    self.lost.add("recursive reference" if target in refs else f"definition of {target}")
                refs = (*refs, target)
                part = {**(found or {}), **{name: value for name, value in part.items() if name != "$ref"}}
            if not isinstance(part, Mapping):
                continue
            for name, value in part.items():
                held = merged.get(name)
                if name == "properties" and isinstance(held, dict) and isinstance(value, Mapping):
                    merged[name] = {**held, **value}
                elif name == "required" and isinstance(held, list) and isinstance(value, list):
                    merged[name] = [*held, *(item for item in value if item not in held)]
                elif name == "allOf" and isinstance(held, list) and isinstance(value, list):
                    merged[name] = [*held, *value]
                else:
                    merged[name] = value
        return merged, (*refs, "")

    def _any(self, out: dict[str, Any], branches: list[Any], refs: tuple[str, ...]) -> dict[str, Any]:
        """A union; null is `nullable`, and a union of one is that one."""
        good = [item for item in branches if not (isinstance(item, Mapping) and item.get("type") == "null")]
        kept = {name: value for name, value in out.items() if name in ("description", "title", "nullable", "default")}
        if len(good) < len(branches):
            kept["nullable"] = True
        translated = [self.translate(item, (*refs, "")) for item in good]
        if len(translated) == 1:
            return translated[0] | kept
        return kept | {"anyOf": translated} if translated else {"type": "NULL"}

    def _typed(self, kind: str, node: Mapping[str, Any], refs: tuple[str, ...]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        if kind:
            out["type"] = name = kind.upper()
        else:
            name = ""
        if (form := node.get("format")) is not None:
            if form in _FORMATS.get(name, ()):
                out["format"] = form
            else:
                self.lost.add(f"format {form}")
        if name == "OBJECT":
            out |= self._object(node, refs)
        elif name == "ARRAY":
            out |= self._array(node, refs)
        elif name == "INTEGER" or name == "NUMBER":
            out |= self._bounds(name, node)
        values = [node["const"]] if "const" in node else node.get("enum")
        if isinstance(values, list) and values:
            out |= self._values(name, values, node)
        examples = node.get("examples")
        if isinstance(examples, list) and examples and "example" not in node:
            out["example"] = examples[0]
        return out

    def _object(self, node: Mapping[str, Any], refs: tuple[str, ...]) -> dict[str, Any]:
        properties = node.get("properties")
        if not isinstance(properties, Mapping) or not properties:
            return {}
        out: dict[str, Any] = {
            "properties": {str(key): self.translate(inner, (*refs, "")) for key, inner in properties.items()}
        }
        required = node.get("required")
        if isinstance(required, list) and (known := [key for key in required if key in properties]):
            out["required"] = known
        return out

    def _array(self, node: Mapping[str, Any], refs: tuple[str, ...]) -> dict[str, Any]:
        items, places = node.get("items"), node.get("prefixItems")
        if isinstance(places, list) and places:
            self.lost.add("prefixItems")
            several = [*places, *([items] if isinstance(items, Mapping) else [])]
            different = [item for at, item in enumerate(several) if item not in several[:at]]
            return {"items": self._any({}, different, (*refs, ""))}
        return {"items": self.translate(items, (*refs, "")) or {"type": "STRING"}}

    def _bounds(self, kind: str, node: Mapping[str, Any]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for exclusive, bound, step in (("exclusiveMinimum", "minimum", 1), ("exclusiveMaximum", "maximum", -1)):
            limit = node.get(exclusive)
            if isinstance(limit, bool) or not isinstance(limit, int | float):
                continue
            if kind == "INTEGER" and math.isfinite(limit):
                out[bound] = (math.floor(limit) if step > 0 else math.ceil(limit)) + step
            else:
                self.lost.add(exclusive)
        return out

    def _values(self, kind: str, values: list[Any], node: Mapping[str, Any]) -> dict[str, Any]:
        """An enum, of which the subset has that of strings; others are told in words."""
        out: dict[str, Any] = {"nullable": True} if None in values else {}
        values = [value for value in values if value is not None]
        if values and all(isinstance(value, str) for value in values):
            return out | {"type": "STRING", "enum": values}
        if values:
            said = ", ".join(msgspec.json.encode(value).decode() for value in values)
            out["description"] = f"{node.get('description') or ''} One of: {said}".strip()
            if kind in ("INTEGER", "NUMBER") and all(isinstance(value, int | float) for value in values):
                out |= {"minimum": min(values), "maximum": max(values)}
            self.lost.add("enum of other values than strings (it is in the description)")
        return out


def _guess(node: Mapping[str, Any]) -> str:
    """The type of a schema that names none: what its keywords are about."""
    if node.get("properties"):
        return "object"
    if "items" in node or "prefixItems" in node:
        return "array"
    values = [node["const"]] if "const" in node else node.get("enum")
    if isinstance(values, list) and values:
        kinds = {type(value) for value in values if value is not None}
        return {str: "string", int: "integer", float: "number", bool: "boolean"}.get(next(iter(kinds), str), "")
    return ""


_ORDER = ("type", "format", "title", "description", "nullable", "enum", "properties", "required", "items", "anyOf")


def _place(name: str) -> tuple[int, str]:
    return (_ORDER.index(name) if name in _ORDER else len(_ORDER), name)
