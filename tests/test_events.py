"""The vocabulary: events as JSON both ways, their legal order, usage under every name, messages and parts."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from _decoding import PLENTY
from hypothesis import given
from hypothesis import strategies as st

from asyncllm.events import (
    Audio,
    Citation,
    File,
    Finish,
    FinishReason,
    Image,
    LLMError,
    Message,
    OrderChecker,
    ProtocolError,
    ProviderState,
    RateLimitError,
    RawEvent,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Retrying,
    ServerError,
    Session,
    Stopped,
    StopReason,
    StreamError,
    StreamEvent,
    StreamStart,
    Text,
    TextDelta,
    ToolCall,
    ToolCallDelta,
    ToolProgress,
    ToolResult,
    Usage,
    check_order,
    event_from_json,
    event_to_json,
    has_content,
    usage_from,
)
from asyncllm.events._grammar import ORDER, State

# ---- JSON both ways

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.integers(0, 2**40)
maybe = st.none() | texts
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
objects = st.dictionaries(texts, json_values, max_size=3)
states = st.none() | st.builds(ProviderState, texts, objects, st.booleans())
data = st.none() | st.binary(max_size=5)
images = st.builds(Image, url=maybe, data=data, media_type=texts, state=states)
resets = st.none() | st.just(datetime(2026, 1, 2, tzinfo=UTC))
limits = st.builds(RateLimitError, texts, reset_time=resets, retry_after=st.none() | st.floats(0, 99))
errors: st.SearchStrategy[LLMError] = limits | st.builds(ServerError, texts, code=maybe, status=st.none() | numbers)
EVENTS: dict[type, st.SearchStrategy[Any]] = {
    StreamStart: st.builds(StreamStart, texts, texts, texts, st.tuples(texts)),
    TextDelta: st.builds(TextDelta, texts, states),
    ReasoningDelta: st.builds(ReasoningDelta, texts, states),
    RefusalDelta: st.builds(RefusalDelta, texts),
    ToolCallDelta: st.builds(ToolCallDelta, numbers, texts, texts, texts),
    ToolCall: st.builds(ToolCall, texts, texts, st.none() | objects, texts, maybe, states, st.booleans()),
    ToolResult: st.builds(
        ToolResult, texts, texts, texts | st.lists(st.builds(Text, texts) | images, max_size=3), st.booleans(), states
    ),
    Image: images,
    Audio: st.builds(Audio, st.binary(max_size=5), texts, states),
    File: st.builds(File, data, maybe, texts, texts, states),
    Citation: st.builds(Citation, texts, texts, st.none() | numbers, st.none() | numbers, texts, st.none() | objects),
    Usage: st.builds(
        Usage,
        input_tokens=numbers,
        output_tokens=numbers,
        cache_read_tokens=numbers,
        cache_write_tokens=numbers,
        reasoning_tokens=numbers,
        cost=st.none() | st.floats(0, 9),
        estimated=st.booleans(),
        raw=st.none() | objects,
    ),
    Session: st.builds(
        Session, backend=texts, id=texts, cwd=texts, turn=texts, state=data, data=objects, fork=st.booleans()
    ),
    Retrying: st.builds(Retrying, st.integers(1, 9), st.floats(0, 9), errors),
    ToolProgress: st.builds(ToolProgress, texts, texts, st.floats(0, 9), st.none() | st.floats(0, 9), texts),
    Stopped: st.builds(Stopped, st.sampled_from(get_args(StopReason))),
    Finish: st.builds(Finish, st.sampled_from(get_args(FinishReason)), maybe),
    StreamError: st.builds(StreamError, errors),
    RawEvent: st.builds(RawEvent, json_values),
}


def test_every_event_is_tested() -> None:
    """The strategies here are the union's members, all of them."""
    assert set(EVENTS) == set(get_args(StreamEvent))


@pytest.mark.req("seed-B1")
@pytest.mark.parametrize("kind", EVENTS)
def test_events_are_json_both_ways(kind: type) -> None:
    """An event written and read as the union is that event again, of the same type; it is one line."""

    @PLENTY
    @given(EVENTS[kind])
    def both_ways(event: Any) -> None:
        line = event_to_json(event)
        assert b"\n" not in line
        again = event_from_json(line)
        assert type(again) is kind
        if isinstance(event, StreamError | Retrying):
            assert isinstance(again, StreamError | Retrying)
            assert type(again.error) is type(event.error)
            assert again.error.__dict__ == event.error.__dict__
        else:
            assert again == event

    both_ways()


@pytest.mark.parametrize(
    "bad", [b"{}", b'{"type":"hologram"}', b'{"type":"text_delta"}', b"[]", b'{"type":"finish","reason":"x"}']
)
def test_what_is_no_event_is_refused(bad: bytes) -> None:
    """With msgspec's own error, which is a ValueError."""
    with pytest.raises(msgspec.ValidationError):
        event_from_json(bad)


def test_what_json_cannot_say_is_refused() -> None:
    """A raw event with an object of some other kind is a mistake of whoever made it."""
    with pytest.raises(TypeError, match="complex"):
        event_to_json(RawEvent(1j))


@pytest.mark.req("seed-C")
@pytest.mark.parametrize("kind", [kind for kind in EVENTS if kind not in (StreamError, Retrying)])
def test_events_pickle(kind: type) -> None:
    """They cross process borders."""

    @PLENTY
    @given(EVENTS[kind])
    def pickled(event: Any) -> None:
        assert pickle.loads(pickle.dumps(event)) == event

    pickled()


# ---- the order of events

START, TEXT, CALL, FINISH = StreamStart("m"), TextDelta("a"), ToolCall("c", "f", {}), Finish("stop")
STOPPED, PROGRESS = Stopped("max_steps"), ToolProgress("c", "f", 0.5)
FAILURE, RETRY, RESULT = StreamError(ServerError("x")), Retrying(1, 0.5, ServerError("x")), ToolResult("c", "f", "x")
RAW, USAGE = RawEvent({}), Usage()

LEGAL: list[list[StreamEvent]] = [
    [START, FINISH],
    [START, TEXT, ReasoningDelta("r"), RefusalDelta("n"), ToolCallDelta(0, "c", "f", ""), CALL, USAGE, FINISH],
    [RETRY, RETRY, START, TEXT, FINISH],
    [RAW, START, RAW, FINISH, RAW],
    [FAILURE],
    [RETRY, FAILURE],
    [START, FAILURE],
    [START, TEXT, FAILURE],
    [START, FINISH, FAILURE],
    [START, CALL, FINISH, RESULT, START, TEXT, FINISH],
    [START, CALL, RESULT, TEXT, FINISH],
    [START, CALL, FINISH, RESULT, RETRY, START, CALL, FINISH],
    [START, CALL, ToolCall("d", "f", {}), FINISH],
    [START, CALL, FINISH, PROGRESS, RESULT, STOPPED],
    [START, CALL, FINISH, STOPPED],
    [START, CALL, PROGRESS, RESULT, FINISH],
    [PROGRESS, RESULT, START, FINISH],
    [RESULT, STOPPED],
]
ILLEGAL: list[list[StreamEvent]] = [
    [],
    [START],
    [START, TEXT],
    [RETRY],
    [TEXT, START, FINISH],
    [FINISH],
    [USAGE, START, FINISH],
    [START, START, FINISH],
    [START, FINISH, FINISH],
    [START, FINISH, TEXT],
    [START, FINISH, USAGE],
    [FAILURE, FAILURE],
    [FAILURE, START],
    [FAILURE, RAW],
    [START, CALL, CALL, FINISH],
    [START, CALL, FINISH, START, CALL],
    [RESULT],
    [RESULT, FINISH],
    [START, CALL, STOPPED],
    [START, CALL, FINISH, STOPPED, RESULT],
    [STOPPED, FAILURE],
    [STOPPED, STOPPED],
]


@pytest.mark.req("seed-B1")
@pytest.mark.parametrize("events", LEGAL, ids=str)
def test_legal_orders(events: list[StreamEvent]) -> None:
    """Whole streams of one step and of several, and those that fail, wherever that is."""
    check_order(events)


@pytest.mark.req("seed-B1")
@pytest.mark.parametrize("events", ILLEGAL, ids=str)
def test_illegal_orders(events: list[StreamEvent]) -> None:
    """A stream without its end, events out of place, and a call that is said twice."""
    with pytest.raises(ProtocolError):
        check_order(events)


def test_the_table_is_whole() -> None:
    """Each state is one of State; what is not in the table is refused in every state."""
    assert set(ORDER) == set(get_args(State))
    for following in ORDER.values():
        assert set(following) <= set(EVENTS)
        assert set(following.values()) <= set(ORDER)
    checker = OrderChecker()
    checker.add(START)
    with pytest.raises(ProtocolError, match="may not stand"):
        checker.add(START)
    assert checker.state == "step"


@pytest.mark.parametrize(
    ("event", "content"),
    [
        *((event, False) for event in (START, RETRY, RAW, USAGE, FAILURE)),
        *((event, True) for event in (TEXT, CALL, FINISH)),
    ],
)
def test_content_ends_the_time_for_retries(event: StreamEvent, content: bool) -> None:
    """What the caller has seen of an answer is not said again."""
    assert has_content([START, event]) is content


# ---- usage

NAMES: dict[str, list[dict[str, Any]]] = {
    "input_tokens": [
        {name: 7} for name in ("prompt_tokens", "input_tokens", "prompt_eval_count", "inputTokens", "promptTokenCount")
    ],
    "output_tokens": [
        {name: 7}
        for name in ("completion_tokens", "output_tokens", "eval_count", "outputTokens", "candidatesTokenCount")
    ],
    "cache_read_tokens": [
        {"cached_tokens": 7},
        {"cache_read_input_tokens": 7},
        {"prompt_cache_hit_tokens": 7},
        {"cacheReadInputTokens": 7},
        {"cachedContentTokenCount": 7},
        {"prompt_tokens_details": {"cached_tokens": 7}},
        {"input_tokens_details": {"cached_tokens": 7}},
    ],
    "cache_write_tokens": [
        {"cache_creation_input_tokens": 7},
        {"cacheWriteInputTokens": 7},
        {"prompt_tokens_details": {"cache_write_tokens": 7}},
        {"prompt_tokens_details": {"cache_creation_tokens": 7}},
    ],
    "reasoning_tokens": [
        {"reasoning_tokens": 7},
        {"thoughtsTokenCount": 7},
        {"completion_tokens_details": {"reasoning_tokens": 7}},
        {"output_tokens_details": {"reasoning_tokens": 7}},
    ],
}


@pytest.mark.req("seed-B2")
@pytest.mark.parametrize(("field", "raw"), [(field, raw) for field, listed in NAMES.items() for raw in listed], ids=str)
def test_every_known_name_is_read(field: str, raw: dict[str, Any]) -> None:
    """Flat and nested, of all wires; the provider's object is kept."""
    given = {"total_tokens": 0, **raw}
    usage = usage_from(given)
    assert usage is not None
    assert getattr(usage, field) == 7
    assert usage.raw == given


@pytest.mark.req("seed-B2")
@pytest.mark.parametrize(
    ("value", "read"),
    [
        *((5, 5), ("5", 5), ("5.0", 5), (5.9, 5), (-3, 0), (2**70, 2**70), ("-1", 0)),
        *((value, 0) for value in (True, None, "x", [], {}, float("inf"), float("nan"), "inf", "9" * 5000)),
    ],
)
def test_counts_of_every_type(value: Any, read: int) -> None:
    """Strings and floats count; bools and nonsense are not 1 and no error."""
    usage = usage_from({"prompt_tokens": value, "completion_tokens": 1, "prompt_tokens_details": value})
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (read, 1)


@pytest.mark.req("seed-B2")
@pytest.mark.parametrize(
    "raw", [{}, {"prompt_tokens": None}, {"prompt_tokens": True}, {"cost": 1}, {"cached_tokens": 1}]
)
def test_no_count_is_no_usage(raw: dict[str, Any]) -> None:
    """An object that counts nothing is not a usage of 0."""
    assert usage_from(raw) is None


@pytest.mark.req("F7", "F8")
def test_one_meaning_of_the_totals() -> None:
    """Input includes the cache and output the reasoning, whatever the provider's convention."""
    raw = {"input_tokens": 10, "output_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2}
    raw["reasoning_tokens"] = 4
    plain = usage_from(raw)
    added = usage_from(raw, input_excludes_cache=True, output_excludes_reasoning=True)
    assert plain is not None
    assert added is not None
    assert (plain.input_tokens, plain.output_tokens) == (10, 5)
    assert (added.input_tokens, added.output_tokens, added.total_tokens) == (15, 9, 24)


def test_a_total_alone_is_input() -> None:
    """Embedding-like servers say nothing else."""
    usage = usage_from({"total_tokens": 9})
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (9, 0)


@pytest.mark.req("F11")
@pytest.mark.parametrize(
    ("raw", "cost"),
    [
        ({"cost": 0.5}, 0.5),
        ({"cost": 1}, 1.0),
        ({"estimated_cost": 2}, 2.0),
        ({"cost": True}, None),
        ({"cost": "1"}, None),
    ],
)
def test_cost(raw: dict[str, Any], cost: float | None) -> None:
    """A number, where there is one."""
    usage = usage_from({"prompt_tokens": 1, **raw})
    assert usage is not None
    assert usage.cost == cost


def test_usages_add_up() -> None:
    """Steps add up in every count; a sum of nothing known has no cost, and one estimate makes it an estimate."""
    one = Usage(input_tokens=1, output_tokens=2, cache_read_tokens=3, cache_write_tokens=4, reasoning_tokens=5, raw={})
    two = Usage(input_tokens=10, output_tokens=20, cost=0.5, estimated=True)
    assert one + two == Usage(
        input_tokens=11,
        output_tokens=22,
        cache_read_tokens=3,
        cache_write_tokens=4,
        reasoning_tokens=5,
        cost=0.5,
        estimated=True,
    )
    assert (one + one).cost is None
    assert (two + two).cost == 1.0
    with pytest.raises(TypeError):
        one + 1  # type: ignore[operator]


# ---- messages and parts


@pytest.mark.req("seed-B3")
def test_messages_and_their_parts() -> None:
    """Text of both kinds of content; parts of both; an empty string has none."""
    plain, empty = Message("user", "a"), Message("assistant", "")
    mixed = Message("assistant", [Reasoning("hm"), Text("a"), ToolCall("c", "f", {}), Text("b")])
    assert (plain.text, plain.parts) == ("a", [Text("a")])
    assert (empty.text, empty.parts) == ("", [])
    assert mixed.text == "ab"
    assert len(mixed.parts) == 4


def test_images_and_files(tmp_path: Path) -> None:
    """From a file, with the type of its name; as a URL; by their own URL."""
    for name, media in (("a.jpg", "image/jpeg"), ("a.webp", "image/webp"), ("a", "image/png")):
        (tmp_path / name).write_bytes(b"\x00\x01")
        for path in (tmp_path / name, str(tmp_path / name)):
            image = Image.from_file(path)
            assert image == Image(data=b"\x00\x01", media_type=media)
            assert image.as_url == f"data:{media};base64,AAE="
    assert Image(url="https://e.test/a").as_url == "https://e.test/a"
    assert File(data=b"\x00").as_url == "data:application/pdf;base64,AA=="
    with pytest.raises(FileNotFoundError):
        Image.from_file(tmp_path / "none.png")


def test_results_as_text() -> None:
    """Text as it is; an image leaves a mark."""
    assert ToolResult("c", "f", "x").text == "x"
    assert ToolResult("c", "f", [Text("a"), Image(url="u"), Text("b")]).text == "a[image]b"
