"""`stream.partials`: the object so far only grows, is whole at last, and costs no more than a multiple of its text."""

from __future__ import annotations

import builtins
import json
from itertools import pairwise
from typing import Any

import jiter
import pytest
from _chat import answers, client_of
from _maps import HANG
from _rawserver import STREAM_HEAD, RawConnection, chunk, raw_server, raw_server_thread
from _replay import DONE, ROLE, STOP, http, said, sse, text
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from asyncllm import (
    Client,
    ConnectionFailedError,
    IncompleteStreamError,
    InvalidRequestError,
    ProtocolError,
    Stream,
    SyncClient,
    TextDelta,
)
from asyncllm._objects import ObjectScanner, only_json
from asyncllm._partials import SMALL, GrowingObject
from asyncllm.events import Finish, InvalidOutputError, StreamEvent, StreamStart

pytestmark = pytest.mark.req("seed-B10", "seed-B8")

Object = dict[str, object]


class City(Struct):
    name: str
    population: int


def grown(*pieces: str) -> list[Object]:
    """What is shown when each piece is a wakeup."""
    growing, shown = GrowingObject(), []
    for piece in pieces:
        growing.feed(piece)
        if (value := growing.take()) is not None:
            shown.append(value)
    if (value := growing.take(all=True)) is not None:
        shown.append(value)
    return shown


# ---- a prefix at any time, and the whole at last

words = st.text(st.characters(exclude_categories=["Cs"]))
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4))
objects = st.dictionaries(words, values, max_size=5)
AROUND = ["%s", "\ufeff\n%s ", "```json\n%s\n```", "Of {x}, `y` and ``{`` I make:\n```\n%s```\nRight {?", "So: %s."]


def is_prefix(part: object, whole: object) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and whole.startswith(part)
    if isinstance(whole, list):
        return isinstance(part, list) and len(part) <= len(whole) and all(map(is_prefix, part, whole))
    if isinstance(whole, dict):
        return isinstance(part, dict) and all(
            name in whole and is_prefix(value, whole[name]) for name, value in part.items()
        )
    return type(part) is type(whole) and part == whole


@given(objects, st.booleans(), st.sampled_from([None, 2]), st.sampled_from(AROUND), st.data())
def test_every_partial_is_a_prefix(value: Object, ascii: bool, indent: int | None, around: str, data: Any) -> None:
    """Any object in any writing, alone or among prose, cut anywhere: strings and lists grow, objects gain keys, the rest is
    said once; and the last partial is the whole."""
    answer = around % json.dumps(value, ensure_ascii=ascii, indent=indent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(answer)), max_size=12)))
    shown = grown(*(answer[start:end] for start, end in pairwise([0, *cuts, len(answer)])))
    for part, following in pairwise([*shown, value]):
        assert is_prefix(part, following)
    assert shown[-1] == value
    if around != AROUND[-2] or value:
        assert json.loads(only_json(answer) or "null") == value


@given(objects, st.sampled_from(AROUND))
def test_byte_by_byte_nothing_comes_twice(value: Object, around: str) -> None:
    """Each partial differs from the one before."""
    shown = grown(*(around % json.dumps(value)))
    assert all(is_prefix(part, following) and part != following for part, following in pairwise(shown))
    assert shown[-1] == value


@given(st.lists(st.sampled_from(['{"', '"', "\\", "{", "}", "[", "]", "`", "```", "\n", "a", "1", ":", ",", "{}"])))
def test_anything_in_any_pieces(pieces: list[str]) -> None:
    """What a model may say: how it is cut changes nothing of what is found in it, and nothing breaks."""

    def found(*parts: str) -> list[tuple[str, bool]]:
        scanner, objects = ObjectScanner(), []
        for part in parts:
            for piece in scanner.feed(part):
                if piece.first:
                    objects.append(("", piece.fenced))
                objects[-1] = (objects[-1][0] + piece.text, piece.fenced)
        return [(text.replace("\n", ""), fenced) for text, fenced in objects if text.endswith("}")]

    whole = "".join(pieces)
    assert found(*pieces) == found(*whole) == found(whole)
    grown(*pieces)
    only_json(whole)


# ---- what is shown of what is not whole

CUT = [
    ('{"a": 1', {}),
    ('{"a": 12.', {}),
    ('{"a": -', {}),
    ('{"a": 1.5e', {}),
    ('{"a": 12 ', {"a": 12}),
    ('{"a": [1, 2', {"a": [1]}),
    ('{"a": [[1, 2], [3,', {"a": [[1, 2], [3]]}),
    ('{"a": tru', {}),
    ('{"a": true', {"a": True}),
    ('{"a": nul', {}),
    ('{"a": "1', {"a": "1"}),
    ('{"a": "x, 12', {"a": "x, 12"}),
    ('{"a": 1, "12', {"a": 1}),
    ('{"a": "x\\', {"a": "x"}),
    ('{"a": "x\\u00e', {"a": "x"}),
    ('{"a": "x\\ud83d', {"a": "x"}),
    ('{"a": "x\\ud83d\\ude0', {"a": "x"}),
    ('{"a": "x\\ud83d\\ude00', {"a": "x😀"}),
    ('{"a": "\\"}', {"a": '"}'}),
    ('{"a', {}),
    ('{"a":', {}),
    ('{"a": 1, "a": 2}', {"a": 2}),
    ('{"a": 1} and {"b": 2}', {"a": 1}),
    ('{"a": 1}\n```json\n{"b": 2}', {"b": 2}),
]


@pytest.mark.parametrize(("answer", "value"), CUT)
def test_what_is_not_known_is_not_shown(answer: str, value: Object) -> None:
    """A number that may go on, half a word, half an escape, half a key."""
    assert grown(answer) == [value]


def test_what_only_looked_like_an_object() -> None:
    """Something in braces that is no JSON does not stand in the way of what is."""
    assert grown('I write {"a"} as', ' {"b": 2}') == [{"b": 2}]


def test_the_end_of_the_object_is_shown_at_once() -> None:
    """However little of it came last."""
    long = "x" * 100 * SMALL
    growing = GrowingObject()
    growing.feed(f'{{"a": "{long}')
    assert growing.take() == {"a": long}
    growing.feed("y")
    assert growing.take() is None
    growing.feed('"}')
    assert growing.take() == {"a": long + "y"}


@pytest.mark.parametrize(
    "answer", ["", "no JSON", "{", "{ x }", "[1, 2]", '"{"', '{"a" 1}', '{"a": NaN, ', '{"a\n": "']
)
def test_what_is_no_object_is_not_shown(answer: str) -> None:
    """Nothing is made up, and nothing raised: that the answer is wrong is for its end to say."""
    assert not any(grown(*answer))


def test_brackets_without_end() -> None:
    """Deeper than the parser goes there is nothing to see, whoever sent it."""
    assert grown(*['{"a":'] * 5, "[" * 5000)[-1] != {}
    assert grown('{"a":' + "[" * 5000) == []


def test_space_without_end_costs_nothing() -> None:
    """A brace, and a model that got lost in spaces: they are not kept."""
    scanner = ObjectScanner()
    for piece in ["{"] + ["\n"] * 10_000:
        assert not list(scanner.feed(piece))
    assert len(scanner._carry) == 1
    assert [found.text for found in scanner.feed('"a": 1}')] == ['{"a": 1}']


def test_steps_begin_anew() -> None:
    """What an earlier step said is no part of the answer; the end of a step shows all of it."""
    growing = GrowingObject()
    long = "x" * 100 * SMALL
    growing.extend([StreamStart("m"), TextDelta('{"a": "'), TextDelta(long)])
    assert growing.take() == {"a": long}
    growing.feed("y")
    assert growing.take() is None
    growing.extend([Finish("stop")])
    assert growing.take() == {"a": long + "y"}
    events: list[StreamEvent] = [StreamStart("m"), TextDelta('{"b": "z'), TextDelta('"}')]
    growing.extend(events)
    assert growing.take() == {"b": "z"}


# ---- linear


@pytest.mark.parametrize("size", [1_000, 30_000, 300_000])
def test_all_parses_together_are_linear(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Word by word, the parser reads each byte of a long answer about seventeen times, however long it is."""
    parsed: list[int] = []
    parse = jiter.from_json

    def counting(data: bytes, **options: Any) -> Any:
        parsed.append(len(data))
        return parse(data, **options)

    monkeypatch.setattr(jiter, "from_json", counting)
    answer = json.dumps({"text": "word " * (size // 5)})
    shown = grown(*(answer[at : at + 5] for at in range(0, len(answer), 5)))
    assert shown[-1] == json.loads(answer)
    assert len(shown) > 100
    assert sum(parsed) < 18 * len(answer) + SMALL * SMALL // 5
    assert sum(parsed) > len(answer)


# ---- of a stream

WORDS = ['{"name"', ': "Os', 'lo", "popu', 'lation": 7', "09037", "}"]
SHOWN = [{}, {"name": "Os"}, {"name": "Oslo"}, {"name": "Oslo", "population": 709037}]


async def one_by_one(connection: RawConnection) -> None:
    """A wakeup for each word."""
    while True:
        await connection.request()
        await connection.send(STREAM_HEAD)
        for frame in (ROLE, *map(text, WORDS), STOP, DONE):
            await connection.send(chunk(sse(frame)))
        await connection.send(b"0\r\n\r\n")


def consistent(shown: list[Object]) -> None:
    """What came together on the socket is shown together: some of the partials, in order, the last one among them."""
    assert shown[-1] == SHOWN[-1]
    rest = iter(SHOWN)
    assert all(part in rest for part in shown)


async def test_partials_then_the_reply() -> None:
    """The object grows; then the reply has the type, and the text."""
    async with raw_server(one_by_one) as server, client_of(server) as client:
        async with client.stream("Which city?", output=City) as stream:
            consistent([partial async for partial in stream.partials])
            assert [partial async for partial in stream.partials] == SHOWN[-1:]
            reply = await stream.reply()
    assert reply.output == City("Oslo", 709037)
    assert reply.text == "".join(WORDS)


async def test_partials_after_other_views() -> None:
    """Text that was already read another way is in the partials, too, those of the same batch included."""
    async with answers(http(said(*WORDS))) as server, client_of(server) as client:
        stream = await client.stream("Which city?", output=City)
        async for event in stream:
            if event == TextDelta(WORDS[1]):
                break
        assert [partial async for partial in stream.partials] == SHOWN[-1:]
        assert [event async for event in stream] == []
        assert (await stream.reply()).output == City("Oslo", 709037)


async def test_a_broken_stream_raises() -> None:
    """What arrived is shown, and then the error is raised as by the stream itself."""
    async with answers(http(sse(ROLE, text('{"name": "Os')))) as server, client_of(server) as client:
        stream = await client.stream("Which city?", output=City)
        shown = []
        with pytest.raises(IncompleteStreamError):
            async for partial in stream.partials:
                shown.append(partial)
        with pytest.raises(IncompleteStreamError):
            await stream.reply()
    assert shown == [{"name": "Os"}]


async def test_an_answer_that_does_not_fit() -> None:
    """Partials are not validated; the reply is."""
    async with answers(http(said('{"name": 5, "population": []}'))) as server, client_of(server) as client:
        async with client.stream("Which city?", output=City) as stream:
            assert [partial async for partial in stream.partials] == [{"name": 5, "population": []}]
            with pytest.raises(InvalidOutputError):
                await stream.reply()


async def test_what_is_no_object_is_in_one() -> None:
    """The partials of a list are those of the object around it."""
    async with answers(http(said('{"value": [1, ', "2]}"))) as server, client_of(server) as client:
        async with client.stream("Numbers?", output=list[int]) as stream:
            assert [partial async for partial in stream.partials][-1] == {"value": [1, 2]}
            assert (await stream.reply()).output == [1, 2]


async def test_closed_in_the_middle() -> None:
    """The iteration ends, as that of the events does."""
    async with raw_server(one_by_one) as server, client_of(server) as client:
        async with client.stream("Which city?", output=City) as stream:
            async for partial in stream.partials:
                assert partial in SHOWN
                await stream.aclose()


async def test_without_output() -> None:
    """There is nothing to read an object from, and that is said at once."""
    client = Client("openai-compatible/m", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(InvalidRequestError, match="ask for it with output="):
        client.stream("Hi").partials  # noqa: B018
    with SyncClient("openai-compatible/m", base_url="http://127.0.0.1:9/v1") as blocking:
        with pytest.raises(InvalidRequestError, match="ask for it with output="):
            blocking.stream("Hi").partials  # noqa: B018


async def test_without_jiter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names what to install."""
    found = builtins.__import__

    def importing(name: str, *arguments: Any) -> Any:
        if name == "jiter":
            raise ImportError(name)
        return found(name, *arguments)

    client = Client("openai-compatible/m", base_url="http://127.0.0.1:9/v1")
    stream: Stream[Any] = client.stream("Hi", output=City)
    monkeypatch.setattr(builtins, "__import__", importing)
    with pytest.raises(InvalidRequestError, match=r"pip install 'asyncllm\[partials\]'"):
        stream.partials  # noqa: B018


# ---- without await


def test_blocking_partials() -> None:
    """The same objects; what was iterated before is in them; the reply follows."""
    with raw_server_thread(one_by_one) as server:
        with SyncClient("openai-compatible/m", base_url=f"{server.url}/v1", timeout=HANG, retry=0) as client:
            with client.stream("Which city?", output=City) as stream:
                consistent(list(stream.partials))
                assert stream.reply().output == City("Oslo", 709037)
            with client.stream("Which city?", output=City) as stream:
                for event in stream:
                    if event == TextDelta(WORDS[1]):
                        break
                shown = list(stream.partials)
                assert shown[-1] == SHOWN[-1]
                assert {} not in shown


def test_blocking_partials_raise() -> None:
    """A stream that breaks, and one that never began."""

    async def cut(connection: RawConnection) -> None:
        await connection.request()
        await connection.send(http(sse(ROLE, text('{"name": "Os'))))

    with raw_server_thread(cut) as server:
        with SyncClient("openai-compatible/m", base_url=f"{server.url}/v1", timeout=HANG, retry=0) as client:
            shown = []
            with pytest.raises(ProtocolError):
                for partial in client.stream("Which city?", output=City).partials:
                    shown.append(partial)
            assert shown == [{"name": "Os"}]
    with SyncClient("openai-compatible/m", base_url="http://127.0.0.1:9/v1", timeout=HANG, retry=0) as client:
        with pytest.raises(ConnectionFailedError):
            list(client.stream("Which city?", output=City).partials)
