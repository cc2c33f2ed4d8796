"""What a tool returned, as the model is told it."""

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import io
import json
import uuid
from pathlib import PurePosixPath
from types import MappingProxyType

import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asyncllm import Audio, File, Image, Text
from asyncllm.tools import ToolError
from asyncllm.tools._content import NOTHING, content_of

pytestmark = pytest.mark.req("seed-E7")

IMAGE = Image(data=b"png")


class Colour(enum.StrEnum):
    RED = "red"


class City(msgspec.Struct):
    name: str
    founded: datetime.date


@dataclasses.dataclass
class Point:
    x: float
    y: float


class Person(pydantic.BaseModel):
    name: str
    home: pydantic.HttpUrl | None = None
    height: float = 1.0


class Half(float):
    """A number of the user's own, as NumPy's are."""


class Whole(int):
    """The same without a fraction."""


class Array:
    """Stands in for NumPy's."""

    def tolist(self) -> list[int]:
        return [1, 2]


@pytest.mark.parametrize("text", ["", "It rains.", "Zürich ☔", '{"already": "json"}', "\x00\x1b[0m"])
def test_text_is_told_as_it_is(text: str) -> None:
    """No quotes, no escapes."""
    assert content_of(text, "f") == text


def test_a_member_of_an_enum_of_strings_is_its_value() -> None:
    """Not the name of the enum."""
    content = content_of(Colour.RED, "f")
    assert content == "red"
    assert type(content) is str


def test_none_says_that_it_is_done() -> None:
    """An empty result would be refused by some providers, and leaves a model wondering."""
    assert content_of(None, "f") == NOTHING != ""


def test_parts_are_parts() -> None:
    """One, or many, a tuple of them, and other things between them as texts."""
    assert content_of(IMAGE, "f") == [IMAGE]
    assert content_of(Text("a"), "f") == [Text("a")]
    assert content_of([Text("a"), IMAGE], "f") == [Text("a"), IMAGE]
    assert content_of(("before", IMAGE, {"n": 1}, None), "f") == [Text("before"), IMAGE, Text('{"n":1}'), Text(NOTHING)]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (True, "true"),
        (2**80, str(2**80)),
        (1.5, "1.5"),
        ([], "[]"),
        ({}, "{}"),
        ({"städte": ["Zürich"]}, '{"städte":["Zürich"]}'),
        ({1: "a", Colour.RED: "b"}, '{"1":"a","red":"b"}'),
        ({True: "yes", None: "no"}, '{"true":"yes","null":"no"}'),
        (City("Oslo", datetime.date(1040, 1, 1)), '{"name":"Oslo","founded":"1040-01-01"}'),
        (Point(1, 2.5), '{"x":1,"y":2.5}'),
        (Person(name="Zoë"), '{"name":"Zoë","home":null,"height":1.0}'),
        ({"all": [Person(name="A", home=pydantic.HttpUrl("http://a.b"))]}, None),
        (datetime.datetime(2026, 1, 2, 3, 4, tzinfo=datetime.UTC), '"2026-01-02T03:04:00Z"'),
        (datetime.timedelta(hours=1), '"PT3600S"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("1.10"), '"1.10"'),
        ([Colour.RED], '["red"]'),
        ((1, "a"), '[1,"a"]'),
        ({3}, "[3]"),
        (collections.deque([1]), "[1]"),
        (range(3), "[0,1,2]"),
        (MappingProxyType({"a": 1}), '{"a":1}'),
        ({"a": 1}.keys(), '["a"]'),
        (collections.Counter("aab"), '{"a":2,"b":1}'),
        ([PurePosixPath("a/b")], '["a/b"]'),
        ([Half(0.5), Whole(2)], "[0.5,2]"),
        ({"a": Array()}, '{"a":[1,2]}'),
    ],
)
def test_anything_else_is_json(value: object, said: str | None) -> None:
    """Compact, and as a person would write it: characters stay what they are."""
    content = content_of(value, "f")
    assert isinstance(content, str)
    json.loads(content)
    assert said is None or content == said


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf"), Half("nan")])
def test_what_json_has_no_number_for_is_null(number: float) -> None:
    """Python's json would write NaN, which is not JSON."""
    for value in (number, [number], {"a": number}, Point(number, 0), Person(name="a", height=number)):
        content = content_of(value, "f")
        assert isinstance(content, str)
        assert "null" in content
        json.loads(content, parse_constant=pytest.fail)


@pytest.mark.parametrize(
    "value",
    [
        b"bytes",
        bytearray(b"bytes"),
        memoryview(b"bytes"),
        object(),
        (n for n in [1]),
        iter([1]),
        io.StringIO("open"),
        1j,
        Person,
        City,
        print,
        ValueError("x"),
        {(1, 2): 3},
        File(data=b"pdf"),
        Audio(data=b"wav"),
        [IMAGE, b"bytes"],
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.req("seed-E3")
def test_what_is_not_json_is_an_error_that_says_what_it_was(value: object) -> None:
    """The model can tell its user; nothing is sent as a Python repr or as base64."""
    named = bytes if isinstance(value, list) else type(value)
    with pytest.raises(ToolError, match=rf"^shot must return text, .* it returned {named.__name__}"):
        content_of(value, "shot")


@pytest.mark.req("seed-E3")
def test_what_holds_itself_is_an_error() -> None:
    """No endless recursion."""
    ring: list[object] = []
    ring.append(ring)
    with pytest.raises(ToolError, match="it returned list"):
        content_of(ring, "f")


def test_halves_of_characters_do_not_break_the_next_request() -> None:
    """File names that are not UTF-8 have them in Python, and no request could be encoded with them."""
    for value in (
        "a\udcff",
        ["a\udcff"],
        {"a\udcff": "a\udcff"},
        [Text("a\udcff"), IMAGE],
        collections.deque(["a\udcff", 1]),
    ):
        content = content_of(value, "f")
        said = content if isinstance(content, str) else content[0]
        assert "a?" in (said.text if isinstance(said, Text) else str(said))
        msgspec.json.encode(content)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_data_is_valid_json(value: object) -> None:
    """And says the same, but for NaN and infinity."""
    content = content_of([value], "f")
    assert isinstance(content, str)
    content.encode()
    json.loads(content, parse_constant=pytest.fail)
