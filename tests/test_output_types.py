"""Structured output: what is asked for each type, and how answers become the type again."""

from __future__ import annotations

import enum
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import date
from typing import Annotated, Any, Generic, Literal, Required, TypedDict, TypeVar

import msgspec
import pydantic
import pytest
from _chat import answers, bodies, client_of
from _replay import DONE, ROLE, STOP, chunk_of, http, said, sse, text
from msgspec import Meta, Struct
from openai.lib._pydantic import to_strict_json_schema

from asyncllm import Client, InvalidRequestError, MaxOutputTokensError, ProtocolError, Tool
from asyncllm._output import OutputSpec
from asyncllm.events import InvalidOutputError, Reply, ToolCall, error_from_dict
from asyncllm.testing import Answer, Server

pytestmark = pytest.mark.req("seed-B10")

T = TypeVar("T")


class City(Struct):
    name: str
    country: str = "Norway"
    mayor: str | None = "nobody"
    tags: list[str] = []
    rank: Annotated[int, Meta(ge=1, description="from 1")] = 3


@dataclass
class Town:
    name: str
    country: str = "Norway"
    tags: list[str] = field(default_factory=list)


class Village(TypedDict, total=False):
    name: Required[str]
    country: str


class Hamlet(pydantic.BaseModel):
    name: str
    country: str = "Norway"
    part: Hamlet | None = None


class Hut(pydantic.BaseModel):
    kind: Literal["hut"] = "hut"
    beds: int = 4


class Tent(pydantic.BaseModel):
    kind: Literal["tent"] = "tent"
    beds: int = 2


class Node(Struct):
    value: int
    children: list[Node] = []
    left: Annotated[Node | None, Meta(description="the left one")] = None


class Cat(Struct, tag=True):
    lives: int = 9


class Dog(Struct, tag=True):
    friend: Cat
    name: str = "Rex"


class Box(Struct, Generic[T]):
    item: T


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Person(Struct):
    born: date
    names: set[str]
    motto: Annotated[str, Meta(max_length=3, description="short")] = ""


RAW = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "next": {"$ref": "#/$defs/Next", "description": "then"}},
    "required": ["name"],
    "$defs": {"Next": {"enum": [1, 2]}},
}


def parsed(wanted: Any, answer: str, **reply: Any) -> Any:
    return OutputSpec(wanted).parse(Reply(text=answer, **reply))


def nodes(schema: Any) -> list[dict[str, Any]]:
    """Every schema in a schema."""
    if isinstance(schema, list):
        return [found for item in schema for found in nodes(item)]
    if not isinstance(schema, dict):
        return []
    inner = [
        found
        for key, value in schema.items()
        for found in nodes(list(value.values()) if key in ("properties", "$defs") else value)
    ]
    return [schema, *inner]


# ---- what is asked for

STRICT = [City, Town, Village, Hamlet, Node, Cat | Dog, Box[int], Box[City], Colour, Person, list[City], RAW, int]


@pytest.mark.parametrize("wanted", STRICT, ids=str)
def test_strict_form(wanted: Any) -> None:
    """An object at the root; every object closed, all its properties required; no default; a reference stands alone."""
    request = OutputSpec(wanted).request
    assert request.strict
    assert request.schema["type"] == "object"
    for node in nodes(request.schema):
        assert not node.keys() & {"default", "discriminator", "oneOf", "allOf", "uniqueItems", "maxLength"}
        assert "$ref" not in node or node.keys() == {"$ref"}
        assert node.keys() & {"type", "$ref", "anyOf"}
        if node.get("type") == "object":
            assert node["additionalProperties"] is False
            assert node["required"] == list(node["properties"])
    for target in {node["$ref"] for node in nodes(request.schema) if "$ref" in node}:
        assert target.removeprefix("#/$defs/") in request.schema["$defs"]


@pytest.mark.parametrize("model", [Hamlet, pydantic.create_model("Flat", a=(int, ...), b=(list[str], ...))])
def test_the_vendors_own_form(model: Any) -> None:
    """Where nothing is optional but by null, it is what OpenAI's SDK makes of a model; else null is let in besides."""

    def bare(schema: Any) -> Any:
        if isinstance(schema, list):
            return [bare(item) for item in schema]
        if not isinstance(schema, dict):
            return schema
        return {key: bare(value) for key, value in schema.items() if key not in ("title", "default")}

    theirs = bare(to_strict_json_schema(model))
    for schema in [theirs, *theirs.get("$defs", {}).values()]:
        if "country" in schema.get("properties", {}):
            schema["properties"]["country"] = {"anyOf": [{"type": "string"}, {"type": "null"}]}
    ours = bare(dict(OutputSpec(model).request.schema))
    if "$ref" in theirs:  # a model that refers to itself
        theirs = {**theirs["$defs"][theirs["$ref"][8:]], "$defs": theirs["$defs"]}
    assert ours == theirs


@pytest.mark.parametrize(
    "wanted", [dict[str, int], tuple[int, str], {"type": "object"}, {"type": "array"}, Any], ids=str
)
def test_what_has_no_strict_form(wanted: Any) -> None:
    """Any keys, tuples, anything: asked for as it is, and not as strict."""
    assert not OutputSpec(wanted).request.strict


def test_a_schema_that_goes_in_circles() -> None:
    """It says nothing, and is sent as it is."""
    choice = {"anyOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}]}
    spec = OutputSpec({"type": "object", "properties": {"a": {"$ref": "#/$defs/A"}}, "$defs": {"A": choice}})
    assert not spec.request.strict
    with pytest.raises(InvalidOutputError):
        spec.parse(Reply(text='{"a": null}'))


def test_what_strict_output_refuses_is_said() -> None:
    """A length is told in the description; the answer is checked all the same."""
    motto = OutputSpec(Person).request.schema["properties"]["motto"]["anyOf"][0]  # type: ignore[index]
    assert motto == {"type": "string", "description": "short\n\n{maxLength: 3}"}
    answer = {"born": "2020-01-02", "names": ["a", "a"], "motto": "abcd"}
    with pytest.raises(InvalidOutputError, match="motto"):
        parsed(Person, json.dumps(answer))
    assert parsed(Person, json.dumps({**answer, "motto": None})) == Person(date(2020, 1, 2), {"a"})


@pytest.mark.parametrize(
    "wanted",
    [
        *(5, object(), len, lambda: 0, "City", b"x", complex, object, Cat | City, City("x"), [City], Callable),
        *({"type": object()}, {("a", "b"): 1}),
    ],
    ids=lambda wanted: type(wanted).__name__,
)
def test_what_is_no_type(wanted: Any) -> None:
    """Told before a byte is sent, in words that name the option."""
    client = Client("openai-compatible/m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(InvalidRequestError, match="output="):
        client.stream("Hi", output=wanted)


# ---- what answers become

READ = [
    (City, '{"name": "Oslo", "country": null, "mayor": null, "tags": null, "rank": null}', City("Oslo", mayor=None)),
    (City, '{"name": "Oslo"}', City("Oslo")),
    (Town, '{"name": "Moss", "country": null, "tags": ["a"]}', Town("Moss", tags=["a"])),
    (Village, '{"name": "Flam", "country": null}', {"name": "Flam"}),
    (
        Hamlet,
        '{"name": "a", "country": null, "part": {"name": "b", "country": null, "part": null}}',
        Hamlet(name="a", part=Hamlet(name="b")),
    ),
    (
        Node,
        '{"value": 1, "children": [{"value": 2, "children": null, "left": null}], "left": {"value": 3, "children": null}}',
        Node(1, [Node(2)], Node(3)),
    ),
    (Cat | Dog, '{"value": {"type": "Dog", "friend": {"type": "Cat", "lives": null}, "name": null}}', Dog(Cat())),
    (Cat | Dog, '{"type": "Cat", "lives": 1}', Cat(1)),
    (Box[int], '{"item": 1}', Box(1)),
    (Box[City], '{"item": {"name": "a", "country": null}}', Box(City("a"))),
    (Annotated[City, Meta(description="where")], '{"name": "a"}', City("a")),
    (Colour, '{"value": "red"}', Colour.RED),
    (Colour, '"blue"', Colour.BLUE),
    (Literal["a", 1], '{"value": 1}', 1),
    (list[City], '{"value": [{"name": "a", "country": null}]}', [City("a")]),
    (list[City], '[{"name": "a"}]', [City("a")]),
    (list[City], 'Here:\n```json\n[{"name": "a"}]\n```', [City("a")]),
    (list[Hamlet], '{"value": [{"name": "a", "country": null}]}', [Hamlet(name="a")]),
    (Hamlet | None, '{"value": null}', None),
    (dict[str, int], '{"value": 1}', {"value": 1}),
    (dict[str, Hamlet], '{"a": {"name": "b"}}', {"a": Hamlet(name="b")}),
    (dict[str, City] | None, '{"value": {"a": {"name": "b", "rank": null}}}', {"a": City("b")}),
    (tuple[int, City], '{"value": [1, {"name": "b", "rank": null}]}', (1, City("b"))),
    (int, '{"value": 3}', 3),
    (int, "\ufeff3", 3),
    (list[Hut | Tent], '{"value": [{"kind": "tent", "beds": null}, {"kind": null, "beds": 5}]}', [Tent(), Hut(beds=5)]),
    (int, "```\n3\n```", 3),
    (RAW, '{"name": "x", "next": null}', {"name": "x"}),
    (RAW, '{"name": "x", "next": 5, "more": null}', {"name": "x", "next": 5, "more": None}),
    ({"type": "array", "items": {"type": "integer"}}, '{"value": [1]}', [1]),
    ({"type": ["number", "null"]}, '{"value": 1.5}', 1.5),
    ({"$ref": "#/$defs/A", "$defs": {"A": {"type": "object", "properties": {"a": {}}}}}, '{"a": 1}', {"a": 1}),
    ({}, '{"a": null}', {"a": None}),
]


@pytest.mark.parametrize(("wanted", "answer", "value"), READ, ids=range(len(READ)))
def test_answers_become_the_type(wanted: Any, answer: str, value: object) -> None:
    """Null for what is optional means its default; what is no object is taken out of the one around it."""
    output = parsed(wanted, answer)
    assert output == value
    assert type(output) is type(value)


WRONG = [
    (City, "", "truncated"),
    (City, "no JSON", "malformed"),
    (City, '{"name": null}', "Expected `str`, got `null`"),
    (City, '{"name": "a", "rank": 0}', "rank"),
    (City, '{"name": "a"', "truncated"),
    (City, "[" * 5000, "recursion|truncated"),
    (City, '{"name": "\\ud83d"}', "surrogate|truncated|escape"),
    (City, '{"name": "\ud83d"}', "surrogates not allowed"),
    (Hamlet, "{}", "name: Field required$"),
    (Hamlet, "nothing", "malformed"),
    (Hamlet, "[]", "the answer: Input should be an object"),
    (Village, '{"country": "a"}', "name"),
    (Colour, '{"value": "green"}', "green"),
    (list[City], '{"value": {}}', "array"),
    (RAW, '{"next": 1}', "without the required name"),
    (RAW, "[]", "expected object"),
    ({"type": "array"}, '{"value": 1}', "expected array"),
    ({"type": "integer"}, '{"value": true}', "expected integer"),
]


@pytest.mark.parametrize(("wanted", "answer", "why"), WRONG, ids=range(len(WRONG)))
def test_answers_that_do_not_fit(wanted: Any, answer: str, why: str) -> None:
    """The error says what is wrong and has the text; where the answer was cut it is another one."""
    with pytest.raises(InvalidOutputError, match=why) as caught:
        parsed(wanted, answer)
    assert caught.value.partial is not None
    assert caught.value.partial.text == answer
    with pytest.raises(MaxOutputTokensError) as cut:
        parsed(wanted, answer, finish_reason="length")
    assert cut.value.partial_text == answer


CITY = '{"name": "Oslo"}'
CLEAR = [
    "\ufeff" + CITY,
    f"  {CITY}\n",
    f"```json\n{CITY}\n```",
    f"```\n{CITY}```\n\nAnything else?",
    f"Sure! Here it is:\n\n```json\n{CITY}\n```\n",
    f"Sure: {CITY} is what you asked for.",
    f"With {{name}} and {{'name': 1}}: {CITY}",
    f"{CITY}\n```",
    f"For example {{}}, {{}}:\n```json\n{CITY}\n```",
    f"A brace: {{ and a tick: ` {CITY}",
]
UNCLEAR = [
    CITY + CITY,
    f"{CITY} or {{}}",
    f"```\n{CITY}\n```\n```\n{CITY}\n```",
    f'{{"a": {CITY}',
    '{"name": "Os',
    "```",
]


@pytest.mark.parametrize("answer", CLEAR)
def test_json_among_other_words(answer: str) -> None:
    """A fence, a preamble, a byte order mark: passed over where it is clear what is meant."""
    assert parsed(City, answer) == City("Oslo")


@pytest.mark.parametrize("answer", UNCLEAR)
def test_nothing_is_guessed(answer: str) -> None:
    """Of two objects none is taken, nor one out of a broken one."""
    with pytest.raises(InvalidOutputError):
        parsed(City, answer)


def test_no_answer_is_no_output() -> None:
    """A model that calls a tool has not answered; one that refuses has, and wrongly."""
    assert parsed(City, "Let me see.", tool_calls=[ToolCall("1", "f", {})], finish_reason="tool_calls") is None
    assert parsed(City, "", stopped="max_steps") is None
    with pytest.raises(InvalidOutputError, match="the model refused: I will not"):
        parsed(City, "", refusal="I will not")


@pytest.mark.req("seed-C")
def test_the_error() -> None:
    """A protocol error that waiting does not mend; the text is clipped in `body` and whole in `partial`; it travels."""
    long = "x" * 10_000
    with pytest.raises(InvalidOutputError) as caught:
        parsed(City, long)
    error = caught.value
    assert isinstance(error, ProtocolError)
    assert (error.kind, error.retryable) == ("protocol", False)
    assert error.body == "x" * 4096
    assert error.partial is not None
    assert error.partial.text == long
    assert type(error_from_dict(msgspec.json.decode(msgspec.json.encode(error.to_dict())))) is InvalidOutputError


# ---- over the wire


async def test_a_type_that_is_no_object_over_the_wire() -> None:
    """A list is asked for in an object, and comes out of it."""
    body = sse(ROLE, text('{"value": [{"name": "Oslo", '), text('"country": null}]}'), STOP, DONE)
    async with answers(http(body)) as server, client_of(server) as client:
        reply = await client.complete("Cities?", output=list[City])
    assert reply.output == [City("Oslo")]
    sent = bodies(server)[0]["response_format"]["json_schema"]
    assert sent["strict"] is True
    assert sent["schema"]["required"] == ["value"]


@pytest.mark.parametrize("provider", ["openai-compatible", "openai", "anthropic", "gemini", "ollama"])
@pytest.mark.parametrize("wanted", [Node, list[Node], Cat | Dog, dict[str, Node]], ids=str)
async def test_every_wire(provider: str, wanted: Any) -> None:
    """References, unions and optional properties are encoded by each, and read by a server of its kind."""
    node = {"value": 1, "children": None, "left": None}
    answer, value = {
        Node: (node, Node(1)),
        list[Node]: ({"value": [node]}, [Node(1)]),
        Cat | Dog: ({"value": {"type": "Cat", "lives": None}}, Cat()),
        dict[str, Node]: ({"a": node}, {"a": Node(1)}),
    }[wanted]
    async with (
        Server(Answer.text(json.dumps(answer))) as server,
        Client(f"{provider}/m", api_key="none", base_url=server.base_url, retry=0, timeout=20) as client,
    ):
        async with client.stream("?", output=wanted) as stream:
            assert [partial async for partial in stream.partials][-1] == answer
            assert (await stream.reply()).output == value


async def test_a_tool_call_instead_of_an_answer() -> None:
    """With tools and output both, the call comes first; it is no invalid answer."""
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": "{}"}}
    body = sse(ROLE, chunk_of({"tool_calls": [call]}), chunk_of({}, "tool_calls"), DONE)
    tools = [Tool("f")]
    async with answers(http(body), http(said("Oslo"))) as server, client_of(server) as client:
        reply = await (await client.stream("Cities?", tools=tools, output=City)).reply()
        assert (reply.output, len(reply.tool_calls)) == (None, 1)
        with pytest.raises(InvalidOutputError):
            await (await client.stream("Cities?", tools=tools, output=City)).reply()
