"""Types and helpers of the tests of functions as tools."""

from __future__ import annotations

import dataclasses
import datetime
import enum
from collections.abc import Callable
from typing import Any, NewType, TypedDict

import pytest
from msgspec import Struct
from pydantic import BaseModel, Field
from typing_extensions import TypedDict as NewTypedDict

from asyncllm.tools import ToolError
from asyncllm.tools._function import FunctionTool


def silent(progress: float, total: float | None, message: str) -> None:
    """Nobody listens."""


def schema(function: Callable[..., object], **how: Any) -> dict[str, Any]:
    """What the model is told of its parameters."""
    return dict(FunctionTool(function, **how).spec.parameters)


def taken(function: Callable[..., Any], /, **arguments: object) -> Any:
    """What a function that returns what it was given is given."""
    signature = FunctionTool(function)._signature
    assert signature is not None
    args, kwargs = signature.bind(arguments, silent)
    return function(*args, **kwargs)


def refused(function: Callable[..., object], /, **arguments: object) -> str:
    """What the model is told of arguments that do not fit."""
    with pytest.raises(ToolError) as raised:
        taken(function, **arguments)
    assert isinstance(raised.value.content, str)
    return raised.value.content


class Unit(enum.Enum):
    C = "celsius"
    F = "fahrenheit"


class Place(Struct):
    """A place."""

    name: str
    at: tuple[float, float] | None = None


class Tree(Struct):
    value: int
    children: list[Tree] = []


@dataclasses.dataclass
class Span:
    start: datetime.date
    days: int = 1


class Options(TypedDict, total=False):
    verbose: bool


class Person(BaseModel):
    name: str = Field(description="Of a person.")
    age: int = Field(ge=0)
    friends: list[Person] = []


class Strict(BaseModel, strict=True):
    day: datetime.date


class Team(NewTypedDict):
    lead: Person


UserId = NewType("UserId", int)


def references(node: object) -> list[str]:
    """Every `$ref` in a schema."""
    if isinstance(node, list):
        return [each for item in node for each in references(item)]
    if not isinstance(node, dict):
        return []
    own = [str(node["$ref"])] if "$ref" in node else []
    return own + [each for item in node.values() for each in references(item)]
