"""From a function's signature to the schema that the model is told."""

from __future__ import annotations

import datetime
import subprocess
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional

import pydantic
import pytest
from _tools import (
    Person,
    Place,
    Span,
    Team,
    Tree,
    Unit,
    UserId,
    references,
    refused,
    schema,
    silent,
    taken,
)
from msgspec import Meta, Struct
from pydantic import Field

from asyncllm import InvalidRequestError
from asyncllm._schema import schema_of
from asyncllm.tools._function import FunctionTool, tool

if TYPE_CHECKING:
    from decimal import Context as OnlyForTypeCheckers


# ---- the schema


def test_an_object_with_nothing_else() -> None:
    """Defaults are shown, and make a parameter optional; what has no annotation may be anything."""

    def weather(
        city: str, days: int = 3, *, detail: bool, tags: list[str] | None = None, more=None, most: Any = ...
    ): ...  # type: ignore[no-untyped-def]

    assert schema(weather) == {
        "type": "object",
        "properties": {
            "city": {"type": "string"},
            "days": {"type": "integer", "default": 3},
            "detail": {"type": "boolean"},
            "tags": {"anyOf": [{"type": "array", "items": {"type": "string"}}, {"type": "null"}], "default": None},
            "more": {"default": None},
            "most": {},
        },
        "required": ["city", "detail"],
        "additionalProperties": False,
    }
    assert schema(lambda: None, name="nothing") == {"type": "object", "properties": {}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        (float, {"type": "number"}),
        (UserId, {"type": "integer"}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (
            datetime.datetime | None,
            {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        ),
        (datetime.date, {"type": "string", "format": "date"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (Path, {"type": "string", "format": "path"}),
        (Annotated[int, Meta(ge=1, description="Count.")], {"type": "integer", "minimum": 1, "description": "Count."}),
        (Annotated[int, Field(ge=1, description="Count.")], {"type": "integer", "minimum": 1, "description": "Count."}),
        (Annotated[int, "Count."], {"type": "integer", "description": "Count."}),
        (Annotated[str, "A."] | None, {"anyOf": [{"type": "string"}, {"type": "null"}], "description": "A."}),
        (pydantic.HttpUrl, {"type": "string", "format": "uri", "minLength": 1, "maxLength": 2083}),
        (Place, {"$ref": "#/$defs/Place"}),
        (list[Unit], {"type": "array", "items": {"$ref": "#/$defs/Unit"}}),
        (Person, {"$ref": "#/$defs/Person"}),
        (dict[str, list[Person]], None),
    ],
    ids=str,
)
def test_types(kind: Any, expected: dict[str, Any] | None) -> None:
    """Those of msgspec and those of pydantic; named ones are in the definitions, and each reference finds its own."""

    def function(x): ...  # type: ignore[no-untyped-def]

    function.__annotations__["x"] = kind
    found = schema(function)
    assert expected is None or found["properties"]["x"] == expected
    for reference in references(found):
        assert reference.removeprefix("#/$defs/") in found["$defs"]


def test_types_of_both_libraries_in_one_signature() -> None:
    """Also under one name."""

    class Person(Struct):
        nick: str

    theirs = globals()["Person"]

    def meet(a: Person, b: theirs, unit: Unit = Unit.C, c: Annotated[int, Field(lt=9)] = 1) -> object:  # type: ignore[valid-type]
        return a, b, unit, c

    found = schema(meet)
    assert found["properties"]["unit"] == {"$ref": "#/$defs/Unit", "default": "celsius"}
    ours, others = (found["$defs"][found["properties"][name]["$ref"].removeprefix("#/$defs/")] for name in "ab")
    assert list(ours["properties"]) == ["nick"]
    assert list(others["properties"]) == ["name", "age", "friends"]
    assert all(name.removeprefix("#/$defs/") in found["$defs"] for name in references(found))
    a, b, unit, c = taken(meet, a={"nick": "x"}, b={"name": "y", "age": "4"}, unit="fahrenheit", c="8")
    assert (a, b, unit, c) == (Person("x"), theirs(name="y", age=4), Unit.F, 8)


def test_names_that_mean_something_elsewhere() -> None:
    """To Python, to Structs, to pydantic, or to what makes the call."""
    names = [
        "self",
        "func",
        "function",
        "args",
        "kwargs",
        "name",
        "class_",
        "model_config",
        "schema",
        "copy",
        "json",
        "report",
        "where",
        "type_",
        "__init",
    ]
    scope: dict[str, Any] = {}
    exec(f"def odd({', '.join(f'{name}: int' for name in names)}): return locals()", scope)
    assert schema(scope["odd"])["required"] == names
    assert taken(scope["odd"], **dict.fromkeys(names, "1")) == dict.fromkeys(names, 1)


GOOGLE = """Say how the weather is.

It knows the whole world.

Args:
    city (str): Where, in English:
        no codes.
    low, high: The bounds.
    days: Overruled.

Returns:
    A sentence.
"""
NUMPY = """Say how the weather is.

It knows the whole world.

Parameters
----------
city : str
    Where, in English:
    no codes.
low, high : int
    The bounds.
days : int
    Overruled.

Returns
-------
str
    A sentence.
"""
REST = """Say how the weather is.

It knows the whole world.

:param city: Where, in English:
    no codes.
:param int low: The bounds.
:param high: The bounds.
:param days: Overruled.
:returns: A sentence.
"""


@pytest.mark.parametrize("text", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings(text: str) -> None:
    """The three styles: the function's description, and those of parameters, which annotations overrule."""

    def weather(city: str, low: int, high: int, days: Annotated[int, "How many."] = 1) -> None: ...

    weather.__doc__ = text.replace("\n", "\n    ")
    made = FunctionTool(weather)
    assert made.spec.description == "Say how the weather is.\n\nIt knows the whole world."
    properties = made.spec.parameters["properties"]
    assert isinstance(properties, dict)
    told = {name: each["description"] for name, each in properties.items()}
    assert told == {
        "city": "Where, in English:\nno codes.",
        "low": "The bounds.",
        "high": "The bounds.",
        "days": "How many.",
    }


ODD_FIELDS = [":", ":    :param int a b c:Note::"]


@pytest.mark.parametrize(
    "text",
    [None, "", "One line.", "Two\nlines.", "What: is\n  this - even\n----\n:x", *ODD_FIELDS],
)
def test_other_docstrings(text: str | None) -> None:
    """Whatever is in them, nothing is lost and nothing fails."""

    def function() -> None: ...

    function.__doc__ = text
    assert FunctionTool(function).spec.description.split()[:1] == (text or "").split()[:1]


def test_fields_of_pydantic_as_defaults() -> None:
    """As pydantic's own functions take them: constraints, descriptions, defaults and their factories."""

    def search(
        q: str = Field(min_length=2),
        n: int = Field(5, le=9),
        tags: list[str] = Field(default_factory=list),  # noqa: B008
    ) -> Any:
        return q, n, tags

    found = schema(search)
    assert found["required"] == ["q"]
    assert found["properties"]["n"] == {"type": "integer", "maximum": 9, "default": 5}
    first, second = taken(search, q="ab"), taken(search, q="ab")
    assert first == second == ("ab", 5, [])
    assert first[2] is not second[2]
    with pytest.raises(InvalidRequestError, match="'q' has an alias"):
        FunctionTool(aliased)


def aliased(q: str = Field(alias="from")) -> None: ...


def test_strict_tools() -> None:
    """Every argument is asked for; null, where the type has none, is the default."""

    def find(name: str, limit: int = 10, before: datetime.date | None = datetime.date(2020, 1, 1)) -> object:
        return name, limit, before

    made = FunctionTool(find, strict=True)
    assert made.spec.strict is True
    assert made.spec.parameters["required"] == ["name", "limit", "before"]
    signature = made._signature
    assert signature is not None
    args, kwargs = signature.bind({"name": "a", "limit": None, "before": None}, silent)
    assert find(*args, **kwargs) == ("a", 10, None)  # type: ignore[arg-type]
    assert "limit: expected `int`, got `null`" in refused(find, name="a", limit=None)
    with pytest.raises(InvalidRequestError, match=r"anything\(\) cannot be a strict tool"):
        FunctionTool(anything, strict=True).spec  # noqa: B018


def anything(x: Any) -> None: ...


# ---- what no model can be told of


def test_star_arguments() -> None:
    """Refused, with a way out."""
    for function in (lambda *args: args, lambda **options: options):
        with pytest.raises(InvalidRequestError, match=r"\*(args|options)` takes; .* parameters="):
            FunctionTool(function, name="f")


def test_annotations_that_cannot_be_evaluated_or_told() -> None:
    """The error names the function and the parameter."""

    def missing(a: int, b: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
    def hidden(a: OnlyForTypeCheckers) -> None: ...
    def untold(a: int, b: Callable[[], int]) -> None: ...
    def both(a: Place | Span) -> None: ...
    def junk(a: 3) -> None: ...  # type: ignore[valid-type]

    for function, name in ((missing, "b"), (hidden, "a"), (untold, "b"), (both, "a"), (junk, "a")):
        with pytest.raises(InvalidRequestError, match=rf"{function.__name__}\(\): parameter '{name}'"):
            FunctionTool(function)
    with pytest.raises(InvalidRequestError, match="parameters="):
        FunctionTool(dict.update)


# ---- where annotations are looked up


def test_local_types_of_a_local_function() -> None:
    """Where a tool is made is where it is written; closures see what they close over."""

    class Local(Struct):
        n: int

    @tool
    def one(x: Local) -> object:
        return x

    def factory() -> Callable[..., object]:
        class Inner(Struct):
            n: int

        def two(x: Inner) -> object:
            return Inner, x

        return two

    class Box:
        class Item(Struct):
            n: int

        @tool
        def three(self, x: Item, y: list[Local]) -> object:
            return x, y

    assert taken(one.__wrapped__, x={"n": "1"}) == Local(1)
    assert taken(factory(), x={"n": 1})[1].n == 1
    assert list(schema(Box.three)["$defs"]) == ["Item", "Local"]


def test_annotations_that_are_no_strings() -> None:
    """A module without the future import, forward references in it, and Python's own evaluation."""
    source = "import typing\ndef f(a: int, b: 'list[Later]', c: typing.Optional['Later'] = None): return a, b, c\nLater = int"
    scope: dict[str, Any] = {"__name__": "elsewhere"}
    exec(compile(source, "elsewhere", "exec", dont_inherit=True), scope)
    assert taken(scope["f"], a="1", b=["2"]) == (1, [2], None)


# ---- the schema of one type, which structured output shares


def test_the_schema_of_one_type() -> None:
    """The object is at the top; a definition stays only as long as somebody refers to it."""
    assert schema_of(Place)["properties"].keys() == {"name", "at"}
    assert "$defs" not in schema_of(Place)
    for kind in (Tree, Person):
        found = schema_of(kind)
        assert found["type"] == "object"
        assert references(found)
        assert kind.__name__ in found["$defs"]
    assert schema_of(list[Place])["items"] == {"$ref": "#/$defs/Place"}
    assert list(schema_of(Team)["$defs"]) == ["Person"]
    for kind in (complex, "Place", Place | Span, Person | Place):
        with pytest.raises(InvalidRequestError, match="no JSON Schema"):
            schema_of(kind)


@pytest.mark.req("seed-F6")
def test_pydantic_is_not_imported_for_those_who_do_without() -> None:
    """Nor the reader of docstrings, for one line."""
    script = (
        "import sys\nfrom asyncllm.tools._function import tool\n@tool\ndef f(a: int = 1) -> int:\n    'One line.'\n"
        "assert f.spec.parameters['properties'] == {'a': {'type': 'integer', 'default': 1}}\n"
        "assert not {'pydantic', 'docstring_parser', 'anyio'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
