# ruff: noqa: E501  # tables of schemas are read line by line
"""JSON Schema to what Gemini takes: nothing lost where it takes JSON Schema, and an honest subset where it does not."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from _decoding import PLENTY
from google.genai import types
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.protocols.gemini._schema import adapted_json_schema, openapi_schema


class Town(msgspec.Struct):
    name: str
    size: int | None = None


class Country(msgspec.Struct):
    towns: list[Town]
    capital: Town
    kind: str = "state"


def subset(schema: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """The translation, and what was lost. It must be what Google's own type takes."""
    warnings: list[str] = []
    found = openapi_schema(schema, "tool f", warnings)
    types.Schema.model_validate(found)
    return found, "".join(warnings)


# ---- where JSON Schema is taken


def test_plain_schemas_stay_as_they_are() -> None:
    """References, unions, bounds, whatever it is."""
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}, "b": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["a"],
        "additionalProperties": False,
        "$defs": {"A": {"type": "object", "properties": {"next": {"$ref": "#/$defs/A"}}}},
    }
    assert adapted_json_schema(schema) == schema


def test_const_is_an_enum_of_one() -> None:
    """Also in unions and definitions; what is data under its name is left alone."""
    schema = {
        "anyOf": [{"const": "a"}, {"properties": {"const": {"const": 1}, "x": {"default": {"const": 2}}}}],
        "$defs": {"D": {"const": True}},
    }
    assert adapted_json_schema(schema) == {
        "anyOf": [{"enum": ["a"]}, {"properties": {"const": {"enum": [1]}, "x": {"default": {"const": 2}}}}],
        "$defs": {"D": {"enum": [True]}},
    }


def test_a_reference_stands_alone() -> None:
    """What stands beside it comes into a copy of the definition; where it refers to itself it cannot."""
    schema = {
        "properties": {
            "a": {"$ref": "#/$defs/A", "description": "mine"},
            "b": {"$ref": "#/$defs/B", "description": "lost"},
            "c": {"$ref": "#/$defs/Missing", "title": "x"},
        },
        "$defs": {
            "A": {"type": "string", "description": "its"},
            "B": {"properties": {"inner": {"$ref": "#/$defs/C"}}},
            "C": {"items": {"$ref": "#/$defs/B"}},
        },
    }
    found = adapted_json_schema(schema)["properties"]
    assert found["a"] == {"type": "string", "description": "mine"}
    assert found["b"] == {"$ref": "#/$defs/B"}
    assert found["c"] == {"$ref": "#/$defs/Missing"}


# ---- the OpenAPI subset


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "string", "format": "date-time"}, {"type": "STRING", "format": "date-time"}),
        ({"type": ["string", "null"]}, {"type": "STRING", "nullable": True}),
        ({"anyOf": [{"type": "string"}, {"type": "null"}], "description": "d"}, {"type": "STRING", "nullable": True, "description": "d"}),
        ({"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "null"}]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}], "nullable": True}),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}),
        ({"type": ["string", "integer"], "minLength": 1}, {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}),
        ({"type": "string", "anyOf": [{"enum": ["a"]}, {"enum": ["b"]}]}, {"anyOf": [{"type": "STRING", "enum": ["a"]}, {"type": "STRING", "enum": ["b"]}]}),
        ({"type": "null"}, {"type": "NULL"}),
        ({"const": "a"}, {"type": "STRING", "enum": ["a"]}),
        ({"enum": ["a", None]}, {"type": "STRING", "enum": ["a"], "nullable": True}),
        ({"type": "integer", "exclusiveMinimum": 0, "exclusiveMaximum": 10}, {"type": "INTEGER", "minimum": 1, "maximum": 9}),
        ({"type": "array", "items": {"type": "number"}, "minItems": 1}, {"type": "ARRAY", "items": {"type": "NUMBER"}, "minItems": 1}),
        ({"type": "array"}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        ({"items": {"type": "string"}}, {"type": "ARRAY", "items": {"type": "STRING"}}),
        ({"allOf": [{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}, {"properties": {"b": {"type": "string"}}, "required": ["b"]}]},
         {"type": "OBJECT", "properties": {"a": {"type": "STRING"}, "b": {"type": "STRING"}}, "required": ["a", "b"]}),
        ({"type": "object", "properties": {"a": {}}, "required": ["a", "ghost"]}, {"type": "OBJECT", "properties": {"a": {}}, "required": ["a"]}),
        ({"type": "object", "properties": {"a": True}, "additionalProperties": False, "$schema": "x", "title": "T"}, {"type": "OBJECT", "properties": {"a": {}}, "title": "T"}),
        ({"type": "string", "examples": ["x", "y"]}, {"type": "STRING", "example": "x"}),
        ({"$ref": "#/definitions/A", "definitions": {"A": {"allOf": [{"$ref": "#/definitions/B"}]}, "B": {"type": "boolean"}}}, {"type": "BOOLEAN"}),
        ({"properties": {"a/b": {"$ref": "#/properties/c~1d"}, "c/d": {"type": "integer"}}}, {"type": "OBJECT", "properties": {"a/b": {"type": "INTEGER"}, "c/d": {"type": "INTEGER"}}}),
    ],
)  # fmt: skip
def test_what_the_subset_can_say(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    """The same, in its words, without a warning."""
    assert subset(schema) == (expected, "")


@pytest.mark.parametrize(
    ("schema", "expected", "lost"),
    [
        ({"type": "string", "format": "email"}, {"type": "STRING"}, "format email"),
        ({"type": "integer", "enum": [3, 1]}, {"type": "INTEGER", "minimum": 1, "maximum": 3, "description": "One of: 3, 1"}, "enum of other values"),
        ({"const": True, "description": "d"}, {"type": "BOOLEAN", "description": "d One of: true"}, "enum of other values"),
        ({"type": "number", "exclusiveMinimum": 0}, {"type": "NUMBER"}, "exclusiveMinimum"),
        ({"type": "string", "not": {"const": "x"}}, {"type": "STRING"}, "not"),
        ({"type": "object", "properties": {"a": {}}, "additionalProperties": {"type": "string"}}, {"type": "OBJECT", "properties": {"a": {}}}, "additionalProperties"),
        ({"type": "object", "patternProperties": {"x": {}}}, {"type": "OBJECT"}, "patternProperties"),
        ({"type": "array", "uniqueItems": True, "items": {"type": "string"}}, {"type": "ARRAY", "items": {"type": "STRING"}}, "uniqueItems"),
        ({"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]}, {"type": "ARRAY", "items": {"anyOf": [{"type": "STRING"}, {"type": "INTEGER"}]}}, "prefixItems"),
        ({"type": "object", "properties": {"a": {}}, "anyOf": [{"required": ["a"]}]}, {"type": "OBJECT", "properties": {"a": {}}}, "anyOf beside"),
        ({"properties": {"a": {"$ref": "#/nowhere"}}}, {"type": "OBJECT", "properties": {"a": {"type": "OBJECT"}}}, "definition of #/nowhere"),
        ({"properties": {"a": False}}, {"type": "OBJECT", "properties": {"a": {}}}, "nothing satisfies"),
    ],
)  # fmt: skip
def test_what_the_subset_cannot_say_is_warned_of(schema: dict[str, Any], expected: dict[str, Any], lost: str) -> None:
    """Left out, with what it was and where."""
    found, warning = subset(schema)
    assert found == expected
    assert lost in warning
    assert "tool f" in warning


def test_a_schema_that_refers_to_itself() -> None:
    """The subset has no references: the second time round it is any object."""
    tree = {
        "type": "object",
        "properties": {"kids": {"type": "array", "items": {"$ref": "#"}}, "name": {"type": "string"}},
    }
    found, warning = subset(tree)
    assert found["properties"]["kids"]["items"]["properties"]["kids"]["items"] == {"type": "OBJECT"}
    assert "recursive" in warning
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(60):
        deep = {"type": "array", "items": deep}
    assert "as deep" in subset(deep)[1]
    assert "recursive" in subset({"allOf": [{"$ref": "#"}, {"$ref": "#"}]})[1]
    wide = {
        "$ref": "#/$defs/0",
        "$defs": {str(at): {"properties": {key: {"$ref": f"#/$defs/{at + 1}"} for key in "ab"}} for at in range(25)},
    }
    assert "as deep or large" in subset(wide)[1]


def test_schemas_of_msgspec() -> None:
    """What a typed output becomes is said whole in both forms."""
    schema = msgspec.json.schema(Country)
    types.Schema.model_validate(openapi_schema(schema, "x", lost := []))
    assert not lost
    found, _ = subset(schema)
    town = found["properties"]["capital"]
    assert (
        town["properties"]["size"] == {"type": "INTEGER", "nullable": True, "default": None}
        or "nullable" in town["properties"]["size"]
    )
    assert "$ref" not in json.dumps(found)


ANY = st.recursive(
    st.sampled_from([True, False, {}, {"$ref": "#"}, {"$ref": "#/properties/a"}, {"const": 1}, {"enum": [None]}, 3, "x", None]),
    lambda inner: st.fixed_dictionaries(
        {},
        optional={
            "type": st.sampled_from(["object", "array", "string", ["string", "null"], ["integer", "number"], 5]),
            "properties": st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2) | inner,
            "items": inner,
            "prefixItems": st.lists(inner, max_size=2),
            "anyOf": st.lists(inner, max_size=3) | inner,
            "allOf": st.lists(inner, max_size=2),
            "required": st.just(["a"]),
            "enum": st.lists(st.sampled_from(["x", 1, None]), max_size=2),
            "format": st.sampled_from(["date", "int32", 1]),
            "exclusiveMinimum": st.sampled_from([1, 1.5, True, float("inf")]),
            "$ref": st.sampled_from(["#", "#/properties/a", "x"]),
        },
    ),
    max_leaves=8,
)  # fmt: skip


@PLENTY
@given(ANY.filter(lambda schema: isinstance(schema, dict)))
def test_no_schema_breaks_the_translation(schema: dict[str, Any]) -> None:
    """Whatever people write: JSON comes out, without references, and only with keywords that the subset knows."""
    adapted_json_schema(schema)
    found = openapi_schema(schema, "x", [])
    check_keywords(found)


def check_keywords(schema: dict[str, Any]) -> None:
    known = {to_alias(name) for name in types.Schema.model_fields}
    assert set(schema) <= known, schema
    for inner in (
        *schema.get("properties", {}).values(),
        *schema.get("anyOf", ()),
        *filter(None, [schema.get("items")]),
    ):
        check_keywords(inner)


def to_alias(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)
