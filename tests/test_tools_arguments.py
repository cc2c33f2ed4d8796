"""From a model's arguments to what the function takes, or to words on what is wrong with them."""

from __future__ import annotations

import datetime
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from _tools import (
    Options,
    Person,
    Place,
    Span,
    Strict,
    Team,
    Tree,
    Unit,
    refused,
    silent,
    taken,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Struct
from pydantic import BaseModel

from asyncllm.tools import ToolError
from asyncllm.tools._function import FunctionTool


def every(
    a: int = 0,
    b: Literal["x", "y"] = "x",
    c: Unit = Unit.C,
    d: datetime.datetime | None = None,
    e: list[Place] = [],  # noqa: B006
    f: Span | None = None,
    g: Options = {},  # noqa: B006
    h: dict[int, Decimal] = {},  # noqa: B006
    i: Tree | None = None,
    j: Person | None = None,
    k: Path = Path(),
    m: bytes = b"",
    n: Annotated[str, Meta(pattern="^a")] = "a",
    o: Strict | None = None,
    p: Team | None = None,
    q: set[str] = set(),  # noqa: B006
    r: uuid.UUID | None = None,
) -> object:
    return locals()


EVERY = FunctionTool(every)


@pytest.mark.parametrize(
    ("argument", "given", "read"),
    [
        ("a", "5", 5),
        ("a", 5.0, 5),
        ("c", "fahrenheit", Unit.F),
        ("d", "2026-01-02T03:04:05", datetime.datetime(2026, 1, 2, 3, 4, 5)),
        ("e", [{"name": "Oslo", "at": [1, 2.5]}], [Place("Oslo", (1, 2.5))]),
        ("f", {"start": "2026-01-02"}, Span(datetime.date(2026, 1, 2))),
        ("g", {"verbose": True}, {"verbose": True}),
        ("h", {"1": "2.5"}, {1: Decimal("2.5")}),
        ("i", {"value": 1, "children": [{"value": 2}]}, Tree(1, [Tree(2)])),
        ("j", {"name": "A", "age": "3"}, Person(name="A", age=3)),
        ("k", "a/b", Path("a/b")),
        ("m", "aGk=", b"hi"),
        ("o", {"day": "2026-01-02"}, Strict(day=datetime.date(2026, 1, 2))),
        ("p", {"lead": {"name": "A", "age": 3}}, {"lead": Person(name="A", age=3)}),
        ("q", ["a", "a"], {"a"}),
        ("r", str(uuid.UUID(int=1)), uuid.UUID(int=1)),
    ],
)
def test_arguments_are_converted(argument: str, given: object, read: object) -> None:
    """To what the annotation says; the others keep their defaults."""
    found = taken(EVERY, **{argument: given})
    assert found.pop(argument) == read
    rest = every()
    assert isinstance(rest, dict)
    del rest[argument]
    assert found == rest


@pytest.mark.req("seed-E3")
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"a": "five"}, "a: expected `int`, got `str`"),
        ({"a": None}, "a: expected `int`, got `null`"),
        ({"b": "z"}, 'b: invalid enum value \'z\', expected one of "x", "y"'),
        ({"c": "kelvin"}, 'c: invalid enum value \'kelvin\', expected one of "celsius", "fahrenheit"'),
        ({"e": [{"name": "a"}, {"name": 3}]}, "e[1].name: expected `str`, got `int`"),
        ({"e": [{}]}, "e[0]: object missing required field `name`"),
        ({"h": {"x": 1}}, "a key of h: expected `int`, got `str`"),
        ({"i": {"value": 1, "children": [{"value": []}]}}, "i.children[0].value: expected `int`, got `array`"),
        ({"j": {"age": -1, "friends": 3}}, "j.name: field required; j.age: input should be greater than or equal to 0"),
        ({"k": 3}, "k: expected `str`, got `int`"),
        ({"n": "b"}, "n: expected `str` matching regex '^a'"),
        ({"p": {"lead": {}}}, "p.lead.name: field required"),
        ({"z": 1}, "unknown argument `z` (there are: a, b, c,"),
        ({"a": [], "b": 1, "z": 2}, "a: expected `int`, got `array`; b: "),
    ],
)
def test_bad_arguments_are_answered_with_what_is_wrong(arguments: dict[str, object], said: str) -> None:
    """Where, what it is and what it should be; everything that is wrong at once."""
    assert said in refused(EVERY, **arguments)


@pytest.mark.req("seed-E3")
def test_missing_and_unknown_arguments() -> None:
    """The model is told which, and which there are."""

    def book(city: str, unit: str, /, nights: int) -> None: ...

    assert refused(book, unit="c", town="x") == (
        "missing required argument `city`; missing required argument `nights`; "
        "unknown argument `town` (there are: city, unit, nights)"
    )
    assert refused(nothing, x=1) == "unknown argument `x` (there are none)"
    for wrong in ([], "{}", None, 3):
        with pytest.raises(ToolError, match="must be a JSON object"):
            FunctionTool(book)._bind(wrong, silent)  # type: ignore[arg-type]


def nothing() -> None: ...


@pytest.mark.req("seed-E3")
def test_what_is_said_has_a_limit() -> None:
    """However much is wrong, and however long it is."""
    for arguments in (
        {"b": "z" * 10**5},
        {f"z{n}": n for n in range(10**4)},
        {"j": {"name": [], "friends": [0] * 10**4}},
    ):
        assert len(refused(EVERY, **arguments)) < 2100
    assert refused(EVERY, **{"\udc00": 1}).encode()


def test_positional_only_parameters() -> None:
    """They are passed by position, defaults between them filled in."""

    def power(base: int, exponent: int = 2, modulus: int | None = None, /, *, sign: int = 1) -> object:
        return base, exponent, modulus, sign

    assert taken(power, base="3") == (3, 2, None, 1)
    assert taken(power, base=3, modulus=5, sign=-1) == (3, 2, 5, -1)


def test_arguments_are_the_functions_own() -> None:
    """It may change them: the history keeps what the model said."""

    def change(anything: Any, items: list[Any], table: dict[str, Any]) -> None:
        for each in (anything, items[0], table["a"]):
            each.append("changed")

    arguments: dict[str, object] = {"anything": [], "items": [[]], "table": {"a": []}}
    taken(change, **arguments)
    assert arguments == {"anything": [], "items": [[]], "table": {"a": []}}


def test_a_validator_that_fails_in_its_own_way() -> None:
    """Is answered like any other."""

    class Fussy(Struct):
        n: int

        def __post_init__(self) -> None:
            raise LookupError(f"no {self.n}")

    def pick(x: Fussy) -> None: ...

    assert refused(pick, x={"n": 3}) == "x: no 3"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "at", "value", "children", "day", "n"]) | st.text(), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abcdefghijkmnopqrz"), json_values))
@settings(deadline=None)
def test_any_object_is_read_or_answered(arguments: dict[str, object]) -> None:
    """Whatever a model sends: the function is called, or the model is told; nothing else happens."""
    try:
        found = taken(EVERY, **arguments)
    except ToolError as error:
        assert isinstance(error.content, str)
        error.content.encode()
    else:
        assert type(found["a"]) is int
        assert isinstance(found["c"], Unit)


def test_objects_that_somebody_has_put_there() -> None:
    """An approval may edit the arguments, and need not do it in JSON."""

    class Holder(BaseModel, arbitrary_types_allowed=True):
        lock: object

    def hold(day: datetime.date, place: Place, holder: Holder) -> object:
        return day, place, holder

    thing = object
    found = taken(hold, day=datetime.date(2026, 1, 2), place=Place("a"), holder={"lock": thing})
    assert found == (datetime.date(2026, 1, 2), Place("a"), Holder(lock=thing))
